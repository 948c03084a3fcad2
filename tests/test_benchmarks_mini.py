import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modernir.errors import InputError

MINI = Path(__file__).parent.parent / "benchmarks" / "mini"
OURS = ("prepare", "judged", "ablations", "arms", "devsets", "export", "command")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = list(sys.path)
    monkeypatch.syspath_prepend(MINI)
    before = set(sys.modules)
    yield
    for name in (set(sys.modules) - before) & set(OURS):
        del sys.modules[name]
    sys.path[:] = path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    import prepare
    import zstandard

    data = tmp_path / "data"
    for name in prepare.WHOLE:
        write_rows(data / "train" / f"{name}.jsonl.gz", [{"query": f"ask {name}", "positive": f"tell {name}"}])
    years = ("P99", "W15", "W16", "C18", "N19")
    abstracts = [{"query": year, "positive": "text", "source": f"data/xml/{year}.xml"} for year in years]
    write_rows(data / "train" / f"{prepare.ABSTRACTS}.jsonl.gz", abstracts)
    (data / "pretrain").mkdir()
    for name in prepare.PLAIN:
        (data / "pretrain" / f"{name}.txt.zst").write_bytes(zstandard.compress(b"A line.\n\nAnother one.\n"))
    claims = {"1": "salt melts ice", "2": "ice melts salt"}
    papers = [("a", "Salt", "It melts ice."), ("b", "", "No title."), ("c", "Snow", "It is cold.")]
    write_collection(data / "beir" / "scifact", papers, claims, {"train": ["1\ta\t1", "1\tc\t0"], "test": ["2\tc\t1"]})
    talk = " ".join(["well yes"] * 150 + ["the remote has a yellow button"] + ["hmm no"] * 150)
    meetings = [("m", "", talk), ("n", "", "the remote has a yellow button")]
    asked = {"1": "what of the yellow button", "2": "who says hmm"}
    write_collection(data / "longdoc" / "qmsum", meetings, asked, {"train": ["1\tm\t1"], "test": ["2\tn\t1"]})
    return data


def write_collection(
    folder: Path, documents: list[tuple[str, str, str]], queries: dict[str, str], judged: dict[str, list[str]]
) -> None:
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": name, "title": title, "text": text} for name, title, text in documents]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"_id": name, "text": text} for name, text in queries.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, lines in judged.items():
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


def test_prepare_takes_no_abstract_of_before_2016_and_keeps_what_is_done(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prepare

    called = []

    def stand_in(name: str, *arguments: object) -> None:
        called.append((name, *map(str, arguments)))
        output = Path(str(arguments[arguments.index("--output") + 1]))
        if name == "make-pairs":
            write_rows(output, [{"query": "q", "positive": "p"}])
        else:
            output.mkdir()
            (output / "tokenizer.json").write_text("{}")

    monkeypatch.setattr(prepare, "modernir_command", stand_in)
    prepare.prepare(raw, tmp_path / "out")
    kept = [row["query"] for row in read_rows(tmp_path / "out" / "acl.jsonl.gz")]
    assert kept == ["W16", "C18", "N19"]
    assert [name for name, *_ in called] == ["make-pairs", "train-tokenizer"]
    files = {path.name for path in (tmp_path / "out").glob("*.jsonl.gz")}
    assert {Path(word).name for word in called[1] if word.endswith(".jsonl.gz")} == files
    prepare.prepare(raw, tmp_path / "out")
    assert len(called) == 2


def test_the_recipes_read_what_prepare_makes(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    import prepare

    monkeypatch.setattr(prepare, "modernir_command", lambda *_: None)
    prepare.prepare(raw, tmp_path / "out")
    out = tmp_path / "out"
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} | {"openstax.jsonl.gz"}
    judged = {file for file in there if file.startswith("judged")}
    pairs = {file for file in there if file.endswith(".gz")}
    for name in ("mini-dense", "mini-colbert"):
        recipe = tomllib.loads((prepare.NETWORK.parent / f"{name}.toml").read_text())
        assert set(recipe["data"]) == pairs - judged
        assert recipe.get("init", "network.json") in there
        further = tomllib.loads((prepare.NETWORK.parent / f"{name}-domains.toml").read_text())
        assert judged < set(further["data"]) < pairs


def test_pairs_of_a_collection_are_those_of_its_train_split(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prepare

    monkeypatch.setattr(prepare, "modernir_command", lambda *_: None)
    prepare.prepare(raw, tmp_path / "out")
    judged = tmp_path / "out" / "judged"
    assert read_rows(judged / "scifact_titles.jsonl.gz") == [
        {"query": "Salt", "positive": "It melts ice."},
        {"query": "Snow", "positive": "It is cold."},
    ]
    assert read_rows(judged / "scifact_claims.jsonl.gz") == [
        {"query": "salt melts ice", "positive": "Salt It melts ice."}
    ]
    windows = read_rows(judged / "qmsum_windows.jsonl.gz")
    assert [row["query"] for row in windows] == ["what of the yellow button"] * 2
    assert all("yellow button" in row["positive"] and len(row["positive"].split()) == 150 for row in windows)


def test_prepare_names_a_file_that_is_missing_and_writes_nothing(raw: Path, tmp_path: Path) -> None:
    import prepare

    (raw / "train" / "peps.jsonl.gz").unlink()
    with pytest.raises(InputError, match=r"peps\.jsonl\.gz: no such file"):
        prepare.prepare(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_claims_come_with_all_their_abstracts_and_no_test_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import devsets

    monkeypatch.setattr(devsets, "CLAIMS", 3)
    monkeypatch.setattr(devsets, "ABSTRACTS", 8)
    folder = tmp_path / "scifact"
    corpus = [{"_id": str(number), "title": "", "text": f"text {number}"} for number in range(20)]
    queries = [{"_id": f"q{number}", "text": f"claim {number}"} for number in range(10)]
    train = [(f"q{number}", str(number), "1") for number in range(5)] + [("q0", "9", "1"), ("q1", "10", "0")]
    devsets.write_collection(folder, corpus, queries, [])
    head = [("query-id", "corpus-id", "score")]
    (folder / "qrels" / "train.tsv").write_text("".join("\t".join(row) + "\n" for row in head + train))
    devsets.write_claims(folder, tmp_path / "dev")
    judged = [line.split("\t")[:2] for line in (tmp_path / "dev" / "qrels" / "dev.tsv").read_text().splitlines()[1:]]
    asked = [json.loads(line)["_id"] for line in (tmp_path / "dev" / "queries.jsonl").read_text().splitlines()]
    held = [json.loads(line)["_id"] for line in (tmp_path / "dev" / "corpus.jsonl").read_text().splitlines()]
    assert len(asked) == 3
    assert set(asked) <= {f"q{number}" for number in range(5)}
    wanted = {(query, document) for query, document, grade in train if query in asked and grade == "1"}
    assert {tuple(pair) for pair in judged} == wanted
    assert len(held) == 8
    assert {document for _, document in wanted} <= set(held)


def test_no_pair_of_a_repository_that_is_measured_on_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import devsets

    monkeypatch.setattr(devsets, "FUNCTIONS", 10)
    monkeypatch.setattr(devsets, "OF_A_REPOSITORY", 2)
    rows = [
        {"query": f"doc {number}", "positive": f"def f{number}()", "repo": f"r{number % 12}"} for number in range(60)
    ]
    source = write_rows(tmp_path / "code.jsonl.gz", [*rows, rows[0]])
    held_out = devsets.write_functions(source, tmp_path / "dev")
    devsets.write_pairs(source, tmp_path / "train.jsonl.gz", 30, held_out)
    repository = {row["query"]: row["repo"] for row in rows}
    asked = [json.loads(line)["text"] for line in (tmp_path / "dev" / "queries.jsonl").read_text().splitlines()]
    trained = [row["query"] for row in read_rows(tmp_path / "train.jsonl.gz")]
    assert (len(set(asked)), len(trained)) == (10, 30)
    assert {repository[text] for text in asked} == held_out
    assert len(held_out) == 5
    assert not {repository[text] for text in trained} & held_out
    with pytest.raises(InputError, match="fewer than 10 pairs"):
        devsets.write_functions(write_rows(tmp_path / "few.jsonl.gz", rows[:5]), tmp_path / "none")


def test_an_arm_that_is_done_is_not_run_again_and_the_table_sums_what_it_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ablations
    import arms

    called: list[list[object]] = []
    seconds = iter(range(0, 1000, 7))

    def stand_in(arguments: list[object], folder: Path, output: Any = None) -> None:  # noqa: ANN401
        called.append(arguments)
        if arguments[0] == "eval":
            output.write(json.dumps([{"metrics": {"nDCG@10": 0.25}}, {"metrics": {"nDCG@10": 0.5}}]))

    monkeypatch.setattr(ablations, "call", stand_in)
    monkeypatch.setattr(ablations, "spent", lambda: next(seconds))
    place = arms.Place(tmp_path, tmp_path, tmp_path / "teacher", ())
    write_rows(tmp_path / "pairs" / "one.jsonl.gz", [])
    arm = next(arm for arm in arms.ARMS if arm.name == "hard-model")
    steps = arms.wanted(arm.step)
    assert [step.name for step in steps] == ["teacher-filled", "distilled", "negatives-model", "hard-model"]
    for _ in range(2):
        for step in steps:
            ablations.do(step, place)
        ablations.score(arm.name, tmp_path)
    assert [command[0] for command in called] == [
        *("train-dense", "train-dense", "mine-negatives", "train-dense", "eval"),
    ]
    assert called[3][called[3].index("--data") + 1] == tmp_path / "negatives-model" / "one.jsonl.gz"
    row = ablations.written(tmp_path).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")][-3:] == ["0.250", "0.500", "21"]


def test_every_command_of_an_arm_has_flags_and_values_that_it_takes(tmp_path: Path) -> None:
    import arms
    import typer

    from modernir.cli import app
    from modernir.retrieval.pretraining.settings import Pretraining
    from modernir.retrieval.training.settings import ColbertTraining, DenseTraining

    kinds = {kind.command: kind for kind in (DenseTraining, ColbertTraining, Pretraining)}
    place = arms.Place(tmp_path, tmp_path, tmp_path / "teacher", (tmp_path / "text.txt",))
    write_rows(tmp_path / "pairs" / "one.jsonl.gz", [])
    commands = typer.main.get_command(app).commands
    read = []
    for step in {step for arm in arms.ARMS for step in arms.wanted(arm.step)}:
        for name, *given in step.commands(place, tmp_path / step.name):
            values = commands[name].make_context(name, [str(word) for word in given]).params
            if name in kinds:
                chosen = {key: value for key, value in values.items() if key != "smoke" and value != ()}
                read.append(kinds[name].from_sources(**chosen))
    assert {settings.command for settings in read} == set(kinds)
    assert len({arm.name for arm in arms.ARMS}) == len(arms.ARMS)
