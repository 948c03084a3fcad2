"""The two kinds of failure that a user sees as one line instead of a traceback.

The command line turns them into an exit code; a Python caller catches them like any other exception.
"""


class ModernirError(Exception):
    """Something went wrong that the message explains; the command line exits with `exit_code`."""

    exit_code = 1


class InputError(ModernirError, ValueError):
    """The input is at fault: the message names the file, line or value and says what to do."""

    exit_code = 2
