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

SINGULAR = {"items": "item", "prefixes": "prefix", "dimensions": "dimension"}
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
    """A measured number, with its unit and the protocol of its measurement.

    Attributes:
        value: The number; may be infinite, as the bits of something that has no probability.
        unit: `"share"` (of 1), `"bits"`, `"nats"`, `"dB"`, …; empty for a bare number.
        protocol: Set, N, range and definition, in words.
        note: Why the number is undefined (NaN), if it is, such as a division by zero.
    """

    value: float
    unit: str
    protocol: str
    note: NotRequired[str]


def figure(value: float, unit: str, protocol: str) -> Figure:
    """Makes a figure: a number with its unit and protocol.

    Arguments:
        value: The number.
        unit: "share" (of 1), "bits", "nats", "dB", …; empty for a bare number.
        protocol: How it was measured, in words: of which set, of how many, by which definition.
    """
    return Figure(value=float(value), unit=unit, protocol=protocol)


def undefined_figure(unit: str, protocol: str, why: str) -> Figure:
    """Makes a figure without a value, NaN, with the reason why it is undefined.

    Example:
        >>> display(undefined_figure("share", "", "it is 0 of 0"))
        'undefined'
    """
    return Figure(value=math.nan, unit=unit, protocol=f"{protocol}; undefined: {why}", note=why)


def is_figure(value: Any) -> bool:
    """Returns whether a value in nested dictionaries of figures is a figure, not a dictionary."""
    return isinstance(value, dict) and set(value) >= {"value", "unit", "protocol"}


def replace_infinite(tree: Any) -> Any:
    """Replaces infinite and NaN values in nested figures by null with a note, as JSON needs it."""
    if not isinstance(tree, dict):
        return tree
    if is_figure(tree) and not math.isfinite(tree["value"]):
        note = "not a number" if math.isnan(tree["value"]) else "infinite"
        return {**tree, "value": None, "note": tree.get("note", note)}
    return {name: replace_infinite(branch) for name, branch in tree.items()}


def display(measured: Figure, unit_shown: bool = True) -> str:
    """Formats a figure as text to read, with or without its unit.

    Example:
        >>> display(figure(0.9925, "share", "")), display(figure(24.3, "dB", ""))
        ('99.2\u202f%', '24.30\u202fdB')
        >>> display(figure(0.0378123, "", "")), display(figure(math.inf, "bits", ""))
        ('0.03781', '∞')
        >>> display(figure(441.0, "bits", ""))
        '441.0\u202fbits'
        >>> display(figure(1, "items", "")), display(figure(2, "items", ""))
        ('1\u202fitem', '2\u202fitems')
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
    unit = SINGULAR.get(unit, unit) if number == "1" else unit
    return f"{number}{NARROW_SPACE}{unit}" if unit_shown else number


def protocols(figures: Mapping[str, Any]) -> list[str]:
    """Lists the different protocols in nested figures, in order."""
    if is_figure(figures):
        return [figures["protocol"]]
    found = [protocol for branch in figures.values() for protocol in protocols(branch)]
    return list(dict.fromkeys(found))


def number(n: int) -> str:
    """Formats a whole number, with a narrow space between thousands.

    Example:
        >>> number(10_000) == "10\u202f000"
        True
    """
    return f"{n:,}".replace(",", NARROW_SPACE)
