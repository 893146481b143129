"""One model of whatever latents: it is saved and loaded, edits, measures itself, and says no."""

from __future__ import annotations

import pytest
import torch

import smalti
from smalti import runs
from smalti.autoencoders import Autoencoder
from smalti.errors import InputError
from smalti.generation import Model
from smalti.generation.filling import fill_smoothly
from smalti.priors import Cascade, GaussianPrior
from smalti.recipes import schema
from test_hierarchical_runs import hierarchical_recipe
from tiny import clocks_recipe, vae_recipe

RECIPES = {"tokens": clocks_recipe, "levels": hierarchical_recipe, "vectors": vae_recipe}


@pytest.fixture(scope="module", params=RECIPES)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return runs.fit(schema.parsed(RECIPES[request.param]()), folder)[0]


@pytest.fixture
def model(run):
    return smalti.load(run.folder)


def signals(model, n=2):
    return torch.rand(n, *model.signal.shape) * 2 - 1


def parts(latents):
    return latents if isinstance(latents, tuple) else (latents,)


def test_it_is_one_class_with_one_autoencoder_and_a_prior(model):
    assert type(model) is Model
    assert isinstance(model.autoencoder, Autoencoder)
    assert model.prior is not None
    x = signals(model)
    z = model.encode(x)
    assert model.decode(z).shape == x.shape
    flat = model.encode_flat(x)
    assert all(torch.equal(*two) for two in zip(parts(z), parts(model.unpack(flat)), strict=True))
    drawn = model.sample_latents(3, seed=1)
    assert torch.equal(model.decode(drawn), model.sample(3, seed=1))


def test_saved_apart_from_its_run_it_is_the_same_model(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = smalti.load(tmp_path / "model")
    assert loaded.run is None and type(loaded.prior) is type(model.prior)
    x = signals(model)
    for one, other in zip(parts(model.encode(x)), parts(loaded.encode(x)), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(model.sample(3, seed=4), loaded.sample(3, seed=4))
    if model.layout is not None:
        with pytest.raises(InputError, match="load the model from its run"):
            loaded.sample(1, prior="histogram")
    with pytest.raises(InputError, match="has no data: give its splits"):
        loaded.evaluate()
    loaded.save(tmp_path / "model")  # its own may be replaced
    with pytest.raises(InputError, match="is a run, which has its models"):
        model.save(model.run.folder)


def test_what_is_kept_of_an_edit_keeps_its_tokens(model):
    (x,) = signals(model, 1)
    mask = torch.zeros(model.signal.size, dtype=torch.bool)
    mask[: model.signal.size[0] // 2] = True
    if model.layout is None:
        with pytest.raises(InputError, match="which a continuous model has none of"):
            model.edit(x, mask)
        return
    known = model.known_tokens(fill_smoothly(x, mask)[None], ~mask[None])
    wanted = model.sample(3, known=known, seed=2)
    assert torch.equal(model.edit(x, mask, n=3, seed=2), wanted)
    assert model.edit(x, mask, "10:10").shape == (1, *model.signal.shape)
    everywhere = model.edit(x, torch.ones_like(mask), n=3, seed=2)
    assert torch.equal(everywhere, model.sample(3, seed=2))
    with pytest.raises(InputError, match="The mask must be bool"):
        model.edit(x, mask.float())


def test_dimensions_are_those_of_vectors(model):
    (x,) = signals(model, 1)
    if model.layout is None:
        assert sorted(model.dimensions()) == list(range(6))
        assert model.dimensions(2) == model.dimensions()[:2]
        assert model.traverse(x, 2, 3).shape == (2, 3, *model.signal.shape)
        assert isinstance(model.prior, GaussianPrior)
        with pytest.raises(InputError, match="has one prior, got 'uniform'"):
            model.sample(1, prior="uniform")
        with pytest.raises(InputError, match="got known ones"):
            model.sample(1, known=torch.zeros(1, 6))
        return
    for call in (model.dimensions, lambda: model.traverse(x)):
        with pytest.raises(InputError, match="traversed in a continuous model, got one with tok"):
            call()
    assert isinstance(model.prior, Cascade) == (model.layout.levels > 1)


def test_it_measures_itself_on_the_data_of_its_run(model):
    from smalti.evaluation import Limits

    report = model.evaluate(limits=Limits(test=8, samples=8, classifier_steps=0, feature_steps=2))
    assert report.failed == []
    assert "reconstruction" in report.figures
    if model.layout is not None:
        assert "histogram" in report.figures["rate"]
