"""A build ends as if nothing had happened, or leaves what was there: interruptions, mistakes, other corpora."""

import errno
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modernir.errors import InputError
from modernir.index.documents import Document
from modernir.index.index import Index
from modernir.retrieval import build as building
from modernir.retrieval.build import build_index
from modernir.retrieval.readers.rows import RowOptions
from modernir.retrieval.retriever import Retriever

Jsonl = Callable[[Path, list[dict]], Path]
Results = tuple[list[list[str]], list[list[float]], dict[str, Document]]
QUERIES = [f"text of {number}" for number in range(0, 100, 3)]


def rows(count: int) -> list[dict]:
    return [{"id": f"d{n}", "title": f"t{n}", "text": f"text of {n}", "even": n % 2 == 0} for n in range(count)]


@pytest.fixture
def corpus(tmp_path: Path, jsonl: Jsonl) -> Path:
    return jsonl(tmp_path / "corpus.jsonl", rows(100))


@pytest.fixture
def whole(tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any]) -> Results:
    """Return the results of a build that nothing disturbed."""
    with build_index(corpus, hash_encoder(), tmp_path / "whole", quiet=True) as retriever:
        return results(retriever)


def results(retriever: Retriever) -> Results:
    ids, scores = retriever.index.search(retriever.encoder.encode_queries(QUERIES), 50)
    return ids, [row.tolist() for row in scores], retriever.index.documents([f"d{n}" for n in range(100)])


def interrupt(
    corpus: Path,
    path: Path,
    encoder: Any,  # noqa: ANN401
    after: int,
    failure: BaseException | None = None,
    **options: Any,  # noqa: ANN401
) -> BaseException:
    """Build until `after` documents are encoded and return what comes out of it."""
    encoder.fail_after = after
    encoder.failure = failure or KeyboardInterrupt()
    with pytest.raises(BaseException) as caught:
        build_index(corpus, encoder, path, quiet=True, **options)
    encoder.fail_after = None
    return caught.value


def test_a_build_holds_every_document_and_says_what_it_was_made_of(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any]
) -> None:
    with build_index(corpus, hash_encoder(), tmp_path / "index", quiet=True) as retriever:
        info = retriever.index.info()
        documents = retriever.index.documents(["d7"])
        found = retriever.search(["t7 text of 7"], 1)[0][0]
    assert (info["documents"], info["finished"]) == (100, True)
    assert info["source"]["name"] == str(corpus.resolve())
    assert info["encoder"]["name"] == "hash"
    assert documents["d7"] == Document("d7", "text of 7", "t7", {"even": False})
    assert (found.id, found.score, found.document) == ("d7", pytest.approx(1), documents["d7"])


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("crash"), OSError(errno.ENOSPC, "full")])
@pytest.mark.parametrize("after", [0, 10, 57])
def test_an_interrupted_build_resumes_and_ends_as_an_uninterrupted_one(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results, failure: BaseException, after: int
) -> None:
    encoder = hash_encoder()
    raised = interrupt(corpus, tmp_path / "index", encoder, after, failure)
    assert type(raised) is type(failure)
    kept = after // 10 * 10
    if isinstance(failure, KeyboardInterrupt):
        said = f"{kept} documents are kept in {tmp_path / 'index'}; the same command goes on" if kept else "nothing was"
        assert said in str(raised)
    assert (tmp_path / "index").exists() == bool(kept)
    if kept:
        with Index.open(tmp_path / "index") as index:
            assert len(index) == kept
            assert index.info()["finished"] is False
            assert index.verify() == []
    with build_index(corpus, encoder, tmp_path / "index", quiet=True) as retriever:
        assert results(retriever) == whole
        assert retriever.index.verify() == []
        assert retriever.index.info()["finished"] is True
    assert sorted(encoder.seen) == sorted(f"t{n} text of {n}" for n in range(100))  # none encoded twice


def test_an_index_that_is_being_written_is_not_replaced(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any]
) -> None:
    encoder = hash_encoder()
    build_index(corpus, encoder, tmp_path / "index", quiet=True).close()
    with Index.open(tmp_path / "index", writable=True) as index:
        with pytest.raises(InputError, match="another process is writing to this index"):
            build_index(corpus, encoder, tmp_path / "index", overwrite=True, quiet=True)
        index.delete(["d1"])
        index.compact()
        assert index.verify() == []


def test_many_commits_and_interruptions_change_nothing(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "COMMIT_DOCUMENTS", 20)
    encoder = hash_encoder()
    for after in (15, 47, 48, 90):
        interrupt(corpus, tmp_path / "index", encoder, after)
    with build_index(corpus, encoder, tmp_path / "index", quiet=True) as retriever:
        assert results(retriever) == whole
        assert retriever.index.info()["segments"] == 1  # merged when all was there
    assert len(encoder.seen) == 100


def test_a_build_killed_after_its_last_commit_is_finished_by_the_next_run(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Index.set

    def die(self: Index, **settings: Any) -> None:  # noqa: ANN401
        if settings.get("build", 0) is None:
            raise SystemExit
        put(self, **settings)

    encoder = hash_encoder()
    monkeypatch.setattr(Index, "set", die)
    with pytest.raises(SystemExit):
        build_index(corpus, encoder, tmp_path / "index", quiet=True)
    monkeypatch.undo()
    with build_index(corpus, encoder, tmp_path / "index", quiet=True) as retriever:
        assert results(retriever) == whole
    assert len(encoder.seen) == 100


def test_an_interruption_of_the_commit_itself_keeps_the_build_whole(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C most often comes while the disk is waited for; the handler then commits once more."""
    from modernir.index.catalog import Catalog

    commit, calls = Catalog.commit, iter(range(1000))

    def interrupted(self: Catalog) -> None:
        commit(self)
        if next(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(building, "COMMIT_DOCUMENTS", 20)
    monkeypatch.setattr(Catalog, "commit", interrupted)
    encoder = hash_encoder()
    with pytest.raises(KeyboardInterrupt):
        build_index(corpus, encoder, tmp_path / "index", quiet=True)
    with build_index(corpus, encoder, tmp_path / "index", quiet=True) as retriever:
        assert results(retriever) == whole
        assert retriever.index.verify() == []


def test_a_finished_index_is_never_built_over(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    before = {file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()}
    with pytest.raises(InputError, match="whole: an index is here already; search it, or replace it with --overwrite"):
        build_index(corpus, hash_encoder(), tmp_path / "whole", quiet=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()} == before


def test_overwrite_replaces_only_when_the_new_one_is_whole(
    tmp_path: Path, corpus: Path, jsonl: Jsonl, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    encoder, other = hash_encoder(), jsonl(tmp_path / "other.jsonl", rows(30))
    interrupt(other, tmp_path / "whole", encoder, 15, overwrite=True)
    with Retriever.open(tmp_path / "whole", encoder) as retriever:
        assert results(retriever) == whole
    with build_index(other, encoder, tmp_path / "whole", overwrite=True, quiet=True) as retriever:
        assert len(retriever.index) == 30
    assert len(encoder.seen) == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.jsonl", "other.jsonl", "whole"]


def test_overwrite_with_a_broken_corpus_leaves_the_old_index(
    tmp_path: Path, jsonl: Jsonl, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    broken = jsonl(tmp_path / "broken.jsonl", [*rows(25), {"id": "d3", "text": "again"}])
    with pytest.raises(InputError, match=r"broken\.jsonl:26: document id 'd3' comes twice"):
        build_index(broken, hash_encoder(), tmp_path / "whole", overwrite=True, quiet=True)
    with Retriever.open(tmp_path / "whole", hash_encoder()) as retriever:
        assert results(retriever) == whole


def test_a_build_begun_with_overwrite_where_nothing_was_resumes_too(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    encoder = hash_encoder()
    interrupt(corpus, tmp_path / "index", encoder, 57, overwrite=True)
    with build_index(corpus, encoder, tmp_path / "index", overwrite=True, quiet=True) as retriever:
        assert results(retriever) == whole
    assert len(encoder.seen) == 100


def test_the_folder_that_one_stands_in_can_be_built_in_and_overwritten(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    build_index(corpus, hash_encoder(), ".", quiet=True).close()
    with build_index(corpus, hash_encoder(), ".", overwrite=True, quiet=True) as retriever:
        assert results(retriever) == whole
    assert (tmp_path / "here/catalog.sqlite").is_file()


def test_a_duplicate_id_is_named_and_the_mended_corpus_goes_on(
    tmp_path: Path, jsonl: Jsonl, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    lines, encoder = rows(100), hash_encoder()
    corpus = jsonl(tmp_path / "mend.jsonl", [*lines[:57], lines[5], *lines[57:]])
    with pytest.raises(InputError, match=r"mend\.jsonl:58: document id 'd5' comes twice; ids must be unique"):
        build_index(corpus, encoder, tmp_path / "index", quiet=True)
    with Index.open(tmp_path / "index") as index:
        assert len(index) == 50
    jsonl(corpus, lines)
    with build_index(corpus, encoder, tmp_path / "index", quiet=True) as retriever:
        assert results(retriever) == whole
        assert retriever.index.setting("source") == building.describe_source(corpus, None)
    assert len(encoder.seen) == 100


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"id": "bad"}', r"corpus\.jsonl:58: document 'bad' has no text"),
        ('{"id": "bad", "text": ""}', r"corpus\.jsonl:58: document 'bad' has no text; .* --empty skip"),
        ("not json", r"corpus\.jsonl:58: not a line of JSON"),
        ('{"text": "x"}', r"corpus\.jsonl:58: expected an id"),
        ('{"id": "bad", "text": "\\ud800"}', r"corpus\.jsonl:58: holds half of a surrogate pair"),
    ],
)
def test_a_broken_line_is_named_and_what_was_finished_is_kept(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results, bad: str, message: str
) -> None:
    good = corpus.read_text().splitlines()
    corpus.write_text("\n".join([*good[:57], bad, *good[57:]]))
    encoder = hash_encoder()
    with pytest.raises(InputError, match=message):
        build_index(corpus, encoder, tmp_path / "index", quiet=True)
    corpus.write_text("\n".join(good))
    with build_index(corpus, encoder, tmp_path / "index", quiet=True) as retriever:
        assert results(retriever) == whole
    assert len(encoder.seen) == 100


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_corpus_makes_no_index(tmp_path: Path, hash_encoder: Callable[..., Any], content: str) -> None:
    (tmp_path / "corpus.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"corpus\.jsonl: no documents in it"):
        build_index(tmp_path / "corpus.jsonl", hash_encoder(), tmp_path / "index", quiet=True)
    assert not (tmp_path / "index").exists()


def test_a_corpus_broken_in_its_first_line_or_missing_makes_no_index(
    tmp_path: Path, hash_encoder: Callable[..., Any]
) -> None:
    (tmp_path / "corpus.jsonl").write_text("not json")
    for source in ("corpus.jsonl", "missing.jsonl"):
        with pytest.raises(InputError, match=source):
            build_index(tmp_path / source, hash_encoder(), tmp_path / "index", quiet=True)
    assert not (tmp_path / "index").exists()


def test_empty_documents_are_skipped_or_kept_also_after_an_interruption(
    tmp_path: Path, jsonl: Jsonl, hash_encoder: Callable[..., Any]
) -> None:
    lines = rows(60)
    for number in (0, 7, 33, 59):
        lines[number] |= {"title": "", "text": ""}
    corpus = jsonl(tmp_path / "corpus.jsonl", lines)
    for empty, expected in (("skip", 56), ("keep", 60)):
        encoder = hash_encoder()
        interrupt(corpus, tmp_path / empty, encoder, 25, empty=empty)
        with build_index(corpus, encoder, tmp_path / empty, empty=empty, quiet=True) as retriever:
            assert len(retriever.index) == len(encoder.seen) == expected


CHANGES: dict[str, Callable[[list[dict]], list[dict]]] = {
    "another id": lambda lines: [{**lines[0], "id": "other"}, *lines[1:]],
    "another text": lambda lines: [*lines[:3], {**lines[3], "text": "other"}, *lines[4:]],
    "another title": lambda lines: [*lines[:3], {**lines[3], "title": "other"}, *lines[4:]],
    "one less": lambda lines: lines[1:],
    "one more": lambda lines: [{"id": "new", "text": "new"}, *lines],
    "shorter": lambda lines: lines[:20],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_corpus_that_changed_where_it_was_already_indexed_is_refused(
    tmp_path: Path, corpus: Path, jsonl: Jsonl, hash_encoder: Callable[..., Any], change: str
) -> None:
    encoder = hash_encoder()
    interrupt(corpus, tmp_path / "index", encoder, 50)
    jsonl(corpus, CHANGES[change](rows(100)))
    with pytest.raises(InputError, match=r"the corpus changed; remove .*index to start over"):
        build_index(corpus, encoder, tmp_path / "index", quiet=True)
    with Index.open(tmp_path / "index") as index:
        assert len(index) == 50
        assert index.info()["finished"] is False


def test_an_unfinished_index_of_another_encoder_corpus_or_precision_is_refused(
    tmp_path: Path, corpus: Path, jsonl: Jsonl, hash_encoder: Callable[..., Any]
) -> None:
    encoder = hash_encoder()
    interrupt(corpus, tmp_path / "index", encoder, 50)
    other, bf16 = hash_encoder("other"), hash_encoder()
    bf16.precision = "bf16"
    with pytest.raises(InputError, match="an unfinished index made with another encoder, hash; finish it, or replace"):
        build_index(corpus, other, tmp_path / "index", quiet=True)
    with pytest.raises(InputError, match="an unfinished index made with --precision fp32"):
        build_index(corpus, bf16, tmp_path / "index", quiet=True)
    another = jsonl(tmp_path / "b.jsonl", rows(9))
    with pytest.raises(
        InputError, match=r"an unfinished index of .*corpus\.jsonl; finish it, or replace it with --over"
    ):
        build_index(another, encoder, tmp_path / "index", quiet=True)
    with Index.open(tmp_path / "index") as index:
        assert len(index) == 50
    with build_index(another, encoder, tmp_path / "index", overwrite=True, quiet=True) as retriever:
        assert len(retriever.index) == 9


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_place_with_something_else_is_refused_and_left_alone(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], overwrite: bool
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").write_text("x")
    (tmp_path / "file").write_text("x")
    for place in ("photos", "file"):
        with pytest.raises(InputError, match=f"{place}: not empty and no index; choose another folder for it"):
            build_index(corpus, hash_encoder(), tmp_path / place, overwrite=overwrite, quiet=True)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]
    assert (tmp_path / "file").read_text() == "x"


def test_a_second_build_of_the_same_index_at_the_same_time_is_refused(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    encoder = hash_encoder()
    interrupt(corpus, tmp_path / "index", encoder, 50)
    with Index.open(tmp_path / "index", writable=True), pytest.raises(InputError, match="another process is writing"):
        build_index(corpus, encoder, tmp_path / "index", quiet=True)
    with build_index(corpus, encoder, tmp_path / "index", quiet=True) as retriever:
        assert results(retriever) == whole


def test_a_finished_index_is_reused_only_for_the_same_corpus_and_encoder(
    tmp_path: Path, corpus: Path, jsonl: Jsonl, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    encoder = hash_encoder()
    with build_index(corpus, encoder, tmp_path / "whole", reuse=True, quiet=True) as retriever:
        assert results(retriever) == whole
    assert encoder.seen == []
    moved = corpus.rename(tmp_path / "moved.jsonl")
    with build_index(moved, encoder, tmp_path / "whole", reuse=True, quiet=True) as retriever:
        assert results(retriever) == whole
    assert encoder.seen == []
    moved.rename(corpus)
    with pytest.raises(InputError, match="an index is here already"):
        build_index(corpus, hash_encoder("other"), tmp_path / "whole", reuse=True, quiet=True)
    jsonl(corpus, rows(99))
    with pytest.raises(InputError, match="an index is here already"):
        build_index(corpus, encoder, tmp_path / "whole", reuse=True, quiet=True)
    with build_index(corpus, encoder, tmp_path / "whole", reuse=True, overwrite=True, quiet=True) as retriever:
        assert len(retriever.index) == 99


def test_every_kind_of_source_gives_the_same_index(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results, tiny_beir: Path
) -> None:
    import datasets

    (tmp_path / "a.tsv").write_text("".join(f"d{n}\tt{n}\ttext of {n}\n" for n in range(100)))
    datasets.Dataset.from_list(rows(100)).save_to_disk(tmp_path / "saved")
    options = RowOptions(columns=("id", "title", "text"))
    for source, given in ((tmp_path / "a.tsv", options), (tmp_path / "saved", None)):
        with build_index(source, hash_encoder(), f"{source}-index", options=given, quiet=True) as retriever:
            assert results(retriever)[:2] == whole[:2]
    with build_index(tiny_beir, hash_encoder(), tmp_path / "beir", quiet=True) as retriever:
        assert len(retriever.index) == 6


def test_a_build_does_not_hold_the_corpus(
    tmp_path: Path, hash_encoder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,000 documents of 10 KB are 40 MB; a build that commits every 100 needs a few."""
    monkeypatch.setattr(building, "COMMIT_DOCUMENTS", 100)
    monkeypatch.setattr(hash_encoder, "encode_documents", lambda self, texts: np.ones((len(texts), 8), np.float32))
    with (tmp_path / "corpus.jsonl").open("w") as stream:
        for number in range(4000):
            stream.write(json.dumps({"id": str(number), "text": f"{number} " * 2000}) + "\n")
    tracemalloc.start()
    build_index(tmp_path / "corpus.jsonl", hash_encoder(block_size=50), tmp_path / "index", quiet=True).close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_progress_is_told_on_stderr_with_rate(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    build_index(corpus, hash_encoder(), tmp_path / "index").close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "indexing: 100/100 docs" in captured.err
    assert "docs/s" in captured.err


def test_the_sources_iterator_is_not_read_ahead_of_the_encoder(
    tmp_path: Path, hash_encoder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def endless(*_: object) -> Iterator[tuple[Document, str]]:
        for number in range(10**9):
            taken.append(number)
            yield Document(f"d{number}", f"text {number}"), f"line {number}"

    monkeypatch.setattr(building, "read_documents", endless)
    interrupt(tmp_path / "endless.jsonl", tmp_path / "index", hash_encoder(), 95)
    assert len(taken) <= 100


def test_a_damaged_index_can_be_replaced(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    next((tmp_path / "whole").glob("*.faiss")).unlink()
    with build_index(corpus, hash_encoder(), tmp_path / "whole", overwrite=True, quiet=True) as retriever:
        assert results(retriever) == whole


def test_metadata_that_json_does_not_know_are_the_same_after_an_interruption(
    tmp_path: Path, hash_encoder: Callable[..., Any], jsonl: Jsonl
) -> None:
    import datetime

    import pyarrow
    import pyarrow.parquet

    table = [{**row, "date": datetime.date(2020, 1, 1), "raw": b"\xff", "no": float("nan")} for row in rows(40)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "a.parquet")
    encoder = hash_encoder()
    interrupt(tmp_path / "a.parquet", tmp_path / "index", encoder, 25)
    with build_index(tmp_path / "a.parquet", encoder, tmp_path / "index", quiet=True) as retriever:
        metadata = retriever.index.documents(["d0"])["d0"].metadata
    assert metadata == {"even": True, "date": "2020-01-01", "raw": "b'\\xff'", "no": None}
    assert len(encoder.seen) == 40


def test_a_crash_between_the_two_renames_of_an_overwrite_is_mended_by_the_same_command(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any], whole: Results
) -> None:
    """The old index is put aside and the new one not yet in its place: neither is lost, nothing is encoded again."""
    (tmp_path / "whole").rename(tmp_path / "whole.rebuild")
    (tmp_path / ".whole.ab12_xyz.old" / "whole").mkdir(parents=True)
    encoder = hash_encoder()
    with build_index(corpus, encoder, tmp_path / "whole", overwrite=True, quiet=True) as retriever:
        assert results(retriever) == whole
    assert encoder.seen == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.jsonl", "whole"]


def test_overwriting_and_giving_up_touch_nothing_but_the_index(
    tmp_path: Path, corpus: Path, hash_encoder: Callable[..., Any]
) -> None:
    (tmp_path / "whole").mkdir()
    build_index(corpus, hash_encoder(), tmp_path / "whole", quiet=True).close()
    (tmp_path / "whole" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"whole: holds more than an index \(notes.txt\); move that away"):
        build_index(corpus, hash_encoder(), tmp_path / "whole", overwrite=True, quiet=True)
    assert (tmp_path / "whole" / "notes.txt").read_text() == "mine"

    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".gitkeep").write_text("")
    interrupt(corpus, tmp_path / "begun", hash_encoder(), 0)
    assert [file.name for file in (tmp_path / "begun").iterdir()] == [".gitkeep"]
