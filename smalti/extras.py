"""The packages of each extra of smalti, and the error that names a missing extra.

`pip install smalti` brings what quantizers, networks, autoencoders and priors need. What recipes,
data, reports and the command line need comes with `pip install 'smalti[train]'`. A module of
smalti's that needs a package of an extra fails to import without it, and says which extra to
install: `explain_import_error` turns Python's error into `MissingExtra`. The import of every module
goes through it (`watch_imports`), so no module says anything about extras itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from smalti.errors import InputError

__all__ = ["PACKAGES", "MissingExtra", "explain_import_error", "watch_imports"]

PACKAGES = {  # the names that they are imported by
    "train": (
        "PIL",
        "datasets",
        "docstring_parser",
        "jinja2",
        "jsonargparse",
        "lightning",
        "matplotlib",
        "pyarrow",
        "tensorboard",
        "torchmetrics",
        "tqdm",
        "yaml",
    ),
    "ids": ("sklearn",),
    "transformers": ("tokenizers", "transformers"),
    "diffusion": ("diffusers",),
    "fid": ("torch_fidelity",),
    "audio": ("pystoi", "soundfile", "soxr"),
    "speech": ("pesq",),
    "codec": ("constriction",),
    "bench": ("faiss", "pythae", "vector_quantize_pytorch"),
}
EXTRA_OF = {package: extra for extra, packages in PACKAGES.items() for package in packages}


class MissingExtra(ModuleNotFoundError, InputError):
    """The error for a missing package that an extra of smalti installs; it names the extra."""


def explain_import_error(error: ModuleNotFoundError, module: str = "This") -> ModuleNotFoundError:
    """Converts an import error to `MissingExtra` if an extra has the package; else returns it.

    Arguments:
        error: The error of an import.
        module: The module that needs the package, as the subject of a sentence.

    Example:
        >>> print(explain_import_error(ModuleNotFoundError(name="pyarrow"), "smalti.tokens"))
        smalti.tokens needs the package pyarrow, got none: pip install 'smalti[train]'.
    """
    extra = EXTRA_OF.get(error.name or "")
    if extra is None or isinstance(error, MissingExtra):
        return error
    return MissingExtra(
        f"{module} needs the package {error.name}, got none: pip install 'smalti[{extra}]'.",
        name=error.name,
    )


def watch_imports() -> None:
    """Hooks the import of smalti's modules, so that a missing extra is named."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _NamingLoader(SourceFileLoader):
    """Imports a module of smalti; a package that is missing is named with the extra to install."""

    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except ModuleNotFoundError as error:
            raise explain_import_error(error, module.__name__) from error.__cause__


class _Finder(MetaPathFinder):
    """Finds modules as Python does, and has `_NamingLoader` load those of smalti."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds modules of smalti, to be imported by `_NamingLoader`."""
        if not name.startswith("smalti."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _NamingLoader(name, spec.loader.path)
        return spec
