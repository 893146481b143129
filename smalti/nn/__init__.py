"""Building blocks shared by autoencoders and priors."""

from smalti.nn.blocks import ConvLayers, ResidualBlock, ResidualStack, conv_layers

__all__ = ["ConvLayers", "ResidualBlock", "ResidualStack", "conv_layers"]
