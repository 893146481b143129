"""What was found where data were looked for, in a few lines that a user reads before training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from smalti.data.names import readable
from smalti.data.rows import Rows

__all__ = ["Found", "logger"]

logger = logging.getLogger(__name__)  # `smalti fit` prints what it says

ORDER = ("train", "validation", "test")
NAMED = 6  # labels and kinds that a line names


class Found(NamedTuple):
    """The images that a path stands for, by split, and what was passed over there."""

    where: str
    rows: dict[str, Rows]
    origins: Mapping[str, Sequence[str]]
    """The folders that gave a split its name, or the files that it lies in; none where it is all
    that is not of another."""

    passed: Counter[str]
    """What was passed over, by kind."""

    def lines(self, labels: Sequence[str] | None) -> list[str]:
        """One line of what there is, and one of what was passed over, if anything was.

        Arguments:
            labels: Their names; None where there are none.
        """
        splits = []
        for split in sorted(self.rows, key=ORDER.index):
            rows = self.rows[split]
            origin = _few(self.origins.get(split, ()))
            splits.append(f"{split} {len(rows)}" + f" (of {origin})" * bool(origin))
        n = sum(map(len, self.rows.values()))
        named = "no labels" if labels is None else f"{len(labels)} labels ({_few(labels)})"
        lines = [f"found {n} images in {self.where}: {named}; {', '.join(splits)}"]
        if self.passed:
            kinds = [f"{kind} ({n})" for kind, n in self.passed.most_common()]
            lines.append(f"passed over: {', '.join(kinds)}")
        return lines


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(readable, names[:NAMED])) + ", …" * (len(names) > NAMED)
