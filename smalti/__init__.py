"""smalti: the toolkit for learned discrete latents.

The run directory that `smalti fit` has filled is a model:

    model = smalti.load("runs/mine")
    indices = model.encode(x)           # (B, *grid) integers
    x_hat = model.decode(indices)
    new = model.sample(16, condition="10:10")
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from smalti.errors import InputError
from smalti.extras import watch_imports

if TYPE_CHECKING:
    from pathlib import Path

    from smalti.generation import Model
    from smalti.semantic_ids import SemanticIDs as SemanticIDs

__all__ = ["InputError", "__version__", "load"]

__version__ = version("smalti")

watch_imports()


def load(run: str | Path) -> Model:
    """Loads the autoencoder and the prior of a run directory, as one `Model`."""
    # torch is imported when a model is wanted, not for `smalti --help`.
    from smalti import generation

    return generation.load(run)


def __getattr__(name: str) -> Any:
    """Imports a module of smalti's when it is first asked for: `smalti.artifacts.load_model`.

    Likewise `smalti.SemanticIDs`, which needs the extra `ids`.
    """
    if name == "SemanticIDs":
        return import_module(f"{__name__}.semantic_ids").SemanticIDs
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
