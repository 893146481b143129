"""A language model that may write IDs alone: a tiny one with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from smalti.errors import InputError
from smalti.ids import IdTable, parse_prefix, special_tokens
from smalti.ids.constrained import OnlyIds, token_ids

SIZES = (5, 4, 6)
WORDS = {word: n for n, word in enumerate(["<unk>", "<pad>", "<end>", "people", "who", "like"])}


@pytest.fixture(scope="module")
def table():
    codes = np.random.default_rng(0).integers(SIZES, size=(25, 3))
    return IdTable.of([f"item-{n}" for n in range(25)], codes, SIZES, "none")


@pytest.fixture(scope="module")
def tokenizer():
    words = Tokenizer(models.WordLevel(dict(WORDS), unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<end>",
        padding_side="left",
    )  # fmt: skip
    made.add_tokens(special_tokens(SIZES))
    return made


def decoder(tokenizer):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=1, n_head=2,
        bos_token_id=None, eos_token_id=WORDS["<end>"], pad_token_id=WORDS["<pad>"],
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def encoder_and_decoder(tokenizer):
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=WORDS["<pad>"], eos_token_id=WORDS["<end>"],
        pad_token_id=WORDS["<pad>"],
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def written(tokenizer, sequences, start):
    """The codes that each row holds after its prompt."""
    texts = tokenizer.batch_decode(sequences[:, start:], skip_special_tokens=False)
    return [text.replace(" ", "") for text in texts]


@pytest.mark.parametrize("with_encoder", [False, True], ids=["decoder", "encoder and decoder"])
@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False},
        {"do_sample": True, "num_return_sequences": 20},
        {"num_beams": 5, "num_return_sequences": 5, "do_sample": False},
    ],
    ids=["greedy", "drawn", "beams"],
)
def test_only_ids_of_the_table_come_out(table, tokenizer, with_encoder, how):
    model = (encoder_and_decoder if with_encoder else decoder)(tokenizer)
    known = set(table.strings.to_pylist())
    # An ID in the prompt is no beginning of an answer.
    prompt = tokenizer(
        ["people who like <a_1><b_2><c_3>", "who like"], return_tensors="pt", padding=True
    )
    prompt.pop("token_type_ids", None)
    start = 1 if with_encoder else prompt["input_ids"].shape[1]
    only_ids = OnlyIds(table.tree, token_ids(tokenizer, SIZES), start)
    free = model.generate(**prompt, max_new_tokens=3, **how)
    bound = model.generate(**prompt, max_new_tokens=3, logits_processor=[only_ids], **how)
    assert not set(written(tokenizer, free, start)) <= known
    found = written(tokenizer, bound, start)
    assert len(found) == 2 * how.get("num_return_sequences", 1) and set(found) <= known
    assert all(table.items(parse_prefix(text)) for text in found)


def test_every_id_can_come_out(table, tokenizer):
    model, prompt = decoder(tokenizer), torch.tensor([[3, 4]])
    only_ids = OnlyIds(table.tree, token_ids(tokenizer, SIZES), 2)
    known = set(table.strings.to_pylist())
    drawn = model.generate(
        prompt, max_new_tokens=3, do_sample=True, num_return_sequences=400, temperature=5.0,
        logits_processor=[only_ids],
    )  # fmt: skip
    assert set(written(tokenizer, drawn, 2)) == known


def test_several_ids_and_then_the_end(table, tokenizer):
    model, prompt = decoder(tokenizer), torch.tensor([[3, 4]])
    only_ids = OnlyIds(table.tree, token_ids(tokenizer, SIZES), 2, end=WORDS["<end>"], ids=2)
    drawn = model.generate(
        prompt, max_new_tokens=12, do_sample=True, num_return_sequences=9,
        logits_processor=[only_ids],
    )  # fmt: skip
    known = set(table.strings.to_pylist())
    assert drawn.shape[1] == 2 + 6 + 1
    for text in written(tokenizer, drawn, 2):
        assert text.endswith("<end>")
        codes = text.removesuffix("<end>")
        assert codes[: codes.index("<a_", 1)] in known and codes[codes.index("<a_", 1) :] in known


def test_scores_of_what_may_follow_stay_as_they_are(table, tokenizer):
    tokens = token_ids(tokenizer, SIZES)
    only_ids = OnlyIds(table.tree, tokens, 1)
    first = int(table.codes[0, 0])
    scores = torch.randn(2, len(tokenizer))
    got = only_ids(torch.tensor([[3, tokens[0][first]], [3, tokens[0][first]]]), scores)
    allowed = [tokens[1][code] for code in table.tree.allowed([first])]
    assert got.isfinite().nonzero().tolist() == [[b, t] for b in (0, 1) for t in sorted(allowed)]
    assert (got[:, allowed] == scores[:, allowed]).all()


@pytest.mark.parametrize("level", [0, 26, 29])
def test_tokenizers_take_the_words_whole(level):
    sizes = (3,) * 30
    words = Tokenizer(models.WordLevel(dict(WORDS), unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    assert made.add_tokens(special_tokens(sizes)) == 90
    numbers = token_ids(made, sizes)
    text = "".join(special_tokens(sizes)[::3])
    assert made(text)["input_ids"] == [level[0] for level in numbers]
    assert numbers[level] == [len(WORDS) + 3 * level + code for code in range(3)]


def test_what_does_not_fit_is_refused(table, tokenizer):
    tokens = token_ids(tokenizer, SIZES)
    with pytest.raises(InputError, match="lacks 24 of 39 tokens of IDs, <a_5> first"):
        token_ids(tokenizer, (13, 13, 13))
    with pytest.raises(InputError, match=r"got \(5, 4\) tokens for levels of \(5, 4, 6\) codes"):
        OnlyIds(table.tree, tokens[:2], 0)
    only_ids = OnlyIds(table.tree, tokens, 4)
    with pytest.raises(InputError, match="begins after 4 tokens, got 2"):
        only_ids(torch.tensor([[3, 4]]), torch.zeros(1, len(tokenizer)))
    with pytest.raises(InputError, match="resize_token_embeddings"):
        only_ids(torch.tensor([[3, 4, 5, 6]]), torch.zeros(1, 10))
    empty = IdTable.of([], np.zeros((0, 3), int), SIZES, "none")
    with pytest.raises(InputError, match="There is no ID to write"):
        OnlyIds(empty.tree, tokens, 0)
