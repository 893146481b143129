"""Labels and times: read, written, checked, and turned into features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalti.artifacts import build, describe
from smalti.data import Label, TimeOfDay
from smalti.errors import InputError

ANIMALS = Label(["cat", "dog", "fish", "0"])
TIME = TimeOfDay()


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
    features = TIME(torch.arange(720))
    assert features.shape == (720, TIME.dim)
    assert features.dtype == torch.float32
    step = (features - features.roll(1, 0)).norm(dim=1)  # the last step leads over 12 o'clock
    torch.testing.assert_close(step, step[:1].expand_as(step), rtol=1e-4, atol=1e-5)
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    assert distances.min() > 0.5 * step[0]


def test_features_of_labels_are_one_hot():
    torch.testing.assert_close(ANIMALS(torch.arange(4)), torch.eye(4))


def test_a_name_comes_before_a_number():
    assert [ANIMALS.parse(text) for text in ("cat", "2", "0", " dog ")] == [0, 2, 3, 1]
    assert [ANIMALS.parse(ANIMALS.format(k)) for k in range(4)] == [0, 1, 2, 3]


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


@pytest.mark.parametrize("condition", [ANIMALS, TIME])
def test_conditions_are_saved_as_json(condition):
    assert build(describe(condition)) == condition
