"""k-means in which codewords take nearly equal shares."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers import EMACodebook, ResidualQuantizer, VectorQuantizer, nearest
from smalti.quantizers.fitting import ResidualKMeans, TensorRows
from smalti.quantizers.fitting.capacity import CapacityLimit

DIM, SIZE = 4, 12


def skewed(n: int, seed: int = 0) -> Tensor:
    """Draws from clumps, of which the first has half of the vectors; clump by clump."""
    draw = torch.Generator().manual_seed(seed)
    centres = 5 * torch.randn(SIZE, DIM, generator=torch.Generator().manual_seed(7))
    which = torch.where(
        torch.rand(n, generator=draw) < 0.5, 0, torch.randint(SIZE, (n,), generator=draw)
    )
    return centres[which.sort().values] + torch.randn(n, DIM, generator=draw)


def assigned(x: Tensor, codewords: Tensor, capacity: float, pieces: int = 1) -> Tensor:
    sample = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    limit = CapacityLimit(capacity, len(x), sample)
    limit.begin(codewords)
    return torch.cat([limit.assign(piece) for piece in x.chunk(pieces)])


def cost(x: Tensor, codewords: Tensor, index: Tensor) -> float:
    return (x - codewords[index]).square().sum().item()


@pytest.mark.parametrize("capacity", [1.0, 1.3, 4.0])
@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("n", [5, SIZE, 1000])
def test_no_codeword_takes_more_than_its_capacity_in_whatever_order_vectors_come(
    n, pieces, capacity
):
    x, codewords = skewed(n), skewed(SIZE, seed=1)
    index = assigned(x, codewords, capacity, pieces)
    assert torch.bincount(index).max() <= math.ceil(capacity * n / SIZE)
    assert len(index) == n and index.min() >= 0


def test_it_costs_hardly_more_than_it_has_to():
    x, codewords = skewed(240), skewed(SIZE, seed=1)
    for capacity in (1.0, 1.5):
        most = math.ceil(capacity * 240 / SIZE)
        costs = torch.cdist(x, codewords).square().repeat_interleave(most, 1)
        rows, places = linear_sum_assignment(costs.numpy())
        index = assigned(x, codewords, capacity, pieces=3)
        assert cost(x, codewords, index) < 1.1 * float(costs[rows, places].sum())


def test_where_there_is_room_for_all_it_is_the_nearest():
    x, codewords = skewed(500), skewed(SIZE, seed=1)
    assert torch.equal(assigned(x, codewords, float(SIZE)), nearest(x, codewords))
    same = torch.zeros(40, DIM)
    assert torch.bincount(assigned(same, same[:4], 1.0)).tolist() == [10] * 4


def test_codes_are_used_more_evenly_also_of_rows_it_has_not_seen():
    x, other, largest, bits = skewed(3000), skewed(3000, seed=2), [], []
    for capacity in (None, 1.2):
        stages = [VectorQuantizer(EMACodebook(codebook_size=SIZE, dim=DIM)) for _ in range(2)]
        made = ResidualQuantizer(stages).eval()
        fitting = ResidualKMeans(10, refine=0, capacity=capacity)
        fitting.fit(made, TensorRows(x), seed=0)
        share = torch.bincount(made.encode(other)[:, 0], minlength=SIZE) / len(other)
        largest.append(share.max().item())
        bits.append(-(share * share.clamp(min=1e-9).log2()).sum().item())
        assert all(made.encode(x)[:, stage].unique().numel() == SIZE for stage in range(2))
    assert largest[1] < 0.7 * largest[0] and bits[1] > bits[0] + 0.1
    assert ResidualKMeans(capacity=1.2).stages(made) == 2  # what is refined keeps to no capacity


@pytest.mark.parametrize("capacity", [0.5, 0, float("nan"), float("inf")])
def test_a_capacity_below_1_is_one_line(capacity):
    with pytest.raises(InputError, match="capacity is at least 1") as told:
        ResidualKMeans(capacity=capacity)
    assert "\n" not in str(told.value)
