"""Encoders, decoders, and what is assembled from them."""

from smalti.autoencoders.convolutional import ConvDecoder, ConvEncoder
from smalti.autoencoders.discrete import DiscreteAutoencoder, Reconstruction

__all__ = ["ConvDecoder", "ConvEncoder", "DiscreteAutoencoder", "Reconstruction"]
