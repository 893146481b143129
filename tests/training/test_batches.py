"""The order of the examples is a function of the seed and the step."""

from __future__ import annotations

from itertools import islice

import pytest

from smalti.training.batch_order import StepSampler


def take(count: int, **options) -> list[list[int]]:
    return list(islice(StepSampler(**options), count))


def test_every_example_comes_once_a_pass():
    batches = take(10, length=20, batch_size=4, seed=3)
    stream = [index for batch in batches for index in batch]
    assert sorted(stream[:20]) == sorted(stream[20:]) == list(range(20))
    assert stream[:20] != stream[20:]
    assert stream[:20] != list(range(20))


@pytest.mark.parametrize("start", [1, 4, 7])
def test_starting_late_gives_the_same_batches(start):
    options = {"length": 10, "batch_size": 3, "seed": 5}
    assert take(3, start=start, **options) == take(start + 3, **options)[start:]


def test_processes_share_a_batch():
    parts = [take(5, length=16, batch_size=2, seed=1, rank=rank, world=2) for rank in (0, 1)]
    joined = [a + b for a, b in zip(*parts, strict=True)]
    assert joined == take(5, length=16, batch_size=4, seed=1)


def test_the_seed_changes_the_order():
    assert take(3, length=50, batch_size=8, seed=0) != take(3, length=50, batch_size=8, seed=1)


def test_an_infinite_set_is_read_in_order():
    assert take(3, length=None, batch_size=2, seed=9, start=1) == [[2, 3], [4, 5], [6, 7]]
