"""Generated words, read by a recogniser: are they what was asked for, and how far from real ones?

    python benchmarks/generated_words.py runs/spoken-digits --kept docs/sounds/spoken-digits

The recogniser is the classifier of the report, trained apart with another seed on the training
sounds, and measured on the test sounds. It reads

    real            the test sounds
    reconstructed   what the tokenizer makes of them
    coarse alone    what it makes of the coarsest level of them
    generated       as many samples of each label, at each guidance

Fréchet distances are between its features and those of as many training sounds, drawn anew.

With `--kept` two samples of each label, at the first guidance, are written one after another to
NAME.flac, with their pictures in NAME.png and what was read in NAME.json: the first that are
drawn, none is chosen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import smalti
from smalti.conditions import Label
from smalti.data import Splits
from smalti.evaluation.classifier import train_classifier
from smalti.evaluation.measurements.frechet import FeatureGaussian, frechet_distance
from smalti.generation import Model
from smalti.modalities.audio import Sound
from smalti.modalities.audio.drawing import draw_sounds
from smalti.modalities.base import Classifier, JoinedInFile, modality_of
from smalti.runs import Run, load_run_data

BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", help="a run directory of sounds with labels")
    parser.add_argument("--data", help="where its data are, if they were moved")
    parser.add_argument("--steps", type=int, default=1000, help="steps of the recogniser")
    parser.add_argument("--each", type=int, default=30, help="samples of each label")
    parser.add_argument("--guidances", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kept", type=Path, help="path of the files that are kept, without suffix")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    run = Run.existing(given.run)
    splits, model = load_run_data(run, place=given.data), smalti.load(given.run)
    reader = train_classifier(splits, given.steps, given.seed)
    measure(model, splits, reader, given)
    if given.kept is not None:
        assert isinstance(splits.condition, Label)
        names = splits.condition.names
        keep(model, reader, names, given.kept, given.guidances[0], given.seed)


def measure(model: Model, splits: Splits, reader: Classifier, given: argparse.Namespace) -> None:
    """Prints how many sounds of each kind are read as they should be, and how far off they are."""
    assert isinstance(splits.condition, Label)
    names = splits.condition.names
    n = given.each * len(names)
    chosen = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(given.seed))
    training = splits.train.__getitems__(chosen[:n].tolist()).x
    test = splits.test.__getitems__(list(range(len(splits.test))))
    print(
        f"| of {len(names)} labels | sounds | read as asked | Fréchet distance |\n|---|---|---|---|"
    )

    def line(name: str, x: Tensor, labels: Tensor) -> None:
        said = torch.cat([reader(part).argmax(1) for part in x.split(BATCH)])
        share = (said == labels).double().mean()
        print(
            f"| {name} | {len(x)} | {share:.1%} | {distance(reader, x, training):.2f} |", flush=True
        )

    with torch.no_grad():
        assert test[1] is not None
        line("real", test.x, test[1])
        tokens = [model.encode(part) for part in test.x.split(BATCH)]
        line("reconstructed", torch.cat([model.decode(part) for part in tokens]), test[1])
        if not isinstance(tokens[0], Tensor):
            line("coarse alone", torch.cat([model.decode(part[:1]) for part in tokens]), test[1])
        for guidance in given.guidances:
            asked = [name for name in names for _ in range(given.each)]
            x = sample(model, asked, guidance, given.seed)
            labels = torch.arange(len(names)).repeat_interleave(given.each)
            line(f"generated, guidance {guidance:g}", x, labels)


def sample(model: Model, labels: list[str], guidance: float, seed: int) -> Tensor:
    """Draws a sound for each of these labels."""
    return model.sample(len(labels), {"label": labels}, seed=seed, guidance=guidance)


def distance(reader: Classifier, x: Tensor, y: Tensor) -> float:
    """Returns the Fréchet distance between sets of sounds in the features of the recogniser."""
    sets = []
    for part in (x, y):
        features = torch.cat([reader.features(some) for some in part.split(BATCH)]).double()
        sets.append(FeatureGaussian(features.mean(0), features.T.cov(), len(features)))
    return frechet_distance(*sets)


def keep(
    model: Model, reader: Classifier, names: Sequence[str], path: Path, guidance: float, seed: int
) -> None:
    """Writes two samples of each label: the sounds, their pictures, and what is read in them."""
    assert isinstance(model.signal, Sound)
    asked = [name for name in names for _ in range(2)]
    x = sample(model, asked, guidance, seed + 1)
    with torch.no_grad():
        said = [names[number] for number in reader(x).argmax(1).tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    modality = modality_of(model.signal)
    assert isinstance(modality, JoinedInFile)
    modality.write_joined(list(x), path.with_suffix(".flac"), True, model.signal)
    path.with_suffix(".png").write_bytes(draw_sounds(x, model.signal, 10))
    rows = [{"asked": a, "read": s} for a, s in zip(asked, said, strict=True)]
    path.with_suffix(".json").write_text(json.dumps(rows) + "\n")
    right = sum(row["asked"] == row["read"] for row in rows)
    print(f"kept: {right} of {len(rows)} are read as asked")


if __name__ == "__main__":
    main()
