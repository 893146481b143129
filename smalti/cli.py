"""The command line `smalti`.

    smalti fit RECIPE_OR_YAML [--data PATH] [--out RUN] [--any.key value]
    smalti sample | edit | reconstruct | encode | decode | interpolate | traverse | evaluate RUN ...
    smalti stream RUN FILE
    smalti ids RUN item-42, smalti ids RUN 3,9,1
    smalti compress RUN FILES --out out.smt, smalti decompress RUN out.smt --out FILE_OR_FOLDER
    smalti compare --data PATH --quantizers ema,nsvq,fsq --seeds 3 --budget 2000
    smalti recipes

A user's mistake is one line on stderr and exit status 2; a traceback is shown under --debug only.
--allow MODULE, of any command, lets a recipe name classes of a module of the user's own.
What a command needs is imported when it runs, so that `smalti --help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, NamedTuple

from smalti import __version__, extras, terminal
from smalti.errors import InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["main"]

BROKEN_PIPE = 128 + 13  # as of a program that SIGPIPE ends
REMEDIES = {
    errno.ENOSPC: "nothing that was there is lost; make room on the disk",
    errno.EDQUOT: "nothing that was there is lost; make room in your quota",
    errno.EFBIG: "nothing that was there is lost; allow larger files",
    errno.EACCES: "choose a place that you may write to and read from",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOTDIR: "choose a path whose folders are folders",
    errno.ENOENT: "check the path",
    errno.EISDIR: "that is a folder, choose the name of a file",
    errno.EEXIST: "that is a file, choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class Command(NamedTuple):
    """A subcommand, which `run` of a module in `smalti.commands` carries out.

    Attributes:
        name: Its name.
        help: A line on what it does.
    """

    name: str
    help: str


COMMANDS = (
    Command("fit", "learn a tokenizer and a prior, or an autoencoder, and write the report"),
    Command("sample", "make new signals, with or without a condition, or complete a given one"),
    Command("edit", "draw a part of given signals anew, vary them, or swap a part of them"),
    Command("reconstruct", "show signals beside their reconstructions"),
    Command("encode", "turn files into token indices or latents"),
    Command("stream", "encode and decode a file as it arrives, and measure the latency"),
    Command("ids", "look up the ID of an item, or the items of an ID"),
    Command("decode", "turn token indices or latents into signals"),
    Command("compress", "code files to one small file under the run's prior"),
    Command("decompress", "decode such a file"),
    Command("interpolate", "show the way from one signal to another"),
    Command("traverse", "show what each latent dimension of a continuous model changes"),
    Command("evaluate", "measure a run and write its report"),
    Command("compare", "put quantizers head to head on your data"),
    Command("recipes", "list the recipes that come with smalti"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line with `arguments`, or those of the process; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    terminal.accept_any_text()
    try:
        with _cache(words):
            status = _dispatch(_allowing([word for word in words if word != "--no_cache"]))
        sys.stdout.flush()  # here, where what goes wrong is told
        return status
    except SystemExit as end:  # of a parser that has printed its help
        with suppress(OSError):
            sys.stdout.flush()
        terminal.discard_unwritten_output()
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:  # whoever read what is printed, has read enough
        if debug:
            raise
        terminal.discard_unwritten_output()
        return BROKEN_PIPE
    except ModuleNotFoundError as error:
        missing = extras.explain_import_error(error, "The command line")
        if debug or not isinstance(missing, InputError):
            raise
        return _refuse(missing)
    except (InputError, ArgumentError, OSError) as error:
        if debug:
            raise
        return _refuse(error)
    except KeyboardInterrupt as stop:
        goes_on = (
            "; the same command goes on where it was" if words[:1] in (["fit"], ["compare"]) else ""
        )
        print(f"smalti: stopped{goes_on}", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)


def _cache(words: Sequence[str]) -> AbstractContextManager[None]:
    """Returns the context of a command, in which `--no_cache` has nothing kept of its data."""
    if "--no_cache" not in words:
        return nullcontext()
    from smalti.data.decoded_cache import cache_disabled

    return cache_disabled()


def _refuse(error: BaseException) -> int:
    """Says in one line what is wrong, and gives the exit status of a user's mistake."""
    print(f"smalti: {_one_line(error)}", file=sys.stderr)
    terminal.discard_unwritten_output()
    return 2


def _allowing(words: Sequence[str]) -> list[str]:
    """Takes `--allow MODULE` out of the words; imports each such module and allows its name."""
    rest: list[str] = []
    modules: list[str] = []
    left = iter(words)
    for word in left:
        option, given, module = word.partition("=")
        if option != "--allow":
            rest.append(word)
            continue
        modules.append(module if given else next(left, ""))
        if not modules[-1] or modules[-1].startswith("-"):
            raise InputError(
                "The option --allow takes the name of a module, got none: write --allow my_models."
            )
    if modules:
        from smalti.recipes.allowed_classes import allow_module

        for module in modules:
            allow_module(module)
    return rest


def _dispatch(words: list[str]) -> int:
    """Runs the command that the first word names, and returns its exit status."""
    if not words or words[0] in ("-h", "--help"):
        _overview().print_help()
        return 0 if words else 2
    if words[0] == "--version":
        print(__version__)
        return 0
    if words[0] not in [command.name for command in COMMANDS]:
        known = ", ".join(command.name for command in COMMANDS)
        raise InputError(f"There is no command {words[0]!r}: choose one of {known}.")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("smalti").setLevel(logging.INFO)  # what a long evaluation is at
    # Nothing of smalti's user is sent anywhere.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    command = importlib.import_module(f"smalti.commands.{words[0]}")
    status = command.run(words[1:])
    return int(status or 0)


def _overview() -> ArgumentParser:
    """Makes the parser that prints the help of all commands."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="smalti",
        description="The toolkit for learned discrete latents.",
        epilog="smalti COMMAND --help says more of a command; --debug shows a traceback; "
        "--no_cache keeps nothing of what was decoded; --version says which smalti this is; "
        "--allow MODULE lets a recipe name your own classes.",
    )
    commands = parser.add_subcommands(required=False, dest="command")
    for command in COMMANDS:
        commands.add_subcommand(command.name, ArgumentParser(), help=command.help)
    return parser


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "mend that")
        return terminal.as_one_line(
            f"{error.strerror}{where}: {remedy} and give the same command again"
        )
    return terminal.as_one_line(str(error))
