"""Adds to an objective the distance of the short-time spectra of x̂ and x.

    loss = loss of the objective + mel_weight · mel distance + stft_weight · multi-resolution STFT

The distances are `smalti.losses.MelDistance` and `MultiResolutionSTFT`, made for the rate of the
signal. Channels are compared one by one. Where a value is missing, or a mask leaves it out, x̂ and x
do not differ.

References:
    High Fidelity Neural Audio Compression, A. Défossez, J. Copet, G. Synnaeve and Y. Adi, 2022,
    arXiv 2210.13438, section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from smalti.autoencoders import Reconstruction
from smalti.errors import InputError
from smalti.losses import MelDistance, MultiResolutionSTFT
from smalti.networks import FeatureNetwork
from smalti.signals import Signal
from smalti.training.objectives.objective import Objective
from smalti.training.objectives.perceptual_objective import fill_gaps

__all__ = ["SpectralObjective"]


class SpectralObjective(Objective):
    """The loss of another objective, and distances of spectra: "mel" and "stft".

    A distance of weight 0 is not computed.

    Arguments:
        objective: The objective that it adds to.
        mel: Makes the mel distance for a rate; MelDistance if not given.
        stft: Makes the multi-resolution STFT loss; MultiResolutionSTFT if not given.
        mel_weight: The weight of the mel distance.
        stft_weight: The weight of the multi-resolution STFT loss.

    Raises:
        InputError: If a weight is negative.
    """

    mel: MelDistance | None
    stft: MultiResolutionSTFT | None

    def __init__(
        self,
        objective: Objective,
        mel: Callable[[float], MelDistance] | None = None,
        stft: Callable[[float], MultiResolutionSTFT] | None = None,
        *,
        mel_weight: float = 1.0,
        stft_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if min(mel_weight, stft_weight) < 0:
            raise InputError(
                f"mel_weight and stft_weight are at least 0, got {mel_weight} and {stft_weight}."
            )
        self.objective = objective
        self.make_mel, self.make_stft = mel or MelDistance, stft or MultiResolutionSTFT
        self.mel_weight, self.stft_weight = mel_weight, stft_weight
        self.mel, self.stft = None, None

    @property
    def has_adversary(self) -> bool:
        """See `Objective.has_adversary`."""
        return self.objective.has_adversary

    @property
    def needs_features(self) -> bool:
        """See `Objective.needs_features`."""
        return self.objective.needs_features

    @property
    def warmup(self) -> int:
        """See `Objective.warmup`."""
        return self.objective.warmup

    def prepare(self, signal: Signal, features: FeatureNetwork | None) -> None:
        """See `Objective.prepare`; it makes the distances for the signal's rate.

        Raises:
            InputError: If the signal has none.
        """
        self.objective.prepare(signal, features)
        rate = getattr(signal, "rate", None)
        if rate is None or signal.spatial_dims != 1:
            raise InputError(
                f"A SpectralObjective compares spectra over time, got {signal.plural} without a "
                f"rate: leave it out, or give data whose rate is known."
            )
        self.mel = self.make_mel(rate) if self.mel_weight else None
        self.stft = self.make_stft(rate) if self.stft_weight else None

    def forward(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor]:
        """See `Objective.forward`."""
        terms = dict(self.objective(x, output, step))
        x = fill_gaps(x, output.x_hat)
        distances = (("mel", self.mel, self.mel_weight), ("stft", self.stft, self.stft_weight))
        for name, distance, weight in distances:
            if distance is not None:
                terms[name] = distance(output.x_hat, x)
                terms["loss"] = terms["loss"] + weight * terms[name]
        return terms

    def adversary(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor] | None:
        """See `Objective.adversary`: that of the objective it adds to."""
        return self.objective.adversary(x, output, step)
