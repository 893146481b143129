"""Laws that every autoencoder keeps. A new one joins by a line in MODELS."""

import copy

import pytest
import torch
from torch import Tensor, nn

from small_autoencoders import assemble
from smalti.artifacts import load_model, save_model
from smalti.autoencoders import (
    Autoencoder,
    DiscreteAutoencoder,
    HierarchicalAutoencoder,
    VariationalAutoencoder,
)
from smalti.errors import InputError
from smalti.losses.likelihoods import Categorical, Gaussian
from smalti.modalities.image import Image
from smalti.networks import Affine, ConvDecoder, ConvEncoder, Features, Whitening
from smalti.quantizers import (
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    ResidualQuantizer,
    VectorQuantizer,
)
from wave_signal import Wave

ODD = Image(3, (10, 7))  # a size that no downsampling divides
SIZES = {"hidden": 8, "residual_hidden": 4}


def discrete(signal, quantizer, likelihood=None, normalization=None):
    channels = likelihood.channels(signal.channels) if likelihood else signal.channels
    given = Features(channels, spatial_dims=signal.spatial_dims)
    dim = quantizer.dim
    encoder, decoder = ConvEncoder(signal, dim, **SIZES), ConvDecoder(given, dim, **SIZES)
    return DiscreteAutoencoder(encoder, quantizer, decoder, signal, likelihood, normalization)


def hierarchical(signal, likelihood=None, normalization=None):
    channels = likelihood.channels(signal.channels) if likelihood else signal.channels
    inner, outer = (Features(n, spatial_dims=signal.spatial_dims) for n in (8, channels))
    return HierarchicalAutoencoder(
        [ConvEncoder(inner, 4, downsampling=2, **SIZES), ConvEncoder(signal, 8, **SIZES)],
        [ema(), ema()],
        [ConvDecoder(inner, 4, downsampling=2, **SIZES), ConvDecoder(outer, 12, **SIZES)],
        signal,
        level_dropout=0.0,
        likelihood=likelihood,
        normalization=normalization,
    )


def ema():
    return VectorQuantizer(EMACodebook(codebook_size=16, dim=4))


def standardised():
    return Affine.of(torch.tensor([0.1, -0.2, 0.0]), torch.tensor([0.5, 0.6, 0.4]))


def whitened():
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    return Whitening.of(torch.tensor([0.1, -0.1]), turn, torch.tensor([0.7, 0.3]))


def learned():
    return VectorQuantizer(GradientCodebook(codebook_size=16, dim=4))


MODELS = {
    "vq-vae": lambda: discrete(ODD, ema()),
    "vq-vae by gradients": lambda: discrete(ODD, learned()),
    "vq-vae of waves": lambda: discrete(Wave(1, (21,)), ema()),
    "fsq": lambda: discrete(ODD, FiniteScalarQuantizer([5, 5, 5])),
    "residual": lambda: discrete(ODD, ResidualQuantizer([ema(), ema()])),
    "vq-vae with a likelihood": lambda: discrete(ODD, ema(), Categorical(8)),
    "vq-vae-2": lambda: hierarchical(ODD),
    "vq-vae-2 with a likelihood": lambda: hierarchical(ODD, Gaussian(0.5)),
    "plain": lambda: assemble(ODD, variational=False),
    "plain of waves": lambda: assemble(Wave(1, (21,)), variational=False),
    "vq-vae, standardised": lambda: discrete(ODD, ema(), None, standardised()),
    "vq-vae of waves, whitened": lambda: discrete(Wave(2, (21,)), ema(), None, whitened()),
    "vq-vae-2, standardised": lambda: hierarchical(ODD, Gaussian(0.5), standardised()),
    "vae": lambda: assemble(ODD),
    "vae of categories": lambda: assemble(ODD, likelihood=Categorical(8)),
}


@pytest.fixture(params=MODELS)
def model(request) -> Autoencoder:
    """A model in evaluation mode that has learned a little, so that nothing is at its start."""
    torch.manual_seed(0)
    made = MODELS[request.param]()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.01)
    made.train()
    for _ in range(3):
        output = made(made.normalize(signals(made, 8)))
        optimizer.zero_grad()
        (output.x_hat.square().mean() + sum(output.losses.values())).backward()
        optimizer.step()
        made.update()
    return made.eval()


def signals(model: Autoencoder, n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    signal = model.signal
    unit = torch.rand(n, signal.channels, *signal.size, generator=generator)
    return signal.low + (signal.high - signal.low) * unit


def each(latents) -> tuple[Tensor, ...]:
    return latents if isinstance(latents, tuple) else (latents,)


def test_latents_lie_as_the_layout_says(model):
    latents = model.encode(signals(model, 3))
    if model.layout is None:
        assert latents.shape == (3, model.dim) and latents.is_floating_point()
        return
    assert [tuple(grid.shape[1:]) for grid in each(latents)] == list(model.layout.shapes)
    assert all(grid.dtype == torch.int64 for grid in each(latents))
    packed = model.layout.pack(each(latents))
    again = model.layout.unpack(packed)
    assert all(map(torch.equal, again, each(latents)))


def test_what_was_encoded_decodes_to_the_reconstruction(model):
    x = signals(model, 3)
    x_hat = model.decode(model.encode(x))
    assert x_hat.shape == x.shape
    assert model.signal.low <= x_hat.min() and x_hat.max() <= model.signal.high
    if not isinstance(model, VariationalAutoencoder):  # whose forward pass draws a latent
        with torch.no_grad():
            wanted = model(model.normalize(x)).x_hat
            if model.normalization is not None:
                wanted = model.normalization.inverse(wanted)
            wanted = wanted.clamp(model.signal.low, model.signal.high)
        torch.testing.assert_close(x_hat, wanted, rtol=1e-5, atol=1e-5)


def test_the_rest_of_the_batch_changes_nothing(model):
    x = signals(model, 4)
    for whole, alone in zip(each(model.encode(x)), each(model.encode(x[:1])), strict=True):
        torch.testing.assert_close(whole[:1], alone, rtol=1e-4, atol=1e-5)


def test_using_a_model_changes_nothing_of_it(model):
    before = copy.deepcopy(model.state_dict())
    x = signals(model, 3)
    first = each(model.encode(x))
    model.decode(model.encode(x))
    model.interpolate(x[0], x[1], 3)
    assert all(map(torch.equal, first, each(model.encode(x))))
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not model.training


def test_every_weight_gets_a_finite_gradient_and_every_loss_is_a_scalar(model):
    model.train()
    output = model(signals(model, 4))
    assert output.x_hat.shape == (4, model.signal.channels, *model.signal.size)
    assert all(loss.shape == () and loss.isfinite() for loss in output.losses.values())
    (output.x_hat.square().mean() + sum(output.losses.values())).backward()
    without = [
        name
        for name, weights in model.named_parameters()
        if weights.requires_grad and (weights.grad is None or not weights.grad.isfinite().all())
    ]
    assert not without


def test_a_saved_model_is_the_same_model(model, tmp_path):
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded) is type(model) and loaded.signal == model.signal
    assert loaded.layout == model.layout
    x = signals(model, 2, seed=1)
    assert all(map(torch.equal, each(model.encode(x)), each(loaded.encode(x))))
    latents = model.encode(x)
    assert torch.equal(model.decode(latents), loaded.decode(latents))


def test_arrays_lists_and_other_floats_are_taken(model):
    x = signals(model, 2)
    wanted = each(model.encode(x))
    for other in (x.double(), x.numpy(), x.tolist()):
        assert all(map(torch.equal, wanted, each(model.encode(other))))


def test_a_way_leads_from_one_reconstruction_to_the_other(model):
    x = signals(model, 2)
    way = model.interpolate(x[0], x[1], 5)
    assert way.shape == (5, *x.shape[1:])
    ends = model.decode(model.encode(x))
    torch.testing.assert_close(way[[0, -1]], ends, rtol=1e-4, atol=1e-4)


def test_a_likelihood_gives_the_nats_of_each_signal(model):
    x = signals(model, 3)
    if model.likelihood is None:
        with pytest.raises(InputError, match="likelihood"):
            model.nll(x)
        return
    nats = model.nll(x)
    assert nats.shape == (3,) and nats.isfinite().all()
    latents = model.encode(x)
    known = latents if model.layout is None else model.layout.pack(each(latents))
    torch.testing.assert_close(model.nll(x, known), nats)


@pytest.mark.parametrize("wrong", ["channels", "dimensions", "range", "nan", "bytes"])
def test_what_is_no_such_signal_is_refused_in_one_line(model, wrong):
    x = signals(model, 2)
    given = {
        "channels": torch.cat([x, x], 1),
        "dimensions": x[0],
        "range": 300 * x + 300,
        "nan": x.where(x > x.min(), torch.nan),
        "bytes": x.to(torch.uint8),
    }[wrong]
    with pytest.raises(InputError) as told:
        model.encode(given)
    assert "\n" not in str(told.value) and ": " in str(told.value)


def test_a_frozen_model_does_not_learn(model):
    model.requires_grad_(False).train()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model(signals(model, 4))
    model.update()
    held = {name: value for name, value in model.state_dict().items() if name in before}
    assert all(torch.equal(before[name], value) for name, value in held.items())
    assert not any(isinstance(p, nn.Parameter) and p.requires_grad for p in model.parameters())
