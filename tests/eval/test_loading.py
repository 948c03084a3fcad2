"""Benchmarks load from folders and from a server, and whatever is wrong is one clear error that leaves nothing."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from modernir.errors import InputError
from modernir.eval import loading
from modernir.eval.benchmarks import BENCHMARKS, SOURCES, Entry, parts
from modernir.eval.loading import choose_datasets, load_benchmark, load_local
from modernir.eval.measures import Measure

SMALL = Entry("small", documents=4, queries=2, licence="CC0", splits=("dev", "test"))
PART = replace(SMALL, name="bundle/part")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODERNIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "BENCHMARKS", {"small": SMALL, "bundle/part": PART})
    return tmp_path / "cache" / "beir"


def zipped(folder: Path, top: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{top}/{file.relative_to(folder)}")
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path: Path, make_beir: Callable[..., Path]) -> bytes:
    return zipped(make_beir(tmp_path / "made"), "small")


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def test_a_downloaded_benchmark_is_whole_and_not_fetched_twice(
    server: SimpleNamespace, archive: bytes, cache: Path
) -> None:
    server.answers["/sets/small.zip"] = (200, archive, None)
    benchmark = load_benchmark("small", source_url=server.url)
    assert benchmark.queries == {"q1": "apples", "q2": "pears"}
    assert benchmark.qrels == {"q1": {"d1": 2, "d3": 1}, "q2": {"d2": 1}}
    assert (benchmark.name, benchmark.split, benchmark.entry) == ("small", "test", SMALL)
    assert left(cache) == ["small"]
    assert left(cache / "small") == ["corpus.jsonl", "qrels", "queries.jsonl"]
    asked = len(server.asked)
    again = load_benchmark("small", split="dev", source_url=server.url)
    assert (again.split, list(again.queries), len(server.asked)) == ("dev", ["q1"], asked)


def test_one_of_several_sets_in_an_archive_is_found(
    server: SimpleNamespace, tmp_path: Path, make_beir: Callable[..., Path], cache: Path
) -> None:
    make_beir(tmp_path / "bundle" / "part")
    make_beir(tmp_path / "bundle" / "bundle")  # a part that bears the archive's name is no trouble
    server.answers["/sets/bundle.zip"] = (200, zipped(tmp_path / "bundle", "bundle"), None)
    benchmark = load_benchmark("bundle/part", source_url=server.url)
    assert benchmark.folder.path == cache / "bundle" / "part"
    assert left(cache / "bundle") == ["bundle", "part"]


def test_a_missing_page_is_named_with_its_status(server: SimpleNamespace, cache: Path) -> None:
    with pytest.raises(InputError, match=rf"{server.url}small\.zip: the server answers 404"):
        load_benchmark("small", source_url=server.url)
    assert left(cache) == []


def test_a_server_that_is_not_there_is_named(server: SimpleNamespace, cache: Path) -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:1/small\.zip: no answer"):
        load_benchmark("small", source_url="http://127.0.0.1:1")
    assert left(cache) == []


def test_a_cut_connection_leaves_nothing(server: SimpleNamespace, archive: bytes, cache: Path) -> None:
    server.answers["/sets/small.zip"] = (200, archive[: len(archive) // 2], len(archive))
    with pytest.raises(InputError, match=rf"{server.url}small\.zip: the connection was cut"):
        load_benchmark("small", source_url=server.url)
    assert left(cache) == []


@pytest.mark.parametrize("body", [b"<html>log in first</html>", b""])
def test_what_is_no_zip_file_is_refused(server: SimpleNamespace, body: bytes, cache: Path) -> None:
    server.answers["/sets/small.zip"] = (200, body, None)
    with pytest.raises(InputError, match=rf"{server.url}small\.zip: not a readable ZIP file"):
        load_benchmark("small", source_url=server.url)
    assert left(cache) == []


def test_a_zip_file_with_damaged_contents_is_refused(server: SimpleNamespace, archive: bytes, cache: Path) -> None:
    damaged = bytearray(archive)
    start = archive.index(b"corpus.jsonl") + len(b"corpus.jsonl")
    damaged[start : start + 20] = bytes(20)
    server.answers["/sets/small.zip"] = (200, bytes(damaged), None)
    with pytest.raises(InputError, match="not a readable ZIP file"):
        load_benchmark("small", source_url=server.url)
    assert left(cache) == []


def test_an_archive_of_something_else_is_refused(
    server: SimpleNamespace, tmp_path: Path, make_beir: Callable[..., Path], cache: Path
) -> None:
    server.answers["/sets/small.zip"] = (200, zipped(make_beir(tmp_path / "made"), "other"), None)
    with pytest.raises(InputError, match="no folder small/"):
        load_benchmark("small", source_url=server.url)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "readme.txt").write_text("nothing here")
    server.answers["/sets/small.zip"] = (200, zipped(tmp_path / "flat", "small"), None)
    with pytest.raises(InputError, match=r"small in it is not a folder with corpus\.jsonl"):
        load_benchmark("small", source_url=server.url)
    assert left(cache) == []


def test_wrong_sizes_are_refused(
    server: SimpleNamespace, tmp_path: Path, make_beir: Callable[..., Path], cache: Path
) -> None:
    short = make_beir(tmp_path / "short", corpus={"d1": "only one"})
    server.answers["/sets/small.zip"] = (200, zipped(short, "small"), None)
    with pytest.raises(InputError, match=rf"{server.url}small\.zip: .*expected 4 documents, found 1"):
        load_benchmark("small", source_url=server.url)
    unjudged = make_beir(tmp_path / "unjudged", qrels={"test": {"q1": {"d1": 1}}})
    server.answers["/sets/small.zip"] = (200, zipped(unjudged, "small"), None)
    with pytest.raises(InputError, match="expected judgements of 2 queries in split test, found 1"):
        load_benchmark("small", source_url=server.url)
    assert left(cache) == []
    make_beir(tmp_path / "small", corpus={"d1": "only one"})
    with pytest.raises(InputError, match=r"small: not small as published: expected 4 documents, found 1"):
        load_benchmark("small", data=tmp_path)


def test_a_split_that_a_known_set_does_not_have_is_refused_before_the_download(server: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="small: no split 'validation'; there: dev, test"):
        load_benchmark("small", split="validation", source_url=server.url)
    assert server.asked == []


def test_a_split_that_a_folder_does_not_have_is_refused_with_those_it_has(
    tmp_path: Path, make_beir: Callable[..., Path]
) -> None:
    folder = make_beir(tmp_path / "mine")
    with pytest.raises(InputError, match=r"no split 'train'.*there: dev, test"):
        load_benchmark(folder, split="train")
    unclear = make_beir(tmp_path / "unclear", qrels={"a": {"q1": {"d1": 1}}, "b": {"q1": {"d1": 1}}})
    with pytest.raises(InputError, match="name a split with --split; there: a, b"):
        load_benchmark(unclear)
    single = make_beir(tmp_path / "single", qrels={"valid": {"q1": {"d1": 1}}})
    assert load_benchmark(single).split == "valid"


def test_a_folder_of_any_name_needs_no_entry(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    benchmark = load_benchmark(str(make_beir(tmp_path / "mine")))
    assert (benchmark.name, benchmark.entry, benchmark.identical_ids) == ("mine", None, False)


def test_data_may_be_the_folder_itself_or_hold_it_by_name(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    folder = make_beir(tmp_path / "sets" / "mine")
    make_beir(tmp_path / "sets" / "more")
    assert load_benchmark("mine", data=folder).folder.path == folder
    assert load_benchmark("mine", data=tmp_path / "sets").folder.path == folder
    assert load_benchmark("small", data=folder).entry == SMALL
    for name in ("other", "../sets/mine", str(folder)):
        with pytest.raises(InputError, match="not a folder with corpus"):
            load_benchmark(name, data=tmp_path / "sets")
    with pytest.raises(InputError, match="no such folder"):
        load_benchmark("mine", data=tmp_path / "nowhere")
    assert choose_datasets([], folder) == ["mine"]
    assert choose_datasets([], tmp_path / "sets") == ["mine", "more"]
    assert choose_datasets(["x"], None) == ["x"]
    with pytest.raises(InputError, match="--dataset"):
        choose_datasets([], None)
    with pytest.raises(InputError, match="neither"):
        choose_datasets([], folder / "qrels")


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no-such-set: neither .* known: small, bundle/part"):
        load_benchmark("no-such-set")


def test_judgements_may_name_unknown_documents_but_not_only_unknown_queries(
    tmp_path: Path, make_beir: Callable[..., Path]
) -> None:
    benchmark = load_benchmark(make_beir(tmp_path / "a", qrels={"test": {"q1": {"gone": 1}, "lost": {"d1": 1}}}))
    assert list(benchmark.queries) == ["q1"]
    assert benchmark.qrels["q1"] == {"gone": 1}
    with pytest.raises(InputError, match=r"no query of qrels/test is in the queries file, e\.g\. 'x'"):
        load_benchmark(make_beir(tmp_path / "b", qrels={"test": {"x": {"d1": 1}}}))


def test_the_checksum_follows_corpus_queries_and_judgements(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    first = load_benchmark(make_beir(tmp_path / "a"))
    assert load_benchmark(make_beir(tmp_path / "b")).checksum == first.checksum
    assert load_benchmark(make_beir(tmp_path / "c"), split="dev").checksum != first.checksum
    assert load_benchmark(make_beir(tmp_path / "d", corpus={"d1": "x"})).checksum != first.checksum


def test_every_entry_is_consistent() -> None:
    for name, entry in BENCHMARKS.items():
        assert entry.name == name
        assert entry.split in entry.splits
        assert all(size is None or size > 0 for size in (entry.documents, entry.queries))
        assert entry.licence and entry.languages
        assert set(entry.published) <= set(SOURCES)
        assert all(0 < value < 1 for value in entry.published.values())
        assert str(Measure.parse(entry.measure)) == entry.measure
        if entry.hub is not None:
            assert tuple(entry.hub.qrels) == entry.splits
            assert len(entry.hub.revision) == 40
    documents_ask = {name for name, entry in BENCHMARKS.items() if entry.identical_ids}
    assert documents_ask == {"arguana", "quora", "nanobeir/ArguAna", "nanobeir/QuoraRetrieval"}
    assert BENCHMARKS["cqadupstack/tex"].url().endswith("/BEIR/datasets/cqadupstack.zip")
    assert BENCHMARKS["scifact"].url("http://host/sets") == "http://host/sets/scifact.zip"


@pytest.mark.parametrize(
    ("family", "members", "documents", "queries"),
    [
        ("cqadupstack", 12, 457_199, 13_145),
        ("mldr", 13, 493_709, 3800),
        ("codesearchnet", 6, 1_003_765, 52_561),
        ("nanobeir", 13, 56_723, 649),
    ],
)
def test_the_sizes_of_a_family_add_up_to_its_published_ones(
    family: str, members: int, documents: int, queries: int
) -> None:
    entries = [BENCHMARKS[name] for name in parts(family)]
    assert len(entries) == members
    assert (sum(e.documents or 0 for e in entries), sum(e.queries or 0 for e in entries)) == (documents, queries)


def test_scifact_has_the_published_sizes(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BENCHMARKS", BENCHMARKS)
    benchmark = load_benchmark("scifact", data=real_data / "beir")
    assert sum(1 for _ in benchmark.folder.documents()) == 5183
    assert len(benchmark.queries) == len(benchmark.qrels) == 300
    assert sum(map(len, benchmark.qrels.values())) == 339
    assert load_benchmark("scifact", split="train", data=real_data / "beir" / "scifact").split == "train"


def test_a_folder_without_judgements_is_told_so(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"no judgements; expected qrels/<split>\.tsv in it"):
        load_local(make_beir(tmp_path / "mine", qrels={}))
    with pytest.raises(InputError, match="no such folder; expected"):
        load_local(tmp_path / "gone")


def test_a_local_folder_may_be_called_as_a_public_set(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    folder = make_beir(tmp_path / "small", corpus={"d1": "red apples"})
    with pytest.raises(InputError, match="expected 4 documents, found 1; if it is another set, see: modernir eval"):
        load_benchmark("small", data=folder)
    own = load_local(folder, "dev")
    assert (own.name, own.entry, own.split, set(own.queries)) == ("small", None, "dev", {"q1"})
