"""Masks: what is padding teaches nothing, and costs nothing."""

from __future__ import annotations

import pytest
import torch

from small_autoencoders import assemble
from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.errors import InputError
from smalti.losses.likelihoods import Gaussian
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import EMACodebook, VectorQuantizer

SIGNAL = Image(1, (14, 20))
SIZES = {"hidden": 8, "residual_hidden": 4}


def quantizer() -> VectorQuantizer:
    return VectorQuantizer(EMACodebook(codebook_size=16, dim=4))


def flat(likelihood=None) -> DiscreteAutoencoder:
    encoder, decoder = ConvEncoder(Features(1), 4, **SIZES), ConvDecoder(Features(1), 4, **SIZES)
    return DiscreteAutoencoder(encoder, quantizer(), decoder, SIGNAL, likelihood)


def levels(likelihood=None) -> HierarchicalAutoencoder:
    return HierarchicalAutoencoder(
        [
            ConvEncoder(Features(8), 4, downsampling=2, **SIZES),
            ConvEncoder(Features(1), 8, **SIZES),
        ],
        [quantizer(), quantizer()],
        [
            ConvDecoder(Features(8), 4, downsampling=2, **SIZES),
            ConvDecoder(Features(1), 12, **SIZES),
        ],
        SIGNAL,
        level_dropout=0.0,
        likelihood=likelihood,
    )


def half() -> torch.Tensor:
    mask = torch.zeros(2, 14, 20, dtype=torch.bool)
    mask[0, :8, :8], mask[1] = True, True
    return mask


@pytest.mark.parametrize("make", [flat, levels])
def test_padding_has_no_index_no_loss_and_no_gradient(make):
    model, mask = make().train(), half()
    x = (torch.rand(2, 1, 14, 20) * 2 - 1).requires_grad_()
    output = model(x, mask)
    grids = output.latents if isinstance(output.latents, tuple) else (output.latents,)
    for grid in grids:
        counts = torch.zeros(grid.shape, dtype=torch.bool)
        factor = 16 // grid.shape[1]
        counts[0, : 8 // factor, : 8 // factor], counts[1] = True, True
        assert torch.equal(grid >= 0, counts)
    out = ~mask[:, None]
    assert torch.equal(output.x_hat[out], x[out])
    assert (output.x_hat - x)[out].abs().max() == 0
    assert ((output.x_hat - x)[~out] != 0).all()


@pytest.mark.parametrize("make", [flat, levels])
def test_a_mask_of_all_changes_nothing(make):
    model = make().eval()
    x = torch.rand(2, 1, 14, 20) * 2 - 1
    whole, plain = model(x, torch.ones(2, 14, 20, dtype=torch.bool)), model(x)
    assert torch.equal(whole.x_hat, plain.x_hat)
    for name, loss in plain.losses.items():
        torch.testing.assert_close(whole.losses[name], loss)


def test_what_takes_signals_as_a_whole_says_so():
    x = torch.rand(2, 1, 14, 20)
    for model in (flat(Gaussian(0.5)), levels(Gaussian(0.5)), assemble(SIGNAL)):
        with pytest.raises(InputError, match="takes signals as a whole, got a mask"):
            model(x, half())
    with pytest.raises(InputError, match=r"bool of the shape \(2, 14, 20\), got torch.float32"):
        flat()(x, torch.ones(2, 14, 20))
