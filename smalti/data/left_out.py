"""Reports the examples that cannot be used and are left out, as long as they are few.

Of many examples some are broken. More than 1 % of them is no accident, but a mistake, unless they
are three at most and no more than a tenth.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from smalti.counting import counted
from smalti.errors import InputError
from smalti.signals import Signal
from smalti.spelling import listed

__all__ = ["report_left_out"]

TOLERATED = 0.01  # share of examples that may be broken
FEW, FEW_SHARE = 3, 0.1  # or so many, up to this share: one of fifty is an accident too
NAMED = 3  # broken examples that an error names
WARNED = 50  # and that warnings name


def report_left_out(
    faults: Sequence[str], n: int, signal_class: type[Signal], state: str, logger: logging.Logger
) -> None:
    """Warns that broken examples are left out, with the names of the first of them.

    Arguments:
        faults: Name and fault of each broken example.
        n: How many examples there are in all.
        signal_class: The class of the signals.
        state: What is wrong with all of them, as a predicate: "cannot be read".
        logger: Logger of the warning.

    Raises:
        InputError: If they are too many of n.
    """
    few = min(FEW, int(FEW_SHARE * n))
    if len(faults) > max(TOLERATED * n, few):
        limit = f"{TOLERATED:.0%}" + f" and more than {few}" * (few > TOLERATED * n)
        raise InputError(
            f"{len(faults)} of {counted(n, signal_class.noun, signal_class.plural)} {state}, more "
            f"than {limit}: "
            f"{listed(faults, NAMED)}. Repair or remove them."
        )
    article = "an" if signal_class.noun[0] in "aeiou" else "a"
    for fault in faults[:WARNED]:
        logger.warning("Left out %s %s that %s: %s", article, signal_class.noun, state, fault)
    if faults:
        logger.warning("Left out %d of %d %s.", len(faults), n, signal_class.plural)
