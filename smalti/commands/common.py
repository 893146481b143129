"""Functions that subcommands share: options from signatures, and signals from files."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import sys
from argparse import HelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import docstring_parser
import torch
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor

from smalti.artifacts import load_argument
from smalti.autoencoders.inputs import with_size
from smalti.commands.found_files import find_files
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.generation import load
from smalti.generation.checks import source_arguments
from smalti.modalities.base import ManyPerFile, NamedSignals, modality_of
from smalti.recipes.safe_yaml import WITHIN_BOUNDS
from smalti.runs import Run, load_run_examples
from smalti.signals import Signal
from smalti.spelling import as_text, readable
from smalti.training.processes import is_first

if TYPE_CHECKING:
    from smalti.generation import Model

__all__ = [
    "call_with_options",
    "read_condition",
    "data_overrides",
    "data_path_or_name",
    "expand_files",
    "read_named_signals",
    "print_log",
    "read_batches",
    "read_files",
    "read_signal",
]

T = TypeVar("T")

BATCH = 256  # files that are in memory at a time


def call_with_options(
    function: Callable[..., T],
    words: Sequence[str],
    *positional: str,
    more: Mapping[str, str] | None = None,
    **given: Any,
) -> T:
    """Parses the words of a command line, calls `function` with them, and returns its result.

    Types and help come from its signature and docstring; the parameters named in `positional` are
    positional, the last of them taking one or more values if its name is "files", or none where it
    has a default. Those that are `given` are no options. `more` is the help of further options by
    name, texts for the function's `**` parameter.
    """
    command = function.__module__.rpartition(".")[2]
    documented = docstring_parser.parse(function.__doc__ or "")
    described = {parameter.arg_name: parameter.description for parameter in documented.params}
    parser = ArgumentParser(
        prog=f"smalti {command}",
        description=documented.short_description,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,  # types are for recipes, a command's help does without
        parser_mode=WITHIN_BOUNDS,
    )
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name in given or parameter.kind is parameter.VAR_KEYWORD:
            continue
        how: dict[str, Any] = {"help": described.get(name)}
        if parameter.annotation is bool:
            how["action"] = "store_true"
        else:
            how["type"] = str if name in positional else _given(parameter.annotation)
        if name == "files":
            how["nargs"] = "+"
        elif name in positional and parameter.default is not parameter.empty:
            how["nargs"] = "?"
        if parameter.default not in (None, parameter.empty):
            how["default"] = parameter.default
            how["help"] = f"{how['help']} (default: {parameter.default})"
        parser.add_argument(name if name in positional else f"--{name}", **how)
    for name, text in (more or {}).items():
        parser.add_argument(f"--{name}", type=str, help=text)
    try:
        options = parser.parse_args(list(words))
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        if wrong := re.search(
            r'key "(\w+)": Expected an? <class .(\w+).>. Got value: (.*)', reason
        ):
            reason = f"--{wrong[1]} takes a value of the type {wrong[2]}, got {wrong[3]}"
        raise InputError(f"{reason}: smalti {command} --help lists the options.") from error
    return function(**vars(options), **given)


def _given(annotation: Any) -> Any:
    """Returns the type of a value that is given, where none is needed: X of X | None."""
    return next((part for part in get_args(annotation) if part is not NoneType), annotation)


def data_overrides(data: str | None) -> list[str]:
    """Returns the dotted options of a recipe that `--data` stands for: ["--data.path", …]."""
    place = data_path_or_name(data)
    return [] if place is None else ["--data.path", place]


def data_path_or_name(data: str | None) -> str | None:
    """Makes the path in `--data` absolute; returns the name of a data set on the hub as it is.

    Raises:
        InputError: If it is empty, or is not UTF-8, which a recipe must be.
    """
    if data is None:
        return None
    if not data:
        raise InputError("The option --data is empty: give a path, or a name on the hub.")
    # From wherever the run is looked at later, what is local stays local.
    local = str(Path(data).resolve()) if Path(data).exists() else data
    if as_text(local) != local:
        raise InputError(
            f"The path {readable(local)} is no UTF-8, so no recipe can hold it: rename the folder."
        )
    return local


@contextlib.contextmanager
def print_log(name: str) -> Iterator[None]:
    """Prints the messages of a logger within a `with` block, in the first process alone."""
    logger, printer = logging.getLogger(name), _StdoutHandler()
    logger.addHandler(printer)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.propagate = True


class _StdoutHandler(logging.Handler):
    """Prints messages to standard output, in the first of several processes alone."""

    def emit(self, record: logging.LogRecord) -> None:
        if is_first():
            encoding = sys.stdout.encoding or "utf-8"
            line = record.getMessage().encode(encoding, "backslashreplace").decode(encoding)
            print(line, flush=True)


def read_files(
    model: Model, files: Sequence[str | Path], convert: bool, any_size: bool = False
) -> Tensor:
    """Reads files to one batch of signals as a model takes them: (B, C, *size).

    Arguments:
        model: The model that takes them.
        files: Paths of at least one file.
        convert: Whether a file of another size or form is made to fit, though it loses by it.
        any_size: Whether they may have another size than the model's, the same for all.

    Raises:
        InputError: If one cannot be read, or is not of the model's signal.
    """
    modality, source = modality_of(model.signal), source_arguments(model.run)
    signal = with_size(model.signal, ()) if any_size else model.signal
    return torch.stack([modality.read(file, signal, convert, source) for file in files])


def read_batches(
    model: Model, files: Sequence[str], convert: bool, any_size: bool = False
) -> Iterator[NamedSignals]:
    """Yields the signals in files, of which each may hold one or many, in batches.

    Arguments: those of `read_files`.

    Raises:
        InputError: See `read_files`.
    """
    modality, source = modality_of(model.signal), source_arguments(model.run)
    if isinstance(modality, ManyPerFile):
        for file in files:
            for x, names, numbered in modality.read_all(file, model.signal, convert, source):
                several = numbered and len(files) > 1
                yield NamedSignals(
                    x, [f"{as_text(file)}:{n}" for n in names] if several else names, numbered
                )
        return
    # Of any size, one at a time: only those of one size can be stacked.
    at_once = 1 if any_size else BATCH
    for start in range(0, len(files), at_once):
        part = files[start : start + at_once]
        yield NamedSignals(
            read_files(model, part, convert, any_size), list(map(as_text, part)), False
        )


def expand_files(signal: Signal, names: Sequence[str], numbers: bool = False) -> list[str]:
    """Expands folders and patterns to files, see `find_files`; with `numbers`, numbers stay."""
    modality, found = modality_of(signal), list[str]()
    many = isinstance(modality, ManyPerFile)
    for name in names:
        is_number = numbers and name.isdecimal()
        found += [name] if is_number else find_files([name], signal, modality.suffixes, many)
    return found


def read_named_signals(
    model: Model, names: Sequence[str], convert: bool, data: str | None = None
) -> Iterator[Tensor]:
    """Yields the signal (C, *size) of each name, which is a file or the number of a test example.

    Arguments:
        model: The model that takes them.
        names: Names of files, or numbers of test examples.
        convert: Whether a file of another size or form is made to fit, though it loses by it.
        data: Where the run's data lie now, if they were moved; see `data_path_or_name`.

    Raises:
        InputError: If a file cannot be read, or there are not so many test examples; or if `data`
            is given, and no number.
    """
    assert model.run is not None
    noun, plural = model.signal.noun, model.signal.plural
    place = data_path_or_name(data)
    if place is not None and not any(name.isdecimal() for name in names):
        raise InputError(
            f"No {noun} of the run's data is asked for, got --data {readable(place)}: leave it "
            f"out, or give the number of a test {noun}."
        )
    test = None
    for name in names:
        if not name.isdecimal():
            yield from read_files(model, [name], convert)
            continue
        if test is None:
            test = load_run_examples(model.run, "test", place)
        if int(name) >= len(test):
            raise InputError(
                f"There are {len(test)} test {plural}, numbered from 0, got {name}: choose a "
                f"smaller number."
            )
        yield from test[int(name)].x


def read_signal(folder: str) -> Signal:
    """Reads the signal of a run's model from its config, without loading the model.

    Raises:
        InputError: If there is no run, it has no model yet, or that is damaged.
    """
    run = Run.existing(folder)
    saved = [path for path in (run.tokenizer, run.autoencoder) if path.exists()]
    signal = load_argument(saved[0], "signal") if saved else None
    return signal if isinstance(signal, Signal) else load(folder).signal  # which says what is wrong


def read_condition(folder: str) -> Condition | None:
    """Reads the condition of a run's prior, or of a saved model's, without loading the prior.

    Raises:
        InputError: If there is no run, or its prior is damaged.
    """
    run = Run.named(folder)
    prior = (run if run.tokenizer.is_dir() else Run.existing(folder)).prior
    saved = next((path for path in (prior, prior / "0") if (path / "config.json").is_file()), None)
    condition = None if saved is None else load_argument(saved, "condition")
    return condition if isinstance(condition, Condition) else None
