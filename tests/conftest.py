"""What all tests share: no network, one thread a process, a fixed seed."""

from __future__ import annotations

import os

# Before any test imports datasets or huggingface_hub, which read it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["SMALTI_NO_CACHE"] = "1"  # nothing of a test stays on the machine

import pytest
import torch

torch.set_num_threads(1)  # here, so that fixtures of modules have one thread too


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.manual_seed(0)
    torch.set_flush_denormal(False)  # which a training sets, for the whole process
