"""The objective of tokenizers: reconstruction, commitment and the quantizer's further terms.

    loss = reconstruction(x_hat, x) + codebook + beta(step) · commitment + Σ_i w_i · further_i

The codebook term, where the quantizer has one, moves the codewords and has no weight; beta weighs
the commitment term, whose gradient reaches the encoder. Beta may rise linearly from 0 (warm-up),
which lets the encoder spread out before it is held to its codewords. Some quantizers have further
terms, such as entropies, and each must be given its weight. A model with a likelihood gives its
reconstruction term itself: −log p(x | z_q) in nats per dimension.

References:
    Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu, 2017,
    arXiv 1711.00937, equation 3.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from smalti.autoencoders import Reconstruction
from smalti.errors import InputError
from smalti.losses import ReconstructionLoss
from smalti.training.objectives.objective import Objective

__all__ = ["TokenizerObjective"]


class TokenizerObjective(Objective):
    """The loss of a tokenizer: reconstruction, weighted commitment, and further weighted terms.

    Arguments:
        reconstruction: The loss between x_hat and x, for models without a likelihood.
        commitment_weight: beta, the weight of the commitment loss.
        commitment_warmup: Optimizer steps over which beta rises linearly from 0.
        weights: The weight w_i of every further term that the quantizer has, by its name.
    """

    def __init__(
        self,
        reconstruction: ReconstructionLoss,
        commitment_weight: float = 0.25,
        commitment_warmup: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.reconstruction = reconstruction
        self.commitment_weight, self.commitment_warmup = commitment_weight, commitment_warmup
        self.weights = dict(weights or {})

    def beta(self, step: int) -> float:
        """Returns the commitment weight at optimizer step `step`."""
        if step >= self.commitment_warmup:
            return self.commitment_weight
        return self.commitment_weight * step / self.commitment_warmup

    @property
    def warmup(self) -> int:
        """Returns the steps over which beta rises."""
        return self.commitment_warmup

    def forward(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor]:
        """See `Objective.forward`.

        A term "reconstruction" among the losses takes the place of reconstruction(x_hat, x).

        Raises:
            InputError: If a term has no weight, or a weight no term.
        """
        losses = dict(output.losses)
        reconstruction = losses.pop("reconstruction", None)
        if reconstruction is None:
            reconstruction = self.reconstruction(output.x_hat, x)
        weights = {"commitment": self.beta(step), "codebook": 1.0, **self.weights}
        terms = {*losses, "commitment", "codebook"}
        if weights.keys() != terms:
            raise InputError(
                f"The quantizer has the losses {', '.join(sorted(losses))}, and weights are given "
                f"for {', '.join(sorted(self.weights)) or 'none'}: give loss_weights for those "
                f"beside codebook and commitment, and for no others."
            )
        weighted = [weights[name] * value for name, value in losses.items()]
        return {"loss": reconstruction + sum(weighted), "reconstruction": reconstruction, **losses}

    def adversary(self, x: Tensor, output: Reconstruction, step: int) -> None:
        """See `Objective.adversary`: there is none."""
