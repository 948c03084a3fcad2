"""Mined negatives are those of brute force over all documents, whatever the engine, the limits and interruptions."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modernir.encoders.loading import load_encoder
from modernir.errors import InputError
from modernir.index.documents import Document
from modernir.maxsim.scores import maxsim
from modernir.retrieval.build import build_index
from modernir.retrieval.mining import miner as miner_module
from modernir.retrieval.mining.lines import PARTIAL, ResumableLines
from modernir.retrieval.mining.mine import mine_negatives
from modernir.retrieval.mining.settings import Mining
from modernir.retrieval.readers.examples import read_examples
from modernir.retrieval.retriever import Retriever
from modernir.retrieval.training.colbert import train_colbert
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.settings import ColbertTraining, DenseTraining
from modernir.retrieval.words import ENGINE, Words

WORDS = [
    *("red", "green", "blue", "yellow", "apples", "pears", "plums", "lemons", "bread", "ship", "sea", "garden"),
    *("old", "sweet", "sour", "dried", "winter", "autumn", "sailors", "trees"),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 pairs; every fifth query has a second positive, and one positive differs from another in spaces."""
    draw = np.random.default_rng(3)
    rows = []
    for number in range(40):
        text = " ".join(draw.choice(WORDS, 8))
        rows.append({"query": " ".join(text.split()[:3]) + f" q{number}", "positive": text})
        if number % 5 == 0:
            rows.append({"query": rows[-1]["query"], "positive": " ".join(draw.choice(WORDS, 6))})
    rows.append({"query": "red ship", "positive": "  ".join(rows[3]["positive"].split())})
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def mined(**settings: object) -> list[dict]:
    plain = {"ranks": "2:20", "negatives": 3, "precision": "fp32", "device": "cpu"} | settings
    file, _ = mine_negatives(Mining(**{**plain, "pairs": tuple(map(str, plain["pairs"]))}), quiet=True)
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def plain(text: str) -> str:
    return " ".join(text.split())


def corpus_of(pairs: Path) -> list[str]:
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    return list({plain(row["positive"]): row["positive"] for row in reversed(rows)}.values())[::-1]


Scorer = Callable[[str, Sequence[str]], Sequence[float]]


@pytest.fixture(scope="module")
def cosine(tiny_model: Path) -> Scorer:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    return lambda query, texts: (model.encode(list(texts)) @ model.encode(query)).tolist()


def expected(pairs: Path, score: Scorer, first: int, last: int, count: int, **limits: float) -> list[dict]:
    """Return what mining is to write, from scores of all documents, one example after the other."""
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    corpus = corpus_of(pairs)
    written = []
    for row in rows:
        scores = dict(zip(corpus, score(row["query"], corpus), strict=True))
        own = next(scores[text] for text in corpus if plain(text) == plain(row["positive"]))
        answers = {plain(other["positive"]) for other in rows if other["query"] == row["query"]}
        ranked = sorted(corpus, key=lambda text: -scores[text])[first - 1 : last]
        taken = [
            text
            for text in ranked
            if plain(text) not in answers
            and scores[text] <= limits.get("max_score", np.inf)
            and scores[text] <= own - limits.get("margin", -np.inf)
            and ("ratio" not in limits or scores[text] <= own - abs(own) * (1 - limits["ratio"]))
        ][:count]
        if taken:
            kept = [own, *(scores[text] for text in taken)]
            written.append({"query": row["query"], "positive": row["positive"], "negatives": taken, "scores": kept})
    return written


def same(found: list[dict], wanted: list[dict]) -> None:
    assert [row["query"] for row in found] == [row["query"] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        assert [row["positive"], *map(plain, row["negatives"])] == [other["positive"], *map(plain, other["negatives"])]
        assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)


@pytest.mark.parametrize("limits", [{}, {"margin": 0.02}, {"ratio": 0.95}, {"max_score": 0.9, "ratio": 0.99}])
def test_a_dense_model_mines_what_brute_force_does(
    pairs: Path, tiny_model: Path, cosine: Scorer, tmp_path: Path, limits: dict
) -> None:
    found = mined(pairs=[pairs], model=str(tiny_model), output=tmp_path / "out.jsonl", scores=True, **limits)
    same(found, expected(pairs, cosine, 2, 20, 3, **limits))


def test_words_mine_what_their_search_finds_and_score_positives_beyond_it(pairs: Path, tmp_path: Path) -> None:
    corpus = [{"_id": str(number), "text": text} for number, text in enumerate(corpus_of(pairs))]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    with build_index(tmp_path / "corpus.jsonl", Words(), tmp_path / "index", quiet=True, engine=ENGINE) as retriever:

        def bm25(query: str, texts: Sequence[str]) -> list[float]:
            hits = dict(retriever.search_ids([query], len(texts), "lexical")[0])
            return [hits.get(row["_id"], 0.0) for row in corpus]

        wanted = expected(pairs, bm25, 1, 4, 2, max_score=4.0)
    settings = {"ranks": "1:4", "negatives": 2, "max_score": 4.0, "scores": True}
    by_index = mined(pairs=[pairs], index=tmp_path / "index", mode="lexical", output=tmp_path / "a.jsonl", **settings)
    by_bm25 = mined(pairs=[pairs], bm25=True, output=tmp_path / "b.jsonl", **settings)
    same(by_index, wanted)
    assert by_bm25 == by_index


def test_a_colbert_index_mines_by_maxsim(pairs: Path, tiny_colbert: Path, tmp_path: Path) -> None:
    encoder = load_encoder(tiny_colbert, device="cpu", precision="fp32", kind="late")
    with Retriever.create(tmp_path / "index", encoder, nbits=32) as retriever:
        retriever.add(Document(str(number), text) for number, text in enumerate(corpus_of(pairs)))

    def score(query: str, texts: Sequence[str]) -> list[float]:
        return maxsim(encoder.encode_queries([query]), encoder.encode_documents(list(texts)))[0].tolist()

    settings = {"index": tmp_path / "index", "exact": True, "scores": True, "ratio": 0.98}
    found = mined(pairs=[pairs], output=tmp_path / "out.jsonl", **settings)
    wanted = expected(pairs, score, 2, 20, 3, ratio=0.98)
    assert len(wanted) > 10
    assert [row["query"] for row in found] == [row["query"] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        assert row["scores"] == pytest.approx(other["scores"], abs=2e-3)


def test_limits_by_a_teacher_go_by_its_scores_and_order(
    pairs: Path, tiny_model: Path, cosine: Scorer, tmp_path: Path
) -> None:
    everything = {"ranks": "1:60", "bm25": True, "scores_from": str(tiny_model), "ratio": 0.97, "corpus": None}
    found = mined(pairs=[pairs], output=tmp_path / "a.jsonl", **everything)
    for row in found:
        assert row["scores"] == pytest.approx(cosine(row["query"], [row["positive"], *row["negatives"]]), abs=1e-5)
        assert row["scores"][1:] == sorted(row["scores"][1:], reverse=True)
        assert row["scores"][1] <= row["scores"][0] * 0.97 + 1e-6
    beside = mined(pairs=[pairs], output=tmp_path / "b.jsonl", bm25=True, scores_from=str(tiny_model))
    without = mined(pairs=[pairs], output=tmp_path / "c.jsonl", bm25=True)
    assert [row["negatives"] for row in beside] == [row["negatives"] for row in without]
    for row in beside:
        assert row["scores"] == pytest.approx(cosine(row["query"], [row["positive"], *row["negatives"]]), abs=1e-5)


def test_random_picks_come_from_the_ranks_and_depend_on_nothing_but_the_seed(pairs: Path, tmp_path: Path) -> None:
    ways = {"a": {"block": 7}, "b": {}, "c": {"seed": 5}, "all": {"pick": "top", "negatives": 19}}
    found = {
        name: mined(pairs=[pairs], bm25=True, output=tmp_path / f"{name}.jsonl", **{"pick": "random"} | way)
        for name, way in ways.items()
    }
    assert found["a"] == found["b"] != found["c"]
    for row, whole in zip(found["a"], found["all"], strict=True):
        places = [whole["negatives"].index(text) for text in row["negatives"]]
        assert places == sorted(places)


def test_documents_of_the_same_text_and_blank_ones_are_taken_once_or_never(tmp_path: Path) -> None:
    texts = ["red apples", "red  apples", "red pears", "red pears", " ", "red plums", "red ships"]
    rows = [{"_id": str(number), "text": text} for number, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pairs.csv").write_text("query,positive\nred,red apples\n")
    settings = {"pairs": [tmp_path / "pairs.csv"], "bm25": True, "corpus": str(tmp_path / "corpus.jsonl")}
    (row,) = mined(output=tmp_path / "out.jsonl", ranks="1:9", negatives=9, **settings)
    assert row["negatives"] == ["red pears", "red plums", "red ships"]


def test_what_any_split_judges_relevant_is_no_negative(tiny_beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tiny_beir / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq3\td6\t1\n")
    (tiny_beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t1\n")
    settings = {
        "pairs": [tiny_beir],
        "model": str(tiny_model),
        "corpus": str(tiny_beir),
        "ranks": "1:6",
        "negatives": 6,
    }
    rows = mined(output=tmp_path / "out.jsonl", **settings)
    first = next(row for row in rows if row["query"].startswith("red apples"))
    assert first["positive"].startswith("Apples Red apples")
    assert {text.split()[0] for text in first["negatives"]} == {"Pears", "Lemons", "Bread", "Ships"}


def test_a_run_that_was_cut_goes_on_and_searches_nothing_twice(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"pairs": [pairs], "bm25": True, "block": 10, "scores": True}
    whole = mined(output=tmp_path / "whole.jsonl.gz", **settings)
    searched: list[int] = []
    mine = miner_module.Miner.mine

    def counted(self: miner_module.Miner, examples: Sequence, start: int) -> tuple:
        if len(searched) == 2:
            searched.append(-1)
            raise KeyboardInterrupt
        searched.append(start)
        return mine(self, examples, start)

    monkeypatch.setattr(miner_module.Miner, "mine", counted)
    output = tmp_path / "cut.jsonl.gz"
    with pytest.raises(KeyboardInterrupt, match=r"20 pairs are kept in .*partial; the same command goes on"):
        mined(output=output, **settings)
    assert not output.exists()
    with (output.with_name(output.name + PARTIAL) / "lines").open("ab") as stream:
        stream.write(b"half of a blo")  # what a power cut leaves
    with pytest.raises(InputError, match=r"scores was true, is false.*start over with --overwrite"):
        mined(output=output, **settings | {"scores": False})
    assert mined(output=output, **settings) == whole
    assert searched == [0, 10, -1, 20, 30, 40]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.jsonl.gz", "whole.jsonl.gz"]


def test_an_index_whose_documents_changed_since_is_refused(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = [Document(str(number), text) for number, text in enumerate(corpus_of(pairs))]
    index, settings = tmp_path / "index", {"pairs": [pairs], "mode": "lexical", "block": 10}
    with Retriever.create(index, Words(), **ENGINE) as retriever:
        retriever.add(corpus)
    settings |= {"index": index, "output": tmp_path / "out.jsonl"}
    mine = miner_module.Miner.mine

    def cut(self: miner_module.Miner, examples: Sequence, start: int) -> tuple:
        if start == 20:
            raise KeyboardInterrupt
        return mine(self, examples, start)

    monkeypatch.setattr(miner_module.Miner, "mine", cut)
    with pytest.raises(KeyboardInterrupt):
        mined(**settings)
    with Retriever.open(index, Words(), writable=True) as retriever:
        retriever.index.compact()  # which changes files and no document
    with pytest.raises(KeyboardInterrupt, match="20 pairs are kept"):
        mined(**settings)
    with Retriever.open(index, Words(), writable=True) as retriever:
        retriever.add([Document(corpus[3].id, f"{corpus[3].text} indeed")])
        assert len(retriever.index) == len(corpus)
    with pytest.raises(
        InputError, match=r"\(the documents' hash was .*, is .*\); .*start over with --overwrite"
    ) as refused:
        mined(**settings)
    assert "\n" not in str(refused.value)
    monkeypatch.setattr(miner_module.Miner, "mine", mine)
    again = mined(**settings, overwrite=True)
    (tmp_path / "out.jsonl").unlink()
    assert mined(**settings) == again


def test_pairs_that_changed_since_are_told(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(pairs.read_text())
    with ResumableLines(tmp_path / "out.jsonl", {"pairs": ["x (0)"], "negatives": 3}, "pairs") as lines:
        lines.append([{"a": 1}], {}, 1)
    with (
        pytest.raises(InputError, match=r"pairs was .*, is "),
        ResumableLines(tmp_path / "out.jsonl", {"negatives": 3}, "pairs") as lines,
    ):
        lines.settle({"pairs": ["x (1)"]})
    assert (tmp_path / "out.jsonl.partial" / "lines").read_text() == '{"a": 1}\n'


def test_what_is_settled_late_decides_again_after_every_interruption(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    def run(model: str, overwrite: bool = False) -> int:
        with ResumableLines(output, {"negatives": 3}, "pairs", overwrite) as lines:
            lines.settle({"pairs": "x"})
            lines.settle({"model": model})
            lines.append([{"a": model}], {"n": 1}, 1)
            return lines.done

    assert [run("one"), run("one")] == [1, 2]
    with pytest.raises(InputError, match='model was "one", is "other"'):
        run("other")
    assert run("one", overwrite=True) == 3  # nothing has changed
    assert run("other", overwrite=True) == 1
    assert (tmp_path / "out.jsonl.partial" / "lines").read_text() == '{"a": "other"}\n'


def test_lines_that_are_lost_are_told_and_a_start_that_was_killed_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "out.jsonl.partial"
    folder.mkdir()
    for name in ("lines", "lock", ".state.json.abc.tmp"):
        (folder / name).touch()
    with ResumableLines(tmp_path / "out.jsonl", {}, "pairs") as lines:
        lines.append([{"a": 1}], {}, 1)
    (folder / "lines").unlink()  # as between the two steps of the end
    with (
        pytest.raises(InputError, match="lines: damaged, 0 bytes of 9; start over with --overwrite"),
        ResumableLines(tmp_path / "out.jsonl", {}, "pairs"),
    ):
        pass
    with ResumableLines(tmp_path / "out.jsonl", {}, "pairs", overwrite=True) as lines:
        assert lines.done == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bm25": False}, "expected one of --index, --model and --bm25, found none"),
        ({"model": "x"}, "found model and bm25"),
        ({"ranks": "5"}, "ranks 5: expected two whole numbers such as 10:100"),
        ({"ranks": "9:5"}, "expected a first rank of at least 1, and a last one not before it"),
        ({"ranks": "1:4", "negatives": 5}, "5 negatives are more than the ranks 1:4 hold"),
        ({"ratio": 1.5}, "ratio: expected more than 0 and at most 1, found 1.5"),
        ({"bm25": False, "model": "x", "mode": "hybrid", "margin": 1.0}, "scores of a hybrid search are relative"),
        ({"output": Path("out.txt")}, "out.txt: expected a file name that ends in .jsonl"),
        ({"pairs": ("none.jsonl",)}, "none.jsonl: no such file"),
    ],
)
def test_wrong_settings_are_refused_in_one_line_and_leave_nothing(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        mine_negatives(Mining(**{"pairs": (str(pairs),), "bm25": True, "output": Path("out.jsonl")} | changes), True)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_mined_files_train_both_kinds_of_models(
    pairs: Path, tiny_model: Path, tmp_path: Path, call: Callable[..., SimpleNamespace]
) -> None:
    output = tmp_path / "mined.jsonl.gz"
    options = ["--bm25", "--ranks", "1:30", "--negatives", 3, "--scores-from", tiny_model]
    done = call("mine-negatives", pairs, *options, "-o", output)
    assert (done.code, done.stdout) == (0, f"{output}\n")
    assert "49 pairs, 3.00 negatives each on average; 0 with fewer than 3, 0 without any left out" in done.stderr
    assert all(len(example.scores) == 4 for example in read_examples(output))
    assert call("mine-negatives", pairs, *options, "-o", output).code == 2
    common = {"data": [str(output)], "batch_size": 8, "max_steps": 2, "holdout": 0.0, "negatives": 3}
    train_dense(DenseTraining.from_sources(output=str(tmp_path / "dense"), model=str(tiny_model), **common))
    train_colbert(
        ColbertTraining.from_sources(output=str(tmp_path / "late"), model=str(tiny_model), loss="kl", dim=16, **common)
    )
    assert (tmp_path / "dense" / "modules.json").is_file()
    assert (tmp_path / "late" / "modules.json").is_file()
