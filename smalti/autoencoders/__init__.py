"""Encoders, decoders, and the autoencoders assembled from them."""

from smalti.autoencoders.continuous import (
    Autoencoder,
    ContinuousAutoencoder,
    LatentReconstruction,
    VectorDecoder,
    VectorEncoder,
)
from smalti.autoencoders.convolutional import ConvDecoder, ConvEncoder
from smalti.autoencoders.discrete import DiscreteAutoencoder, Reconstruction
from smalti.autoencoders.hierarchical import HierarchicalAutoencoder, HierarchicalReconstruction
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.autoencoders.variational import Posterior, VariationalAutoencoder

__all__ = [
    "Autoencoder",
    "ContinuousAutoencoder",
    "ConvDecoder",
    "ConvEncoder",
    "DiscreteAutoencoder",
    "HierarchicalAutoencoder",
    "HierarchicalReconstruction",
    "LatentReconstruction",
    "Posterior",
    "Reconstruction",
    "Tokenizer",
    "VariationalAutoencoder",
    "VectorDecoder",
    "VectorEncoder",
]
