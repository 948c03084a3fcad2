"""Run files keep every number, and a bad line is named by file and line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.errors import InputError
from modernir.eval.runs import Run, ranked, read_run, to_run, write_run

IDS = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"]), min_size=1, max_size=5)
RUNS = st.dictionaries(
    IDS, st.dictionaries(IDS, st.floats(allow_nan=False), min_size=1, max_size=4), min_size=1, max_size=3
)


@settings(deadline=None)
@given(run=RUNS)
def test_a_run_reads_back_as_the_same_numbers(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    write_run(path, run, "a model")
    assert read_run(path) == run
    assert [p.name for p in path.parent.iterdir()] == ["run.trec"]


def test_lines_are_in_the_order_of_their_ranks_and_have_six_columns(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    write_run(path, {"q": {"a": 0.5, "c": 0.5, "b": 0.1 + 0.2}}, "org/my model")
    assert path.read_text().splitlines() == [
        "q Q0 c 1 0.5 org/my_model",
        "q Q0 a 2 0.5 org/my_model",
        "q Q0 b 3 0.30000000000000004 org/my_model",
    ]


def test_ids_with_blanks_are_kept_apart_by_tabs(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"q 1": {"doc one": 1.0}, "q2": {"d": 2.0}})
    assert (tmp_path / "run").read_text() == "q 1\tQ0\tdoc one\t1\t1.0\tmodernir\nq2 Q0 d 1 2.0 modernir\n"


@pytest.mark.parametrize("bad", ["", "a\tb", "a\nb"])
def test_an_id_that_the_format_cannot_hold_is_refused_and_nothing_is_written(bad: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot hold the id"):
        write_run(tmp_path / "run", {"q": {"ok": 1.0, bad: 0.5}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d2 2 0.5", r"run\.trec:2: expected 6 columns \(query, .*\), found 5"),
        ("q1 Q0 d2 2 0.5 tag more", r"run\.trec:2: expected 6 columns .*found 7"),
        ("q1 Q0 d2 2 high tag", r"run\.trec:2: expected a number as score, found 'high'"),
        ("q1 Q0 d2 2 nan tag", r"run\.trec:2: expected a number as score, found 'nan'"),
        ("q1 Q0 d1 2 0.5 tag", r"run\.trec:2: document 'd1' comes twice for query 'q1'"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text(f"q1 Q0 d1 1 0.9 tag\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_run(path)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InputError, match="no results"):
        read_run(tmp_path / "empty")
    with pytest.raises(InputError, match="no such file"):
        read_run(tmp_path / "missing")


def test_a_compressed_run_with_tabs_is_read(tmp_path: Path) -> None:
    path: Path = tmp_path / "run.trec.gz"
    with gzip.open(path, "wt") as stream:
        stream.write("q1\tQ0\td1\t1\t1e-3\ttag\n")
    assert read_run(path) == {"q1": {"d1": 0.001}}


def test_pairs_and_mappings_become_runs_and_bad_scores_are_refused() -> None:
    assert to_run({"q": [("a", 1), ("b", 2.5)], "r": {"c": 3}}) == {"q": {"a": 1.0, "b": 2.5}, "r": {"c": 3.0}}
    with pytest.raises(InputError, match="'a' twice"):
        to_run({"q": [("a", 1), ("a", 2)]})
    with pytest.raises(InputError, match="NaN"):
        to_run({"q": {"a": float("nan")}})
    with pytest.raises(InputError, match="no number"):
        to_run({"q": {"a": "high"}})


def test_scores_beyond_single_precision_are_ranked_without_warnings(recwarn: pytest.WarningsRecorder) -> None:
    assert ranked({"a": 1e300, "b": 1e301, "c": -1e300}) == ["b", "a", "c"]
    assert not recwarn.list
