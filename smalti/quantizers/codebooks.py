"""Codebooks: tables of codewords e_1 … e_K, which differ in how they are learned.

A codebook is moved either by gradients, from whatever loss reaches it, or as a running mean of the
vectors that fell on each codeword, which is online k-means. With c_k the number of vectors of a
step nearest to e_k and s_k their sum,

    n_k ← γ n_k + (1 − γ) c_k         m_k ← γ m_k + (1 − γ) s_k
    N = Σ_k n_k                       ñ_k = N (n_k + ε) / (N + K ε)         e_k = m_k / ñ_k

where ñ is n smoothed, so that nothing is divided by zero. A codeword that nothing fell on stays
where it is: its n and m shrink alike, and with them only how much it weighs beside what falls on it
next. ε, made for steps with more vectors than codewords, is taken times N/K where there are fewer,
or it would pull the codewords towards 0. Codewords that are learned so are statistics, as n and m
are: they stay in float32 whatever the module is cast to.

Gradients that reach a few codewords only leave the others behind. In a transformed codebook

    e_k = W c_k,        c_k ~ N(0, I/D) and constant,        W learned,

every gradient moves W, and with it all codewords.

Codewords may also be given: `initialize` puts them there, as a state that is loaded or a copy in
place does. `requires_grad_(False)` keeps them: neither gradients nor means nor resets move them.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32

__all__ = ["Codebook", "EMACodebook", "GradientCodebook", "TransformedCodebook"]

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes
PIECE = 1 << 20  # numbers of a codebook that are counted at a time


class Codebook(KeepsFloat32, ABC):
    """Abstract table of codewords.

    Attributes:
        codebook_size: K.
        dim: D.
        weight: The codewords (K, D).
        trainable: Whether gradients move the codewords; if not, `learn` does.
    """

    codebook_size: int
    dim: int
    weight: Tensor
    trainable: bool

    @property
    @abstractmethod
    def frozen(self) -> bool:
        """Returns whether nothing may move the codewords; see `requires_grad_`."""

    @abstractmethod
    def sources(self) -> tuple[Tensor, ...]:
        """Returns what the codewords are made of: the weight itself, or what it is computed of."""

    @torch.no_grad()
    def initialize(self, codewords: Any) -> None:
        """Sets all codewords to given ones, which k-means does not replace.

        Arguments:
            codewords: (K, D), finite: a tensor, an array or nested lists.

        Raises:
            InputError: If they are of another shape, or not finite.

        Example:
            >>> codebook = EMACodebook(codebook_size=2, dim=1)
            >>> codebook.initialize([[0.0], [3.0]])
            >>> codebook.weight.flatten()
            tensor([0., 3.])
        """
        given = torch.as_tensor(codewords, dtype=torch.float32, device=self.weight.device)
        shape = (self.codebook_size, self.dim)
        if given.shape != shape or not given.isfinite().all():
            raise InputError(
                f"The codebook takes finite codewords {shape}, got the shape "
                f"{tuple(given.shape)}{'' if given.isfinite().all() else ' with NaN or infinity'}: "
                f"one row for each codeword."
            )
        self.replace(torch.arange(self.codebook_size, device=given.device), given)

    @abstractmethod
    def adopt(self) -> None:
        """Updates the codebook's state after its weight was written to from outside."""

    @torch.no_grad()
    def digest(self) -> Tensor:
        """Returns a number (), int64 from 0 on, that is another one when the codewords are."""
        sources = self.sources()
        total = sources[0].new_zeros((), dtype=torch.int64)
        if any(source.is_meta for source in sources):  # which have no numbers, and any size
            return total
        for source in sources:
            source = source.detach().contiguous()
            bits = source.view(_INTEGERS[source.element_size()]).reshape(-1)
            # In pieces, for each number takes 24 bytes while it is counted.
            odd = 2 * torch.arange(min(len(bits), PIECE), device=bits.device) + 1
            for start in range(0, len(bits), PIECE):
                piece = bits[start : start + PIECE].long()
                total = total + (piece * odd[: len(piece)]).sum()
                if start:
                    total = total + 2 * start * piece.sum()
        return total & (2**62 - 1)

    @abstractmethod
    def learn(self, counts: Tensor, sums: Tensor) -> None:
        """Moves the codewords by what fell on them in a step.

        Arguments:
            counts: The number of vectors assigned to each codeword (K,).
            sums: Their sums (K, D); only where gradients do not move the codewords.
        """

    @abstractmethod
    def replace(self, which: Tensor, vectors: Tensor) -> None:
        """Replaces some codewords by other vectors, with all their statistics.

        Arguments:
            which: Indices of codewords (R,), each at most once.
            vectors: The vectors that replace them (R, D).
        """

    def extra_repr(self) -> str:
        return f"{self.codebook_size}, {self.dim}"


@registered
class GradientCodebook(Codebook):
    """Codewords that are parameters, trained by the codebook loss or the estimator's gradient.

    They start from N(0, 1/D).

    Arguments:
        codebook_size: Number of codewords K.
        dim: Their dimensions D; in a recipe also "auto", as many as the data have.

    References:
        Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu,
        2017, arXiv 1711.00937.
    """

    trainable = True

    def __init__(self, *, codebook_size: int, dim: int | Literal["auto"]) -> None:
        super().__init__()
        self.codebook_size, self.dim = codebook_size, _number(dim)
        self.weight = nn.Parameter(_random_codewords(codebook_size, self.dim))

    @property
    def frozen(self) -> bool:
        return not self.weight.requires_grad

    def sources(self) -> tuple[Tensor, ...]:
        return (self.weight,)

    def adopt(self) -> None:
        """Does nothing: the weight is all there is."""

    def learn(self, counts: Tensor, sums: Tensor) -> None:
        """Does nothing: the optimizer has moved the codewords already."""

    @torch.no_grad()
    def replace(self, which: Tensor, vectors: Tensor) -> None:
        self.weight[which] = vectors.to(self.weight.dtype)


@registered
class EMACodebook(Codebook):
    """Codewords that are exponential moving averages of the vectors assigned to them.

    They start from N(0, 1/D), each as the mean of one vector.

    Arguments:
        codebook_size: Number of codewords K.
        dim: Their dimensions D; in a recipe also "auto", as many as the data have.
        decay: γ in (0, 1), the share of the old average that an update keeps.
        eps: ε in (0, 1], in vectors, added to each count (times N/K where that is below 1).

    References:
        Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu,
        2017, arXiv 1711.00937, appendix A.1.
    """

    trainable = False
    in_float32 = ("weight", "counts", "sums")
    counts: Tensor  # n (K,)
    sums: Tensor  # m (K, D)

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int | Literal["auto"],
        decay: float = 0.99,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        dim = _number(dim)
        if not 0 < decay < 1 or not 0 < eps <= 1:
            raise InputError(
                f"An EMA codebook needs 0 < decay < 1 and 0 < eps <= 1, got decay={decay} "
                f"and eps={eps}: 0.99 and 1e-5 are usual."
            )
        self.codebook_size, self.dim, self.decay, self.eps = codebook_size, dim, decay, eps
        self.register_buffer("weight", _random_codewords(codebook_size, dim).float())
        self.register_buffer("counts", torch.ones(codebook_size, dtype=torch.float32))
        self.register_buffer("sums", self.weight.clone())
        self._frozen = False

    @property
    def frozen(self) -> bool:
        return self._frozen

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes or unfreezes the codewords; this is not saved with the state."""
        self._frozen = not requires_grad
        return super().requires_grad_(requires_grad)

    def sources(self) -> tuple[Tensor, ...]:
        return (self.weight,)

    @torch.no_grad()
    def adopt(self) -> None:
        # Else the next update would bring back the means of before.
        self.sums.copy_(self.weight * self.counts[:, None])

    @torch.no_grad()
    def learn(self, counts: Tensor, sums: Tensor) -> None:
        # A vector that overflowed must not stay in the averages for ever, so its codeword sits out.
        finite = sums.isfinite().all(1)
        hit = finite & (counts > 0)
        counts = torch.where(finite, counts, self.counts)
        sums = torch.where(finite[:, None], sums, self.sums)

        # A step without a single vector changes nothing; asked on the device, which need not wait.
        some = (counts.sum() > 0).float()
        self.counts.lerp_(counts, some * (1 - self.decay))
        self.sums.lerp_(sums, some * (1 - self.decay))
        total = self.counts.sum()
        eps = self.eps * (total / self.codebook_size).clamp(max=1.0)
        smoothed = total * (self.counts + eps) / (total + self.codebook_size * eps)
        self.weight.copy_(torch.where(hit[:, None], self.sums / smoothed[:, None], self.weight))

    @torch.no_grad()
    def replace(self, which: Tensor, vectors: Tensor) -> None:
        # Without the sums the next update would bring the old codeword back; with a tiny count it
        # would jump about.
        vectors, count = vectors.float(), self.counts.mean()
        self.counts[which] = count
        self.sums[which] = vectors * count
        self.weight[which] = vectors

    def extra_repr(self) -> str:
        return f"{self.codebook_size}, {self.dim}, decay={self.decay}"


@registered
class TransformedCodebook(Codebook):
    """SimVQ: codewords are fixed random vectors times a learned linear map.

    The map starts as the identity.

    Arguments:
        codebook_size: Number of codewords K.
        dim: Their dimensions D; in a recipe also "auto", as many as the data have.

    References:
        Addressing Representation Collapse in Vector Quantized Models with One Linear Layer, Y. Zhu,
        B. Li, Y. Xin and L. Xu, 2024, arXiv 2411.02038.
    """

    trainable = True
    in_float32 = ("table",)
    table: Tensor  # c (K, D)

    def __init__(self, *, codebook_size: int, dim: int | Literal["auto"]) -> None:
        super().__init__()
        self.codebook_size, self.dim = codebook_size, _number(dim)
        self.register_buffer("table", _random_codewords(codebook_size, self.dim).float())
        self.map = nn.Parameter(torch.eye(self.dim))  # Wᵀ

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Returns the codewords (K, D), float32, with the gradient of the map."""
        return self.table @ self.map.float()

    @property
    def frozen(self) -> bool:
        return not self.map.requires_grad

    def sources(self) -> tuple[Tensor, ...]:
        return self.table, self.map

    def adopt(self) -> None:
        """Does nothing: table and map are all there is."""

    def learn(self, counts: Tensor, sums: Tensor) -> None:
        """Does nothing: the optimizer has moved the map already."""

    @torch.no_grad()
    def replace(self, which: Tensor, vectors: Tensor) -> None:
        # The rows c that the map takes to the vectors, or as near to them as it can get.
        rows = torch.linalg.lstsq(self.map.T.double(), vectors.T.double()).solution.T
        self.table[which] = rows.float()


def _number(dim: int | Literal["auto"]) -> int:
    """Returns the dim; raises `InputError` for "auto", which only a recipe can resolve."""
    if dim == "auto":
        raise InputError(
            'dim "auto" is for recipes, where smalti fit takes it from the data: give a number.'
        )
    return dim


def _random_codewords(codebook_size: int, dim: int) -> Tensor:
    """Draws codewords (K, D) from N(0, I/D); raises `InputError` if a size is below 1."""
    if codebook_size < 1 or dim < 1:
        raise InputError(
            f"A codebook needs a codebook_size and a dim of at least 1, got {codebook_size} and "
            f"{dim}."
        )
    if torch.get_default_device().type == "meta":  # a draw there takes all of torch's compiler
        return torch.empty(codebook_size, dim)
    return torch.randn(codebook_size, dim) / math.sqrt(dim)
