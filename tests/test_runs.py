"""A run directory knows its own recipe, also after smalti has learned new fields."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml

from smalti.errors import InputError
from smalti.recipes import schema
from smalti.run_recipe import check_recipe, recipe_of
from smalti.runs import Run
from tiny import clocks_recipe


def resolved(recipe: dict) -> dict:
    """All fields of a recipe."""
    return yaml.safe_load(schema.dump(schema.parsed(recipe)))


def run_of(folder: Path, config: dict) -> Run:
    """A run that has got no further than its configuration."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return Run(folder)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("tokenizer.level_dropout", 0.3),
        ("tokenizer.quantizer.init_args.kmeans_iterations", 3),
        ("prior.model.init_args.dropout", 0.5),
        ("seed", 7),
    ],
)
def test_a_field_that_a_run_lacks_has_its_default(tmp_path, field, other):
    *parts, name = field.split(".")
    old, changed = resolved(clocks_recipe()), resolved(clocks_recipe())
    reduce(getitem, parts, changed)[name] = other
    del reduce(getitem, parts, old)[name]
    run = run_of(tmp_path, old)
    check_recipe(run, schema.parsed(clocks_recipe()))
    with pytest.raises(InputError, match=f"{field} is .* there and {other} here"):
        check_recipe(run, schema.parsed(changed))


def test_a_field_that_is_no_longer_there_is_another_recipe(tmp_path):
    run = run_of(tmp_path, {**resolved(clocks_recipe()), "colour": "red"})
    with pytest.raises(InputError, match="colour is red there and None here"):
        check_recipe(run, schema.parsed(clocks_recipe()))


def test_where_and_how_much_may_change(tmp_path):
    recipe = clocks_recipe()
    run = run_of(tmp_path, resolved(recipe))
    changed = {**recipe, "hardware": {"workers": 1}, "evaluation": {"samples": 8}}
    check_recipe(run, schema.parsed(changed))


def test_what_is_null_in_a_recipe_is_null_in_its_run(tmp_path):
    """Also where another value is the default."""
    recipe = clocks_recipe()
    recipe["data"]["init_args"]["length"] = None
    recipe["tokenizer"]["quantizer"]["init_args"]["dead_code_reset"] = None
    run = run_of(tmp_path, resolved(recipe))
    again = recipe_of(run)
    assert again.data.length is None
    assert again.tokenizer.quantizer.dead_code_reset is None
    check_recipe(run, schema.parsed(recipe))
    with pytest.raises(InputError, match="data.init_args.length is None there and 48 here"):
        check_recipe(run, schema.parsed(clocks_recipe()))
