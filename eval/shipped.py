"""Where the data sets lie that come with the package."""

from pathlib import Path

SHIPPED = {"scifact": Path(__file__).parents[1] / "quickstart" / "scifact"}
"""Name to a folder in BEIR's layout."""
