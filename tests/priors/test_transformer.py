"""The transformer prior: what each pattern sees, its likelihood, prefixes, and what it learns."""

import itertools
import subprocess
import sys

import pytest
import torch

from smalti.conditions import CoarseTokens, Label, OptionalCondition
from smalti.errors import InputError
from smalti.nn.rotary import rotary_tables
from smalti.priors import SamplingConfig, TransformerPrior
from toy_words import ToyWords
from walks import context_for, follows_the_full_pass, large

ABOVE = CoarseTokens([4, 3], [(1, 2), (2, 2)], Label(["a", "b"]))
WORDS = OptionalCondition(ToyWords(["red", "green", "heart"], 3))
PATTERNS = ["flattened", "parallel", "delayed"]
LAYOUTS = {  # sizes and grid
    "raster": (5, (3, 4)),
    "row": (5, (6,)),
    "depth": (3, (2, 3, 2)),
    "unequal": ((4, 2, 3), (4, 3)),
    "whole grid": ((3, 3, 2, 2), (4,)),
    "one": (5, (1,)),
    "levels": (((3,), (4, 2)), ((1, 2), (2, 2))),
    "scales": (((3,),) * 3, ((), (2,), (4,))),
}


def made(sizes, grid, condition=None, **options):
    options = {"hidden": 16, "layers": 2, "heads": 2, **options}
    return large(TransformerPrior(sizes, grid, condition, **options))


def any_tokens(prior, n):
    sizes = prior.layout.sizes_of_tokens()
    return (torch.rand(n, prior.positions) * sizes).long().view(n, *prior.grid)


def every_grid(prior):
    ranges = map(range, prior.layout.sizes_of_tokens().tolist())
    return torch.tensor(list(itertools.product(*ranges))).view(-1, *prior.grid)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_stepping_gives_the_logits_of_the_full_pass(name, pattern):
    for condition, positions in ((None, "learned"), (ABOVE, "rotary"), (WORDS, "rotary")):
        prior = made(*LAYOUTS[name], condition, pattern=pattern, positions=positions)
        assert sorted(prior.order.tolist()) == list(range(prior.positions))
        follows_the_full_pass(prior, context_for(prior, 3), tokens=any_tokens(prior, 3))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", ["raster", "depth", "unequal"])
def test_a_token_sees_all_of_earlier_steps_and_nothing_else(name, pattern):
    prior = made(*LAYOUTS[name], pattern=pattern)
    positions, depth = prior.positions // len(prior.layout.sizes), len(prior.layout.sizes)
    step = {
        "flattened": lambda p, d: p * depth + d,
        "parallel": lambda p, d: p,
        "delayed": lambda p, d: p + d,
    }[pattern]
    steps = torch.tensor([step(p, d) for p in range(positions) for d in range(depth)])
    first, sizes = any_tokens(prior, 1), prior.layout.sizes_of_tokens()
    before = prior.logits(first).detach().flatten(1, -2)
    for changed in range(prior.positions):
        other = first.flatten(1).clone()
        other[:, changed] = (other[:, changed] + 1) % sizes[changed]
        after = prior.logits(other.view_as(first)).detach().flatten(1, -2)
        moved = (after - before).abs().amax((0, 2)) > 1e-12
        assert torch.equal(moved, steps > steps[changed])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_probabilities_of_unequal_codebooks_sum_to_one_and_samples_follow_them(pattern):
    """Of 3 indices a position: where a delayed one is given what comes later in reading order."""
    torch.manual_seed(0)
    prior = made((3, 2, 2), (2, 3), pattern=pattern).float()
    grids = every_grid(prior)
    p = prior.log_prob(grids).detach().double().exp()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0).double(), atol=1e-5, rtol=0)
    n = 4000
    drawn = prior.sample(n, generator=torch.Generator().manual_seed(1))
    code = torch.tensor([48, 24, 12, 4, 2, 1])  # of a grid, its number among all
    counts = (drawn.flatten(1) * code).sum(1).bincount(minlength=144)
    likely = p * n > 5
    chi2 = ((counts - n * p) ** 2 / (n * p))[likely].sum()
    assert chi2 < likely.sum() + 4 * (2 * likely.sum()) ** 0.5
    known = grids[::3].where(torch.rand(48, 2, 3) < 0.5, -1)
    completed = prior.sample(48, known=known, generator=torch.Generator().manual_seed(1))
    assert torch.equal(completed[known >= 0], known[known >= 0])


def test_finer_levels_see_all_of_the_coarser():
    prior = made(*LAYOUTS["levels"], pattern="delayed")
    assert prior.grid == (10,) and prior.layout.levels == 2
    assert prior.steps.tolist() == [0, 1, 2, 3, 3, 4, 4, 5, 5, 6]
    first = any_tokens(prior, 1)
    other = first.clone()
    other[0, 1] = (other[0, 1] + 1) % 3
    moved = (prior.logits(other) - prior.logits(first)).abs().amax((0, 2)) > 1e-12
    assert moved.tolist() == [False, False] + [True] * 8
    grids = every_grid(made(((2,), (3,)), ((1,), (2,))))
    total = made(((2,), (3,)), ((1,), (2,))).log_prob(grids).exp().sum()
    torch.testing.assert_close(total, torch.ones(()).double())


def test_what_is_completed_follows_what_is_known_before_it():
    prior = made(5, (3, 3))
    known = torch.full((2, 9), -1)
    known[0, 1], known[1, 5] = 4, 0
    known = known.view(2, 3, 3)
    drawn = prior.sample(2, known=known, config=SamplingConfig(temperature=0))
    assert torch.equal(drawn[known >= 0], known[known >= 0])
    best = prior.logits(drawn).argmax(-1)
    assert torch.equal(best[known < 0], drawn[known < 0])


@pytest.mark.parametrize(
    ("pattern", "nats"), [("flattened", 0.7), ("delayed", 0.7), ("parallel", 1.4)]
)
def test_patterns_learn_what_binds_the_indices_of_a_position_or_cannot(pattern, nats):
    """Two indices of a position are one, of 4 random ones: log 4 for both, or for each."""
    torch.manual_seed(0)
    prior = TransformerPrior((4, 4), (3, 2), None, 16, 1, 2, pattern=pattern)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(80):
        indices = torch.randint(4, (64, 3, 1)).expand(-1, -1, 2)
        loss = prior.loss(indices)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert abs(loss.item() - nats) < 0.12


def test_elements_of_a_prefix_that_are_not_there_are_not_felt(monkeypatch):
    prior = made(5, (2, 2), WORDS)
    indices, values = any_tokens(prior, 4), WORDS.draw(4)
    expected = prior.log_prob(indices, values)
    context = WORDS(values)
    assert not context.mask.all()
    longer = context._replace(
        sequence=torch.cat([context.sequence, torch.randn(4, 3, context.sequence.shape[2])], 1),
        mask=torch.cat([context.mask, torch.zeros(4, 3).bool()], 1),
    )
    junk = longer.sequence.where(longer.mask[..., None], 7.0)
    monkeypatch.setattr(prior, "context_of", lambda values: longer._replace(sequence=junk))
    torch.testing.assert_close(prior.log_prob(indices, values), expected)
    for each in (
        prior.logits(indices, values).flatten(1, -2)[:, 0],
        prior.start(4, values).logits(),
    ):
        assert each.isfinite().all()
    nothing = longer._replace(mask=torch.zeros_like(longer.mask))
    monkeypatch.setattr(prior, "context_of", lambda values: nothing)
    assert prior.log_prob(indices, values).isfinite().all()
    assert not torch.allclose(prior.log_prob(indices, values), expected)


def test_rotated_products_depend_on_how_far_apart_places_are():
    q, k = torch.randn(2, 1, 8).double()
    places = torch.tensor([[0.0, 0.0], [3.0, 1.0], [2.5, 4.0], [5.5, 5.0]]).double()
    cos, sin = rotary_tables(places, 8).double()

    def turned(x):
        return x * cos + torch.cat([-x[:, 4:], x[:, :4]], 1) * sin

    products = turned(q) @ turned(k).T
    torch.testing.assert_close(products[0, 1], products[2, 3], atol=1e-6, rtol=0)
    torch.testing.assert_close(products[1, 0], products[3, 2], atol=1e-6, rtol=0)
    assert (products[0, 1] - products[1, 0]).abs() > 1e-3
    torch.testing.assert_close(turned(q).norm(dim=1), q.norm().expand(4), atol=1e-6, rtol=0)


def test_a_seed_gives_the_same_weights_bit_for_bit():
    def weights(seed):
        torch.manual_seed(seed)
        return TransformerPrior((5, 4), (2, 2, 2), ABOVE, hidden=16, layers=2, heads=2).state_dict()

    first, again = weights(3), weights(3)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.layers.0.weight"], weights(4)["head.layers.0.weight"])


def test_a_pickled_prior_draws_in_another_process(tmp_path):
    torch.manual_seed(0)
    prior = TransformerPrior(16, (2, 2), hidden=8, layers=1, heads=2).eval()
    torch.save(prior, tmp_path / "prior.pt")
    script = """
import sys, torch
prior = torch.load(sys.argv[1], weights_only=False)
print(prior.sample(2, generator=torch.Generator().manual_seed(0)).tolist())
"""
    words = [sys.executable, "-c", script, str(tmp_path / "prior.pt")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    drawn = prior.sample(2, generator=torch.Generator().manual_seed(0))
    assert said.strip() == str(drawn.tolist())


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"needs the package transformers, .*smalti\[transformers\]"
    ):
        TransformerPrior(4, (2, 2))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"hidden": 12, "heads": 4}, "multiple of twice the heads"),
        ({"layers": 0}, "at least 1"),
        ({"dropout": 1.0}, "dropout"),
        ({"pattern": "raster"}, "flattened, parallel or delayed"),
        ({"positions": "sine"}, "rotary or learned"),
        ({"grid": (2, 2, 2, 2)}, "takes grids"),
        ({"codebook_size": (4, 4), "grid": ()}, "with Q codebooks"),
        ({"codebook_size": (4, 4), "grid": (2, 3)}, "with Q codebooks"),
        ({"codebook_size": ((4,), (4,))}, "lists of lists"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, says):
    with pytest.raises(InputError, match=says) as raised:
        TransformerPrior(**{"codebook_size": 4, "grid": (2,), **arguments})
    assert "\n" not in str(raised.value)


def test_an_index_above_its_own_codebook_is_refused():
    prior = made((4, 2), (3, 2))
    for wrong, says in ((3, "below the sizes of their codebooks"), (4, "to 3, got")):
        indices = torch.zeros(1, 3, 2).long()
        indices[0, 1, 1] = wrong
        for ask in (prior.log_prob, prior.loss, lambda q: prior.sample(1, known=q)):
            with pytest.raises(InputError, match=says):
                ask(indices)
    torch.manual_seed(0)
    assert prior.loss_of_noisy(any_tokens(prior, 8), None, 0.9).isfinite()
