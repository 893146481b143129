"""Compares faiss's local search quantization (LSQ) with the others, on the same vectors.

Its codewords add up like those of a residual quantizer, but no stage comes first: codes are found
by local search over all of them at once. It is no part of smalti, so no model of it is saved, only
a report; it needs the package faiss, of the extra `bench`.

References:
    Revisiting additive quantization, J. Martinez, J. Clement, H. H. Hoos and J. J. Little, 2016,
    ECCV.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jsonargparse import Namespace
from torch import Tensor

from smalti import automatic
from smalti.autoencoders import DiscreteAutoencoder
from smalti.building import build_tokenizer, channels_seen
from smalti.data import Splits
from smalti.data.manifest import without_location
from smalti.errors import InputError
from smalti.evaluation import Limits, Report, evaluate
from smalti.extras import explain_import_error
from smalti.files import write_text
from smalti.generation import Model
from smalti.quantizers import ResidualQuantizer
from smalti.recipes import schema
from smalti.training.quantizer_fitting import EncodedRows

__all__ = ["import_faiss", "measure_faiss", "unpack_codes"]

NAME = "faiss-lsq.json"
CHUNK = 8192  # vectors that are coded at a time


def import_faiss() -> Any:
    """Imports and returns the module faiss.

    Raises:
        InputError: If it is missing.
    """
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError as error:
        raise explain_import_error(error, "The quantizer faiss-lsq") from error


def unpack_codes(packed: np.ndarray, indices: int, bits: int) -> np.ndarray:
    """Unpacks the bytes (N, ⌈Q · bits / 8⌉) into which faiss packs codes: indices (N, Q).

    They follow each other bit by bit, the least significant first, whether or not one ends with a
    byte.

    Example:
        >>> unpack_codes(np.array([[0b101_00_011, 0b0]], dtype=np.uint8), 2, 5)
        array([[3, 5]])
    """
    flat = np.unpackbits(packed, axis=1, bitorder="little")[:, : indices * bits]
    return flat.reshape(len(packed), indices, bits).astype(np.int64) @ (1 << np.arange(bits))


class _LocalSearch(ResidualQuantizer):
    """Quantizes vectors with what faiss has learned: it sums codewords, and faiss finds them.

    Arguments:
        quantizer: Whose sizes it has.
        learned: The LocalSearchQuantizer of faiss.
    """

    def __init__(self, quantizer: ResidualQuantizer, learned: Any) -> None:
        stages = list(quantizer.stages)
        super().__init__(stages)  # type: ignore[arg-type]
        self.learned, self.bits = learned, int(learned.nbits.at(0))
        faiss = import_faiss()
        words = faiss.vector_to_array(learned.codebooks)
        codewords = torch.from_numpy(words).view(len(stages), 2**self.bits, self.dim)
        for stage, of_stage in zip(stages, codewords, strict=True):
            stage.codebook.initialize(of_stage)  # type: ignore[operator,union-attr]

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        vectors = z.detach().float().cpu().reshape(-1, self.dim).numpy()
        stages = len(self.codebook_sizes)
        found = [
            unpack_codes(self.learned.compute_codes(part), stages, self.bits)
            for part in np.split(vectors, range(CHUNK, len(vectors), CHUNK))
        ]
        return torch.from_numpy(np.concatenate(found)).view(*z.shape[:-1], stages).to(z.device)


def measure_faiss(folder: Path, config: Namespace, splits: Splits) -> tuple[dict[str, Any], float]:
    """Trains and evaluates faiss's LSQ; returns its report and the seconds that training took.

    A report that is in the folder already is read instead.

    Arguments:
        folder: The folder that the report is written to.
        config: The recipe, with a ResidualQuantizer and no network.
        splits: The data.

    Raises:
        InputError: If the folder holds something else.
    """
    file, wanted = folder / NAME, _made_from(config, splits)
    if file.is_file():
        try:
            there = json.loads(file.read_text(encoding="utf-8"))
            seconds, made_from = float(there["seconds"]), there["made_from"]
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            report["figures"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} is damaged: delete it to have it made again.") from error
        if made_from != wanted:
            raise InputError(
                f"{folder} holds faiss-lsq of another recipe or other data: choose another --out."
            )
        return report, seconds
    model, seconds = _learned(config, splits)
    limits = Limits(classifier_steps=0, feature_steps=0, downloaded=False)
    made: Report = evaluate(Model(model), splits, limits=limits, title=folder.name)
    made.save(folder)
    content = {"seconds": seconds, "made_from": wanted}
    write_text(file, json.dumps(content, indent=2) + "\n")
    return json.loads(made.to_json()), seconds


def _made_from(config: Namespace, splits: Splits) -> dict[str, str]:
    """Returns checksums of the recipe and of the examples, by name."""
    fields = yaml.safe_load(schema.dump(config))
    recipe = [without_location(fields["data"]), fields["tokenizer"], fields["seed"]]
    examples = hashlib.sha256()
    if splits.manifest is not None:
        for column in splits.manifest.fingerprints, splits.manifest.splits:
            examples.update(np.ascontiguousarray(column).tobytes())
    words = json.dumps(recipe, sort_keys=True).encode()
    return {"recipe": hashlib.sha256(words).hexdigest(), "examples": examples.hexdigest()}


def _learned(config: Namespace, splits: Splits) -> tuple[DiscreteAutoencoder, float]:
    """Has faiss learn, and returns a tokenizer with what it learned, and the seconds."""
    config = automatic.resolve_dims(config, channels_seen(splits))
    recipe = schema.build(config)
    assert recipe.tokenizer is not None
    model = build_tokenizer(recipe.tokenizer, splits.signal, splits.normalization).eval()
    assert isinstance(model, DiscreteAutoencoder)
    quantizer = model.quantizer
    assert isinstance(quantizer, ResidualQuantizer)
    rows = torch.cat([*EncodedRows(model, splits.train, torch.device("cpu")).chunks()]).numpy()
    (size,) = set(quantizer.codebook_sizes)
    faiss = import_faiss()
    learned = faiss.LocalSearchQuantizer(
        quantizer.dim, len(quantizer.codebook_sizes), size.bit_length() - 1
    )
    learned.random_seed = recipe.seed
    start = time.perf_counter()
    learned.train(rows)
    seconds = time.perf_counter() - start
    model.quantizer = _LocalSearch(quantizer, learned).eval()
    return model, seconds
