"""SEANet: what outputs depend on, chunk by chunk, weight norm saved and loaded."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from smalti.artifacts import load_model, save_model
from smalti.autoencoders import DiscreteAutoencoder
from smalti.building import build_tokenizer
from smalti.errors import InputError
from smalti.losses import MSE
from smalti.modalities.image import Image
from smalti.networks import Features, PatchDiscriminator, SEANetDecoder, SEANetEncoder, VocosDecoder
from smalti.nn.padded_convolutions import as_rows, from_rows
from smalti.nn.snake import Snake
from smalti.nn.streaming import Chain, stream
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.recipes.fields import FineLevel, TokenizerRecipe, Training
from smalti.training import AdversarialObjective, TokenizerObjective
from wave_signal import Wave

FORMS = [(causal, activation) for causal in (False, True) for activation in ("elu", "snake")]


def pair(causal: bool, activation: str, channels: int = 2, **more):
    torch.manual_seed(0)
    sizes = {"hidden": 4, "strides": [2, 3, 5], "dilations": [1, 3], **more}
    signal = Wave(channels)
    encoder = SEANetEncoder(signal, 6, causal=causal, activation=activation, **sizes)
    return encoder, encoder.mirror(signal, 6)


def reached(y: torch.Tensor, x: torch.Tensor) -> tuple[int, int]:
    """The first and the last position of x that y depends on."""
    (gradient,) = torch.autograd.grad(y.abs().sum(), x)
    places = gradient.abs().sum((0, 1)).nonzero()
    return int(places.min()), int(places.max())


@pytest.mark.parametrize(("causal", "activation"), FORMS)
def test_outputs_depend_on_what_the_layers_say_and_a_causal_one_on_nothing_later(
    causal, activation
):
    encoder, decoder = pair(causal, activation)
    x = torch.randn(1, 2, 900, requires_grad=True)
    first, last = reached(encoder(x)[..., 15], x)
    assert (first, last) == encoder.layers.needs(15, 15)
    assert 15 - encoder.margin <= first / 30 < 16 - encoder.margin or not causal
    assert last < (16 + encoder.margin) * 30 and first >= (15 - encoder.margin) * 30
    assert last == 479 if causal else last > 479
    z = torch.randn(1, 6, 30, requires_grad=True)
    first, last = reached(decoder(z)[..., 450:480], z)
    assert (first, last) == decoder.layers.needs(450, 479)
    assert 15 - decoder.margin == first or 15 + decoder.margin == last
    assert last == 15 if causal else last > 15


@pytest.mark.parametrize("activation", ["elu", "snake"])
def test_chunks_side_by_side_are_the_whole(activation):
    encoder, decoder = pair(True, activation)
    with torch.no_grad():
        x = torch.randn(2, 2, 600)
        z = encoder(x)
        x_hat = decoder(z)
        for network, whole, given, lengths in (
            (encoder, z, x, [30, 90, 60, 420]),
            (decoder, x_hat, z, [1, 3, 1, 15]),
        ):
            state, chunks = None, []
            for chunk in given.split(lengths, -1):
                y, state = stream(network.layers, as_rows(chunk), state)
                chunks.append(from_rows(y))
            assert torch.allclose(torch.cat(chunks, -1), whole, atol=1e-5)


def test_layers_that_are_not_run_so_are_refused():
    with pytest.raises(TypeError, match="Linear cannot be run chunk by chunk"):
        stream(torch.nn.Linear(1, 1), torch.zeros(1, 1, 1, 1), None)
    with pytest.raises(TypeError, match="What a Linear depends on is not known"):
        Chain(torch.nn.Linear(1, 1)).needs(0, 0)


@pytest.mark.parametrize("weight_norm", [True, False])
def test_a_tokenizer_of_them_is_saved_and_loaded(tmp_path, weight_norm):
    encoder, decoder = pair(False, "snake", 1, weight_norm=weight_norm)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=16, dim=6))
    model = DiscreteAutoencoder(encoder, quantizer, decoder, Wave(1, (90,))).eval()
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert len(decoder.layers[-1].state_dict()) == (3 if weight_norm else 2)
    x = torch.rand(2, 1, 90) * 2 - 1
    assert torch.equal(again.decode(again.encode(x)), model.decode(model.encode(x)))


@pytest.mark.parametrize("weight_norm", [True, False])
def test_an_adversary_compares_gradients_at_the_last_layer(weight_norm):
    encoder, decoder = pair(False, "elu", 1, weight_norm=weight_norm)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=16, dim=6))
    model = DiscreteAutoencoder(encoder, quantizer, decoder, Wave(1, (90,)))
    assert any(decoder.last_weight is weight for weight in decoder.parameters())
    objective = AdversarialObjective(
        TokenizerObjective(MSE()), lambda signal: PatchDiscriminator(signal, hidden=4, layers=2)
    )
    objective.prepare(model.signal, features=None)
    x = torch.rand(2, 1, 90) * 2 - 1
    losses = objective(x, model(x), step=1)
    assert 0 < losses["adversarial_weight"] < torch.inf
    losses["loss"].backward()
    assert all(weight.grad is not None for weight in decoder.parameters())


def hierarchy(fine: int, decoder=None, **more):
    def quantizer():
        return VectorQuantizer(EMACodebook(codebook_size=16, dim=6))

    recipe = TokenizerRecipe(
        quantizer(),
        Training(steps=1),
        encoder=partial(SEANetEncoder, hidden=4, strides=[2, 3, 5], **more),
        decoder=decoder,
        fine_levels=[FineLevel(quantizer(), fine)],
    )
    return build_tokenizer(recipe, Wave(1, (90,))).eval()


def test_levels_of_a_hierarchy_share_the_strides():
    model = hierarchy(6)
    assert [encoder.strides for encoder in model.encoders] == [(5,), (2, 3)]
    assert [decoder.strides for decoder in model.decoders] == [(5,), (2, 3)]
    assert [encoder.width // encoder.narrow for encoder in model.encoders] == [2, 4]
    assert model.encoders[0].narrow == model.encoders[1].width, "channels go on doubling"
    assert [encoder.gain for encoder in hierarchy(6, gain=20.0).encoders] == [1.0, 20.0]
    x = torch.rand(2, 1, 90) * 2 - 1
    top, bottom = model.encode(x)
    assert (top.shape, bottom.shape) == ((2, 3), (2, 15))
    assert model.decode((top, bottom)).shape == model.decode((top,)).shape == x.shape
    frames = hierarchy(2, partial(VocosDecoder, hidden=8, layers=1, downsampling=30))
    assert [type(decoder) for decoder in frames.decoders] == [SEANetDecoder, VocosDecoder]
    assert [decoder.downsampling for decoder in frames.decoders] == [15, 2]
    assert frames.decode(frames.encode(x)).shape == x.shape
    with pytest.raises(InputError, match="got the downsamplings 30, 10: choose of .* 2, 6, 30"):
        hierarchy(10)


def test_snake_rises_and_has_the_waves_of_its_frequency():
    snake = Snake(1)
    x = torch.linspace(-9, 9, 400)[None, None, None]
    assert bool((snake(x).diff() >= -1e-5).all())
    assert torch.allclose(snake(x), x + x.sin() ** 2, atol=1e-5)
    with torch.no_grad():
        snake.alpha.fill_(4.0)
    assert torch.allclose(snake(x), x + (4 * x).sin() ** 2 / 4, atol=1e-5)


def test_what_makes_no_network_is_one_line():
    for strides in ([], [0, 2], [256, 512]):
        with pytest.raises(InputError, match="whole numbers from 1 on with a product of at most"):
            SEANetEncoder(Wave(1), 4, strides=strides)
    with pytest.raises(InputError, match="a grid of one dimension, got images with 2"):
        SEANetDecoder(Image(1), 4)
    assert SEANetEncoder(Features(3, spatial_dims=1), 4, hidden=2, strides=[1]).downsampling == 1


@pytest.mark.parametrize("weight_norm", [False, True])
def test_a_gain_is_a_factor_on_the_first_weights_alone(weight_norm):
    x = torch.randn(2, 2, 60)
    plain, _ = pair(False, "elu", weight_norm=weight_norm)
    torch.manual_seed(0)
    sizes = {"hidden": 4, "strides": [2, 3, 5], "dilations": [1, 3]}
    loud = SEANetEncoder(Wave(2), 6, weight_norm=weight_norm, gain=20.0, **sizes)
    assert torch.allclose(loud(x / 20), plain(x), atol=1e-5)
    assert not torch.allclose(loud(x), plain(x), atol=1e-2)
    with pytest.raises(InputError, match="above 0, got 0"):
        SEANetEncoder(Wave(2), 6, gain=0.0)
