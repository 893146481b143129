"""The errors that users of smalti make, each said in one line.

A user's mistake raises `InputError` with a message of three parts: what is wrong, what was got, and
how to mend it. The command line prints that line alone and exits with status 2; in Python it is an
ordinary `ValueError`.
"""

__all__ = ["InputError", "first_line"]


class InputError(ValueError):
    """The error for bad input: its message says what is wrong, what was got and how to mend it."""


def first_line(error: Exception) -> str:
    """Returns the first line of another library's error message, or the name of its class.

    Example:
        >>> first_line(OSError("No space left.\\nTry again.")), first_line(KeyError())
        ('No space left', 'KeyError')
    """
    return (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
