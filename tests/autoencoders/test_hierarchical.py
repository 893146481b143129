"""The hierarchical autoencoder: one way through all levels, and each prefix of them decodes."""

from __future__ import annotations

import pytest
import torch

from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.errors import InputError
from smalti.losses.likelihoods import Categorical
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import (
    EMACodebook,
    GradientCodebook,
    ResidualQuantizer,
    VectorQuantizer,
)
from wave_signal import Wave


def quantizer(codebook=EMACodebook):
    return VectorQuantizer(codebook(codebook_size=16, dim=6))


def assemble(signal, levels=2, quantizers=None, **options) -> HierarchicalAutoencoder:
    quantizers = quantizers or [quantizer() for _ in range(levels)]
    sizes = {"hidden": 8, "residual_hidden": 4}
    encoders, decoders = [], []
    for level in range(levels):
        coarsest, finest = level == 0, level == levels - 1
        channels = signal.channels if finest else 8
        ratio = 4 if finest else 2
        encoders.append(
            ConvEncoder(
                Features(channels, spatial_dims=signal.spatial_dims),
                6 if coarsest else 8,
                downsampling=ratio,
                **sizes,
            )
        )
        decoders.append(
            ConvDecoder(
                Features(channels, spatial_dims=signal.spatial_dims),
                6 if coarsest else 14,
                downsampling=ratio,
                **sizes,
            )
        )
    return HierarchicalAutoencoder(encoders, quantizers, decoders, signal, **options).eval()


def batch(signal, n=2):
    return torch.rand(n, signal.channels, *signal.size) * 2 - 1


SIGNALS = [
    Image(3, (32, 16)),
    Image(1, (19, 30)),
    Wave(1, (101,)),
]


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_decoding_what_was_encoded_is_the_reconstruction(signal, levels):
    model, x = assemble(signal, levels), batch(signal)
    grids = model.encode(x)
    x_hat, indices = model(x)[:2]
    assert tuple(tuple(grid.shape[1:]) for grid in grids) == model.layout.shapes
    assert all(torch.equal(a, b) for a, b in zip(grids, indices, strict=True))
    torch.testing.assert_close(model.decode(grids), x_hat.clamp(-1, 1))
    assert x_hat.shape == x.shape


def test_each_level_is_as_much_finer_as_its_encoder_says():
    model = assemble(Image(3, (30, 20)), levels=3)
    assert model.downsampling == 16
    assert model.layout.shapes == ((2, 2), (4, 4), (8, 8))


def test_a_prefix_decodes_as_if_the_finer_levels_were_none():
    """-1 is no codeword: the same as leaving the level out."""
    signal = Image(3, (32, 32))
    model = assemble(signal, levels=3)
    grids = model.encode(batch(signal))
    for n in (1, 2):
        none = tuple(torch.full_like(grid, -1) for grid in grids[n:])
        torch.testing.assert_close(model.decode(grids[:n]), model.decode((*grids[:n], *none)))
        assert model.decode(grids[:n]).shape == (2, 3, 32, 32)
    assert not torch.equal(model.decode(grids[:1]), model.decode(grids))


def test_the_coarse_level_is_a_condition_of_the_finer_one():
    """Other codewords at the top, and the bottom says something else about the same picture."""
    signal = Image(1, (32, 32))
    model, x = assemble(signal), batch(signal, 8)
    top, bottom = model.encode(x)
    with torch.no_grad():
        model.quantizers[0].codebook.weight.neg_()
    changed = model.encode(x)
    assert not torch.equal(changed[0], top)
    assert not torch.equal(changed[1], bottom)
    with torch.no_grad():
        model.quantizers[0].codebook.weight.neg_()
        model.quantizers[1].codebook.weight.neg_()
    top_again, other = model.encode(x)
    assert torch.equal(top_again, top)  # nothing flows back
    assert not torch.equal(other, bottom)


def test_one_level_is_a_vq_vae():
    signal = Image(3, (18, 14))
    model = assemble(signal, levels=1)
    parts = (model.encoders[0], model.quantizers[0], model.decoders[0])
    plain = DiscreteAutoencoder(*parts, signal).eval()
    x = batch(signal)
    assert torch.equal(model.encode(x)[0], plain.encode(x))
    (ours, _, losses), (theirs, _, wanted) = model(x)[:3], plain(x)[:3]
    assert torch.equal(ours, theirs)
    assert losses == wanted
    assert torch.equal(model.decode(model.encode(x)), plain.decode(plain.encode(x)))
    assert model.layout.shapes == (plain.grid,)


@pytest.mark.parametrize("level_dropout", [0.0, 0.5])
def test_every_part_gets_a_gradient(level_dropout):
    signal = Image(1, (16, 16))
    quantizers = [quantizer(GradientCodebook) for _ in range(2)]
    model = assemble(signal, quantizers=quantizers, level_dropout=level_dropout).train()
    x_hat, _, losses = model(batch(signal, 16))[:3]
    (x_hat.square().mean() + sum(losses.values())).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_losses_are_the_sums_over_the_levels():
    signal = Image(1, (16, 16))
    model = assemble(signal, quantizers=[quantizer(GradientCodebook) for _ in range(2)])
    x = batch(signal)
    told = []
    for level in model.levels:
        level.register_forward_hook(lambda _, __, output: told.append(output.losses))
    losses = model(x).losses
    assert losses.keys() == {"commitment", "codebook"}
    for name, value in losses.items():
        torch.testing.assert_close(value, told[0][name] + told[1][name])


def test_levels_are_dropped_from_the_finest_and_only_in_training():
    signal = Image(1, (16, 16))
    model = assemble(signal, levels=3, level_dropout=0.5).train()
    with torch.no_grad():
        indices = model(batch(signal, 400)).latents
    gone = torch.stack([(grid == -1).flatten(1).all(1) for grid in indices], 1)
    some = torch.stack([(grid == -1).flatten(1).any(1) for grid in indices], 1)
    assert torch.equal(gone, some)  # whole levels
    assert not gone[:, 0].any()
    assert (gone[:, 2] >= gone[:, 1]).all()
    share = gone.double().mean(0)
    assert share[2] == pytest.approx(0.5, abs=0.1)
    assert share[1] == pytest.approx(0.25, abs=0.1)
    assert not any((grid == -1).any() for grid in model.eval()(batch(signal)).latents)


def test_update_moves_each_codebook_once(monkeypatch):
    signal = Image(1, (16, 16))
    shared = quantizer()
    model = assemble(signal, quantizers=[shared, shared])
    calls = []
    monkeypatch.setattr(shared, "update", lambda: calls.append(1))
    model.update()
    assert len(calls) == 1
    model = assemble(signal).train()
    model(batch(signal))
    before = [level.codebook.weight.clone() for level in model.levels]
    model.update()
    after = [level.codebook.weight for level in model.levels]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_several_indices_a_position_and_rows_for_a_prior():
    signal = Image(1, (16, 16))
    residual = ResidualQuantizer([quantizer(), quantizer(), quantizer()])
    model, x = assemble(signal, quantizers=[quantizer(), residual]), batch(signal)
    grids = model.encode(x)
    assert model.layout.shapes == ((2, 2), (4, 4, 3))
    torch.testing.assert_close(model.decode(grids), model(x).x_hat.clamp(-1, 1))
    row = model.layout.pack(grids)
    assert row.shape == (2, 2 * 2 + 4 * 4 * 3)
    assert all(torch.equal(a, b) for a, b in zip(model.layout.unpack(row), grids, strict=True))


def test_with_a_likelihood_the_reconstruction_costs_nats():
    signal = Image(1, (16, 16))
    sizes = {"hidden": 8, "residual_hidden": 4}
    likelihood = Categorical(num_values=8)
    model = HierarchicalAutoencoder(
        [
            ConvEncoder(Features(8), 6, downsampling=2, **sizes),
            ConvEncoder(Features(1), 8, **sizes),
        ],
        [quantizer(), quantizer()],
        [
            ConvDecoder(Features(8), 6, downsampling=2, **sizes),
            ConvDecoder(Features(likelihood.channels(1)), 14, **sizes),
        ],
        signal,
        likelihood=likelihood,
    ).eval()
    x = batch(signal)
    x_hat, _, losses = model(x)[:3]
    nll = model.nll(x)
    torch.testing.assert_close(losses["reconstruction"], nll.mean() / 256)
    torch.testing.assert_close(model.nll(x, model.encode_flat(x)), nll)
    torch.testing.assert_close(model.decode(model.encode(x)), x_hat.clamp(-1, 1))
    with pytest.raises(InputError, match="no likelihood"):
        assemble(signal).nll(x)


def test_what_does_not_fit_is_refused():
    signal = Image(1, (16, 16))
    model = assemble(signal)
    top, bottom = model.encode(batch(signal))
    for grids, line in [
        ((), "got 0 grids"),
        ((top, bottom, bottom), "got 3 grids"),
        (top, "got one tensor"),
        ((bottom, top), "does not go with the coarsest"),
        ((top, bottom[:1]), "does not go with the coarsest"),
        ((top[0], bottom), "does not go with the coarsest"),
    ]:
        with pytest.raises(InputError, match=line):
            model.decode(grids)
    with pytest.raises(InputError, match="with 1 channel"):
        model.encode(torch.zeros(1, 3, 16, 16))
    with pytest.raises(InputError, match="level_dropout"):
        assemble(signal, level_dropout=1.0)
    parts = (model.encoders, model.quantizers, model.decoders)
    with pytest.raises(InputError, match="as many of each"):
        HierarchicalAutoencoder(parts[0][:1], *parts[1:], signal)
    with pytest.raises(InputError, match="takes 6: give it the sum"):
        HierarchicalAutoencoder(parts[0], parts[1], [parts[2][0], parts[2][0]], signal)
