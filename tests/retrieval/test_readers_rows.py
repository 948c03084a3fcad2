"""Every format gives the same rows, streamed, and names the line that is broken."""

import gzip
import json
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from modernir.errors import InputError
from modernir.retrieval.readers.lines import numbered_lines
from modernir.retrieval.readers.rows import RowOptions, blocks, count_rows, read_rows

ROWS = [{"id": "1", "text": 'ä\u2028b, "c"\''}, {"id": "2", "text": "x y"}]


def zst(path: Path, content: bytes) -> Path:
    path.write_bytes(zstandard.compress(content))
    return path


def as_jsonl() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def make(path: Path) -> Path:
    """Write ROWS in the format that the name's ending says."""
    name = path.name
    if ".jsonl" in name or ".ndjson" in name:
        content = as_jsonl()
    elif ".tsv" in name:
        content = ("id\ttext\n" + "".join(f"{row['id']}\t{row['text']}\n" for row in ROWS)).encode()
    elif ".csv" in name:
        content = 'id,text\r\n1,"ä\u2028b, ""c""\'"\r\n2,x y\r\n'.encode()
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
        return path
    if name.endswith(".gz"):
        content = gzip.compress(content)
    elif name.endswith(".zst"):
        content = zstandard.compress(content)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.ndjson", "a.b.jsonl", "a.tsv", "a.tsv.gz", "a.tsv.zst"),
        *("a.csv", "a.csv.gz", "a.csv.zst", "a.parquet"),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name)
    rows = list(read_rows(path))
    assert [row.fields for row in rows] == ROWS
    assert all(row.where.startswith(f"{path}:") for row in rows)


@pytest.mark.parametrize(("name", "lines"), [("a.jsonl", [1, 2]), ("a.tsv", [2, 3]), ("a.csv.zst", [2, 3])])
def test_a_row_knows_its_line(tmp_path: Path, name: str, lines: list[int]) -> None:
    path = make(tmp_path / name)
    assert [row.where for row in read_rows(path)] == [f"{path}:{line}" for line in lines]


def test_blank_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"id": "1"}\n  \n\r\n{"id": "2"}')
    assert [row.where for row in read_rows(path)] == [f"{path}:2", f"{path}:5"]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, ending: str) -> None:
    content = b'\xef\xbb\xbf{"id": "1"}\n'
    pack: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
    (tmp_path / f"a.jsonl{ending}").write_bytes(pack[ending](content))
    assert [row.fields for row in read_rows(tmp_path / f"a.jsonl{ending}")] == [{"id": "1"}]


def test_lines_end_with_a_line_feed_and_with_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes("id\ttext\r\n1\ta\x0b\x0c\x1c\x85\u2028b\r\n".encode())
    assert [row.fields for row in read_rows(tmp_path / "a.tsv")] == [{"id": "1", "text": "a\x0b\x0c\x1c\x85\u2028b"}]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_compressed_file_in_several_parts_is_read_to_its_end(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """`cat a.zst b.zst` and parallel compressors make such files."""
    first, second = as_jsonl()[:9], as_jsonl()[9:]
    path = tmp_path / ("a.jsonl.gz" if pack is gzip.compress else "a.jsonl.zst")
    path.write_bytes(pack(first) + pack(b"") + pack(second))
    assert [row.fields for row in read_rows(path)] == ROWS


def test_columns_of_a_file_without_a_header_are_named_by_the_user(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('7\t"quoted\n8\tb\n')
    rows = list(read_rows(tmp_path / "a.tsv", RowOptions(columns=("pid", "passage"))))
    assert [row.fields for row in rows] == [{"pid": "7", "passage": '"quoted'}, {"pid": "8", "passage": "b"}]
    assert rows[0].where.endswith("a.tsv:1")


def test_a_csv_field_may_hold_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'id,text\n1,"two\nlines"\n2,b\n')
    assert [row.fields["text"] for row in read_rows(tmp_path / "a.csv")] == ["two\nlines", "b"]


BROKEN: dict[str, tuple[bytes, str]] = {
    "a.jsonl": (b'{"id": "1"}\nnot json\n', r"a\.jsonl:2: not a line of JSON"),
    "cut.jsonl": (b'{"id": "1"}\n{"id": "2", "te', r"cut\.jsonl:2: not a line of JSON"),
    "list.jsonl": (b'\n{"id": "1"}\n[1, 2]\n', r"list\.jsonl:3: expected a JSON object \{…\}, found list"),
    "string.jsonl": (b'"text"\n', r"string\.jsonl:1: expected a JSON object \{…\}, found str"),
    "whole.json": (b'[\n{"id": "1"}\n]\n', r"whole\.json:1: not a line of JSON"),
    "deep.jsonl": (b"[" * 100_000, r"deep\.jsonl:1: not a line of JSON"),
    "half.jsonl": (b'{"id": "1"}\n{"id": "2", "text": "\\ud83d"}\n', r"half\.jsonl:2: holds half of a surrogate pair"),
    "utf.jsonl": (
        b'{"id": "1"}\n' * 500 + b'{"id": "\xff"}\n' + b'{"id": "2"}\n' * 9,
        r"utf\.jsonl:501: not UTF-8 .*8",
    ),
    "latin.csv": ("id,text\n1,ü\n".encode("latin-1"), r"latin\.csv:2: not UTF-8"),
    "few.tsv": (b"id\ttext\n1\ta\n2\n", r"few\.tsv:3: expected 2 columns \(id, text\), found 1"),
    "many.tsv": (b"id\ttext\n1\ta\tb\n", r"many\.tsv:2: expected 2 columns \(id, text\), found 3"),
    "few.csv": (b"id,text\n1,a\n2\n", r"few\.csv:3: expected 2 columns \(id, text\), found 1"),
    "quote.csv": (b'id,text\n1,a\n2,"no end\n3,b\n', r"quote\.csv:4: unexpected end of data"),
    "a.parquet": (b"PAR1 and then nothing", r"a\.parquet: not a readable Parquet file"),
    "empty.parquet": (b"", r"empty\.parquet: not a readable Parquet file"),
    "no.jsonl.gz": (b'{"id": "1"}\n', r"no\.jsonl\.gz:1: damaged or cut compressed file"),
    "no.jsonl.zst": (b'{"id": "1"}\n', r"no\.jsonl\.zst:1: damaged or cut compressed file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_named(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("harm", ["cut", "flip", "trailer"])
def test_a_damaged_archive_is_named_and_never_passes_for_a_shorter_one(tmp_path: Path, ending: str, harm: str) -> None:
    import random

    draw = random.Random(1)
    lines = [json.dumps({"id": str(n), "text": f"{draw.random()}"}) for n in range(20_000)]
    content = "\n".join(lines).encode()
    whole = (
        gzip.compress(content) if ending == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress(content)
    )
    middle = len(whole) // 2
    harmed = {
        "cut": whole[:middle],
        "flip": whole[:middle] + bytes([whole[middle] ^ 0xFF]) * 50 + whole[middle + 50 :],
        "trailer": whole[:-1],
    }[harm]
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(harmed)
    with pytest.raises(InputError, match=rf"a\.jsonl{ending}:\d+: (damaged or cut|not a line of JSON|not UTF-8)"):
        list(read_rows(path))
    with pytest.raises(InputError):
        count_rows(path)


def test_a_damaged_parquet_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.Table.from_pylist([{"id": str(n), "text": str(n) * 9} for n in range(5000)])
    pyarrow.parquet.write_table(table, path)
    content = bytearray(path.read_bytes())
    content[10:4000] = b"\xff" * 3990
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet: not a readable Parquet file"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", r"missing\.jsonl: no such file"),
        ("missing.parquet", r"missing\.parquet: no such file"),
        ("missing.zip", r"missing\.zip: no such file"),
        ("missing", "missing: no such file"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize("name", ["a.docx", "a", "a.zip", "a.gz", "a.txt.zst"])
def test_an_unknown_ending_is_named_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(
        InputError, match=r"unknown file type; expected one of \.jsonl, .*\.parquet, the text ones also"
    ):
        list(read_rows(tmp_path / name))


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(InputError, match=r"a\.jsonl: not a file or folder here, and not loadable|a folder"):
        list(read_rows(tmp_path / "a.jsonl"))
    with pytest.raises(InputError, match=r"a\.jsonl: a folder, where a file was expected"):
        list(numbered_lines(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.tsv", "a.csv", "a.parquet"])
def test_a_huge_file_is_streamed(tmp_path: Path, name: str) -> None:
    """100,000 rows of 1,000 characters are 100 MB; the first rows cost a few."""
    rows, text = 100_000, "word " * 200
    path = tmp_path / name
    if name == "a.parquet":
        part = pyarrow.table({"id": [str(n) for n in range(1000)], "text": [f"{n} {text}" for n in range(1000)]})
        with pyarrow.parquet.ParquetWriter(path, part.schema) as writer:
            for _ in range(rows // 1000):
                writer.write_table(part)
    else:
        separator = {"tsv": "\t", "csv": ","}.get(name.split(".")[1])
        line = f"7{separator}{text}\n" if separator else json.dumps({"id": "7", "text": text}) + "\n"
        start = f"id{separator}text\n".encode() if separator else b""
        opened: dict[str, Any] = {"gz": gzip.GzipFile, "zst": zstandard.open}
        with opened.get(name.split(".")[-1], Path.open)(path, "wb") as stream:
            stream.write(start)
            for _ in range(rows // 1000):
                stream.write(line.encode() * 1000)
    tracemalloc.start()
    stream = iter(read_rows(path))
    assert [len(next(stream).fields["text"]) >= 1000 for _ in range(3000)] == [True] * 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stream.close()
    assert peak < 30e6


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_that_never_ends_gives_its_first_rows(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)

    def write() -> None:
        try:
            with pipe.open("wb") as stream:
                while True:
                    stream.write(b'{"id": "1", "text": "a"}\n')
        except BrokenPipeError:
            return

    writer = threading.Thread(target=write)
    writer.start()
    rows = read_rows(pipe)
    assert [next(rows).where for _ in range(5)] == [f"{pipe}:{line}" for line in range(1, 6)]
    rows.close()
    writer.join(timeout=10)
    assert not writer.is_alive()


def test_data_sets_saved_to_disk_are_read_with_their_splits(tmp_path: Path) -> None:
    import datasets

    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(tmp_path / "two")
    assert [row.fields for row in read_rows(tmp_path / "one")] == ROWS
    rows = list(read_rows(tmp_path / "two", RowOptions(split="test")))
    assert [(row.fields, row.where) for row in rows] == [(ROWS[1], f"{tmp_path / 'two'}: row 1")]
    with pytest.raises(InputError, match=r"two: several splits; name one of train, test with --split"):
        list(read_rows(tmp_path / "two"))
    with pytest.raises(InputError, match=r"two: no split 'dev'; name one of train, test with --split"):
        list(read_rows(tmp_path / "two", RowOptions(split="dev")))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_folder_of_files_is_a_data_set(tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    make(tmp_path / "set" / name)
    assert [row.fields for row in read_rows(tmp_path / "set")] == ROWS


def test_a_folder_with_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.jsonl").write_text('{"id": "1"}\n' * 3 + "not json\n")
    with pytest.raises(InputError, match=r"set: cannot be read after row \d+ \(.*JSON parse error"):
        list(read_rows(tmp_path / "set"))


def test_an_unknown_data_set_is_named() -> None:
    with pytest.raises(InputError, match="no-such/data-set: not a file or folder here, and not loadable as a data set"):
        list(read_rows("no-such/data-set"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_rows_are_counted_for_progress(tmp_path: Path, name: str) -> None:
    assert count_rows(make(tmp_path / name)) == 2
    assert count_rows("no-such/data-set") is None


def test_blocks_hold_all_items_in_order() -> None:
    assert list(blocks(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(blocks([], 3)) == []
