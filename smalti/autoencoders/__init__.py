"""Autoencoders: signals to latents and back, and the encoders and decoders inside."""

from smalti.autoencoders.base import Autoencoder, Reconstruction
from smalti.autoencoders.continuous import ContinuousAutoencoder, VectorDecoder, VectorEncoder
from smalti.autoencoders.convolutional import ConvDecoder, ConvEncoder
from smalti.autoencoders.discrete import DiscreteAutoencoder
from smalti.autoencoders.hierarchical import HierarchicalAutoencoder
from smalti.autoencoders.plain import PlainAutoencoder
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.autoencoders.variational import Posterior, VariationalAutoencoder

__all__ = [
    "Autoencoder",
    "ContinuousAutoencoder",
    "ConvDecoder",
    "ConvEncoder",
    "DiscreteAutoencoder",
    "HierarchicalAutoencoder",
    "PlainAutoencoder",
    "Posterior",
    "Reconstruction",
    "Tokenizer",
    "VariationalAutoencoder",
    "VectorDecoder",
    "VectorEncoder",
]
