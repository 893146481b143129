"""Encoders, decoders, discriminators and networks of features, chosen by their class."""

from smalti.networks.contrastive import ContrastiveNetwork, contrastive_loss
from smalti.networks.convolutional import ConvDecoder, ConvEncoder
from smalti.networks.discriminator import (
    Discriminator,
    Discriminators,
    PatchDiscriminator,
    Verdict,
)
from smalti.networks.feature_network import ConvFeatures, FeatureNetwork
from smalti.networks.features import Features
from smalti.networks.fully_connected import MLPDecoder, MLPEncoder
from smalti.networks.identity import IdentityDecoder, IdentityEncoder
from smalti.networks.network import Decoder, Encoder, grid_of
from smalti.networks.normalization import Affine, Normalization, UnitLength, Whitening
from smalti.networks.resnet_decoder import ResNetDecoder
from smalti.networks.seanet import SEANetDecoder, SEANetEncoder
from smalti.networks.spectrogram import SpectrogramDecoder, SpectrogramEncoder
from smalti.networks.vectors import VectorDecoder, VectorEncoder
from smalti.networks.vocos import VocosDecoder
from smalti.networks.waveform_discriminators import (
    MultiPeriodDiscriminator,
    MultiScaleSTFTDiscriminator,
)

__all__ = [
    "Affine",
    "ContrastiveNetwork",
    "ConvDecoder",
    "ConvEncoder",
    "ConvFeatures",
    "Decoder",
    "Discriminator",
    "Discriminators",
    "Encoder",
    "FeatureNetwork",
    "Features",
    "IdentityDecoder",
    "IdentityEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "MultiPeriodDiscriminator",
    "MultiScaleSTFTDiscriminator",
    "Normalization",
    "PatchDiscriminator",
    "ResNetDecoder",
    "SEANetDecoder",
    "SEANetEncoder",
    "SpectrogramDecoder",
    "SpectrogramEncoder",
    "UnitLength",
    "VectorDecoder",
    "VectorEncoder",
    "Verdict",
    "VocosDecoder",
    "Whitening",
    "contrastive_loss",
    "grid_of",
]
