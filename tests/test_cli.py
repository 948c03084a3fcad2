"""The command line: the whole path on a tiny model, and one clear line for whatever a user gets wrong."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from modernir import cli
from modernir.index.index import Index

Call = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def built(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of five documents made with the tiny model, for tests that only read it."""
    from modernir import load_encoder
    from modernir.retrieval.build import build_index

    folder = tmp_path_factory.mktemp("built")
    rows = [{"id": f"d{n}", "title": f"[bold]T{n}[/]", "text": f"apples and pears {n}", "n": n} for n in range(5)]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_index(folder / "c.jsonl", load_encoder(tiny_model), folder / "ix", quiet=True).close()
    return folder / "ix"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """Return a copy of the index that a test may harm."""
    return Path(shutil.copytree(built, tmp_path / "copy"))


def strict_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def refused(result: SimpleNamespace, *parts: str, code: int = 2) -> None:
    """Assert one clear line on stderr that holds `parts`, nothing on stdout, and the exit code."""
    lines = result.stderr.splitlines()
    assert result.code == code, result.stderr
    assert [line for line in lines if line.startswith("error:")] == lines[-1:], result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for part in parts:
        assert part in lines[-1]


# The whole path


def test_from_a_corpus_to_a_measured_result(call: Call, tiny_model: Path, tiny_beir: Path, tmp_path: Path) -> None:
    index, output = tmp_path / "ix", tmp_path / "results"
    done = call("index", "corpus", tiny_beir, "--model", tiny_model, "--index", index)
    assert (done.code, done.stdout.count("6 documents, dense, 32 dimensions, cosine")) == (0, 1)
    assert "indexing: 6/6 docs" in done.stderr

    info = strict_json(call("index", "info", "-i", index, "--json").stdout)
    assert (info["documents"], info["finished"], info["encoder"]["name"]) == (6, True, str(tiny_model))
    assert "6 documents" in call("index", "info", "-i", index).stdout
    assert call("index", "verify", "-i", index).stdout == f"{index}: 6 documents, sound\n"

    text = "Apples Red apples grow on old trees in the garden."
    found = call("search", text, "-i", index, "-k", 3)
    assert found.code == 0
    assert [line.split()[0] for line in found.stdout.splitlines() if line.strip()][:3] == ["Apples", "#", "1"]
    assert "d1" in found.stdout

    (tmp_path / "q.jsonl").write_text(json.dumps({"_id": "first", "text": text}) + '\n{"text": "a ship"}\n')
    for given in (
        call("search", text, "-i", index, "-k", 2, "--json"),
        call("search", "-i", index, "-k", 2, "--json", stdin=f"{text}\na ship\n"),
        call("search", "-i", index, "-k", 2, "--json", "--queries", "-", stdin=f"{text}\na ship\n"),
        call("search", "-i", index, "-k", 2, "--json", "--queries", tmp_path / "q.jsonl"),
    ):
        first, *rest = strict_json(given.stdout)
        assert (given.code, first["query"], len(first["hits"]), len(rest) <= 1) == (0, text, 2, True)
        hit = first["hits"][0]
        assert (hit["rank"], hit["id"], hit["title"]) == (1, "d1", "Apples")
        assert hit["score"] == pytest.approx(1, abs=0.01)

    arguments = ("eval", "beir", "--model", tiny_model, "--data", tiny_beir, "--output", output)
    measured = call(*arguments, "--json")
    report = strict_json(measured.stdout)[0]
    assert set(report["metrics"]) == {"nDCG@10", "Recall@100", "MAP@100", "MRR@10"}
    assert report["metrics"]["Recall@100"] == 1
    assert {"report.json", "run.trec", "per_query.tsv"} <= {path.name for path in (output / "fruit").iterdir()}
    again = call(*arguments)
    assert again.code == 0
    assert "finished before" in again.stderr
    assert "nDCG@10" in again.stdout


def test_a_process_of_its_own_does_the_same(run_cli: Call, built: Path) -> None:
    found = run_cli("search", "apples and pears 3", "-i", built, "--json")
    assert (found.code, found.stderr) == (0, "")
    assert len(strict_json(found.stdout)[0]["hits"]) == 5


def test_the_version_is_told(run_cli: Call) -> None:
    assert run_cli("--version").stdout.startswith("modernir 0.")


def test_long_queries_are_told_of_by_search_and_by_eval(
    call: Call, built: Path, tiny_model: Path, tiny_beir: Path, tmp_path: Path
) -> None:
    told = "queries were longer than the 64 tokens that the model reads; what comes after is not searched for"
    assert told not in call("search", "apples", "-i", built).stderr
    found = call("search", "apples " * 500, "-i", built, "--json")
    assert (found.code, found.stderr) == (0, f"1 of 1 {told}\n")
    assert len(strict_json(found.stdout)[0]["hits"]) == 5
    queries = tiny_beir / "queries.jsonl"
    queries.write_text(queries.read_text() + json.dumps({"_id": "q4", "text": "pears " * 99}) + "\n")
    with (tiny_beir / "qrels/test.tsv").open("a") as judgements:
        judgements.write("q4\td2\t1\n")
    measured = call("eval", "beir", "-m", tiny_model, "--data", tiny_beir, "-o", tmp_path / "out")
    assert measured.stderr.count(f"1 of 4 {told}") == 1


def test_markup_in_texts_is_text(call: Call, built: Path) -> None:
    assert "[bold]T3[/]" in call("search", "[red]apples[/] [/]", "-i", built).stdout


def test_a_terminal_obeys_no_control_characters_of_documents(call: Call, tiny_model: Path, tmp_path: Path) -> None:
    from modernir import Document, Retriever, load_encoder

    with Retriever.create(tmp_path / "ix", load_encoder(tiny_model)) as retriever:
        retriever.add([Document("a\x1b[2J", "red\x07 apples", "a\x9btitle")])
    shown = call("search", "apples\x1b[2J", "-i", tmp_path / "ix").stdout
    assert "apples" in shown and not set("\x07\x1b\x9b") & set(shown)


def test_an_index_that_holds_nothing_is_searched(call: Call, tiny_model: Path, tmp_path: Path) -> None:
    from modernir import Retriever, load_encoder

    Retriever.create(tmp_path / "empty", load_encoder(tiny_model)).close()
    assert "nothing found" in call("search", "x", "-i", tmp_path / "empty").stdout
    assert strict_json(call("search", "x", "-i", tmp_path / "empty", "--json").stdout)[0]["hits"] == []


def test_json_is_json_whatever_the_metadata_hold(call: Call, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        '{"id": "ü\\u0000", "text": "a\\u2028b", "x": NaN, "y": [Infinity, {"z": 1e999}]}\n'
    )
    done = call("index", "corpus", tmp_path / "c.jsonl", "-m", tiny_model, "-i", tmp_path / "ix", "--json")
    assert strict_json(done.stdout)["documents"] == 1
    hit = strict_json(call("search", "a", "-i", tmp_path / "ix", "--json").stdout)[0]["hits"][0]
    assert (hit["id"], hit["metadata"]) == ("ü\0", {"x": None, "y": [None, {"z": None}]})


def test_every_command_helps(call: Call) -> None:
    def walk(command: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:  # noqa: ANN401 - click's command
        below = [walk(child, (*path, name)) for name, child in getattr(command, "commands", {}).items()]
        return [path, *(found for part in below for found in part)]

    paths = walk(typer.main.get_command(cli.app), ())
    assert {("search",), ("index", "corpus"), ("eval", "beir"), ("doctor",), ("quickstart",)} <= set(paths)
    for path in paths:
        result = call(*path, "--help")
        assert (result.code, result.stderr) == (0, "")
        assert " ".join(("modernir", *path)) in " ".join(result.stdout.split())


# Bad input


@pytest.mark.parametrize(
    "args",
    [
        ("frobnicate",),
        ("index", "frobnicate"),
        ("index", "corpus"),
        ("index", "corpus", "c.jsonl", "--index", "ix"),
        ("search", "q", "-k", "0"),
        ("search", "q", "-k", "many"),
        ("search", "q", "--frobnicate"),
        ("index", "corpus", "c.jsonl", "-m", "m", "-i", "ix", "--empty", "maybe"),
    ],
)
def test_wrong_usage_is_explained(call: Call, args: tuple[str, ...]) -> None:
    result = call(*args)
    assert result.code == 2
    assert "Usage:" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


CORPORA = {
    "empty": ("", ["c.jsonl: no documents in it"]),
    "duplicate": (
        '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n',
        ["c.jsonl:2: document id 'a' comes twice; ids must be unique"],
    ),
    "no text": ('{"id": "a", "text": "x"}\n{"id": "b", "text": ""}\n', ["c.jsonl:2:", "has no text", "--empty skip"]),
    "broken line": ('{"id": "a", "text": "x"}\n{"id": "b",\n', ["c.jsonl:2: not a line of JSON"]),
    "half a character": ('{"id": "a", "text": "\\ud83d"}\n', ["c.jsonl:1: holds half of a surrogate pair"]),
}


@pytest.mark.parametrize("case", CORPORA)
def test_a_bad_corpus_is_one_line(call: Call, tiny_model: Path, tmp_path: Path, case: str) -> None:
    content, parts = CORPORA[case]
    (tmp_path / "c.jsonl").write_text(content)
    refused(call("index", "corpus", tmp_path / "c.jsonl", "-m", tiny_model, "-i", tmp_path / "ix"), *parts)


def test_a_missing_or_strange_corpus_is_one_line(call: Call, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "few.tsv").write_text("1\ta\tb\n")
    for source, part in (
        (tmp_path / "none.jsonl", "none.jsonl: no such file"),
        (tmp_path / "a.docx", "unknown file type; expected one of .jsonl"),
        (tmp_path / "empty-folder", "not loadable as a data set"),
        ("no-such/data-set", "no-such/data-set: not a file or folder here"),
    ):
        refused(call("index", "corpus", source, "-m", tiny_model, "-i", tmp_path / "ix"), part)
    few = call("index", "corpus", tmp_path / "few.tsv", "-m", tiny_model, "-i", tmp_path / "ix", "--columns", "id,text")
    refused(few, "few.tsv:1: expected 2 columns (id, text), found 3")
    assert not (tmp_path / "ix").exists()


def test_a_wrong_model_is_one_line(call: Call, tiny_beir: Path, tmp_path: Path, built: Path) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "file").write_text("x")
    for model, part in (
        (tmp_path / "none", "none: no such folder"),
        (tmp_path / "hollow", "not a model folder"),
        (tmp_path / "file", "a file, where a model folder or a hub name was expected"),
        ("no-such/model-here", "no-such/model-here: neither a folder here nor a model on the hub"),
        ("not a name!", "not a name!: neither a folder here nor a model on the hub"),
    ):
        refused(call("index", "corpus", tiny_beir, "-m", model, "-i", tmp_path / "ix"), part)
        refused(call("eval", "beir", "-m", model, "--data", tiny_beir, "-o", tmp_path / "out"), part)
        refused(call("search", "q", "-i", built, "-m", model), part)
    assert not (tmp_path / "ix").exists()
    assert not (tmp_path / "out").exists()


def test_a_wrong_device_or_precision_is_one_line(call: Call, tiny_model: Path, built: Path) -> None:
    for option, value, part in (
        ("--device", "warp", "device 'warp' is not usable here"),
        ("--device", "cuda:99", "device 'cuda:99' is not usable here"),
        ("--precision", "int3", "unknown precision 'int3'; expected one of fp32, bf16, fp16"),
    ):
        refused(call("search", "q", "-i", built, "-m", tiny_model, option, value), part)


def test_a_wrong_query_is_one_line(call: Call, built: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes(b"fine\ncaf\xe9\n")
    for file, part in (
        ("broken.jsonl", "broken.jsonl:2: not a line of JSON"),
        ("blank.txt", "every line is blank"),
        ("latin.txt", "latin.txt:2: not UTF-8"),
        ("none.txt", "none.txt: no such file"),
        (".", "a folder, where a file was expected"),
    ):
        refused(call("search", "-i", built, "--queries", tmp_path / file), part)
    refused(call("search", "-i", built), "no query")
    refused(call("search", "q", "-i", built, "--queries", tmp_path / "blank.txt"), "not both")
    refused(call("search", "a \udcff b", "-i", built), "not UTF-8")


def test_a_wrong_index_is_one_line(call: Call, built: Path, other_tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage/catalog.sqlite").write_text("garbage " * 500)
    for index, part in (
        ("none", "none: no index here"),
        ("file", "file: no index here"),
        ("garbage", "catalog.sqlite: not a readable catalog"),
    ):
        refused(call("search", "q", "-i", tmp_path / index), part)
        refused(call("index", "info", "-i", tmp_path / index), part)
        refused(call("index", "verify", "-i", tmp_path / index), part)
    other = call("search", "q", "-i", built, "-m", other_tiny_model)
    refused(other, "built with", "fingerprint", str(other_tiny_model))
    assert call("search", "q", "-i", built, "-m", other_tiny_model, "--any-encoder").code == 0


def test_an_index_is_never_overwritten_silently(
    call: Call, copy: Path, tiny_model: Path, tiny_beir: Path, tmp_path: Path
) -> None:
    arguments = ("index", "corpus", tiny_beir, "-m", tiny_model, "-i", copy)
    refused(call(*arguments), "an index is here already; search it, or replace it with --overwrite")
    assert "5 documents" in call("index", "info", "-i", copy).stdout
    assert call(*arguments, "--overwrite").code == 0
    assert "6 documents" in call("index", "info", "-i", copy).stdout
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_text("x")
    refused(call(*arguments[:-1], tmp_path / "photos", "--overwrite"), "photos: not empty and no index")


def test_an_index_in_a_place_that_cannot_be_is_one_line(
    call: Call, tiny_model: Path, tiny_beir: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    result = call("index", "corpus", tiny_beir, "-m", tiny_model, "-i", tmp_path / "file/ix")
    refused(result, "file", "Not a directory")
    refused(call("eval", "beir", "--data", tiny_beir, "-m", tiny_model, "-o", tmp_path / "file/out"), "Not a directory")


def test_wrong_benchmarks_are_one_line(call: Call, tiny_model: Path, tiny_beir: Path, tmp_path: Path) -> None:
    base = ("eval", "beir", "-m", tiny_model, "-o", tmp_path / "out")
    refused(call(*base, "--data", tmp_path / "none"), "none")
    refused(call(*base, "--data", tiny_beir, "--split", "dev"), "dev")
    refused(call(*base, "--data", tiny_beir, "--measure", "nonsense@3"), "nonsense")
    refused(call(*base, "--data", tiny_beir, "--dataset", "frobnicate"), "frobnicate")
    (tiny_beir / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\tgood\n")
    refused(call(*base, "--data", tiny_beir), "test.tsv:2: expected a whole number as grade, found 'good'")
    assert not (tmp_path / "out").exists()


# Damage, full disks, interruptions


def test_a_damaged_index_is_one_line_and_exit_code_1(call: Call, copy: Path) -> None:
    file = next(copy.glob("*.faiss"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\x55")
    refused(call("index", "verify", "-i", copy), f"{file}: damaged", code=1)
    file.write_bytes(content[:-9])
    for command in (("index", "verify"), ("index", "info"), ("search", "q")):
        refused(call(*command, "-i", copy), f"{file}: segment file has", "rebuild", code=1)


def test_a_catalog_that_breaks_while_it_is_read_is_one_line(
    call: Call, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(Index, "documents", broken)
    refused(call("search", "q", "-i", copy), "database disk image is malformed", "modernir index verify", code=1)


@pytest.mark.parametrize("where", ["fsync", "sqlite"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    call: Call, tiny_model: Path, tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        if where == "sqlite":
            raise sqlite3.OperationalError("database or disk is full")
        raise OSError(errno.ENOSPC, "No space left on device")

    arguments = ("index", "corpus", tiny_beir, "-m", tiny_model, "-i", tmp_path / "ix")
    with monkeypatch.context() as bent:
        bent.setattr(*((os, "fsync") if where == "fsync" else (Index, "add")), full)
        refused(call(*arguments), "no space left on the disk", "run the same command again")
    assert call(*arguments).code == 0
    assert call("index", "verify", "-i", tmp_path / "ix").code == 0


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))"


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")
def test_a_real_write_that_stops_short_is_one_line(
    run_cli: Call, call: Call, tiny_model: Path, tmp_path: Path, jsonl: Callable[[Path, list[dict]], Path]
) -> None:
    corpus = jsonl(tmp_path / "c.jsonl", [{"id": f"d{n}", "text": f"apples {n}"} for n in range(4000)])
    arguments = ("index", "corpus", corpus, "-m", tiny_model, "-i", tmp_path / "ix")
    refused(run_cli(*arguments, prelude=LIMIT), "File too large")
    assert call(*arguments).code == 0
    assert call("index", "verify", "-i", tmp_path / "ix").stdout.endswith("4,000 documents, sound\n")


def info_into(index: Path, stdout: int) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "modernir", "index", "info", "-i", str(index)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_results_that_find_no_space_are_one_line(built: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = info_into(built, full.fileno())
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no space left on the disk")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX here")
def test_a_reader_that_goes_away_is_no_traceback(built: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = info_into(built, writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", ["index", "search", "eval"])
def test_ctrl_c_is_one_line_in_every_long_command(
    call: Call, tiny_beir: Path, tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modernir.encoders.loading.load_encoder", interrupt)
    result = {
        "index": lambda: call("index", "corpus", tiny_beir, "-m", "m", "-i", tmp_path / "ix"),
        "search": lambda: call("search", "q", "-i", built),
        "eval": lambda: call("eval", "beir", "-m", "m", "--data", tiny_beir, "-o", tmp_path / "out"),
    }[command]()
    assert (result.code, result.stdout, result.stderr) == (130, "", "interrupted\n")


SLOW = """
import sys, time
from modernir.encoders import packed
encode = packed.PackedEncoder._encode

def slow(*args):
    sys.stderr.write("encoding\\n")
    time.sleep(0.3)
    return encode(*args)

packed.PackedEncoder._encode = slow
from modernir.cli import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_real_ctrl_c_keeps_what_was_finished_and_the_same_command_goes_on(
    start_python: Callable[..., subprocess.Popen[str]],
    call: Call,
    tiny_model: Path,
    tmp_path: Path,
    jsonl: Callable[[Path, list[dict]], Path],
) -> None:
    corpus = jsonl(tmp_path / "c.jsonl", [{"id": f"d{n}", "text": f"apples {n % 50} pears"} for n in range(2000)])
    arguments = ("index", "corpus", corpus, "-m", tiny_model, "-i")
    child = start_python(SLOW, *arguments, tmp_path / "ix")
    assert child.stderr is not None
    seen = [child.stderr.readline() for _ in range(3)]
    assert seen == ["encoding\n"] * 3, seen
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    kept = "1,024 documents are kept in"
    assert errors.splitlines() == [f"interrupted: {kept} {tmp_path / 'ix'}; the same command goes on from there"]
    assert output == ""
    refused(call("search", "q", "-i", tmp_path / "ix"), "unfinished; run its command again to go on")
    assert call(*arguments, tmp_path / "ix").code == 0
    assert call(*arguments, tmp_path / "whole").code == 0
    found = [call("search", "apples 7", "-i", tmp_path / name, "-k", 200, "--json") for name in ("ix", "whole")]
    assert strict_json(found[0].stdout) == strict_json(found[1].stdout)
