"""`smalti recipes`: lists and prints the recipes that come with smalti."""

from __future__ import annotations

from argparse import HelpFormatter
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from smalti import recipes

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Lists the recipes that come with smalti, or prints the one that is named."""
    parser = ArgumentParser(
        prog="smalti recipes",
        exit_on_error=False,
        description=run.__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", help="The one to print: the start of your own YAML.")
    options = parser.parse_args(list(words))
    if options.recipe:
        print(recipes.find(options.recipe).read_text(encoding="utf-8"), end="")
        return
    width = max(map(len, recipes.names()))
    for name in recipes.names():
        print(f"{name:{width}}  {recipes.summary(name)}")
