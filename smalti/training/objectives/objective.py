"""The base class of objectives: weighted terms of a loss, and an adversary if there is one.

    autoencoder   minimises   forward(x, output, step)["loss"]
    adversary     minimises   adversary(x, output, step)["loss"]        with an optimizer of its own

An objective is a module, so that networks inside, such as those of perceptual losses, move with the
device and are part of saved states. Those of its parameters that require a gradient are the
adversary's: they learn from `adversary` alone. While the autoencoder learns they are frozen.

References:
    Generative Adversarial Networks, I. J. Goodfellow et al., 2014, arXiv 1406.2661.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from smalti.autoencoders import Reconstruction
from smalti.networks import FeatureNetwork
from smalti.signals import Signal

__all__ = ["Objective"]


class Objective(nn.Module, ABC):
    """Abstract: computes the loss of a batch as a weighted sum of terms, depending on the step."""

    @property
    def has_adversary(self) -> bool:
        """Returns whether it has an adversary, or will have one once it is prepared."""
        return any(parameter.requires_grad for parameter in self.parameters())

    @property
    def needs_features(self) -> bool:
        """Returns whether it compares signals in the features of a network; see `prepare`."""
        return False

    def prepare(self, signal: Signal, features: FeatureNetwork | None) -> None:
        """Is called once before training, to make what depends on the signal; nothing by default.

        Arguments:
            signal: What it will be given, as the model normalizes it.
            features: The network of features, where it needs one.
        """

    @property
    @abstractmethod
    def warmup(self) -> int:
        """Returns the optimizer step from which on no weight changes.

        Validations weigh as from there on, so that those before and after can be compared.
        """

    @abstractmethod
    def forward(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor]:
        """Computes the terms by name, and what is minimised as "loss".

        Arguments:
            x: (B, C, *size), the signals as the model normalizes them.
            output: Their reconstruction by the model.
            step: Optimizer steps taken.
        """

    @abstractmethod
    def adversary(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor] | None:
        """Computes what the adversary minimises, as "loss", and what else is to be logged.

        It is asked once per batch of training, never in validation.

        Arguments:
            x: (B, C, *size), the signals as the model normalizes them.
            output: Their reconstruction, without gradients.
            step: Optimizer steps taken.

        Returns:
            `None` where there is no adversary, or it does not learn yet.
        """
