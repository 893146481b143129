"""IDs as text for language models: `<a_3><b_9><c_1>`, one token per level.

The letter says the level, so that a model never takes the 3 of one level for that of another:
a to z, then aa, ab, ….
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smalti.errors import InputError
from smalti.ids.prefix_tree import check_codebook_sizes, check_codes
from smalti.spelling import readable

__all__ = ["id_strings", "level_letters", "parse_prefix", "special_tokens"]

TOKEN = re.compile(r"<([a-z]+)_(\d+)>")
NUMBERS = re.compile(r"\d{1,10}( *,? *\d{1,10})* *,? *")
MOST_TOKENS = 1 << 22  # more than any language model has words


def level_letters(level: int) -> str:
    """Returns the letters that name a level in tokens: "a" for 0, "b" for 1, …

    Example:
        >>> [level_letters(level) for level in (0, 25, 26, 701, 702)]
        ['a', 'z', 'aa', 'zz', 'aaa']
    """
    text = ""
    level += 1
    while level:
        level, digit = divmod(level - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def special_tokens(codebook_sizes: Sequence[int]) -> list[str]:
    """Lists the tokens of all codes, to be added to the tokenizer of a language model.

    Arguments:
        codebook_sizes: K of each level.

    Raises:
        InputError: If there are more than any language model has words.

    Example:
        >>> special_tokens((2, 3))
        ['<a_0>', '<a_1>', '<b_0>', '<b_1>', '<b_2>']
    """
    sizes = check_codebook_sizes(codebook_sizes)
    if sum(sizes) > MOST_TOKENS:
        raise InputError(
            f"A vocabulary takes at most 2²² tokens, got codebooks of {sum(sizes)} codes: take "
            f"smaller ones, and more of them."
        )
    return [f"<{level_letters(n)}_{code}>" for n, size in enumerate(sizes) for code in range(size)]


def id_strings(codes: np.ndarray, codebook_sizes: Sequence[int]) -> pa.Array:
    """Formats IDs (N, L) as texts (N,): "<a_3><b_9><c_1>".

    Raises:
        InputError: If a code is out of range.

    Example:
        >>> id_strings(np.array([[3, 9, 1]]), (4, 10, 2)).to_pylist()
        ['<a_3><b_9><c_1>']
    """
    sizes = check_codebook_sizes(codebook_sizes)
    columns = check_codes(codes, sizes).T
    words = [_words(column, level) for level, column in enumerate(columns)]
    return words[0] if len(words) == 1 else pc.binary_join_element_wise(*words, "")


def parse_prefix(text: str) -> list[int] | None:
    """Parses the first codes of an ID, "3,9,1" or "<a_3><b_9><c_1>"; `None` if it is neither.

    Raises:
        InputError: If it has tokens of other levels than the first ones, in order.

    Example:
        >>> parse_prefix("3,9"), parse_prefix("<a_3><b_9>"), parse_prefix("item-42")
        ([3, 9], [3, 9], None)
    """
    text = text.strip()
    if NUMBERS.fullmatch(text):
        return [int(number) for number in re.findall(r"\d+", text)]
    if not re.fullmatch(rf"({TOKEN.pattern}\s*)+", text):
        return None
    found = TOKEN.findall(text)
    wanted = [level_letters(level) for level in range(len(found))]
    if [level for level, _ in found] != wanted:
        names = "".join(f"<{level}_…>" for level in wanted)
        raise InputError(
            f"An ID begins with its first level, got {readable(text)}: write it as {names}."
        )
    return [int(code) for _, code in found]


def _words(column: np.ndarray, level: int) -> pa.Array:
    """Writes the tokens of a level, (N,)."""
    used, places = np.unique(column, return_inverse=True)
    written = pa.array(list(_written(used.tolist(), level)), pa.string())
    return written.take(pa.array(places))


def _written(codes: Sequence[int], level: int) -> Iterator[str]:
    return (f"<{level_letters(level)}_{code}>" for code in codes)
