"""What is particular to vector quantization: its start, its notes, its warning, its compilation."""

import copy

import pytest
import torch

from smalti.errors import InputError
from smalti.quantizers import NSVQ, EMACodebook, GradientCodebook, VectorQuantizer, kmeans, nearest

BOTH = pytest.mark.parametrize("codebook", [GradientCodebook, EMACodebook])


@BOTH
def test_k_means_starts_it_at_the_first_update_with_data(codebook):
    quantizer = VectorQuantizer(codebook(codebook_size=8, dim=3))
    random = quantizer.codebook.weight.detach().clone()
    z = 50 + torch.randn(3, 100, 3)

    quantizer.eval()(z)
    quantizer.update()
    assert torch.equal(quantizer.codebook.weight, random)  # never in evaluation

    quantizer.train()(z, torch.zeros(3, 100, dtype=torch.bool))
    quantizer.update()
    assert torch.equal(quantizer.codebook.weight, random)  # nor from nothing

    for part in z:
        quantizer(part)
    assert torch.equal(quantizer.codebook.weight, random)
    quantizer.update()
    vectors = z.reshape(-1, 3)
    started = (vectors - quantizer.codebook.weight[quantizer.encode(vectors)]).square().mean()
    best = kmeans(vectors, 8, 20)
    assert started < 1.3 * (vectors - best[nearest(vectors, best)]).square().mean()


@BOTH
def test_a_codebook_keeps_its_words_without_k_means(codebook):
    quantizer = VectorQuantizer(
        codebook(codebook_size=8, dim=3), dead_code_reset=None, kmeans_iterations=0
    )
    before = quantizer.codebook.weight.detach().clone()
    quantizer(50 + torch.randn(100, 3))
    quantizer.update()
    assert (quantizer.codebook.weight != before).any(1).sum() <= 8 * (codebook is EMACodebook)


def test_a_codebook_larger_than_the_first_batch_starts_on_its_vectors():
    quantizer = VectorQuantizer(EMACodebook(codebook_size=100, dim=3))
    z = 50 + torch.randn(30, 3)
    quantizer(z)
    quantizer.update()
    assert torch.allclose(quantizer(z).quantized, z)


def test_forgetting_the_update_does_not_fill_the_memory():
    quantizer = VectorQuantizer(EMACodebook(codebook_size=8, dim=3))
    with pytest.warns(UserWarning, match="has not been updated"):
        for _ in range(200):
            quantizer(torch.randn(100, 3))
    kept = sum(len(vectors) for vectors, _ in quantizer._statistics.vectors)
    assert kept < 64 * 8 + 100


def test_without_draws_no_vector_is_kept():
    quantizer = VectorQuantizer(
        EMACodebook(codebook_size=8, dim=3), dead_code_reset=None, kmeans_iterations=0
    )
    quantizer(torch.randn(100, 3))
    assert quantizer._statistics.vectors == []


def test_what_a_resumed_run_needs_is_in_the_state():
    names = set(VectorQuantizer(EMACodebook(codebook_size=8, dim=3)).state_dict())
    assert names == {"shares", "updates", "digest"} | {
        f"codebook.{n}" for n in ("weight", "counts", "sums")
    }


def test_a_state_rounded_by_averaging_of_weights_does_no_harm():
    quantizer = VectorQuantizer(EMACodebook(codebook_size=8, dim=3))
    averaged = torch.optim.swa_utils.AveragedModel(
        quantizer, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    for _ in range(30):
        quantizer(torch.randn(100, 3))
        quantizer.update()
        averaged.update_parameters(quantizer)
    z = torch.randn(50, 3)
    averaged.eval()
    error = (z - averaged(z).quantized).square().mean()
    assert error < 1.5 * (z - quantizer.eval()(z).quantized).square().mean()


def test_gradients_reach_both_sides_through_nsvq():
    quantizer = VectorQuantizer(GradientCodebook(codebook_size=8, dim=3), NSVQ())
    z = torch.randn(50, 3, requires_grad=True)
    output = quantizer(z)
    output.quantized.square().sum().backward()
    assert output.losses == {}
    used = quantizer.codebook.weight.grad.any(1)
    assert torch.equal(used.nonzero()[:, 0], output.indices.unique())
    assert z.grad.any(1).all()


def test_evaluation_is_plain_quantization_with_the_gradient_of_the_identity():
    quantizer = VectorQuantizer(GradientCodebook(codebook_size=8, dim=3), NSVQ()).eval()
    z = torch.randn(50, 3, requires_grad=True)
    y = quantizer(z).quantized
    upstream = torch.randn(50, 3)
    y.backward(upstream)
    assert torch.equal(y, quantizer.codebook.weight[quantizer.encode(z)])
    assert torch.equal(z.grad, upstream)


@BOTH
def test_activation_checkpointing_changes_neither_gradient_nor_codebook(codebook):
    quantizer = VectorQuantizer(codebook(codebook_size=8, dim=3), kmeans_iterations=0)
    other = copy.deepcopy(quantizer)
    z = torch.randn(50, 3)
    gradients = []
    for one, checkpointed in ((quantizer, False), (other, True)):
        x = z.clone().requires_grad_()
        if checkpointed:
            y = torch.utils.checkpoint.checkpoint(
                lambda x, one=one: one(x * 1).quantized.sin(), x, use_reentrant=False
            )
        else:
            y = one(x * 1).quantized.sin()
        y.sum().backward()
        torch.manual_seed(0)
        one.update()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
    assert torch.equal(quantizer.shares, other.shares)


def test_it_compiles_in_one_graph():
    quantizer = VectorQuantizer(GradientCodebook(codebook_size=100, dim=5), NSVQ())
    compiled = torch.compile(quantizer, fullgraph=True, backend="eager")
    z, mask = torch.randn(4, 9, 5), torch.rand(4, 9) < 0.5
    for _ in range(3):
        torch.manual_seed(1)
        one = compiled(z, mask)
        torch.manual_seed(1)
        other = quantizer(z, mask)
        assert torch.equal(one.quantized, other.quantized)
        assert torch.equal(one.indices, other.indices)
        quantizer.update()


def test_negative_iterations_are_told():
    with pytest.raises(InputError, match="kmeans_iterations must be 0 or more, got -1"):
        VectorQuantizer(EMACodebook(codebook_size=8, dim=3), kmeans_iterations=-1)
