"""Vector quantization: each vector becomes the nearest of K learned codewords.

    k(z_e) = argmin_k ‖z_e − e_k‖²,      z_q = e_k(z_e),      y = estimator(z_e, z_q)

in the sense of near that the geometry gives, and, in training, by the assignment's choice.

    codebook loss = ‖sg(z_e) − z_q‖² / D            commitment loss = ‖z_e − sg(z_q)‖² / D

as means over the valid vectors, with sg the stop-gradient. The first moves the codewords to the
encoder's vectors, and is there only where gradients train the codebook; the second keeps the
encoder near the codewords, so that it is this one that the training objective multiplies by beta.
An estimator that trains both sides through y alone needs neither.

In training the codebook learns in `update`, once after each step of the optimizer: it starts from
k-means, follows the running means if it is an EMA codebook, and has its dead codewords reset.
The start is made over again at the updates 1, 2, 4 … 128, because the vectors of a new encoder grow
a hundredfold within a few dozen steps, and a codebook that is left behind misleads the decoder. It
replaces random codewords and its own, never those that somebody gave: at each update until the
last start a digest of the codewords is kept, and where they are no longer what they were left
as, no start is made any more.
"""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32
from smalti.quantizers.assignment import Assignment, Nearest
from smalti.quantizers.codebooks import Codebook
from smalti.quantizers.collectives import broadcast
from smalti.quantizers.dead_codes import DeadCodeReset
from smalti.quantizers.estimators import Estimator, StraightThrough, straight_through
from smalti.quantizers.geometry import Euclidean, Geometry
from smalti.quantizers.means import mean_square
from smalti.quantizers.quantizer import (
    Quantized,
    Quantizer,
    check_indices,
    check_vectors,
    finite_vectors,
    make_output,
    prepare_input,
)
from smalti.quantizers.regularisers import Regulariser
from smalti.quantizers.search import nearest_or_zero
from smalti.quantizers.statistics import BatchStatistics, ReducedStatistics, is_recomputing

__all__ = ["VectorQuantizer"]

ASIDE = 0.01  # how far towards a vector the new half of a split codeword is put
USUAL = DeadCodeReset()  # whose memory the running shares have where nothing is reset
STARTS = tuple(2**i for i in range(8))  # 1, 2, 4 … 128
GIVEN = -1  # in the place of a digest: the codewords are somebody's


@registered
class VectorQuantizer(KeepsFloat32, Quantizer):
    """Quantizes vectors (..., D) to the nearest of K codewords; indices are (...).

    Call `attach(optimizer)` once, or `update()` after each `optimizer.step()`. All arithmetic is in
    float32, also under autocast; the output has the input's dtype.

    Arguments:
        codebook: The codewords, and how they are learned.
        estimator: The gradient estimator; `StraightThrough()` if None.
        geometry: The distance to codewords; `Euclidean()` if None.
        assignment: How codewords are assigned to vectors in training; `Nearest()` if None.
        regularisers: Further losses on the codebook, each under its own name.
        dead_code_reset: When dead codewords are moved to where the vectors are; None for never.
        kmeans_iterations: Iterations of the k-means that starts the codebook; 0 to keep the
            codewords it has.
        kmeans_updates: The updates, counted from 1, whose vectors it starts from; none are for no
            k-means. Codewords that were given are never replaced: loaded ones, those of
            `codebook.initialize`, or copied in place.

    References:
        Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu,
        2017, arXiv 1711.00937.

    Example:
        >>> from smalti.quantizers import EMACodebook
        >>> quantizer = VectorQuantizer(EMACodebook(codebook_size=512, dim=64))
        >>> z = torch.randn(8, 7, 7, 64)
        >>> quantized, indices, losses = quantizer(z)
        >>> quantized.shape, indices.shape, list(losses)
        (torch.Size([8, 7, 7, 64]), torch.Size([8, 7, 7]), ['commitment'])
        >>> quantizer.update()  # after the optimizer's step
        >>> quantizer.decode(quantizer.encode(z)).shape
        torch.Size([8, 7, 7, 64])
    """

    in_float32 = ("shares",)
    shares: Tensor  # u (K,), running
    updates: Tensor  # (), int64
    digest: Tensor  # (), int64, of the codewords as the last update left them, or `GIVEN`

    def __init__(
        self,
        codebook: Codebook,
        estimator: Estimator | None = None,
        *,
        geometry: Geometry | None = None,
        assignment: Assignment | None = None,
        regularisers: Sequence[Regulariser] = (),
        dead_code_reset: DeadCodeReset | None = DeadCodeReset(),  # noqa: B008
        kmeans_iterations: int = 10,
        kmeans_updates: Sequence[int] = STARTS,
    ) -> None:
        super().__init__()
        if kmeans_iterations < 0:
            raise InputError(
                f"kmeans_iterations must be 0 or more, got {kmeans_iterations}: 0 is no k-means."
            )
        if any(type(update) is not int or update < 1 for update in kmeans_updates):
            raise InputError(
                f"kmeans_updates are whole numbers from 1 on, got {list(kmeans_updates)}: [1] "
                f"starts from k-means once, at the first update."
            )
        self.codebook = codebook
        self.estimator = StraightThrough() if estimator is None else estimator
        self.geometry = Euclidean() if geometry is None else geometry
        self.assignment = Nearest() if assignment is None else assignment
        self.regularisers = tuple(regularisers)
        self.dead_code_reset = dead_code_reset
        self.kmeans_iterations, self.kmeans_updates = kmeans_iterations, tuple(kmeans_updates)
        self.codebook_sizes, self.dim = (codebook.codebook_size,), codebook.dim
        self.draws = not self.assignment.nearest

        # Buffers, since a resumed run must go on as the one before it would have.
        share = torch.full(
            (codebook.codebook_size,), 1 / codebook.codebook_size, dtype=torch.float32
        )
        self.register_buffer("shares", share)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("digest", codebook.digest())
        self._updates: int | None = None  # the same, without asking the device for it
        self._watching = True  # whether codewords are compared with how they were left
        self.register_load_state_dict_post_hook(_forget_updates)
        # Not buffers: distributed training would overwrite them with the first process's.
        self._statistics = self._new_statistics()

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes z, in training with the estimator's gradient.

        Arguments:
            z: Vectors (..., D), floating-point.
            mask: Valid positions (...), bool; None where all are. What the others hold, even NaN,
                has no effect.

        Raises:
            InputError: If z or the mask has the wrong shape or dtype.
        """
        with torch.autocast(z.device.type, enabled=False):
            z_e = self.geometry.project(prepare_input(z, self.dim, mask))
            codewords = self.codewords()
            return self._quantized(z, z_e, codewords, self._assign(z_e, codewords, mask), mask)

    def euclidean_codewords(self) -> Tensor | None:
        """See `Quantizer.euclidean_codewords`."""
        return self.codewords().detach() if isinstance(self.geometry, Euclidean) else None

    def quantize_as(self, z: Tensor, indices: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.quantize_as`."""
        with torch.autocast(z.device.type, enabled=False):
            z_e = self.geometry.project(prepare_input(z, self.dim, mask))
            return self._quantized(z, z_e, self.codewords(), indices.clamp(min=0), mask)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        check_vectors(z, self.dim)
        with torch.autocast(z.device.type, enabled=False):
            near = self.geometry.search_space
            indices = nearest_or_zero(
                near(self.geometry.project(z.float())), near(self.codewords())
            )
        return torch.where(finite_vectors(z), indices, -1)

    def decode(self, indices: Tensor) -> Tensor:
        check_indices(indices, self.codebook.codebook_size)
        with torch.autocast(indices.device.type, enabled=False):
            z_q = F.embedding(indices.long().clamp(min=0), self.codewords())
        return torch.where(indices[..., None] >= 0, z_q, 0.0)

    @torch.no_grad()
    def update(self) -> None:
        self.reminder.silent = True
        if self.codebook.frozen:
            return
        seen = self._statistics.digest
        step = self._statistics.reduce(self.codebook.weight)
        self._statistics = self._new_statistics()
        if self._updates is None:
            self._updates = int(self.updates)
        if self._updates == 0 and step.empty:
            return  # there is nothing to start from yet
        given = self._were_given(seen)
        self._updates += 1
        self.updates.fill_(self._updates)
        if self._updates in self._starts() and not given:
            self._start(step)
        else:
            self._learn(step)
        if self.dead_code_reset is not None and self.dead_code_reset.due(self._updates):
            self._reset_dead(step, self.dead_code_reset)
        if self._watching:
            self.digest.fill_(GIVEN) if given else self.digest.copy_(self.codebook.digest())

    @property
    def needs_update(self) -> bool:
        if self.codebook.frozen:
            return False
        learns = not self.codebook.trainable
        return learns or len(self._starts()) > 0 or self.dead_code_reset is not None

    def codewords(self) -> Tensor:
        """Returns the codewords (K, D), projected, float32, with the codebook's gradient."""
        return self.geometry.project(self.codebook.weight.float())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        same = self.codebook.digest() == self.digest  # which a cast of the codewords leaves so
        super()._apply(fn, recurse)
        self.digest = torch.where(same.to(self.digest.device), self.codebook.digest(), self.digest)
        return self

    @torch.no_grad()
    def _assign(self, z_e: Tensor, codewords: Tensor, mask: Tensor | None) -> Tensor:
        z, codebook = self.geometry.search_space(z_e), self.geometry.search_space(codewords)
        return self.assignment(z, codebook, mask) if self.training else nearest_or_zero(z, codebook)

    def _quantized(
        self, z: Tensor, z_e: Tensor, codewords: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Quantized:
        z_q = F.embedding(indices, codewords)  # (..., D)

        y = self._output(z_e, z_q, indices, codewords)
        losses = self._losses(z_e, z_q, mask)
        for regulariser in self.regularisers:
            losses[regulariser.name] = regulariser(z_e, codewords, mask)
        if self.training and not is_recomputing() and not self.codebook.frozen:
            self._note(z_e, indices, mask)
        self._remind()
        return make_output(z, mask, y, indices, losses)

    def _output(self, z_e: Tensor, z_q: Tensor, indices: Tensor, codewords: Tensor) -> Tensor:
        if not self.training:
            return straight_through(z_e, z_q)
        y = self.estimator(z_e, z_q, codewords)
        if not (self.draws and self.estimator.of_nearest):
            return y
        near = self.geometry.search_space
        is_nearest = nearest_or_zero(near(z_e), near(codewords)) == indices
        return torch.where(is_nearest[..., None], y, straight_through(z_e, z_q))

    def _losses(self, z_e: Tensor, z_q: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """Returns the commitment loss, and the codebook loss if gradients train the codewords."""
        if not self.estimator.needs_commitment:
            return {}
        losses = {"commitment": mean_square(z_e - z_q.detach(), mask)}
        if self.codebook.trainable:
            losses["codebook"] = mean_square(z_e.detach() - z_q, mask)
        return losses

    def _starts(self) -> tuple[int, ...]:
        return self.kmeans_updates if self.kmeans_iterations > 0 else ()

    def _were_given(self, seen: Tensor | None) -> bool:
        """Returns whether somebody put the codewords there; then the codebook goes on from them.

        Arguments:
            seen: The digest at the first forward pass since the last update.
        """
        assert self._updates is not None
        self._watching = self._watching and self._updates < max(self._starts(), default=1)
        if not self._watching or int(self.digest) == GIVEN:
            self._watching = False
            return True
        if not self.codebook.trainable:
            seen = self.codebook.digest()  # no optimizer has moved them since
        if seen is None or int(seen) == int(self.digest):
            return False
        self.codebook.adopt()
        return True

    def _start(self, step: ReducedStatistics) -> None:
        """Replaces all codewords by k-means over the vectors of the step."""
        size = self.codebook.codebook_size
        vectors = step.draw(_kept(size))
        vectors = vectors[vectors.isfinite().all(1)]
        if len(vectors) <= (0 if self._updates == 1 else size):
            self._learn(step)  # later on, few vectors do not make a better codebook
            return
        centroids = self.geometry.kmeans_init(
            vectors, size, self.kmeans_iterations, step.generator()
        )
        # Processes on unlike devices could round differently.
        self.codebook.replace(torch.arange(size, device=centroids.device), broadcast(centroids))
        self.shares.fill_(1 / size)

    def _learn(self, step: ReducedStatistics) -> None:
        self.codebook.learn(step.counts, step.sums)
        reset = USUAL if self.dead_code_reset is None else self.dead_code_reset
        total = step.counts.sum()
        share = torch.where(total > 0, step.counts / total.clamp(min=1), self.shares)
        self.shares.lerp_(share, 1 - reset.kept(total, len(share)))

    def _reset_dead(self, step: ReducedStatistics, reset: DeadCodeReset) -> None:
        """Moves dead codewords to vectors of the batch, or next to codewords in use."""
        dead = reset.dead(self.shares)
        if not len(dead):
            return
        vectors = step.draw(len(dead))
        vectors = vectors[vectors.isfinite().all(1)]
        if reset.strategy == "codewords":
            self._split(dead, vectors, step.generator())
        else:
            dead = dead[: len(vectors)]
            self.codebook.replace(dead, vectors)
            self.shares[dead] = 1 / self.codebook.codebook_size  # the time to prove itself

    def _split(self, dead: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
        """Puts each of the dead (R,) beside one in use, a little towards one of the vectors."""
        used = self.shares.index_fill(0, dead, 0.0).cpu()
        number = min(len(dead), len(vectors), int(used.count_nonzero()))
        if not number:
            return
        busy = torch.multinomial(used, number, generator=generator).to(dead.device)
        dead, codewords = dead[:number], self.codebook.weight[busy].to(vectors.dtype)
        self.codebook.replace(dead, codewords.lerp(vectors[:number], ASIDE))
        self.shares[busy] /= 2
        self.shares[dead] = self.shares[busy]

    def _note(self, z_e: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        # Before an optimizer moves them.
        if self._watching and self.codebook.trainable and self._statistics.digest is None:
            self._statistics.digest = self.codebook.digest()
        flat_mask = None if mask is None else mask.reshape(-1)
        self._statistics.add(z_e.detach().reshape(-1, self.dim), indices.reshape(-1), flat_mask)

    def _new_statistics(self) -> BatchStatistics:
        draws = self.dead_code_reset is not None or len(self._starts()) > 0
        size = self.codebook.codebook_size
        return BatchStatistics(size, not self.codebook.trainable, _kept(size) if draws else 0)


def _kept(size: int) -> int:
    """Returns how many vectors k-means starts from at most: 64 per codeword settle it well."""
    return max(4 * size, min(64 * size, 2**18))


def _forget_updates(module: VectorQuantizer, _: object) -> None:
    module._updates, module._watching = None, True
