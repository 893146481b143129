"""Regularisers: further losses on a codebook.

    orthogonality     Σ_{j≠k} ⟨ê_j, ê_k⟩² / K²                        codewords point apart
    entropy           mean H(p(·|z)) − H(mean p(·|z))                 sure of each, even over all

with ê = e/‖e‖, p(k|z) = softmax_k(−‖z − e_k‖²/T) and H in nats. They are terms like the others:
their weights belong to the training objective.

References:
    Diversifying semantic image synthesis and editing via class- and layer-wise VAEs, Y. Endo and Y.
    Kanamori, 2021, arXiv 2106.13416 (orthogonality); Language Model Beats Diffusion: Tokenizer is
    Key to Visual Generation, L. Yu et al., 2023, arXiv 2310.05737 (entropy).
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.means import mean_weights
from smalti.quantizers.unit_vectors import limit_length, normalize_vectors

__all__ = ["Entropy", "Orthogonality", "Regulariser"]


class Regulariser(ABC):
    """Abstract: a further loss of a vector quantizer, on its codewords or their use.

    Attributes:
        name: Name of its loss.
    """

    name: str

    @abstractmethod
    def __call__(self, z_e: Tensor, codebook: Tensor, mask: Tensor | None) -> Tensor:
        """Computes the loss, a scalar.

        Arguments:
            z_e: The encoder's vectors (..., D), float32, with their gradient; 0 where masked.
            codebook: Codewords (K, D), with their gradient where gradients train them.
            mask: Valid positions (...), bool; None where all are.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@registered
class Orthogonality(Regulariser):
    """Orthogonality loss: the mean squared cosine between different codewords.

    It takes memory for K × K numbers: with a large codebook give `sample`.

    Arguments:
        sample: How many codewords, drawn anew at each step, are compared; None for all.
    """

    name = "orthogonality"

    def __init__(self, sample: int | None = None) -> None:
        if sample is not None and sample < 2:
            raise InputError(f"Orthogonality compares at least 2 codewords, got sample={sample}.")
        self.sample = sample

    def __call__(self, z_e: Tensor, codebook: Tensor, mask: Tensor | None) -> Tensor:
        if self.sample is not None and self.sample < len(codebook):
            codebook = codebook[
                torch.randperm(len(codebook), device=codebook.device)[: self.sample]
            ]
        directions = normalize_vectors(codebook)
        # Σ_jk ⟨ê_j, ê_k⟩² = ‖ÊᵀÊ‖²: D × D numbers where D is the smaller.
        few = len(directions) <= directions.shape[1]
        gram = directions @ directions.T if few else directions.T @ directions
        itself = directions.square().sum(1).square().sum()
        return (gram.square().sum() - itself) / len(directions) ** 2


@registered
class Entropy(Regulariser):
    """Entropy loss: wants sure assignments of single vectors, and even use of all codewords.

    It is the entropy of each vector's assignment minus that of their mean, in nats.

    The second is a property of a batch: unlike the other losses it depends on what the batch holds,
    and the mean of the parts is not that of the whole. It takes memory for N × K numbers.

    Arguments:
        temperature: T > 0, a squared distance.
        diversity: The weight of the entropy of the mean beside that of the single vectors.
    """

    name = "entropy"

    def __init__(self, temperature: float = 1.0, diversity: float = 1.0) -> None:
        if not temperature > 0:
            raise InputError(f"Entropy needs a temperature above 0, got {temperature}.")
        self.temperature, self.diversity = temperature, diversity

    def __call__(self, z_e: Tensor, codebook: Tensor, mask: Tensor | None) -> Tensor:
        z, share = limit_length(z_e.reshape(-1, z_e.shape[-1])), mean_weights(z_e, mask)
        # ‖z‖² is the same for every k and drops out.
        score = 2 * z @ codebook.T - codebook.square().sum(1)  # (N, K)
        log_p = F.log_softmax(score / self.temperature, dim=1)
        p = log_p.exp()
        mean = share @ p
        of_each = -share @ (p * log_p).sum(1)
        # Clamped, for where the mean is 0 its logarithm has no finite gradient.
        of_the_mean = -(mean * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()).sum()
        return of_each - self.diversity * of_the_mean

    def __repr__(self) -> str:
        return f"Entropy({self.temperature}, {self.diversity})"
