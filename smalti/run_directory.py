"""The run directory: its paths, what it holds, and whether it is of a given recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from smalti.automatic import AUTO
from smalti.errors import InputError
from smalti.extension import Place, longer, value_at, with_old_steps
from smalti.files import read_bytes, tidy
from smalti.recipes import safe_yaml, schema
from smalti.recipes.schema import Recipe

__all__ = ["Run"]

PLACE = "data.init_args.path"
LARGEST_REPORT = 64 << 20  # bytes


class Run:
    """The paths of a run directory.

    Arguments:
        folder: The run directory.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = self.folder / "config.yaml"
        self.data = self.folder / "data"
        self.tokenizer = self.folder / "tokenizer"
        self.tokens = self.folder / "tokens"
        self.ids = self.folder / "ids.parquet"
        self.prior = self.folder / "prior"
        self.autoencoder = self.folder / "autoencoder"
        self.samples = self.folder / "samples"

    @classmethod
    def existing(cls, folder: str | Path) -> Run:
        """Opens an existing run directory.

        Raises:
            InputError: If it is not one.
        """
        run = cls.named(folder)
        run.tidy()
        if not run.config.is_file():
            raise InputError(
                f"{folder} is not a run directory (it holds no config.yaml): "
                f"make one with smalti fit RECIPE --out {folder}."
            )
        return run

    @classmethod
    def named(cls, folder: str | Path) -> Run:
        """Returns the run directory of a name, whether it is there or not.

        Raises:
            InputError: If it is no name.
        """
        if not isinstance(folder, str | PathLike):
            raise InputError(
                f"The name of a run directory is a text or a path, got {folder!r:.60}: give the "
                f"folder of a run."
            )
        if not str(folder).strip():
            raise InputError(
                "The name of the run directory is empty, got nothing: give the folder of a run."
            )
        return cls(folder)

    def tidy(self) -> None:
        """Finishes what a killed process was about to write, and clears what it left."""
        for folder in (self.folder, self.folder / "state", self.prior, self.samples):
            tidy(folder)

    def check(self, config: Namespace, extend: bool = False) -> dict[Place, int]:
        """Checks that the folder is free, or holds a run of this very configuration.

        Arguments:
            config: The resolved configuration of a recipe.
            extend: Whether it may take more steps than the run took.

        Returns:
            The steps that the run took, by the path of each training that is to take more.

        Raises:
            InputError: If the folder holds a run of another recipe.
        """
        if not self.config.is_file():
            hidden = "."  # what a start leaves that is killed while it writes
            if self.folder.exists() and any(
                path.name[0] != hidden for path in self.folder.iterdir()
            ):
                raise InputError(
                    f"{self.folder} is not empty and no run directory: choose another --out."
                )
            return {}
        wanted = yaml.safe_load(schema.dump(config))
        # Where data lie is no part of a recipe where a manifest says what they are.
        known = (PLACE,) if self.data.exists() else ()
        there = self.read_config()
        more = longer(there, wanted)
        same = with_old_steps(wanted, more)
        difference = _difference(there, same, unimportant=known)
        if difference:  # of fields that came after the run was made, it has the defaults
            with suppress(InputError):
                there = yaml.safe_load(schema.dump(schema.read(str(self.config))))
                difference = _difference(there, same, unimportant=known)
        if not difference and more and not extend:
            first = next(iter(more))
            name, steps = ".".join(map(str, first)), value_at(wanted, first)
            raise InputError(
                f"{self.folder} holds a run of another recipe ({name} is {more[first]} there and "
                f"{steps} here): give --extend to go on with more steps, choose another --out, or "
                f"run it with the same options."
            )
        if difference:
            raise InputError(
                f"{self.folder} holds a run of another recipe ({difference}): "
                f"choose another --out, or run it with the same options."
            )
        return more

    def read_config(self) -> dict[str, Any]:
        """Reads the resolved configuration."""
        try:
            config = safe_yaml.read(self.config)
        except InputError as error:
            raise InputError(
                f"{self.config} is damaged: restore it, or fit to another --out."
            ) from error
        return config if isinstance(config, dict) else {}

    def figures(self) -> dict[str, Any]:
        """Reads the figures of the report; none where there is no report, or a damaged one."""
        try:
            found = json.loads(read_bytes(self.folder / "report.json", LARGEST_REPORT))["figures"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError):
            return {}
        return found if isinstance(found, dict) else {}

    def priors(self, levels: int) -> list[Path]:
        """Returns the folder of the prior of each level, coarse to fine."""
        return [self.prior] if levels == 1 else [self.prior / str(n) for n in range(levels)]

    def is_continuous(self) -> bool:
        """Returns whether it is the run of a continuous autoencoder, without tokens and prior."""
        return self.read_config().get("autoencoder") is not None

    def recipe(self, data: str | None = None) -> Recipe:
        """Builds the recipe of an existing run anew.

        Arguments:
            data: Where its data lie now, if they were moved.
        """
        options = [] if data is None else ["--data.path", data]
        return schema.build(schema.read(str(self.config), options))

    def curves(self) -> dict[str, list[Path]]:
        """Lists the logged curves of each stage, in the order in which they were written."""

        def versions(stage: str) -> list[Path]:
            # What else lies there, such as "version_0 (copy)", is somebody's.
            found = (logs / stage / "csv").glob("version_*/metrics.csv")
            numbers = {path: path.parent.name.removeprefix("version_") for path in found}
            counted = [path for path, number in numbers.items() if number.isdecimal()]
            return sorted(counted, key=lambda path: int(numbers[path]))

        logs = self.folder / "logs"
        stages = ["autoencoder"]
        if not self.is_continuous():
            found = (path.name for path in logs.glob("prior*"))
            priors = sorted(name for name in found if re.fullmatch(r"prior(-\d+)?", name))
            stages = ["tokenizer", *(priors or ["prior"])]
        return {stage: versions(stage) for stage in stages}


def _difference(there: Any, wanted: Any, path: str = "", unimportant: Sequence[str] = ()) -> str:
    """Says where two configurations first differ; empty if they are equal."""
    # The first two change where and how much, not what.
    if path in ("hardware", "evaluation", *unimportant):
        return ""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in [*there, *(key for key in wanted if key not in there)]:
            below = f"{path}.{key}".lstrip(".")
            inner = _difference(there.get(key), wanted.get(key), below, unimportant)
            if inner:
                return inner
        return ""
    if isinstance(there, list) and isinstance(wanted, list) and len(there) == len(wanted):
        for place, (old, new) in enumerate(zip(there, wanted, strict=True)):
            if inner := _difference(old, new, f"{path}[{place}]", unimportant):
                return inner
        return ""
    if wanted == AUTO and isinstance(there, int | float):
        return ""  # the number that it became
    return "" if there == wanted else f"{path} is {there} there and {wanted} here"
