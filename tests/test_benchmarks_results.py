import html
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modernir.eval.intervals import shown
from modernir.eval.significance import holm, randomization_test

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SETS = ("beir/scifact", "longdoc/qmsum")
WORDS = [
    "red",
    "green",
    "blue",
    "yellow",
    "old",
    "sour",
    "sweet",
    "soft",
    "apples",
    "pears",
    "plums",
    "lemons",
    "bread",
    "ship",
    "sea",
    "trees",
    "water",
    "salt",
]


@pytest.fixture(scope="module")
def main() -> Iterator[Callable[..., int]]:
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    import results

    yield lambda *words: results.main([str(word) for word in words])
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("results", "scores", "command"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, jsonl: Callable[[Path, Sequence[dict]], Path]) -> Path:
    """Return two sets, the documents of the second longer than any of the models reads."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(3)
    for one, length in zip(SETS, (12, 150), strict=True):
        (folder / one / "qrels").mkdir(parents=True)
        texts = [" ".join(random.choice(WORDS, length)) for _ in range(30)]
        rows = [{"_id": f"d{number}", "text": f"{text} name{number}"} for number, text in enumerate(texts)]
        jsonl(folder / one / "corpus.jsonl", rows)
        queries = [{"_id": f"q{number}", "text": f"{random.choice(WORDS)} name{number}"} for number in range(0, 30, 3)]
        jsonl(folder / one / "queries.jsonl", queries)
        judged = "".join(f"q{number}\td{number}\t1\n" for number in range(0, 30, 3))
        (folder / one / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_colbert: Path) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_model, folder / "all-MiniLM-L6-v2")
    shutil.copytree(tiny_model, folder / "modernir-mini-dense")
    shutil.copytree(tiny_colbert, folder / "modernir-mini-colbert")
    return folder


@pytest.fixture(scope="module")
def evaluated(main: Callable[..., int], data: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("saved")
    assert main("--data", data, "--output", output, "--models", models) == 0
    return output


@pytest.fixture(scope="module")
def written(main: Callable[..., int], data: Path, evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    docs = tmp_path_factory.mktemp("docs")
    assert main("--data", data, "--output", evaluated, "--write", docs, "--machine", "a toy") == 0
    return docs


def systems() -> list[SimpleNamespace]:
    from scores.systems import SYSTEMS

    return list(SYSTEMS)


def saved_report(output: Path, key: str, one: str) -> tuple[dict, Path]:
    group, name = one.split("/")
    (place,) = (output / key / group).rglob(f"{name}/report.json")
    return json.loads(place.read_text()), place.parent


def per_query(folder: Path, measure: str) -> np.ndarray:
    heads, *rows = [line.split("\t") for line in (folder / "per_query.tsv").read_text().splitlines()]
    return np.array([float(row[heads.index(measure)]) for row in rows])


def cells_of(text: str, measure: str) -> dict[str, list[str]]:
    section = text.split(f"## {measure}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    return {row[0]: row[2:] for row in rows[2:]}


def test_figures_are_those_of_the_saved_reports(written: Path, evaluated: Path) -> None:
    text = (written / "results.md").read_text()
    for measure in ("nDCG@10", "Recall@100"):
        found = cells_of(text, measure)
        for one in SETS:
            reports = [saved_report(evaluated, system.key, one)[0] for system in systems()]
            best = max(round(report["metrics"][measure], 3) for report in reports)
            for report, cell in zip(reports, found[one], strict=True):
                mean = f"{report['metrics'][measure]:.3f}"
                assert cell.startswith(f"**{mean}**" if float(mean) == best else mean)
                assert f"<sub>{shown(report['intervals'][measure])}</sub>" in cell
        for number, cell in enumerate(found["mean of 2 targets"]):
            of_sets = [saved_report(evaluated, systems()[number].key, one)[0]["metrics"][measure] for one in SETS]
            assert cell.strip("*").startswith(f"{np.mean(of_sets):.3f}")


def test_marks_are_of_tests_corrected_over_the_table(written: Path, evaluated: Path) -> None:
    baseline, *others = systems()
    found, differences = cells_of((written / "results.md").read_text(), "nDCG@10"), []
    for one in SETS:
        base = per_query(saved_report(evaluated, baseline.key, one)[1], "nDCG@10")
        differences += [per_query(saved_report(evaluated, s.key, one)[1], "nDCG@10") - base for s in others]
    corrected = holm([randomization_test([difference]) for difference in differences])
    expected = [
        "" if p >= 0.05 else "▲" if difference.mean() > 0 else "▼"
        for p, difference in zip(corrected, differences, strict=True)
    ]
    cells = [cell for one in SETS for cell in found[one][1:]]
    assert [mark for cell in cells for mark in (re.findall("[▲▼]", cell) or [""])] == expected
    assert "▼" in expected
    assert "" in expected
    column = expected[len(others) - 1], expected[-1]
    assert f"({column.count('▲')}▲ {column.count('▼')}▼)" in found["of 2 targets, above BM25, Anserini"][-1]


def test_every_figure_of_the_page_has_the_command_that_gives_it(
    written: Path, evaluated: Path, data: Path, models: Path, call: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (written / "results.html").read_text()
    commands = [html.unescape(found) for found in re.findall(r"</summary><code>(.*?)</code></details>", page)]
    assert len(commands) == 2 * len(SETS) * len(systems())
    assert commands[: len(commands) // 2] == commands[len(commands) // 2 :]  # of the two measures

    wanted = next(one for one in commands if "longdoc/qmsum" in one and "--rerank" in one)
    program, *arguments = shlex.split(wanted)
    assert program == "modernir"
    monkeypatch.chdir(data)
    named = [str(models / word) if word == "modernir-mini-colbert" else word for word in arguments]
    result = call(*named[:-1], written / "again", "--json")
    assert result.code == 0, result.stderr
    (again,) = json.loads(result.stdout)
    expected = saved_report(evaluated, "rerank-mini-colbert", "longdoc/qmsum")[0]
    assert again["metrics"] == expected["metrics"]
    assert again["settings"] == expected["settings"]
    assert again["settings"]["overlap"] == 32


def test_what_is_finished_is_not_done_again(
    main: Callable[..., int], data: Path, models: Path, evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def times() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in evaluated.rglob("*") if file.is_file()}

    before = times()
    assert main("--data", data, "--output", evaluated, "--models", models) == 0
    assert times() == before
    assert capsys.readouterr().err.count("finished before") == len(SETS) * len(systems())
    indexes = [place.parent for place in evaluated.glob("indexes/*/*/index*/") if place.is_dir()]
    assert len(indexes) == 4 * len(SETS)  # one a model and set, and one of words, whatever the ways of searching


def test_figures_of_two_states_of_a_model_are_refused(
    main: Callable[..., int],
    data: Path,
    evaluated: Path,
    other_tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "saved"
    shutil.copytree(evaluated, output)
    shutil.copytree(other_tiny_model, tmp_path / "models/modernir-mini-dense")
    chosen = ("--systems", "mini-dense", "--sets", "scifact")
    assert main("--data", data, "--output", output, "--models", tmp_path / "models", *chosen) == 0
    assert main("--data", data, "--output", output, "--write", tmp_path / "docs") == 2
    assert "of another modernir-mini-dense than mini-dense on beir/scifact" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--systems", "minilm,none"), "--systems none: no system is called so; there are: bm25-anserini, bm25"),
        (("--sets", "code"), "--sets code: neither a group nor a set"),
        (("--write", "docs"), "lacks 16 of 16 evaluations, such as bm25-anserini on beir/scifact; run the same"),
        (("--write", "docs", "--systems", "bm25"), "at least two systems"),
        (("--write", "docs", "--cost-set", "beir/adi"), "--cost-set beir/adi: none of the sets"),
    ],
)
def test_mistakes_are_one_line(
    main: Callable[..., int],
    data: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main("--data", data, "--output", tmp_path / "none", *words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
