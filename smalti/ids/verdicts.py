"""Describes in sentences what is wrong with IDs, and what to do about it.

Each sentence follows from figures of the whole set (`smalti.ids.occupancy`) and a threshold:

    SHARED      items that share an ID: a fifth. 3×256 codes of residual k-means give about a tenth
                at 66,000 items; more than a fifth leaves too much to resolving.
    NOTHING     pairs of items that a level tells apart, of those that have the same codes up to
                it: a twentieth. A level of K codes that says something new tells nearly all apart
    DEAD        codes of a level that no item has: a quarter, where items are no fewer than codes
    UNEVEN      entropy of a level, of what it could be: half.
    CROWD       items with one ID: a hundredth of all, and ten at least.
    COPIES      items that share an ID and are exact copies: half of those that share one. No
                tokenizer tells copies apart, so larger codebooks are no help.
"""

from __future__ import annotations

import math

from smalti.counting import counted
from smalti.ids.occupancy import Occupancy

__all__ = ["share_in_words", "verdicts"]

SHARED, NOTHING, DEAD, UNEVEN, CROWD, COPIES = 0.2, 0.05, 0.25, 0.5, 0.01, 0.5
FEWEST = 10  # items with one ID
FRACTIONS = {
    1 / 10: "a tenth",
    1 / 5: "a fifth",
    1 / 4: "a quarter",
    1 / 3: "a third",
    1 / 2: "half",
    2 / 3: "two thirds",
    3 / 4: "three quarters",
    9 / 10: "nine tenths",
}
NEAR = 0.025


def share_in_words(share: float) -> str:
    """Formats a share in words: as a simple fraction if one is near, else in percent.

    Example:
        >>> [share_in_words(share) for share in (0.34, 0.5, 0.42, 0.991, 1.0)]
        ['a third', 'half', '42 %', 'nearly all', 'all']
    """
    if share >= 1 - NEAR:
        return "all" if share == 1 else "nearly all"
    near = min(FRACTIONS, key=lambda fraction: abs(fraction - share))
    return FRACTIONS[near] if abs(near - share) <= NEAR else f"{100 * share:.0f} %"


def verdicts(used: Occupancy, copies: int = 0, copied_pairs: int = 0) -> list[str]:
    """Lists the problems of a tokenizer's codes, one sentence each; empty if there are none.

    Arguments:
        used: The usage of codes by items, before collisions are resolved.
        copies: The number of items that are exact copies of others.
        copied_pairs: The number of pairs of items that are exact copies.
    """
    levels = [
        *_that_add_nothing(used, copied_pairs),
        *_with_dead_codes(used),
        *_used_unevenly(used),
    ]
    said = [_shared(used, copies, bool(levels))] if 1 - used.alone >= SHARED else []
    if used.largest >= max(FEWEST, CROWD * used.items):
        said.append(
            f"One ID stands for {used.largest} items, {share_in_words(used.largest / used.items)} "
            f"of all: look at them (smalti ids RUN lists the items of an ID), whether they are "
            f"alike."
        )
    return said + levels


def _shared(used: Occupancy, copies: int, levels_are_wrong: bool) -> str:
    """Says how many items share an ID, and what mends that."""
    sharing = round((1 - used.alone) * used.items)
    words = share_in_words(sharing / used.items)
    if copies >= COPIES * sharing:
        return (
            f"{_begin(words)} of the items share an ID, mostly because they are exact copies of "
            f"each other ({counted(copies, 'item')}): resolve collisions by index, or join them."
        )
    if levels_are_wrong:
        return f"{_begin(words)} of the items share an ID: mend the levels that are named below."
    return f"{_begin(words)} of the items share an ID: raise codebook_size or add a level."


def _that_add_nothing(used: Occupancy, copied_pairs: int) -> list[str]:
    """Says which levels tell hardly any items apart that the levels before them do not."""
    said = []
    before = used.items * (used.items - 1) // 2 - copied_pairs
    for number, depth in enumerate(used.depths, start=1):
        left = max(0, depth.pairs - copied_pairs)
        codes = "code" if number == 2 else f"{number - 1} codes"
        if before <= 0 and number > 1:
            said.append(
                f"Level {number} adds nothing: no two items that differ share their first {codes} "
                f"as it is. Leave it out, unless reconstructions need it."
            )
        elif before > 0 and 1 - left / before < NOTHING:
            share = share_in_words(left / before)
            whose = f" with the same first {codes}" if number > 1 else ""
            said.append(
                f"Level {number} adds nothing: {share} of the pairs of items{whose} have the same "
                f"code there, too. Start its codebook by k-means, train longer, or leave it out."
            )
        before = left
    return said


def _with_dead_codes(used: Occupancy) -> list[str]:
    """Says which levels have many codes that no item has."""
    return [
        f"Level {number} uses {level.used} of its {level.codebook_size} codes: start its codebook "
        f"by k-means and reset dead codewords, or lower its codebook_size."
        for number, level in enumerate(used.levels, start=1)
        if level.dead >= DEAD and used.items >= level.codebook_size
    ]


def _used_unevenly(used: Occupancy) -> list[str]:
    """Says which levels have a few codes for most items."""
    said = []
    for number, level in enumerate(used.levels, start=1):
        most = math.log2(min(level.codebook_size, used.items))
        if most and level.entropy < UNEVEN * most and level.dead < DEAD:
            said.append(
                f"Level {number} holds {level.entropy:.1f} of {most:.1f} bits, for a few of its "
                f"codes have most items: give it fewer codes, or normalize the data otherwise."
            )
    return said


def _begin(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"
