"""Captions: every text is read back as it was, and what does not fit is refused."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalti.artifacts import load_model, save_model
from smalti.conditions import Caption, OptionalCondition
from smalti.conditions.byte_pairs import BytePairs, learn_merges
from smalti.errors import InputError
from smalti.extras import MissingExtra

TEXTS = ["red heart", "blue heart", "red car", "blue car", "green car: left", "cœur 赤い ❤️"]
PAIRS = BytePairs(learn_merges(TEXTS * 3, 320))
CAPTION = Caption.learned(TEXTS)


@given(st.text())
def test_every_text_is_read_back_as_it_was(text):
    tokens = PAIRS.encode(text)
    assert PAIRS.decode(tokens) == text
    assert all(0 <= token < len(PAIRS) for token in tokens)
    assert len(tokens) <= len(text.encode())


@pytest.mark.parametrize(
    "text", ["两颗心", "قلب أحمر", "👩🏽‍🚀", "a\n\tb\r\n", "  two  spaces ", "\0"]
)
def test_any_script_and_any_sign_is_a_caption(text):
    caption = Caption(40, PAIRS.merges)
    assert caption.format(caption.parse(text)) == text


def test_an_encoding_depends_on_the_texts_and_not_on_their_order():
    shuffled = TEXTS * 3
    random.Random(1).shuffle(shuffled)
    assert tuple(learn_merges(shuffled, 320)) == PAIRS.merges
    assert learn_merges(TEXTS[:2] * 3, 320) != learn_merges(TEXTS * 3, 320)
    assert len(BytePairs(learn_merges(TEXTS, 256))) == 256
    assert len(PAIRS) <= 320 and len(PAIRS.encode("heart")) < 5


def test_a_caption_that_is_empty_or_too_long_is_refused_with_what_fits():
    for text in ("", "  ", "\n"):
        with pytest.raises(InputError, match="is empty") as error:
            CAPTION.parse(text)
        assert "\n" not in str(error.value)
    text = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
    line = f"got 30 tokens where {CAPTION.length} fit: shorten it"
    with pytest.raises(InputError, match=line):
        CAPTION.parse(text)
    with pytest.raises(InputError, match="UTF-8 can write"):
        CAPTION.parse("caf\udce9")


def test_the_longest_training_caption_says_how_many_tokens_fit_and_what_is_cut_is_counted():
    longest = max(len(CAPTION.pairs.encode(text)) for text in TEXTS)
    assert CAPTION.length == longest
    rows, cut = CAPTION.encode(["red car", "z" * 60, "red car", "z" * 60])
    assert rows.shape == (4, longest) and cut == 2
    assert CAPTION.format(rows[1].tolist()) == "z" * longest
    CAPTION.check(rows)
    short = Caption.learned(TEXTS, longest=3)
    assert short.length == 3
    assert all(len(short.pairs.encode(text)) <= 3 for text in short.suggestions)


def test_the_context_tells_which_tokens_come_in_which_order():
    values = torch.tensor([CAPTION.parse("red car"), CAPTION.parse("car red")])
    context = CAPTION(values)
    assert context.mask.sum(1).tolist() == (values > 0).sum(1).tolist()
    for row, vectors in zip(values, context.sequence, strict=True):
        n = int((row > 0).sum())
        assert (vectors[:n].argmax(1) + 1).tolist() == row[:n].tolist()
        assert not vectors[n:].any()
    nothing = CAPTION(CAPTION.null[None])
    assert not nothing.mask.any() and not nothing.sequence.any()


@pytest.mark.parametrize("place, value", [(0, 0), (1, 0), (0, 5000), (0, -1), (0, 0.5)])
def test_rows_that_are_no_captions_are_refused_in_one_line(place, value):
    values = torch.tensor([CAPTION.parse("red car: blue")]).double()
    values[0, place] = value
    with pytest.raises(InputError, match="make them with `parse`") as error:
        CAPTION.check(values)
    assert "\n" not in str(error.value)


def test_what_is_drawn_are_captions_that_were_learned_from():
    drawn = CAPTION.draw(50, torch.Generator().manual_seed(0)).tolist()
    assert {CAPTION.format(row) for row in drawn} == set(TEXTS)
    bare = Caption(3)
    bare.check(bare.draw(5))


def test_none_is_no_caption_where_it_may_be_left_out():
    optional = OptionalCondition(CAPTION)
    assert optional.parse("none") == CAPTION.null.tolist() == optional.parse(" none ")
    assert optional.parse("red car") == CAPTION.parse("red car")
    assert CAPTION.format(CAPTION.parse("none")) == "none"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Caption(0),
        lambda: Caption(3, ["r e", "re t x"]),
        lambda: Caption(3, ["re d"]),
        lambda: Caption(3, ["red"]),
        lambda: Caption(3, name="two words"),
        lambda: learn_merges(["\udce9"], 300),
    ],
)
def test_impossible_captions_are_refused_in_one_line(make):
    with pytest.raises(InputError) as error:
        make()
    assert "\n" not in str(error.value)


def test_it_is_saved_and_loaded_without_tokenizers(tmp_path):
    """The package is needed where a text is encoded, and named there."""
    save_model(CAPTION, tmp_path / "caption")
    assert load_model(tmp_path / "caption").parse("red car") == CAPTION.parse("red car")
    code = f"""
import sys
sys.modules["tokenizers"] = None
from smalti.artifacts import load_model
caption = load_model({str(tmp_path / "caption")!r})
assert caption(caption.null[None]).mask.shape == (1, caption.length)
try:
    caption.parse("red car")
except Exception as error:
    print(type(error).__name__, error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.startswith(MissingExtra.__name__), said.stdout
    assert "pip install 'smalti[transformers]'" in said.stdout
