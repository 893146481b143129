"""Figures: how they are shown, and that they fit into strict JSON."""

import json
import math

import pytest

from smalti.reporting.figures import display, figure, protocols, replace_infinite


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_values_that_are_not_finite_become_null_with_a_note(value):
    tree = replace_infinite({"rate": {"histogram": figure(value, "bits", "test set")}})
    text = json.dumps(tree, allow_nan=False)
    branch = json.loads(text)["rate"]["histogram"]
    assert branch["value"] is None
    assert branch["note"] in ("infinite", "not a number")
    assert branch["protocol"] == "test set"


def test_finite_values_stay_as_they_are():
    tree = {"codebook": {"usage": figure(0.5, "share", "test set")}}
    assert replace_infinite(tree) == tree


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1.0, "share", "100.0 %"),
        (9.0, "bits", "9.000 bits"),
        (2304.0, "bits", "2 304 bits"),
        (0.0, "bits", "0.000 bits"),
        (math.nan, "dB", "not a number"),
        (-math.inf, "nats", "−∞"),
    ],
)
def test_display(value, unit, shown):
    assert display(figure(value, unit, "")).replace("\u202f", " ") == shown


def test_each_protocol_is_named_once_in_order():
    tree = {"b": {"x": figure(1, "", "two")}, "a": figure(1, "", "one"), "c": figure(2, "", "two")}
    assert protocols(tree) == ["two", "one"]
