"""Assignments: the rules by which vectors are assigned to codewords in training.

    nearest        k = argmin_k ‖z − e_k‖²
    stochastic     k ~ p(k) ∝ exp(−‖z − e_k‖² / T)
    Sinkhorn       k = argmin_k ‖z − e_k‖² + λ_k

The second lets codewords that are near, but not nearest, learn as well. A draw from p is the index
of the largest of log p(k) + G_k with independent Gumbel noise G_k, so it is a search like the
other, in blocks of vectors. The third gives each codeword nearly the same share of a batch, by a
price λ_k that is higher where many vectors are near (`smalti.quantizers.prices`), so that none is
left without vectors to learn from. Evaluation always takes the nearest.

References:
    Theory and Experiments on Vector Quantized Autoencoders, A. Roy, A. Vaswani, A. Neelakantan and
    N. Parmar, 2018, arXiv 1805.11063.
    Adapting Large Language Models by Integrating Collaborative Semantics for Recommendation, B.
    Zheng et al., 2024, ICDE, arXiv 2311.09049 (LC-Rec): Sinkhorn's iterations in an RQ-VAE.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.prices import sinkhorn_prices
from smalti.quantizers.quantizer import finite_vectors
from smalti.quantizers.search import nearest_or_zero
from smalti.quantizers.tiles import fit_frame

__all__ = ["Assignment", "Nearest", "Sinkhorn", "Stochastic"]

NOISE_AT_ONCE = 2**20  # scores of a block: 4 MB of float32
COSTS_AT_ONCE = 2**22  # of a block: 16 MB of float32
COSTS_KEPT = 2**24  # of all blocks; of more they are computed in each iteration
FALLING = 0.8  # the share of the iterations over which T falls
FAR = 1e6  # of a vector further out than so many radii of the codebook, the direction counts
TINY = 1e-30  # where all codewords are equally far from all vectors


class Assignment(ABC):
    """Abstract: the rule that assigns each z_e a codeword.

    Attributes:
        nearest: Whether it is always the nearest codeword.
    """

    nearest: bool = False

    @abstractmethod
    def __call__(self, z: Tensor, codebook: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the codeword of each vector.

        Arguments:
            z: Vectors (..., D).
            codebook: Codewords (K, D).
            mask: Which vectors count (...), bool; None where all do.

        Returns:
            Indices (...), int64, from 0 to K - 1 also of vectors that do not count.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@registered
class Nearest(Assignment):
    """Assigns each vector to its nearest codeword."""

    nearest = True

    def __call__(self, z: Tensor, codebook: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `Assignment`."""
        return nearest_or_zero(z, codebook)


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
    def __call__(self, z: Tensor, codebook: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `Assignment`."""
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


@registered
class Sinkhorn(Assignment):
    """Assigns the vectors of a batch so that each codeword gets nearly the same share of them.

    Of N vectors each of K codewords gets about N/K; where N < K, none gets many more than one.
    Vectors that are masked or not finite do not count. The shares are those of each forward pass:
    where several processes train together each balances its own part of the batch, which balances
    the whole. It takes the time of about `iterations` searches.

    Arguments:
        temperature: T > 0. It is relative to how much further, in squared distance, the mean
            codeword is from a vector than the nearest is, so it depends on no scale. A higher one
            needs fewer iterations, and shares differ more.
        iterations: Sinkhorn's. T falls from 1 to its value over the first four fifths of them.

    Example:
        >>> z, codebook = torch.tensor([[0.0], [0.1], [0.2], [0.3]]), torch.tensor([[0.0], [1.0]])
        >>> Nearest()(z, codebook), Sinkhorn()(z, codebook)
        (tensor([0, 0, 0, 0]), tensor([0, 0, 1, 1]))
    """

    def __init__(self, temperature: float = 0.003, iterations: int = 50) -> None:
        if not temperature > 0:
            raise InputError(
                f"A Sinkhorn assignment needs a temperature above 0, got {temperature}: take "
                f"0.003, or more with fewer iterations."
            )
        if iterations < 1:
            raise InputError(
                f"A Sinkhorn assignment needs at least 1 iteration, got {iterations}: use "
                f"Nearest() for none."
            )
        self.temperature, self.iterations = temperature, iterations

    @torch.no_grad()
    def __call__(self, z: Tensor, codebook: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `Assignment`."""
        counts = finite_vectors(z) if mask is None else finite_vectors(z) & mask
        vectors = z.reshape(-1, z.shape[-1])
        index = _balanced(vectors, codebook, counts.reshape(-1), self.temperature, self.iterations)
        return index.view(z.shape[:-1])

    def __repr__(self) -> str:
        return f"Sinkhorn({self.temperature}, {self.iterations})"


# To torch.compile one operation, for how many vectors count is known only as it runs.
@torch.library.custom_op("smalti::balanced", mutates_args=())
def _balanced(
    vectors: Tensor, codebook: Tensor, counts: Tensor, temperature: float, iterations: int
) -> Tensor:
    """Assigns those vectors (N, D) that count (N,) to codewords (K, D) in equal shares: (N,)."""
    index = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
    rows, known = counts.nonzero()[:, 0], finite_vectors(codebook).nonzero()[:, 0]
    if len(rows) and len(known):
        costs = _Costs(vectors[rows], codebook[known])
        n, size = len(rows), len(known)
        unit = torch.cat([block.mean(1) for block in costs]).median().clamp(min=TINY)
        done = [min((i + 1) / (FALLING * iterations), 1.0) for i in range(iterations)]
        prices = sinkhorn_prices(
            costs,
            [unit * max(temperature**share, temperature) for share in done],
            max(n / size, 1.0),
            unit.new_zeros(size),
            least=0.0 if n < size else -torch.inf,
        )
        index[rows] = known[torch.cat([(block + prices).argmin(1) for block in costs])]
    return index


@_balanced.register_fake
def _(
    vectors: Tensor, codebook: Tensor, counts: Tensor, temperature: float, iterations: int
) -> Tensor:
    return vectors.new_empty(len(vectors), dtype=torch.int64)


class _Costs:
    """What each codeword costs each vector: half of ‖z − e‖² − min ‖z − e‖², to some scale.

    Arguments:
        vectors: (N, D), finite.
        codebook: (K, D), finite.
    """

    def __init__(self, vectors: Tensor, codebook: Tensor) -> None:
        frame = fit_frame(codebook)
        codewords, z = frame.place(codebook), frame.place(vectors)
        length = torch.linalg.vector_norm(z, dim=1, keepdim=True, dtype=torch.float64)
        z = z * (FAR * max(frame.radius, TINY) / length).clamp(max=1).float()
        self.offset, self.codewords = codewords.square().sum(1) / 2, codewords
        self.parts = z.split(max(COSTS_AT_ONCE // len(codebook), 1))
        few = len(vectors) * len(codebook) <= COSTS_KEPT
        self.kept = [self._of(part) for part in self.parts] if few else None

    def __iter__(self) -> Iterator[Tensor]:
        """Yields them in blocks (n, K)."""
        return iter(self.kept) if self.kept is not None else map(self._of, self.parts)

    def _of(self, z: Tensor) -> Tensor:
        costs = torch.addmm(self.offset, z, self.codewords.T, alpha=-1)
        return costs.sub_(costs.amin(1, keepdim=True))
