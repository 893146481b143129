"""Finite scalar quantization against its closed forms: values, indices, ranges, gradients."""

import math
from itertools import product

import pytest
import torch

from smalti.errors import InputError
from smalti.quantizers import FiniteScalarQuantizer, ShiftedBound, SymmetricBound

SHIFTED, SYMMETRIC = ShiftedBound(), SymmetricBound()
FORMS = pytest.mark.parametrize("bound", [SHIFTED, SYMMETRIC])
BOTH = [(bound, size) for bound in (SHIFTED, SYMMETRIC) for size in (3, 4, 5, 8, 9, 256, 5000)]
LEVELS = pytest.mark.parametrize(("bound", "size"), [*BOTH, (SYMMETRIC, 2)])


def places(bound: ShiftedBound | SymmetricBound, size: int) -> torch.Tensor:
    """The values of a dimension, in order."""
    if bound is SYMMETRIC:
        return torch.linspace(-1, 1, size, dtype=torch.float64)
    return (torch.arange(size, dtype=torch.float64) - size // 2) / (size // 2)


@pytest.mark.parametrize("size", [3, 4, 5, 8, 9])
def test_the_shifted_form_is_that_of_the_paper(size):
    z = 3 * torch.randn(1000, 1)
    h = (size - 1) * 1.001 / 2
    o = 0.5 * (size % 2 == 0)
    b = torch.tanh(z.double() + math.atanh(o / h)) * h - o
    output = FiniteScalarQuantizer([size])(z)
    torch.testing.assert_close(output.quantized.double(), b.round() / (size // 2))
    assert torch.equal(output.indices, (b.round() + size // 2).long()[:, 0])


@pytest.mark.parametrize("size", [2, 3, 4, 7, 8])
def test_the_symmetric_form_is_that_of_the_paper(size):
    z = 3 * torch.randn(1000, 1)
    steps = torch.floor((size - 1) * (z.double().tanh() + 1) / 2 + 0.5)
    output = FiniteScalarQuantizer([size], SYMMETRIC)(z)
    torch.testing.assert_close(output.quantized.double(), 2 / (size - 1) * steps - 1)
    assert torch.equal(output.indices, steps.long()[:, 0])


@pytest.mark.parametrize("size", [3, 5, 9])
def test_both_forms_have_the_same_values_where_their_number_is_odd(size):
    indices = torch.arange(size)
    shifted, symmetric = (FiniteScalarQuantizer([size], bound) for bound in (SHIFTED, SYMMETRIC))
    assert torch.equal(shifted.decode(indices), symmetric.decode(indices))


@LEVELS
def test_every_level_is_reached_and_none_beyond(bound, size):
    quantizer = FiniteScalarQuantizer([size], bound)
    far = 20.0  # where tanh is 1
    z = torch.cat([torch.linspace(-6, 6, 400 * size), torch.tensor([-far, far, -1e30, 1e30])])
    output = quantizer(z[:, None])
    torch.testing.assert_close(
        quantizer.decode(torch.arange(size))[:, 0].double(), places(bound, size)
    )
    assert output.indices.unique().tolist() == list(range(size))
    assert output.indices[-4:].tolist() == [0, size - 1, 0, size - 1]
    assert (output.indices[:-4].diff() >= 0).all()


@pytest.mark.parametrize("size", [2, 4, 8])
def test_an_even_number_of_values_is_symmetric_in_the_symmetric_form(size):
    quantizer = FiniteScalarQuantizer([size], SYMMETRIC)
    z = torch.randn(1000, 1)
    assert torch.equal(quantizer(-z).quantized, -quantizer(z).quantized)
    assert quantizer(torch.zeros(1)).indices == size // 2  # 0 goes up


@pytest.mark.parametrize(
    ("num_values", "bound"),
    [([8, 6, 5], SHIFTED), ([3, 7, 4, 5], SHIFTED), ([2, 8, 3, 2], SYMMETRIC), ([2], SYMMETRIC)],
)
def test_every_index_decodes_to_its_own_digits(num_values, bound):
    quantizer = FiniteScalarQuantizer(num_values, bound)
    (size,) = quantizer.codebook_sizes
    assert size == math.prod(num_values) and quantizer.dim == len(num_values)
    vectors = quantizer.decode(torch.arange(size))
    digits = list(product(*(range(number) for number in reversed(num_values))))  # last varies first
    for i, number in enumerate(num_values):
        column = torch.tensor([word[-1 - i] for word in digits])
        expected = places(bound, number)[column]
        torch.testing.assert_close(vectors[:, i].double(), expected)

    # Vectors that lie at the values before the bound was applied come back as their indices.
    size_ = torch.tensor(num_values)
    even = (1 - size_ % 2) / 2 if bound is SHIFTED else torch.zeros(len(num_values))
    h = (size_ - 1) / 2 * (1.001 if bound is SHIFTED else 1)
    b = vectors * bound.half_width(size_)
    z = torch.atanh(((b + even) / h).clamp(-1 + 1e-6, 1 - 1e-6)) - torch.atanh(even / h)
    assert torch.equal(quantizer.encode(z), torch.arange(size))
    assert torch.equal(quantizer(z).quantized, vectors)


def test_indices_fill_int64():
    quantizer = FiniteScalarQuantizer([2] * 62, SYMMETRIC)
    assert quantizer.codebook_sizes == (2**62,)
    signs = torch.randn(100, 62).sign()
    indices = quantizer.encode(signs)
    expected = [sum((s > 0) << i for i, s in enumerate(row)) for row in signs.tolist()]
    assert indices.tolist() == expected and max(expected) > 2**53
    assert torch.equal(quantizer.decode(indices), signs)


@pytest.mark.parametrize("size", [3, 4, 5, 8])
def test_the_gradient_is_that_of_the_shifted_bound(size):
    z = torch.randn(50, 1).requires_grad_()
    upstream = torch.randn(50, 1)
    FiniteScalarQuantizer([size])(z).quantized.backward(upstream)
    h = (size - 1) * 1.001 / 2
    shift = math.atanh(0.5 / h) if size % 2 == 0 else 0.0
    slope = h * (1 - torch.tanh(z.detach() + shift) ** 2) / (size // 2)
    torch.testing.assert_close(z.grad, upstream * slope)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_the_gradient_of_the_symmetric_bound_is_that_of_tanh(size):
    z = torch.randn(50, 1).requires_grad_()
    upstream = torch.randn(50, 1)
    FiniteScalarQuantizer([size], SYMMETRIC)(z).quantized.backward(upstream)
    torch.testing.assert_close(z.grad, upstream * (1 - torch.tanh(z.detach()) ** 2))


@FORMS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_gives_the_indices_of_float32(bound, dtype):
    quantizer = FiniteScalarQuantizer([8, 300, 8, 6, 5], bound)
    z = torch.randn(2000, 5)
    expected = quantizer.encode(z.to(dtype).float())
    assert expected.max() > 2**16  # far above what either dtype counts to
    assert torch.equal(quantizer.encode(z.to(dtype)), expected)
    assert torch.equal(quantizer(z.to(dtype)).indices, expected)
    with torch.autocast("cpu", dtype):
        assert torch.equal(quantizer.encode(z), quantizer(z.clone()).indices)
        assert torch.equal(quantizer(z.to(dtype)).indices, expected)
    half = FiniteScalarQuantizer([8, 300, 8, 6, 5], bound).to(dtype)
    assert torch.equal(half(z.to(dtype)).indices, expected)


@FORMS
def test_not_a_number_has_no_index_and_spoils_no_other(bound):
    quantizer = FiniteScalarQuantizer([8, 5, 5], bound)
    z = torch.randn(20, 3)
    expected = quantizer.encode(z)
    z[3] = torch.nan
    quantized, indices, _ = quantizer(z)
    assert indices[3] == -1 and quantized[3].isnan().all()
    assert torch.equal(indices[4:], expected[4:]) and quantized[4:].isfinite().all()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: FiniteScalarQuantizer([]), "num_values are whole numbers"),
        (lambda: FiniteScalarQuantizer([8, 1]), "at least 2"),
        (lambda: FiniteScalarQuantizer([8, 5.0]), "whole numbers"),
        (lambda: FiniteScalarQuantizer([8, 2]), "use SymmetricBound"),
        (lambda: FiniteScalarQuantizer([2] * 63, SymmetricBound()), "below 2..63"),
        (lambda: ShiftedBound(eps=0.0), "eps above 0"),
        (lambda: ShiftedBound(eps=2.0), "at most 1, got 2.0"),
    ],
)
def test_mistakes_are_told_in_one_line(mistake, told):
    with pytest.raises(InputError, match=told) as error:
        mistake()
    assert "\n" not in str(error.value) and "got" in str(error.value)
