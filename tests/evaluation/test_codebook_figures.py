"""Usage and perplexity of indices of a whole set."""

import math

import pytest
import torch

from smalti.evaluation.measurements.codebook_usage import codebook_figures, codeword_counts


def test_half_of_the_codewords_evenly_used():
    indices = torch.arange(4).repeat(25).view(10, 2, 5)
    figures = codebook_figures(codeword_counts(indices, (8,)), "test set, N = 10")
    assert figures["usage"]["value"] == 0.5
    assert figures["perplexity"]["value"] == pytest.approx(4)
    assert "100 indices" in figures["usage"]["protocol"]


def test_perplexity_is_exp_of_the_entropy():
    indices = torch.tensor([[0, 0, 0, 1]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    (count,) = codeword_counts(indices, (2,))
    value = codebook_figures([count], "")["perplexity"]["value"]
    assert value == pytest.approx(math.exp(entropy), abs=1e-9)


def test_each_of_several_codebooks_is_counted_apart():
    indices = torch.stack([torch.zeros(5, 3), torch.arange(15).view(5, 3) % 2], dim=-1).long()
    figures = codebook_figures(codeword_counts(indices, (4, 2)), "")
    assert figures["usage_0"]["value"] == 0.25
    assert figures["usage_1"]["value"] == 1
    assert "K = 2" in figures["usage_1"]["protocol"]
