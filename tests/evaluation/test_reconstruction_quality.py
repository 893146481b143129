"""MSE, MSE/variance, PSNR and SSIM against cases with a known answer."""

import math

import pytest
import torch

from smalti.modalities.image.metrics import ReconstructionQuality, psnr


def measured(*pairs):
    quality = ReconstructionQuality()
    for x, x_hat in pairs:
        quality.update(x, x_hat)
    return {name: figure["value"] for name, figure in quality.figures("test set, N = 1").items()}


@pytest.fixture
def x():
    return torch.rand(6, 3, 16, 20) * 2 - 1


def test_identical_images(x):
    values = measured((x, x.clone()))
    assert values["mse"] == 0
    assert values["mse_over_variance"] == 0
    assert values["psnr"] == math.inf
    assert values["ssim"] == pytest.approx(1, abs=1e-6)


def test_the_global_mean_as_reconstruction_has_mse_over_variance_of_one(x):
    constant = torch.full_like(x, x.double().mean().item())
    assert measured((x, constant))["mse_over_variance"] == pytest.approx(1, abs=1e-6)


def test_the_variance_is_around_one_mean_for_all_channels_and_pixels(x):
    x[:, 0] += 0.5
    x = x.clamp(-1, 1)
    wanted = x.double().sub(0.25).square().mean() / x.double().var(correction=0)
    assert measured((x, torch.full_like(x, 0.25)))["mse_over_variance"] == pytest.approx(wanted)


def test_a_constant_error_gives_the_psnr_in_closed_form():
    x = torch.zeros(2, 1, 16, 16)
    values = measured((x, x + 0.02))  # 0.01 apart on [0, 1]
    assert values["psnr"] == pytest.approx(40, abs=1e-4)
    assert values["mse"] == pytest.approx(0.0004)
    assert psnr(x + 0.02, x) == pytest.approx(40, abs=1e-4)


def test_ssim_of_two_constant_images_is_the_luminance_term():
    a, b = 0.25, 0.75  # on [0, 1]
    x = torch.full((1, 1, 16, 16), 2 * a - 1)
    wanted = (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2)
    assert measured((x, torch.full_like(x, 2 * b - 1)))["ssim"] == pytest.approx(wanted, abs=1e-3)


def test_batches_do_not_matter(x):
    x_hat = (x + 0.3 * torch.randn_like(x)).clamp(-1, 1)
    whole = measured((x, x_hat))
    parts = measured((x[:1], x_hat[:1]), (x[1:], x_hat[1:]))
    assert parts == pytest.approx(whole, rel=1e-6)


def test_reconstructions_are_clipped_as_pictures_are(x):
    bright = torch.ones_like(x)
    assert measured((x, 5 * bright)) == measured((x, bright))


def test_exact_images_do_not_make_the_mean_psnr_infinite():
    x = torch.zeros(2, 1, 16, 16)
    x_hat = x.clone()
    x_hat[1] += 0.2
    quality = ReconstructionQuality()
    quality.update(x, x_hat)
    figure = quality.figures("test set, N = 2")["psnr"]
    assert figure["value"] == pytest.approx(20, abs=1e-4)
    assert "without 1" in figure["protocol"]


def test_images_smaller_than_the_window_have_no_ssim():
    x = torch.rand(2, 1, 8, 30)
    assert "ssim" not in measured((x, x))


def test_data_without_variance_have_no_ratio():
    x = torch.zeros(2, 1, 16, 16)
    assert math.isnan(measured((x, x + 0.1))["mse_over_variance"])
