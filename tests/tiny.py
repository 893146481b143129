"""A recipe that trains in a second or two, for tests of what stands above training."""

from __future__ import annotations

from pathlib import Path

import yaml

__all__ = ["clocks_recipe", "fitted_recipe", "vae_recipe", "write_recipe"]


def clocks_recipe() -> dict:
    """Clocks of 16 px, 4×4 tokens of 16."""
    codebook = {"class_path": "EMACodebook", "init_args": {"codebook_size": 16, "dim": 8}}
    training = {"steps": 12, "batch_size": 8, "validate_every": 6, "save_every": 4}
    return {
        "data": {
            "class_path": "Clocks",
            "init_args": {"size": 16, "length": 48, "validation": 16, "test": 16},
        },
        "tokenizer": {
            "quantizer": {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}},
            "encoder": {
                "class_path": "ConvEncoder",
                "init_args": {"hidden": 8, "residual_hidden": 4},
            },
            "training": dict(training),
        },
        "prior": {
            "model": {"class_path": "PixelCNN", "init_args": {"hidden": 8, "layers": 2}},
            "training": dict(training),
        },
        "evaluation": {"samples": 16, "classifier_steps": 5, "feature_steps": 2},
    }


def vae_recipe() -> dict:
    """The same clocks, 6 latent dimensions."""
    recipe = clocks_recipe()
    tokenizer = recipe.pop("tokenizer")
    del recipe["prior"]
    kept = {name: tokenizer[name] for name in ("encoder", "training")}
    return {**recipe, "autoencoder": {**kept, "dim": 6, "beta_warmup": 5, "free_bits": 0.1}}


def fitted_recipe(data: Path) -> dict:
    """Two codes of 8 for each vector in a file, without training."""
    codebook = {"class_path": "EMACodebook", "init_args": {"codebook_size": 8, "dim": "auto"}}
    stage = {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}
    return {
        "data": {"class_path": "Vectors", "init_args": {"path": str(data)}},
        "tokenizer": {
            "quantizer": {
                "class_path": "ResidualQuantizer",
                "init_args": {"stages": [stage, stage]},
            },
            "encoder": {"class_path": "IdentityEncoder"},
            "fitting": {"class_path": "ResidualKMeans", "init_args": {"iterations": 3}},
        },
    }


def write_recipe(path: Path, recipe: dict) -> Path:
    """Writes a recipe as YAML and gives its path."""
    path.write_text(yaml.safe_dump(recipe))
    return path
