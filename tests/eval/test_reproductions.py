"""Recorded scores come out again, what cannot run says so, and a score too far off is told with its distance."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from modernir.errors import InputError
from modernir.eval import reproducing
from modernir.eval.reproducing import Reproduction, read_reproductions, reproduce

Call = Callable[..., SimpleNamespace]
SMALL = ("bm25-adi", "bm25-nq_utd", "bm25-csn_challenge_go", "bm25-csn_challenge_ruby")

WRONG = """
options = ["--mode", "lexical"]
tolerance = 0.001
source = "made up"

[[reproduction]]
name = "right"
folder = "mine"
documents = 4
expected = { "MRR@10" = 1.0 }

[[reproduction]]
name = "wrong"
folder = "mine"
expected = { "MRR@10" = 1.0, "P@1" = 0.25 }

[[reproduction]]
name = "elsewhere"
folder = "not/here"
expected = { "MRR@10" = 1.0 }
"""

FAILING = """
options = ["--mode", "lexical"]
tolerance = 0.001
source = "made up"
expected = { "MRR@10" = 1.0 }

[[reproduction]]
name = "torn"
folder = "broken"

[[reproduction]]
name = "misspelt"
folder = "mine"
options = ["--mode", "lexical", "--lexicality"]
"""


@pytest.fixture
def recorded(tmp_path: Path, make_beir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace what ships with a file of a right, a wrong and an impossible reproduction, and return the data folder."""
    make_beir(tmp_path / "data" / "mine")
    (tmp_path / "toml").mkdir()
    (tmp_path / "toml" / "some.toml").write_text(WRONG)
    monkeypatch.setattr(reproducing.read_reproductions, "__defaults__", (tmp_path / "toml",))
    return tmp_path / "data"


def test_recorded_scores_of_small_collections_come_out(call: Call, real_data: Path, tmp_path: Path) -> None:
    done = call("eval", "reproduce", *SMALL, "--data", real_data, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert [outcome["name"] for outcome in outcomes] == list(SMALL)
    assert all(outcome["passed"] for outcome in outcomes)


def test_scifact_needs_no_data_folder(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERNIR_CACHE", str(tmp_path / "empty"))
    done = call("eval", "reproduce", "bm25-scifact", "--json")
    assert done.code == 0, done.stderr
    outcome = json.loads(done.stdout)[0]
    assert (outcome["passed"], outcome["command"][:5]) == (True, ["modernir", "eval", "beir", "--dataset", "scifact"])


def test_every_reproduction_that_ships_says_where_its_scores_come_from() -> None:
    shipped = read_reproductions()
    assert len(shipped) >= 18
    for one in shipped.values():
        assert one.source
        assert one.documents
        assert 0 < one.tolerance <= 0.015
        assert all(0 < score < 1 for score in one.expected.values())


def test_a_score_too_far_off_is_told_and_ends_with_1(call: Call, recorded: Path, tmp_path: Path) -> None:
    done = call("eval", "reproduce", "--data", recorded, "-o", tmp_path / "out")
    assert done.code == 1
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["right", "MRR@10", "1.0", "±", "0.001", "1.0000", "+0.0000", "pass"] in lines
    assert ["wrong", "MRR@10", "1.0", "±", "0.001", "1.0000", "+0.0000", "pass"] in lines
    assert ["wrong", "P@1", "0.25", "±", "0.001", "1.0000", "+0.7500", "too", "far", "off"] in lines
    assert any(line[:2] == ["elsewhere", "MRR@10"] and "not/here" in line for line in lines)
    passed = [one["passed"] for one in json.loads(call("eval", "reproduce", "--data", recorded, "--json").stdout)]
    assert passed == [True, False, None]


def test_a_command_that_fails_is_in_the_table_and_the_others_run(
    call: Call, recorded: Path, make_beir: Callable[..., Path], tmp_path: Path
) -> None:
    (make_beir(recorded / "broken") / "queries.jsonl").write_text("no JSON\n")
    (tmp_path / "toml" / "first.toml").write_text(FAILING)
    done = call("eval", "reproduce", "--data", recorded, "-o", tmp_path / "out", "--json")
    assert done.code == 1
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert {name: one["passed"] for name, one in found.items()} == {
        "torn": False,
        "misspelt": False,
        "right": True,
        "wrong": False,
        "elsewhere": None,
    }
    assert "queries.jsonl:1: " in found["torn"]["problem"]
    assert "--lexicality" in found["misspelt"]["problem"]
    assert f"torn failed: {found['torn']['problem']}" in done.stderr.splitlines()
    shown = call("eval", "reproduce", "torn", "right", "--data", recorded, "-o", tmp_path / "out")
    assert shown.code == 1
    assert "failed:" in shown.stdout
    assert ["right", "MRR@10", "1.0", "±", "0.001", "1.0000", "+0.0000", "pass"] in [
        line.split() for line in shown.stdout.splitlines()
    ]


def test_ctrl_c_ends_all_of_them(call: Call, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modernir.eval.models.evaluate_models", interrupted)
    done = call("eval", "reproduce", "--data", recorded)
    assert (done.code, done.stdout) == (130, "")


def test_the_right_ones_alone_end_with_0_and_the_command_is_what_ran(
    call: Call, recorded: Path, tmp_path: Path
) -> None:
    done = call("eval", "reproduce", "right", "--data", recorded, "-o", tmp_path / "out", "--json")
    assert done.code == 0
    command = json.loads(done.stdout)[0]["command"]
    again = call(*command[1:])
    assert again.code == 0
    assert "finished before" in again.stderr


def test_a_list_runs_nothing(call: Call, recorded: Path, tmp_path: Path) -> None:
    done = call("eval", "reproduce", "--list", "-o", tmp_path / "out", "--json")
    assert done.code == 0
    listed = {one["name"]: one["problem"] for one in json.loads(done.stdout)}
    assert listed["right"] == "needs mine in --data"
    assert not (tmp_path / "out").exists()


def test_other_data_under_the_same_name_do_not_pass(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    from modernir.eval.beir import evaluate_beir
    from modernir.eval.loading import load_local
    from modernir.eval.ways import Way

    make_beir(tmp_path / "data" / "mine")
    one = Reproduction("mine", {"MRR@10": 1.0}, 0.01, "made up", folder="mine", documents=5)

    def run(command: Sequence[str]) -> None:
        output = Path(command[command.index("--output") + 1])
        evaluate_beir(None, [load_local(command[2])], output=output, way=Way("lexical"), measures=["MRR@10"])

    outcome = reproduce(one, tmp_path / "data", tmp_path / "out", run)
    assert outcome.found == {"MRR@10": 1.0}
    assert (outcome.passed, outcome.problem) == (False, "another state of the data: 4 documents, expected 5")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[[reproduction]\n", "not valid TOML"),
        ('[[reproduction]]\nname = "a"\nfolder = "b"\n', "a: lacks expected, tolerance, source"),
        ('[[reproduction]]\nname = "a"\nscores = 3\n', "a: unknown field 'scores'"),
        ('tolerance = 1\nsource = ""\nexpected = {}\n[[reproduction]]\nname = "a"\n', "neither a dataset nor a folder"),
        (
            'tolerance = 1\nsource = ""\nexpected = {}\n[[reproduction]]\nname = "a"\ndataset = "scifacts"\n',
            "no data set is called 'scifacts'",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "broken.toml").write_text(text)
    with pytest.raises(InputError) as refused:
        read_reproductions(tmp_path)
    assert part in str(refused.value)
    assert "broken.toml" in str(refused.value)


def test_what_is_named_and_cannot_run_is_one_line(call: Call, recorded: Path) -> None:
    for arguments, part in [
        (("nonesuch",), "no reproduction is called 'nonesuch'; there: right, wrong, elsewhere"),
        (("elsewhere", "--data", recorded), "elsewhere: no not/here in"),
        (("wrong", "elsewhere", "--data", recorded), "elsewhere: no not/here in"),
        (("right", "--data", recorded / "gone"), "gone: no such folder"),
    ]:
        done = call("eval", "reproduce", *arguments)
        assert (done.code, done.stdout) == (2, "")
        assert (done.stderr.count("\n"), done.stderr.startswith("error: ")) == (1, True)
        assert part in done.stderr
