"""Limits the work of an evaluation: examples, samples and training steps."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Limits the work of an evaluation: the numbers of examples, samples and training steps.

    Arguments:
        test: The largest number of test examples; all if None.
        samples: Samples of each prior for distances between sets.
        classifier_steps: Training steps of the classifier; 0 for no classifier and nothing that
            needs it.
        feature_steps: Training steps of the network of features where there are no labels; 0 for
            no such features and nothing that needs them.
        shown: Samples of each prior in the report.
        batch_size: Examples at a time.
        downloaded: Whether to take measurements that need downloaded weights, such as Inception's,
            if these are there.
        bounded: Test examples for the importance-weighted likelihood bound of a VAE.
        importance: Importance draws for each of them.
        judge_steps: Training steps of the judge of captions; 0 for none.
    """

    test: int | None = 10_000
    samples: int = 2000
    classifier_steps: int = 1500
    feature_steps: int = 100
    shown: int = 36
    batch_size: int = 250
    downloaded: bool = True
    bounded: int = 250
    importance: int = 100
    judge_steps: int = 600
