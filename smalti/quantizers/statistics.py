"""Statistics of a step's forward passes, over all processes, from which a codebook is updated.

A forward pass must not change the codebook: the backward pass still needs it, gradients may be
accumulated over several forward passes, and another process sees other vectors. So it only
records how many vectors fell on each codeword, their sum, and references to the vectors. The update
then sums the statistics over all processes. Activation checkpointing runs a forward pass a second
time, inside the backward pass: that one is recorded already.

A draw of single vectors, for k-means and for the reset of dead codewords, goes over the vectors
of all processes, numbered through in the order of the processes. Each process makes the same random
choice of numbers, with the first one's seed, and supplies the vectors that are its own. So the draw
is the same on all of them, and the same as that of one process that has the whole batch.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from smalti.quantizers.collectives import process_count, process_index, sum_over_processes

__all__ = ["BatchStatistics", "ReducedStatistics", "is_recomputing"]


def is_recomputing() -> bool:
    """Returns whether a forward pass is recomputed in this thread (gradient checkpointing)."""
    # A compiled graph recomputes without coming by here.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


@dataclass
class BatchStatistics:
    """What one process has recorded since the last update: counts, sums and some of the vectors.

    Arguments:
        size: K.
        summed: Whether to sum the vectors of each codeword.
        kept: How many vectors to keep, for k-means and resets; the whole first batch is kept in any
            case. If there are more, every second one is dropped, from all forward passes alike.
    """

    size: int
    summed: bool
    kept: int
    forwards: int = 0
    stride: int = 1  # one of so many vectors is kept
    counts: Tensor | None = None  # (K,)
    sums: Tensor | None = None  # (K, D)
    digest: Tensor | None = None  # (), of the codewords at the first forward pass
    # (N, D) and a mask (N,) or None of each forward pass: references, not copies.
    vectors: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)

    @torch.no_grad()
    def add(self, z: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        """Records one forward pass.

        Arguments:
            z: Vectors (N, D), float32, 0 where masked.
            indices: Their codewords (N,).
            mask: Valid vectors (N,), bool; None where all are.
        """
        if self.counts is None or self.sums is None:
            self.counts, self.sums = self._zeros(z)
        valid = z.new_ones(len(z)) if mask is None else mask.to(z.dtype)
        self.counts.index_add_(0, indices, valid)
        if self.summed:
            self.sums.index_add_(0, indices, z)
        self.forwards += 1

        if self.kept:
            self.kept = max(self.kept, len(z) if self.forwards == 1 else 0)
            self.vectors.append(_thinned(z, mask, self.stride))
            while sum(len(kept) for kept, _ in self.vectors) > self.kept:
                if all(len(kept) <= 1 for kept, _ in self.vectors):
                    self.vectors.pop(0)
                    continue
                self.stride *= 2
                self.vectors = [_thinned(*kept, 2) for kept in self.vectors]

    def reduce(self, weight: Tensor) -> "ReducedStatistics":
        """Sums the statistics over all processes, which must all call it.

        Arguments:
            weight: The codewords (K, D), for their shape and device.
        """
        counts, sums = self.counts, self.sums
        if counts is None or sums is None:
            counts, sums = self._zeros(weight)
        facts = counts.new_zeros(process_count() + 1)
        for z, mask in self.vectors:
            facts[process_index()] += len(z) if mask is None else mask.sum()
        seed = torch.randint(2**24, ())  # float32 holds whole numbers up to there
        if process_index() == 0:
            facts[-1] = seed

        counts, sums, facts = sum_over_processes([counts, sums, facts])
        return ReducedStatistics(counts, sums, facts, self.vectors)

    def _zeros(self, like: Tensor) -> tuple[Tensor, Tensor]:
        counts = like.new_zeros(self.size, dtype=torch.float32)
        return counts, counts.new_zeros(self.size if self.summed else 0, like.shape[-1])


@dataclass
class ReducedStatistics:
    """The statistics of one training step, summed over all processes.

    Arguments:
        counts: The number of vectors assigned to each codeword (K,).
        sums: The sum of these vectors (K, D); (0, D) if it was not recorded.
        facts: The number of vectors of each process, and the seed of random draws.
        vectors: This process's own vectors, with their masks.
    """

    counts: Tensor
    sums: Tensor
    facts: Tensor
    vectors: list[tuple[Tensor, Tensor | None]]

    @property
    def empty(self) -> bool:
        """Returns whether no process recorded anything."""
        return not bool(self.counts.any())

    def generator(self) -> torch.Generator:
        """Returns random numbers on the CPU, the same on all processes."""
        return torch.Generator().manual_seed(int(self.facts[-1]))

    def draw(self, n: int) -> Tensor:
        """Draws n different vectors of all processes, or all there are: (≤ n, D), equal on all.

        Every process must call it.
        """
        valid = [z if mask is None else z[mask] for z, mask in self.vectors]
        mine = torch.cat([self.sums[:0], *valid])  # (N, D)
        lengths = [int(length) for length in self.facts[:-1].tolist()]
        chosen = torch.randperm(sum(lengths), generator=self.generator())[:n]
        place = chosen.to(mine.device) - sum(lengths[: process_index()])
        own = (place >= 0) & (place < len(mine))

        drawn = mine.new_zeros(len(place), mine.shape[1])
        drawn[own] = mine[place[own]]
        return sum_over_processes([drawn])[0]


def _thinned(z: Tensor, mask: Tensor | None, stride: int) -> tuple[Tensor, Tensor | None]:
    """Returns one of `stride` vectors; a copy, so that the rest can be freed."""
    if stride == 1:
        return z, mask
    return z[::stride].clone(), None if mask is None else mask[::stride].clone()
