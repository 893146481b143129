"""Revival: codewords that nothing falls near are moved to where the vectors are.

A codeword that is nearest to no vector gets no gradient and no mean, so it stays where it is while
the encoder moves on: it is dead, and a codebook can end with most of its codewords so. With u_k the
running share of the vectors that fall on e_k, 1/K where all are used alike, and c_k the count in a
step,

    u_k ← ρ u_k + (1 − ρ) c_k / Σ_j c_j          e_k is dead if u_k < threshold / K

and a dead codeword is put on a vector drawn at random from those that the encoder has just given,
or beside a codeword in use, drawn by u, with which it then shares what fell on that one. In many
dimensions only the latter lives: there a vector is nearer to the mean of many others than to any
single one. The threshold is relative to uniform use, so the same one serves every size of codebook
and of batch; an absolute count would revive half of a large codebook at every step.
"""

from typing import Literal

from torch import Tensor

from smalti.artifacts import registered
from smalti.errors import InputError

__all__ = ["Revival"]


@registered
class Revival:
    """When a codeword is dead, and how often to look for dead ones.

    Arguments:
        threshold: The least share of vectors a codeword must get to live, as a multiple of 1/K; in
            [0, 1).
        every: Updates from one revival to the next, ≥ 1.
        decay: ρ in (0, 1), the share of the old running share that an update keeps: the memory is
            of about 1 / (1 − ρ) updates.
        onto: Where dead codewords go: "vectors", or "codewords", which splits those in use.
        stop_after: The last update at which codewords are revived; None for no end. NSVQ needs a
            last stretch of training without revival.
    """

    def __init__(
        self,
        threshold: float = 0.1,
        every: int = 10,
        decay: float = 0.95,
        stop_after: int | None = None,
        onto: Literal["vectors", "codewords"] = "vectors",
    ) -> None:
        if not (0 <= threshold < 1 and every >= 1 and 0 < decay < 1):
            raise InputError(
                f"Revival takes 0 ≤ threshold < 1, every ≥ 1 and 0 < decay < 1, got {threshold}, "
                f"{every} and {decay}: the defaults are 0.1, 10 and 0.95."
            )
        if onto not in ("vectors", "codewords"):
            raise InputError(f'Revival takes onto="vectors" or onto="codewords", got {onto!r}.')
        self.threshold, self.every = threshold, every
        self.decay, self.stop_after, self.onto = decay, stop_after, onto

    def due(self, update: int) -> bool:
        """Whether codewords are revived at this update, counted from 1."""
        return update % self.every == 0 and (self.stop_after is None or update <= self.stop_after)

    def dead(self, shares: Tensor) -> Tensor:
        """The dead codewords, the least used first.

        Arguments:
            shares: Running shares u (K,).

        Returns:
            Their indices (R,), int64.
        """
        order = shares.argsort(stable=True)
        return order[shares[order] < self.threshold / len(shares)]

    def __repr__(self) -> str:
        return (
            f"Revival(threshold={self.threshold}, every={self.every}, decay={self.decay}, "
            f"stop_after={self.stop_after}, onto={self.onto!r})"
        )
