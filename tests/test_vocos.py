"""VocosDecoder: the inverse transform is one, and outputs depend on what the layers say."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from smalti.artifacts import load_model, save_model
from smalti.autoencoders import DiscreteAutoencoder
from smalti.errors import InputError
from smalti.modalities.image import Image
from smalti.networks import Features, SEANetEncoder, VocosDecoder
from smalti.nn.inverse_stft import InverseSTFT
from smalti.nn.padded_convolutions import as_rows, from_rows
from smalti.nn.streaming import stream
from smalti.quantizers import EMACodebook, VectorQuantizer
from wave_signal import Wave

CENTRED = [(30, None), (21, 50), (20, 40)]
CAUSAL = [(30, None), (21, 22), (20, 40)]  # hop, n_fft


def decoder(hop: int, n_fft: int | None, causal: bool, channels: int = 2) -> VocosDecoder:
    torch.manual_seed(0)
    sizes = {"hidden": 16, "layers": 2, "downsampling": hop}
    return VocosDecoder(Wave(channels), 6, n_fft=n_fft, causal=causal, **sizes).eval()


def transformed(x: torch.Tensor, inverse: InverseSTFT) -> torch.Tensor:
    """The logarithms of magnitudes and the phases of the frames of x (B, C, T)."""
    early, late = inverse.early, inverse.n_fft - inverse.hop - inverse.early
    frames = F.pad(x, (early, late)).unfold(-1, inverse.n_fft, inverse.hop)
    if not inverse.causal:
        frames = frames * inverse.window
    spectrum = torch.fft.rfft(frames)
    h = torch.stack([spectrum.abs().log(), spectrum.angle()], -2)
    return h.permute(0, 1, 3, 4, 2).flatten(1, 3)[:, :, None]


@pytest.mark.parametrize(("hop", "n_fft", "causal"), [(*c, False) for c in CENTRED] + [(20, 30, 1)])
def test_the_frames_of_a_signal_give_it_back(hop, n_fft, causal):
    inverse = InverseSTFT(2, n_fft or 4 * hop, hop, bool(causal))
    x = torch.rand(3, 2, 12 * hop) - 0.5
    y = inverse(transformed(x, inverse))[:, :, 0]
    skipped = inverse.n_fft - hop if causal else 0  # in which the first causal frame fades in
    assert y.shape == x.shape
    assert torch.allclose(y[..., skipped:], x[..., skipped:], atol=1e-5)


@pytest.mark.parametrize(
    ("hop", "n_fft", "causal"), [(*c, False) for c in CENTRED] + [(*c, True) for c in CAUSAL]
)
def test_samples_depend_on_what_the_layers_say_and_causal_ones_on_nothing_later(hop, n_fft, causal):
    network = decoder(hop, n_fft, causal)
    z = torch.randn(1, 6, 50, requires_grad=True)
    y = network(z)
    assert y.shape == (1, 2, 50 * hop)
    part = y[..., 25 * hop : 26 * hop]
    (gradient,) = torch.autograd.grad(part.abs().sum(), z)
    places = gradient.abs().sum((0, 1)).nonzero()
    first, last = network.layers.needs(25 * hop, 26 * hop - 1)
    # The very ends of a window are 0, so that a frame may reach less far than it is long.
    assert 0 <= int(places.min()) - first <= 1 and 0 <= last - int(places.max()) <= 1
    assert network.margin == max(25 - first, last - 25)
    assert last == 25 if causal else last > 25


@pytest.mark.parametrize(("hop", "n_fft"), CAUSAL)
def test_chunks_side_by_side_are_the_whole(hop, n_fft):
    network, z = decoder(hop, n_fft, True), torch.randn(2, 6, 20)
    state, chunks = None, []
    with torch.no_grad():
        for chunk in z.split([1, 3, 1, 15], -1):
            y, state = stream(network.layers, as_rows(chunk), state)
            chunks.append(from_rows(y))
        assert torch.allclose(torch.cat(chunks, -1), network(z), atol=1e-5)


def test_loud_frames_stay_finite_and_gradients_reach_every_weight():
    network = decoder(20, None, False)
    y = network(1e4 * torch.randn(2, 6, 8))
    assert bool(y.isfinite().all()) and y.abs().max() < 1e4
    network(torch.randn(2, 6, 8)).square().mean().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in network.parameters())
    assert any(network.last_weight is weight for weight in network.parameters())


def test_a_tokenizer_with_it_is_saved_and_loaded_and_halved(tmp_path):
    encoder = SEANetEncoder(Wave(1), 6, hidden=4, strides=[4, 5])
    quantizer = VectorQuantizer(EMACodebook(codebook_size=16, dim=6))
    model = DiscreteAutoencoder(encoder, quantizer, decoder(20, None, False, 1), Wave(1)).eval()
    save_model(model, tmp_path / "model")
    x = torch.rand(2, 1, 210) * 2 - 1
    x_hat = model.decode(model.encode(x, any_size=True), size=(210,))
    again = load_model(tmp_path / "model")
    assert torch.equal(again.decode(again.encode(x, any_size=True), size=(210,)), x_hat)
    assert again.bfloat16().decode(model.encode(x, any_size=True)).dtype == torch.bfloat16


def test_what_makes_no_decoder_is_one_line():
    with pytest.raises(InputError, match="centred frames 20 samples apart lies between 40 and 320"):
        decoder(20, 30, False)
    with pytest.raises(InputError, match="causal frames 20 samples apart lies between 21 and 40"):
        decoder(20, 41, True)
    with pytest.raises(InputError, match="a grid of one dimension, got images with 2"):
        VocosDecoder(Image(1), 4)
    assert VocosDecoder(Features(1, spatial_dims=1), 4, hidden=8).layers[-1].n_fft == 1280
