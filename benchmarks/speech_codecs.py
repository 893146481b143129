"""Speech at low rates: Opus, Codec2 and trained runs on the same held-out sounds.

    python benchmarks/speech_codecs.py [RUN ...] --data FOLDER [FOLDER ...] --threads 1

FOLDER holds a data set with an audio column (`test-*.parquet`, of which nothing was trained on), or
sound files. Each sound is made mono, resampled to 16 kHz, cut to 10 s, rounded to 16 bits, and goes
through every codec; what comes out is resampled to 16 kHz, aligned, and compared with what went in.

    Opus      opusenc and opusdec of opus-tools, --speech; VBR and hard CBR
    Codec2    c2enc and c2dec at 8 kHz
    RUN       a run directory of `smalti fit`, by each number of its stages

Rates are of real bytes over seconds of sound: `payload` without headers and pages of a container,
`file` with them. A run's file is what `smalti compress` writes, under its prior, or by how often an
index comes in training where it has none. Where only some of its stages are used, the payload is
nominal: each token as a number.

A codec has one lag for all sounds: the joint peak of their cross-correlations. Where waveforms do
not correlate, because a codec such as Codec2 keeps none, it is the time around the joint peak of
envelopes at which STOI is highest. PESQ and mel distance are
taken twice: as narrow band at 8 kHz, where all codecs can be compared, and at 16 kHz, where those
lose that code no more than 4 kHz. Pauses of these recordings are almost digital silence, where the
logarithms of the mel distance see any hiss, so it is also taken of what is within 45 dB of the
loudest 20 ms. Figures are means and standard deviations over sounds.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as parquet
import soundfile
import soxr
import torch
from matplotlib.figure import Figure
from torch import Tensor

import smalti
from smalti.autoencoders import Tokenizer
from smalti.codec.container import read as open_bytes
from smalti.generation import Model
from smalti.modalities.audio.alignment import correlate, envelope, shift
from smalti.modalities.audio.bit_rate import depths
from smalti.modalities.audio.quality import mel_distance, pesq, si_sdr, stoi
from smalti.outputs import MARK
from smalti.quantizers.first_codebooks import first_codebooks

RATE = 16000
OPUS = {  # name → options of opusenc; 6 kbit/s is the lowest that it takes
    "6, CBR": ("--bitrate", "6", "--hard-cbr"),
    "6, VBR": ("--bitrate", "6", "--vbr"),
    "6, VBR, 60 ms frames": ("--bitrate", "6", "--vbr", "--framesize", "60"),
    "8, VBR": ("--bitrate", "8", "--vbr"),
    "12, VBR": ("--bitrate", "12", "--vbr"),
    "16, VBR": ("--bitrate", "16", "--vbr"),
}
CODEC2 = {
    "700C": 700,
    "1200": 1200,
    "1300": 1300,
    "1600": 1600,
    "2400": 2400,
    "3200": 3200,
}  # bit/s
ALIKE = 0.3  # the mean correlation from which on waveforms are kept
MOST_LAG = 1600  # samples
FRAME, QUIET = 320, 45  # samples; dB below the loudest frame
HOP = 16  # samples between two values of an envelope
AROUND = (-8, -4, 0, 4, 8)  # milliseconds
TRIED = 6  # sounds, by which a lag is chosen
DRAWN = ("STOI", "PESQ nb", "PESQ wb", "mel, no pauses")


class Coded(NamedTuple):
    """What a codec made of a sound.

    Attributes:
        sound: (T,), at 16 kHz.
        payload: Bits without headers.
        file: Bits of the file; None where none is written.
    """

    sound: np.ndarray
    payload: float
    file: float | None


Codec = Callable[[np.ndarray], Coded]
Row = dict[str, Any]
"""Of a codec, numbers and lists of one number a sound, by the titles of the columns."""


def opus(chosen: Sequence[str], folder: Path) -> Codec:
    """Returns Opus with these options of opusenc beside those for speech and for small headers."""
    options = ["--quiet", "--speech", "--discard-comments", "--padding", "0", *chosen]

    def code(x: np.ndarray) -> Coded:
        wav, coded, back = (folder / name for name in ("in.wav", "coded.opus", "out.wav"))
        soundfile.write(wav, x, RATE, subtype="PCM_16")
        run("opusenc", *options, str(wav), str(coded))
        run("opusdec", "--quiet", "--rate", str(RATE), str(coded), str(back))
        content = coded.read_bytes()
        sound = soundfile.read(back, dtype="float32")[0]
        return Coded(sound, 8 * opus_payload(content), 8 * len(content))

    return code


def opus_payload(content: bytes) -> int:
    """Counts the bytes of the packets of audio in an Ogg file: those after its two headers."""
    packets, open_bytes, place = [], 0, 0
    while place + 27 <= len(content):
        if content[place : place + 4] != b"OggS":
            raise ValueError("No page of Ogg begins here.")
        (count,) = struct.unpack_from("B", content, place + 26)
        lacing = content[place + 27 : place + 27 + count]
        for length in lacing:
            open_bytes += length
            if length < 255:  # the last segment of a packet
                packets.append(open_bytes)
                open_bytes = 0
        place += 27 + count + sum(lacing)
    return sum(packets[2:])


def codec2(mode: str, folder: Path) -> Codec:
    """Returns Codec2 in a mode, such as "1300"."""

    def code(x: np.ndarray) -> Coded:
        raw, coded, back = (folder / name for name in ("in.raw", "coded.c2", "out.raw"))
        narrow = soxr.resample(x, RATE, 8000)
        (np.clip(narrow, -1, 1) * 32767).round().astype("<i2").tofile(raw)
        run("c2enc", mode, str(raw), str(coded))
        run("c2dec", mode, str(coded), str(back))
        sound = np.fromfile(back, "<i2").astype(np.float32) / 32768
        # Its frames of 28 or 52 bits are filled up to whole bytes in a file.
        payload = CODEC2[mode] * len(x) / RATE
        return Coded(soxr.resample(sound, 8000, RATE), payload, 8 * coded.stat().st_size)

    return code


def run(*command: str) -> None:
    """Runs a program; what it says is in the error if it fails."""
    if shutil.which(command[0]) is None:
        raise SystemExit(
            f"There is no {command[0]}: install opus-tools and codec2 (Debian has both), or name "
            f"others with --only."
        )
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def learned(model: Model, stages: int) -> Codec:
    """Returns a run by its first stages; by all of them through the bytes that it writes."""
    tokenizer = model.autoencoder
    assert isinstance(tokenizer, Tokenizer)
    rate = tokenizer.signal.rate  # type: ignore[attr-defined]
    sizes = tokenizer.layout.codebook_sizes[0]
    bits_each = sum(math.log2(k) for k in sizes[:stages])
    prior = "unigram" if model.prior is None else "learned"

    def code(x: np.ndarray) -> Coded:
        own = torch.from_numpy(soxr.resample(x, RATE, rate)).float()[None, None].clamp(-1, 1)
        if stages == len(sizes):
            content = model.compress(own, prior=prior, any_size=True)
            sound = model.decompress(content)
            streams = (
                block.content for entry in open_bytes(content).entries for block in entry.blocks
            )
            payload, file = 8 * sum(map(len, streams)), 8 * len(content)
        else:
            indices = tokenizer.encode(own, any_size=True)
            sound = tokenizer.decode(first_codebooks(indices, stages), size=own.shape[2:])
            payload, file = indices[..., 0].numel() * bits_each, None
        return Coded(soxr.resample(sound[0, 0].cpu().numpy(), rate, RATE), payload, file)

    return code


def read(folder: Path, clips: int, seconds: float) -> list[np.ndarray]:
    """Returns the sounds of a folder: mono, at 16 kHz, cut, and rounded to 16 bits."""
    sounds = []
    for file in ours(folder):
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        mono = soxr.resample(samples.mean(1), rate, RATE)[: round(seconds * RATE)]
        sounds.append((np.clip(mono, -1, 1) * 32767).round().astype(np.float32) / 32768)
        if len(sounds) == clips:
            break
    if not sounds:
        raise SystemExit(f"No sounds lie in {folder}: give a folder with test-*.parquet, or files.")
    return sounds


def ours(folder: Path) -> Iterator[io.BytesIO | Path]:
    """Yields the sounds of a folder: those of the column `audio` of its test set, or its files."""
    tables = sorted(folder.glob("test*.parquet"))
    for table in tables:
        for row in parquet.read_table(table, columns=["audio"])["audio"].to_pylist():
            yield io.BytesIO(row["bytes"])
    if not tables:
        yield from sorted(p for p in folder.rglob("*") if p.suffix in (".wav", ".flac", ".ogg"))


def pairs(sounds: Sequence[np.ndarray], coded: Sequence[Coded]) -> list[tuple[Tensor, Tensor]]:
    """Returns originals and reconstructions, (T,) each, not yet aligned."""
    return [
        (torch.from_numpy(x), torch.from_numpy(np.ascontiguousarray(y.sound)))
        for x, y in zip(sounds, coded, strict=True)
    ]


def common_lag(both: Sequence[tuple[Tensor, Tensor]]) -> int:
    """Finds the lag of a codec, in samples, from some of its sounds together."""
    wave = torch.zeros(2 * MOST_LAG + 1, dtype=torch.float64)
    rises = torch.zeros(2 * (MOST_LAG // HOP) + 1, dtype=torch.float64)
    for x, y in both:
        wave += correlate(x, y, MOST_LAG)[0]
        u, v = (envelope(s[None, None], HOP) for s in (x, y))
        rises += correlate(u, v, MOST_LAG // HOP)[0]
    middle = (int(rises.argmax()) - MOST_LAG // HOP) * HOP
    if float(wave.max()) / len(both) >= ALIKE:
        return int(wave.argmax()) - MOST_LAG
    tried = [middle + n * RATE // 1000 for n in AROUND]

    def intelligible(lag: int) -> float:
        cut = [shift(x, y, torch.tensor([lag])) for x, y in both[:TRIED]]
        return mean(float(stoi(pair.x, pair.x_hat, RATE).values) for pair in cut)

    return max(tried, key=intelligible)


def measure(x: Tensor, y: Tensor) -> dict[str, float]:
    """Returns the measures of a pair (T,) that is aligned."""
    u, v = (torch.from_numpy(soxr.resample(s.numpy(), RATE, 8000)) for s in (x, y))
    loud, loud_hat = without_pauses(x, y)
    return {
        "PESQ nb": float(pesq(x, y, RATE, "narrow").values),
        "PESQ wb": float(pesq(x, y, RATE, "wide").values),
        "STOI": float(stoi(x, y, RATE).values),
        "SI-SDR, dB": float(si_sdr(x, y).values),
        "mel 8 kHz": float(mel_distance(u, v, 8000)),
        "mel 16 kHz": float(mel_distance(x, y, RATE)),
        "mel, no pauses": float(mel_distance(loud, loud_hat, RATE)),
    }


def without_pauses(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a pair (T,) without the frames of x that are far below its loudest."""
    frames = [s[: len(s) // FRAME * FRAME].view(-1, FRAME) for s in (x, y)]
    power = frames[0].square().mean(1)
    loud = power > power.max() * 10 ** (-QUIET / 10)
    return frames[0][loud].flatten(), frames[1][loud].flatten()


def tried(codec: Codec, sounds: Sequence[np.ndarray]) -> Row:
    """Returns the rates and measures of a codec: numbers, and lists of one a sound."""
    begun = time.perf_counter()
    coded = [codec(x) for x in sounds]
    spent = time.perf_counter() - begun
    seconds = sum(len(x) for x in sounds) / RATE
    both = pairs(sounds, coded)
    lag = common_lag(both)
    cut = [shift(x, y, torch.tensor([lag])) for x, y in both]
    found = [measure(pair.x, pair.x_hat) for pair in cut]
    files = [c.file for c in coded if c.file is not None]
    return {
        "payload, kbit/s": sum(c.payload for c in coded) / seconds / 1000,
        "file, kbit/s": sum(files) / seconds / 1000 if files else None,
        "lag, ms": lag / RATE * 1000,
        "× real time": seconds / spent,
        **{name: [row[name] for row in found] for name in found[0]},
    }


def cell(value: float | None | list[float]) -> str:
    """Formats a number, or the mean and standard deviation of those of the sounds."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    there = [v for v in value if not math.isnan(v)]
    if not there:
        return ""
    digits = 3 if max(there) <= 1 and min(there) >= 0 else 2
    spread = stdev(there) if len(there) > 1 else 0.0
    left_out = f" ({len(value) - len(there)} without)" if len(there) < len(value) else ""
    return f"{mean(there):.{digits}f} ± {spread:.{digits}f}{left_out}"


def codecs(runs: Sequence[str], folder: Path) -> Iterator[tuple[str, Codec]]:
    """Yields all codecs by name."""
    for mode in CODEC2:
        yield f"Codec2 {mode}", codec2(mode, folder)
    for name, options in OPUS.items():
        yield f"Opus {name}", opus(options, folder)
    for path in runs:
        model = smalti.load(path)
        assert isinstance(model.autoencoder, Tokenizer)
        count = len(model.autoencoder.layout.codebook_sizes[0])
        for stages in depths(count):
            name = f"{Path(path).name}, {stages} of {count} stages"
            yield name, learned(model, stages)


def draw(record: Mapping[str, Mapping[str, Row]]) -> Figure:
    """Draws the measures over the rate of the payload: a row of panels for each set."""
    figure = Figure(figsize=(11, 3.6 * len(record)), layout="constrained")
    panels = figure.subplots(len(record), len(DRAWN), squeeze=False)
    for (data, rows), row in zip(record.items(), panels, strict=True):
        for axes, measure in zip(row, DRAWN, strict=True):
            for colour, family in enumerate(dict.fromkeys(family_of(name) for name in rows)):
                points = sorted(
                    (float(np.mean(found["payload, kbit/s"])), float(np.nanmean(found[measure])))
                    for name, found in rows.items()
                    if family_of(name) == family
                )
                axes.plot(*zip(*points, strict=True), "o-", color=f"C{colour}", label=family)
            axes.set_xscale("log")
            axes.set_xticks([0.7, 1.5, 3, 6, 12], ["0.7", "1.5", "3", "6", "12"])
            axes.minorticks_off()
            axes.set_xlabel("kbit/s")
            axes.set_ylabel(measure)
            axes.grid(alpha=0.2)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_title(data, loc="left")
        row[0].legend(frameon=False, fontsize=9)
    return figure


def family_of(name: str) -> str:
    """Returns what the points of a line have in common."""
    if name.startswith("Codec2"):
        return "Codec2"
    if name.startswith("Opus"):
        return "Opus, VBR" if "VBR" in name else "Opus, CBR"
    return name.partition(",")[0]


def main() -> None:
    """Prints a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", help="run directories of tokenizers of sound")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--only", nargs="*", help="parts of the names of some; all if not given")
    parser.add_argument("--clips", type=int, default=12, help="of each set, at most")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each sound, at most")
    parser.add_argument("--json", type=Path, help="where all figures are written, sound by sound")
    parser.add_argument("--plot", type=Path, help="where a picture of them is written (.png)")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    record: dict[str, dict[str, Row]] = {}
    for data in asked.data:
        sounds = read(data, asked.clips, asked.seconds)
        length = sum(map(len, sounds)) / RATE
        print(f"\n{data.name}: {len(sounds)} sounds, {length:.0f} s\n", flush=True)
        record[data.name] = {}
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            for name, codec in codecs(asked.runs, Path(folder)):
                if asked.only and not any(part in name for part in asked.only):
                    continue
                row = tried(codec, sounds)
                if not record[data.name]:
                    print(f"| codec | {' | '.join(row)} |\n|{'---|' * (len(row) + 1)}")
                record[data.name][name] = row
                print(f"| {name} | {' | '.join(map(cell, row.values()))} |", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(record, indent=1) + "\n")
    if asked.plot:
        draw(record).savefig(asked.plot, format="png", dpi=110, metadata={"Software": MARK})


if __name__ == "__main__":
    main()
