"""Building blocks shared by autoencoders and priors."""

from smalti.nn.blocks import ConvLayers, ResidualBlock, ResidualStack, layers

__all__ = ["ConvLayers", "ResidualBlock", "ResidualStack", "layers"]
