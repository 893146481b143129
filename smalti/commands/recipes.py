"""`smalti recipes`: the worked problems that come with smalti."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from smalti import recipes

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Lists the recipes, or prints one."""
    parser = ArgumentParser(prog="smalti recipes", exit_on_error=False, description=run.__doc__)
    parser.add_argument("recipe", nargs="?", help="Print this one, to start a YAML of one's own.")
    options = parser.parse_args(list(words))
    if options.recipe:
        print(recipes.find(options.recipe).read_text(encoding="utf-8"), end="")
        return
    width = max(map(len, recipes.names()))
    for name in recipes.names():
        print(f"{name:{width}}  {recipes.summary(name)}")
