"""The laws that every condition keeps. A new condition joins by a line in CONDITIONS."""

from __future__ import annotations

import copy

import pytest
import torch

from smalti.artifacts import build, describe, load_model, registered, save_model
from smalti.conditions import (
    Caption,
    CoarseTokens,
    Condition,
    Conditions,
    Context,
    Label,
    OptionalCondition,
    TimeOfDay,
)
from smalti.errors import InputError
from smalti.priors import DepthPixelCNN, Histogram, PixelCNN, PixelSNAIL, TractablePrior
from smalti.ranges import RANGES
from toy_words import ToyWords

ANIMALS = ["cat", "dog", "fish", "0"]
COLOURS = ["red", "blue", "green"]

CONDITIONS = {
    "label": lambda: Label(ANIMALS),
    "named label": lambda: Label(ANIMALS, "animal"),
    "one label": lambda: Label(["only"]),
    "time": lambda: TimeOfDay(),
    "optional label": lambda: OptionalCondition(Label(ANIMALS), 0.2),
    "optional time": lambda: OptionalCondition(TimeOfDay()),
    "grids above": lambda: CoarseTokens([300, 5], [(2, 1), (2, 3, 2)]),
    "grids above a label": lambda: CoarseTokens([3], [(3,)], Label(ANIMALS)),
    "grids above several": lambda: CoarseTokens([3], [(3,)], several()),
    "optional grids above": lambda: OptionalCondition(CoarseTokens([3], [(3,)], TimeOfDay())),
    "several": lambda: several(),
    "several of which one is optional": lambda: Conditions(
        [OptionalCondition(Label(ANIMALS)), TimeOfDay()]
    ),
    "several with a grid": lambda: Conditions([CoarseTokens([3], [(2, 2)]), TimeOfDay()]),
    "caption": lambda: Caption.learned(COLOURS * 2),  # a token each
    "optional caption": lambda: OptionalCondition(Caption.learned(COLOURS * 2), 0.2),
    "words": lambda: ToyWords(COLOURS, 3),
    "optional words": lambda: OptionalCondition(ToyWords(COLOURS, 3), 0.2),
    "words and a label": lambda: Conditions([ToyWords(COLOURS, 3), Label(ANIMALS)]),
    "words twice": lambda: Conditions([ToyWords(COLOURS, 3), ToyWords(COLOURS, 2, "mood")]),
    "grids above words": lambda: CoarseTokens([3], [(3,)], ToyWords(COLOURS, 2)),
}


def several() -> Conditions:
    return Conditions([Label(ANIMALS), Label(["red", "blue"], "colour"), TimeOfDay()])


@pytest.fixture(params=CONDITIONS)
def condition(request) -> Condition:
    return CONDITIONS[request.param]().eval()


def drawn(condition: Condition, n: int = 40) -> torch.Tensor:
    return condition.draw(n, torch.Generator().manual_seed(0))


def nulls(condition: Condition, n: int = 1) -> torch.Tensor:
    return condition.null.expand(n, *condition.shape)


def flat(context: Context) -> torch.Tensor:
    """All that a context holds, (B, ...)."""
    parts = [context.vector, context.sequence, context.mask, *(context.map or ())]
    return torch.cat([part.double().flatten(1) for part in parts if part is not None], 1)


def test_what_is_drawn_exists_and_the_generator_decides(condition):
    values = drawn(condition)
    assert values.shape == (40, *condition.shape) and values.dtype == condition.dtype
    condition.check(values)
    assert torch.equal(values, drawn(condition))
    assert not condition.is_null(values).any()


def test_every_value_is_read_as_it_is_written(condition):
    for value in drawn(condition).tolist():
        assert condition.parse(condition.format(value)) == value
        assert "\n" not in condition.format(value)


def test_a_context_is_as_large_as_it_says_and_tells_values_apart(condition):
    values = drawn(condition)
    context, sizes = condition(values), condition.sizes
    if sizes.vector:
        assert context.vector.shape == (40, sizes.vector)
        assert context.vector.dtype == torch.float32
    else:
        assert context.vector is None
    assert (context.sequence is not None) == bool(sizes.sequence) == (context.mask is not None)
    if context.sequence is not None:
        length = context.mask.shape[1]
        assert context.sequence.shape == (40, length, sizes.sequence)
        assert context.sequence.dtype == torch.float32 and context.mask.dtype == torch.bool
        assert (context.sequence[~context.mask] == 0).all()
    assert [tuple(grid.shape[1:]) for grid in context.map or ()] == [g.grid for g in sizes.map]
    for grid, size in zip(context.map or (), sizes.map, strict=True):
        assert grid.dtype == torch.int64
        assert 0 <= grid.min() <= grid.max() < size.codebook_size
    assert len(flat(context).unique(dim=0)) == len(values.unique(dim=0))


def test_a_value_s_context_does_not_depend_on_the_others(condition):
    values = drawn(condition)
    alone = torch.cat([flat(condition(value[None])) for value in values])
    assert torch.equal(flat(condition(values)), alone)
    assert torch.equal(flat(condition(values[:0])), alone[:0])


def test_null_has_a_context_that_no_value_has(condition):
    null = condition(nulls(condition, 2))
    assert condition.null.dtype == condition.dtype and condition.null.shape == condition.shape
    assert flat(null).isfinite().all()
    if null.vector is not None:
        assert (null.vector == 0).all()
    assert null.mask is None or not null.mask.any()
    assert all((grid == -1).all() for grid in null.map or ())
    assert not (flat(condition(drawn(condition))) == flat(null)[:1]).all(1).any()
    assert condition.is_null(nulls(condition, 2)).all()


def test_null_is_a_value_where_the_condition_may_be_left_out(condition):
    if isinstance(condition, OptionalCondition):
        condition.check(torch.cat([nulls(condition), drawn(condition)]))
        assert condition.parse(condition.format(condition.null.tolist())) == (
            condition.null.tolist()
        )
        assert condition.matches(nulls(condition, 40), drawn(condition)).all()
    else:
        with pytest.raises(InputError) as error:
            condition.check(nulls(condition))
        assert "\n" not in str(error.value)


def test_what_may_be_left_out_is_and_the_rest_stays(condition):
    values = drawn(condition)
    without = condition.without(values)
    assert without.shape == values.shape and without.dtype == values.dtype
    condition.check(without)
    assert torch.equal(without, values) != condition.optional
    assert torch.equal(condition.without(without), without)


def test_a_value_shows_itself_and_is_at_no_distance(condition):
    values = drawn(condition)
    others = values.roll(1, 0)
    assert condition.matches(values, values).all()
    assert (condition.distance(values, values) == 0).all()
    apart = condition.distance(values, others)
    assert apart.shape == (40,) and (apart >= 0).all()
    assert torch.equal(apart, condition.distance(others, values))
    same = (values == others).flatten(1).all(1) if condition.shape else values == others
    assert torch.equal(apart == 0, same)
    assert torch.equal(condition.distance(values, values[:1])[:1], torch.zeros(1))
    assert condition.matches(values[:1], values).dtype == torch.bool


def test_it_is_saved_as_json_and_as_a_model(condition, tmp_path):
    assert condition.equals(build(describe(condition)))
    save_model(condition, tmp_path / "condition")
    loaded = load_model(tmp_path / "condition")
    assert loaded.equals(condition) and not loaded.training
    values = drawn(condition)
    assert torch.equal(flat(loaded(values)), flat(condition(values)))
    assert copy.deepcopy(condition).equals(condition)
    others = [CONDITIONS[name]() for name in CONDITIONS]
    assert sum(condition.equals(other) for other in others) == 1


def test_its_name_and_its_words_are_one_line(condition):
    assert condition.name and "\n" not in condition.name + condition.help + repr(condition)


def test_wrong_values_are_refused_in_one_line(condition):
    values = drawn(condition)
    for wrong in (values - 5000, values + 5000, values[None], values * torch.nan, values.bool()):
        with pytest.raises(InputError) as error:
            condition.check(wrong)
        assert "\n" not in str(error.value)
    for text in ("", "no such thing", "99:99", "-1", "1,1"):
        with pytest.raises(InputError) as error:
            condition.parse(text)
        assert "\n" not in str(error.value)


def test_priors_take_it(condition, tmp_path):
    torch.manual_seed(0)
    values, indices = drawn(condition, 6), torch.randint(4, (6, 2, 3))
    histogram = Histogram(4, (2, 3), condition)
    histogram.fit(indices, values)
    assert histogram.log_prob(indices, values).isfinite().all()
    if condition.sizes.sequence:
        return  # `test_priors_that_take_no_sequence_refuse_it`
    prior = PixelCNN(4, (2, 3), condition.train(), hidden=6, layers=1)
    prior.loss(indices, values).backward()
    assert all(weight.grad is not None for weight in prior.parameters())
    save_model(prior.eval(), tmp_path / "prior")
    loaded = load_model(tmp_path / "prior")
    assert torch.equal(loaded.log_prob(indices, values), prior.log_prob(indices, values))
    assert loaded.condition.equals(condition)


@pytest.mark.parametrize("prior", [PixelCNN, PixelSNAIL, DepthPixelCNN])
@pytest.mark.parametrize("name", [n for n in CONDITIONS if "words" in n or "caption" in n])
def test_priors_that_take_no_sequence_refuse_it(prior, name):
    condition = CONDITIONS[name]()
    grid = (2, 3, 2) if prior is DepthPixelCNN else (2, 3)
    line = (
        f"A convolutional prior takes vectors and grids, got the sequence of a {condition.name}: "
        f"choose a prior that attends to sequences, or learn it without a condition."
    )
    with pytest.raises(InputError) as error:
        prior(4, grid, condition)
    assert str(error.value) == line


@registered
class Attending(TractablePrior):
    """Makes the indices likely that the words of a sequence name, of which it sees no more."""

    def __init__(self, codebook_size, grid, condition=None):
        super().__init__(codebook_size, grid, condition)
        self.table = torch.nn.Linear(condition.sizes.sequence, codebook_size, bias=False)

    def _log_prob(self, indices, context, mask):
        given = self.context_of(context)
        each = self.table(given.sequence) * given.mask[..., None]
        log_p = (each.sum(1) / given.mask.sum(1, keepdim=True).clamp(min=1)).log_softmax(-1)
        log_p = log_p.gather(1, indices.flatten(1))
        return (log_p if mask is None else log_p * mask.flatten(1)).sum(1)

    def _sample(self, n, context, known, config, generator):
        raise NotImplementedError


@pytest.mark.parametrize("name", [name for name in CONDITIONS if "words" in name])
def test_a_prior_that_takes_sequences_sees_them_whole(name, tmp_path):
    prior = Attending(3, (2,), CONDITIONS[name]()).eval()
    values = drawn(prior.condition, 6)
    indices = torch.randint(3, (6, 2))
    prior.loss(indices, values).backward()
    assert prior.table.weight.grad.any()
    assert len(prior.log_prob(indices[:1].expand(6, 2), values).unique()) > 1
    save_model(prior, tmp_path / "prior")
    loaded = load_model(tmp_path / "prior")
    assert torch.equal(loaded.log_prob(indices, values), prior.log_prob(indices, values))


def test_the_probability_of_leaving_out_has_a_range():
    assert "dropout" in RANGES
