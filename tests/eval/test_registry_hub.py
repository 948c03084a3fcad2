"""Benchmarks come from a hub, here a stand-in on 127.0.0.1, whole or not at all, whatever the layout of their files."""

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow
import pyarrow.parquet
import pytest

from modernir.errors import InputError
from modernir.eval import benchmarks, hub_files, loading
from modernir.eval.loading import choose_parts, load_benchmark
from modernir.eval.registry.entry import Entry, HubFiles
from modernir.eval.registry.layouts import BEIR, BEIR_REVERSED, LONGEMBED, MLDR

Rows = Sequence[Mapping[str, Any]]
LONG = "blue plums " * 300


def parquet(rows: Rows) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), stream)
    return stream.getvalue()


def lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


CODE = (
    {"_id": "d1", "title": "t", "text": "red", "partition": "train", "meta_information": {"resource": ""}},
    {"_id": "d2", "title": "", "text": "green", "partition": "test", "meta_information": {"resource": ""}},
    {"_id": "d3", "title": None, "text": "blue", "partition": "test", "meta_information": {"resource": ""}},
)
ASKED = ({"_id": "q1", "text": "def red"}, {"_id": "q2", "text": "def green"}, {"_id": "q3", "text": "def blue"})
COIR = {
    "go-corpus/corpus-00000-of-00002.parquet": parquet(CODE[:2]),
    "go-corpus/corpus-00001-of-00002.parquet": parquet((CODE[2], CODE[0])),  # a row that comes twice
    "go-queries/queries-00000-of-00001.parquet": parquet(ASKED),
    "go-qrels/train-00000-of-00001.parquet": parquet([{"query-id": "q1", "corpus-id": "d1", "score": 1}]),
    "go-qrels/test-00000-of-00001.parquet": parquet(
        [{"query-id": "q2", "corpus-id": "d2", "score": 2}, {"query-id": "q3", "corpus-id": "d3", "score": 1}]
    ),
    "README.md": b"# CodeSearchNet",
}
BY_SPLIT = {split: f"go-qrels/{split}-*.parquet" for split in ("train", "test")}
COIR_FILES = HubFiles(
    "owner/code", "main", BEIR, "go-corpus/corpus-*.parquet", ("go-queries/queries-*.parquet",), BY_SPLIT
)
ENTRY = Entry("code/go", 3, 2, "CC0", ("train", "test"), hub=COIR_FILES)
REVERSED = replace(
    ENTRY,
    name="reversed/go",
    documents=None,
    queries=None,
    hub=replace(COIR_FILES, layout=BEIR_REVERSED, corpus=COIR_FILES.queries[0], queries=(COIR_FILES.corpus,)),
)


@dataclass
class Hub:
    """What the stand-in serves, where it breaks off, and what it was asked."""

    register: Callable[[Entry], None]
    cuts: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def load(self, entry: Entry, split: str | None = None) -> loading.Benchmark:
        self.register(entry)
        return load_benchmark(entry.name, split, source_url=self.address)

    def fetched(self) -> list[str]:
        return [line.split("/resolve/")[1].split("/", 1)[1] for line in self.asked if line.startswith("GET /datasets/")]


@pytest.fixture
def hub(
    serve_hub: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str, Mapping[str, bytes]], Hub]:
    """Serve a repository to this process, whose caches are empty."""
    table: dict[str, Entry] = {}
    monkeypatch.setenv("MODERNIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "BENCHMARKS", table)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_files, "CHUNK_BYTES", 100)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)

    def serve(repository: str, files: Mapping[str, bytes]) -> Hub:
        served = Hub(lambda entry: table.update({entry.name: entry}))
        served.address = serve_hub(repository, files, served.cuts, served.asked)
        return served

    return serve


Serve = Callable[[str, Mapping[str, bytes]], Hub]


def corpus_of(benchmark: loading.Benchmark) -> dict[str, tuple[str, str]]:
    return {document.id: (document.title, document.text) for document, _ in benchmark.folder.documents()}


def left(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache" / "beir").rglob("*") if path.is_file()]


def test_parquet_shards_in_coirs_form_become_a_beir_folder(hub: Serve, tmp_path: Path) -> None:
    served = hub("owner/code", COIR)
    benchmark = served.load(ENTRY)
    assert corpus_of(benchmark) == {"d1": ("t", "red"), "d2": ("", "green"), "d3": ("", "blue")}
    assert (benchmark.name, benchmark.split) == ("code/go", "test")
    assert benchmark.queries == {"q2": "def green", "q3": "def blue"}
    assert benchmark.qrels == {"q2": {"d2": 2}, "q3": {"d3": 1}}
    folder = tmp_path / "cache" / "beir" / "code" / "go"
    assert benchmark.folder.path == folder
    assert sorted(path.name for path in folder.iterdir()) == ["corpus.jsonl", "counts.json", "qrels", "queries.jsonl"]
    assert json.loads((folder / "counts.json").read_text()) == {
        "repository": "owner/code",
        "revision": "main",
        "documents": 3,
        "queries": {"train": 1, "test": 2},
        "judgements": {"train": 1, "test": 2},
    }
    asked = len(served.asked)
    assert served.load(ENTRY, split="train").queries == {"q1": "def red"}
    assert len(served.asked) == asked


def test_the_other_direction_searches_what_asked_before(hub: Serve) -> None:
    benchmark = hub("owner/code", COIR).load(REVERSED)
    assert corpus_of(benchmark) == {row["_id"]: ("", row["text"]) for row in ASKED}
    assert benchmark.queries == {"d2": "green", "d3": "blue"}
    assert benchmark.qrels == {"d2": {"q2": 2}, "d3": {"q3": 1}}


def test_judgements_without_scores_are_of_grade_one(hub: Serve) -> None:
    files = {
        "corpus/train-00000-of-00001.parquet": parquet([{"_id": "d1", "text": "red"}, {"_id": "d2", "text": ""}]),
        "queries/train-00000-of-00001.parquet": parquet([{"_id": "q1", "text": "apples"}]),
        "qrels/train-00000-of-00001.parquet": parquet([{"query-id": "q1", "corpus-id": "d1"}]),
    }
    nano = benchmarks.BENCHMARKS["nanobeir/SciFact"]
    entry = replace(nano, documents=2, queries=1, hub=replace(nano.hub, revision="main"))
    benchmark = hub("zeta-alpha-ai/NanoSciFact", files).load(entry)
    assert (benchmark.split, benchmark.qrels) == ("train", {"q1": {"d1": 1}})
    assert corpus_of(benchmark)["d2"] == ("", "")


def test_mldrs_queries_hold_their_documents(hub: Serve) -> None:
    def row(number: int, *negatives: str) -> dict[str, Any]:
        passages = [{"docid": f"doc-zh-{number}", "text": LONG}]
        others = [{"docid": name, "text": "…"} for name in negatives]
        return {
            "query_id": f"q-zh-{number}",
            "query": f"问题 {number}",
            "positive_passages": passages,
            "negative_passages": others,
        }

    documents = [{"docid": f"doc-zh-{number}", "text": LONG + str(number)} for number in range(4)]
    files = {
        "mldr-v1.0-zh/corpus.jsonl.gz": gzip.compress(lines(documents)),
        "mldr-v1.0-zh/dev.jsonl.gz": gzip.compress(lines([row(0)])),
        "mldr-v1.0-zh/test.jsonl.gz": gzip.compress(lines([row(1, "doc-zh-3"), row(2)])),
    }
    known = benchmarks.BENCHMARKS["mldr/zh"]
    assert known.hub.layout is MLDR
    entry = replace(known, documents=4, queries=2, hub=replace(known.hub, revision="main"))
    served = hub("Shitao/MLDR", files)
    benchmark = served.load(entry)
    assert benchmark.queries == {"q-zh-1": "问题 1", "q-zh-2": "问题 2"}
    assert benchmark.qrels == {"q-zh-1": {"doc-zh-1": 1}, "q-zh-2": {"doc-zh-2": 1}}
    assert corpus_of(benchmark)["doc-zh-3"] == ("", LONG + "3")
    assert served.load(entry, split="dev").qrels == {"q-zh-0": {"doc-zh-0": 1}}
    assert not any("/api/" in line for line in served.asked)  # the names are known


def test_rows_of_another_length_do_not_belong(hub: Serve) -> None:
    both = (256, 512)
    files = {
        "needle/corpus.jsonl": lines([{"doc_id": f"d{n}", "text": "hay", "context_length": n} for n in both]),
        "needle/queries.jsonl": lines([{"qid": f"q{n}", "text": "pin", "context_length": n} for n in both]),
        "needle/qrels.jsonl": lines([{"qid": f"q{n}", "doc_id": f"d{n}", "context_length": n} for n in both]),
    }
    known = benchmarks.BENCHMARKS["longembed/needle-512"]
    assert known.hub.layout is LONGEMBED
    entry = replace(known, documents=1, queries=1, hub=replace(known.hub, revision="main"))
    benchmark = hub("dwzhu/LongEmbed", files).load(entry)
    assert (list(corpus_of(benchmark)), benchmark.qrels) == (["d512"], {"q512": {"d512": 1}})


def test_an_interrupted_download_goes_on_where_it_stopped(hub: Serve, tmp_path: Path) -> None:
    served = hub("owner/code", COIR)
    cut = "go-queries/queries-00000-of-00001.parquet"
    served.cuts[cut] = 400
    with pytest.raises(
        InputError, match=rf"^owner/code/{cut}: the connection was cut after 400 of \d+ bytes; try again"
    ):
        served.load(ENTRY)
    assert left(tmp_path) == []
    before = served.fetched()
    assert before.count("go-qrels/test-00000-of-00001.parquet") == 1
    served.cuts.clear()
    served.asked.clear()
    assert len(served.load(ENTRY).queries) == 2
    again = served.fetched()
    assert not [line for line in again if line.startswith("go-qrels")]
    assert [line for line in again if line.startswith(cut)] == [f"{cut} bytes=400-"]


def test_a_hub_that_is_not_there_is_told_in_one_line(hub: Serve, tmp_path: Path) -> None:
    served = hub("owner/code", COIR)
    served.address = "http://127.0.0.1:1"
    with pytest.raises(InputError, match=r"^owner/code: cannot be fetched from the hub .*--data") as caught:
        served.load(ENTRY)
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == []


def test_an_unknown_repository_is_named(hub: Serve, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^owner/code: cannot be fetched from the hub"):
        hub("owner/other", COIR).load(ENTRY)
    assert left(tmp_path) == []


def test_a_missing_split_is_refused_before_and_after_asking_the_hub(hub: Serve, tmp_path: Path) -> None:
    served = hub("owner/code", {name: body for name, body in COIR.items() if "train" not in name})
    with pytest.raises(InputError, match="code/go: no split 'dev'; there: train, test"):
        served.load(ENTRY, split="dev")
    assert served.asked == []
    with pytest.raises(InputError, match=r"^owner/code: has no file go-qrels/train-\*\.parquet"):
        served.load(ENTRY)
    exact = replace(COIR_FILES, qrels={"test": "go-qrels/nothing.parquet"}, corpus="c", queries=("q",))
    with pytest.raises(InputError, match=r"^owner/code: has no file go-qrels/nothing\.parquet"):
        served.load(replace(ENTRY, hub=exact))
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"documents": 4}, "owner/code: not the data set that was expected: expected 4 documents, found 3"),
        ({"queries": 5}, "expected judgements of 5 queries in split test, found 2"),
    ],
)
def test_a_wrong_count_leaves_nothing(hub: Serve, tmp_path: Path, known: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hub("owner/code", COIR).load(replace(ENTRY, **known))
    assert left(tmp_path) == []


def test_a_copy_that_was_damaged_later_is_noticed_without_published_sizes(hub: Serve) -> None:
    served = hub("owner/code", COIR)
    file = served.load(REVERSED).folder.path / "corpus.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match=r"expected 3 documents, found 2; delete the folder to download it again"):
        served.load(REVERSED)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("go-queries/queries-00000-of-00001.parquet", [{"_id": "q2", "body": "x"}], "row 1: expected a field 'text'"),
        ("go-queries/queries-00000-of-00001.parquet", [{"_id": "a\tb", "text": "x"}], r"row 1: not a row of this data"),
        (
            "go-queries/queries-00000-of-00001.parquet",
            [{"_id": "q2", "text": "x"}, {"_id": "q2", "text": "y"}],
            "owner/code: queries has the id 'q2' for two texts",
        ),
        ("go-qrels/test-00000-of-00001.parquet", [{"query-id": "q2", "corpus-id": "d2", "score": "high"}], "row 1"),
        ("go-corpus/corpus-00001-of-00002.parquet", [{"_id": "d3", "text": 3}], "row 1: not a row of this data set"),
    ],
)
def test_rows_of_another_shape_are_refused(hub: Serve, tmp_path: Path, name: str, rows: Rows, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hub("owner/code", COIR | {name: parquet(rows)}).load(ENTRY)
    assert left(tmp_path) == []


def test_what_is_no_parquet_file_is_refused(hub: Serve, tmp_path: Path) -> None:
    broken = {"go-qrels/test-00000-of-00001.parquet": b"<html>log in first</html>"}
    with pytest.raises(InputError, match="not a readable Parquet file"):
        hub("owner/code", COIR | broken).load(ENTRY)
    assert left(tmp_path) == []


def test_an_interruption_while_the_folder_is_made_leaves_nothing(
    hub: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = hub("owner/code", COIR)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("modernir.eval.hub.write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            served.load(ENTRY)
    assert left(tmp_path) == []
    served.asked.clear()
    assert len(served.load(ENTRY).queries) == 2
    assert served.fetched() == []


def test_what_cannot_be_downloaded_says_how_to_come_by_it() -> None:
    with pytest.raises(InputError, match=r"codesearchnet-challenge/go: .*annotationStore\.csv.*--data"):
        load_benchmark("codesearchnet-challenge/go")


def test_parts_of_a_family_are_chosen_by_language(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    assert choose_parts("mldr", ["en", "zh"], None) == ["mldr/en", "mldr/zh"]
    assert len(choose_parts("mldr", [], None)) == 13
    for family in ("codesearchnet", "codesearchnet-reversed", "codesearchnet-challenge"):
        assert len(choose_parts(family, [], None)) == 6
    with pytest.raises(InputError, match="mldr: no language 'xx'; there: ar, de"):
        choose_parts("mldr", ["xx"], None)
    for part in ("de", "fr"):
        make_beir(tmp_path / "mldr" / part)
    assert choose_parts("mldr", [], tmp_path) == ["mldr/de", "mldr/fr"]
    assert choose_parts("mldr", [], tmp_path / "mldr") == ["mldr/de", "mldr/fr"]
    assert choose_parts("mldr", ["de"], tmp_path / "mldr" / "de") == ["mldr/de"]
    with pytest.raises(InputError, match="one data set, but 2 are named: mldr/de, mldr/fr"):
        choose_parts("mldr", ["de", "fr"], tmp_path / "mldr" / "de")
    with pytest.raises(InputError, match="say with --language which one of mldr it is"):
        choose_parts("mldr", [], tmp_path / "mldr" / "de")
    with pytest.raises(InputError, match="has none of mldr"):
        choose_parts("mldr", [], tmp_path / "mldr" / "de" / "qrels")


# The commands


def test_mldr_is_evaluated_by_its_command(
    hub: Serve, call: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    files = {}
    for language in ("de", "fr"):
        documents = [{"docid": f"{language}{n}", "text": text} for n, text in enumerate(("red apples", "sour lemons"))]
        passages = {"positive_passages": [{"docid": f"{language}1", "text": ""}], "negative_passages": []}
        for split in ("dev", "test"):
            rows = [{"query_id": f"{split}-{language}", "query": "sour lemons", **passages}]
            files[f"mldr-v1.0-{language}/{split}.jsonl.gz"] = gzip.compress(lines(rows))
        files[f"mldr-v1.0-{language}/corpus.jsonl.gz"] = gzip.compress(lines(documents))
    served = hub("Shitao/MLDR", files)
    for language in ("de", "fr"):
        served.register(replace(benchmarks.BENCHMARKS[f"mldr/{language}"], documents=2, queries=1))
    command = ("eval", "mldr", "-m", tiny_model, "-l", "de", "-l", "fr", "-o", tmp_path / "out")
    done = call(*command, "--source", served.address, "--json")
    assert done.code == 0, done.stderr
    reports = json.loads(done.stdout)
    assert [(report["benchmark"], report["split"]) for report in reports] == [("mldr/de", "test"), ("mldr/fr", "test")]
    assert all(report["metrics"]["nDCG@10"] == 1 for report in reports)
    systems = {figure["system"] for figure in reports[0]["published"]}
    assert systems == {"BM25 on XLM-R's tokens", "M3-Embedding, dense", "M3-Embedding, multi-vector"}
    assert (tmp_path / "out" / "mldr" / "de" / "report.json").is_file()
    served.asked.clear()
    assert "finished before" in call(*command).stderr
    copies = tmp_path / "cache" / "beir"
    dev = call(*command, "--data", copies, "--split", "dev", "--json")
    assert [report["split"] for report in json.loads(dev.stdout)] == ["dev", "dev"]
    assert served.asked == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("mldr", "-l", "xx"), "error: mldr: no language 'xx'; there: ar, de"),
        (("mldr", "-l", "de", "--split", "train"), "error: mldr/de: no split 'train'; there: dev, test"),
        (
            ("mldr", "-l", "de"),
            "error: Shitao/MLDR/mldr-v1.0-de/dev.jsonl.gz: the connection was cut after 300 of 1000",
        ),
        (
            ("codesearchnet", "--form", "challenge", "-l", "go"),
            "error: codesearchnet-challenge/go: cannot be downloaded",
        ),
        (("codesearchnet", "--form", "coir", "-l", "cobol"), "error: codesearchnet: no language 'cobol'"),
    ],
)
def test_what_goes_wrong_is_one_line(
    hub: Serve, call: Callable[..., Any], tiny_model: Path, tmp_path: Path, options: Sequence[str], message: str
) -> None:
    served = hub("Shitao/MLDR", {"mldr-v1.0-de/dev.jsonl.gz": b"x" * 1000})
    served.cuts["mldr-v1.0-de/dev.jsonl.gz"] = 300
    for name in ("mldr/de", "codesearchnet-challenge/go"):
        served.register(benchmarks.BENCHMARKS[name])
    done = call("eval", *options, "-m", tiny_model, "-o", tmp_path / "out", "--source", served.address)
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(message)
    assert left(tmp_path) == []


@pytest.mark.parametrize(("form", "documents"), [("coir", 3), ("reversed", 3)])
def test_codesearchnet_is_evaluated_in_both_directions(
    hub: Serve, call: Callable[..., Any], tiny_model: Path, tmp_path: Path, form: str, documents: int
) -> None:
    served = hub(
        "CoIR-Retrieval/CodeSearchNet",
        COIR | {"go-qrels/valid-0.parquet": COIR["go-qrels/test-00000-of-00001.parquet"]},
    )
    family = "codesearchnet" if form == "coir" else "codesearchnet-reversed"
    served.register(replace(benchmarks.BENCHMARKS[f"{family}/go"], documents=documents, queries=2))
    command = ("eval", "codesearchnet", "-m", tiny_model, "--form", form, "-l", "go", "--source", served.address)
    done = call(*command, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["benchmark"], report["counts"]["queries"]) == (f"{family}/go", 2)
    assert report["counts"]["documents"] == documents


def test_the_challenge_is_evaluated_on_a_local_copy(
    call: Callable[..., Any], tiny_model: Path, tmp_path: Path, make_beir: Callable[..., Path]
) -> None:
    copy = make_beir(tmp_path / "csn_challenge_go")
    command = ("eval", "codesearchnet", "-m", tiny_model, "--form", "challenge", "--data", copy, "-l", "go", "--json")
    (report,) = json.loads(call(*command, "-o", tmp_path / "out").stdout)
    assert report["benchmark"] == "codesearchnet-challenge/go"
