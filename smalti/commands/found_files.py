"""Finds the files that a command line names: by path, by folder, or by a pattern (`some/*`)."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from pathlib import Path

from smalti.counting import counted
from smalti.data.file_tree import is_regular, list_files
from smalti.errors import InputError
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["find_files"]

SHOWN = 3  # kinds of what was passed over


def find_files(
    names: Sequence[str], signal: Signal, suffixes: Collection[str], many: bool = False
) -> list[str]:
    """Expands names of files, folders and patterns to files, and prints how many were found.

    Arguments:
        names: Each a file; a folder, for all files of that kind below it, a folder's own first and
            each folder's by name; or a pattern, for those that match it, by name. `**` is any
            number of folders.
        signal: The signal that the files hold.
        suffixes: The suffixes of files of that kind, in lower case.
        many: Whether a file may hold many signals.

    Raises:
        InputError: If a folder has no such file, or no file matches a pattern.
    """
    found: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found += _in_folder(path, signal, suffixes, many)
        elif not path.exists() and glob.has_magic(name):
            found += _matching(name, signal, suffixes, many)
        else:
            found.append(name)  # what is wrong with it is said when it is read
    return found


def _in_folder(folder: Path, signal: Signal, suffixes: Collection[str], many: bool) -> list[str]:
    """Returns the files with these suffixes in and below a folder; prints what is passed over."""
    tree = list_files(folder)
    wanted = [parts for parts in tree.files if Path(parts[-1]).suffix.lower() in suffixes]
    passed = tree.passed.copy()
    for parts in tree.files:
        if (suffix := Path(parts[-1]).suffix.lower()) not in suffixes:
            passed[f"files {suffix or 'without a suffix'}"] += 1
    return _report_found(
        readable(folder), [str(folder.joinpath(*parts)) for parts in wanted], passed, signal, many
    )


def _matching(pattern: str, signal: Signal, suffixes: Collection[str], many: bool) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - of whole patterns
    wanted = [m for m in matches if is_regular(m) and Path(m).suffix.lower() in suffixes]
    others = {"other files and folders": len(matches) - len(wanted)}
    return _report_found(readable(pattern), wanted, others, signal, many)


def _report_found(
    name: str, files: list[str], passed: dict[str, int], signal: Signal, many: bool
) -> list[str]:
    """Prints how many files were found, and returns them; raises `InputError` if none."""
    kinds = sorted((kind for kind in passed if passed[kind]), key=lambda kind: -passed[kind])
    words = [f"{passed[kind]} {kind}" for kind in kinds[:SHOWN]]
    words += [f"{sum(passed[kind] for kind in kinds[SHOWN:])} others"] * (len(kinds) > SHOWN)
    without = f" (passed over: {', '.join(words)})" if words else ""
    if not files:
        raise InputError(
            f"There is no {signal.noun} in {name}{without}: name the files, a folder that holds "
            f"some, or a pattern in quotes."
        )
    found = counted(len(files), signal.noun, signal.plural)
    if many:
        found = f"{counted(len(files), 'file')} of {signal.plural}"
    print(f"{name}: {found}{without}", flush=True)
    return files
