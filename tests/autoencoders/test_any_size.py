"""Signals of any size, and large ones in tiles: the result is that of the whole."""

from __future__ import annotations

import pytest
import torch

from small_autoencoders import assemble
from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder, tiles
from smalti.errors import InputError
from smalti.losses.likelihoods import Categorical, PixelCNNLikelihood
from smalti.modalities.image import Image
from smalti.networks import ConvEncoder, Features, MLPEncoder, SEANetEncoder, VocosDecoder
from smalti.quantizers import (
    EMACodebook,
    MultiScaleQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from wave_signal import Wave

SIZES = {"hidden": 8, "residual_hidden": 4, "residual_blocks": 2}


def vectors(dim=6) -> VectorQuantizer:
    quantizer = VectorQuantizer(EMACodebook(codebook_size=64, dim=dim))
    quantizer.codebook.initialize(torch.randn(64, dim) / 8)
    return quantizer


def flat(signal=None, quantizer=None, likelihood=None, downsampling=4) -> DiscreteAutoencoder:
    torch.manual_seed(0)
    signal, quantizer = signal or Image(1, (16, 16)), quantizer or vectors()
    encoder = ConvEncoder(signal, 6, downsampling=downsampling, **SIZES)
    outputs = likelihood.channels(signal.channels) if likelihood else signal.channels
    decoder = encoder.mirror(Features(outputs, (), signal.spatial_dims), 6)
    return DiscreteAutoencoder(encoder, quantizer, decoder, signal, likelihood).eval()


def levels() -> HierarchicalAutoencoder:
    torch.manual_seed(0)
    signal, between = Image(1, (16, 16)), Features(8)
    encoders = [
        ConvEncoder(between, 6, downsampling=2, **SIZES),
        ConvEncoder(between, 8, downsampling=2, **SIZES),
        ConvEncoder(signal, 8, downsampling=2, **SIZES),
    ]
    decoders = [
        encoders[0].mirror(between, 6),
        encoders[1].mirror(between, 8 + 6),
        encoders[2].mirror(signal, 8 + 6),
    ]
    quantizers = [vectors(), vectors(), vectors()]
    return HierarchicalAutoencoder(encoders, quantizers, decoders, signal).eval()


def strided(causal: bool, n_fft: int | None = None) -> DiscreteAutoencoder:
    torch.manual_seed(0)
    signal = Wave(2, (90,))
    encoder = SEANetEncoder(signal, 6, hidden=4, strides=[3, 5], dilations=[1, 3], causal=causal)
    decoder = encoder.mirror(signal, 6)
    if n_fft:
        sizes = {"hidden": 8, "layers": 2, "downsampling": 15}
        decoder = VocosDecoder(signal, 6, n_fft=n_fft, causal=causal, **sizes)
    return DiscreteAutoencoder(encoder, vectors(), decoder, signal).eval()


def strided_levels() -> HierarchicalAutoencoder:
    torch.manual_seed(0)
    signal, between = Wave(1, (90,)), Features(8, spatial_dims=1)
    encoders = [
        SEANetEncoder(between, 6, hidden=4, strides=[5]),
        SEANetEncoder(signal, 8, hidden=4, strides=[2, 3]),
    ]
    decoders = [encoders[0].mirror(between, 6), encoders[1].mirror(signal, 8 + 6)]
    return HierarchicalAutoencoder(encoders, [vectors(), vectors()], decoders, signal).eval()


MODELS = {
    "one level": flat,
    "a downsampling of 8": lambda: flat(downsampling=8),
    "several indices": lambda: flat(quantizer=ResidualQuantizer([vectors(), vectors()])),
    "a likelihood": lambda: flat(likelihood=Categorical(num_values=4)),
    "a hierarchy": levels,
    "waves": lambda: flat(Wave(2, (32,))),
    "waves by strides": lambda: strided(False),
    "causal waves by strides": lambda: strided(True),
    "waves by an inverse transform": lambda: strided(False, n_fft=60),
    "a hierarchy of waves": lambda: strided_levels(),
}


def grids_of(latents) -> tuple[torch.Tensor, ...]:
    return latents if isinstance(latents, tuple) else (latents,)


@pytest.mark.parametrize("name", MODELS)
def test_a_signal_of_another_size_comes_back_at_its_size(name):
    model = MODELS[name]()
    size = (37, 50)[: model.signal.spatial_dims]
    x = torch.rand(2, model.signal.channels, *size) * 2 - 1
    latents = model.encode(x, any_size=True)
    assert model.decode(latents, size=size).shape == x.shape
    with pytest.raises(InputError, match="take them as they are with any_size"):
        model.encode(x)
    own = torch.rand(2, model.signal.channels, *model.signal.size) * 2 - 1
    for one, other in zip(
        grids_of(model.encode(own)), grids_of(model.encode(own, any_size=True)), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", MODELS)
def test_tiles_give_what_the_whole_gives(name, monkeypatch):
    model = MODELS[name]()
    size = (11_997,) if model.signal.spatial_dims == 1 else (197, 150)
    x = torch.rand(1, model.signal.channels, *size) * 2 - 1
    whole = model.encode(x, any_size=True)
    x_hat = model.decode(whole, size=size)
    monkeypatch.setattr(tiles, "CORE", 24)
    seen = []
    quantized = type(model).quantized
    monkeypatch.setattr(
        type(model), "quantized", lambda self, x: (seen.append(x.shape), quantized(self, x))[1]
    )
    in_tiles = model.encode(x, any_size=True)
    assert len(seen) > 4  # there were tiles
    for one, other in zip(grids_of(whole), grids_of(in_tiles), strict=True):
        assert torch.equal(one, other)
    # The sums of a convolution are rounded otherwise in another place of a tensor, no more.
    difference = (model.decode(in_tiles, size=size) - x_hat).abs().max().item()
    assert difference < 2e-6, f"seams of {difference}"


@pytest.mark.parametrize("length", [1, 2, 14, 16, 46])
@pytest.mark.parametrize("name", [name for name in MODELS if "waves" in name])
def test_signals_of_one_dimension_may_be_shorter_than_a_position_of_the_grid(name, length):
    model = MODELS[name]()
    x = torch.rand(2, model.signal.channels, length) * 2 - 1
    latents = model.encode(x, any_size=True)
    assert grids_of(latents)[0].shape[1] == -(-length // model.downsampling)
    assert model.decode(latents, size=(length,)).shape == x.shape


@pytest.mark.parametrize("name", ["one level", "a hierarchy"])
def test_a_smaller_margin_would_leave_seams(name, monkeypatch):
    model = MODELS[name]()
    x = torch.rand(1, 1, 197, 150) * 2 - 1
    whole = model.encode(x, any_size=True)
    x_hat = model.decode(whole, size=(197, 150))
    monkeypatch.setattr(tiles, "CORE", 24)
    monkeypatch.setattr(type(model), "margins", (0, 0))
    seams = (model.decode(whole, size=(197, 150)) - x_hat).abs().max()
    assert seams > 1e-3


def test_memory_is_that_of_a_tile(monkeypatch):
    model = flat()
    monkeypatch.setattr(tiles, "CORE", 32)
    largest = []
    model.encoder.register_forward_pre_hook(lambda _, given: largest.append(given[0].shape[2:]))
    for side in (200, 400):
        model.encode(torch.zeros(1, 1, side, side), any_size=True)
        around = 2 * model.margins[0] * model.downsampling
        assert max(max(size) for size in largest) <= 32 + around


def test_memory_does_not_grow_with_the_length_of_a_wave():
    model, seen = strided(False), []
    margin, unit = max(model.margins), model.downsampling
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2]))
    model.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2] * unit))
    most = (tiles.core_of(unit, margin, 1) + 2 * margin) * unit
    for length in (5_000, 20_000):
        x = torch.zeros(1, 2, length)
        assert model.decode(model.encode(x, any_size=True), size=(length,)).shape == x.shape
        assert max(seen) <= most < 5_000
    assert len(seen) > 20


def test_what_takes_one_size_says_so():
    signal = Image(1, (16, 16))
    x = torch.zeros(1, 1, 20, 20)
    scales = MultiScaleQuantizer(vectors(), [(1, 1), (4, 4)])
    encoder = MLPEncoder(signal, 6, hidden=8, tokens=4)
    linear = DiscreteAutoencoder(encoder, vectors(), encoder.mirror(signal, 6), signal).eval()
    for model, name in (
        (flat(quantizer=scales), "MultiScaleQuantizer"),
        (linear, "MLPEncoder"),
        (assemble(signal), "VariationalAutoencoder"),
    ):
        with pytest.raises(InputError, match=f"A {name} takes images of one size"):
            model.encode(x, any_size=True)


def test_a_likelihood_that_draws_is_decoded_as_a_whole(monkeypatch):
    likelihood = PixelCNNLikelihood(1, num_values=4, hidden=4, layers=1)
    model = flat(likelihood=likelihood)
    monkeypatch.setattr(tiles, "CORE", 8)
    sizes = []
    model.decoder.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[2:]))
    indices = model.encode(torch.zeros(1, 1, 24, 24), any_size=True)
    torch.manual_seed(0)
    assert model.decode(indices).shape == (1, 1, 24, 24)
    assert sizes == [(6, 6)]
