"""The discrete autoencoder, for images and sound, of every size."""

from __future__ import annotations

import pytest
import torch

from smalti.artifacts import build, describe, load_model, save_model
from smalti.autoencoders import DiscreteAutoencoder
from smalti.errors import InputError
from smalti.losses.likelihoods import Categorical, Gaussian, LogisticMixture
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import EMACodebook, GradientCodebook, VectorQuantizer
from smalti.signals import Signal
from wave_signal import Wave


def assemble(
    signal: Signal, downsampling: int = 4, codebook=EMACodebook, likelihood=None
) -> DiscreteAutoencoder:
    sizes = {"hidden": 8, "downsampling": downsampling}
    outputs = likelihood.channels(signal.channels) if likelihood else signal.channels
    return DiscreteAutoencoder(
        ConvEncoder(signal, 6, **sizes),
        VectorQuantizer(codebook(codebook_size=16, dim=6)),
        ConvDecoder(Features(outputs, spatial_dims=signal.spatial_dims), 6, **sizes),
        signal,
        likelihood,
    ).eval()


SIGNALS = [
    Image(1, (28, 28)),
    Image(3, (32, 20)),
    Image(3, (17, 23)),
    Wave(1, (160,)),
    Wave(2, (101,)),
]


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
@pytest.mark.parametrize("downsampling", [2, 4, 8])
def test_shapes(signal, downsampling):
    model = assemble(signal, downsampling)
    x = torch.rand(2, signal.channels, *signal.size) * 2 - 1
    indices = model.encode(x)
    assert indices.shape == (2, *(-(-length // downsampling) for length in signal.size))
    assert indices.shape[1:] == model.grid
    assert model.decode(indices).shape == x.shape
    assert model(x).x_hat.shape == x.shape


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_decoding_the_indices_is_the_reconstruction(signal):
    model = assemble(signal)
    x = torch.rand(2, signal.channels, *signal.size) * 2 - 1
    expected = model(x).x_hat.clamp(-1, 1)
    torch.testing.assert_close(model.decode(model.encode(x)), expected)


def test_padding_reflects_and_is_cropped():
    """A size that does not divide is treated as the reflected, larger signal would be."""
    model = assemble(Image(1))
    x = torch.rand(1, 1, 6, 7)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 2), mode="reflect")
    assert torch.equal(model.encode(x), model.encode(padded))
    assert torch.equal(model(x).x_hat, model(padded).x_hat[..., :6, :7])


@pytest.mark.parametrize(
    ("x", "line"),
    [
        (torch.zeros(2, 1, 16, 16), "with 3 channel"),
        (torch.zeros(2, 3, 16, 20), "of size 16×16, got 16×20"),
        (torch.zeros(3, 16, 16), "has the shape"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "floating-point"),
        (torch.full((2, 3, 16, 16), 255.0), r"values in \[-1.0, 1.0\]"),
        (torch.full((2, 3, 16, 16), torch.nan), r"values in \[-1.0, 1.0\]"),
    ],
)
def test_other_signals_are_refused(x, line):
    with pytest.raises(InputError, match=line):
        assemble(Image(3, (16, 16))).encode(x)


def test_indices_out_of_range_are_refused():
    model = assemble(Image(3, (16, 16)))
    with pytest.raises(InputError, match="between 0 and 15"):
        model.decode(torch.full((1, 4, 4), 16))
    with pytest.raises(InputError, match="have the shape"):
        model.decode(torch.zeros(4, 4, dtype=torch.int64))


def test_too_small_signals_and_odd_downsamplings_are_refused():
    with pytest.raises(InputError, match="too small"):
        assemble(Image(1), 8).encode(torch.zeros(1, 1, 3, 16))
    for downsampling in (0, 1, 3, 12):
        with pytest.raises(InputError, match="power of two"):
            assemble(Image(1), downsampling)


LIKELIHOODS = [Categorical(num_values=7), LogisticMixture(2), Gaussian(0.5, learned=True)]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("signal", SIGNALS[1:4], ids=str)
def test_with_a_likelihood_the_reconstruction_costs_nats(signal, likelihood):
    """Those of the decoder's output under the likelihood, a dimension; its mean is shown."""
    model = assemble(signal, likelihood=likelihood)
    x = torch.rand(2, signal.channels, *signal.size) * 2 - 1
    x_hat, indices, losses = model(x)[:3]
    assert x_hat.shape == x.shape

    z_q = model.quantizer.decode(indices).movedim(-1, 1)
    h = model.decoder(z_q)[(..., *(slice(length) for length in signal.size))]
    nll, mean = likelihood(h, x)
    torch.testing.assert_close(losses["reconstruction"], nll.sum() / x.numel())
    torch.testing.assert_close(x_hat, mean)
    torch.testing.assert_close(model.nll(x), nll)
    torch.testing.assert_close(model.nll(x, indices), nll)
    torch.testing.assert_close(model.decode(indices), mean.clamp(-1, 1))


def test_the_nats_reach_every_part():
    signal = Image(1, (16, 16))
    model = assemble(signal, codebook=GradientCodebook, likelihood=Gaussian(learned=True)).train()
    losses = model(torch.rand(2, 1, 16, 16)).losses
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_likelihood_is_saved_with_the_model(tmp_path):
    signal = Image(3, (16, 16))
    model = assemble(signal, likelihood=Categorical(num_values=5))
    x = torch.rand(2, 3, 16, 16)
    save_model(model, tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model").nll(x), model.nll(x))


def test_a_model_saved_before_there_were_likelihoods_can_be_built():
    config = describe(assemble(Image(3, (16, 16))))
    del config["likelihood"]
    assert build(config).likelihood is None


def test_without_a_likelihood_there_are_no_nats():
    with pytest.raises(InputError, match="has no likelihood"):
        assemble(Image(1, (8, 8))).nll(torch.zeros(1, 1, 8, 8))
