"""A config of a stranger is one line or an equal model, never a traceback or a hang."""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import time
from copy import deepcopy
from functools import cache, reduce
from operator import getitem

import pytest
import safetensors.torch
import torch

from smalti import configs
from smalti.artifacts import describe, load_model, registered, registry, save_model
from smalti.errors import InputError
from smalti.modalities.audio import Sound
from smalti.modalities.image import Image
from smalti.model_folder import checksum_of
from smalti.networks import Features
from smalti.priors import PixelCNN
from smalti.ranges import Range, check_range, range_of
from smalti.registry import import_own_classes

IMAGE = Image(1, (12, 8))
SOUND = Sound(1, 8000)
HOSTILE = [
    *(-1, 0, 2**31, 10**12, 2**62, 2**80, 1e308, -0.5, 1.5, 1e-300, True, "x", None, [], {}),
    *([10**12] * 2, [-1, 0], [[[]]], {"class": []}, {"class": "os.system"}, {"same": 0}),
    *({"same": -1}, {"same": "x"}, {"class": "Nearest"}, {"class": "Image"}),
]


def make(name, *arguments, **options):
    return registry[name](*arguments, **options)


def image_tokenizer(quantizer, likelihood=None, outputs=1):
    encoder = make("ConvEncoder", Features(1), 8, hidden=8, residual_blocks=1)
    decoder = make("ConvDecoder", Features(outputs), 8, hidden=8, residual_blocks=1)
    return make("DiscreteAutoencoder", encoder, quantizer, decoder, IMAGE, likelihood)


def vectors(dim=8, codebook="EMACodebook", **options):
    return make("VectorQuantizer", make(codebook, codebook_size=16, dim=dim), **options)


def quantizers():
    yield vectors(dead_code_reset=make("DeadCodeReset"), assignment=make("Stochastic", 0.5))
    yield vectors(assignment=make("Sinkhorn", 0.01, 20))
    regularisers = [make("Orthogonality", 4), make("Entropy")]
    yield vectors(8, "GradientCodebook", estimator=make("DiVeQ"), regularisers=regularisers)
    cosine, estimator = make("Cosine"), make("IndexBackpropagation")
    yield vectors(8, "TransformedCodebook", geometry=cosine, estimator=estimator)
    yield make("FiniteScalarQuantizer", [4] * 8, make("ShiftedBound"))
    yield make("LookupFreeQuantizer", 8)
    yield make("BinarySphericalQuantizer", 8)
    yield make("GumbelQuantizer", codebook_size=16, dim=8, temperature=make("Annealing"))
    yield make("ResidualQuantizer", [vectors()] * 2, make("Rotation"), dropout=0.1)
    yield make("ImplicitResidualQuantizer", [vectors(), vectors()], hidden=4, layers=1)
    yield make("ProductQuantizer", [vectors(4), vectors(4)])
    yield make("MultiScaleQuantizer", vectors(), [(1, 1), (3, 2)], make("NSVQ"))
    fsq = make("FiniteScalarQuantizer", [4, 4], make("SymmetricBound"))
    yield make("ProjectedQuantizer", fsq, 8)
    yield make("ScaledQuantizer", vectors(), 0.5)
    yield make("RotatedQuantizer", make("ProductQuantizer", [vectors(3), vectors(5)]))


@cache
def models():
    """Among them a module of nearly every registered class."""
    found = [image_tokenizer(quantizer) for quantizer in quantizers()]
    for likelihood, outputs in (
        (make("Gaussian", learned=True), 1),
        (make("Categorical", 16), 16),
        (make("LogisticMixture", 3), 9),
        (make("Bernoulli"), 1),
        (make("PixelCNNLikelihood", 1, hidden=8, layers=2), 8),
    ):
        found.append(image_tokenizer(vectors(), likelihood, outputs))
    small = {"hidden": 8, "residual_blocks": 1}
    inner = (
        make("ConvEncoder", Features(1), 8, **small),
        make("ConvDecoder", Features(1), 8, **small),
    )
    encoder, decoder = make("VectorEncoder", inner[0], (3, 2), 12), inner[1]
    decoder = make("VectorDecoder", decoder, (3, 2), 6)
    found.append(make("VariationalAutoencoder", encoder, decoder, make("Gaussian"), IMAGE))
    encoder = make("VectorEncoder", inner[0], (3, 2), 6)
    found.append(make("PlainAutoencoder", encoder, decoder, IMAGE))
    fine, coarse = small, {**small, "downsampling": 2}
    found.append(
        make(
            "HierarchicalAutoencoder",
            [
                make("ConvEncoder", Features(1), 8, **fine),
                make("ConvEncoder", Features(8), 8, **coarse),
            ],
            [vectors(), vectors()],
            [
                make("ConvDecoder", Features(8), 8, **coarse),
                make("ConvDecoder", Features(1), 16, **fine),
            ],
            Image(1, (16, 16)),
        )
    )
    strong = make("ResNetDecoder", Features(1), 8, **small)
    found.append(make("DiscreteAutoencoder", inner[0], vectors(), strong, IMAGE))
    flat = make("MLPEncoder", IMAGE, 8, hidden=8, layers=1, tokens=3)
    mirror = make("MLPDecoder", IMAGE, 8, hidden=8, layers=1, tokens=3)
    found.append(make("DiscreteAutoencoder", flat, vectors(), mirror, IMAGE))
    flat = Features(8, spatial_dims=0)
    none = make("IdentityEncoder", flat, 8), vectors(), make("IdentityDecoder", flat, 8)
    whitening = make("Whitening", 8, 8)
    found.append(make("DiscreteAutoencoder", *none, make("Vector", 8), None, whitening))
    flat = Features(2, spatial_dims=1)
    ends = make("ConvEncoder", flat, 8, **small), make("ConvDecoder", flat, 8, **small)
    series, each = make("Series", 2, (12,)), make("Affine", 2)
    found.append(make("DiscreteAutoencoder", ends[0], vectors(), ends[1], series, None, each))
    small = {"hidden": 4, "strides": [2, 3], "activation": "snake"}
    ends = make("SEANetEncoder", flat, 8, **small), make("SEANetDecoder", flat, 8, **small)
    found.append(make("DiscreteAutoencoder", ends[0], vectors(), ends[1], series))
    frames = make("VocosDecoder", flat, 8, hidden=8, layers=1, downsampling=6, n_fft=24)
    found.append(make("DiscreteAutoencoder", ends[0], vectors(), frames, series))
    small = {"hidden": 8, "layers": 1, "downsampling": 6, "frames": 1, "n_fft": 24}
    first = make("SpectrogramEncoder", flat, 8, **small)
    last = make("SpectrogramDecoder", flat, 8, iterations=2, **small)
    found.append(make("DiscreteAutoencoder", first, vectors(), last, series))
    label = make("Label", ["a", "b"])
    above = make("CoarseTokens", (16,), ((2, 2),))
    coarse = make("PixelCNN", 16, (2, 2), hidden=8, layers=2)
    finer = make("PixelCNN", 16, (4, 4), above, hidden=8, layers=2)
    found += [
        make("GaussianPrior", 6),
        make("Cascade", [coarse, finer]),
        make("PixelCNN", 16, (3, 2), make("TimeOfDay"), hidden=8, layers=2),
        make("DepthPixelCNN", (16, 16), (3, 2, 2), hidden=8, layers=2),
        make("PixelSNAIL", 16, (3, 2), label, hidden=8, blocks=1, layers=1, heads=2),
        make("TransformerPrior", (16, 8), (3, 2), label, hidden=8, layers=1, heads=2),
        make("MaskedPrior", 16, (3, 2), label, hidden=8, layers=1, heads=2),
        make("AbsorbingDiffusion", 16, (3, 2), label, hidden=8, layers=1, heads=2),
        make("LatentDiffusion", vectors(), (3, 2), label, channels=8, blocks=1),
        make("Histogram", 16, (3, 2), label),
        make("Uniform", 16, (3, 2)),
    ]
    optional = make("OptionalCondition", make("Label", ["a", "b"]), 0.1)
    both = make("Conditions", [optional, make("TimeOfDay")])
    found.insert(-2, make("PixelCNN", 16, (3, 2), both, hidden=8, layers=2))
    found[-2].fit(torch.randint(16, (5, 3, 2)), torch.tensor([0, 1, 1, 0, 1]))
    return found


def sealed(folder, config):
    """Writes a config with the checksum that fits it, as a stranger can."""
    config = {name: value for name, value in config.items() if name != "checksum"}
    config["checksum"] = checksum_of(config, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def places(config, path=()):
    """The ways to everything in a config."""
    if path:
        yield path
    listed = config if isinstance(config, list) else []
    for key, value in config.items() if isinstance(config, dict) else enumerate(listed):
        yield from places(value, (*path, key))


def changed(config, path, value):
    config = deepcopy(config)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return config


def one_line(folder):
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain(config):
    notes = ("format", "smalti_version", "checksum", "made_from")
    return {name: value for name, value in config.items() if name not in notes}


def test_every_class_loads_as_it_was_saved(tmp_path):
    for number, model in enumerate(models()):
        save_model(model, tmp_path / str(number))
        before = torch.get_rng_state()
        loaded = load_model(tmp_path / str(number))
        torch.set_rng_state(before)
        assert describe(loaded) == describe(model)
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_config_with_any_hostile_value_is_one_line_or_an_equal_model(tmp_path):
    """A seeded walk over all arguments of all classes, each with values that make no sense."""
    draw, seen, tried = random.Random(0), {}, 0
    for number, model in enumerate(models()):
        folder = tmp_path / str(number)
        save_model(model, folder)
        config = json.loads((folder / "config.json").read_text())
        for path in places(plain(config)):
            kind = tuple(key for key in path if isinstance(key, str))[-2:]
            seen[kind] = seen.get(kind, 0) + 1
            for value in draw.sample(HOSTILE, 3) if seen[kind] <= 2 else ():
                mutated = changed(config, path, value)
                sealed(folder, mutated)
                tried += 1
                began = time.process_time()
                try:
                    loaded = load_model(folder)
                except InputError as error:
                    assert "\n" not in str(error)
                else:
                    assert describe(loaded) == plain(mutated), (path, value)
                assert time.process_time() - began < 5, (path, value)
        sealed(folder, config)
    assert tried > 250


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("class",), ["DiscreteAutoencoder"], "not in the registry"),
        (("signal",), 5, "signal is 5, and it must be a Signal"),
        (("signal", "size"), [12, 12, 12], "size of images has 2 numbers"),
        (("signal", "channels"), 3, "no signal .* can go through it"),
        (("signal", "low"), 7, "two finite numbers"),
        (("encoder", "hidden"), -8, r"encoder\.ConvEncoder\.hidden is at least 2, got -8:"),
        (("encoder", "hidden"), "8", "hidden is '8', and it must be a whole number"),
        (("encoder", "hidden"), True, "hidden is True, and it must be a whole number"),
        (("encoder", "hidden"), 10**12, r"ConvEncoder\.hidden is at most 1048576, got 10{12}:"),
        (("encoder", "hidden"), 16, "by the config"),
        (("encoder", "residual_blocks"), 900, "more parts than its weights"),
        (("quantizer", "codebook", "codebook_size"), 2**70, "must be a whole number"),
        (("quantizer", "codebook", "decay"), 1e-300, "a number that float32 holds"),
        (("quantizer", "codebook"), {"same": 0}, "is 'DiscreteAutoencoder', and it must be"),
        (("quantizer", "codebook"), {"class": "Cosine"}, "is 'Cosine', and it must be a Codebook"),
        (
            ("quantizer", "dead_code_reset", "strategy"),
            "noise",
            "must be one of 'vectors', 'codewords'",
        ),
        (("quantizer", "colour"), "red", "does not fit its constructor: it takes no 'colour'"),
        (("decoder",), None, "decoder is None, and it must be a Module"),
        (("made_from",), 5, "made_from"),
    ],
)
def test_each_kind_of_nonsense_is_named(tmp_path, path, value, line):
    save_model(models()[0], tmp_path)
    sealed(tmp_path, changed(json.loads((tmp_path / "config.json").read_text()), path, value))
    with pytest.raises(InputError, match=line):
        load_model(tmp_path)


import_own_classes()
OWN = {name: cls for name, cls in registry.items() if cls.__module__.startswith("smalti.")}


def numbers(cls):
    """Yields the arguments of a class that are numbers, or lists of them, and which of both."""
    for name, (annotation, _) in configs._parameters(cls).items():
        if {"int", "float"} & set(re.findall("[a-z]+", str(annotation))):
            yield name, "Sequence" in str(annotation) or "tuple" in str(annotation)


@cache
def standing():
    """The config of a model for each class, and where the class stands in it."""
    found = {}
    parts = [
        make("Layout", ((2, 2),), ((16,),)),
        make("PatchDiscriminator", IMAGE, hidden=4, layers=2),
        make("MultiPeriodDiscriminator", SOUND, hidden=4, layers=2, periods=[2]),
        make("MultiScaleSTFTDiscriminator", SOUND, hidden=4, windows=[8.0]),
        make("ConvFeatures", IMAGE, hidden=4, layers=2),
        make("ContrastiveNetwork", IMAGE, make("Caption", 4), dim=8, width=4),
    ]
    for config in map(describe, [*models(), *parts]):
        for path in [(), *places(config)]:
            inner = reduce(getitem, path, config)
            if isinstance(inner, dict) and "class" in inner:
                found.setdefault(inner["class"], (config, path))
    return found


@pytest.mark.parametrize("name", sorted(OWN))
def test_an_argument_of_any_class_has_a_range_and_must_lie_in_it(name):
    cls = OWN[name]
    for argument, listed in numbers(cls):
        allowed = range_of(cls, argument)
        assert allowed != Range(), f"{name}.{argument} has no range in smalti.ranges"
        default = inspect.signature(cls).parameters[argument].default
        check_range(argument, () if default is inspect.Parameter.empty else default, allowed)
        config, path = standing()[name]
        for value in (-(10**12), 10**18, -1.5e-30, 1e30):
            if value not in allowed:
                value = [value] if listed else value
                with pytest.raises(InputError, match=rf"{name}\.{argument}\b"):
                    configs.check_config(changed(config, (*path, argument), value), registry)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("signal", "size"), [10**12, 8], r"Image\.size is at most 4294967296, got 10{12}"),
        (("signal", "size"), [-12, 8], r"Image\.size is at least 1, got -12"),
        (("signal", "channels"), 0, r"Image\.channels is at least 1, got 0"),
        (("signal", "high"), 1e12, r"Image\.high is at most 4294967296, got 10{12}"),
        (("signal", "low"), -1e12, r"Image\.low is at least -4294967296, got -10{12}"),
        (
            ("quantizer", "dead_code_reset", "stop_after"),
            -1,
            r"DeadCodeReset\.stop_after is at least 0, got -1",
        ),
        (("quantizer", "kmeans_iterations"), 10**12, r"kmeans_iterations is at most 1000000,"),
        (("quantizer", "codebook", "eps"), 1e12, r"EMACodebook\.eps is above 0 and at most 1, got"),
        (("quantizer", "codebook", "eps"), 0, r"EMACodebook\.eps is above 0 and at most 1, got 0"),
        (("quantizer", "assignment", "temperature"), -1.0, r"Stochastic\.temperature is above 0"),
    ],
)
def test_a_number_far_out_is_named_with_its_place_and_range(tmp_path, path, value, line):
    save_model(models()[0], tmp_path)
    sealed(tmp_path, changed(json.loads((tmp_path / "config.json").read_text()), path, value))
    assert re.search(line, one_line(tmp_path))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * (9 << 20), "deep within each other"),
        ('{"a":' * (2 << 20) + "1" + "}" * (2 << 20), "deep within each other"),
        ('{"a":' * 150 + "1" + "}" * 150, "deep within each other"),
        ('{"class": "Uniform", "class": "Uniform"}', "holds 'class' more than once"),
        ('{"codebook_size": NaN}', "NaN is no number"),
        ('{"codebook_size": -Infinity}', "-Infinity is no number"),
        ('{"codebook_size": ' + "9" * 5000 + "}", "not the JSON of a model"),
        ("[1]", "no JSON object"),
        ("5", "no JSON object"),
        ("", "not the JSON of a model"),
        ("\x00\udcff", "not the JSON of a model"),
    ],
    ids=range(11),
)
def test_a_text_that_is_no_config_is_one_line(tmp_path, text, line):
    save_model(models()[-1], tmp_path)
    (tmp_path / "config.json").write_text(text, errors="surrogateescape")
    assert line in one_line(tmp_path)


def test_a_file_of_gigabytes_or_none_in_the_place_of_a_config(tmp_path):
    save_model(models()[-1], tmp_path)
    os.truncate(tmp_path / "config.json", 1 << 34)
    assert "bytes, more than" in one_line(tmp_path)
    for name in ("config.json", "model.safetensors"):
        kept = (tmp_path / name).rename(tmp_path / "kept")
        os.mkfifo(tmp_path / name)
        assert f"{name} is missing" in one_line(tmp_path)
        (tmp_path / name).unlink()
        kept.rename(tmp_path / name)


def test_weights_that_are_others_are_one_line(tmp_path):
    model = models()[0]
    save_model(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    file = tmp_path / "model.safetensors"
    whole = safetensors.torch.load_file(file)
    name = "encoder.down.0.bias"
    header = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    for weights, line in (
        ({**whole, "more": torch.zeros(1)}, "there is no place for more"),
        ({n: t for n, t in whole.items() if n != name}, f"{name} is missing"),
        ({**whole, name: whole[name][:-1].clone()}, "by the config"),
        ({**whole, name: whole[name].to(torch.int64)}, "int in the file"),
        ({**whole, "quantizer.updates": torch.tensor(0.5)}, "float in the file"),
        (b"", "is damaged"),
        (b"\xff" * 64, "is damaged"),
        (len(header).to_bytes(8, "little") + header, "is damaged"),
        (file.read_bytes()[:-1], "is damaged"),
    ):
        if isinstance(weights, bytes):
            file.write_bytes(weights)
        else:
            safetensors.torch.save_file(weights, file)
        sealed(tmp_path, config)
        assert line in one_line(tmp_path)


def test_weights_in_half_precision_are_still_loaded(tmp_path):
    prior = PixelCNN(16, (3, 2), hidden=8, layers=2).half()
    save_model(prior, tmp_path)
    assert describe(load_model(tmp_path)) == describe(prior)


def test_a_class_of_a_user_that_looks_at_its_numbers_is_loaded(tmp_path):
    @registered
    class Scaled(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((2,), factor))
            self.largest = self.weight.max().item()

    save_model(Scaled(3.0), tmp_path)
    assert load_model(tmp_path).largest == 3.0
    config = json.loads((tmp_path / "config.json").read_text())
    sealed(tmp_path, {**config, "factor": "large"})
    assert "must be a number" in one_line(tmp_path)
