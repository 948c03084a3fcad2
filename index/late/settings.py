"""What a late-interaction index can be told, when it is made and when it is searched."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...errors import InputError

CODED_BITS = (2, 4, 8)
PLAIN_BITS = (16, 32)


@dataclass(frozen=True)
class LateSettings:
    """How tokens are stored.

    Attributes:
        nbits: Bits a dimension: 2, 4 or 8 coded; 16 or 32 uncompressed, which is always searched exactly.
        seed: Of the training of centroids.
        centroids: How many; None for 4·√tokens.
        target_recall: Recall at 10 that compaction chooses the settings of search for; None for the usual settings.
    """

    nbits: int = 4
    seed: int = 0
    centroids: int | None = None
    target_recall: float | None = None

    def __post_init__(self) -> None:
        if not _whole(self.nbits) or self.nbits not in CODED_BITS + PLAIN_BITS:
            raise InputError(f"nbits {self.nbits!r}: choose 2, 4 or 8, or 16 or 32 for uncompressed vectors")
        if not _whole(self.seed) or not 0 <= self.seed < 1 << 31:
            raise InputError(f"seed {self.seed!r}: choose a whole number from 0 to 2147483647")
        if self.centroids is not None and (not _whole(self.centroids) or self.centroids < 1):
            raise InputError(f"centroids {self.centroids!r}: choose a whole number of at least 1, or none")
        if self.target_recall is not None and not _share(self.target_recall):
            raise InputError(f"target_recall {self.target_recall!r}: choose a number between 0 and 1, such as 0.95")

    @property
    def coded(self) -> bool:
        """Whether tokens are coded once there are enough of them."""
        return self.nbits in CODED_BITS


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        exact: Whether to score all documents.
        nprobe: Centroids probed for each token of a query; None for the default.
        candidates: Documents scored exactly; None for the default.
        threads: Queries searched at once; None for one a core.
        device: "cpu", or a device of torch, such as "cuda".
    """

    exact: bool = False
    nprobe: int | None = None
    candidates: int | None = None
    threads: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.exact, bool):
            raise InputError(f"exact {self.exact!r}: choose true or false")
        for name in ("nprobe", "candidates", "threads"):
            value = getattr(self, name)
            if value is not None and (not _whole(value) or value < 1):
                raise InputError(f"{name} {value!r}: choose a whole number of at least 1")
        if not isinstance(self.device, str):
            raise InputError(f'device {self.device!r}: choose "cpu", or a device of torch, such as "cuda"')


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the defaults filled in, as JSON values.

    Raises:
        InputError: A name is unknown or a value out of range.
    """
    _known(settings, LateSettings, "setting")
    return asdict(LateSettings(**settings))


def checked_options(options: Mapping[str, Any]) -> SearchOptions:
    """Return the options of a search.

    Raises:
        InputError: A name is unknown or a value out of range.
    """
    _known(options, SearchOptions, "search option")
    return SearchOptions(**options)


def _known(given: Mapping[str, Any], kind: type[LateSettings] | type[SearchOptions], what: str) -> None:
    names = [field.name for field in fields(kind)]
    for name in given:
        if name not in names:
            raise InputError(f"unknown {what} {name!r} of a late-interaction index; known are: {', '.join(names)}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1
