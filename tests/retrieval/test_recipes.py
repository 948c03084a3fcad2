"""Every recipe runs as it stands, on substitutes for its network and its data."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import modernir
from modernir.retrieval.training.settings import DenseTraining
from modernir.retrieval.training.smoke import small_training

RECIPES = sorted((Path(modernir.__file__).parent / "recipes").glob("*.toml"))


def command_of(recipe: Path) -> str:
    """Return the command that a recipe's own comment says to run it with."""
    line = next(line for line in recipe.read_text().splitlines() if line.startswith("#   modernir "))
    assert f"--config recipes/{recipe.name}" in line
    return line.split()[2]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_runs_end_to_end_on_substitutes(
    recipe: Path, tmp_path: Path, call: Callable[..., SimpleNamespace]
) -> None:
    command = command_of(recipe)
    output = tmp_path / "model"
    done = call(command, "--config", recipe, "--output", output, "--smoke")
    assert (done.code, done.stdout) == (0, f"{output}\n"), done.stderr
    assert (output / "model.safetensors").is_file()
    kept, wrote = tomllib.loads((output / "training.toml").read_text()), tomllib.loads(recipe.read_text())
    for name in ("loss", "learning_rate", "warmup", "decay", "temperature", "expansion", "precision", "masked"):
        assert name not in wrote or kept[name] == wrote[name]
    assert kept["max_steps"] == 3


@pytest.mark.parametrize("sets", [1, 3, 9])
def test_each_made_up_data_set_fills_a_batch_without_what_is_held_out(tmp_path: Path, sets: int) -> None:
    names = [f"{number}.jsonl" for number in range(sets)]
    small = small_training(DenseTraining.from_sources(init="tiny", output="out", data=names, mixing=2.0), tmp_path)
    assert len(small.data) == sets
    for file in small.data:
        assert len(Path(file).read_text().splitlines()) >= small.batch_size + small.holdout


def test_every_recipe_is_in_the_table() -> None:
    table = (Path(modernir.__file__).parent / "docs" / "recipes.md").read_text()
    assert [recipe.name for recipe in RECIPES if f"../recipes/{recipe.name}" not in table] == []
