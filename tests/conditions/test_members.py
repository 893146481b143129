"""Labels and times: read, written, checked, and turned into features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalti.conditions import CoarseTokens, Conditions, Label, OptionalCondition, TimeOfDay
from smalti.errors import InputError

ANIMALS = Label(["cat", "dog", "fish", "0"])
TIME = TimeOfDay()
ABOVE = CoarseTokens([300, 5], [(2, 1), (2, 3, 2)], ANIMALS)


@given(st.integers(0, 719))
def test_a_time_survives_writing_and_reading(minutes):
    assert TIME.parse(TIME.format(minutes)) == minutes


@given(st.integers(0, 23), st.integers(0, 59))
def test_the_dial_does_not_know_morning_from_evening(hours, minutes):
    text = f"{hours:02d}:{minutes:02d}"
    assert TIME.parse(text) == TIME.parse(f"{hours % 12}:{minutes:02d}") < 720


@pytest.mark.parametrize("text", ["25:00", "24:00", "10:60", "1010", "", "-1:00", "10:1", "ten"])
def test_a_time_that_does_not_exist_is_refused_in_one_line(text):
    with pytest.raises(InputError, match="from 00:00 to 23:59") as error:
        TIME.parse(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [-1.0, 720.0, float("nan"), float("inf")])
def test_minutes_off_the_dial_are_refused(value):
    TIME.check(torch.tensor([0.0, 719.5]))
    with pytest.raises(InputError, match="below 720"):
        TIME.check(torch.tensor([0.0, value]))


def test_features_of_times_go_around_the_dial_and_tell_all_minutes_apart():
    features = TIME(torch.arange(720)).vector
    assert features.shape == (720, TIME.dim)
    assert features.dtype == torch.float32
    step = (features - features.roll(1, 0)).norm(dim=1)  # the last step leads over 12 o'clock
    torch.testing.assert_close(step, step[:1].expand_as(step), rtol=1e-4, atol=1e-5)
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    assert distances.min() > 0.5 * step[0]


def test_features_of_labels_are_one_hot():
    torch.testing.assert_close(ANIMALS(torch.arange(4)).vector, torch.eye(4))


def test_a_name_comes_before_a_number():
    assert [ANIMALS.parse(text) for text in ("cat", "2", "0", " dog ")] == [0, 2, 3, 1]
    assert [ANIMALS.parse(ANIMALS.format(k)) for k in range(4)] == [0, 1, 2, 3]


def test_a_number_never_gives_a_label_that_is_called_otherwise_by_a_number():
    mixed = Label(["7", "10", "cat", "dog"])
    assert [mixed.parse(text) for text in ("7", "10", "cat", "2", "3")] == [0, 1, 2, 2, 3]
    for text, name in (("0", "'7'"), ("1", "'10'")):
        with pytest.raises(InputError, match=f"no label '{text}', and .* is called {name}"):
            mixed.parse(text)


@pytest.mark.parametrize("text", ["cow", "4", "-1", "", "1.0"])
def test_a_label_that_does_not_exist_is_refused_in_one_line(text):
    with pytest.raises(InputError, match="from 0 to 3") as error:
        ANIMALS.parse(text)
    assert "\n" not in str(error.value)


def test_a_misspelt_label_is_told_its_neighbours():
    with pytest.raises(InputError, match="one of fish"):
        ANIMALS.parse("fisch")


@pytest.mark.parametrize("values", [[4], [0, -1], [1.0], [[0]], [True]])
def test_values_that_are_no_labels_are_refused(values):
    with pytest.raises(InputError):
        ANIMALS.check(torch.tensor(values))


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_labels_have_names_that_differ(names):
    with pytest.raises(InputError, match="no name twice"):
        Label(names)


@pytest.mark.parametrize("given_above", [None, ANIMALS, TIME])
def test_grids_above_joined_and_split_are_the_same(given_above):
    above = CoarseTokens([300, 5], [(2, 1), (2, 3, 2)], given_above)
    generator = torch.Generator().manual_seed(0)
    grids = [torch.randint(300, (4, 2, 1), generator=generator), torch.randint(5, (4, 2, 3, 2))]
    value = None if given_above is None else given_above.draw(4, generator)
    values = above.pack(grids, value)
    assert values.shape == (4, *above.shape) and values.dtype == above.dtype
    assert torch.equal(values[:, :2], grids[0].flatten(1).double())  # coarse to fine
    split, rest = above.unpack(values)
    assert all(torch.equal(*pair) for pair in zip(split, grids, strict=True))
    if value is None:
        assert rest is None
    else:
        assert torch.equal(rest, value) and rest.dtype == value.dtype


def test_grids_above_are_a_map_beside_the_vector_of_their_own_condition():
    above = CoarseTokens([2, 3], [(1,), (1, 2)], ANIMALS)
    context = above(torch.tensor([[1, 0, 2, 3]], dtype=above.dtype))
    assert [grid.tolist() for grid in context.map] == [[[1]], [[[0, 2]]]]
    assert context.vector.tolist() == [[0, 0, 0, 1]]
    assert CoarseTokens([2], [(1,)])(torch.ones(3, 1)).vector is None


def test_what_is_at_most_five_minutes_off_shows_the_time():
    asked = torch.tensor([0.0, 0.0, 0.0, 610.0])
    assert TIME.matches(asked, torch.tensor([5.0, 715.0, 714.9, 616.0])).tolist() == [1, 1, 0, 0]
    assert ANIMALS.matches(torch.tensor([1, 1]), torch.tensor([1, 2])).tolist() == [1, 0]


@pytest.mark.parametrize(
    "place, value", [(0, 300), (0, -1), (2, 5), (2, 0.5), (0, float("nan")), (-1, 4), (-1, 0.5)]
)
def test_values_that_are_no_grids_above_are_refused_in_one_line(place, value):
    values = ABOVE.draw(3)
    values[1, place] = value
    with pytest.raises(InputError) as error:
        ABOVE.check(values)
    assert "\n" not in str(error.value)
    for wrong in (ABOVE.draw(2)[:, 1:], ABOVE.draw(2)[0], torch.zeros(2, *ABOVE.shape).bool()):
        with pytest.raises(InputError, match="pack"):
            ABOVE.check(wrong)


@pytest.mark.parametrize(
    "arguments",
    [([], []), ([4], [(2,), (2,)]), ([4], [()]), ([0], [(2,)]), ([4], [(2, 0)]), ([4], [(1,) * 4])],
)
def test_impossible_grids_above_are_refused(arguments):
    with pytest.raises(InputError) as error:
        CoarseTokens(*arguments)
    assert "\n" not in str(error.value)


def test_grids_that_are_not_those_above_are_not_joined():
    right = [torch.zeros(3, 2, 1).long(), torch.zeros(3, 2, 3, 2).long()]
    for grids, value in (
        (right[:1], ANIMALS.draw(3)),
        (right[::-1], ANIMALS.draw(3)),
        (right, None),
    ):
        with pytest.raises(InputError, match="coarse to fine") as error:
            ABOVE.pack(grids, value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="list all of them"):
        CoarseTokens([4], [(2,)], ABOVE)


def test_several_conditions_are_a_mapping_of_names():
    colour, both = Label(["red", "blue"], "colour"), Conditions([ANIMALS, TIME])
    assert Conditions([ANIMALS, colour]).name == "label and colour"
    values = {"label": torch.tensor([1, 3]), "time": torch.tensor([0.5, 719.0])}
    rows = both.pack(values)
    assert rows.tolist() == [[1, 0.5], [3, 719]]
    found = both.unpack(rows)
    assert all(torch.equal(found[name], values[name]) for name in values)
    assert found["label"].dtype == torch.int64
    vector = torch.cat([ANIMALS(values["label"]).vector, TIME(values["time"]).vector], 1)
    assert torch.equal(both(rows).vector, vector)
    near, far = torch.tensor([[1, 4.5], [3, 719]]), torch.tensor([[1, 6.5], [2, 719]])
    assert both.matches(rows, near.double()).all()
    assert not both.matches(rows, far.double()).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conditions([]),
        lambda: Conditions([ANIMALS, ANIMALS]),
        lambda: Label(["a"], "two words"),
        lambda: Label(["a"], "--seed"),
        lambda: OptionalCondition(ANIMALS, 0.0),
        lambda: OptionalCondition(ANIMALS, 1.0),
        lambda: OptionalCondition(OptionalCondition(ANIMALS)),
        lambda: Conditions([ANIMALS, TIME]).pack({"label": torch.tensor([1])}),
        lambda: Conditions([ANIMALS, TIME]).parse("label=dog"),
        lambda: Conditions([ANIMALS, TIME]).parse("label=dog, time=10:10, label=cat"),
        lambda: Conditions([ANIMALS, TIME]).parse("dog"),
        lambda: Conditions([ANIMALS, TIME]).check(torch.tensor([[0.5, 3]])),
        lambda: ABOVE.parse("1 2 3"),
    ],
)
def test_impossible_conditions_are_refused_in_one_line(make):
    with pytest.raises(InputError) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_share_is_left_out_in_training_and_none_in_evaluation():
    condition = OptionalCondition(ANIMALS, 0.25)
    values = ANIMALS.draw(4000, torch.Generator().manual_seed(0))
    dropped = (condition.train()(values).vector.sum(1) == 0).double().mean()
    assert abs(dropped - 0.25) < 0.03
    assert torch.equal(condition.eval()(values).vector, ANIMALS(values).vector)


def test_of_several_only_what_may_be_left_out_is():
    both = Conditions([OptionalCondition(ANIMALS), TIME])
    assert both.optional
    assert both.without(torch.tensor([[2.0, 30.0]])).tolist() == [[-1, 30]]
    above = CoarseTokens([4], [(2,)], both)
    assert above.without(torch.tensor([[3.0, 0.0, 2.0, 30.0]])).tolist() == [[3, 0, -1, 30]]
    assert not CoarseTokens([4], [(2,)], ANIMALS).optional
