"""The base class of quantizers, their output, and checks that they share.

A quantizer splits R^D into cells and gives each cell a number and a point that stands for it:

    encode: z_e ↦ index        decode: index ↦ z_q        forward: z_e ↦ z_q, with a gradient and
        losses

The cells are a step function of z_e, whose derivative is zero almost everywhere. Quantizers differ
in what they put in the place of that gradient, and in how the points come to lie where the vectors
are.

Layout: the **last** dimension is the vector, everything before it is batch: z is (..., D), indices
    are (...), or (..., Q) where Q quantizers work together on each vector. A mask is (...), True
    where a vector is valid.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from smalti.errors import InputError
from smalti.quantizers.attachment import Attachment, UpdateReminder, attach
from smalti.quantizers.codebooks import Codebook

__all__ = [
    "Quantized",
    "Quantizer",
    "attach_quantizers",
    "make_output",
    "check_indices",
    "check_mask",
    "check_vectors",
    "silence_reminders",
    "freeze_codebooks",
    "leaf_quantizers",
    "finish_output",
    "prepare_input",
    "finite_vectors",
]


class Quantized(NamedTuple):
    """The output of a quantizer's forward pass.

    Attributes:
        quantized: (..., D), in the dtype of z, with the estimator's gradient; 0 where masked, and
            NaN where a vector holds NaN or infinity.
        indices: (...) or (..., Q), int64; -1 where masked, and of vectors that are not finite.
        losses: Unweighted scalars, means over the elements of the valid positions: `"commitment"`
            pulls the encoder to the codewords, `"codebook"` the codewords to the encoder. Their
            weights are the training objective's.
    """

    quantized: Tensor
    indices: Tensor
    losses: dict[str, Tensor]


class Quantizer(nn.Module, ABC):
    """Abstract quantizer of vectors (..., D).

    NaN and infinity have no codeword. They are never passed off as one: where a vector that counts
    is not finite, the output is NaN, the index is -1, and so is each loss NaN (or infinite) that
    compares the vectors; other positions are not touched.

    Attributes:
        codebook_sizes: The number of values an index can take, one for each index of a vector.
        dim: D.
        learns_from_output: Whether it has parameters that the gradient of its output trains, past
            its estimator. A sum of quantizers then passes that gradient on to it.
        draws: Whether codewords are drawn at random in training, so that they need not be nearest.
        acts_on_grid: Whether it takes grids (..., *grid, D) and not single vectors, so that its
            indices are (..., Q) for each grid.
        is_composed: Whether all of its learning is that of the quantizers it is made of.
        codes_refine: Whether each index of a vector refines what those before it say; if not, each
            speaks of a part of the vector of its own.
    """

    codebook_sizes: tuple[int, ...]
    dim: int
    learns_from_output: bool = False
    draws: bool = False
    acts_on_grid: bool = False
    is_composed: bool = False
    codes_refine: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.reminder = UpdateReminder()

    @abstractmethod
    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes z.

        It never changes the codebook: in training it only records what `update` will need.

        Arguments:
            z: Vectors (..., D), floating-point.
            mask: Valid positions (...), bool; None where all are.

        Raises:
            InputError: If z or the mask has the wrong shape or dtype.
        """

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Returns the indices of z: (..., D) to (...) or (..., Q), int64, without gradient.

        Those of vectors that are not finite are -1.
        """

    @abstractmethod
    def decode(self, indices: Tensor) -> Tensor:
        """Returns the vectors of indices: (...) or (..., Q) to (..., D), float32; 0 for -1.

        Raises:
            InputError: If an index is out of range.
        """

    def encode_decoded(self, z_q: Tensor) -> Tensor:
        """Returns the indices whose `decode` is near to vectors (..., D) in its output space.

        It differs from `encode` where `encode(decode(indices))` is not `indices`, as for FSQ. Of
        codewords that are summed it may find other indices, whose sum is as near.
        """
        return self.encode(z_q)

    @abstractmethod
    def update(self) -> None:
        """Learns from the forward passes since the last call.

        Call it once after each step of the optimizer, or have `attach` do so. With several
        processes every one must call it, whatever its batch held: it is a collective operation.
        """

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes or unfreezes it: frozen, no gradient, mean, k-means or reset moves a codeword.

        Not saved with the state. A module of your own that holds quantizers does not pass it on to
        what learns without gradients: call it on the quantizer.
        """
        super().requires_grad_(requires_grad)
        freeze_codebooks(self, not requires_grad)
        return self

    def euclidean_codewords(self) -> Tensor | None:
        """Returns its codewords (K, D), float32, if it takes the one at the smallest Euclidean
        distance and `quantize_as` others; None if it goes by something else.
        """
        return None

    def quantize_as(self, z: Tensor, indices: Tensor, mask: Tensor | None = None) -> Quantized:
        """Works like `forward`, but with codewords that were chosen elsewhere, not the nearest.

        Arguments:
            z: Vectors (..., D).
            indices: The indices of their codewords (...), int64; -1 where a vector is not finite.
            mask: Valid positions (...), bool; None where all are.
        """
        raise NotImplementedError(f"{type(self).__name__} has no codewords to choose from.")

    @property
    def needs_update(self) -> bool:
        """Returns whether it learns in `update`: without those calls it warns, once."""
        return False

    def attach(self, optimizer: Optimizer) -> Attachment:
        """Calls `update` after each step of an optimizer, until the result's `detach()`.

        A quantizer is attached to one optimizer at a time, with all that it is made of: attaching
        it again changes nothing, to another one moves it there. A copy is not attached.

        Example:
            >>> from smalti.quantizers import EMACodebook, VectorQuantizer
            >>> quantizer = VectorQuantizer(EMACodebook(codebook_size=8, dim=2))
            >>> optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
            >>> attachment = quantizer.attach(optimizer)
            >>> quantized = quantizer(torch.randn(50, 2)).quantized
            >>> optimizer.step()  # and quantizer.update()
            >>> int(quantizer.updates)
            1
            >>> attachment.detach()
        """
        return attach_quantizers(self, optimizer)

    def _remind(self) -> None:
        """Counts a forward pass; warns where `update` was forgotten."""
        if self.training and not torch.compiler.is_compiling() and self.needs_update:
            self.reminder.count()


def leaf_quantizers(module: nn.Module) -> list[Quantizer]:
    """Lists the quantizers in a module that are not composed of other quantizers, each once."""
    return [m for m in module.modules() if isinstance(m, Quantizer) and not m.is_composed]


def attach_quantizers(module: nn.Module, optimizer: Optimizer) -> Attachment:
    """Attaches all quantizers in a module to an optimizer; see `Quantizer.attach`."""
    silence_reminders(module)
    return attach(leaf_quantizers(module), optimizer)


def freeze_codebooks(module: nn.Module, frozen: bool = True) -> None:
    """Freezes all codebooks in a module, also those that learn without gradients, or frees them."""
    for part in module.modules():
        if isinstance(part, Codebook):
            part.requires_grad_(not frozen)


def silence_reminders(module: nn.Module) -> None:
    """Turns off the warnings about missing calls of `update`, for all quantizers in a module."""
    for quantizer in module.modules():
        if isinstance(quantizer, Quantizer):
            quantizer.reminder.silent = True


def check_vectors(z: Tensor, dim: int) -> None:
    """Raises `InputError` unless z is (..., dim) and floating-point."""
    if z.ndim == 0 or z.shape[-1] != dim:
        raise InputError(
            f"The quantizer takes vectors (..., {dim}), got the shape {tuple(z.shape)}: move the "
            f"channels last, or give the codebook the dim of the vectors."
        )
    if not z.is_floating_point():
        raise InputError(
            f"The quantizer takes floating-point vectors, got {z.dtype}: use z.float()."
        )


def check_mask(mask: Tensor | None, z: Tensor) -> None:
    """Raises `InputError` unless the mask is None, or bool with one value for each vector."""
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.shape != z.shape[:-1]:
        raise InputError(
            f"The mask must be torch.bool of the shape {tuple(z.shape[:-1])}, got {mask.dtype} "
            f"of the shape {tuple(mask.shape)}: True marks the valid positions."
        )


def check_indices(indices: Tensor, codebook_size: int) -> None:
    """Raises `InputError` unless the indices are integers from -1 to codebook_size - 1."""
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise InputError(f"Indices must be integers, got {indices.dtype}: use indices.long().")
    # Inside a compiled graph a value cannot decide what to do next.
    if torch.compiler.is_compiling() or not indices.numel():
        return
    low, high = (int(bound) for bound in torch.aminmax(indices))
    if low < -1 or high >= codebook_size:
        raise InputError(
            f"Indices must lie between 0 and {codebook_size - 1} (-1 for none), got values from "
            f"{low} to {high}: use the codebook they were made with."
        )


def prepare_input(z: Tensor, dim: int, mask: Tensor | None = None) -> Tensor:
    """Converts z (..., D) to float32, with 0 at masked positions.

    Raises:
        InputError: If z or the mask has the wrong shape or dtype.
    """
    check_vectors(z, dim)
    check_mask(mask, z)
    return z.float() if mask is None else torch.where(mask[..., None], z.float(), 0.0)


def finite_vectors(z: Tensor) -> Tensor:
    """Returns which vectors (..., D) have only finite values in float32: (...), bool."""
    # Both ends survive, NaN as both: a sum of numbers near the largest of all would be infinite.
    low, high = z.aminmax(dim=-1)
    return low.float().isfinite() & high.float().isfinite()


def finish_output(z: Tensor, mask: Tensor | None, y: Tensor) -> Tensor:
    """Casts y (..., D) to the dtype of z; sets it to NaN where z is not finite, 0 where masked."""
    good = finite_vectors(z)
    other = y.new_full((), torch.nan)
    if mask is not None:
        good, other = good & mask, torch.where(mask, other, 0.0)[..., None]
    return torch.where(good[..., None], y, other).to(z.dtype)


def make_output(
    z: Tensor, mask: Tensor | None, y: Tensor, indices: Tensor, losses: dict[str, Tensor]
) -> Quantized:
    """Builds the output of a quantizer of single vectors from y, its indices and losses.

    A vector that is not finite has no codeword: its output is NaN, its index -1.

    Arguments:
        z: Input of the quantizer, (..., D).
        mask: Valid positions (...), bool; None where all are.
        y: The quantized vectors (..., D), float32.
        indices: (...), int64.
        losses: The losses by name.
    """
    indices = torch.where(
        finite_vectors(z) if mask is None else finite_vectors(z) & mask, indices, -1
    )
    return Quantized(finish_output(z, mask, y), indices, losses)
