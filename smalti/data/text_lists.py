"""Reads lists of numbers that are written as text, as in the cells of a CSV file.

    [0.1, 2.5, -3]       what Python, pandas and JSON write of a list
    [ 0.1  2.5 -3. ]     what numpy writes of an array, over several lines where it is long

Words between commas or spaces are numbers; nan, and None or null, are missing ones.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["LISTS", "are_lists", "parse_lists"]

LISTS = pa.list_(pa.float32())
AROUND = " \t\r\n[]()"
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)|None|null"
BEGINNING = re.compile(rf"\s*[\[(]\s*(?:{NUMBER})(?:[\s,;]+(?:{NUMBER}))+", re.IGNORECASE)
DECIMAL = re.compile(r"[.eE]|nan", re.IGNORECASE)  # whole numbers alone may be tags


def are_lists(texts: pa.Array) -> bool:
    """Returns whether the first text that is not missing is a list of floating-point numbers.

    Example:
        >>> [are_lists(pa.array([text])) for text in ("[0.5, 1]", "[1, 2]", "[a, b]", "0.5")]
        [True, False, False, False]
    """
    first = next((text for text in texts.to_pylist() if text is not None), "")
    found = BEGINNING.match(first)
    return found is not None and DECIMAL.search(found[0]) is not None


def parse_lists(texts: pa.Array) -> pa.Array:
    """Converts texts to lists of float32 numbers; a missing text is a missing list.

    Raises:
        ValueError: If a word in one is no number, with the word, and with the text.

    Example:
        >>> parse_lists(pa.array(["[0.5, 1]", "[2. 3.]", None])).to_pylist()
        [[0.5, 1.0], [2.0, 3.0], None]
    """
    inside = pc.utf8_trim(texts, AROUND)
    words = pc.split_pattern(pc.replace_substring_regex(inside, r"[\s,;]+", ","), ",")
    flat = words.flatten()
    missing = pc.is_in(pc.utf8_lower(flat), pa.array(["", "none", "null"]))
    flat = pc.if_else(missing, pa.scalar(None, pa.string()), flat)
    try:
        numbers = flat.cast(pa.float32())
    except pa.ArrowInvalid as error:
        raise _wrong_word(words, texts) from error
    offsets = words.offsets
    return pa.ListArray.from_arrays(offsets, numbers, mask=words.is_null())


def _wrong_word(words: pa.Array, texts: pa.Array) -> ValueError:
    """Returns an error with the first word that is no number, and the text that it is in."""
    for row, text in zip(words.to_pylist(), texts.to_pylist(), strict=True):
        for word in row or ():
            if word and not re.fullmatch(NUMBER, word, re.IGNORECASE):
                return ValueError(word, text)
    return ValueError("a number", "")
