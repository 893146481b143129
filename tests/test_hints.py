"""A hint names a command that exists, an option that it has, and a field that a recipe has."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from jsonargparse import Namespace
from PIL import Image

import smalti
from smalti.cli import COMMANDS, main
from smalti.errors import InputError
from smalti.modalities.image.image_files import read_partial_image
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.recipes import schema

PACKAGE = Path(smalti.__file__).parent
COMMAND = re.compile(r"smalti ([a-z]+)(?= |,|\)|:|\.|$|\})")
OPTION = re.compile(r"--[a-z][\w.]*")
PROSE = ("this", "did", "does", "wrote", "is", "learned", "itself")  # smalti itself is spoken of
OF_ALL = {"--debug", "--version", "--allow", "--help", "--no_cache"}


def _strings(path: Path):
    """Every text of a file that is shown to a user: all but docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documented:
                yield node.value


def _options() -> dict[str, set[str]]:
    """The options of each command, by the signature that its parser is made from."""
    found = {}
    for command in COMMANDS:
        module = importlib.import_module(f"smalti.commands.{command.name}")
        names: set[str] = set()
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                names |= {f"--{name}" for name in inspect.signature(function).parameters}
        found[command.name] = names
    found["fit"] |= {"--data", "--out", "--overwrite", "--config", "--extend"}
    found["fit"] |= {"--tokenizer_from"}
    return found


def _places(cls: type) -> set[str]:
    parser = schema.parser()
    return {option for action in parser._actions for option in action.option_strings}


def test_every_command_and_option_in_a_text_exists():
    options, commands = _options(), {command.name for command in COMMANDS}
    known = set().union(*options.values()) | OF_ALL | _places(schema.Recipe)
    told = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in _strings(path):
            if " " not in text:  # the definition of one
                continue
            for name in COMMAND.findall(text):
                assert name in commands or name in PROSE, (path, text)
            for option in OPTION.findall(text):
                option = option.rstrip(".")
                if option in ("--any.key",) or option.endswith(".help"):
                    continue
                root = option.split(".")[0]
                assert (
                    option in known
                    or ("." in option and _is_a_field(option))
                    or (root == "--data" and "." not in option)
                ), (path, text)
                told += 1
    assert told > 30


@cache
def _recipe(name: str) -> Namespace:
    if name == "sounds":
        return schema.read("series", ["--data.class_path", "Sounds", "--data.path", "x"])
    return schema.read(name, [] if name == "clocks" else ["--data.path", "x"])


def _is_a_field(option: str) -> bool:
    """Whether a recipe that comes with smalti has it."""
    key = option.removeprefix("--")
    for name in (
        "clocks",
        "images32",
        "hierarchical64",
        "vae-fashion-mnist",
        "series",
        "semantic-ids",
        "sounds",
    ):
        node = _recipe(name)
        for part in key.split("."):
            node = (
                node.get("init_args", node) if node is not None and hasattr(node, "get") else None
            )
            if node is None or part not in node:
                break
            node = node[part]
        else:
            return True
    return False


def test_the_options_of_hints_are_those_of_the_parsers(capsys):
    for command, names in _options().items():
        if command in ("fit", "recipes"):
            continue
        main([command, "--help"])
        shown = capsys.readouterr().out
        for name in ("--out", "--convert", "--overwrite"):
            assert (name in shown) == (name in names), (command, name)


@pytest.mark.parametrize("part", ["tokenizer", "prior", "autoencoder"])
def test_the_help_of_a_part_is_there(part, capsys):
    recipe = "vae-fashion-mnist" if part == "autoencoder" else "clocks"
    assert main(["fit", recipe, f"--{part}.help"]) == 0
    assert f"--{part}.training" in capsys.readouterr().out


def test_completing_takes_the_conversion_that_its_hint_names(capsys):
    main(["sample", "--help"])
    assert "--convert" in capsys.readouterr().out


def test_an_image_to_complete_is_brought_to_size_with_its_transparency(tmp_path):
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (0, 16, 32, 32))  # the lower half is to be made
    image.save(tmp_path / "a.png")
    signal = ImageSignal(3, (8, 8))
    with pytest.raises(InputError, match="--convert"):
        read_partial_image(tmp_path / "a.png", signal, None)
    x, given = read_partial_image(tmp_path / "a.png", signal, None, convert=True)
    assert x.shape == (3, 8, 8)
    assert given[:3].all()
    assert not given[4:].any()
