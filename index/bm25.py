"""BM25's settings as one value, and as people write them: `k1=0.9,b=0.4,identifiers=no`.

The index is the same whatever they are: postings and lengths are read from it, and scores are computed at the search.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError

EXPECTED = "expected such as k1=0.9,b=0.4,identifiers=no"
SWITCH = {"yes": True, "no": False}


@dataclass(frozen=True)
class BM25:
    """How lexical search scores (Robertson and Zaragoza 2009).

    Lucene's usual settings are k1 = 0.9 and b = 0.4 in Anserini, 1.2 and 0.75 in Lucene itself, both with identifiers
    left whole.

    Attributes:
        k1: Saturation of term counts.
        b: Share of length normalisation, 0 to 1.
        identifiers: Whether the words that identifiers are made of count as words of a text.

    Raises:
        InputError: A value is out of range.
    """

    k1: float = 1.5
    b: float = 0.75
    identifiers: bool = True

    def __post_init__(self) -> None:
        if not (self.k1 > 0 and math.isfinite(self.k1)):
            raise InputError(f"BM25's k1 = {self.k1}: expected more than 0")
        if not 0 <= self.b <= 1:
            raise InputError(f"BM25's b = {self.b}: expected 0 to 1")

    @classmethod
    def parse(cls, text: str) -> "BM25":
        """Read settings; those that are left out have their defaults.

        Raises:
            InputError: There is no such setting, it is given twice, or a value is none of its kind.
        """
        given: dict[str, Any] = {}
        for part in text.split(","):
            name, value = _setting(part)
            if name in given:
                raise InputError(f"BM25's {name} is given twice in {text}; give it once")
            given[name] = value
        return cls(**given)

    def different(self) -> dict[str, Any]:
        """Return the settings that are not the defaults."""
        usual = asdict(DEFAULT)
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    def __str__(self) -> str:
        """Return what `parse` reads as this value, of what differs from the defaults."""
        words = {True: "yes", False: "no"}
        shown = ((name, words[value] if name == "identifiers" else value) for name, value in self.different().items())
        return ",".join(f"{name}={value}" for name, value in shown)


def _setting(part: str) -> tuple[str, float | bool]:
    name, _, value = (word.strip() for word in part.partition("="))
    if name == "identifiers":
        if value not in SWITCH:
            raise InputError(f"BM25's identifiers={value}: expected yes or no")
        return name, SWITCH[value]
    if name not in ("k1", "b"):
        raise InputError(f"BM25 has no setting {name!r}; {EXPECTED}")
    try:
        return name, float(value)
    except ValueError as error:
        raise InputError(f"BM25's {name}={value}: expected a number") from error


DEFAULT = BM25()
