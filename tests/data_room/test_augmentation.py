"""Augmentation: images move and are mirrored, each by itself, and repeatably."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from smalti.modalities.image.augmentation import Augmentation


def test_mirroring_is_by_image_and_in_half_the_cases():
    x = torch.rand(400, 3, 4, 5)
    y = Augmentation(flip=True, move=False)(x)
    same = (y == x).flatten(1).all(dim=1)
    mirrored = (y == x.flip(-1)).flatten(1).all(dim=1)
    assert bool((same ^ mirrored).all())
    assert 140 < mirrored.sum() < 260


def test_a_moved_image_is_a_window_of_its_reflection():
    x = torch.rand(60, 2, 16, 24)
    y = Augmentation(flip=False, move=True)(x)
    padded = F.pad(x, (3, 3, 2, 2), mode="reflect")
    windows = padded.unfold(2, 16, 1).unfold(3, 24, 1)  # (B, C, 5, 7, 16, 24)
    matches = (windows == y[:, :, None, None]).flatten(4).all(dim=4).all(dim=1)  # (B, 5, 7)
    assert bool((matches.flatten(1).sum(dim=1) >= 1).all())
    assert len(matches.flatten(1).int().argmax(dim=1).unique()) > 15


def test_the_global_seed_decides():
    x, change = torch.rand(9, 1, 16, 16), Augmentation(flip=True, move=True)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(change(x))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_tiny_images_and_empty_batches_stay():
    change = Augmentation(flip=False, move=True)
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(change(x), x)
    assert change(x[:0]).shape == x[:0].shape
