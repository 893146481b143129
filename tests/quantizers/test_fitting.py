"""Quantizers that are fitted to a whole set. A new fitting joins by a line in FITTED.

Run as a script, `python test_fitting.py RANK FOLDER`, this file is one of two processes.
"""

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributed as dist

from smalti.errors import InputError
from smalti.quantizers import (
    Cosine,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    ProductQuantizer,
    Quantizer,
    ResidualQuantizer,
    RotatedQuantizer,
    VectorQuantizer,
    kmeans,
)
from smalti.quantizers.fitting import OptimizedProduct, ProductKMeans, ResidualKMeans, TensorRows

DIM, SIZE = 6, 16


def vq(size: int = SIZE, codebook: type = EMACodebook, **parts) -> VectorQuantizer:
    return VectorQuantizer(codebook(codebook_size=size, dim=DIM), **parts)


def residual(*sizes: int) -> ResidualQuantizer:
    return ResidualQuantizer([vq(size) for size in sizes])


def product(*parts: tuple[int, int]) -> ProductQuantizer:
    """A product of parts of (codebook size, dim)."""
    return ProductQuantizer(
        [VectorQuantizer(EMACodebook(codebook_size=size, dim=dim)) for size, dim in parts]
    )


FITTED = {
    "residual": lambda: (ResidualKMeans(5), residual(SIZE, SIZE, SIZE)),
    "residual, not refined": lambda: (ResidualKMeans(5, refine=0), residual(SIZE, SIZE, SIZE)),
    "residual of unequal sizes": lambda: (ResidualKMeans(5, beam=3), residual(4, 32)),
    "product": lambda: (ProductKMeans(5), product((SIZE, 3), (SIZE, 3))),
    "product of unequal parts": lambda: (ProductKMeans(5), product((8, 1), (32, 5))),
    "optimized product": lambda: (
        OptimizedProduct(10),
        RotatedQuantizer(product((SIZE, 2), (SIZE, 2), (8, 2))),
    ),
    "residual with a capacity": lambda: (ResidualKMeans(5, capacity=1.5), residual(SIZE, SIZE)),
    "one stage by gradients": lambda: (ResidualKMeans(5), vq(codebook=GradientCodebook)),
}


def vectors(n: int = 3000, seed: int = 0) -> Tensor:
    """Draws from a mixture of 40 Gaussians of different weights."""
    draw = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(40, DIM, generator=torch.Generator().manual_seed(9))
    which = (40 * torch.rand(n, generator=draw) ** 2).long()
    return centres[which] + torch.randn(n, DIM, generator=draw)


class Counted(TensorRows):
    """Rows in small chunks, which says how many were asked for at a time."""

    largest = 0

    def chunks(self, size: int = 100, first: int = 0, step: int = 1) -> Iterator[Tensor]:
        for chunk in super().chunks(100, first, step):
            self.largest = max(self.largest, len(chunk))
            yield chunk


@pytest.fixture(params=FITTED)
def pair(request):
    torch.manual_seed(0)
    return FITTED[request.param]()


def error(quantizer: Quantizer, x: Tensor) -> float:
    return (quantizer.decode(quantizer.encode(x)) - x).square().sum(1).mean().item()


def test_every_code_is_used_and_unseen_vectors_are_as_near(pair):
    fitting, quantizer = pair
    x, other = vectors(), vectors(seed=1)
    fitting.fit(quantizer.eval(), TensorRows(x), seed=0)
    indices = quantizer.encode(x).reshape(len(x), -1)
    for stage, size in enumerate(quantizer.codebook_sizes):
        assert indices[:, stage].unique().numel() == size
    assert error(quantizer, other) < 1.3 * error(quantizer, x) < x.var(0).sum()


def left_by_kmeans(x: Tensor, size: int) -> Tensor:
    centroids = kmeans(x, size, 30, torch.Generator().manual_seed(0))
    return x - centroids[torch.cdist(x, centroids).argmin(1)]


def test_it_is_as_good_as_kmeans_of_all_rows_at_once(pair):
    fitting, quantizer = pair
    x = vectors()
    fitting.fit(quantizer, TensorRows(x), seed=0)
    left, inner = x, quantizer
    if isinstance(quantizer, RotatedQuantizer):
        left, inner = x @ quantizer.rotation.T, quantizer.inner
    if isinstance(inner, ProductQuantizer):
        blocks = zip(left.split(inner.dims, 1), inner.codebook_sizes, strict=True)
        left = torch.cat([left_by_kmeans(block, size) for block, size in blocks], 1)
    else:
        for size in inner.codebook_sizes:
            left = left_by_kmeans(left, size)
    assert error(quantizer, x) < 1.05 * left.square().sum(1).mean()


def test_the_same_seed_gives_the_same_codewords_and_another_others(pair):
    fitting, quantizer = pair
    rows, again, other = TensorRows(vectors()), copy.deepcopy(quantizer), copy.deepcopy(quantizer)
    drawn = torch.get_rng_state()
    fitting.fit(quantizer, rows, seed=0)
    assert torch.equal(torch.get_rng_state(), drawn)  # the global generator is left alone
    fitting.fit(again, rows, seed=0)
    fitting.fit(other, rows, seed=1)
    states = [q.state_dict() for q in (quantizer, again, other)]
    names = [name for name in states[0] if name.endswith("codebook.weight")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in names)
    assert not any(torch.equal(states[0][name], states[2][name]) for name in names)


def test_rows_come_in_chunks_and_their_size_makes_no_difference(pair):
    fitting, quantizer = pair
    x, small = vectors(), copy.deepcopy(quantizer)
    rows = Counted(x.numpy())
    fitting.fit(small, rows, seed=0)
    assert rows.largest == 100
    fitting.fit(quantizer, TensorRows(x), seed=0)
    assert error(small, x) == pytest.approx(error(quantizer, x), rel=0.02)


def test_a_fit_goes_on_after_any_stage_bit_for_bit(pair):
    fitting, quantizer = pair
    rows, states = TensorRows(vectors()), []
    start = copy.deepcopy(quantizer)
    fitting.fit(
        quantizer, rows, seed=3, done=lambda n: states.append((n, copy.deepcopy(quantizer)))
    )
    assert [n for n, _ in states] == [*range(1, fitting.stages(quantizer) + 1)]
    for n, state in [(0, start), *states]:
        fitting.fit(state, rows, seed=3, first=n)
        wanted = quantizer.state_dict()
        assert all(torch.equal(wanted[name], t) for name, t in state.state_dict().items())


def test_it_says_how_far_it_is(pair):
    fitting, quantizer = pair
    told: list[tuple[float, str]] = []
    rows = TensorRows(vectors())
    fitting.fit(quantizer, rows, seed=0, progress=lambda share, words: told.append((share, words)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert all(words for _, words in told)


def test_too_few_rows_or_other_dimensions_are_one_line(pair):
    fitting, quantizer = pair
    for rows, what in (
        (TensorRows(vectors(3)), "got 3: set codebook_size of the recipe to less"),
        (TensorRows(torch.zeros(500, DIM + 1)), f"got rows of {DIM + 1}"),
        (TensorRows(torch.full((500, DIM), torch.nan)), "finite rows"),
    ):
        with pytest.raises(InputError, match=what) as told:
            fitting.fit(quantizer, rows, seed=0)
        assert "\n" not in str(told.value)


def test_a_row_that_is_not_finite_is_found_outside_of_the_sample_too():
    x = vectors(3000)
    x[1234, 2] = torch.nan
    for seed in range(3):
        with pytest.raises(InputError, match="finite rows"):
            ResidualKMeans(1).fit(residual(4, 4), TensorRows(x), seed=seed)
        with pytest.raises(InputError, match="finite rows"):
            ResidualKMeans(0).fit(residual(4, 4), TensorRows(x), seed=seed)


def test_rows_are_read_once_for_each_iteration_and_each_stage():
    class Passes(TensorRows):
        count = 0

        def chunks(self, size: int = 1000, first: int = 0, step: int = 1) -> Iterator[Tensor]:
            self.count += 1
            return super().chunks(1000, first, step)

    rows = Passes(vectors())
    ResidualKMeans(4, refine=0).fit(residual(4, 4, 4), rows, seed=0)
    assert rows.count <= 3 * 4 + 2


def test_what_it_cannot_fit_is_one_line():
    shared = vq()
    for quantizer in (
        FiniteScalarQuantizer([5, 5]),
        ResidualQuantizer([shared, shared]),
        ResidualQuantizer([vq(geometry=Cosine())]),
    ):
        with pytest.raises(InputError, match="ResidualKMeans"):
            ResidualKMeans().check(quantizer)
    with pytest.raises(InputError, match="iterations"):
        ResidualKMeans(-1)


def test_rows_of_a_mapped_file_are_read_and_not_changed(tmp_path):
    x = vectors(50).numpy().astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    rows = TensorRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    wanted = torch.from_numpy(x).float()
    assert torch.equal(torch.cat([*rows.chunks(7)]), wanted)
    shared = [torch.cat([*rows.chunks(7, first, 2)]) for first in range(2)]
    assert sorted(torch.cat(shared)[:, 0].tolist()) == sorted(wanted[:, 0].tolist())
    numbers = torch.tensor([40, 3, 3, 17])
    assert torch.equal(rows.at(numbers), wanted[numbers])
    for wrong in (np.zeros((3, 2), int), torch.zeros(3), torch.zeros(0, 4), [[1.0]]):
        with pytest.raises(InputError, match="Rows are"):
            TensorRows(wrong)


def fitted(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    fitting, quantizer = FITTED[name]()
    fitting.fit(quantizer, Counted(vectors()), seed=0)
    return {"error": torch.tensor(error(quantizer, vectors())), **quantizer.state_dict()}


def test_two_processes_share_the_work_and_end_alike(tmp_path):
    script = [sys.executable, __file__]
    running = [subprocess.Popen([*script, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name in FITTED:
        assert all(torch.equal(first[name][key], value) for key, value in second[name].items())
        alone = fitted(name)["error"].item()
        assert first[name]["error"].item() == pytest.approx(alone, rel=0.06)


def main(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2
    )
    torch.save({name: fitted(name) for name in FITTED}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
