"""Settings as they are given, in a TOML file or as flags: of the right name and type, or refused with one line.

Names and types come from the fields of the settings' class, so that a field added there is known here.
"""

import dataclasses
import difflib
import json
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ...errors import InputError


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: The file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error})") from error


def check_values(values: dict[str, Any], settings: type, where: str) -> None:
    """Check that every name is a field of a class of settings and its value of that field's type.

    Args:
        values: Settings by name.
        settings: A dataclass.
        where: Begins the message.

    Raises:
        InputError: A name is unknown (the nearest known ones are named) or a value has the wrong type.
    """
    hints = hints_of(settings)
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=3) or sorted(hints)
            raise InputError(f"{where}: unknown setting {name!r}; did you mean {', '.join(near)}?")
        if not _fits(value, hints[name]):
            raise InputError(f"{where}: {name}: expected {_words(hints[name])}, found {value!r}")


def hints_of(settings: type) -> dict[str, Any]:
    """Return the fields of a class of settings and their types."""
    hints = get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401 - any value, any annotation of the settings
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _words(hint: Any) -> str:  # noqa: ANN401 - any annotation of the settings
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(option) for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is tuple:
        return "a list of whole numbers" if get_args(hint)[0] is int else "a list of texts"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[hint]


def to_toml(value: Any) -> str:  # noqa: ANN401 - a value of the settings
    """Write a text, a number, a truth value or a list as TOML."""
    # JSON's texts, numbers, lists and booleans are TOML's, but for the one control character that JSON leaves bare
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
