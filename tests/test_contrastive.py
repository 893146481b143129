"""Signals and captions that belong together are near, and the best candidates are kept."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from smalti.artifacts import load_model, save_model
from smalti.conditions import Caption, Label
from smalti.data import Batch, TensorExamples
from smalti.errors import InputError
from smalti.evaluation.measurements.caption_retrieval import draw_distractors, own_caption_ranks
from smalti.generation.candidates import best_of
from smalti.modalities.image import Image
from smalti.modalities.image.augmentation import shift_randomly
from smalti.modalities.vector import Vector
from smalti.networks import ContrastiveNetwork, Features, contrastive_loss
from smalti.training import ContrastiveStage, Hardware, Training, train
from smalti.training.contrastive import augmented_contrastive_loss, drop_tokens

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
SIZES = {"small": 4, "large": 10}
TEXTS = [f"{size} {colour} square" for size in SIZES for colour in COLOURS]
CAPTION = Caption.learned(TEXTS)


def squares(n: int, seed: int = 0) -> Batch:
    """Squares on white, at random places, with their captions."""
    draw = torch.Generator().manual_seed(seed)
    x, texts = torch.ones(n, 3, 16, 16), []
    for number in range(n):
        text = TEXTS[int(torch.randint(len(TEXTS), (), generator=draw))]
        size, colour, _ = text.split()
        side = SIZES[size]
        i, j = torch.randint(17 - side, (2,), generator=draw).tolist()
        x[number, :, i : i + side, j : j + side] = torch.tensor(COLOURS[colour])[:, None, None]
        texts.append(text)
    return Batch(x, CAPTION.encode(texts)[0])


def network(**options) -> ContrastiveNetwork:
    torch.manual_seed(0)
    return ContrastiveNetwork(Image(3, (16, 16)), CAPTION, dim=16, width=8, **options)


def test_it_learns_which_caption_belongs_to_which_picture():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(80):
        loss = augmented_contrastive_loss(model, squares(48, seed=step), None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    x, values = squares(60, seed=999)
    every, _ = CAPTION.encode(TEXTS)
    with torch.no_grad():
        found = (model.encode_signals(x) @ model.encode_captions(every).T).argmax(1)
    right = (every[found] == values).all(1).double().mean()
    assert right > 0.9  # by chance 1 / 6


def test_vectors_have_length_one_and_do_not_depend_on_the_rest_of_a_batch(tmp_path):
    model = network().eval()
    x, values = squares(7)
    a, b = model.encode_signals(x), model.encode_captions(values)
    assert a.shape == b.shape == (7, 16)
    for vectors in (a, b):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(model.encode_signals(x[2:3]), a[2:3])
    torch.testing.assert_close(model.encode_captions(values[2:3]), b[2:3])
    torch.testing.assert_close(model(x, values).diagonal(), model.scale * model.scores(x, values))
    nothing = model.encode_captions(CAPTION.null[None])
    assert nothing.isfinite().all()
    save_model(model, tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model").scores(x, values), model.scores(x, values))


def test_every_weight_learns_and_large_signals_are_seen_small():
    torch.manual_seed(0)
    model = ContrastiveNetwork(Features(2, (100,), 1), CAPTION, dim=8, width=4)
    _, values = squares(5)
    contrastive_loss(model(torch.randn(5, 2, 100), values), values).backward()
    assert all(weight.grad is not None for weight in model.parameters())
    gaps = torch.full((2, 2, 100), torch.nan)
    assert model.encode_signals(gaps).isfinite().all()


def test_the_loss_is_that_of_pairs_and_each_of_equal_captions_is_right():
    logits, different = torch.randn(4, 4), torch.arange(4)[:, None]
    target = torch.arange(4)
    both = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(contrastive_loss(logits, different), both)
    same = torch.tensor([[0], [0], [1], [2]])
    swapped = logits[:, [1, 0, 2, 3]]
    torch.testing.assert_close(contrastive_loss(logits, same), contrastive_loss(swapped, same))


def test_a_training_that_was_interrupted_ends_with_the_same_weights(tmp_path):
    def trained(folder, steps):
        stage = ContrastiveStage(
            network(),
            Training(steps=steps, batch_size=16, save_every=4, validate_every=4),
            TensorExamples(*squares(40)),
            TensorExamples(*squares(8, seed=1)),
            seed=3,
            shift=shift_randomly,
        )
        train(stage, "reranker", folder, Hardware(accelerator="cpu", threads=1))
        return stage.model.state_dict()

    whole = trained(tmp_path / "whole", 12)
    first = trained(tmp_path / "parts", 8)
    then = trained(tmp_path / "parts", 12)
    assert all(torch.equal(weight, whole[name]) for name, weight in then.items())
    assert not torch.equal(first["of_signal.weight"], whole["of_signal.weight"])


def test_some_tokens_are_left_out_but_never_all():
    _, values = squares(200)
    torch.manual_seed(0)
    fewer = drop_tokens(values, 0.5)
    CAPTION.check(fewer)  # no gaps
    kept = (fewer > 0).sum() / (values > 0).sum()
    assert 0.4 < kept < 0.65
    for row, whole in zip(fewer.tolist(), values.tolist(), strict=True):
        left = iter(whole)
        assert all(token in left for token in row if token)  # in their order
    assert torch.equal(drop_tokens(values, 0.0), values)


@pytest.mark.parametrize(
    "signal, condition, options",
    [
        (Image(3, (16, 16)), Label(["a", "b"]), {}),
        (Vector(8), CAPTION, {}),
        (Image(3, (16, 16)), CAPTION, {"dim": 12}),
        (Image(3, (16, 16)), CAPTION, {"width": 0}),
    ],
)
def test_impossible_networks_are_refused_in_one_line(signal, condition, options):
    with pytest.raises(InputError) as error:
        ContrastiveNetwork(signal, condition, **options)
    assert "\n" not in str(error.value)


def test_of_each_caption_the_best_candidates_are_kept_best_first():
    values = torch.tensor([[1], [2], [1]]).repeat_interleave(3, 0)
    scores = torch.tensor([0.1, 0.9, 0.2, 0.5, 0.4, 0.6, 0.8, 0.3, 0.0])
    assert best_of(scores, values, 3).tolist() == [1, 5, 6]
    all_one = torch.ones(8, 2)
    scores = torch.rand(8)
    best = best_of(scores, all_one, 4)
    assert scores[best].tolist() == sorted(scores.tolist(), reverse=True)[:2]


def test_the_own_caption_is_compared_with_others_that_differ():
    among = draw_distractors(torch.tensor([3, 0, 3, 119]), 120, seed=0)
    assert among.shape == (4, 100) and among[:, 0].tolist() == [3, 0, 3, 119]
    assert all(len(set(row)) == 100 for row in among.tolist())
    assert torch.equal(among, draw_distractors(torch.tensor([3, 0, 3, 119]), 120, seed=0))
    assert draw_distractors(torch.tensor([1, 0]), 5, seed=0).shape == (2, 5)


def test_by_chance_the_own_caption_is_first_once_in_a_hundred():
    generator = torch.Generator().manual_seed(0)
    vectors, texts = (torch.randn(4000, 8, generator=generator) for _ in range(2))
    among = draw_distractors(torch.arange(4000), 4000, seed=1)
    ranks = own_caption_ranks(vectors, texts, among)
    assert abs((ranks == 1).double().mean() - 0.01) < 0.006
    assert abs(ranks.double().mean() - 50.5) < 1.5
    alike = own_caption_ranks(torch.zeros(3, 8), texts, among[:3])  # equal scores count against it
    assert alike.tolist() == [100] * 3
