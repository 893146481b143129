"""Spectrogram networks: magnitudes go to waveforms and back, and training starts with PCA."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from smalti.artifacts import load_model, save_model
from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.building import build_tokenizer
from smalti.errors import InputError
from smalti.losses.likelihoods import Gaussian
from smalti.modalities.image import Image
from smalti.networks import (
    Features,
    SEANetEncoder,
    SpectrogramDecoder,
    SpectrogramEncoder,
    VectorDecoder,
)
from smalti.nn.griffin_lim import GriffinLim, Magnitudes
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.recipes.schema import FineLevel, TokenizerRecipe
from smalti.training import Training
from wave_signal import Wave

SMALL = {"hidden": 24, "layers": 1, "downsampling": 32}


def tones(count: int, length: int, channels: int = 1) -> torch.Tensor:
    """Sounds of a few partials that swell and fade, (count, channels, length)."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(length)
    shape = (count, channels, 4, 1)
    pitch = 0.05 + 0.4 * torch.rand(shape, generator=generator)
    swell = (torch.arange(length) / length * 3 + 6 * torch.rand(shape, generator=generator)).sin()
    return 0.1 * (swell * (pitch * t).sin()).sum(2)


def model(channels: int = 1, iterations: int = 4) -> DiscreteAutoencoder:
    torch.manual_seed(0)
    signal = Wave(channels)
    encoder = SpectrogramEncoder(signal, 16, **SMALL)
    decoder = SpectrogramDecoder(signal, 16, iterations=iterations, **SMALL)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=32, dim=16))
    return DiscreteAutoencoder(encoder, quantizer, decoder, signal)


@pytest.mark.parametrize(
    ("together", "channels", "rate"), [(1, 1, None), (2, 2, None), (3, 1, None), (2, 1, 16_000)]
)
def test_magnitudes_are_those_of_windowed_frames(together, channels, rate):
    x = tones(2, 24 * 10, channels)
    v = Magnitudes(channels, 32, 8, together, 0.3, rate)(x[:, :, None])
    gains = (1 + np.arange(17) * (rate or 0) / 32 / 700) ** -0.5
    padded = np.pad(x.double().numpy(), ((0, 0), (0, 0), (12, 12)))
    window = torch.hann_window(32).double().numpy()
    for place in (0, 3, 240 // 8 // together - 1):
        for number in range(together):
            start = (place * together + number) * 8
            spectrum = np.fft.rfft(padded[..., start : start + 32] * window)
            wanted = gains * (np.abs(spectrum) / np.linalg.norm(window)) ** 0.3
            got = v[:, :, 0, place].unflatten(1, (together, channels, 17))[:, number]
            assert np.allclose(got, wanted, atol=1e-4)


def test_iterations_find_a_waveform_of_given_magnitudes():
    x = tones(2, 2400)
    distances = []
    for iterations in (1, 8, 64):
        transform = GriffinLim(1, 64, 16, 2, 0.3, iterations=iterations)
        v = transform.magnitudes(x)
        found = transform.magnitudes(transform(v)[:, :, 0])
        distances.append(float((found - v).norm() / v.norm()))
    assert distances[0] > 1.5 * distances[1] > 2 * distances[2]
    assert distances[2] < 0.1
    assert torch.allclose(transform.with_phases_of(v, x), x, atol=1e-5)
    weighed = GriffinLim(1, 64, 16, 2, 0.3, 16_000, iterations=1)
    assert torch.allclose(weighed.with_phases_of(weighed.magnitudes(x), x), x, atol=1e-5)


def test_the_sign_of_a_waveform_is_not_kept():
    encoder, x = SpectrogramEncoder(Wave(1), 8, **SMALL), tones(2, 320)
    assert torch.allclose(encoder(x), encoder(-x), atol=1e-6)


def test_outputs_depend_on_what_the_margins_say():
    encoder, decoder = model().encoder, model(iterations=2).decoder
    x, z = torch.rand(1, 1, 32 * 60), torch.randn(1, 16, 60)
    with torch.no_grad():
        for network, given, unit, per in ((encoder, x, 32, 1), (decoder, z, 1, 32)):
            near, far = 30 + network.margin, 30 + network.margin + 1
            whole = network(given)
            for place, same in ((far, True), (60 - far, True), (near - 2, False)):
                changed = given.clone()
                changed[..., place * unit : (place + 1) * unit] += 1
                moved = (network(changed) - whole)[..., 30 * per : 31 * per].abs().max()
                assert bool(moved < 1e-5) == same, (type(network), place, moved)
    decoder.iterations = 3
    assert decoder.margin > model(iterations=2).decoder.margin


def test_tiles_are_the_whole():
    tokenizer = model()
    tokenizer.prepare(tones(8, 640))
    tokenizer.train()
    tokenizer(tones(8, 640))
    tokenizer.eval()
    x = tones(1, 32 * 300)
    assert 8 * tokenizer.margins[1] < 300
    indices = tokenizer.encode(x)
    assert torch.equal(indices, *tokenizer.quantized(x))
    assert len(indices.unique()) > 4
    whole = tokenizer.reconstructed((indices,), None)
    assert torch.allclose(tokenizer.decode(indices), whole.clamp(-1, 1), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2])
def test_prepared_networks_are_pca(channels):
    tokenizer, x = model(channels), tones(40, 640, channels)
    start = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    tokenizer.prepare(x)
    v = encoder.layers[0](x[:, :, None])
    rows = v.movedim(1, -1).flatten(0, -2).double().numpy()
    values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    left = values[: -SMALL["hidden"]].sum() / values.sum()
    with torch.no_grad():
        codes = encoder.layers[1](v)
        back = decoder.layers[-2](codes)
    assert decoder.spread == pytest.approx(values.mean() ** 0.5, rel=1e-4)
    got = float(((back - v) / decoder.spread).square().mean())
    assert got == pytest.approx(left, rel=1e-2)
    projected = codes.movedim(1, -1).flatten(0, -2).double().numpy()
    covariance = np.cov(projected.T, bias=True) * float(decoder.spread) ** 2
    assert np.allclose(covariance, np.diag(values[::-1][: SMALL["hidden"]]), atol=1e-5)
    again = model(channels)
    again.prepare(x)
    changed = {k for k, value in tokenizer.state_dict().items() if not torch.equal(value, start[k])}
    assert all(torch.equal(again.state_dict()[k], v) for k, v in tokenizer.state_dict().items())
    assert changed == {
        "encoder.layers.1.0.weight",
        "encoder.layers.1.0.bias",
        "decoder.layers.2.0.weight",
        "decoder.layers.2.0.bias",
        "decoder.spread",
    }


def test_a_decoder_that_compares_gives_the_loss_and_in_training_the_phases_of_x():
    tokenizer, x = model(iterations=2), tones(4, 640)
    tokenizer.prepare(x)
    tokenizer.train()
    output = tokenizer(x)
    output.losses["reconstruction"].backward()
    assert all(p.grad is not None for p in tokenizer.decoder.parameters())
    assert any(output.last_weight is p for p in tokenizer.decoder.parameters())
    tokenizer.eval()
    with torch.no_grad():
        z = torch.randn(4, 16, 20)
        decoder = tokenizer.decoder
        x_hat, loss = decoder.compare(z, x)
        assert torch.equal(x_hat, decoder(z))
        made = decoder.layers[:-1](z[:, :, None])
        wanted = (made - decoder.inverse.magnitudes(x)).square().mean() / decoder.spread**2
        assert torch.allclose(loss, wanted)
        trained, same = decoder.train().compare(z, x)
        assert torch.equal(same, loss) and not torch.allclose(trained, x_hat, atol=1e-2)
    odd = tokenizer.train()(tones(2, 650))
    assert odd.x_hat.shape == (2, 1, 650)


def test_training_lowers_the_loss_of_the_magnitudes():
    tokenizer, x = model(), tones(16, 640)
    tokenizer.prepare(x)
    tokenizer.train()
    optimizer = torch.optim.Adam(tokenizer.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        terms = tokenizer(x).losses
        (terms["reconstruction"] + 0.25 * terms["commitment"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        tokenizer.update()
        losses.append(float(terms["reconstruction"].detach()))
    assert losses[-1] < 0.7 * losses[1]


def test_it_is_the_finest_decoder_of_a_hierarchy():
    torch.manual_seed(0)
    signal, between = Wave(1), Features(8, spatial_dims=1)
    fine = SEANetEncoder(signal, 8, hidden=4, strides=[4, 8])
    coarse = SEANetEncoder(between, 6, hidden=4, strides=[2])
    decoder = SpectrogramDecoder(signal, 8 + 6, iterations=2, **SMALL)
    quantizers = [VectorQuantizer(EMACodebook(codebook_size=16, dim=6)) for _ in range(2)]
    tokenizer = HierarchicalAutoencoder(
        [coarse, fine], quantizers, [coarse.mirror(between, 6), decoder], signal, level_dropout=0.0
    )
    x = tones(4, 640)
    tokenizer.prepare(x)
    tokenizer.train()
    output = tokenizer(x)
    assert output.x_hat.shape == x.shape
    sum(output.losses.values()).backward()
    assert all(p.grad is not None for p in tokenizer.decoders.parameters())
    tokenizer.eval()
    assert tokenizer.decode(tokenizer.encode(x)).shape == x.shape
    with pytest.raises(InputError, match="A SpectrogramDecoder takes signals as a whole, got a"):
        tokenizer(x, torch.ones(4, 640, dtype=torch.bool))


def test_in_a_recipe_of_levels_it_encodes_the_finest():
    def quantizer():
        return VectorQuantizer(EMACodebook(codebook_size=16, dim=6))

    sizes = {"hidden": 16, "layers": 1, "frames": 1}
    recipe = TokenizerRecipe(
        quantizer(),
        Training(steps=1),
        encoder=partial(SpectrogramEncoder, downsampling=96, **sizes),
        fine_levels=[FineLevel(quantizer(), 48), FineLevel(quantizer(), 16)],
    )
    tokenizer = build_tokenizer(recipe, Wave(1, (480,)))
    kinds = [type(network).__name__ for network in (*tokenizer.encoders, *tokenizer.decoders)]
    assert kinds[:3] == ["SEANetEncoder", "SEANetEncoder", "SpectrogramEncoder"]
    assert kinds[3:] == ["SEANetDecoder", "SEANetDecoder", "SpectrogramDecoder"]
    assert [encoder.downsampling for encoder in tokenizer.encoders] == [2, 3, 16]
    assert [encoder.width for encoder in tokenizer.encoders] == [16, 16, 16]
    x = tones(4, 480)
    tokenizer.prepare(x)
    codes = tokenizer.eval().encode(x)
    assert [tuple(grid.shape) for grid in codes] == [(4, 5), (4, 10), (4, 30)]
    assert tokenizer.decode(codes).shape == x.shape


def test_a_tokenizer_with_them_is_saved_and_loaded_and_halved(tmp_path):
    tokenizer, x = model(), tones(2, 330)
    tokenizer.prepare(tones(8, 640))
    tokenizer.eval()
    save_model(tokenizer, tmp_path / "model")
    again = load_model(tmp_path / "model")
    indices = tokenizer.encode(x, any_size=True)
    assert torch.equal(again.encode(x, any_size=True), indices)
    assert torch.equal(again.decode(indices), tokenizer.decode(indices))
    assert again.decoder.iterations == 4
    assert again.bfloat16().decode(indices).dtype == torch.bfloat16


def test_gradients_of_silence_are_finite():
    encoder = SpectrogramEncoder(Wave(1), 8, **SMALL)
    x = torch.zeros(1, 1, 320, requires_grad=True)
    encoder(x).sum().backward()
    assert bool(x.grad.isfinite().all())


def test_what_makes_no_network_is_one_line():
    with pytest.raises(InputError, match="is of waveforms, with a grid of one dimension"):
        SpectrogramEncoder(Image(1), 4)
    with pytest.raises(InputError, match="at most 8 channels, got"):
        SpectrogramEncoder(Features(9, spatial_dims=1), 4)
    with pytest.raises(InputError, match="has 3 frames per position of the grid, which divide"):
        SpectrogramDecoder(Wave(1), 4, frames=3)
    with pytest.raises(InputError, match="power of magnitudes is above 0 and at most 1, got 0"):
        SpectrogramEncoder(Wave(1), 4, power=0)
    make = partial(SpectrogramDecoder, Wave(1, (320,)), 16, **SMALL)
    with pytest.raises(InputError, match="loss of its own, which a latent vector has no use for"):
        VectorDecoder(make(), (10,), 4)
    own = model()
    with pytest.raises(InputError, match="has a loss of its own, got the likelihood Gaussian"):
        DiscreteAutoencoder(own.encoder, own.quantizer, own.decoder, own.signal, Gaussian())
