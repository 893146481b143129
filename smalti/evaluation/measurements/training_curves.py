"""The training curves of each stage, how long it took, and whether it overfitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from smalti.evaluation.curves import Curve, find_onset, find_overfitting, read_curves
from smalti.evaluation.plots import plot_curves
from smalti.reporting import Block, Measurement, Plot, Section, SideBySide
from smalti.reporting.figures import number

__all__ = ["TrainingCurves"]


class TrainingCurves(Measurement[Any]):
    """Plots the training and validation curves of each stage.

    Arguments:
        logs: For each stage, the `metrics.csv` files of Lightning's CSV logger, oldest first.
    """

    key: ClassVar[str] = "curves"
    title: ClassVar[str] = "Training curves"
    chapter: ClassVar[str] = "Training curves"
    file_names: ClassVar[str] = r"curves-(features|tokenizer|prior|reranker|autoencoder).*"

    def __init__(self, logs: Mapping[str, Path | Sequence[Path]] | None = None) -> None:
        self.logs = logs or {}

    def applies(self, subject: Any) -> str | None:
        """See `Measurement.applies`."""
        return None

    def run(self, subject: Any) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        curves: dict[str, dict[str, dict[str, Curve]]] = {}
        for stage, files in self.logs.items():
            with section.attempt(f"Training curves of the {stage}"):
                curves[stage] = read_curves(files)
        seconds = {stage: read.pop("seconds", {}).get("train") for stage, read in curves.items()}
        for stage, read in curves.items():
            _overfitting(section, stage, read.get("loss", {}).get("validation", []))
            onset = find_onset(read.get("adversarial_weight", {}).get("train", []))
            if onset is not None:
                _before_and_after(section, stage, onset, read)
            _plots(section, stage, read, onset)
        taken = [
            f"{stage} {number(round(points[-1][1]))} s"
            for stage, points in seconds.items()
            if points
        ]
        if taken:
            section.facts["Training"] = ", ".join(taken)
        steps = {stage: _steps(read.get("loss", {})) for stage, read in curves.items()}
        if lengths := [f"{stage} {number(n)}" for stage, n in steps.items() if n]:
            section.facts["Steps taken"] = ", ".join(lengths)
        if not section.blocks and not section.missing:
            fitted = "codebooks were computed from all examples, not trained step by step."
            section.leave_out(self.title, fitted if taken else "no log of them was found.")
        return section


def _steps(losses: Mapping[str, Curve]) -> int:
    return max((points[-1][0] + 1 for points in losses.values() if points), default=0)


def _overfitting(section: Section, stage: str, losses: Curve) -> None:
    """Adds a fact if the validation loss of a stage rose from its lowest value on."""
    if rose := find_overfitting(losses):
        step, last, lowest, end = rose
        section.facts[f"Overfitting of the {stage}"] = (
            f"the {stage} overfitted from step {number(step)} on: its validation loss rose from "
            f"{lowest:.4g} there to {end:.4g} at step {number(last)}"
        )


def _before_and_after(
    section: Section, stage: str, onset: int, curves: Mapping[str, dict[str, Curve]]
) -> None:
    """Adds a fact of what validation said before an adversary was heard, and says in the end."""
    said = []
    for quantity in ("reconstruction", "perceptual"):
        points = curves.get(quantity, {}).get("validation", [])
        before = [value for step, value in points if step < onset]
        after = [value for step, value in points if step >= onset]
        if before and after:
            worst = max(after)
            said.append(
                f"{quantity} {before[-1]:.4g} before, {worst:.4g} at most after, {after[-1]:.4g} "
                f"at the end"
            )
    told = f", of validation {'; '.join(said)}" if said else ""
    section.facts[f"Adversary of the {stage}"] = f"heard from about step {number(onset)} on{told}"


def _plots(
    section: Section, stage: str, curves: Mapping[str, dict[str, Curve]], onset: int | None
) -> None:
    """Adds the plots of a stage's curves to the section, side by side, with an onset marked."""
    plots: dict[str, Block] = {}
    for quantity, splits in curves.items():
        with section.attempt(f"Curve of {quantity} of the {stage}"):
            caption = f"{quantity} of the {stage} over the steps"
            if onset is not None:
                caption += ", dashed where its adversary is first heard"
            plot = plot_curves(quantity, splits, onset)
            plots[quantity] = Plot(plot, caption, captioned=False)
    if plots:
        side = SideBySide(plots, heading=stage.capitalize(), narrow=True)
        section.blocks[f"curves/{stage}"] = side
