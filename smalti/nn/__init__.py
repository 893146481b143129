"""Building blocks shared by autoencoders and priors."""

from smalti.nn.blocks import ConvLayers, ResidualBlock, ResidualStack, conv_layers
from smalti.nn.normalized_blocks import NormalizedResidualBlock, SpatialAttention, group_norm

__all__ = [
    "ConvLayers",
    "NormalizedResidualBlock",
    "ResidualBlock",
    "ResidualStack",
    "SpatialAttention",
    "conv_layers",
    "group_norm",
]
