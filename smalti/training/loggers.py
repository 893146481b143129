"""The type of Lightning's loggers, for the fields of a recipe, without importing Lightning."""

from __future__ import annotations

import sys
from abc import ABCMeta, abstractmethod

__all__ = ["Logger"]


class _OnceAsked(ABCMeta):
    """Metaclass of a class whose subclasses are Lightning's, which is imported to list them."""

    def __subclasses__(cls) -> list[type]:
        """Returns Lightning's `Logger`, to find a logger by its name alone."""
        from lightning.pytorch import loggers

        return [loggers.Logger]

    def __subclasscheck__(cls, subclass: type) -> bool:
        """Returns whether a class is a logger; before Lightning is imported, there is none."""
        loggers = sys.modules.get("lightning.pytorch.loggers")
        return loggers is not None and issubclass(subclass, loggers.Logger)


class Logger(metaclass=_OnceAsked):
    """Abstract: any logger of Lightning, `lightning.pytorch.loggers.Logger`."""

    @abstractmethod
    def finalize(self, status: str) -> None:
        """Ends the log."""
