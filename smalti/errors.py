"""What a user of smalti can get wrong, said in one line.

A user's mistake raises `InputError` with a message of three parts: what is wrong, what was got, and
how to mend it. The command line prints that line alone and exits with status 2; in Python it is an
ordinary `ValueError`.
"""

__all__ = ["InputError"]


class InputError(ValueError):
    """A mistake of the user's: the message says what is wrong, what was got and how to mend it."""
