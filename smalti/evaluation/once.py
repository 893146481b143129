"""What several measurements need is made once; if it cannot be made, each of them is told why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Once"]

T = TypeVar("T")


class Once:
    """Keeps what was made by name, or the error of the first try."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    def __call__(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, at the first call of this name.

        Raises:
            Exception: What `make` raised at the first call, again at every later one.

        Example:
            >>> kept = Once()
            >>> kept("three", lambda: 3), kept("three", lambda: 4)
            (3, 3)
        """
        if name in self._errors:
            raise self._errors[name]
        if name not in self._made:
            try:
                self._made[name] = make()
            except Exception as error:
                self._errors[name] = error
                raise
        made: T = self._made[name]
        return made
