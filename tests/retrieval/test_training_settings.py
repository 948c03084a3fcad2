"""Settings: the same from a file, from flags and from the file that a run leaves; anything else is refused by name."""

import dataclasses
import inspect
import string
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from modernir.cli import training
from modernir.errors import InputError
from modernir.retrieval.pretraining.settings import Pretraining
from modernir.retrieval.training.settings import ColbertTraining, DenseTraining

GIVEN = {"data": ["pairs.jsonl"], "init": "tiny", "output": "out"}


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(content)
    return path


def test_what_a_run_writes_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    settings = DenseTraining.from_sources(
        **GIVEN, learning_rate=8e-5, max_steps=7, query_prompt='say "héllo\\\n\x7f"', precision="bf16"
    )
    dataclasses.replace(settings, resume=True).write(tmp_path)
    again = DenseTraining.from_sources(tmp_path / "training.toml", output="elsewhere")
    assert again == dataclasses.replace(settings, output="elsewhere")
    assert settings.differences(again) == []


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    config = written(tmp_path, 'data = ["a.jsonl"]\nmodel = "m"\nbatch_size = 64\nseed = 3\noutput = "o"')
    settings = DenseTraining.from_sources(config, seed=4, epochs=None, data=[])
    assert (settings.batch_size, settings.seed, settings.epochs, settings.data) == (64, 4, 1.0, ("a.jsonl",))


def test_an_unknown_key_names_the_file_and_the_nearest_known_one(tmp_path: Path) -> None:
    config = written(tmp_path, "learning_rat = 1e-3")
    with pytest.raises(InputError, match=r"run\.toml: unknown setting 'learning_rat'; did you mean learning_rate"):
        DenseTraining.from_sources(config, **GIVEN)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('learning_rate = "fast"', "learning_rate: expected a number, found 'fast'"),
        ("batch_size = 1.5", "batch_size: expected a whole number, found 1.5"),
        ("batch_size = true", "batch_size: expected a whole number, found True"),
        ('precision = "int8"', "precision: expected one of fp32, bf16, fp16, found 'int8'"),
        ('data = "one.jsonl"', "data: expected a list of texts"),
        ("resume = 1", "resume: expected true or false"),
        ("max_steps = ", "not valid TOML"),
    ],
)
def test_a_wrong_type_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        DenseTraining.from_sources(written(tmp_path, line), output="o", init="tiny")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 1}, "batch_size: expected 2 to"),
        ({"warmup": 1.5}, "warmup: expected 0 to 0.99, found 1.5"),
        ({"max_steps": 0}, "max_steps: expected at least 1, found 0"),
        ({"negatives": -1}, "negatives: expected at least 0, found -1"),
        ({"temperature": 0.0}, "temperature: expected"),
        ({"model": "m"}, "either a model to start from .* found both"),
        ({"init": None}, "either a model to start from .* found neither"),
        ({"init": None, "model": "m", "tokenizer": "t"}, "tokenizer goes with --init; a --model brings"),
        ({"data": None}, "no training data"),
        ({"output": None}, "no output folder"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        DenseTraining.from_sources(**GIVEN | changes)


def test_paths_that_are_there_hold_in_any_folder_and_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rows.jsonl", "size.json", "tiny", "words"):
        (tmp_path / name).touch()
    changes = {"data": ["rows.jsonl", "some/data"], "init": "size.json", "tokenizer": "words", "teacher": "some/model"}
    dense = DenseTraining.from_sources(**GIVEN | changes | {"output": "run", "teacher_cache": "kept"})
    full = dense.with_full_paths()
    assert (full.output, full.teacher_cache) == (str(tmp_path / "run"), str(tmp_path / "kept"))
    assert full.data == (str(tmp_path / "rows.jsonl"), "some/data")
    assert (full.init, full.tokenizer) == (str(tmp_path / "size.json"), str(tmp_path / "words"))
    assert (full.teacher, full.model, full.dev) == ("some/model", None, None)
    given = {"output": "run", "data": ["rows.jsonl"], "init": "tiny", "tile_from": "words"}
    plain = Pretraining.from_sources(**given).with_full_paths()
    assert (plain.init, plain.tile_from) == ("tiny", str(tmp_path / "words"))


def test_a_run_that_resumes_reads_its_own_file(tmp_path: Path) -> None:
    DenseTraining.from_sources(**GIVEN | {"output": str(tmp_path)}, seed=99).write(tmp_path)
    assert DenseTraining.from_sources(output=str(tmp_path), resume=True).seed == 99


def test_resuming_where_there_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no run to resume"):
        DenseTraining.from_sources(output=str(tmp_path / "nowhere"), resume=True)


def test_what_a_colbert_run_writes_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    more = {"skiplist": [",", "."], "expansion": "min", "attend_to_expansion": True, "loss": "kl", "dim": 64}
    settings = ColbertTraining.from_sources(**GIVEN, **more)
    settings.write(tmp_path)
    again = ColbertTraining.from_sources(tmp_path / "training.toml", output="out")
    assert again == settings
    assert (settings.temperature, DenseTraining.from_sources(**GIVEN).temperature) == (1.0, 0.05)


@pytest.mark.parametrize(
    ("given", "words"),
    [(None, None), ("none", []), (["none"], []), (["punctuation"], list(string.punctuation)), (["a", "b"], ["a", "b"])],
)
def test_a_skiplist_is_named_or_listed(given: str | list[str] | None, words: list[str] | None) -> None:
    assert ColbertTraining.from_sources(**GIVEN, skiplist=given).skipped == words


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("dim = 64", DenseTraining, "dim is a setting of train-colbert, not of train-dense"),
        ("two_towers = true", ColbertTraining, "two_towers is a setting of train-dense, not of train-colbert"),
        ('expansion = "some"', ColbertTraining, "expansion: expected one of fixed, min, none, found 'some'"),
        ("skiplist = 3", ColbertTraining, "skiplist: expected a text or a list of texts, found 3"),
    ],
)
def test_what_is_wrong_for_one_kind_of_model_is_said(tmp_path: Path, line: str, kind: type, said: str) -> None:
    with pytest.raises(InputError, match=said):
        kind.from_sources(written(tmp_path, line), **GIVEN)


@pytest.mark.parametrize(("loss", "fewest"), [("contrastive", 0), ("margin-mse", 1), ("kl", 2)])
def test_a_loss_has_the_negatives_that_it_needs(loss: str, fewest: int) -> None:
    assert ColbertTraining.from_sources(**GIVEN, loss=loss, negatives=fewest).scored_negatives == fewest
    if fewest:
        with pytest.raises(InputError, match=rf"negatives: loss {loss} .* at least {fewest}"):
            ColbertTraining.from_sources(**GIVEN, loss=loss, negatives=fewest - 1)


@pytest.mark.parametrize(
    ("command", "kind"), [(training.train_dense, DenseTraining), (training.train_colbert, ColbertTraining)]
)
def test_every_setting_is_a_flag_and_every_flag_a_setting(command: Callable, kind: type) -> None:
    flags = set(inspect.signature(command).parameters) - {"config", "smoke"}
    assert flags == {field.name for field in dataclasses.fields(kind)}


def test_every_recipe_is_valid() -> None:
    recipes = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
    assert recipes
    for recipe in recipes:
        text = recipe.read_text()
        kinds = [
            kind
            for kind in (DenseTraining, ColbertTraining, Pretraining)
            if f"modernir {kind.command} --config" in text
        ]
        assert len(kinds) == 1, recipe
        kinds[0].from_sources(recipe, output="out")
        assert recipe.read_text().startswith("# "), recipe
        assert "output" not in tomllib.loads(recipe.read_text())


def test_reading_settings_loads_no_torch() -> None:
    code = "import sys, modernir.retrieval.training.dense, modernir.retrieval.training.colbert; "
    subprocess.run([sys.executable, "-c", code + "assert not {'torch', 'transformers'} & set(sys.modules)"], check=True)
