"""Assignment: which codeword a vector goes to in training.

    nearest        k = argmin_k ‖z − e_k‖²
    stochastic     k ~ p(k) ∝ exp(−‖z − e_k‖² / T)

The second lets codewords that are near, but not nearest, learn as well. A draw from p is the index
of the largest of log p(k) + G_k with independent Gumbel noise G_k, so it is a search like the
other, in blocks of vectors. Evaluation always takes the nearest.

References:
    Theory and Experiments on Vector Quantized Autoencoders, A. Roy, A. Vaswani, A. Neelakantan and
    N. Parmar, 2018, arXiv 1805.11063.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.search import some_nearest

__all__ = ["Assignment", "Nearest", "Stochastic"]

NOISE_AT_ONCE = 2**20  # scores of a block: 4 MB of float32


class Assignment(ABC):
    """Abstract: the rule that assigns each z_e a codeword.

    Attributes:
        nearest: Whether it is always the nearest codeword.
    """

    nearest: bool = False

    @abstractmethod
    def __call__(self, z: Tensor, codebook: Tensor) -> Tensor:
        """Returns the codeword of each vector: (..., D) and (K, D) to indices (...), int64."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@registered
class Nearest(Assignment):
    """Assigns each vector to its nearest codeword."""

    nearest = True

    def __call__(self, z: Tensor, codebook: Tensor) -> Tensor:
        return some_nearest(z, codebook)


@registered
class Stochastic(Assignment):
    """Assigns each vector to a codeword drawn at random, near ones more often.

    Randomness is torch's global one on the device of the vectors.

    Arguments:
        temperature: T > 0, a squared distance; towards 0 it becomes the nearest.
    """

    def __init__(self, temperature: float) -> None:
        if not temperature > 0:
            raise InputError(
                f"A stochastic assignment needs a temperature above 0, got {temperature}: "
                f"use Nearest() for 0."
            )
        self.temperature = temperature

    @torch.no_grad()
    def __call__(self, z: Tensor, codebook: Tensor) -> Tensor:
        vectors = z.reshape(-1, z.shape[-1])
        blocks = [
            self._draw(block, codebook)
            for block in vectors.split(max(NOISE_AT_ONCE // len(codebook), 1))
        ]
        return torch.cat(blocks).view(z.shape[:-1])

    def _draw(self, z: Tensor, codebook: Tensor) -> Tensor:
        logits = torch.cdist(z, codebook).square().div(-self.temperature)  # (R, K)
        gumbel = -torch.empty_like(logits).exponential_().log()
        return (logits + gumbel).argmax(1)

    def __repr__(self) -> str:
        return f"Stochastic({self.temperature})"
