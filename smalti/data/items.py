"""Facts on the examples of a source beside signals and labels: names, categories and titles.

An example is an item where it has a name of its own, that of the manifest. Categories are what its
codes are compared with; a title is what a report shows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smalti.data.manifest import Manifest
from smalti.memory import give_back
from smalti.name_array import NameArray

__all__ = ["Category", "Items"]


class Category(NamedTuple):
    """A column of categories, such as brands, with its values numbered.

    Attributes:
        codes: (N,), int32: the number of each item's value; -1 where it is missing.
        names: Names of the values, by number.
    """

    codes: np.ndarray
    names: tuple[str, ...]

    def take(self, rows: np.ndarray) -> Category:
        """Returns that of the items with these indices (M,); of -1 nothing is known."""
        codes = np.append(self.codes, np.int32(-1))  # where -1 leads
        return Category(codes[rows], self.names)


class Items:
    """Names, categories and titles of all N examples of a data set.

    Arguments:
        names: The name of each example, as in the manifest.
        categories: The columns of categories by their names: "brand".
        titles: Maps indices of examples to their titles in words; None where titles are the names.
    """

    def __init__(
        self,
        names: Sequence[str],
        categories: Mapping[str, Category],
        titles: Callable[[Sequence[int]], list[str]] | None = None,
    ) -> None:
        self._names, self.categories, self._titles = names, categories, titles
        self._found: tuple[Manifest, np.ndarray] | None = None

    def rows(self, manifest: Manifest) -> np.ndarray:
        """Returns which item each example of a manifest is, (M,), int64; -1 for none of them."""
        if self._found is None or self._found[0] is not manifest:  # measurements ask one by one
            wanted, known = (_as_array(names) for names in (manifest.names, self._names))
            found = pc.index_in(wanted, value_set=known)
            self._found = manifest, np.asarray(pc.fill_null(found, -1)).astype(np.int64)
            del found, wanted, known
            give_back()
        return self._found[1]

    def rows_of(self, manifest: Manifest, examples: Sequence[int]) -> list[int]:
        """Returns which item each of a few examples of a manifest is; -1 for none of them.

        All of them at once, as `rows` gives them, would take a table of all names.
        """
        if self._found is not None and self._found[0] is manifest:
            return self._found[1][list(examples)].tolist()
        wanted = pa.array([manifest.name(example) for example in examples], pa.large_string())
        found = pc.index_in(_as_array(self._names), value_set=wanted)
        places = np.asarray(pc.fill_null(found, -1))
        items = np.flatnonzero(places >= 0)[::-1]  # of a name that comes twice the first counts
        item_of = dict(zip(places[items].tolist(), items.tolist(), strict=True))
        firsts: dict[str, int] = {}
        names = wanted.to_pylist()
        return [item_of.get(firsts.setdefault(n, place), -1) for place, n in enumerate(names)]

    def titles(self, rows: Sequence[int]) -> list[str]:
        """Returns what items with these indices are called in words."""
        if self._titles is None:
            return [str(self._names[row]) for row in rows]
        return self._titles(rows)


def _as_array(names: Sequence[str] | pa.Array) -> pa.Array:
    if isinstance(names, NameArray):
        return names.array
    if not isinstance(names, pa.Array | pa.ChunkedArray):
        names = pa.array([str(name) for name in names], pa.large_string())
    return names.cast(pa.large_string())
