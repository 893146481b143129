"""The blocked search finds what a search over all distances finds, in little memory."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from smalti.errors import InputError
from smalti.quantizers import nearest
from smalti.quantizers.search import SCORES, nearest_or_zero
from smalti.quantizers.tiles import GROUP, TILE


def brute_force(z: Tensor, codebook: Tensor) -> Tensor:
    return torch.cdist(z.double(), codebook.double()).argmin(-1)


@pytest.mark.parametrize("dim", [7, 128])
@pytest.mark.parametrize(
    "size", [1, 2, GROUP - 1, GROUP, GROUP + 1, 500, TILE - 1, TILE, TILE + 1, 2 * TILE + 70]
)
def test_it_equals_brute_force(size, dim):
    codebook = torch.randn(size, dim)
    z = torch.randn(3, 333, dim)
    index = nearest(z, codebook)
    assert index.shape == (3, 333) and index.dtype == torch.int64
    assert torch.equal(index, brute_force(z, codebook))


def test_more_vectors_than_a_block_holds():
    codebook = torch.randn(TILE, 3)
    z = torch.randn(3 * SCORES["cpu"] // TILE + 11, 3)
    assert torch.equal(nearest(z, codebook), brute_force(z, codebook))


def test_every_codeword_is_its_own_nearest():
    codebook = torch.randn(2500, 16)
    order = torch.randperm(2500)
    assert torch.equal(nearest(codebook[order], codebook), order)


def test_far_from_the_origin_the_padding_is_never_chosen():
    codebook = torch.randn(70, 4) + 100
    index = nearest(torch.zeros(50, 4), codebook)
    assert torch.equal(index, brute_force(torch.zeros(50, 4), codebook))


def test_a_common_offset_costs_no_precision():
    codebook, z = torch.randn(500, 4), torch.randn(2000, 4)
    offset = 1000 * torch.randn(4)
    codebook, z = codebook + offset, z + offset
    assert torch.equal(nearest(z, codebook), brute_force(z, codebook))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (2, 0, 3)])
def test_no_vectors(shape):
    assert nearest(torch.randn(*shape, 4), torch.randn(100, 4)).shape == shape


def test_one_vector_without_batch():
    codebook = torch.randn(100, 4)
    assert nearest(codebook[42], codebook).shape == () and nearest(codebook[42], codebook) == 42


@pytest.mark.parametrize("dim", [3, 128])
def test_of_equals_the_first_is_chosen(dim):
    codebook = torch.randn(50, dim).repeat(40, 1)
    index = nearest(codebook, codebook)
    assert torch.equal(index, torch.arange(50).repeat(40))


def test_low_precision_is_searched_in_float32():
    codebook = torch.randn(3000, 8)
    z = torch.randn(500, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        index = nearest(z, codebook)
    assert torch.equal(index, brute_force(z, codebook))


@pytest.mark.parametrize("dim", [4, 128])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_not_a_number_has_no_nearest_and_spoils_no_other(bad, dim):
    codebook = torch.randn(2 * TILE + 5, dim)
    z = torch.randn(100, dim)
    expected = nearest(z, codebook)
    z[13, 2] = bad
    index = nearest(z, codebook)
    assert index[13] == -1 and 0 <= nearest_or_zero(z, codebook)[13] < len(codebook)
    others = torch.arange(100) != 13
    assert torch.equal(index[others], expected[others])


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf])
def test_an_infinite_vector_never_gets_padding(bad):
    assert 0 <= nearest_or_zero(torch.full((1,), bad), torch.randn(3, 1)) < 3


@pytest.mark.parametrize("n", [1, 700])
def test_a_codebook_prepared_in_parts(n, monkeypatch):
    monkeypatch.setattr("smalti.quantizers.search.PREPARED", 1)
    codebook, z = torch.randn(3 * TILE + 5, 3), torch.randn(n, 3)
    assert torch.equal(nearest(z, codebook), brute_force(z, codebook))
    twice = torch.cat([codebook, codebook])
    assert torch.equal(nearest(z, twice), nearest(z, codebook))


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


@pytest.mark.parametrize(("n", "size"), [(5000, 8192), (100_000, 512), (64, 50_000)])
def test_the_matrix_of_distances_never_exists(n, size):
    z, codebook = torch.randn(n, 2), torch.randn(size, 2)
    with Largest() as largest:
        nearest(z, codebook)
    inputs = 2 * max(n, size + GROUP)
    assert largest.numel <= max(SCORES["cpu"], inputs) < n * size


def test_its_memory_does_not_grow_with_the_codebook():
    z, largest = torch.randn(10, 256), []
    for size in (9_000, 20_000):
        codebook = torch.randn(size, 256)
        with Largest() as seen:
            nearest(z, codebook)
        largest.append(seen.numel)
    assert largest[0] == largest[1]


@pytest.mark.parametrize(
    ("z", "codebook"), [((4, 3), (5, 2)), ((4, 3), (0, 3)), ((4, 3), (3,)), ((), (5, 3))]
)
def test_shapes_that_do_not_fit_are_told(z, codebook):
    with pytest.raises(InputError, match="nearest takes vectors .*got the shapes"):
        nearest(torch.zeros(z), torch.zeros(codebook))
