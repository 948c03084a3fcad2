"""Recall as JSON and CSV, with all digits."""

import csv
from io import StringIO
from typing import Any

from .measure import RecallTable


def to_json(table: RecallTable) -> dict[str, Any]:
    """Return what was measured as JSON values."""
    rows = [row.to_json() for row in table.rows]
    return {"reference": table.indexes[0], "queries": table.queries, "documents": table.documents, "settings": rows}


def to_csv(table: RecallTable) -> str:
    """Return a line for each index and setting."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    rows = [row.to_json() | {"options": row.setting} for row in table.rows]
    writer.writerow(["setting" if name == "options" else name for name in rows[0]])
    writer.writerows(["" if value is None else value for value in row.values()] for row in rows)
    return stream.getvalue()
