"""What everything that shows results to people says and leaves out."""

CONTROLS = {number: " " for number in (*range(10), *range(11, 32), *range(127, 160))}
"""Control characters but the end of a line, which a terminal would obey; for `str.translate`."""
NOTHING_FOUND = "nothing found"
