"""What all tests share: no network, one thread a process, a fixed seed."""

from __future__ import annotations

import os

# Before any test imports datasets or huggingface_hub, which read it once.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
