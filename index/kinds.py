"""The kinds of vectors that an index can hold, each with the engine that writes and searches them."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import InputError
from .engine import Engine

KINDS = {"dense": "DenseEngine", "late": "LateEngine"}
"""Kind to the class of its engine; the sub-package of that name is imported when an index of the kind is opened."""
METRICS = ("cosine", "dot")


def checked_kind(kind: str, dim: int, metric: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an engine's settings with its defaults filled in.

    Raises:
        InputError: A value is not one of those that there are.
    """
    for name, value, known in (("kind", kind, tuple(KINDS)), ("metric", metric, METRICS)):
        if value not in known:
            raise InputError(f"unknown {name} {value!r}; expected one of {', '.join(known)}")
    if dim < 1:
        raise InputError(f"expected a positive dim, found {dim}")
    checked: dict[str, Any] = _module(kind, "settings").checked_settings(settings)
    make_engine(kind, Path(), dim, metric, checked, 0, None)  # what only shows with the dim, such as a factory string
    return checked


def check_known(kind: str, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """See that a kind of index knows its settings and the options of a search, as far as that shows without a dim.

    Raises:
        InputError: A name is unknown or a value is out of its range.
    """
    known = _module(kind, "settings")
    known.checked_settings(settings)
    known.checked_options(options)


def make_engine(
    kind: str, folder: Path, dim: int, metric: str, settings: Mapping[str, Any], memory: int, shared: str | None
) -> Engine:
    """Return the engine of an index."""
    engine: Engine = getattr(_module(kind, "engine"), KINDS[kind])(folder, dim, metric, settings, memory, shared)
    return engine


def _module(kind: str, name: str) -> Any:  # noqa: ANN401 - a module
    return import_module(f".{kind}.{name}", __package__)
