"""The fields of a recipe that describe a network of features, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smalti.errors import InputError
from smalti.networks import FeatureNetwork
from smalti.signals import Signal
from smalti.training import Training

__all__ = ["FeaturesRecipe"]

FEATURE_STEPS = 1000  # where nothing is said


@dataclass(frozen=True)
class FeaturesRecipe:
    """The network whose features a perceptual objective compares, and the report measures.

    By default it is a small one, trained on the training examples without labels.

    Arguments:
        network: Any network of features; ConvFeatures if not given. Its signal comes from the data.
        training: Steps, batches, optimizer, schedule of its training without labels; none for a
            network that brings its weights along.
        folder: A folder with a network that was saved, such as `features` of another run, in the
            place of these two.
    """

    network: Callable[[Signal], FeatureNetwork] | None = None
    training: Training | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and (self.network or self.training):
            raise InputError(
                f"A network of features is saved in a folder, or made, got {self.folder} and "
                f"{'a network' if self.network else 'a training'}: leave one of the two out."
            )
        if self.training is not None and self.training.adversary_optimizer is not None:
            raise InputError(
                "A network of features has no adversary, got training.adversary_optimizer: leave "
                "it out."
            )
        if self.training is not None and self.training.batch_size < 2:
            raise InputError(
                "The training of a network of features compares examples with each other, got a "
                "batch_size of 1: set it to 2 at least."
            )

    @property
    def taught(self) -> Training | None:
        """Returns how it is trained; `None` where it has its weights already."""
        if self.training is None and self.network is None and self.folder is None:
            return Training(steps=FEATURE_STEPS, batch_size=64)
        return self.training
