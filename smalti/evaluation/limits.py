"""Sizes of an evaluation: examples, samples and training steps."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Sizes of an evaluation: examples, samples and training steps.

    Arguments:
        test: Test examples at most; all where not given.
        samples: Samples of each prior for distances between sets.
        classifier_steps: Training steps of the classifier; 0 for no classifier and nothing that
            needs it.
        shown: Samples of each prior in the report.
        batch_size: Examples at a time.
        downloaded: Whether what needs the weights of a network of others is measured, where these
            are there.
        bounded: Test examples for the importance-weighted likelihood of a VAE.
        importance: Draws for each of them.
    """

    test: int | None = 10_000
    samples: int = 2000
    classifier_steps: int = 1500
    shown: int = 36
    batch_size: int = 250
    downloaded: bool = True
    bounded: int = 250
    importance: int = 100
