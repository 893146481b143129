"""The reset of dead codewords: those that are hardly used move to where the vectors are.

A codeword that is nearest to no vector gets no gradient and no mean, so it stays where it is while
the encoder moves on: it is dead, and a codebook can end with most of its codewords so. With u_k the
running share of the vectors that fall on e_k, 1/K where all are used alike, and c_k the count in a
step, of n = Σ_j c_j vectors,

    u_k ← r u_k + (1 − r) c_k / n      r = ρ^min(n/K, 1)      e_k is dead if u_k < threshold / K

The memory is in vectors, not in steps: whether K of them come in one step or in a hundred, the same
of it remains. A step of few vectors says little of a large codebook, and a codeword that it missed
need not be dead. With ρ = 0.95 about 20 K vectors are remembered. A codeword that has its fair
share, one vector in K, is below a tenth of it at a given moment with a probability under 1e-15, so
none of a large codebook is thrown out by chance; one that nothing falls on is dead after 45 K
vectors. Where a step has more than K of them that is 45 steps, for the vectors of a batch are often
alike: 20 batches are remembered in any case.

A dead codeword is put on a vector drawn at random from those that the encoder has just given,
or beside a codeword in use, drawn by u, with which it then shares what fell on that one. In many
dimensions only the latter lives: there a vector is nearer to the mean of many others than to any
single one. The threshold is relative to uniform use, so the same one serves every size of codebook
and of batch; an absolute count would reset half of a large codebook at every step.
"""

from typing import Literal

from torch import Tensor

from smalti.artifacts import registered
from smalti.errors import InputError

__all__ = ["DeadCodeReset"]


@registered
class DeadCodeReset:
    """Resets dead codewords: says which ones are dead, when to look for them, and where they move.

    Arguments:
        threshold: The share of vectors below which a codeword is dead, as a multiple of 1/K; in
            [0, 1).
        every: Updates from one reset to the next, ≥ 1.
        decay: ρ in (0, 1), the share of the old running share that is left when K more vectors
            have come, or at an update with more than K: the memory is of about 1 / (1 − ρ) times K
            vectors, and of as many updates at least.
        strategy: Where dead codewords go: "vectors", or "codewords", which splits those in use.
        stop_after: The last update at which codewords are reset; None for no end. NSVQ needs a
            last stretch of training without resets.
    """

    def __init__(
        self,
        threshold: float = 0.1,
        every: int = 10,
        decay: float = 0.95,
        stop_after: int | None = None,
        strategy: Literal["vectors", "codewords"] = "vectors",
    ) -> None:
        if not (0 <= threshold < 1 and every >= 1 and 0 < decay < 1):
            raise InputError(
                f"DeadCodeReset takes 0 ≤ threshold < 1, every ≥ 1 and 0 < decay < 1, got "
                f"{threshold}, {every} and {decay}: the defaults are 0.1, 10 and 0.95."
            )
        if strategy not in ("vectors", "codewords"):
            raise InputError(
                f'DeadCodeReset takes strategy="vectors" or strategy="codewords", got {strategy!r}.'
            )
        self.threshold, self.every = threshold, every
        self.decay, self.stop_after, self.strategy = decay, stop_after, strategy

    def due(self, update: int) -> bool:
        """Returns whether codewords are reset at this update, counted from 1."""
        return update % self.every == 0 and (self.stop_after is None or update <= self.stop_after)

    def kept(self, vectors: Tensor, size: int) -> Tensor:
        """Computes r, how much of the running shares is left after a step.

        Arguments:
            vectors: n, how many fell on the codebook in the step, ().
            size: K.

        Example:
            >>> import torch
            >>> DeadCodeReset(decay=0.5).kept(torch.tensor(32.0), 64)  # twice makes one half
            tensor(0.7071)
        """
        return self.decay ** (vectors / size).clamp(max=1.0)

    def dead(self, shares: Tensor) -> Tensor:
        """Returns the dead codewords, the least used first.

        Arguments:
            shares: Running shares u (K,).

        Returns:
            Their indices (R,), int64.
        """
        order = shares.argsort(stable=True)
        return order[shares[order] < self.threshold / len(shares)]

    def __repr__(self) -> str:
        return (
            f"DeadCodeReset(threshold={self.threshold}, every={self.every}, decay={self.decay}, "
            f"stop_after={self.stop_after}, strategy={self.strategy!r})"
        )
