"""What training's forward passes note for the next update of the codebook, and what all processes
noted together.

A forward pass must not change the codebook: the backward pass still needs it, gradients may be
accumulated over several forward passes, activation checkpointing runs them twice, and another
process sees other vectors. So it only notes how many vectors fell on each codeword, their sum, and
where the vectors themselves are. The update then sums the notes over all processes.

A draw of single vectors, for k-means and for the revival of dead codewords, goes over the vectors
of all processes, numbered through in the order of the processes. Each process makes the same random
choice of numbers, with the first one's seed, and supplies the vectors that are its own. So the draw
is the same on all of them, and the same as that of one process that has the whole batch.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from smalti.quantizers.collectives import process_count, process_index, sum_over_processes

__all__ = ["Notes", "Step"]


@dataclass
class Notes:
    """The notes of one process since the last update.

    Arguments:
        size: K.
        summed: Whether to sum the vectors of each codeword.
        kept: How many of the latest vectors to keep for draws; more are kept where one batch has
            more.
    """

    size: int
    summed: bool
    kept: int
    forwards: int = 0
    counts: Tensor | None = None  # (K,)
    sums: Tensor | None = None  # (K, D)
    # (N, D) and a mask (N,) or None of each forward pass: references, not copies.
    vectors: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)

    @torch.no_grad()
    def add(self, z: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        """Notes vectors (N, D), 0 where masked, their indices (N,), and which are valid, (N,) bool
        or None for all.
        """
        if self.counts is None or self.sums is None:
            self.counts = z.new_zeros(self.size)
            self.sums = z.new_zeros(self.size, z.shape[-1])
        valid = z.new_ones(len(z)) if mask is None else mask.to(z.dtype)
        self.counts.index_add_(0, indices, valid)
        if self.summed:
            self.sums.index_add_(0, indices, z)
        self.forwards += 1

        if self.kept:
            self.vectors.append((z, mask))
            while sum(len(later) for later, _ in self.vectors[1:]) >= self.kept:
                self.vectors.pop(0)

    def reduce(self, weight: Tensor) -> "Step":
        """The sum of the notes over all processes, which must all call it; `weight` gives the shape
        and device.
        """
        zero = torch.zeros_like(weight, dtype=torch.float32)  # (K, D)
        counts = zero[:, 0] if self.counts is None else self.counts
        sums = zero if self.sums is None else self.sums
        valid = [z if mask is None else z[mask] for z, mask in self.vectors]
        mine = torch.cat([zero[:0], *valid])  # (N, D)

        lengths = [0.0] * process_count()
        lengths[process_index()] = float(len(mine))
        seed = float(torch.randint(2**24, ()))  # float32 holds whole numbers up to there
        facts = zero.new_tensor([*lengths, seed if process_index() == 0 else 0.0])
        if self.summed:
            counts, sums, facts = sum_over_processes([counts, sums, facts])
        else:
            counts, facts = sum_over_processes([counts, facts])
        return Step(counts, sums, mine, facts)


@dataclass
class Step:
    """What fell on the codebook in one step of training, over all processes.

    Arguments:
        counts: Vectors on each codeword (K,).
        sums: Their sums (K, D); 0 where they were not noted.
        vectors: This process's own vectors (N, D).
        facts: The number of vectors of each process, and the seed of draws.
    """

    counts: Tensor
    sums: Tensor
    vectors: Tensor
    facts: Tensor

    @property
    def empty(self) -> bool:
        """Whether no process noted anything."""
        return not bool(self.counts.any())

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, the same on all processes."""
        return torch.Generator().manual_seed(int(self.facts[-1]))

    def draw(self, n: int) -> Tensor:
        """n different vectors of all processes, or as many as there are: (≤ n, D), the same on all
        of them.

        Every process must call it.
        """
        lengths = [int(length) for length in self.facts[:-1].tolist()]
        chosen = torch.randperm(sum(lengths), generator=self.generator())[:n]
        place = chosen.to(self.vectors.device) - sum(lengths[: process_index()])
        own = (place >= 0) & (place < len(self.vectors))

        drawn = self.vectors.new_zeros(len(place), self.vectors.shape[1])
        drawn[own] = self.vectors[place[own]]
        return sum_over_processes([drawn])[0]
