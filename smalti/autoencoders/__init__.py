"""Encoders, decoders, and what is assembled from them."""

from smalti.autoencoders.continuous import (
    Autoencoder,
    ContinuousAutoencoder,
    LatentReconstruction,
    VectorDecoder,
    VectorEncoder,
)
from smalti.autoencoders.convolutional import ConvDecoder, ConvEncoder
from smalti.autoencoders.discrete import DiscreteAutoencoder, Reconstruction
from smalti.autoencoders.variational import Posterior, VariationalAutoencoder

__all__ = [
    "Autoencoder",
    "ContinuousAutoencoder",
    "ConvDecoder",
    "ConvEncoder",
    "DiscreteAutoencoder",
    "LatentReconstruction",
    "Posterior",
    "Reconstruction",
    "VariationalAutoencoder",
    "VectorDecoder",
    "VectorEncoder",
]
