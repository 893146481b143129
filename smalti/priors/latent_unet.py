"""The U-Net of latent diffusion, from `diffusers` with new weights, and its inputs.

    v = unet([y_t, k, m(c)], t, W c_vector, c_sequence)

The mask k is 1 where y_t is known and has no noise, and 0 elsewhere. m(c) is a map of the context
at each position (`smalti.priors.context`); without a condition it is a learned position embedding.
The vector of the context is also added to the time embedding, and its sequence, such as the tokens
of a caption, is seen by cross-attention. If the sides of a grid cannot be halved so often, it is
padded with zeros at the end.

The grid is halved while its shorter side has six positions or more. Self-attention is used at the
lowest resolution.

References:
    Denoising Diffusion Probabilistic Models, J. Ho, A. Jain and P. Abbeel, 2020, arXiv 2006.11239
    (the U-Net).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.conditions import Condition, Context, ContextSizes
from smalti.extras import explain_import_error
from smalti.nn.dropout import Dropout
from smalti.priors.context import map_of_sizes
from smalti.priors.token_context import sequence_places

__all__ = ["LatentUNet"]

PLACES = 16  # channels of the map of the context
MOST_LEVELS = 4


class LatentUNet(nn.Module):
    """Maps noisy vectors on a grid (B, d, H, W), times and a context to vectors (B, d, H, W).

    Arguments:
        dims: d.
        grid: (H, W).
        condition: The condition that gives the context; None for an unconditional prior.
        channels: Channels at full resolution, a multiple of 8; twice as many below it.
        blocks: Residual blocks of each resolution.
        dropout: Probability that a number in a residual block is dropped in training.

    Raises:
        MissingExtra: If `diffusers` is not installed.
    """

    def __init__(
        self,
        dims: int,
        grid: tuple[int, int],
        condition: Condition | None,
        channels: int,
        blocks: int,
        dropout: float,
    ) -> None:
        super().__init__()
        sizes = ContextSizes() if condition is None else condition.sizes
        levels = _levels(min(grid))
        self.grid, self.multiple = grid, 2 ** (levels - 1)
        self.places = map_of_sizes(grid, sizes, PLACES)
        self.vector = nn.Linear(sizes.vector, 4 * channels) if sizes.vector else None
        self.sequence = nn.Linear(sizes.sequence, 4 * channels) if sizes.sequence else None
        widths = (channels, *[2 * channels] * (levels - 1))
        self.unet = _unet(dims, widths, blocks, sizes)
        _replace_dropout(self.unet, dropout)

    def forward(self, y: Tensor, known: Tensor, t: Tensor, context: Context) -> Tensor:
        """Predicts v from y_t, both (B, d, H, W).

        Arguments:
            y: y_t, (B, d, H, W), without noise where it is known.
            known: (B, 1, H, W), bool.
            t: The times (B,), int64, in [0, T).
            context: The context of each example.
        """
        places = self.places(context).to(y.dtype).expand(len(y), -1, -1, -1)
        x = torch.cat([y, known.to(y.dtype), places], 1)
        far = [side for length in reversed(self.grid) for side in (0, -length % self.multiple)]
        options: dict[str, Any] = {}
        if self.vector is not None:
            assert context.vector is not None
            options["class_labels"] = self.vector(context.vector.to(y.dtype))
        if self.sequence is not None:
            assert context.sequence is not None
            sequence = self.sequence(context.sequence.to(y.dtype))
            sequence = sequence + sequence_places(*sequence.shape[1:]).to(sequence)
            options["encoder_hidden_states"] = sequence
            options["encoder_attention_mask"] = context.mask
        v = self.unet(F.pad(x, far), t, **options).sample
        return v[:, :, : self.grid[0], : self.grid[1]]


def _levels(side: int) -> int:
    """Returns the number of resolutions for a grid whose shorter side has so many positions.

    Example:
        >>> [_levels(side) for side in (1, 5, 7, 8, 16, 32, 128)]
        [1, 1, 2, 2, 3, 4, 4]
    """
    levels = 1
    while side >= 6 and levels < MOST_LEVELS:
        side, levels = math.ceil(side / 2), levels + 1
    return levels


def _unet(dims: int, widths: tuple[int, ...], blocks: int, sizes: ContextSizes) -> nn.Module:
    """Makes a U-Net of `diffusers` with new weights; with cross-attention if there is a sequence.

    Arguments:
        dims: Channels of the output, and of the input without mask and map.
        widths: Channels of each resolution, fine to coarse.
        blocks: Residual blocks of each.
        sizes: The sizes of the context.
    """
    try:
        from diffusers import UNet2DConditionModel, UNet2DModel
    except ModuleNotFoundError as error:
        raise explain_import_error(error, "Latent diffusion") from error
    kind = "CrossAttn{}Block2D" if sizes.sequence else "Attn{}Block2D"
    plain = len(widths) - 1
    options: dict[str, Any] = {
        "in_channels": dims + 1 + PLACES,
        "out_channels": dims,
        "block_out_channels": widths,
        "layers_per_block": blocks,
        "down_block_types": (*["DownBlock2D"] * plain, kind.format("Down")),
        "up_block_types": (kind.format("Up"), *["UpBlock2D"] * plain),
        "norm_num_groups": math.gcd(16, widths[0]),
        "class_embed_type": "identity" if sizes.vector else None,
    }
    head = math.gcd(32, widths[0])
    network: Any  # whose type is known where diffusers is installed, and else not
    if not sizes.sequence:
        network = UNet2DModel(**options, attention_head_dim=head)
    else:
        network = UNet2DConditionModel(
            **options,
            cross_attention_dim=4 * widths[0],
            attention_head_dim=tuple(width // head for width in widths),  # there it is their number
        )
    return network


def _replace_dropout(module: nn.Module, dropout: float) -> None:
    """Replaces the dropout of residual blocks, which is slow on a CPU; there is no other."""
    for name, part in module.named_children():
        if name == "dropout" and isinstance(part, nn.Dropout):
            setattr(module, name, Dropout(dropout))
        else:
            _replace_dropout(part, dropout)
