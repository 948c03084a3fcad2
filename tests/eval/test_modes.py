"""Every way of searching is measured as it is searched, keeps results of its own, and encodes nothing twice."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modernir import load_encoder
from modernir.errors import InputError
from modernir.eval.beir import evaluate_beir
from modernir.eval.comparing.inputs import Reader
from modernir.eval.models import evaluate_models
from modernir.eval.report import systems_table
from modernir.eval.results import load, saved_sets
from modernir.eval.runs import read_run
from modernir.eval.ways import Way
from modernir.retrieval import build as building
from modernir.retrieval.build import build_index
from modernir.retrieval.modes import Search, search_index

Call = Callable[..., SimpleNamespace]
WORDS = ["oak", "elm", "fir", "ash", "yew", "box", "bay", "fig"]
LEXICAL = Way("lexical")


@pytest.fixture
def forest(tmp_path: Path, make_beir: Callable[..., Path]) -> Path:
    """Return a collection of 60 documents with words of differing rarity."""
    generator = np.random.default_rng(3)
    texts = {f"d{n}": " ".join(generator.choice(WORDS, 6, p=np.arange(1, 9) / 36)) for n in range(60)}
    queries = {f"q{n}": " ".join(WORDS[n : n + 2]) for n in range(6)}
    judged = {query: {f"d{n * 7 % 60}": 1} for n, query in enumerate(queries)}
    return make_beir(tmp_path / "forest", corpus=texts, queries=queries, qrels={"test": judged, "dev": judged})


def found(index: Path, encoder: Any, corpus: Path, search: Search) -> dict[str, dict[str, float]]:  # noqa: ANN401
    """Search an index built by itself, apart from any evaluation."""
    queries = [json.loads(line) for line in (corpus / "queries.jsonl").read_text().splitlines()]
    with build_index(corpus, encoder, index, quiet=True) as retriever:
        hits = search_index(retriever.index, encoder, [query["text"] for query in queries], search)
    return {query["_id"]: dict(pairs) for query, pairs in zip(queries, hits, strict=True)}


def test_a_lexical_evaluation_is_the_lexical_search_and_needs_no_model(
    forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any]
) -> None:
    report = evaluate_beir(None, [forest], output=tmp_path / "out", way=LEXICAL)[0]
    assert report.run == found(tmp_path / "apart", hash_encoder(), forest, Search(100, "lexical"))
    assert any(report.run.values())
    assert (report.model, report.system, report.settings["search"]) == ("BM25", "BM25", {"mode": "lexical"})
    assert report.counts["documents"] == 60
    assert report.costs["index_bytes"] > 0
    assert not {"vector_bytes", "documents_per_second"} & set(report.costs)  # of vectors that stand for none


@pytest.mark.parametrize(
    ("way", "search"),
    [
        (Way(), Search(100)),
        (Way("hybrid"), Search(100, "hybrid")),
        (Way("hybrid", 200), Search(100, "hybrid", rerank=200)),
        (Way("lexical", 100), Search(100, "lexical", rerank=100)),
        (Way("dense", options={"exact": True}), Search(100, options={"exact": True})),
    ],
    ids=["default", "hybrid", "hybrid reranked", "lexical reranked", "exact"],
)
def test_an_evaluation_finds_what_the_search_finds(
    forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any], way: Way, search: Search
) -> None:
    report = evaluate_beir(hash_encoder(), [forest], output=tmp_path / "out", way=way)[0]
    assert report.run == found(tmp_path / "apart", hash_encoder(), forest, search)


def test_exact_late_interaction_is_maxsim_of_all_pairs(tiny_beir: Path, tiny_colbert: Path, tmp_path: Path) -> None:
    encoder = load_encoder(tiny_colbert, "cpu", "fp32")
    way = Way("late", options={"exact": True}, engine={"nbits": 32})
    report = evaluate_beir(encoder, [tiny_beir], output=tmp_path / "out", way=way)[0]
    rows = [json.loads(line) for line in (tiny_beir / "corpus.jsonl").read_text().splitlines()]
    texts = [f"{row['title']} {row['text']}".strip() for row in rows]
    documents = encoder.encode_documents(texts)
    for line in (tiny_beir / "queries.jsonl").read_text().splitlines():
        query = json.loads(line)
        tokens = encoder.encode_queries([query["text"]]).values
        for row, begin, end in zip(rows, documents.offsets, documents.offsets[1:], strict=False):
            expected = (tokens @ documents.values[begin:end].T).max(axis=1).sum()
            assert report.run[query["_id"]][row["_id"]] == pytest.approx(float(expected), abs=1e-4)
    assert report.settings["index"] == {"nbits": 32}
    assert (tmp_path / "out" / "@nbits=32,exact" / "fruit" / "report.json").is_file()


def test_identical_ids_leave_as_many_to_rerank(
    tmp_path: Path, make_beir: Callable[..., Path], hash_encoder: Callable[..., Any]
) -> None:
    from dataclasses import replace

    from modernir.eval.benchmarks import BENCHMARKS
    from modernir.eval.loading import load_benchmark

    texts = {f"x{n}": f"text of {n}" for n in range(12)}
    folder = make_beir(tmp_path / "self", corpus=texts, queries=texts, qrels={"test": {"x0": {"x1": 1}}})
    benchmark = replace(load_benchmark(folder), entry=BENCHMARKS["arguana"])
    report = evaluate_beir(
        hash_encoder(), [benchmark], output=tmp_path / "out", way=Way(rerank=5), measures=["R@5"], depth=5
    )[0]
    assert len(report.run["x0"]) == 5
    assert "x0" not in report.run["x0"]


# One index for all


def test_ways_and_splits_share_one_index_and_keep_their_own_results(
    forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any]
) -> None:
    output, encoder = tmp_path / "out", hash_encoder()
    ways = {"": Way(), "@hybrid": Way("hybrid"), "@rerank=100": Way(rerank=100), "@exact": Way(options={"exact": True})}
    reports = {name: evaluate_beir(encoder, [forest], output=output, way=way)[0] for name, way in ways.items()}
    reports["@split=dev"] = evaluate_beir(encoder, [forest], output=output, split="dev")[0]
    reports["@split=dev,hybrid"] = evaluate_beir(encoder, [forest], output=output, split="dev", way=Way("hybrid"))[0]
    assert len(encoder.seen) == len(set(encoder.seen)) == 60
    for name, report in reports.items():
        folder = output / name / "forest"
        assert load(folder).to_json() == report.to_json()
        assert read_run(folder / "run.trec") == report.run
    assert [path.name for path in (output / "forest").iterdir() if path.is_dir()] == ["index"]
    again = evaluate_beir(encoder, [forest], output=output, way=Way("dense"))[0]
    assert again.to_json() == reports[""].to_json()  # the encoder's own mode is the default


def test_another_index_setting_is_another_index(forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any]) -> None:
    encoder = hash_encoder()
    evaluate_beir(encoder, [forest], output=tmp_path / "out")
    report = evaluate_beir(encoder, [forest], output=tmp_path / "out", way=Way(engine={"structure": "hnsw"}))[0]
    assert {path.name for path in (tmp_path / "out/forest").iterdir() if path.is_dir()} == {
        "index",
        "index@structure=hnsw",
    }
    assert (report.way, report.settings["index"]) == ("structure=hnsw", {"structure": "hnsw"})


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("killed")])
def test_an_interrupted_evaluation_of_several_ways_encodes_every_text_once(
    forest: Path,
    tmp_path: Path,
    hash_encoder: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
) -> None:
    monkeypatch.setattr(building, "COMMIT_DOCUMENTS", 10)
    whole = evaluate_beir(hash_encoder(), [forest], output=tmp_path / "whole", way=Way("hybrid"))[0]
    encoder = hash_encoder()
    output = tmp_path / "out"
    for after, way in ((20, Way()), (30, Way("hybrid")), (50, Way(rerank=100))):
        encoder.fail_after, encoder.failure = after, failure
        with pytest.raises(type(failure)):
            evaluate_beir(encoder, [forest], output=output, way=way)
    encoder.fail_after = None
    resumed = evaluate_beir(encoder, [forest], output=output, way=Way("hybrid"))[0]
    evaluate_beir(encoder, [forest], output=output)
    assert len(encoder.seen) == len(set(encoder.seen)) == 60
    assert (resumed.run, resumed.metrics, resumed.per_query) == (whole.run, whole.metrics, whole.per_query)
    assert (resumed.intervals, resumed.settings) == (whole.intervals, whole.settings)


KILLED = """
import os, signal, sys, zlib
from pathlib import Path
import numpy as np

class Mortal:
    name, fingerprint, precision, similarity, dim = "mortal", "a" * 32, "fp32", "cosine", 8
    max_length, block_size, query_prompt, document_prompt = 64, 10, "", ""

    def __init__(self, log, life):
        self.log, self.life = Path(log), life

    def encode_documents(self, texts):
        self.life -= len(texts)
        if self.life < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        with self.log.open("a") as stream:
            stream.writelines(text + "\\n" for text in texts)
        return self.encode_queries(texts)

    def encode_queries(self, texts):
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(8) for text in texts]
        return np.asarray(rows, np.float32).reshape(len(texts), 8)

def evaluate(log, life, output, *sets):
    from modernir.eval.beir import evaluate_beir
    from modernir.eval.ways import Way
    from modernir.retrieval import build

    build.COMMIT_DOCUMENTS = 10
    return evaluate_beir(Mortal(log, life), sets, output=Path(output), way=Way("hybrid"))

if __name__ == "__main__":
    evaluate(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
"""


def test_a_killed_evaluation_of_several_sets_ends_as_an_uninterrupted_one(
    forest: Path, tmp_path: Path, make_beir: Callable[..., Path], start_python: Callable[..., Any]
) -> None:
    sets = [forest, make_beir(tmp_path / "grove", corpus={f"g{n}": f"tree {n}" for n in range(50)})]
    log, output = tmp_path / "log", tmp_path / "out"
    for life in (35, 45):  # in the first set, then in the second
        process = start_python(KILLED, log, life, output, *sets)
        process.communicate(timeout=300)
        assert process.returncode == -9
    namespace: dict[str, Any] = {"__name__": "here"}
    exec(KILLED, namespace)  # the same encoder as in the processes that died
    resumed = namespace["evaluate"](log, 1000, output, *sets)
    whole = namespace["evaluate"](tmp_path / "other", 1000, tmp_path / "whole", *sets)
    for one, other in zip(resumed, whole, strict=True):
        assert (one.metrics, one.per_query, one.intervals) == (other.metrics, other.per_query, other.intervals)
        assert (one.settings, one.counts) == (other.settings, other.counts)
        runs = [place / "@hybrid" / one.benchmark / "run.trec" for place in (output, tmp_path / "whole")]
        assert runs[0].read_bytes() == runs[1].read_bytes()
    encoded = log.read_text().splitlines()
    assert len(encoded) == 110
    assert sorted(encoded) == sorted((tmp_path / "other").read_text().splitlines())


def test_indexes_of_a_shared_folder_do_not_replace_each_other(
    forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any]
) -> None:
    encoders = [hash_encoder("one"), hash_encoder("two")]
    for turn in range(2):
        for encoder in encoders:
            output = tmp_path / f"out{turn}" / encoder.name
            evaluate_beir(encoder, [forest], output=output, index_folder=tmp_path / "indexes")
    assert [len(encoder.seen) for encoder in encoders] == [60, 60]


# Reports


def test_a_report_says_what_it_cost(forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any]) -> None:
    output, encoder = tmp_path / "out", hash_encoder()
    first = evaluate_beir(encoder, [forest], output=output)[0]
    costs = first.costs
    assert (costs["encoded_documents"], costs["latency_queries"]) == (60, 6)
    assert costs["encode_seconds"] > 0
    assert costs["documents_per_second"] == pytest.approx(60 / costs["encode_seconds"], rel=0.01)
    assert 0 < costs["p50_ms"] <= costs["p95_ms"]
    assert costs["index_bytes"] > costs["vector_bytes"] >= 60 * 8 * 4
    assert costs.get("peak_memory_bytes", 1 << 24) >= 1 << 24
    assert (costs["recall_queries"], costs["exact_recall@10"], costs["exact_recall@100"]) == (6, 1.0, 1.0)
    other = evaluate_beir(encoder, [forest], output=output, way=Way("hybrid"))[0]
    assert other.costs["encode_seconds"] == costs["encode_seconds"]  # of the build, which was one


def test_what_an_index_loses_is_the_share_of_the_exact_best_that_it_misses(
    tiny_beir: Path, tiny_colbert: Path, tmp_path: Path
) -> None:
    from modernir.retrieval.retriever import Retriever

    encoder = load_encoder(tiny_colbert, "cpu", "fp32")
    way = Way(engine={"nbits": 2}, options={"candidates": 2, "nprobe": 1})
    report = evaluate_beir(encoder, [tiny_beir], output=tmp_path / "out", way=way)[0]
    place = tmp_path / "out" / "fruit" / "index@nbits=2"
    queries = [json.loads(line)["text"] for line in (tiny_beir / "queries.jsonl").read_text().splitlines()]
    with Retriever.open(place, encoder) as retriever:
        shares = []
        for query in queries:
            found = {name for name, _ in retriever.search_ids([query], 10, **way.options)[0]}
            exact = {name for name, _ in retriever.search_ids([query], 10, exact=True)[0]}
            shares.append(len(found & exact) / len(exact))
    assert report.costs["exact_recall@10"] == pytest.approx(np.mean(shares))
    exact = evaluate_beir(encoder, [tiny_beir], output=tmp_path / "out", way=Way(options={"exact": True}))[0]
    assert "exact_recall@10" not in exact.costs


def test_several_models_are_one_table_and_a_folder_each(
    forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import StringIO

    from rich.console import Console

    monkeypatch.setattr("modernir.eval.models._check_kinds", lambda models, way: None)
    loaded: list[str] = []

    def load_one(name: str) -> Any:  # noqa: ANN401
        loaded.append(name)
        return hash_encoder(name.split("/")[-1])

    folders = [forest, _copy(forest, tmp_path / "grove")]
    models = ["a/oaken", "b/elmen"]
    reports = evaluate_models(models, load_one, folders, output=tmp_path / "out", measures=["nDCG@10"])
    assert [(report.model, report.benchmark) for report in reports] == [
        (model, name) for model in ("oaken", "elmen") for name in ("forest", "grove")
    ]
    assert loaded == models
    assert sorted(path.relative_to(tmp_path / "out").parts[:2] for path in saved_sets(tmp_path / "out")) == [
        (model, name) for model in ("elmen", "oaken") for name in ("forest", "grove")
    ]
    console = Console(file=StringIO(), width=120)
    console.print(systems_table(reports))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    for report in reports:
        assert any(report.model in line and f"{report.metrics['nDCG@10']:.4f}" in line for line in lines)
    mean = np.mean([report.metrics["nDCG@10"] for report in reports[2:]])
    assert any(line[-2:] == ["elmen", f"{mean:.4f}"] for line in lines)
    with pytest.raises(InputError, match="two models are called 'oaken'"):
        evaluate_models(["a/oaken", "b/oaken"], load_one, folders)


def _copy(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to))


def test_comparisons_find_the_ways_of_a_folder(forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any]) -> None:
    output, encoder, reader = tmp_path / "out", hash_encoder(), Reader("nDCG@10")
    evaluate_beir(encoder, [forest], output=output, way=Way("hybrid"))
    assert saved_sets(output) == [output / "@hybrid" / "forest"]
    assert reader.read(output).name == "hash hybrid"
    evaluate_beir(None, [forest], output=output, way=LEXICAL)
    with pytest.raises(InputError, match="holds 2 ways to search; name one: @hybrid, @lexical"):
        saved_sets(output)
    evaluate_beir(encoder, [forest], output=output)
    assert saved_sets(output) == [output / "forest"]
    names = [reader.read(place).name for place in (output, output / "@hybrid", output / "@lexical")]
    assert names == ["hash", "hash hybrid", "BM25"]


# What makes no sense


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"mode": "sparse"}, "unknown mode 'sparse'; expected one of dense, late, lexical, hybrid"),
        ({"mode": "lexical", "options": {"nprobe": 4}}, "by words alone; leave out nprobe"),
        ({"mode": "lexical", "rerank": 200, "options": {"exact": True}}, "by words alone; leave out exact"),
        (
            {"mode": "lexical", "engine": {"nbits": 4}, "encoder": {"precision": "bf16"}},
            "by words alone; leave out nbits and precision",
        ),
        ({"options": {"exact": True, "nprobe": 4, "candidates": 9}}, "leave out nprobe and candidates or exact"),
        ({"rerank": 0}, "rerank 0: expected at least 1"),
    ],
)
def test_ways_that_contradict_themselves_are_refused(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError) as refused:
        Way(**arguments)
    assert part in str(refused.value)


@pytest.mark.parametrize(
    ("way", "part"),
    [
        (Way("late"), "hash: makes one vector a text; search with mode dense, lexical or hybrid, not late"),
        (Way(options={"candidates": 9}), "unknown search option 'candidates' of a dense index"),
        (Way(engine={"nbits": 2}), "unknown setting 'nbits' of a dense index"),
        (Way(engine={"structure": "pyramid"}), "pyramid"),
        (Way(rerank=50), "rerank 50: fewer documents than the 100 that are scored"),
        (LEXICAL, "hash: a lexical search goes by words alone"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_anything_is_encoded(
    forest: Path, tmp_path: Path, hash_encoder: Callable[..., Any], way: Way, part: str
) -> None:
    encoder = hash_encoder()
    with pytest.raises(InputError) as refused:
        evaluate_beir(encoder, [forest], output=tmp_path / "out", way=way)
    assert part in str(refused.value)
    assert encoder.seen == []
    assert not (tmp_path / "out").exists()


def test_only_a_lexical_search_does_without_a_model(forest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model given; only a lexical search does without one"):
        evaluate_beir(None, [forest], output=tmp_path / "out")


def test_judgements_of_documents_that_are_not_there_are_told_and_count(
    tmp_path: Path, make_beir: Callable[..., Path]
) -> None:
    told: list[str] = []
    some = make_beir(tmp_path / "some", qrels={"test": {"q1": {"d1": 1, "gone": 2, "away": 0}}})
    report = evaluate_beir(None, [some], output=tmp_path / "out", way=LEXICAL, on_message=told.append)[0]
    assert report.counts["relevant_documents_missing"] == 1
    assert told[-1] == "some: 1 documents judged relevant are not in the corpus"
    assert report.metrics["Recall@100"] == 0.5


# The command line


def refused(done: SimpleNamespace, part: str) -> None:
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert part in done.stderr


def test_bad_combinations_are_one_line(
    call: Call, tiny_beir: Path, tiny_model: Path, other_tiny_model: Path, tiny_colbert: Path, tmp_path: Path
) -> None:
    base: Sequence[object] = ("eval", "beir", "--data", tiny_beir, "-o", tmp_path / "out")
    refused(call(*base), "no model given; name one with --model, or search without one by --mode lexical")
    refused(call(*base, "--mode", "lexical", "-m", tiny_model), "leave out --model, or add --rerank")
    refused(call(*base, "--mode", "lexical", "--nprobe", 4), "leave out nprobe")
    refused(call(*base, "--mode", "dense", "-m", tiny_colbert), "makes one vector a token")
    refused(call(*base, "-m", tiny_model, "--candidates", 64), "unknown search option 'candidates' of a dense index")
    refused(call(*base, "-m", tiny_colbert, "--nbits", 3), "nbits 3: choose 2, 4 or 8")
    refused(call(*base, "-m", tiny_model, "--rerank", 50), "rerank 50: fewer documents than the 100")
    both = (*base, "-m", tiny_colbert, "-m", other_tiny_model)
    refused(call(*both, "--mode", "late"), "makes one vector a text")
    refused(call(*both, "--nbits", 2), "unknown setting 'nbits' of a dense index")
    refused(call(*both, "-m", tiny_model), "two models are called 'model'")
    assert not (tmp_path / "out").exists()


def test_one_command_measures_models_of_both_kinds(
    call: Call, tiny_beir: Path, other_tiny_model: Path, tiny_colbert: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    base = ("eval", "beir", "--data", tiny_beir, "-o", output)
    assert call(*base, "--mode", "lexical").code == 0
    both = (*base, "-m", other_tiny_model, "-m", tiny_colbert, "--precision", "fp32", "--mode", "hybrid")
    hybrid = call(*both, "--json")
    assert hybrid.code == 0, hybrid.stderr
    reports = json.loads(hybrid.stdout)
    assert [report["way"] for report in reports] == ["precision=fp32,hybrid"] * 2
    assert [report["settings"]["search"] for report in reports] == [{"mode": "hybrid"}] * 2
    assert all(report["costs"]["documents_per_second"] > 0 for report in reports)
    again = call(*both)
    assert (again.code, again.stderr.count("finished before")) == (0, 2)
    lines = [line.split() for line in again.stdout.splitlines()]
    assert ["precision=fp32,hybrid"] in lines
    assert ["fruit", "(test)", "3", "queries"] in lines
    assert [line[0] for line in lines if len(line) == 7] == ["other", "model"]
    places = [output / "@lexical", *(output / name / "@precision=fp32,hybrid" for name in ("other", "model"))]
    compared = call("eval", "compare", *places, "--json")
    assert compared.code == 0, compared.stderr
    assert "BM25" in compared.stdout
