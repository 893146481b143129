"""Autoencoders: encode signals to latents, tokens or vectors, and decode them."""

from smalti.autoencoders.base import Autoencoder, Reconstruction
from smalti.autoencoders.continuous import ContinuousAutoencoder
from smalti.autoencoders.discrete import DiscreteAutoencoder
from smalti.autoencoders.hierarchical import HierarchicalAutoencoder
from smalti.autoencoders.plain import PlainAutoencoder
from smalti.autoencoders.streams import StreamDecoder, StreamEncoder
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.autoencoders.variational import Posterior, VariationalAutoencoder

__all__ = [
    "Autoencoder",
    "ContinuousAutoencoder",
    "DiscreteAutoencoder",
    "HierarchicalAutoencoder",
    "PlainAutoencoder",
    "Posterior",
    "Reconstruction",
    "StreamDecoder",
    "StreamEncoder",
    "Tokenizer",
    "VariationalAutoencoder",
]
