"""Usage and perplexity against cases that can be worked out by hand."""

import math

import pytest
import torch

from smalti.errors import InputError
from smalti.quantizers import (
    FiniteScalarQuantizer,
    LookupFreeQuantizer,
    codebook_usage,
    count_indices,
    perplexity,
    usage,
)


def test_uniform_use_has_the_perplexity_of_the_codebook():
    used, value = codebook_usage(torch.arange(64).repeat(9), 64)
    assert used == 1 and value == pytest.approx(64)


def test_one_codeword_has_perplexity_one():
    assert codebook_usage(torch.full((3, 7), 5), 64) == (1 / 64, 1)


def test_a_half_and_two_quarters():
    counts = torch.tensor([2, 1, 1, 0])
    assert usage(counts) == 0.75
    assert perplexity(counts) == pytest.approx(math.exp(1.5 * math.log(2)))


def test_scaling_the_counts_changes_nothing():
    counts = torch.randint(0, 100, (512,))
    assert perplexity(1000 * counts) == pytest.approx(perplexity(counts))
    assert usage(1000 * counts) == usage(counts)


def test_masked_indices_are_not_counted_and_batches_add():
    indices = torch.tensor([[0, 3, -1], [3, -1, 1]])
    assert count_indices(indices, 4).tolist() == [1, 1, 0, 2]
    assert torch.equal(
        count_indices(indices[0], 4) + count_indices(indices[1], 4), count_indices(indices, 4)
    )


def test_a_codebook_without_a_table_is_counted_by_what_occurs():
    for quantizer in (LookupFreeQuantizer(36), FiniteScalarQuantizer([8] * 12)):
        indices = quantizer.encode(torch.randn(50, quantizer.dim))
        (size,) = quantizer.codebook_sizes
        assert size == 2**36
        indices = torch.cat([indices, indices, torch.tensor([-1])])
        used, value = codebook_usage(indices, size)
        assert used == len(indices[:50].unique()) / 2**36
        assert value == pytest.approx(len(indices[:50].unique()), rel=0.05)
        with pytest.raises(InputError, match=f"at most 2..27, got {2**36}: use codebook_usage"):
            count_indices(indices, size)
    assert codebook_usage(torch.tensor([2**62 - 1, 0]), 2**62) == (2**-61, 2)
    assert usage(torch.tensor([3, 1]), 2**40) == 2**-39
    assert codebook_usage(torch.tensor([0, 0]), 1) == (1, 1)


def test_nothing_counted():
    assert codebook_usage(torch.tensor([-1, -1]), 2**40) == (0, 1)
    assert codebook_usage(torch.empty(0, dtype=torch.int64), 8) == (0, 1)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: count_indices(torch.tensor([8]), 8),
        lambda: count_indices(torch.tensor([0.0]), 8),
        lambda: usage(torch.zeros(2, 2)),
        lambda: perplexity(torch.zeros(0)),
    ],
)
def test_mistakes_are_told(mistake):
    with pytest.raises(InputError, match="got"):
        mistake()
