"""Encoders, decoders, and what is assembled from them."""

from smalti.autoencoders.convolutional import ConvDecoder, ConvEncoder
from smalti.autoencoders.discrete import DiscreteAutoencoder, Reconstruction
from smalti.autoencoders.hierarchical import HierarchicalAutoencoder, HierarchicalReconstruction
from smalti.autoencoders.tokenizer import Tokenizer

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "DiscreteAutoencoder",
    "HierarchicalAutoencoder",
    "HierarchicalReconstruction",
    "Reconstruction",
    "Tokenizer",
]
