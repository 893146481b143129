"""Makes the recipe of each run of a comparison: the given one, with another quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import yaml
from jsonargparse import Namespace

from smalti import automatic
from smalti.comparison.faiss_lsq import import_faiss
from smalti.comparison.methods import Dim, Method, find_method
from smalti.comparison.multi_codebook import (
    FAISS_LSQ,
    MULTI_CODEBOOK_METHODS,
    MultiCodebookMethod,
    find_multi_codebook_method,
    packaged_tokenizer,
)
from smalti.comparison.plan import PlannedRun
from smalti.errors import InputError
from smalti.recipes import schema
from smalti.recipes.schema import TokenizerRecipe

__all__ = [
    "choose_methods",
    "make_run_config",
    "single_level_tokenizer",
    "indices_per_position",
    "default_methods",
]

VALIDATIONS = 10  # points of a curve
USUAL = ("ste", "ema", "nsvq", "rotation", "simvq", "fsq", "lfq", "bsq", "gumbel")
WITHOUT_PRIOR = (
    *("residual-kmeans", "residual-kmeans-beam", "residual-kmeans-refined"),
    *("qinco", "pq", "opq", "rq-vae", "rfsq"),
)
BITS, BITS_OF_SEVERAL = 9, 8


def default_methods(recipe: Namespace) -> tuple[tuple[str, ...], int]:
    """Returns the methods, and the bits per index, that a recipe is compared with by default.

    Arguments:
        recipe: A recipe with one index per position, or with several and no prior.
    """
    tokenizer = single_level_tokenizer(recipe)
    if indices_per_position(tokenizer) == 1 or recipe.prior is not None:
        return USUAL, BITS
    names = [
        name for name in WITHOUT_PRIOR if tokenizer.training or MULTI_CODEBOOK_METHODS[name].fitting
    ]
    return tuple(names), BITS_OF_SEVERAL


def single_level_tokenizer(recipe: Namespace) -> TokenizerRecipe:
    """Returns the tokenizer's part of a recipe; raises `InputError` unless it has one level."""
    tokenizer = schema.build(automatic.without_auto(recipe)).tokenizer
    if tokenizer is None:
        raise InputError(
            "Quantizers are compared in a tokenizer, got the recipe of a continuous autoencoder: "
            "choose e.g. fashion-mnist."
        )
    if tokenizer.fine_levels:
        raise InputError(
            f"Quantizers are compared in a tokenizer of one level, got the recipe of one with "
            f"{1 + len(tokenizer.fine_levels)}: choose e.g. images64."
        )
    return tokenizer


def indices_per_position(tokenizer: TokenizerRecipe) -> int:
    """Returns how many indices per position the quantizer of a recipe gives; 1 for most."""
    return len(tokenizer.quantizer.codebook_sizes)


def choose_methods(
    methods: Sequence[str], stages: int, tokenizer: TokenizerRecipe
) -> dict[str, Method | MultiCodebookMethod]:
    """Looks up methods by their names; raises `InputError` for those the recipe cannot train."""
    chosen: dict[str, Method | MultiCodebookMethod] = {
        name: find_method(name)
        if stages == 1 and name not in MULTI_CODEBOOK_METHODS
        else find_multi_codebook_method(name)
        for name in methods
    }
    if FAISS_LSQ in chosen:
        import_faiss()
    trained = [
        name
        for name, one in chosen.items()
        if isinstance(one, Method) or (one.fitting is None and name != FAISS_LSQ)
    ]
    if tokenizer.training is None and trained:
        raise InputError(
            f"{', '.join(trained)} is trained by gradients, got a recipe whose tokenizer is "
            f"fitted: choose one with a training, e.g. semantic-ids, or leave it out."
        )
    return chosen


def make_run_config(
    recipe: Namespace,
    chosen: Method | MultiCodebookMethod,
    one: PlannedRun,
    dim: Dim,
    stages: int,
    steps: int,
) -> Namespace:
    """Makes the recipe of one run: the given one with another quantizer, budget and seed.

    A recipe with a prior gets a small one, which every method shares.

    Arguments:
        recipe: The recipe of the comparison.
        chosen: The quantizer.
        one: The rate and the seed of the run.
        dim: The dimension D of the vectors that the recipe's encoder gives, or "auto".
        stages: The number of indices per position.
        steps: Optimizer steps of the tokenizer.
    """
    fields = yaml.safe_load(schema.dump(recipe))
    tokenizer = fields["tokenizer"]
    if isinstance(chosen, Method):
        tokenizer["quantizer"] = chosen.quantizer(one.bits, dim, steps)
    else:
        dim = dim if chosen.network else automatic.AUTO
        tokenizer["quantizer"] = chosen.quantizer(one.bits, dim, steps, stages)
    tokenizer |= {"loss_weights": dict(chosen.loss_weights) or None, "fitting": None}
    if isinstance(chosen, MultiCodebookMethod) and not chosen.network:
        tokenizer |= {"encoder": {"class_path": "IdentityEncoder"}, "decoder": None}
        if chosen.fitting is not None:
            for name in ("training", "reconstruction", "likelihood", "objective"):
                tokenizer[name] = None
            tokenizer |= {"fitting": deepcopy(chosen.fitting), "mixing": 0.0}
        if chosen.trained_as is not None:
            own = packaged_tokenizer(chosen.trained_as)
            tokenizer |= {name: own[name] for name in ("fitting", "training", "mixing")}
    if tokenizer["training"] is not None:
        tokenizer["training"] |= {"steps": steps, "validate_every": max(2, steps // VALIDATIONS)}
    fields["ids"] = None
    if fields["prior"] is not None:
        name = "PixelCNN" if stages == 1 else "DepthPixelCNN"
        fields["prior"] = _small_prior(name, steps)
    fields["seed"] = one.seed
    return schema.parsed(fields)


def _small_prior(name: str, steps: int) -> dict[str, Any]:
    """Returns the config of a small prior without a condition."""
    return {
        "model": {"class_path": name, "init_args": {"hidden": 64, "layers": 4}},
        "conditional": False,
        "examples": 20_000,
        "training": {
            "steps": max(1, steps // 4),
            "batch_size": 64,
            "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.003}},
            "schedule": {"class_path": "CosineDecay"},
        },
    }
