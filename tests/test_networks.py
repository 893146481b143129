"""Encoders and decoders: shapes, mirrors, and recipes that choose them."""

from __future__ import annotations

import pytest
import torch
import yaml

from mistakes import mistake
from smalti import runs
from smalti.artifacts import build, describe, load_model
from smalti.autoencoders import DiscreteAutoencoder, PlainAutoencoder
from smalti.building import build_autoencoder
from smalti.errors import InputError
from smalti.modalities.image import Image
from smalti.networks import (
    ConvDecoder,
    ConvEncoder,
    ConvFeatures,
    Features,
    IdentityEncoder,
    MLPEncoder,
    PatchDiscriminator,
    ResNetDecoder,
    SEANetEncoder,
    VectorDecoder,
    VectorEncoder,
    grid_of,
)
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.recipes import schema
from tiny import clocks_recipe, vae_recipe, write_recipe
from wave_signal import Wave

SIGNALS = [
    Image(3, (16, 24)),
    Wave(2, (40,)),
    Features(6, spatial_dims=0),
]


def encoders(signal):
    yield MLPEncoder(signal, 6, hidden=8, layers=1, tokens=3)
    if not signal.spatial_dims:
        yield IdentityEncoder(signal, signal.channels)
    if signal.spatial_dims:
        yield ConvEncoder(signal, 6, hidden=8, residual_blocks=1, downsampling=8)
    if signal.spatial_dims == 1:
        yield SEANetEncoder(signal, 6, hidden=4, strides=[2, 5], dilations=[1, 2])
        yield SEANetEncoder(signal, 6, hidden=4, strides=[4], activation="snake", causal=True)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_an_encoder_gives_its_grid_and_its_mirror_goes_back(signal):
    for encoder in encoders(signal):
        x = torch.rand(2, *signal.shape)
        z = encoder(x)
        assert tuple(z.shape) == (2, encoder.dim, *grid_of(encoder, signal.size))
        channels = 6 if isinstance(encoder, IdentityEncoder) else 4
        output = Features(channels, signal.size, signal.spatial_dims)
        decoder = encoder.mirror(output, 6)
        assert tuple(decoder(z).shape) == (2, channels, *signal.size)
        assert (decoder.dim, decoder.channels) == (6, channels)
        again = build(describe(encoder)), build(describe(decoder))
        again[0].load_state_dict(encoder.state_dict())
        again[1].load_state_dict(decoder.state_dict())
        assert torch.equal(again[1](again[0](x)), decoder(z))


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_every_pair_makes_a_tokenizer_and_an_autoencoder(signal):
    for encoder in encoders(signal):
        quantizer = VectorQuantizer(EMACodebook(codebook_size=16, dim=6))
        decoder = encoder.mirror(Features(signal.channels, signal.size, signal.spatial_dims), 6)
        tokenizer = DiscreteAutoencoder(encoder, quantizer, decoder, signal).eval()
        x = torch.rand(2, *signal.shape)
        indices = tokenizer.encode(x)
        assert tuple(indices.shape[1:]) == tokenizer.layout.shape == encoder.grid(signal.size)
        assert tokenizer.decode(indices).shape == x.shape
        grid = encoder.grid(signal.size)
        outer = encoder.mirror(Features(signal.channels, signal.size, signal.spatial_dims), 6)
        model = PlainAutoencoder(
            VectorEncoder(encoder, grid, 4), VectorDecoder(outer, grid, 4), signal
        ).eval()
        assert model.decode(model.encode(x)).shape == x.shape


@pytest.mark.parametrize("signal", SIGNALS[:2], ids=str)
def test_networks_of_an_adversary_take_one_dimension_or_two(signal):
    x = torch.rand(2, *signal.shape)
    output = Features(signal.channels, signal.size, signal.spatial_dims)
    judge = PatchDiscriminator(output, hidden=4, layers=2)
    features = ConvFeatures(output, hidden=4, layers=3)
    decoder = ResNetDecoder(output, 6, hidden=12, downsampling=8)
    again = [build(describe(network)) for network in (judge, features, decoder)]
    for network, other in zip((judge, features, decoder), again, strict=True):
        other.load_state_dict(network.state_dict())
    verdict = judge(x)
    patches = tuple(length // 4 for length in signal.size)
    assert verdict.scores[0].shape == (2, 1, *patches)
    assert torch.equal(again[0](x[:1]).scores[0], judge(x[:1]).scores[0])
    # A score depends on no other signal of the batch.
    assert torch.allclose(judge(x[:1]).scores[0], verdict.scores[0][:1], atol=1e-5)
    shapes = [tuple(maps.shape[2:]) for maps in features(x)]
    assert shapes == [tuple(-(-n // 2**layer) for n in signal.size) for layer in range(3)]
    z = torch.rand(2, 6, *(length // 8 for length in signal.size))
    assert decoder(z).shape == x.shape and torch.equal(again[2](z), decoder(z))
    longer = torch.cat([z, z], 2)
    assert decoder(longer).shape[2] == 2 * x.shape[2]
    # Attention and normalization: each value depends on the whole.
    z.requires_grad_()
    decoder(z)[0, 0].flatten()[0].backward()
    assert bool((z.grad[0] != 0).any(0).all()) and not bool(z.grad[1].any())


def test_linear_layers_take_signals_of_one_size():
    with pytest.raises(InputError, match="Linear layers take images of one size, got any"):
        MLPEncoder(Image(3), 4)


def test_no_network_takes_vectors_of_the_quantizers_dimensions():
    with pytest.raises(InputError, match="of 5 dimensions, got a quantizer of 4: set the dim"):
        IdentityEncoder(Features(5, spatial_dims=0), 4)
    with pytest.raises(InputError, match="got images, which have a grid: choose an encoder"):
        IdentityEncoder(Image(3, (8, 8)), 3)


def mlp_recipe(recipe: dict, part: str) -> dict:
    recipe[part]["encoder"] = {
        "class_path": "MLPEncoder",
        "init_args": {"hidden": 16, "layers": 1, "tokens": 4},
    }
    return recipe


def test_a_recipe_chooses_another_encoder(tmp_path):
    recipe = mlp_recipe(clocks_recipe(), "tokenizer")
    run, _ = runs.fit(schema.parsed(recipe), tmp_path / "run")
    model = load_model(run.tokenizer)
    assert isinstance(model.encoder, MLPEncoder)
    assert model.layout.shape == load_model(run.prior).grid == (4,)
    built = build_autoencoder(
        schema.build(schema.parsed(mlp_recipe(vae_recipe(), "autoencoder"))).trained,
        Image(3, (16, 16)),
    )
    assert isinstance(built.encoder.inner, MLPEncoder)
    assert built(torch.zeros(1, 3, 16, 16)).latents.shape == (1, 6)


def test_a_recipe_chooses_a_decoder_of_its_own():
    recipe = clocks_recipe()
    recipe["tokenizer"]["decoder"] = {"class_path": "ConvDecoder", "init_args": {"hidden": 12}}
    built = build_autoencoder(schema.build(schema.parsed(recipe)).trained, Image(3, (16, 16)))
    assert isinstance(built.decoder, ConvDecoder)
    assert built.decoder.inner[0].out_channels == 12
    assert built.encoder.inner[0].out_channels == 8


def test_without_one_it_is_the_papers():
    recipe = clocks_recipe()
    del recipe["tokenizer"]["encoder"]
    built = build_autoencoder(schema.build(schema.parsed(recipe)).trained, Image(3, (16, 16)))
    assert isinstance(built.encoder, ConvEncoder)
    assert built.encoder.width == 128


def test_levels_take_an_encoder_with_a_downsampling(tmp_path, capsys):
    recipe = mlp_recipe(clocks_recipe(), "tokenizer")
    recipe["tokenizer"]["fine_levels"] = [
        {"quantizer": recipe["tokenizer"]["quantizer"], "downsampling": 1}
    ]
    recipe["tokenizer"]["encoder"] = {"class_path": "MLPEncoder"}
    recipe["prior"] = None
    path = write_recipe(tmp_path / "mlp.yaml", recipe)
    line = mistake(capsys, "fit", str(path), "--out", str(tmp_path / "run"))
    assert "finer than the one before it" in line or "takes a downsampling" in line


def test_a_recipe_from_before_says_what_to_write(tmp_path, capsys):
    recipe = clocks_recipe()
    del recipe["tokenizer"]["encoder"]
    recipe["tokenizer"]["network"] = {"hidden": 8, "downsampling": 4}
    path = write_recipe(tmp_path / "old.yaml", recipe)
    line = mistake(capsys, "fit", str(path), "--out", str(tmp_path / "run"))
    told = "encoder: {class_path: ConvEncoder, init_args: {downsampling: 4, hidden: 8}}"
    assert f"tokenizer.network is now tokenizer.encoder: write {told}" in line
    del recipe["tokenizer"]["network"]
    recipe["tokenizer"] |= yaml.safe_load(told)
    assert schema.build(schema.parsed(recipe)).trained.encoder(Image(3), 8).width == 8
    line = mistake(capsys, "fit", "clocks", "--tokenizer.network.hidden", "8")
    assert "--tokenizer.network.hidden is now --tokenizer.encoder.hidden" in line
    recipe["prior"]["training"]["schedule"] = {"class_path": "smalti.training.schedules.Cosine"}
    line = mistake(capsys, "fit", str(write_recipe(path, recipe)), "--out", str(tmp_path / "run"))
    assert "prior.training.schedule Cosine is now CosineDecay: write that in its place" in line
    line = mistake(capsys, "fit", "clocks", "--prior.training.schedule=Cosine")
    assert "--prior.training.schedule Cosine is now CosineDecay: give that" in line
