"""NSVQ for envelopes of speech: does noise substitution beat straight-through and running means?

    python experiments/nsvq_envelopes.py --data FOLDER --seeds 5

FOLDER holds the sets of speech as folders of parquet files (spoken_orders16k, ljspeech_excerpt22k).

The claim, of the first setting of NSVQ (Vali and Bäckström, 2022, IEEE Access 10): in a speech
codec whose spectral envelopes are vector quantized, noise substitution with the replacement of
unused codewords is better than straight-through at every bit rate (PESQ 2.47 against 2.34 at 8
kbit/s, 4.01 against 3.96 at 32). There the others had no replacement; here all three have it.

An envelope is 24 mel bands in dB of 32 ms of speech, 50 a second. A small autoencoder
(24 → 64 → 8 → VQ → 8 → 64 → 24) learns them at 6 to 12 bits each, that is 0.3 to 0.6 kbit/s, with
the three estimators, each with the same start (codewords drawn at random), steps, and reset of dead
codewords, which ends after 80 % of the steps as NSVQ needs. Measured on envelopes of clips that
were held out: the log-spectral distortion, the mean over envelopes of the root mean square over
bands, in dB; and the perplexity of the codes.

Without networks around it there is nothing to compare: with a squared error, the gradient of NSVQ
is that of the codebook loss, because ‖z + ‖z − e‖ v̂ − z‖² = ‖z − e‖².
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import soundfile
import soxr
import torch
from common import Options, fit, options, save, say, summary
from matplotlib.figure import Figure
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from smalti.autoencoders import DiscreteAutoencoder
from smalti.data import TensorExamples
from smalti.losses import MSE
from smalti.networks import Features, MLPDecoder, MLPEncoder
from smalti.quantizers import (
    NSVQ,
    DeadCodeReset,
    EMACodebook,
    GradientCodebook,
    VectorQuantizer,
    codebook_usage,
)
from smalti.training import TokenizerObjective

NAME = "nsvq_envelopes"
STEPS = 1500
BITS = (6, 8, 10, 12)
SETS = ("spoken_orders16k", "ljspeech_excerpt22k")
RATE, WINDOW, HOP, BANDS = 16000, 512, 320, 24
FLOOR = 50.0  # dB below the loudest frame of a clip: what is quieter is no speech
DIM, HIDDEN, BATCH = 8, 64, 512
MEASURES = {"distortion": "log-spectral distortion, dB", "perplexity": "perplexity / K"}
Make = Callable[[int, DeadCodeReset], VectorQuantizer]


def _quantizer(codebook: type, **options: Any) -> Make:
    def make(size: int, reset: DeadCodeReset) -> VectorQuantizer:
        return VectorQuantizer(
            codebook(codebook_size=size, dim=DIM),
            dead_code_reset=reset,
            kmeans_iterations=0,
            **{name: kind() for name, kind in options.items()},
        )

    return make


PLAIN = "straight-through"
ESTIMATORS: dict[str, Make] = {
    PLAIN: _quantizer(GradientCodebook),
    "running means (EMA)": _quantizer(EMACodebook),
    "NSVQ": _quantizer(GradientCodebook, estimator=NSVQ),
}


def envelopes(sound: np.ndarray) -> Tensor:
    """Returns the envelopes (n, 24) in dB of the frames of a sound (T,) at 16 kHz with speech."""
    spectrum = torch.stft(
        torch.from_numpy(sound),
        WINDOW,
        HOP,
        window=torch.hann_window(WINDOW),
        return_complex=True,
    )
    bands = mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, norm="slaney")
    power = torch.from_numpy(bands).float().T @ spectrum.abs().square()
    level = 10 * power.clamp(min=1e-10).log10()
    loudness = power.sum(0).clamp(min=1e-10).log10() * 10
    return level.T[loudness > loudness.max() - FLOOR]


def read(folder: Path, split: str) -> Tensor:
    """Returns the envelopes (N, 24) of all clips of a split, in dB."""
    found = []
    for name in SETS:
        for table in sorted((folder / name).glob(f"{split}*.parquet")):
            for row in parquet.read_table(table, columns=["audio"])["audio"].to_pylist():
                sound, rate = soundfile.read(io.BytesIO(row["bytes"]), dtype="float32")
                found.append(envelopes(soxr.resample(sound, rate, RATE)))
    if not found:
        raise SystemExit(f"No envelopes in {folder}: give the folder of {' and '.join(SETS)}.")
    return torch.cat(found)


def measure(model: DiscreteAutoencoder, x: Tensor, scale: float) -> dict[str, float]:
    """Returns the figures of a trained model on scaled envelopes x (N, 24)."""
    indices = torch.cat([model.encode(part) for part in x.split(4096)])
    x_hat = torch.cat([model.decode(part) for part in indices.split(4096)])
    size = model.quantizer.codebook_sizes[0]
    used, effective = codebook_usage(indices, size)
    distortion = scale * (x_hat - x).square().mean(1).sqrt().mean()
    return {"distortion": distortion.item(), "perplexity": effective / size, "usage": used}


def run(chosen: Options) -> dict[str, Any]:
    """Trains and measures with every estimator, number of bits and seed."""
    train, test = (read(Path(chosen.data), split) for split in ("train", "test"))
    mean, scale = train.mean(0), float((train - train.mean(0)).square().mean().sqrt())
    train, test = (train - mean) / scale, (test - mean) / scale
    say(f"{len(train)} envelopes to learn, {len(test)} to measure")
    signal, rows = Features(BANDS, spatial_dims=0), []
    for seed, bits, (name, make) in product(range(chosen.seeds), BITS, ESTIMATORS.items()):
        torch.manual_seed(seed)
        reset = DeadCodeReset(decay=0.8, stop_after=round(0.8 * chosen.budget))
        model = DiscreteAutoencoder(
            MLPEncoder(signal, DIM, hidden=HIDDEN, layers=1),
            make(1 << bits, reset),
            MLPDecoder(signal, DIM, hidden=HIDDEN, layers=1),
            signal,
        )
        terms = TokenizerObjective(MSE())

        def loss(
            x: Tensor,
            step: int,
            model: DiscreteAutoencoder = model,
            terms: TokenizerObjective = terms,
        ) -> Tensor:
            return terms(x, model(x), step)["loss"]

        fit(
            model,
            loss,
            TensorExamples(train),
            steps=chosen.budget,
            seed=seed,
            after=model.quantizer.update,
            batch_size=BATCH,
        )
        case = {"estimator": name, "bits": bits, "kbit/s": bits * RATE / HOP / 1000, "seed": seed}
        rows.append(case | measure(model, test, scale))
        say(str(rows[-1]))
    found = summaries(rows)
    counts = {"train": len(train), "test": len(test)}
    return {"envelopes": counts, "rows": rows, "summary": found, "findings": findings(rows)}


def summaries(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the mean and standard deviation over the seeds, for every estimator and bits."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["estimator"], row["bits"]), []).append(row)
    return [
        {"estimator": estimator, "bits": bits}
        | {name: summary([row[name] for row in group]) for name in (*MEASURES, "usage")}
        for (estimator, bits), group in groups.items()
    ]


def findings(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int | float]]:
    """Returns, by bits, which share of the other's distortion NSVQ has, and in how many seeds."""
    by = {(row["estimator"], row["bits"], row["seed"]): row["distortion"] for row in rows}
    seeds = {row["seed"] for row in rows}
    said: dict[str, dict[str, int | float]] = {}
    for bits, other in product(BITS, [name for name in ESTIMATORS if name != "NSVQ"]):
        shares = [by["NSVQ", bits, seed] / by[other, bits, seed] for seed in seeds]
        said[f"{bits} bits, NSVQ over {other}"] = {
            "mean": sum(shares) / len(shares),
            "seeds below": sum(share < 1 for share in shares),
        }
    return said


def draw(record: dict[str, Any]) -> Figure:
    """Draws the distortion, its difference to that of straight-through, and the use of codes."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    panels = figure.subplots(1, 3)
    plain = {
        (row["bits"], row["seed"]): row["distortion"]
        for row in record["rows"]
        if row["estimator"] == PLAIN
    }
    more = "against straight-through, %"
    drawn = (MEASURES["distortion"], f"distortion {more}", MEASURES["perplexity"])
    for colour, estimator in enumerate(ESTIMATORS):
        rows = [
            {**row, more: 100 * (row["distortion"] / plain[row["bits"], row["seed"]] - 1)}
            for row in record["rows"]
            if row["estimator"] == estimator
        ]
        for axes, key in zip(panels, ("distortion", more, "perplexity"), strict=True):
            found = [summary([r[key] for r in rows if r["bits"] == bits]) for bits in BITS]
            axes.errorbar(
                BITS,
                [value["mean"] or 0 for value in found],
                [value["sd"] or 0 for value in found],
                color=f"C{colour}",
                marker="o",
                markersize=4,
                capsize=2,
                label=estimator,
            )
    for axes, title in zip(panels, drawn, strict=True):
        axes.set_xticks(BITS, [f"{bits}\n{bits * RATE / HOP / 1000:g}" for bits in BITS])
        axes.set_xlabel("bits per envelope; kbit/s below")
        axes.set_ylabel(title)
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(
        __doc__, arguments, budget=STEPS, data="", needs="folder of the sets of speech"
    )
    record = run(chosen)
    save(NAME, chosen, record, draw(record))


if __name__ == "__main__":
    main()
