"""The run directory: the paths of its files, and how runs are found.

Nothing here needs more than the light install, but for `read_config`: a model is loaded from its
run without the packages that made it. What concerns the recipe is in `smalti.run_recipe`.
"""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any

from smalti.errors import InputError
from smalti.files import read_bytes, tidy

__all__ = ["Run"]

LARGEST_REPORT = 64 << 20  # bytes


class Run:
    """A run directory: the paths of its config, data, models, tokens, state and report.

    Arguments:
        folder: The run directory.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = self.folder / "config.yaml"
        self.data = self.folder / "data"
        self.features = self.folder / "features"
        self.tokenizer = self.folder / "tokenizer"
        self.tokens = self.folder / "tokens"
        self.ids = self.folder / "ids.parquet"
        self.prior = self.folder / "prior"
        self.autoencoder = self.folder / "autoencoder"
        self.reranker = self.folder / "reranker"
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

    def read_config(self) -> dict[str, Any]:
        """Reads the resolved configuration.

        Raises:
            InputError: If it is damaged, or the packages that read it are not installed.
        """
        from smalti.recipes import safe_yaml  # which the light install cannot import

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
        if self.autoencoder.exists() or self.tokenizer.exists():
            return self.autoencoder.exists()
        return self.read_config().get("autoencoder") is not None

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
            fitting = ["fitting"] if (logs / "fitting").is_dir() else []  # before the training
            stages = [*fitting, "tokenizer", *(priors or ["prior"])]
            stages += ["reranker"] if (logs / "reranker").is_dir() else []
        stages = [*(["features"] if (logs / "features").is_dir() else []), *stages]
        return {stage: versions(stage) for stage in stages}
