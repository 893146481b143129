"""The balanced assignment, against what it promises of shares and of costs."""

import pytest
import torch
import yaml
from torch import Tensor

from items import items_recipe, write_items
from smalti.cli import main
from smalti.errors import InputError
from smalti.quantizers import EMACodebook, Nearest, Sinkhorn, VectorQuantizer
from smalti.quantizers.prices import sinkhorn_prices
from tiny import write_recipe

SIZE, DIM = 32, 8


def lopsided(n: int = 1600, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vectors nearly all of which are in one narrow clump, and codewords all over the place."""
    draw = torch.Generator().manual_seed(seed)
    z = 0.1 * torch.randn(n, DIM, generator=draw)
    z[: n // 20] += 3
    return z, torch.randn(SIZE, DIM, generator=draw)


def counts(index: Tensor, size: int = SIZE) -> Tensor:
    return torch.bincount(index.flatten(), minlength=size)


def squared(z: Tensor, codebook: Tensor, index: Tensor) -> float:
    return (z - codebook[index]).square().sum(1).mean().item()


def test_codewords_get_equal_shares_where_the_nearest_leaves_most_of_them_dead():
    z, codebook = lopsided()
    assert (counts(Nearest()(z, codebook)) == 0).sum() > SIZE / 2
    shares = counts(Sinkhorn()(z, codebook)) * SIZE / len(z)
    assert 0.85 < shares.min() and shares.max() < 1.15


def test_it_costs_little_more_than_the_best_balanced_assignment():
    scipy = pytest.importorskip("scipy.optimize")
    z, codebook = lopsided(640)
    costs = torch.cdist(z, codebook).square().repeat(1, len(z) // SIZE)
    best = costs[scipy.linear_sum_assignment(costs.numpy())].mean().item()
    assert squared(z, codebook, Sinkhorn()(z, codebook)) < 1.02 * best


def test_scale_and_place_make_no_difference():
    z, codebook = lopsided()
    index = Sinkhorn()(z, codebook)
    for scale, shift in ((2.0**40, 0.0), (2.0**-40, 0.0), (1.0, 64.0)):
        moved = Sinkhorn()(z * scale + shift, codebook * scale + shift)
        assert (moved == index).float().mean() > 0.99


@pytest.mark.parametrize("n", [1, 2, SIZE // 2, SIZE])
def test_fewer_vectors_than_codewords_share_none(n):
    z, codebook = torch.randn(n, DIM), torch.randn(SIZE, DIM)
    index = Sinkhorn()(z, codebook)
    assert counts(index).max() <= 1 + (n == SIZE)
    if n == 1:
        assert torch.equal(index, Nearest()(z, codebook))


def test_only_vectors_that_count_are_balanced():
    z, codebook = lopsided()
    mask = torch.arange(len(z)) % 2 == 0
    z[~mask] = 7.0
    z[4] = torch.nan
    mask[4] = True
    index = Sinkhorn()(z.view(40, -1, DIM), codebook, mask.view(40, -1)).flatten()
    mask[4] = False
    assert torch.equal(index[mask], Sinkhorn()(z[mask], codebook))


def test_large_batches_are_balanced_in_blocks_as_a_whole(monkeypatch):
    z, codebook = lopsided()
    whole = Sinkhorn()(z, codebook)
    for kept in (2**24, 0):
        monkeypatch.setattr("smalti.quantizers.assignment.COSTS_AT_ONCE", 100 * SIZE)
        monkeypatch.setattr("smalti.quantizers.assignment.COSTS_KEPT", kept)
        assert (Sinkhorn()(z, codebook) == whole).float().mean() > 0.99


def test_a_codeword_that_is_not_finite_gets_nothing_and_equal_ones_do_no_harm():
    z, codebook = lopsided()
    codebook[3, 1] = torch.nan
    index = counts(Sinkhorn()(z, codebook))
    assert index[3] == 0 and index.max() < 1.3 * len(z) / SIZE
    assert Sinkhorn()(z, torch.zeros(SIZE, DIM)).max() < SIZE
    assert (Sinkhorn()(z, torch.full((SIZE, DIM), torch.inf)) == 0).all()


def test_prices_give_each_codeword_its_share_of_the_plan():
    costs, prices = torch.rand(200, 5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    found = sinkhorn_prices([costs[:150], costs[150:]], [0.1] * 200, 40.0, prices)
    plan = torch.softmax(-(costs + found) / 0.1, 1)
    torch.testing.assert_close(plan.sum(0), torch.full_like(prices, 40.0))
    # Where a price cannot fall below 0 codewords may get less, but none more.
    crowded = costs + torch.tensor([0.0, 0.1, 0.1, 2.0, 2.0])
    found = sinkhorn_prices([crowded], [0.1] * 200, 80.0, prices, least=0.0)
    got = torch.softmax(-(crowded + found) / 0.1, 1).sum(0)
    assert (found >= 0).all() and (got < 80.01).all() and (found[got < 79] == 0).all()


def test_no_codeword_dies_in_training_while_the_nearest_loses_some():
    draw = torch.Generator().manual_seed(0)
    used = {}
    for assignment in (None, Sinkhorn()):
        quantizer = VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.8),
            assignment=assignment,
            dead_code_reset=None,
            kmeans_iterations=0,
        )
        for _ in range(30):
            quantizer(3 + torch.randn(512, DIM, generator=draw))
            quantizer.update()
        indices = quantizer.eval()(3 + torch.randn(4096, DIM, generator=draw)).indices
        used[quantizer.assignment] = indices.unique().numel()
    nearest, balanced = used.values()
    assert nearest < SIZE / 2 and balanced == SIZE


def test_a_recipe_takes_it(tmp_path):
    recipe = items_recipe(write_items(tmp_path / "items.parquet"), None)
    for stage in recipe["tokenizer"]["quantizer"]["init_args"]["stages"]:
        arguments = {"temperature": 0.01, "iterations": 20}
        stage["init_args"]["assignment"] = {"class_path": "Sinkhorn", "init_args": arguments}
    out = tmp_path / "run"
    assert main(["fit", str(write_recipe(tmp_path / "r.yaml", recipe)), "--out", str(out)]) == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    stage = config["tokenizer"]["quantizer"]["init_args"]["stages"][1]
    assert stage["init_args"]["assignment"]["init_args"] == arguments
    assert "Sinkhorn" in (out / "tokenizer" / "config.json").read_text()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sinkhorn(0.0), "temperature above 0, got 0"),
        (lambda: Sinkhorn(iterations=0), "at least 1 iteration, got 0"),
    ],
)
def test_arguments_out_of_range_are_one_line(make, message):
    with pytest.raises(InputError, match=message) as told:
        make()
    assert "\n" not in str(told.value)
