"""A finished set is known by its report, and is not run again."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modernir.errors import InputError
from modernir.eval import results
from modernir.eval.beir import evaluate_beir
from modernir.eval.evaluate import evaluate, search_settings
from modernir.eval.loading import load_benchmark
from modernir.eval.measures import DEFAULT_MEASURES
from modernir.eval.runs import read_run
from modernir.index.index import Index

RESULTS = {"apples": [("d1", 0.9), ("d2", 0.5)], "pears": [("d4", 0.8), ("d2", 0.7)]}


@pytest.fixture
def sets(tmp_path: Path, make_beir: Callable[..., Path]) -> Path:
    for name in ("one", "two"):
        make_beir(tmp_path / "sets" / name)
    return tmp_path / "sets"


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, fake_retriever: Callable[..., Any]) -> SimpleNamespace:
    """Stands in for the index: records what was to be built and counts searches."""
    retriever = fake_retriever(RESULTS)
    state = SimpleNamespace(retriever=retriever, encoder=retriever.encoder, built=[], fails=False)

    def build_index(
        source: Path, encoder: object, path: Path, *, empty: str, overwrite: bool, reuse: bool, engine: dict
    ) -> object:
        state.built.append((source, path, empty, overwrite, reuse))
        assert engine == {}
        if state.fails:
            raise KeyboardInterrupt
        return retriever

    monkeypatch.setattr("modernir.retrieval.build.build_index", build_index)
    return state


def test_a_saved_report_reads_back_equal(sets: Path, fake_retriever: Callable[..., Any], tmp_path: Path) -> None:
    report = evaluate(fake_retriever(RESULTS), load_benchmark(sets / "one"))
    folder = results.save(report, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["per_query.tsv", "report.json", "run.trec"]
    loaded = results.load(folder)
    assert (loaded.to_json(), loaded.per_query) == (report.to_json(), report.per_query)
    assert read_run(folder / "run.trec") == report.run
    assert json.loads((folder / "report.json").read_text())["metrics"]["MRR@10"] == 0.75


def test_a_report_answers_only_the_same_question(
    sets: Path, fake_retriever: Callable[..., Any], tmp_path: Path
) -> None:
    benchmark, retriever = load_benchmark(sets / "one"), fake_retriever(RESULTS)
    encoder = retriever.encoder
    settings = search_settings(encoder, benchmark, DEFAULT_MEASURES, 100)
    assert results.finished(tmp_path, benchmark, encoder.fingerprint, settings) is None
    folder = results.save(evaluate(retriever, benchmark), tmp_path)
    assert results.finished(tmp_path, benchmark, encoder.fingerprint, settings).metrics["MRR@10"] == 0.75
    assert results.finished(tmp_path, benchmark, "0" * 32, settings) is None
    for change in ({"depth": 200}, {"precision": "bf16"}, {"measures": ["P@1"]}, {"data": "0"}):
        assert results.finished(tmp_path, benchmark, encoder.fingerprint, settings | change) is None
    kept = (folder / "report.json").read_text()
    fields = json.loads(kept)
    del fields["intervals"]
    (folder / "report.json").write_text(json.dumps(fields))
    assert results.finished(tmp_path, benchmark, encoder.fingerprint, settings) is None
    with pytest.raises(InputError, match=r"not a report of this version .*intervals.*; evaluate again"):
        results.load(folder)
    (folder / "report.json").write_text(kept)
    other_split = load_benchmark(sets / "one", split="dev")
    assert results.finished(tmp_path, other_split, encoder.fingerprint, settings) is None
    (folder / "per_query.tsv").write_text("")
    assert results.finished(tmp_path, benchmark, encoder.fingerprint, settings) is None
    (folder / "per_query.tsv").write_text("query\tMRR@10\nq1\n")
    assert results.finished(tmp_path, benchmark, encoder.fingerprint, settings) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"metrics": {}}', "null"])
def test_a_damaged_report_is_as_good_as_none(
    content: str, sets: Path, fake_retriever: Callable[..., Any], tmp_path: Path
) -> None:
    benchmark, retriever = load_benchmark(sets / "one"), fake_retriever(RESULTS)
    folder = results.save(evaluate(retriever, benchmark), tmp_path)
    (folder / "report.json").write_text(content)
    settings = search_settings(retriever.encoder, benchmark, DEFAULT_MEASURES, 100)
    assert results.finished(tmp_path, benchmark, retriever.encoder.fingerprint, settings) is None


def test_a_failing_save_leaves_no_report(
    sets: Path, fake_retriever: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = evaluate(fake_retriever(RESULTS), load_benchmark(sets / "one"))
    folder = results.save(report, tmp_path)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_run", full)
    with pytest.raises(OSError, match="No space"):
        results.save(report, tmp_path)
    assert not (folder / "report.json").exists()


def test_finished_sets_are_not_run_again(sets: Path, builder: SimpleNamespace, tmp_path: Path) -> None:
    output, messages = tmp_path / "out", []
    first = evaluate_beir(builder.encoder, ["one", "two"], data=sets, output=output, on_message=messages.append)
    assert [report.benchmark for report in first] == ["one", "two"]
    assert builder.built == [(sets / name, output / name / "index", "keep", True, True) for name in ("one", "two")]
    assert set(first[0].seconds) == {"index", "search"}
    searches = len(builder.retriever.depths)
    again = evaluate_beir(builder.encoder, ["one", "two"], data=sets, output=output, on_message=messages.append)
    assert [report.to_json() for report in again] == [report.to_json() for report in first]
    assert (len(builder.built), len(builder.retriever.depths)) == (2, searches)
    assert [message.split(",")[0] for message in messages[2:]] == ["one: finished before", "two: finished before"]


def test_an_interrupted_evaluation_goes_on_with_the_set_that_is_missing(
    sets: Path, builder: SimpleNamespace, tmp_path: Path
) -> None:
    evaluate_beir(builder.encoder, ["one"], data=sets, output=tmp_path / "out")
    builder.fails = True
    with pytest.raises(KeyboardInterrupt):
        evaluate_beir(builder.encoder, ["one", "two"], data=sets, output=tmp_path / "out")
    builder.fails = False
    evaluate_beir(builder.encoder, ["one", "two"], data=sets, output=tmp_path / "out")
    assert [source.name for source, *_ in builder.built] == ["one", "two", "two"]


def test_force_runs_all_again_even_when_it_is_interrupted(sets: Path, builder: SimpleNamespace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate_beir(builder.encoder, ["one", "two"], data=sets, output=output)
    builder.fails = True
    with pytest.raises(KeyboardInterrupt):
        evaluate_beir(builder.encoder, ["one", "two"], data=sets, output=output, force=True)
    assert builder.built[-1] == (sets / "one", output / "one" / "index", "keep", True, False)
    builder.fails = False
    searches = len(builder.retriever.depths)
    evaluate_beir(builder.encoder, ["one", "two"], data=sets, output=output)
    assert len(builder.retriever.depths) == 2 * searches


def test_a_wrong_name_fails_before_anything_is_encoded(sets: Path, builder: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="three: not a folder"):
        evaluate_beir(builder.encoder, ["one", "three"], data=sets, output=tmp_path / "out")
    with pytest.raises(InputError, match="'one' is named twice"):
        evaluate_beir(builder.encoder, ["one", "one"], data=sets, output=tmp_path / "out")
    assert builder.built == []
    assert not (tmp_path / "out").exists()


def test_indexes_may_lie_in_a_folder_of_their_own(sets: Path, builder: SimpleNamespace, tmp_path: Path) -> None:
    evaluate_beir(builder.encoder, ["one"], data=sets, output=tmp_path / "out", index_folder=tmp_path / "indexes")
    assert builder.built[0][1] == tmp_path / "indexes" / "encoder-ffffffff" / "one" / "index"


class WordEncoder:
    """Counts the words of the small collections; stands in for a model over the real index."""

    name, fingerprint, precision, similarity = "words", "e" * 32, "fp32", "cosine"
    dim, max_length, block_size, query_prompt, document_prompt = 8, 16, 2, "", ""
    words = ("apples", "pears", "plums", "lemons", "red", "green", "blue", "yellow")

    def __init__(self, documents_before_interrupt: int = 1000) -> None:
        self.encoded = 0
        self.limit = documents_before_interrupt

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.split().count(word) for word in self.words] for text in texts], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        if self.encoded >= self.limit:
            raise KeyboardInterrupt
        self.encoded += len(texts)
        return self.encode_queries(texts)


def test_an_interrupted_encoding_goes_on_where_it_stopped(sets: Path, tmp_path: Path) -> None:
    whole = evaluate_beir(WordEncoder(), ["one"], data=sets, output=tmp_path / "whole")
    assert whole[0].metrics["MRR@10"] == 1.0
    with pytest.raises(KeyboardInterrupt):
        evaluate_beir(WordEncoder(2), ["one"], data=sets, output=tmp_path / "out")
    rest = WordEncoder()
    resumed = evaluate_beir(rest, ["one"], data=sets, output=tmp_path / "out")
    assert rest.encoded == 2
    assert (resumed[0].metrics, resumed[0].run) == (whole[0].metrics, whole[0].run)
    with Index.open(tmp_path / "out" / "one" / "index") as index:
        assert len(index) == 4


def test_an_index_of_other_data_or_precision_is_not_reused(sets: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate_beir(WordEncoder(), ["one"], data=sets, output=output)
    corpus = sets / "one" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("red apples", "old apples"))
    encoder = WordEncoder()
    evaluate_beir(encoder, ["one"], data=sets, output=output)
    assert encoder.encoded == 4
    half = WordEncoder()
    half.precision = "bf16"
    evaluate_beir(half, ["one"], data=sets, output=output)
    assert half.encoded == 4
    other_depth = WordEncoder()
    evaluate_beir(other_depth, ["one"], data=sets, output=output, depth=200)
    assert other_depth.encoded == 4  # fp32 again
