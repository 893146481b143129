"""`smalti fit`: from data to a tokenizer, a prior, samples and a report."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from jsonargparse import Namespace

from smalti import recipes, runs
from smalti.commands.common import data_overrides, print_log
from smalti.commands.evaluate import check_report_output, write_report
from smalti.commands.ids import summarise_ids
from smalti.data.source import FOUND
from smalti.errors import InputError
from smalti.ids import IdTable
from smalti.outputs import check_output
from smalti.recipes import schema
from smalti.recipes.first_stages import keep_first_stages
from smalti.training.processes import is_first

__all__ = ["run"]

USAGE = """\
usage: smalti fit RECIPE_OR_YAML [--data PATH] [--out RUN] [--overwrite] [--changed_data HOW]
                  [--extend] [--tokenizer_from RUN] [--stages Q] [--any.key value ...]

Learns a tokenizer and a prior from data, draws samples and writes the report. What was learned
in RUN is not learned again; a fit that was interrupted goes on with the same command.

  RECIPE_OR_YAML   a recipe by its name (smalti recipes lists them), or a YAML file
  --data PATH      the data: a folder, a parquet, IDX files, or a name on the Hugging Face hub
  --out RUN        the run directory (default: runs/NAME)
  --overwrite      replace a report in RUN that smalti did not write, too
  --changed_data   where the data are not those that RUN was made from: refuse (default); ignore, to
                   go on with those alone; accept, to learn from what there is now, where what was
                   there keeps its split
  --extend         take more steps in a RUN that took fewer (tokenizer.training.steps, prior…): what
                   is learned goes on from its last saved state, and what follows from it is
                   learned anew
  --tokenizer_from a run of the same data, tokenizer and seed: its tokenizer and tokens are copied,
                   so that only the prior is learned, e.g. another one
  --stages Q       keep the first Q stages of the recipe's residual quantizer, for a lower bit rate;
                   with --tokenizer_from those of a tokenizer that has more

Any field of the recipe can be given as a dotted option:
"""


def run(words: Sequence[str]) -> int:
    """Parses the command line, trains what the recipe says, and writes samples and a report.

    Returns:
        The exit status.
    """
    rest = list(words)
    if {"-h", "--help"} & set(rest):
        print(USAGE)
        schema.parser().print_help()
        return 0
    recipe = rest.pop(0) if rest else ""
    if not recipe or recipe.startswith("-"):
        raise InputError(
            f"smalti fit takes a recipe first, got {recipe or 'nothing'}: "
            f"name one of {', '.join(recipes.names())}, or a YAML."
        )
    overwrite = "--overwrite" in rest
    extend = "--extend" in rest
    rest = [word for word in rest if word not in ("--overwrite", "--extend")]
    out = _take(rest, "--out")
    data = _take(rest, "--data")
    tokenizer_from = _take(rest, "--tokenizer_from")
    stages = _take(rest, "--stages")
    changed = _take(rest, "--changed_data") or "refuse"
    folder = check_output(f"runs/{recipes.find(recipe).stem}" if out is None else out, folder=True)
    check_report_output(folder, overwrite)
    config = schema.read(recipe, [*rest, *data_overrides(data)])
    if stages is not None:
        config = _with_stages(config, stages)
    with print_log(FOUND):
        finished, splits = runs.fit(
            config, folder, changed_data=changed, extend=extend, tokenizer_from=tokenizer_from
        )
    if finished.ids.exists() and is_first():
        print(f"IDs: {finished.ids}: {summarise_ids(IdTable.read(finished.ids))}")
    return write_report(finished, splits, overwrite) if is_first() else 0


def _with_stages(config: Namespace, stages: str) -> Namespace:
    """Keeps the first stages of the quantizer of a recipe."""
    if not stages.isdecimal():
        raise InputError(f"--stages is a number of stages, got {stages}: give e.g. 4.")
    return schema.parsed(keep_first_stages(yaml.safe_load(schema.dump(config)), int(stages)))


def _take(words: list[str], option: str) -> str | None:
    """Takes `option VALUE` or `option=VALUE` out of `words`."""
    for place, word in enumerate(words):
        if word == option:
            if place + 1 == len(words):
                raise InputError(
                    f"The option {option} takes a value, got none: write {option} VALUE."
                )
            value = words[place + 1]
            del words[place : place + 2]
            return value
        if word.startswith(f"{option}="):
            del words[place]
            return word.removeprefix(f"{option}=")
    return None
