"""Editing: what is kept, what is drawn, what leaks, and how the rest is put back."""

from __future__ import annotations

import logging

import pytest
import torch

from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.conditions import CoarseTokens, Label
from smalti.errors import InputError
from smalti.generation import Model
from smalti.generation.filling import fill_smoothly
from smalti.generation.known import token_mask
from smalti.generation.pasting import paste_back, seam_weights
from smalti.generation.strength import choose_tokens
from smalti.layout import Layout
from smalti.modalities.image import Image
from smalti.modalities.series import Series
from smalti.modalities.vector import Vector
from smalti.networks import ConvDecoder, ConvEncoder, Features, IdentityDecoder, IdentityEncoder
from smalti.priors import (
    AbsorbingDiffusion,
    Cascade,
    Histogram,
    MaskedPrior,
    PixelCNN,
    TransformerPrior,
    Uniform,
    cascade_of,
)
from smalti.quantizers import (
    EMACodebook,
    MultiScaleQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)

K = 8
LABEL = Label(["cat", "dog"])
SMALL = {"hidden": 8, "layers": 1}


def coded(dim=4):
    return VectorQuantizer(EMACodebook(codebook_size=K, dim=dim))


def tokenizer(signal, quantizer=None):
    torch.manual_seed(0)
    encoder = ConvEncoder(signal, 4, hidden=8, residual_hidden=4)
    decoder = ConvDecoder(
        Features(signal.channels, spatial_dims=signal.spatial_dims), 4, hidden=8, residual_hidden=4
    )
    return DiscreteAutoencoder(encoder, quantizer or coded(), decoder, signal).eval()


def hierarchy(signal):
    torch.manual_seed(0)
    return HierarchicalAutoencoder(
        [
            ConvEncoder(Features(8), 4, hidden=8, downsampling=2),
            ConvEncoder(Features(1), 8, hidden=8),
        ],
        [coded(), coded()],
        [
            ConvDecoder(Features(8), 4, hidden=8, downsampling=2),
            ConvDecoder(Features(1), 12, hidden=8),
        ],
        signal,
    ).eval()


def masked_like(kind, grid, condition=None):
    torch.manual_seed(1)
    return kind(K, grid, condition, heads=2, **SMALL).eval()


def cascade():
    torch.manual_seed(1)
    above = CoarseTokens([K], [(2, 2)])
    return Cascade([PixelCNN(K, (2, 2), **SMALL), PixelCNN(K, (4, 4), above, **SMALL)]).eval()


SIGNAL = Image(1, (16, 16))


def models():
    flat = tokenizer(SIGNAL)
    torch.manual_seed(1)
    yield "PixelCNN", Model(flat, PixelCNN(K, flat.grid, LABEL, **SMALL).eval())
    for kind in (TransformerPrior, MaskedPrior, AbsorbingDiffusion):
        yield kind.__name__, Model(flat, masked_like(kind, flat.grid, LABEL))
    yield "levels", Model(hierarchy(SIGNAL), cascade())
    scales = tokenizer(SIGNAL, MultiScaleQuantizer(coded(), ((1, 1), (3, 3), (4, 4))))
    layout = scales.quantizer.layout
    prior = TransformerPrior(layout.codebook_sizes, layout.grids, heads=2, **SMALL).eval()
    yield "scales", Model(scales, prior)
    depth = tokenizer(SIGNAL, ResidualQuantizer([coded(), coded()]))
    yield "depth", Model(depth, masked_like(MaskedPrior, (4, 4, 2)))
    series = tokenizer(Series(2, (18,)))
    yield "series", Model(series, masked_like(MaskedPrior, series.grid))


MODELS = dict(models())


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def signal_of(model, seed=0):
    return torch.rand(model.signal.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def corner(model):
    """A mask of a few values, not at the border of a patch."""
    mask = torch.zeros(model.signal.size, dtype=torch.bool)
    mask[tuple(slice(5, 7) for _ in model.signal.size)] = True
    return mask


def known_of(model, x, mask):
    return model.known_tokens(fill_smoothly(x, mask)[None], ~mask[None])


def test_what_is_kept_says_nothing_of_what_was_masked(model):
    x, mask = signal_of(model), corner(model)
    other = torch.where(mask, -x, x)
    assert torch.equal(known_of(model, x, mask), known_of(model, other, mask))
    options = {"n": 2, "seed": 3}
    once = model.edit(x, mask, **options)
    assert once.shape == (2, *model.signal.shape)
    assert torch.equal(once, model.edit(other, mask, **options))  # and the same seed the same
    assert not torch.equal(once, model.edit(x, mask, n=2, seed=4))


@pytest.mark.parametrize("size", [(16,), (17,), (19,), (16, 16), (13, 18), (15, 10)])
def test_every_token_whose_patch_holds_a_marked_value_is_drawn(size):
    signal = Image(1, size) if len(size) == 2 else Series(1, size)
    model = tokenizer(signal)
    for place in torch.randint(int(torch.Size(size).numel()), (12,)).tolist():
        mask = torch.zeros(size, dtype=torch.bool)
        mask.view(-1)[place] = True
        drawn = token_mask(model, mask[None])[0]
        at = tuple(int(i) // 4 for i in mask.nonzero()[0])
        assert bool(drawn[at])
        # The rest are drawn only where the padding mirrors the value.
        assert int(drawn.sum()) <= 2 ** len(size)
        if all(n % 4 == 0 for n in size):
            assert int(drawn.sum()) == 1
    assert not token_mask(model, torch.zeros(1, *size, dtype=torch.bool)).any()


def test_all_levels_and_scales_follow_the_same_mask():
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, 5, 11] = True
    top, bottom = MODELS["levels"].layout.unpack(token_mask(MODELS["levels"].autoencoder, mask))
    assert top[0].nonzero().tolist() == [[0, 1]]
    assert bottom[0].nonzero().tolist() == [[1, 2]]
    rows = token_mask(MODELS["scales"].autoencoder, mask)
    one, three, four = rows.split([1, 9, 16], 1)
    assert one.all()
    assert three.view(3, 3).nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert four.view(4, 4).nonzero().tolist() == [[1, 2]]
    both = token_mask(MODELS["depth"].autoencoder, mask)[0]
    assert both.nonzero().tolist() == [[1, 2, 0], [1, 2, 1]]


def test_the_outside_comes_back_bit_for_bit_beyond_the_seam(model):
    x, mask = signal_of(model), corner(model)
    for blend in (0, 3):
        plain = model.edit(x, mask, n=2, seed=0)
        pasted = model.edit(x, mask, n=2, seed=0, blend=blend)
        weights = seam_weights(mask, blend)
        assert torch.equal(pasted[..., mask], plain[..., mask])
        assert torch.equal(pasted[..., weights == 1], x[:, weights == 1].expand(2, -1, -1))
        near = (weights > 0) & (weights < 1)
        assert bool(near.any()) == (blend > 0)
        low, high = torch.minimum(plain, x), torch.maximum(plain, x)
        assert ((pasted >= low - 1e-6) & (pasted <= high + 1e-6)).all()


@pytest.mark.parametrize("blend", [0, 1, 4, 9])
def test_a_seam_rises_with_the_distance(blend):
    mask = torch.zeros(20, 23, dtype=torch.bool)
    mask[8:11, 9:15] = True
    weights = seam_weights(mask, blend)
    places = torch.stack(torch.meshgrid(torch.arange(20), torch.arange(23), indexing="ij"), -1)
    distance = torch.cdist(places.view(-1, 2).float(), mask.nonzero().float()).amin(1).view(20, 23)
    assert (weights[mask] == 0).all()
    assert (weights[distance > blend] == 1).all()
    assert (weights[~mask] > 0).all()
    by_distance = weights.flatten()[distance.flatten().argsort()]
    assert (by_distance.diff() >= -1e-6).all()


def test_gaps_outside_stay_gaps():
    x = torch.tensor([[1.0, torch.nan, 3.0, torch.nan, 5.0]])
    mask = torch.tensor([True, False, False, False, False])
    pasted = paste_back(torch.full((1, 1, 5), 9.0), x, mask, 1)
    assert pasted[0, 0, :3].tolist() == [9.0, 9.0, 3.0]
    assert bool(pasted[0, 0, 3].isnan())
    filled = fill_smoothly(x, mask)
    assert filled[0, 0].isfinite() and filled[0, 1].isnan()


@pytest.mark.parametrize("size", [(1,), (7,), (6, 9), (1, 5)])
def test_what_is_filled_lies_within_what_is_there(size):
    x = torch.rand(3, *size)
    mask = torch.rand(size) < 0.6
    mask.view(-1)[0] = False
    filled = fill_smoothly(x, mask)
    assert torch.equal(filled[:, ~mask], x[:, ~mask])
    there = x[:, ~mask]
    assert (filled >= there.amin(1).view(3, *[1] * len(size)) - 1e-6).all()
    assert (filled <= there.amax(1).view(3, *[1] * len(size)) + 1e-6).all()
    assert torch.equal(fill_smoothly(torch.full_like(x, 0.5), mask), torch.full_like(x, 0.5))


@pytest.mark.parametrize("strength", [0.01, 0.3, 1.0])
def test_a_strength_draws_its_share_of_positions_the_finest_levels_first(strength):
    layout = Layout(((2, 2), (4, 4)), ((K,), (K, K)))
    generator = torch.Generator().manual_seed(0)
    allowed = torch.ones(36, dtype=torch.bool)
    chosen = choose_tokens(layout, allowed, strength, 3, generator)
    coarse, fine = chosen.split([4, 32], 1)
    fine = fine.view(3, 16, 2)
    assert torch.equal(fine[..., 0], fine[..., 1])  # the indices of a position go together
    count = max(1, round(20 * strength))
    assert (coarse.sum(1) + fine[..., 0].sum(1) == count).all()
    assert (coarse.sum(1) == max(0, count - 16)).all()
    if strength < 1:
        assert not torch.equal(chosen[0], chosen[1])
    allowed[:-6] = False
    among = choose_tokens(layout, allowed, strength, 3, generator)
    assert (among & ~allowed).sum() == 0
    assert (among.sum(1) == 2 * max(1, round(3 * strength))).all()


def test_a_variation_keeps_the_rest_of_the_tokens(model):
    x, mask = signal_of(model), corner(model)
    once = model.edit(x, strength=0.4, n=3, seed=1)
    assert once.shape == (3, *model.signal.shape)
    assert torch.equal(once, model.edit(x, strength=0.4, n=3, seed=1))
    assert not torch.equal(once, model.edit(x, strength=0.4, n=3, seed=2))
    within = model.edit(x, mask, strength=0.5, seed=1, blend=0)
    assert torch.equal(within[0][:, ~mask], x[:, ~mask])


def test_a_swap_takes_the_tokens_of_the_other_and_needs_no_prior(model):
    x, other, mask = signal_of(model), signal_of(model, 1), corner(model)
    alone = Model(model.autoencoder)
    made = alone.edit(x, mask, swap=other)
    hidden = torch.where(mask, 0.0, x)  # what was there says nothing
    assert torch.equal(made, alone.edit(hidden, mask, swap=other))
    everywhere = alone.edit(x, torch.ones_like(mask), swap=other)
    torch.testing.assert_close(everywhere, alone.reconstruct(other[None]))
    for wrong in ({"n": 2}, {"strength": 0.5}, {"seed": 1}, {"condition": "cat"}, {"top_k": 1}):
        with pytest.raises(InputError, match="draws none, got"):
            alone.edit(x, mask, swap=other, **wrong)


def said(model, caplog, **options):
    caplog.clear()
    with caplog.at_level(logging.INFO, "smalti.generation.editing"):
        model.edit(signal_of(model), corner(model), seed=0, **options)
    return [record.getMessage() for record in caplog.records]


def test_a_prior_that_cannot_look_ahead_says_so(caplog):
    for name in ("PixelCNN", "TransformerPrior"):
        (line,) = said(MODELS[name], caplog)
        assert line.startswith(f"A {name} cannot look ahead: 1 of 16 tokens were drawn anew")
    for name in ("MaskedPrior", "AbsorbingDiffusion", "depth", "series"):
        assert said(MODELS[name], caplog) == []
    (line,) = said(MODELS["levels"], caplog)
    assert line.startswith("Levels are drawn coarse to fine: 2 of 20 tokens were drawn anew")
    assert "finer levels" in line and "a PixelCNN cannot look ahead" in line
    above = CoarseTokens([K], [(2, 2)])
    both = [masked_like(MaskedPrior, (2, 2)), masked_like(AbsorbingDiffusion, (4, 4), above)]
    (line,) = said(Model(MODELS["levels"].autoencoder, cascade_of(both)), caplog)
    assert line.endswith("drawn anew without seeing what is kept of finer levels.")
    (line,) = said(MODELS["scales"], caplog)
    assert line.startswith("A TransformerPrior cannot look ahead")
    (line,) = said(MODELS["MaskedPrior"], caplog, prior="uniform")
    assert line.startswith("A Uniform prior sees nothing of what is kept")
    (line,) = said(MODELS["levels"], caplog, prior="uniform")
    assert line.startswith("A Uniform prior sees nothing of what is kept")
    # Where nothing is kept behind what is drawn, nothing is unseen.
    model, mask = MODELS["PixelCNN"], torch.zeros(16, 16, dtype=torch.bool)
    mask[8:] = True
    caplog.clear()
    with caplog.at_level(logging.INFO, "smalti.generation.editing"):
        model.edit(signal_of(model), mask)
    assert not caplog.records


def test_all_that_is_masked_is_a_plain_sample_and_said(model, caplog):
    x, everywhere = signal_of(model), torch.ones(model.signal.size, dtype=torch.bool)
    for options in ({"mask": everywhere}, {"strength": 1}):
        caplog.clear()
        made = model.edit(x, **options, n=2, seed=0)
        assert torch.equal(made, model.sample(2, seed=0))
        (record,) = caplog.records
        assert "this is a plain sample" in record.getMessage()


def test_codes_without_places_are_varied_from_the_last():
    signal = Vector(4)
    stages = ResidualQuantizer([coded(), coded(), coded()])
    vectors = DiscreteAutoencoder(
        IdentityEncoder(signal, 4), stages, IdentityDecoder(signal, 4), signal
    ).eval()
    model = Model(vectors, Uniform(K, vectors.layout.shape))
    x = torch.arange(4.0)
    codes = model.encode_flat(x[None])
    last = torch.arange(K)[:, None].expand(K, 3).reshape(codes.expand(K, 1, 3).shape).clone()
    last[..., :2] = codes[..., :2]
    possible = model.decode(last)  # all vectors that differ in the last code alone
    for made in model.edit(x, strength=0.3, n=5, seed=0):
        assert min((made - each).abs().max() for each in possible) < 1e-6
    with pytest.raises(InputError, match="must have the size"):
        model.edit(x, torch.ones(4, dtype=torch.bool), strength=0.3)
    with pytest.raises(InputError, match="each token sees the whole"):
        model.edit(x, torch.ones((), dtype=torch.bool), strength=0.3)


def test_mistakes_are_one_line(model):
    x, mask = signal_of(model), corner(model)
    cases = [
        (lambda: model.edit(x), "give a mask, or a strength"),
        (lambda: model.edit(x, torch.zeros_like(mask)), "marks nothing"),
        (lambda: model.edit(x, mask.float()), "must be bool"),
        (lambda: model.edit(x, mask[:-1]), "must have the size"),
        (lambda: model.edit(x[:, :-1], mask), "of size"),
        (lambda: model.edit("x", mask), "must be a tensor"),
        (lambda: model.edit(x, mask, strength=0), "above 0 and at most 1"),
        (lambda: model.edit(x, mask, strength=1.5), "above 0 and at most 1"),
        (lambda: model.edit(x, mask, strength="much"), "must be a number"),
        (lambda: model.edit(x, mask, blend=-1), "blend must be"),
        (lambda: model.edit(x, mask, blend=1.5), "whole number"),
        (lambda: model.edit(x, strength=0.5, blend=1), "nothing is outside"),
        (lambda: model.edit(x, swap=x), "has a mask"),
        (lambda: model.edit(x, mask, swap=x[:, :-1]), "of size"),
        (lambda: model.edit(x, mask, n=0), "at least 1"),
        (lambda: model.edit(x, mask, strength=0.5, n=0), "at least 1"),
        (lambda: model.edit(x, strength=0.5, n=10**12), "make fewer at a time"),
        (lambda: model.edit(x, mask, known=x), "got known ones"),
        (lambda: model.edit(x, mask, warmth=2), "no option 'warmth'"),
        (lambda: model.edit(x, mask, guidance=2.0), "uidance"),
        (lambda: model.edit(x, mask, "bird"), "."),
    ]
    for call, words in cases:
        with pytest.raises(InputError, match=words) as told:
            call()
        assert "\n" not in str(told.value)


def test_a_histogram_takes_what_agrees(caplog):
    model = MODELS["MaskedPrior"]
    x, mask = signal_of(model), corner(model)
    prior = Histogram(K, (4, 4))
    known = known_of(model, x, mask)
    prior.fit(known.clamp(min=0))
    chosen = Model(model.autoencoder, prior)
    wanted = model.decode(known.clamp(min=0))
    assert torch.equal(chosen.edit(x, mask), wanted)
