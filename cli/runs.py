"""Flags that all commands have whose run leaves a folder and can be resumed."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file of settings; flags win.")]
Output = Annotated[str | None, typer.Option("--output", "-o", help="Folder of the run and the model.")]
Init = Annotated[str | None, typer.Option(help="New model: tiny, mini, base, large or a JSON config.")]
EmbeddingsFrom = Annotated[
    str | None, typer.Option(help="Dense model whose vectors a new model's embeddings begin with.")
]
Split = Annotated[str | None, typer.Option(help="Split of the data sets.")]
Subset = Annotated[str | None, typer.Option(help="Configuration of the data sets on a hub.")]
Seed = Annotated[int | None, typer.Option(help="Default 12.")]
LogEvery = Annotated[int | None, typer.Option(help="Steps. Default 10.")]
EvalEvery = Annotated[int | None, typer.Option(help="Steps. Default: ten times a run.")]
SaveEvery = Annotated[int | None, typer.Option(help="Steps. Default: ten times a run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --output.")]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="Try the recipe out: a tiny network, made-up data and 3 steps in their places.")
]
