"""Several models on the same benchmarks, one at a time in memory."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..retrieval.words import Words
from .beir import DEFAULT_WAY, evaluate_beir, load_benchmarks
from .evaluate import Report
from .loading import Benchmark
from .ways import Way

if TYPE_CHECKING:
    from ..retrieval.encoder import Encoder

OUTPUT = Path("modernir-eval")
"""Where results go by default, in a folder of the model's name."""


def evaluate_models(
    models: Sequence[str],
    load: Callable[[str], "Encoder"],
    datasets: Iterable[Benchmark | str | Path],
    *,
    output: Path | None = None,
    way: Way = DEFAULT_WAY,
    data: str | Path | None = None,
    split: str | None = None,
    source_url: str | None = None,
    on_message: Callable[[str], object] = lambda message: None,
    **settings: Any,  # noqa: ANN401 - of `evaluate_beir`
) -> list[Report]:
    """Evaluate models on benchmarks, each with its own folder of results.

    Args:
        models: Names or folders; none for a lexical search, which is evaluated as "BM25".
        load: Makes an encoder of a name, when its turn comes.
        datasets: Loaded benchmarks, names or folders, see `evaluate_beir`.
        output: Folder for the results: those of one model lie in it, those of several in folders of the models' names;
            by default `modernir-eval/<model>`.
        way: How to search; the same for all models.
        data: Folder to look in instead of downloading.
        split: Which judgements; None takes each set's default.
        source_url: Address that holds the ZIP files, in place of BEIR's server.
        on_message: Is told what is skipped and what begins.
        settings: The others of `evaluate_beir`.

    Returns:
        A report for each model and set, one model after the other.

    Raises:
        InputError: A set or a model cannot be loaded, two models would share a folder, a model is lacking or has no
            part in the search, or cannot do what `way` asks for.
    """
    if not models and way.needs_encoder:
        raise InputError("no model given; name one with --model, or search without one by --mode lexical")
    if models and not way.needs_encoder:
        raise InputError("a lexical search goes by words alone; leave out --model, or add --rerank to use it")
    folders = [short_name(model) for model in models]
    for name in folders:
        if folders.count(name) > 1:
            raise InputError(
                f"two models are called {name!r}; evaluate one at a time, each with an --output of its own"
            )
    if len(models) > 1:
        _check_kinds(models, way)
    benchmarks = load_benchmarks(datasets, split, data, source_url)
    if not models:
        return evaluate_beir(
            None, benchmarks, output=output or OUTPUT / Words.name, way=way, on_message=on_message, **settings
        )
    reports = []
    for model, name in zip(models, folders, strict=True):
        if len(models) > 1:
            on_message(f"model {model}")
        place = output if output is not None and len(models) == 1 else (output or OUTPUT) / name
        # not kept in a variable: a model goes before the next one comes
        reports += evaluate_beir(load(model), benchmarks, output=place, way=way, on_message=on_message, **settings)
    return reports


def short_name(model: str) -> str:
    """Return what a model's folder of results is called: the last part of its path or hub name."""
    return Path(model).resolve().name


def _check_kinds(models: Sequence[str], way: Way) -> None:
    """Look at all models before the first of them costs anything.

    Raises:
        InputError: There is no such model, or it makes no vectors of the kind that is searched.
    """
    from ..encoders.checkpoint import open_checkpoint
    from ..encoders.formats import find_format

    for model in models:
        kind = "dense" if find_format(open_checkpoint(model)).settings is None else "late"
        way.check_kind(model, kind)
