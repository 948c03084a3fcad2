"""Recall of several indexes equals brute force over their vectors; table, CSV, JSON and page show the same figures."""

import csv
import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modernir.errors import InputError
from modernir.index.documents import Document
from modernir.index.index import Index
from modernir.retrieval.recall.export import to_csv, to_json
from modernir.retrieval.recall.measure import RecallTable, measure_recall_of
from modernir.retrieval.recall.page import page

COUNT, SAMPLE, DIM, K = 1200, 200, 8, 10


def build(path: Path, ids: list[str] | None = None, seed: int = 0, fingerprint: str = "f", **engine: object) -> Path:
    ids = ids or [f"d{n}" for n in range(COUNT)]
    vectors = np.random.default_rng(seed).normal(size=(len(ids), DIM)).astype(np.float32)
    settings = {"encoder": {"name": "none", "fingerprint": fingerprint}}
    with Index.create(path, dim=DIM, settings=settings, **engine) as index:
        index.add(ids, vectors, [Document(identifier, text="text") for identifier in ids])
        index.compact()
    return path


@pytest.fixture
def indexes(tmp_path: Path) -> list[Path]:
    return [build(tmp_path / "full"), build(tmp_path / "small", storage="int8", structure="IVF8,Flat")]


@pytest.fixture
def measured(indexes: list[Path]) -> RecallTable:
    return measure_recall_of(indexes, None, SAMPLE, [1, K])


def best(index: Path, queries: np.ndarray) -> list[set[int]]:
    with Index.open(index) as opened:
        vectors = np.concatenate([block for _, block in opened.vectors()])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [set(row.tolist()) for row in np.argsort(-(queries @ vectors.T), axis=1)[:, :K]]


def test_all_indexes_are_measured_against_the_exact_search_in_the_first(
    indexes: list[Path], measured: RecallTable
) -> None:
    with Index.open(indexes[0]) as opened:
        queries = np.concatenate([block for _, block in opened.vectors()])[:: COUNT // SAMPLE]
    truth, found = best(indexes[0], queries), best(indexes[1], queries)
    expected = np.mean([len(one & other) / K for one, other in zip(truth, found, strict=True)])
    exact = {row.index: row.measured for row in measured.rows if row.setting == "exact"}
    assert exact["full"].recall == {1: 1.0, K: 1.0}
    assert exact["small"].recall[K] == pytest.approx(expected, abs=0.005)
    assert exact["small"].recall[K] < 1
    probed = [row.measured.recall[K] for row in measured.rows if row.index == "small" and "nprobe" in row.setting]
    assert max(probed) <= exact["small"].recall[K] + 1e-9
    assert probed[0] < probed[-1] == pytest.approx(exact["small"].recall[K])


def test_bytes_are_those_of_the_index(indexes: list[Path], measured: RecallTable) -> None:
    for path in indexes:
        with Index.open(path) as opened:
            info = opened.info()
        sizes = {(row.document_bytes, row.token_bytes) for row in measured.rows if row.index == path.name}
        assert sizes == {(info["vector_bytes"] / COUNT, None)}


def test_files_and_page_show_what_was_measured(measured: RecallTable) -> None:
    values = to_json(measured)
    assert (values["reference"], values["documents"]) == ("full", COUNT)
    for row, one in zip(values["settings"], measured.rows, strict=True):
        assert (row["R@10"], row["p50_ms"]) == (one.measured.recall[K], one.measured.median)
    rows = list(csv.DictReader(StringIO(to_csv(measured))))
    assert [row["setting"] for row in rows] == [row.setting for row in measured.rows]
    assert [float(row["bytes_per_document"]) for row in rows] == [row.document_bytes for row in measured.rows]
    text = page(measured)
    shown = {float(value) for value in re.findall(r'data-value="([^"]+)"', text)}
    for row in measured.rows:
        assert {row.measured.recall[1], row.measured.recall[K], row.measured.median, row.document_bytes} <= shown
    assert text.count("<figure>") == 4  # two cut-offs, against latency and against bytes
    assert text.count("<circle") == 4 * len(measured.rows) + 2
    assert "src=" not in text and "href=" not in text


def test_one_index_has_no_plot_of_bytes(indexes: list[Path]) -> None:
    alone = measure_recall_of(indexes[:1], None, 20, [K])
    text = page(alone)
    assert (text.count("<figure>"), text.count("legend")) == (1, page(alone).count(".legend"))
    assert "bytes a document" in text


def test_indexes_of_other_things_are_refused(indexes: list[Path], tmp_path: Path) -> None:
    def refused(other: Path, *parts: str) -> None:
        with pytest.raises(InputError) as caught:
            measure_recall_of([indexes[0], other], None, 5, [K])
        assert all(part in str(caught.value) for part in parts)
        assert "\n" not in str(caught.value)

    refused(indexes[0], "named twice")
    refused(build(tmp_path / "few", ["d1", "d2"]), "holds 2 documents", "1,200")
    refused(build(tmp_path / "others", [f"x{n}" for n in range(COUNT)]), "lacks document 'd0'")
    refused(build(tmp_path / "encoder", fingerprint="g"), "another encoder")
    with Index.create(tmp_path / "late", "late", dim=DIM) as late:
        late.add(["d1"], (np.ones((2, DIM), np.float32), np.array([0, 2])))
    refused(tmp_path / "late", "of other vectors", "late")


def test_the_command_writes_what_it_measures(
    call: Callable[..., SimpleNamespace], indexes: list[Path], tmp_path: Path
) -> None:
    files = [tmp_path / "out" / name for name in ("recall.csv", "recall.html")]
    options = ["-i", indexes[0], "-i", indexes[1], "-k", 5, "--sample", 10]
    done = call("index", "recall", *options, "--csv", files[0], "--html", files[1], "--json")
    assert done.code == 0, done.stderr
    rows = json.loads(done.stdout)["settings"]
    written = list(csv.DictReader(files[0].open()))
    assert [float(row["R@5"]) for row in written] == [row["R@5"] for row in rows]
    assert repr(rows[0]["p50_ms"]) in files[1].read_text()
    told = call("index", "recall", *options, "--html", tmp_path)
    assert told.code == 2 and "is a folder" in told.stderr.splitlines()[-1]
