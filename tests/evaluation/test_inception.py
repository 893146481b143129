"""FID and KID from given features, and the line that says why there are none."""

import pytest
import torch
from torch import nn

from smalti.evaluation.measurements.frechet import fit_gaussian, frechet_distance
from smalti.modalities.image import inception
from smalti.modalities.image.inception import (
    Inception,
    inception_distances,
    inception_features,
    load_inception,
)


class Corners(nn.Module):
    """In the place of the network: three features of an image of bytes."""

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return x[:, :, 0, 0].float()


def test_fid_is_the_frechet_distance_of_the_features():
    real, generated = torch.randn(60, 4).double(), torch.randn(50, 4).double() * 2 + 1
    wanted = frechet_distance(fit_gaussian(real), fit_gaussian(generated))
    assert inception_distances(real, generated).fid == pytest.approx(wanted, rel=1e-6)


def test_kid_of_constant_features_in_closed_form():
    # All of one set are 0, all of the other (1, 1): k(x, y) = (x·y / 2 + 1)³ is 1, 8 and 1 between.
    real, generated = torch.zeros(10, 2), torch.ones(12, 2)
    measured = inception_distances(real, generated)
    assert measured.kid == pytest.approx(1 + 8 - 2 * 1)
    assert measured.subset == 10


def test_grey_images_are_shown_in_three_equal_channels():
    images = [torch.full((2, 1, 5, 5), value) for value in (-1.0, 1.0)]
    features = inception_features(Inception(Corners()), images)
    assert features.tolist() == [[0.0] * 3] * 2 + [[255.0] * 3] * 2


def test_without_the_weights_there_is_one_line_with_the_reason(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network must not be touched")

    monkeypatch.setattr("socket.socket.connect", refuse)
    reason = load_inception(folder=tmp_path)
    assert isinstance(reason, str)
    assert "\n" not in reason
    assert "torch-fidelity" in reason or inception.WEIGHTS in reason
