"""Binary quantizers, on the cube and the sphere, against closed forms and brute force."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from smalti.errors import InputError
from smalti.quantizers import BinarySphericalQuantizer, LookupFreeQuantizer, Quantizer
from smalti.quantizers.entropies import bit_entropy, entropy_deficit

BOTH = pytest.mark.parametrize("kind", [LookupFreeQuantizer, BinarySphericalQuantizer])


def entropies(quantizer: Quantizer, u: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """H(p) and the deficit of p̄, from the probabilities of all codewords of all groups."""
    sample, deficit = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    codewords = quantizer.decode(torch.arange(2**quantizer.dim)).double()  # (2^d, d)
    for start in range(0, quantizer.dim, group):
        bits = slice(start, start + group)
        table = codewords[:, bits].unique(dim=0)  # (2^g, g)
        distance = torch.cdist(u[:, bits].double(), table) ** 2
        p = torch.softmax(-quantizer.inverse_temperature * distance, -1)
        sample += torch.special.entr(p).sum(-1).mean()
        deficit += math.log(len(table)) - torch.special.entr(p.mean(0)).sum()
    return sample, deficit


@BOTH
@pytest.mark.parametrize("temperature", [0.3, 2.0, 30.0])
@pytest.mark.parametrize(("bits", "group"), [(1, 1), (6, 6), (6, 1), (7, 3), (8, 8), (8, 5)])
def test_the_entropies_equal_sums_over_all_codewords(kind, temperature, bits, group):
    quantizer = kind(bits, temperature, group)
    z = torch.randn(40, bits) + 0.3
    losses = quantizer(z).losses
    u = quantizer.latent(z)
    whole, exact = entropies(quantizer, u, bits)
    sample, deficit = entropies(quantizer, u, group)
    torch.testing.assert_close(losses["sample_entropy"].double(), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["sample_entropy"].double(), sample, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["entropy_deficit"].double(), deficit, rtol=1e-4, atol=1e-5)
    assert losses["entropy_deficit"] <= exact + 1e-5  # a bound, from groups


def test_the_temperature_of_the_sphere_is_by_default_that_of_the_cube():
    z = torch.randn(30, 9)
    sphere, cube = BinarySphericalQuantizer(9), LookupFreeQuantizer(9)
    one, other = sphere(z).losses, cube(3 * sphere.latent(z)).losses
    for name in ("sample_entropy", "entropy_deficit"):
        torch.testing.assert_close(one[name], other[name])
    torch.testing.assert_close(9 * one["commitment"], other["commitment"])


def test_the_gradients_of_the_entropies_equal_their_closed_forms():
    tau = 0.7
    z = torch.randn(20, 6).requires_grad_()
    losses = LookupFreeQuantizer(6, tau, group=1)(z).losses
    a = 4 * tau * z.detach()
    p = torch.sigmoid(a)
    slope = 4 * tau * p * (1 - p) / len(z)
    (sample,) = torch.autograd.grad(losses["sample_entropy"], z, retain_graph=True)
    torch.testing.assert_close(sample, -a * slope)
    (deficit,) = torch.autograd.grad(losses["entropy_deficit"], z)
    torch.testing.assert_close(deficit, torch.logit(p.mean(0)) * slope)


@BOTH
def test_the_gradients_of_the_entropies_equal_differences(kind):
    quantizer = kind(5, 2.0, group=3)
    logits = torch.randn(7, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: entropy_deficit(a, None, 3), logits)
    assert torch.autograd.gradcheck(lambda a: bit_entropy(a), logits)
    assert torch.autograd.gradcheck(quantizer.latent, logits)


@pytest.mark.parametrize("size", [0.0, 1.0, 100.0, 1e6, 1e30])
def test_entropies_and_their_gradients_are_finite_at_every_size(size):
    for quantizer in (LookupFreeQuantizer(18, 100.0), BinarySphericalQuantizer(18, 1e6)):
        z = (size * torch.randn(10, 18)).requires_grad_()
        losses = quantizer(z).losses
        (losses["sample_entropy"] + losses["entropy_deficit"]).backward()
        assert z.grad.isfinite().all()
        assert 0 <= losses["sample_entropy"] < 18 * math.log(2) + 1e-4
        assert -1e-4 < losses["entropy_deficit"] < 18 * math.log(2) + 1e-4


def test_the_deficit_tells_even_use_from_collapse_and_from_copied_bits():
    quantizer = LookupFreeQuantizer(4, 10.0, group=4)
    even = 10 * quantizer.decode(torch.arange(16))
    copied = even[:, :1].expand(16, 4)
    for z, expected in ((even, 0.0), (even[:1], 4.0), (copied, 3.0)):
        deficit = quantizer(z).losses["entropy_deficit"]
        torch.testing.assert_close(deficit, torch.tensor(expected * math.log(2)))
    alone = LookupFreeQuantizer(4, 10.0, group=1)
    assert alone(copied).losses["entropy_deficit"].abs() < 1e-5  # bits by themselves cannot tell


def test_masked_positions_leave_the_entropies_alone():
    a = torch.randn(3, 8, 5)
    mask = torch.rand(3, 8) < 0.5
    torch.testing.assert_close(entropy_deficit(a, mask, 2), entropy_deficit(a[mask], None, 2))


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


@BOTH
def test_memory_is_linear_in_the_bits(kind):
    n, largest = 512, {}
    for bits in (9, 18, 36, 54):
        quantizer = kind(bits)
        z = torch.randn(n, bits, requires_grad=True)
        with Largest() as mode:
            output = quantizer(z)
            (output.quantized.sum() + sum(output.losses.values())).backward()
        largest[bits] = mode.numel
        # A group of 9 bits is halved into 4 and 5: 32 numbers a vector, not 512.
        assert mode.numel <= 32 * n * bits // 9
    assert largest[36] == 4 * largest[9] and largest[54] == 6 * largest[9]


@BOTH
@pytest.mark.parametrize("bits", [1, 3, 10])
def test_every_index_comes_back_and_bit_i_is_dimension_i(kind, bits):
    quantizer = kind(bits)
    indices = torch.arange(2**bits)
    assert quantizer.codebook_sizes == (2**bits,) and quantizer.dim == bits
    vectors = quantizer.decode(indices)
    radius = 1.0 if kind is LookupFreeQuantizer else 1 / math.sqrt(bits)
    for i in range(bits):
        expected = torch.where(indices // 2**i % 2 == 1, radius, -radius)
        torch.testing.assert_close(vectors[:, i], expected)
    assert torch.equal(quantizer.encode(7 * vectors), indices)


@BOTH
def test_indices_of_62_bits(kind):
    quantizer = kind(62)
    z = torch.randn(100, 62)
    output = quantizer(z)
    expected = [sum((x >= 0) << i for i, x in enumerate(row)) for row in z.tolist()]
    assert output.indices.tolist() == expected and max(expected) > 2**60
    assert torch.equal(quantizer.decode(output.indices), output.quantized)


@BOTH
def test_zero_is_positive(kind):
    quantizer = kind(3)
    for zero in (0.0, -0.0):
        z = torch.tensor([zero, -1.0, zero])
        assert quantizer(z).indices == quantizer.encode(z) == 0b101


def test_the_gradient_through_the_sphere_is_that_of_the_normalization():
    z = (5 * torch.randn(30, 7)).requires_grad_()
    upstream = torch.randn(30, 7)
    BinarySphericalQuantizer(7)(z).quantized.backward(upstream)
    length = z.detach().norm(dim=-1, keepdim=True)
    u = z.detach() / length
    expected = (upstream - (upstream * u).sum(-1, keepdim=True) * u) / length
    torch.testing.assert_close(z.grad, expected)


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e30])
def test_the_sphere_takes_vectors_whose_squares_it_could_not_hold(size):
    quantizer = BinarySphericalQuantizer(6)
    z = torch.randn(20, 6)
    scaled = (size * z).requires_grad_()
    output = quantizer(scaled)
    output.quantized.sum().backward()
    assert torch.equal(output.indices, quantizer.encode(z))
    assert scaled.grad.isfinite().all()
    expected = torch.zeros(20, 6) if size < 1e-12 else quantizer.latent(z)
    torch.testing.assert_close(quantizer.latent(scaled), expected)


def test_a_vector_of_zeros_has_a_codeword_and_no_gradient():
    quantizer = BinarySphericalQuantizer(4)
    z = torch.zeros(3, 4, requires_grad=True)
    output = quantizer(z)
    loss = output.quantized.square().sum() + sum(output.losses.values())
    loss.backward()
    assert loss.isfinite() and not z.grad.any()
    assert torch.equal(output.quantized, torch.full((3, 4), 0.5))
    assert (output.indices == 15).all()


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_gives_indices_and_losses_of_float32(kind, dtype):
    quantizer = kind(18)
    z = torch.randn(500, 18).to(dtype)
    expected = quantizer(z.float())
    with torch.autocast("cpu", dtype):
        for output in (quantizer(z), copy.deepcopy(quantizer).to(dtype)(z)):
            assert torch.equal(output.indices, expected.indices)
            torch.testing.assert_close(output.losses, expected.losses, rtol=0, atol=0)
        assert torch.equal(quantizer.encode(z), expected.indices)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"bits": 0}, "bits must be a whole number from 1 to 62, got 0"),
        ({"bits": 63}, "got 63"),
        ({"bits": 2.5}, "got 2.5"),
        ({"bits": 8, "group": 0}, "group must be a whole number from 1 to 16 bits, got 0"),
        ({"bits": 18, "group": 18}, "got 18"),
        ({"bits": 8, "inverse_temperature": 0.0}, "inverse_temperature must be above 0, got 0"),
        ({"bits": 8, "inverse_temperature": math.nan}, "got nan"),
    ],
)
def test_mistakes_are_told_in_one_line(kind, arguments, told):
    with pytest.raises(InputError, match=told) as error:
        kind(**arguments)
    assert "\n" not in str(error.value)
