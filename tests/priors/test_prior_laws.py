"""Laws that every prior keeps."""

import itertools
import math

import pytest
import torch
from torch import nn

from smalti.artifacts import load_model, save_model
from smalti.conditions import CoarseTokens, Label, TimeOfDay
from smalti.errors import InputError
from smalti.priors import DepthPixelCNN, Histogram, PixelCNN, PixelSNAIL, Prior, Uniform

K = 3
LABEL = Label(["cat", "dog"])
ABOVE = CoarseTokens([4, 2], [(1, 1), (1, 2)], LABEL)


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


def context_of(prior, batch):
    if isinstance(prior.condition, Label):
        return torch.arange(batch) % 2
    if isinstance(prior.condition, TimeOfDay):
        return 100.0 * (torch.arange(batch) % 2)
    if isinstance(prior.condition, CoarseTokens):
        two = prior.condition.draw(2, torch.Generator().manual_seed(2))
        return two[torch.arange(batch) % 2]
    return None


PRIORS = {
    "uniform": lambda: Uniform(K, (2, 2)),
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
}


@pytest.fixture(params=PRIORS)
def prior(request):
    return PRIORS[request.param]()


def every_grid(prior):
    grids = itertools.product(range(prior.codebook_size), repeat=prior.positions)
    return torch.tensor(list(grids)).view(-1, *prior.grid)


def draw(prior, n, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    context = context_of(prior, n)
    return prior.sample((n, *prior.grid), context, generator=generator, **options)


def test_probabilities_sum_to_one(prior):
    grids = every_grid(prior)
    for value in (None,) if prior.condition is None else context_of(prior, 2):
        context = None if value is None else value.expand(len(grids), *value.shape)
        total = prior.eval().log_prob(grids, context).double().exp().sum()
        torch.testing.assert_close(total, torch.tensor(1.0).double(), atol=1e-5, rtol=0)


def test_the_loss_is_the_mean_negative_log_probability_an_index(prior):
    prior.eval()
    grids = every_grid(prior)[::5]
    context = context_of(prior, len(grids))
    expected = -prior.log_prob(grids, context).mean() / prior.positions
    torch.testing.assert_close(prior.loss(grids, context), expected)


def test_a_batch_is_scored_as_its_grids_are_alone(prior):
    prior.eval()
    grids, context = every_grid(prior)[::9], context_of(prior, 9)
    alone = [
        prior.log_prob(grids[i : i + 1], None if context is None else context[i : i + 1])
        for i in range(len(grids))
    ]
    torch.testing.assert_close(prior.log_prob(grids, context), torch.cat(alone))


def test_samples_are_grids_of_indices(prior):
    samples = draw(prior, 7)
    assert samples.shape == (7, *prior.grid) and samples.dtype == torch.int64
    assert ((samples >= 0) & (samples < K)).all()
    assert draw(prior, 0).shape == (0, *prior.grid)


def test_the_generator_decides_and_nothing_else_does(prior):
    torch.manual_seed(1)
    first, state = draw(prior, 20), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, draw(prior, 20))
    assert not torch.equal(first, draw(prior, 20, seed=3))
    torch.manual_seed(1)
    draw(prior, 20)
    assert torch.equal(torch.get_rng_state(), state)


def test_temperature_zero_needs_no_luck(prior):
    assert torch.equal(draw(prior, 6, temperature=0), draw(prior, 6, seed=1, temperature=0))
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


def test_sampling_leaves_the_mode_as_it_was(prior):
    prior.train()
    prior.extra = nn.Dropout().eval()
    draw(prior, 2)
    assert prior.training and not prior.extra.training


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
    for options in (
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"known": torch.zeros(3, *prior.grid).long()},
        {"known": torch.zeros(4, *prior.grid)},
        {"known": torch.full(shape, -2)},
        {"known": torch.full(shape, K)},
    ):
        with pytest.raises(InputError) as raised:
            prior.sample(shape, context, **options)
        assert one_line(raised)
    for wrong in ((4,), (), (4, *prior.grid, 1), (-1, *prior.grid), (4, 7, 7)):
        with pytest.raises(InputError) as raised:
            prior.sample(wrong, context)
        assert one_line(raised)


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
            prior.sample((4, *prior.grid), wrong)


@pytest.mark.parametrize("family", [Uniform, Histogram, PixelCNN, DepthPixelCNN, PixelSNAIL])
def test_impossible_sizes_are_refused(family):
    for size, grid in ((0, (2, 2)), (4, ()), (4, (2, 0))):
        with pytest.raises(InputError) as raised:
            family(size, grid)
        assert one_line(raised)
