"""Only the rooms of kinds of data name one: everything else goes through `Signal` and `Modality`.

Each source file outside of them is read whole, strings, docstrings and comments included. What is
let through is what names something else than data: methods and the titles of their papers, recipes,
media types, and the examples in docstrings, which need some signal to be examples of.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import smalti
from smalti import recipes

PACKAGE = Path(smalti.__file__).parent
ROOMS = ("modalities", "synthetic")
WORDS = re.compile(r"image|pixel|psnr|ssim|clock", re.IGNORECASE)
METHODS = re.compile(r"pixel_?(cnn|snail)", re.IGNORECASE)
MEDIA = re.compile(r"image/png")
NAMED = [name for name in recipes.names() if re.search(r"\d|-", name)]  # not a word by itself
RECIPES = re.compile(rf"\b({'|'.join(sorted(NAMED, key=len, reverse=True))})\b")
EXAMPLE = re.compile(r"\s*(>>>|\.\.\.) ")  # a line of a doctest
REFERENCES = re.compile(r"^( *)References?:\n(?:\1 +\S.*\n|\n(?=\1 +\S))+", re.MULTILINE)

FILES = sorted(
    path
    for path in PACKAGE.rglob("*")
    if path.suffix in (".py", ".cpp", ".j2") and path.relative_to(PACKAGE).parts[0] not in ROOMS
)


def told(text: str) -> list[str]:
    """The lines of a source that name a kind of data."""
    text = REFERENCES.sub("", text)
    lines = [line for line in text.splitlines() if not EXAMPLE.match(line)]
    kept = [MEDIA.sub("", RECIPES.sub("", METHODS.sub("", line))) for line in lines]
    return [line.strip() for line, rest in zip(lines, kept, strict=True) if WORDS.search(rest)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_names_no_kind_of_data(path):
    assert told(path.read_text(encoding="utf-8")) == []


def test_the_law_finds_what_it_forbids():
    assert len(FILES) > 100
    for line in (
        'raise InputError("There are no images.")',
        "from PIL import Image",
        "x = pixels[0]  # of one",
        '"""Reads clocks."""',
        "figures['psnr']",
    ):
        assert told(line) == [line]
    for line in (
        "class PixelCNN(GatedPrior):",
        "        ...     Image(channels=3, size=(30, 20)),",
        "References:\n    Conditional Image Generation with PixelCNN Decoders, 2016.\n",
        'f"choose e.g. images64."',
    ):
        assert told(line) == []
