"""The two kinds of failure that a user sees as one line instead of a traceback.

The command line turns them into an exit code; a Python caller catches them like any other exception.
"""

import errno
import sqlite3

FULL = "no space left on the disk; what was finished is kept: free some and run the same command again"


class ModernirError(Exception):
    """Something went wrong that the message explains; the command line exits with `exit_code`."""

    exit_code = 1


class InputError(ModernirError, ValueError):
    """The input is at fault: the message names the file, line or value and says what to do."""

    exit_code = 2


def explain(error: OSError | sqlite3.Error) -> ModernirError | None:
    """Return what a user can do about a failure of the disk or the catalog, or None where the program is at fault."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError(FULL)
        place = f"{error.filename}: " if error.filename else ""
        return InputError(f"{place}{error.strerror}") if error.errno else None
    if "disk is full" in str(error):
        return InputError(FULL)
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        return ModernirError(f"the catalog of the index cannot be used ({error}); see: modernir index verify")
    return None
