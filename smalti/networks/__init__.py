"""Encoders and decoders, which recipes choose by their class."""

from smalti.networks.convolutional import ConvDecoder, ConvEncoder
from smalti.networks.features import Features
from smalti.networks.fully_connected import MLPDecoder, MLPEncoder
from smalti.networks.identity import IdentityDecoder, IdentityEncoder
from smalti.networks.network import Decoder, Encoder, grid_of
from smalti.networks.normalization import Affine, Normalization, UnitLength, Whitening
from smalti.networks.vectors import VectorDecoder, VectorEncoder

__all__ = [
    "Affine",
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Encoder",
    "Features",
    "IdentityDecoder",
    "IdentityEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "Normalization",
    "UnitLength",
    "VectorDecoder",
    "VectorEncoder",
    "Whitening",
    "grid_of",
]
