"""The laws that every prior keeps. A new prior joins by a line in PRIORS."""

import itertools
import math

import pytest
import torch
from torch import nn

from smalti.artifacts import load_model, save_model
from smalti.conditions import CoarseTokens, Conditions, Label, OptionalCondition, TimeOfDay
from smalti.errors import InputError
from smalti.priors import (
    AbsorbingDiffusion,
    AutoregressivePrior,
    Cascade,
    DepthPixelCNN,
    GaussianPrior,
    Histogram,
    LatentDiffusion,
    MaskedPrior,
    PixelCNN,
    PixelSNAIL,
    Prior,
    SamplingConfig,
    TokenPrior,
    TractablePrior,
    TransformerPrior,
    Uniform,
    cascade_of,
)
from smalti.quantizers import FiniteScalarQuantizer, ProductQuantizer
from walks import follows_the_full_pass

K = 3
LABEL = Label(["cat", "dog"])
ABOVE = CoarseTokens([4, 2], [(1, 1), (1, 2)], LABEL)
SEVERAL = Conditions([OptionalCondition(LABEL), TimeOfDay()])
OPTIONAL = OptionalCondition(LABEL)


def sharp(prior: Prior, seed: int = 0) -> Prior:
    """Random weights so large that the distribution is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return prior


def histogram(grid, condition=None):
    prior = Histogram(K, grid, condition)
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(K, (40, *grid), generator=generator)
    indices[10:20] = indices[0]
    prior.fit(indices, context_of(prior, 40))
    return prior


def depth(grid, condition=None, dropout=0.0):
    return DepthPixelCNN(K, grid, condition, hidden=6, layers=2, dropout=dropout)


def snail(grid, condition=None, dropout=0.0):
    sizes = {"hidden": 6, "blocks": 2, "layers": 1, "heads": 2}
    return PixelSNAIL(K, grid, condition, **sizes, dropout=dropout)


def transformer(grid, condition=None, size=K, **options):
    return TransformerPrior(size, grid, condition, hidden=8, layers=2, heads=2, **options)


def masked(grid, condition=None, family=MaskedPrior, **options):
    return sharp(family(K, grid, condition, hidden=6, layers=1, heads=2, **options))


def latent(grid, condition=None, parts=1, **options):
    scalars = [FiniteScalarQuantizer([K]) for _ in range(parts)]
    quantizer = scalars[0] if parts == 1 else ProductQuantizer(scalars)
    return sharp(LatentDiffusion(quantizer, grid, condition, channels=8, blocks=1, **options))


def cascade(condition=None):
    top = PixelCNN(K, (1, 2), condition, hidden=6, layers=1)
    return Cascade([top, PixelCNN(K, (2,), CoarseTokens([K], [(1, 2)], condition), 6, 1)])


def bidirectional_cascade(condition=None, family=MaskedPrior):
    sizes = {"hidden": 6, "layers": 1, "heads": 2}
    top = family(K, (1, 2), condition, **sizes)
    return cascade_of([top, family(K, (2,), CoarseTokens([K], [(1, 2)], condition), **sizes)])


def gaussian():
    mix = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    return GaussianPrior.of(torch.tensor([3.0, -1.0]), mix @ mix.T)


def context_of(prior, batch):
    """Two different values in turn."""
    if prior.condition is None:
        return None
    two = prior.condition.draw(2, torch.Generator().manual_seed(2))
    assert not torch.equal(two[0], two[1])
    return two[torch.arange(batch) % 2]


PRIORS = {
    "uniform": lambda: Uniform(K, (2, 2)),
    "uniform of several": lambda: Uniform((K, K), (2, 2)),
    "uniform in a row": lambda: Uniform(K, (4,)),
    "histogram": lambda: histogram((2, 2)),
    "histogram of labels": lambda: histogram((2, 2), LABEL),
    "histogram of times": lambda: histogram((4,), TimeOfDay()),
    "histogram of grids above": lambda: histogram((2, 2), ABOVE),
    "pixelcnn": lambda: sharp(PixelCNN(K, (2, 2), hidden=6, layers=2, dropout=0.5)),
    "pixelcnn of labels": lambda: sharp(PixelCNN(K, (2, 2), LABEL, hidden=6, layers=2)),
    "pixelcnn of times": lambda: sharp(PixelCNN(K, (1, 4), TimeOfDay(), hidden=6, layers=2)),
    "pixelcnn of grids above": lambda: sharp(PixelCNN(K, (2, 2), ABOVE, hidden=6, layers=2)),
    "pixelcnn in a row": lambda: sharp(PixelCNN(K, (4,), hidden=6, layers=2, kernel_size=5)),
    "depth": lambda: sharp(depth((1, 2, 2), dropout=0.5)),
    "depth of labels": lambda: sharp(depth((2, 1, 2), LABEL)),
    "depth of grids above": lambda: sharp(depth((2, 1, 2), ABOVE)),
    "depth in a row": lambda: sharp(depth((2, 2))),
    "pixelsnail": lambda: sharp(snail((2, 2), dropout=0.5)),
    "pixelsnail of labels": lambda: sharp(snail((2, 2), LABEL)),
    "pixelsnail of times": lambda: sharp(snail((1, 4), TimeOfDay())),
    "pixelsnail of grids above": lambda: sharp(snail((2, 2), ABOVE)),
    "pixelsnail in a row": lambda: sharp(snail((4,))),
    "pixelcnn of optional labels": lambda: sharp(PixelCNN(K, (2, 2), OPTIONAL, 6, 2)),
    "pixelcnn of several": lambda: sharp(PixelCNN(K, (4,), SEVERAL, hidden=6, layers=2)),
    "depth of several": lambda: sharp(depth((2, 1, 2), SEVERAL)),
    "pixelsnail of optional labels": lambda: sharp(snail((2, 2), OPTIONAL)),
    "histogram of several": lambda: histogram((2, 2), SEVERAL),
    "masked": lambda: masked((2, 2), dropout=0.5),
    "masked of labels": lambda: masked((4,), LABEL),
    "masked of grids above": lambda: masked((2, 1, 2), ABOVE),
    "masked of several": lambda: masked((2, 2), SEVERAL),
    "masked diffusion": lambda: masked((2, 2), None, AbsorbingDiffusion, dropout=0.5),
    "masked diffusion of several": lambda: masked((4,), SEVERAL, AbsorbingDiffusion),
    "masked cascade": lambda: sharp(bidirectional_cascade()),
    "masked cascade of optional labels": lambda: sharp(bidirectional_cascade(OPTIONAL)),
    "masked diffusion cascade": lambda: sharp(bidirectional_cascade(LABEL, AbsorbingDiffusion)),
    "latent": lambda: latent((2, 2), dropout=0.5),
    "latent of labels": lambda: latent((4,), LABEL),
    "latent of grids above": lambda: latent((2, 1, 2), ABOVE, 2),
    "latent of several": lambda: latent((2, 2), SEVERAL),
    "cascade": lambda: sharp(cascade()),
    "cascade of labels": lambda: sharp(cascade(LABEL)),
    "cascade of optional labels": lambda: sharp(cascade(OPTIONAL)),
    "transformer": lambda: sharp(transformer((2, 2), dropout=0.5)),
    "transformer of optional labels": lambda: sharp(transformer((2, 2), OPTIONAL)),
    "transformer of grids above": lambda: sharp(transformer((4,), ABOVE, positions="learned")),
    "transformer in parallel": lambda: sharp(
        transformer((2, 2), OPTIONAL, [K] * 2, pattern="parallel")
    ),
    "transformer delayed": lambda: sharp(transformer((2, 1, 2), LABEL, pattern="delayed")),
    "transformer of levels": lambda: sharp(transformer([(1, 2), (2,)], LABEL, [(K,), (K,)])),
    "gaussian": gaussian,
}
TOKENS = [name for name in PRIORS if name != "gaussian"]
TRACTABLE = [name for name in TOKENS if not name.startswith(("masked", "latent"))]


@pytest.fixture(params=PRIORS)
def any_prior(request):
    return PRIORS[request.param]()


@pytest.fixture(params=TOKENS)
def prior(request):
    return PRIORS[request.param]()


@pytest.fixture(params=TRACTABLE)
def tractable(request):
    return PRIORS[request.param]()


def latents_of(prior):
    return every_grid(prior)[::5] if isinstance(prior, TokenPrior) else torch.randn(9, 2)


def every_grid(prior):
    grids = itertools.product(range(prior.codebook_size), repeat=prior.positions)
    return torch.tensor(list(grids)).view(-1, *prior.grid)


def draw(prior, n, seed=0, known=None, **options):
    generator = torch.Generator().manual_seed(seed)
    config = SamplingConfig(**options)
    context = context_of(prior, n)
    return prior.sample(n, context, known=known, config=config, generator=generator)


def test_probabilities_sum_to_one(tractable):
    grids = every_grid(tractable)
    for value in (None,) if tractable.condition is None else context_of(tractable, 2):
        context = None if value is None else value.expand(len(grids), *value.shape)
        total = tractable.eval().log_prob(grids, context).double().exp().sum()
        torch.testing.assert_close(total, torch.tensor(1.0).double(), atol=1e-5, rtol=0)


def test_the_loss_is_the_mean_negative_log_probability_an_index(tractable):
    tractable.eval()
    grids = every_grid(tractable)[::5]
    context = context_of(tractable, len(grids))
    expected = -tractable.log_prob(grids, context).mean() / tractable.positions
    torch.testing.assert_close(tractable.loss(grids, context), expected)


def test_a_batch_is_scored_as_its_grids_are_alone(tractable):
    tractable.eval()
    grids, context = every_grid(tractable)[::9], context_of(tractable, 9)
    alone = [
        tractable.log_prob(grids[i : i + 1], None if context is None else context[i : i + 1])
        for i in range(len(grids))
    ]
    torch.testing.assert_close(tractable.log_prob(grids, context), torch.cat(alone))


def test_samples_are_grids_of_indices(prior):
    samples = draw(prior, 7)
    assert samples.shape == (7, *prior.grid) and samples.dtype == torch.int64
    assert ((samples >= 0) & (samples < K)).all()
    assert draw(prior, 0).shape == (0, *prior.grid)


def test_the_generator_decides_and_nothing_else_does(any_prior):
    torch.manual_seed(1)
    first, state = draw(any_prior, 20), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, draw(any_prior, 20))
    assert not torch.equal(first, draw(any_prior, 20, seed=3))
    torch.manual_seed(1)
    draw(any_prior, 20)
    assert torch.equal(torch.get_rng_state(), state)


def test_temperature_zero_needs_no_luck(prior):
    assert torch.equal(draw(prior, 6, temperature=0), draw(prior, 6, seed=1, temperature=0))
    if "top_k" in prior.takes:
        assert torch.equal(draw(prior, 6, temperature=0), draw(prior, 6, seed=1, top_k=1))


def test_known_indices_stay(prior):
    whole = draw(prior, 12)
    known = torch.where(torch.rand(whole.shape) < 0.5, whole, -1)
    known[0] = whole[0]
    known[1] = -1
    completed = draw(prior, 12, seed=5, known=known)
    assert torch.equal(completed[known >= 0], known[known >= 0])
    assert torch.equal(completed[0], whole[0])
    assert (completed >= 0).all()


def test_sampling_leaves_the_mode_as_it_was(any_prior):
    any_prior.train()
    any_prior.extra = nn.Dropout().eval()
    draw(any_prior, 2)
    assert any_prior.training and not any_prior.extra.training


def test_samples_can_be_trained_on(prior):
    samples = draw(prior, 2)
    assert not samples.is_inference()
    table = nn.Embedding(K, 2)
    table(samples).sum().backward()
    assert table.weight.grad.sum() == 2 * samples.numel()


def test_saved_and_loaded_it_is_the_same(prior, tmp_path):
    save_model(prior.eval(), tmp_path / "prior")
    loaded = load_model(tmp_path / "prior")
    grids = every_grid(prior)
    context = context_of(prior, len(grids))
    assert torch.equal(loaded.loss(grids, context), prior.loss(grids, context))
    if isinstance(prior, TractablePrior):
        assert torch.equal(loaded.log_prob(grids, context), prior.log_prob(grids, context))
    assert torch.equal(draw(loaded, 9), draw(prior, 9))
    assert (loaded.grid, loaded.codebook_size) == (prior.grid, prior.codebook_size)
    assert prior.condition is None or prior.condition.equals(loaded.condition)


def one_line(raised):
    message = str(raised.value)
    assert "\n" not in message and 20 < len(message) < 250
    return message


def test_indices_that_do_not_fit_are_refused(prior):
    grids, context = every_grid(prior)[:4], context_of(prior, 4)
    for wrong in (
        grids + K,
        grids - 1,
        grids.float(),
        grids.bool(),
        grids[0],
        grids[..., :-1],
        torch.cat([grids, grids], -1),
        torch.tensor(0),
    ):
        for method in (prior.loss, prior.log_prob):
            with pytest.raises(InputError) as raised:
                method(wrong, context)
            assert one_line(raised)


def test_requests_that_do_not_fit_are_refused(prior):
    shape, context = (4, *prior.grid), context_of(prior, 4)
    for known in (
        torch.zeros(3, *prior.grid).long(),
        torch.zeros(4, *prior.grid),
        torch.full(shape, -2),
        torch.full(shape, K),
    ):
        with pytest.raises(InputError) as raised:
            prior.sample(4, context, known=known)
        assert one_line(raised)
    for mask in (torch.ones(shape), torch.ones(3, *prior.grid).bool(), torch.tensor(True)):
        with pytest.raises(InputError) as raised:
            prior.loss(torch.zeros(shape).long(), context, mask)
        assert one_line(raised)


@pytest.mark.parametrize("n", [-1, 2.5, (4,), "4", None])
def test_what_is_no_number_of_samples_is_refused(any_prior, n):
    with pytest.raises(InputError) as raised:
        any_prior.sample(n, context_of(any_prior, 4))
    assert one_line(raised)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"guidance": -1},
        {"guidance": math.nan},
        {"steps": 0},
        {"order": ""},
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense_is_refused(options):
    with pytest.raises(InputError) as raised:
        SamplingConfig(**options)
    assert one_line(raised)


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0}, {"top_k": 2}, {"top_p": 0.5}, {"guidance": 2.0}, {"steps": 1}]
    + [{"order": "random"}],
    ids=str,
)
def test_what_a_prior_cannot_do_it_refuses(any_prior, options):
    condition, option = any_prior.condition, next(iter(options))
    guided = condition is not None and condition.optional
    if option in any_prior.takes and (option != "guidance" or guided):
        assert not torch.equal(draw(any_prior, 60, **options), draw(any_prior, 60))
        return
    with pytest.raises(InputError, match=option) as raised:
        draw(any_prior, 4, **options)
    assert one_line(raised)


def test_masked_positions_change_nothing(prior):
    prior.eval()
    indices = latents_of(prior)
    context = context_of(prior, len(indices))
    mask = torch.rand(indices.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    loss = prior.loss(indices, context, mask)
    others = torch.randint(K, indices.shape).where(~mask, indices)
    assert torch.equal(prior.loss(others, context, mask), loss)
    assert torch.equal(prior.loss(indices.where(mask, -1), context, mask), loss)
    unmasked = prior.loss(indices, context, torch.ones_like(mask))
    torch.testing.assert_close(unmasked, prior.loss(indices, context))
    assert prior.loss(indices, context, torch.zeros_like(mask)).abs() < 1e-12


def test_the_loss_of_what_counts_is_the_mean_over_it(prior):
    """Of grids that count whole or not at all, it is that of the former alone."""
    prior.eval()
    indices = latents_of(prior)
    context = context_of(prior, len(indices))
    counts = torch.arange(len(indices)) % 3 != 0
    mask = counts.view(-1, *[1] * (indices.ndim - 1)).expand(indices.shape)
    alone = prior.loss(indices[counts], None if context is None else context[counts])
    torch.testing.assert_close(prior.loss(indices, context, mask), alone)


def test_each_context_has_its_own_distribution(prior):
    if prior.condition is None:
        assert prior.context_of(None) == (None,) * 4
        return
    prior.eval()
    grids = every_grid(prior)
    one, other = (value.expand(len(grids), *value.shape) for value in context_of(prior, 2))
    score = prior.log_prob if isinstance(prior, TractablePrior) else prior.loss
    assert not torch.allclose(score(grids, one), score(grids, other), atol=1e-4)


def test_stepping_gives_the_logits_of_the_full_pass(prior):
    if not isinstance(prior, AutoregressivePrior):
        pytest.skip("it does not step")
    prior.eval().double()
    follows_the_full_pass(prior, context_of(prior, 3))


def test_guidance_leads_from_none_to_more_of_the_context(prior):
    """0 is without the context, 1 with it, and 20 nearly always what it makes most likelier."""
    if prior.condition is None or not prior.condition.optional:
        pytest.skip("it knows no guidance")
    if "guidance" not in prior.takes:
        pytest.skip("it knows no guidance")
    without = prior.condition.without(context_of(prior, 30))
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(draw(prior, 30, guidance=0), prior.sample(30, without, generator=generator))
    if not isinstance(prior, TractablePrior):
        return
    context, drawn = context_of(prior, 200), draw(prior, 200, guidance=3)
    with torch.no_grad():
        gain = [
            prior.log_prob(grids, context) - prior.log_prob(grids, prior.condition.without(context))
            for grids in (draw(prior, 200, guidance=0), draw(prior, 200), drawn)
        ]
    assert gain[0].mean() < gain[1].mean() < gain[2].mean()


def test_a_share_of_optional_conditions_is_left_out_in_training():
    prior = sharp(PixelCNN(K, (2, 2), OptionalCondition(LABEL, 0.5), hidden=6, layers=2))
    indices, context = torch.randint(K, (40, 2, 2)), torch.arange(40) % 2
    with torch.no_grad():
        null, given = (prior.eval().log_prob(indices, c) for c in (context * 0 - 1, context))
        torch.manual_seed(1)
        found = prior.train().log_prob(indices, context)
    dropped = (found - null).abs() < 1e-6
    assert 8 < dropped.sum() < 32
    torch.testing.assert_close(found, torch.where(dropped, null, given))


def test_a_context_that_does_not_fit_is_refused(prior):
    grids = every_grid(prior)[:4]
    if prior.condition is None:
        wrongs = [torch.zeros(4)]
    else:
        right = context_of(prior, 4)
        wrongs = [None, right[:3], right[:, None], right + 720, right - 719.5]
    for wrong in wrongs:
        for ask in (prior.log_prob, prior.loss):
            with pytest.raises(InputError) as raised:
                ask(grids, wrong)
            assert one_line(raised)
        with pytest.raises(InputError):
            prior.sample(4, wrong)


@pytest.mark.parametrize(
    "family",
    [Uniform, Histogram, PixelCNN, DepthPixelCNN, PixelSNAIL, TransformerPrior, MaskedPrior],
)
def test_impossible_sizes_are_refused(family):
    for size, grid in ((0, (2, 2)), (4, ()), (4, (2, 0))):
        with pytest.raises(InputError) as raised:
            family(size, grid)
        assert one_line(raised)
