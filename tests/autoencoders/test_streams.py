"""Streams: chunks of any lengths give the indices and the signal of the whole."""

from __future__ import annotations

import copy

import pytest
import torch

from small_autoencoders import assemble
from smalti.autoencoders import (
    DiscreteAutoencoder,
    HierarchicalAutoencoder,
    StreamDecoder,
    StreamEncoder,
)
from smalti.autoencoders.streams import algorithmic_latency
from smalti.errors import InputError
from smalti.generation import Model
from smalti.losses.likelihoods import Gaussian
from smalti.modalities.image import Image
from smalti.modalities.series import Series
from smalti.networks import Affine, ConvEncoder, Features, MLPEncoder, SEANetEncoder, VocosDecoder
from smalti.nn.streaming import Running
from smalti.quantizers import EMACodebook, FiniteScalarQuantizer, ResidualQuantizer, VectorQuantizer
from wave_signal import Wave


def vectors() -> VectorQuantizer:
    quantizer = VectorQuantizer(EMACodebook(codebook_size=64, dim=6))
    quantizer.codebook.initialize(torch.randn(64, 6) / 8)
    return quantizer


def one(quantizer=None, n_fft=None, signal=None, causal=True, **more) -> DiscreteAutoencoder:
    torch.manual_seed(0)
    signal, quantizer = signal or Wave(2), quantizer or vectors()
    sizes = {"hidden": 4, "strides": [3, 5], "dilations": [1, 3], "causal": causal}
    encoder = SEANetEncoder(signal, 6, **sizes, activation="snake")
    decoder = encoder.mirror(signal, 6)
    if n_fft:
        sizes = {"hidden": 8, "layers": 2, "downsampling": 15, "causal": causal}
        decoder = VocosDecoder(signal, 6, n_fft=n_fft, **sizes)
    if "likelihood" in more:
        decoder = encoder.mirror(Features(more["likelihood"].channels(2), spatial_dims=1), 6)
    return DiscreteAutoencoder(encoder, quantizer, decoder, signal, **more).eval()


def levels() -> HierarchicalAutoencoder:
    torch.manual_seed(0)
    signal, between = Wave(2), Features(8, spatial_dims=1)
    coarse = SEANetEncoder(between, 6, hidden=4, strides=[5], causal=True)
    fine = SEANetEncoder(signal, 8, hidden=4, strides=[3], causal=True)
    decoders = [coarse.mirror(between, 6), fine.mirror(signal, 8 + 6)]
    both = [vectors(), vectors()]
    return HierarchicalAutoencoder([coarse, fine], both, decoders, signal).eval()


def standardised() -> DiscreteAutoencoder:
    torch.manual_seed(0)
    scale = Affine.learned([torch.randn(50, 2, 40) * 3 + 1])
    return one(signal=Series(2), normalization=scale)


MODELS = {
    "one codebook": one,
    "frames": lambda: one(n_fft=20),
    "several codebooks": lambda: one(ResidualQuantizer([vectors(), vectors()])),
    "scalars": lambda: one(FiniteScalarQuantizer([5] * 6)),
    "a likelihood": lambda: one(likelihood=Gaussian(learned=True)),
    "a hierarchy": levels,
    "a normalization": standardised,
}
CHUNKS = [[1, 5, 100, 1, 300], [450], [15, 30], [7, 7, 1], [3], [1]]


@pytest.mark.parametrize("lengths", CHUNKS, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_chunks_give_what_the_whole_gives(name, lengths):
    model = Model(MODELS[name]())
    x = torch.rand(2, 2, sum(lengths)) * 2 - 1
    whole = model.encode(x, any_size=True)
    x_hat = model.decode(whole, size=tuple(x.shape[2:]))
    encoder, decoder = model.stream_encoder(), model.stream_decoder()
    found = [encoder.push(chunk) for chunk in x.split(lengths, -1)] + [encoder.finish()]
    parts = [decoder.push(indices) for indices in found]
    several = isinstance(whole, tuple)
    assert all(isinstance(part, tuple) == several for part in found)
    together = zip(*found, strict=True) if several else [found]
    for grid, each in zip(whole if several else [whole], together, strict=True):
        assert torch.equal(torch.cat(each, 1), grid)
    again = torch.cat(parts, -1)[..., : sum(lengths)]
    assert torch.allclose(again, x_hat, atol=1e-5)


def test_an_index_is_known_as_soon_as_its_patch_is():
    encoder = StreamEncoder(one())
    known = [encoder.push(torch.zeros(1, 2, 1)).shape[1] for _ in range(31)]
    assert known == ([0] * 14 + [1]) * 2 + [0]
    assert encoder.latency == algorithmic_latency(one()) == 15
    assert StreamEncoder(levels()).latency == 15


def test_what_is_kept_does_not_grow_and_the_model_stays_as_it_was():
    model = one(n_fft=20)
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(1, 2, 90) * 2 - 1
    indices = model.encode(x, any_size=True)
    encoder, decoder = StreamEncoder(model), StreamDecoder(model)

    def kept(state) -> int:
        if isinstance(state, list):
            return sum(map(kept, state))
        return 0 if state is None else state.numel()

    sizes = []
    for _ in range(4):
        decoder.push(encoder.push(x))
        sizes.append((kept(encoder.model.encoder.state), kept(decoder.model.decoder.state)))
    assert len(set(sizes)) == 1
    assert torch.equal(model.encode(x, any_size=True), indices)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    # Weight norm is computed once for a stream, and the model goes on learning with it.
    assert not any("parametrizations" in name for name, _ in encoder.model.named_parameters())
    model(x).x_hat.square().mean().backward()
    assert model.encoder.layers[0].parametrizations.weight.original0.grad is not None
    assert StreamEncoder(model).push(x).shape == (1, 6)


def test_a_gap_as_long_as_a_chunk_is_streamed():
    model, x = standardised(), torch.randn(1, 2, 60)
    x[..., 15:40] = torch.nan
    encoder = StreamEncoder(model)
    found = [encoder.push(chunk) for chunk in x.split(10, -1)]
    assert torch.equal(torch.cat(found, 1), model.encode(x, any_size=True))


def test_a_decoder_takes_the_coarse_levels_alone_and_fewer_codebooks():
    model, decoder = levels(), StreamDecoder(levels())
    top, _ = model.encode(torch.rand(1, 2, 60) * 2 - 1, any_size=True)
    parts = [decoder.push((part,)) for part in top.split(1, 1)]
    assert torch.allclose(torch.cat(parts, -1), model.decode((top,)), atol=1e-5)
    model = one(ResidualQuantizer([vectors(), vectors()]))
    first = model.encode(torch.rand(1, 2, 60) * 2 - 1, any_size=True)[..., :1]
    assert torch.allclose(StreamDecoder(model).push(first), model.decode(first), atol=1e-5)


def test_what_cannot_be_streamed_says_why():
    wave, x = Wave(2), torch.zeros(1, 2, 30)
    with pytest.raises(InputError, match="This SEANetEncoder looks .* positions ahead, .* causal"):
        StreamEncoder(one(causal=False))
    causal = one()
    frames = VocosDecoder(wave, 6, hidden=8, layers=1, downsampling=15)
    with pytest.raises(InputError, match="This VocosDecoder looks 8 positions ahead"):
        StreamDecoder(DiscreteAutoencoder(causal.encoder, vectors(), frames, wave))
    conv = ConvEncoder(wave, 6, hidden=4, downsampling=4)
    whole = DiscreteAutoencoder(conv, vectors(), conv.mirror(wave, 6), wave)
    with pytest.raises(InputError, match="A ConvEncoder is not run chunk by chunk"):
        StreamEncoder(whole)
    linear = MLPEncoder(Wave(2, (30,)), 6, hidden=8, tokens=2)
    flat = DiscreteAutoencoder(linear, vectors(), linear.mirror(Wave(2, (30,)), 6), Wave(2, (30,)))
    with pytest.raises(InputError, match="A MLPEncoder takes waves as a whole"):
        StreamEncoder(flat)
    with pytest.raises(InputError, match="makes one vector of a whole image"):
        StreamDecoder(assemble(Image(1, (16, 16))))
    stream = StreamEncoder(causal)
    with pytest.raises(InputError, match="has at least one chunk, got none"):
        stream.finish()
    stream.push(x)
    with pytest.raises(InputError, match=r"channels of those before, \(1, 2\), got \(3, 2\)"):
        stream.push(x.expand(3, -1, -1))
    stream.finish()
    for call in (stream.finish, lambda: stream.push(x)):
        with pytest.raises(InputError, match="takes no more: begin another"):
            call()
    for bad in (torch.zeros(1, 2, 3, dtype=torch.int64), (torch.zeros(1, 2, dtype=torch.int64),)):
        with pytest.raises(InputError, match="give what its push returned|must be a tensor"):
            StreamDecoder(causal).push(bad)
    assert Running(causal.encoder)(x).shape == (1, 6, 2)
