"""What the benchmarks' command lines share: reading of options, and failures as one line and an exit code."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence

from modernir.errors import InputError, ModernirError


def exit_code(action: Callable[[argparse.Namespace], object], options: argparse.Namespace) -> int:
    """Run a command; return 0, or the code of a failure that a user can mend, whose message goes to stderr."""
    try:
        action(options)
    except ModernirError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def positive(text: str) -> int:
    """Read a whole number above zero.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.strip().isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def positives(separator: str) -> Callable[[str], list[int]]:
    """Return a reader of whole numbers above zero with a separator between them."""
    return lambda text: [positive(part) for part in text.split(separator)]


def matching(names: Sequence[str], only: str) -> list[str]:
    """Return the names that hold one of the parts in `only`, which are separated by commas; all if it is empty.

    Raises:
        InputError: There is none.
    """
    parts = [part.strip().lower() for part in only.split(",") if part.strip()]
    chosen = [name for name in names if not parts or _holds_any(name.lower(), parts)]
    if not chosen:
        raise InputError(f"--only {only}: in the name of no variant; there are: {'; '.join(names)}")
    return chosen


def _holds_any(name: str, parts: Iterable[str]) -> bool:
    return any(part in name for part in parts)
