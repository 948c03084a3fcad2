"""Checked reading of the fields of a JSON object, so that a wrong one is refused by its own name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class FieldReader:
    """Fields of a file, each read with the check that it needs; an absent one is its default.

    Every method raises an InputError that names the source, the field, the value and what was expected.

    Attributes:
        fields: As parsed from JSON.
        source: What errors name, usually the file.
    """

    fields: Mapping[str, Any]
    source: object

    def error(self, name: str, value: object, expected: str) -> InputError:
        """Return the error that refuses a value."""
        return InputError(f"{self.source}: {name} is {value!r}; expected {expected}")

    def only(self, name: str, supported: object, default: object) -> None:
        """Refuse every value but one."""
        value = self.fields.get(name, default)
        if type(value) is not type(supported) or value != supported:
            raise InputError(f"{self.source}: {name} is {value!r}; only {supported!r} is supported")

    def whole(self, name: str, default: int) -> int:
        """Return a whole number of at least 1."""
        value = self.fields.get(name, default)
        if type(value) is not int or value < 1:
            raise self.error(name, value, "a whole number of at least 1")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a number above 0."""
        return self.positive(name, self.fields.get(name, default))

    def positive(self, name: str, value: object) -> float:
        """Return a value, found under a name that is no field of its own, as a number above 0."""
        if type(value) not in (int, float) or not 0 < value < math.inf:  # type: ignore[operator]
            raise self.error(name, value, "a number above 0")
        return float(value)  # type: ignore[arg-type]

    def share(self, name: str) -> float:
        """Return a number from 0 to below 1; an absent one is 0."""
        value = self.fields.get(name, 0.0)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise self.error(name, value, "a number from 0 to below 1")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false; an absent one is true."""
        value = self.fields.get(name, True)
        if type(value) is not bool:
            raise self.error(name, value, "true or false")
        return value

    def token(self, name: str, default: int) -> int | None:
        """Return the number of a token, or None."""
        value = self.fields.get(name, default)
        if value is not None and (type(value) is not int or value < 0):
            raise self.error(name, value, "the number of a token or null")
        return value
