"""Normalizations: learned chunk by chunk, undone, saved with models, and out of the way if none."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from small_autoencoders import AffineMap, assemble, linear_gaussian
from smalti.artifacts import build, describe, load_model, registered, save_model
from smalti.autoencoders import DiscreteAutoencoder, PlainAutoencoder, VariationalAutoencoder
from smalti.building import build_autoencoder, build_objective
from smalti.conditions import Label
from smalti.data import Splits, TensorExamples
from smalti.errors import InputError
from smalti.losses import L1, MSE, ObservedValues
from smalti.losses.likelihoods import Categorical, Gaussian
from smalti.networks import Affine, ConvEncoder, MLPEncoder, UnitLength, Whitening
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.recipes.fields import AutoencoderRecipe, TokenizerRecipe
from smalti.signals import Signal
from smalti.training import AutoencoderStage, Training
from wave_signal import Wave


@registered
@dataclass(frozen=True)
class Track(Signal):
    """Values of any size, of which some may be missing."""

    noun: ClassVar[str] = "track"
    plural: ClassVar[str] = "tracks"
    spatial_dims: ClassVar[int] = 1
    gaps: ClassVar[bool] = True

    channels: int
    size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.check_fields()

    def check(self, x: Tensor) -> None:
        self.check_layout(x)

    def finish(self, h: Tensor) -> Tensor:
        return h


def rows(n: int = 1000, dim: int = 5, seed: int = 0) -> Tensor:
    """Correlated rows, far from 0."""
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(n, dim, generator=draw) @ torch.randn(dim, dim, generator=draw)
    return z * torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0])[:dim] + 7.0


def told(wrong) -> bool:
    """Whether a mistake is told of in one line, with how to mend it."""
    with pytest.raises(InputError) as error:
        wrong()
    return "\n" not in str(error.value) and ": " in str(error.value)


def made() -> dict:
    x = rows()
    return {
        "centred": Affine.learned([x], scaled=False),
        "standardised": Affine.learned([x]),
        "rescaled": Affine.learned([x], alike=True),
        "whitened": Whitening.learned([x]),
        "fewer": Whitening.learned([x], dims=3),
        "unit length": UnitLength(),
    }


@pytest.mark.parametrize("name", made())
def test_a_normalization_is_undone_and_saved_as_it_is(name):
    normalization, x = made()[name], rows(64, seed=1)
    y = normalization(x)
    assert y.shape == (64, normalization.channels(5)) and y.dtype == x.dtype
    if name == "unit length":
        torch.testing.assert_close(y.norm(dim=1), torch.ones(64))
        assert torch.equal(normalization.inverse(y), y)
    elif name == "fewer":  # the projection on the largest directions: the same again
        again = normalization.inverse(y)
        torch.testing.assert_close(normalization(again), y, rtol=1e-4, atol=1e-4)
    else:
        torch.testing.assert_close(normalization.inverse(y), x, rtol=1e-5, atol=1e-4)
    loaded = build(describe(normalization))
    loaded.load_state_dict(normalization.state_dict())
    assert torch.equal(loaded(x), y)
    assert normalization.half()(x).equal(y)  # what it learned stays in float32


def test_what_is_learned_is_that_of_all_rows_whatever_the_chunks():
    x = rows()
    apart = [x[:1], x[1:17], x[17:17], x[17:600], x[600:]]
    for of in (Affine.learned, Whitening.learned):
        whole, chunks = of([x]), of(apart)
        for name, values in whole.state_dict().items():
            torch.testing.assert_close(chunks.state_dict()[name], values, rtol=1e-5, atol=1e-6)
    standardised, whitened = Affine.learned(apart)(x), Whitening.learned(apart)(x)
    torch.testing.assert_close(standardised.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(standardised.std(0, correction=0), torch.ones(5), rtol=1e-4, atol=0)
    torch.testing.assert_close(whitened.T @ whitened / len(x), torch.eye(5), atol=1e-3, rtol=0)
    rescaled = Affine.learned(apart, alike=True)(x)  # as far from each other, in proportion
    torch.testing.assert_close(rescaled.var(0, correction=0).mean(), torch.tensor(1.0))
    ratio = torch.pdist(x[:20]) / torch.pdist(rescaled[:20])
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)
    assert Whitening.learned([x]).scale.diff().max() < 0  # the largest first


def test_far_from_zero_no_digit_is_lost():
    x = torch.randn(10_000, 1, generator=torch.Generator().manual_seed(0))
    far = Affine.learned((x + 1e4).split(1000))
    torch.testing.assert_close(far.scale, x.std(0, correction=0), rtol=1e-3, atol=0)


def test_channels_of_a_grid_are_normalized_alike_at_every_place():
    x = rows(6 * 8, 3).view(6, 8, 3).movedim(-1, 1)  # (6, 3, 8)
    flat = x.movedim(1, -1).flatten(0, 1)
    for of in (Affine.learned, Whitening.learned):
        torch.testing.assert_close(of([x])(x), of([flat])(flat).view(6, 8, 3).movedim(-1, 1))


def test_missing_values_count_nowhere_and_stay_missing():
    x = rows(100, 3)
    gaps = x.clone()
    gaps[::3, 0] = torch.nan
    there = x[torch.arange(100) % 3 > 0, 0]
    learned = Affine.learned(gaps.split(7))
    torch.testing.assert_close(learned.mean[0], there.mean(), rtol=1e-5, atol=0)
    torch.testing.assert_close(learned.scale[0], there.std(correction=0), rtol=1e-5, atol=0)
    torch.testing.assert_close(learned.mean[1:], x[:, 1:].mean(0), rtol=1e-5, atol=0)
    assert torch.equal(learned(gaps).isnan(), gaps.isnan())
    whole = x[torch.arange(100) % 3 > 0]
    torch.testing.assert_close(
        Whitening.learned(gaps.split(7)).mean, whole.mean(0), rtol=1e-5, atol=0
    )


def test_what_does_not_vary_is_centred_and_not_blown_up():
    x = torch.cat([rows(200, 2), torch.full((200, 1), 0.1)], 1)
    assert Affine.learned([x])(x)[:, 2].abs().max() < 1e-6
    whitening = Whitening.learned([x])
    assert whitening.channels(3) == 2
    torch.testing.assert_close(whitening.inverse(whitening(x)), x, rtol=1e-5, atol=1e-4)
    assert torch.equal(UnitLength()(torch.zeros(1, 4)), torch.zeros(1, 4))
    long = torch.tensor([[3e30, 4e30], [3e-30, 4e-30]])
    torch.testing.assert_close(UnitLength()(long), torch.tensor([[0.6, 0.8]] * 2))


def test_mistakes_are_one_line():
    x = rows(20, 3)
    for wrong in (
        lambda: Affine.learned([]),
        lambda: Affine.learned([torch.full((4, 2), torch.nan)]),
        lambda: Affine.learned([x.index_fill(1, torch.tensor([1]), torch.inf)]),
        lambda: Affine.of(torch.zeros(2), torch.tensor([1.0, 0.0])),
        lambda: Whitening.learned([x], dims=4),
        lambda: Whitening(3, 4),
        lambda: Affine(3).channels(4),
    ):
        assert told(wrong)


# In an autoencoder


def tokenizer(normalization=None, signal=None) -> DiscreteAutoencoder:
    torch.manual_seed(0)
    signal = signal or Wave(2, (16,), low=-100.0, high=100.0)
    encoder = ConvEncoder(signal, 4, hidden=8, residual_hidden=4)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=16, dim=4))
    model = DiscreteAutoencoder(
        encoder, quantizer, encoder.mirror(signal, 4), signal, normalization=normalization
    )
    return model.eval()


SCALED = {"mean": torch.tensor([3.0, -5.0]), "scale": torch.tensor([2.0, 10.0])}


def test_a_model_takes_and_gives_raw_signals_and_its_networks_see_normalized_ones():
    plain, model = tokenizer(), tokenizer(Affine.of(**SCALED))
    y = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(1))
    x = model.normalization.inverse(y)
    assert torch.equal(model.encode(x), plain.encode(y))
    indices = plain.encode(y)
    torch.testing.assert_close(
        model.decode(indices), model.normalization.inverse(plain.decode(indices))
    )
    torch.testing.assert_close(model(model.normalize(x)).x_hat, plain(y).x_hat)
    way, plain_way = model.interpolate(x[0], x[1], 3), plain.interpolate(y[0], y[1], 3)
    torch.testing.assert_close(way, model.normalization.inverse(plain_way))
    long = torch.cat([x, x], 2)
    assert torch.equal(
        model.encode(long, any_size=True), plain.encode(torch.cat([y, y], 2), any_size=True)
    )


def test_continuous_latents_are_of_normalized_signals():
    signal = Wave(2, (16,), low=-100.0, high=100.0)
    for variational in (False, True):
        torch.manual_seed(0)
        plain = assemble(signal, variational=variational)
        parts = (plain.encoder, plain.decoder)
        if variational:
            model = VariationalAutoencoder(
                *parts, plain.likelihood, signal, normalization=Affine.of(**SCALED)
            ).eval()
        else:
            model = PlainAutoencoder(*parts, signal, normalization=Affine.of(**SCALED)).eval()
        y = torch.randn(3, 2, 16)
        x = model.normalization.inverse(y)
        torch.testing.assert_close(model.encode(x), plain.encode(y))
        torch.testing.assert_close(model.describe(x)[0], plain.describe(y)[0])
        wanted = model.normalization.inverse(plain.decode(plain.encode(y)))
        torch.testing.assert_close(model.decode(model.encode(x)), wanted)


def test_nats_are_of_the_raw_signals():
    """p(x) of x = s y + m is p(y) / s: by the marginal that is known."""
    plain, marginal = linear_gaussian()
    shift = Affine.of(torch.tensor([2.0]), torch.tensor([3.0]))
    signal = replace(plain.signal, low=-99.0, high=99.0)
    model = VariationalAutoencoder(
        plain.encoder, plain.decoder, plain.likelihood, signal, normalization=shift
    )
    y = marginal.sample((4,)).view(4, 1, 1, 3)
    log_p = marginal.log_prob(y.view(4, 3)) - 3 * math.log(3.0)
    x = shift.inverse(y)
    torch.testing.assert_close(model.log_likelihood(x, 1), log_p, atol=1e-4, rtol=0)
    z = model.encode(x)
    torch.testing.assert_close(model.nll(x, z), plain.nll(y, z) + 3 * math.log(3.0))
    turned = Whitening.learned([rows(50, 3)])
    around = VariationalAutoencoder(
        AffineMap(3, 4),
        AffineMap(2, 3, (3,)),
        Gaussian(0.4),
        replace_vector(3),
        normalization=turned,
    )
    x = rows(4, 3, seed=2)
    h = torch.autograd.functional.jacobian(turned.inverse, turned(x[:1]))[0, :, 0]
    volume = h.det().abs().log()
    z = around.encode(x)
    assert around.nll(x, z).allclose(
        around.likelihood(around.decoder(z), turned(x)).nll + volume, atol=1e-3
    )


def replace_vector(channels: int) -> Signal:
    from smalti.networks import Features

    return Features(channels, spatial_dims=0)


def test_a_normalized_model_is_saved_and_one_from_before_loads(tmp_path):
    model = tokenizer(Affine.of(**SCALED))
    save_model(model, tmp_path / "new")
    x = model.normalization.inverse(torch.randn(2, 2, 16))
    assert torch.equal(load_model(tmp_path / "new").encode(x), model.encode(x))
    plain = tokenizer()
    config = describe(plain)
    assert config.pop("normalization") is None  # as configs were before there was such an argument
    old = build(json.loads(json.dumps(config)))
    old.load_state_dict(plain.state_dict())
    y = torch.randn(2, 2, 16)
    assert torch.equal(old.eval().encode(y), plain.encode(y))


def test_a_recipe_builds_networks_of_what_is_seen():
    vector = replace_vector(5)
    whitening = Whitening.learned([rows()], dims=3)
    recipe = TokenizerRecipe(
        VectorQuantizer(EMACodebook(codebook_size=16, dim=4)), Training(steps=1), MLPEncoder
    )
    model = build_autoencoder(recipe, vector, whitening).eval()
    assert model.encoder.linear[0].in_features == 3 and model.normalization is not whitening
    x = rows(6)
    assert model.decode(model.encode(x)).shape == x.shape
    plain = AutoencoderRecipe(Training(steps=1), "PlainAutoencoder", 4, MLPEncoder)
    continuous = build_autoencoder(plain, vector, whitening).eval()
    assert continuous.decode(continuous.encode(x)).shape == x.shape
    torch.manual_seed(0)
    without = build_autoencoder(recipe, vector)
    torch.manual_seed(0)
    unit = build_autoencoder(recipe, vector, UnitLength())  # the same draws
    assert all(
        torch.equal(unit.state_dict()[name], value) for name, value in without.state_dict().items()
    )


def test_a_stage_trains_on_what_is_normalized():
    model = tokenizer(Affine.of(**SCALED))
    x = model.normalization.inverse(torch.randn(4, 2, 16))
    stage = AutoencoderStage(
        model,
        Training(steps=1),
        TensorExamples(x),
        TensorExamples(x),
        seed=0,
        objective=build_objective(
            TokenizerRecipe(model.quantizer, Training(steps=1)), model.signal
        ),
    ).eval()
    terms = stage.objective(TensorExamples(x)[0])
    y = model.normalize(x[:1])
    torch.testing.assert_close(terms["reconstruction"], nn.functional.mse_loss(model(y).x_hat, y))


def test_splits_carry_a_normalization():
    examples = TensorExamples(rows())
    splits = Splits(examples, examples, examples, replace_vector(5), Label(["a"]), None)
    assert splits.normalization is None
    assert splits._replace(normalization=UnitLength()).normalization is not None


# Gaps


def tracks() -> Tensor:
    x = 3 * torch.randn(8, 2, 16, generator=torch.Generator().manual_seed(0)) + 5
    x[0, 0, 3:7] = torch.nan
    x[1, :, 10:] = torch.nan
    return x


def test_gaps_are_the_mean_to_the_encoder_and_nothing_to_the_loss():
    x, signal = tracks(), Track(2, (16,))
    model = tokenizer(Affine.learned([x]), signal)
    y = model.normalize(x)
    assert torch.equal(y.isnan(), x.isnan())
    filled = torch.where(x.isnan(), model.normalization.mean[:, None], x)
    assert torch.equal(model.encode(x), model.encode(filled))
    assert model.decode(model.encode(x)).isfinite().all()
    recipe = TokenizerRecipe(model.quantizer, Training(steps=1))
    output = model.train()(y)
    terms = build_objective(recipe, signal)(y, output, 0)
    observed = ~y.isnan()
    wanted = (output.x_hat - y)[observed].square().mean()
    torch.testing.assert_close(terms["reconstruction"], wanted)
    terms["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_losses_of_observed_values():
    x = torch.tensor([[1.0, torch.nan, 2.0]])
    x_hat = torch.tensor([[2.0, 9.0, 4.0]], requires_grad=True)
    assert ObservedValues(MSE())(x_hat, x).item() == 2.5
    assert ObservedValues(L1())(x_hat, x).item() == 1.5
    none = ObservedValues(MSE())(x_hat, torch.full((1, 3), torch.nan))
    none.backward()
    assert none.item() == 0 and torch.equal(x_hat.grad, torch.zeros(1, 3))


def test_a_gaussian_likelihood_leaves_gaps_out():
    x, signal = tracks(), Track(2, (16,))
    vae = assemble(signal, likelihood=Gaussian(0.5))
    loss = vae.train()(x).losses["reconstruction"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in vae.parameters())
    assert vae.eval().nll(x).isfinite().all()
    h = torch.randn(8, 2, 16)
    each = Gaussian(0.5)(h, x, ~x.isnan()).nll
    known = torch.distributions.Normal(h, 0.5).log_prob(x.nan_to_num())
    torch.testing.assert_close(each, -(known * ~x.isnan()).flatten(1).sum(1))


def test_what_does_not_go_together_is_one_line():
    signal, wave = Track(2, (16,)), Wave(2, (16,))
    for wrong in (
        lambda: tokenizer(UnitLength(), signal),
        lambda: tokenizer(Whitening(2, 2), signal),
        lambda: tokenizer(Affine(3)),
        lambda: assemble(signal, likelihood=Categorical(8)),
        lambda: PlainAutoencoder(
            AffineMap(32, 3), AffineMap(3, 32), wave, Categorical(8), Affine(2)
        ),
        lambda: PlainAutoencoder(
            AffineMap(32, 3), AffineMap(3, 32), wave, Gaussian(), UnitLength()
        ),
    ):
        assert told(wrong)
