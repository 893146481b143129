"""A figure: a number with its unit and with the protocol by which it was measured.

A number alone cannot be compared with anything. So none leaves this room without the set it was
measured on, how many examples that were, the range of values, and what exactly was averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

__all__ = [
    "Figure",
    "display",
    "figure",
    "replace_infinite",
    "is_figure",
    "number",
    "protocols",
    "undefined_figure",
]

DECIMALS = {
    "share": 1,
    "dB": 2,
    "bits": 3,
    "nats": 3,
    "codewords": 1,
    "minutes": 1,
    "dimensions": 0,
    "items": 0,
    "prefixes": 0,
}
NARROW_SPACE = "\u202f"


class Figure(TypedDict):
    """A measured number.

    Attributes:
        value: The number; may be infinite, as the bits of something that has no probability.
        unit: `"share"` (of 1), `"bits"`, `"nats"`, `"dB"`, …; empty for a bare number.
        protocol: Set, N, range and definition, in words.
        note: Why there is no such number, where there is none (NaN), e.g. of a division by zero.
    """

    value: float
    unit: str
    protocol: str
    note: NotRequired[str]


def figure(value: float, unit: str, protocol: str) -> Figure:
    """Makes a figure of a plain Python float."""
    return Figure(value=float(value), unit=unit, protocol=protocol)


def undefined_figure(unit: str, protocol: str, why: str) -> Figure:
    """Returns a figure that these data or this model do not have.

    Example:
        >>> display(undefined_figure("share", "", "it is 0 of 0"))
        'undefined'
    """
    return Figure(value=math.nan, unit=unit, protocol=f"{protocol}; undefined: {why}", note=why)


def is_figure(value: Any) -> bool:
    """Returns whether a branch of nested figures is a figure itself."""
    return isinstance(value, dict) and set(value) >= {"value", "unit", "protocol"}


def replace_infinite(tree: Any) -> Any:
    """Returns nested figures as JSON can hold them: an infinite value becomes null, with a note."""
    if not isinstance(tree, dict):
        return tree
    if is_figure(tree) and not math.isfinite(tree["value"]):
        note = "not a number" if math.isnan(tree["value"]) else "infinite"
        return {**tree, "value": None, "note": tree.get("note", note)}
    return {name: replace_infinite(branch) for name, branch in tree.items()}


def display(measured: Figure, unit_shown: bool = True) -> str:
    """Formats a figure for people, with or without its unit.

    Example:
        >>> display(figure(0.9925, "share", "")), display(figure(24.3, "dB", ""))
        ('99.2\u202f%', '24.30\u202fdB')
        >>> display(figure(0.0378123, "", "")), display(figure(math.inf, "bits", ""))
        ('0.03781', '∞')
        >>> display(figure(441.0, "bits", ""))
        '441.0\u202fbits'
    """
    value, unit = measured["value"], measured["unit"]
    if math.isnan(value):
        return "undefined" if "note" in measured else "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if unit == "share":
        return f"{100 * value:.{DECIMALS[unit]}f}{NARROW_SPACE}%"
    if not unit:
        return f"{value:#.4g}"
    # Large numbers of bits, nats or codewords need fewer decimals.
    decimals = min(DECIMALS.get(unit, 2), max(0, 3 - math.floor(math.log10(max(abs(value), 1)))))
    number = f"{value:,.{decimals}f}".replace(",", NARROW_SPACE)
    return f"{number}{NARROW_SPACE}{unit}" if unit_shown else number


def protocols(figures: Mapping[str, Any]) -> list[str]:
    """Returns the different protocols of nested figures, in their order."""
    if is_figure(figures):
        return [figures["protocol"]]
    found = [protocol for branch in figures.values() for protocol in protocols(branch)]
    return list(dict.fromkeys(found))


def number(n: int) -> str:
    """Formats a count, with a narrow space between thousands.

    Example:
        >>> number(10_000) == "10\u202f000"
        True
    """
    return f"{n:,}".replace(",", NARROW_SPACE)
