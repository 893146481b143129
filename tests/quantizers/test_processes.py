"""Two processes end with the same codebook, bit for bit: that of one process on both batches.

Run as a script, `python test_processes.py RANK FOLDER`, this file is one of the two processes.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from smalti.quantizers import (
    NSVQ,
    DeadCodeReset,
    EMACodebook,
    GradientCodebook,
    MultiScaleQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    Rotation,
    Spherical,
    TransformedCodebook,
    VectorQuantizer,
)

SIZE, DIM, UPDATES = 40, 4, 9


@dataclass
class Scenario:
    """A quantizer behind a linear encoder, and what its processes see.

    Arguments:
        build: Makes the quantizer, of vectors of DIM dimensions.
        dead: Whether most codewords start far from all vectors.
        masked: Whether the second process has nothing but masked vectors now and then.
        uneven: Whether the second process has fewer vectors than the first.
        forwards: Forward passes per step, over which gradients and counts are accumulated.
        noisy: Whether its forward pass is random.
    """

    build: Callable[[], Quantizer]
    dead: bool = False
    masked: bool = False
    uneven: bool = False
    forwards: int = 1
    noisy: bool = False

    @property
    def even(self) -> bool:
        """Whether one process can see the same vectors in the same order, with the same loss."""
        return not (self.masked or self.uneven or self.noisy or self.forwards > 1)


def vq(
    kind: type = EMACodebook, dim: int = DIM, *, kmeans: int = 5, strategy: str = "vectors", **parts
) -> VectorQuantizer:
    reset = DeadCodeReset(threshold=0.5, every=2, decay=0.5, strategy=strategy)
    return VectorQuantizer(
        kind(codebook_size=SIZE, dim=dim),
        dead_code_reset=reset,
        kmeans_iterations=kmeans,
        **parts,
    )


SCENARIOS = {
    "EMA, k-means": Scenario(vq),
    "EMA, dead start": Scenario(lambda: vq(kmeans=0), dead=True),
    # Not against one process: halves of a codeword lie so near that rounding decides between them.
    "EMA, split": Scenario(lambda: vq(kmeans=0, strategy="codewords"), forwards=2),
    "EMA, accumulated": Scenario(vq, forwards=2),
    "EMA, masked and uneven": Scenario(vq, masked=True, uneven=True, forwards=2),
    "EMA, spherical": Scenario(lambda: vq(geometry=Spherical())),
    "EMA, rotation, masked": Scenario(lambda: vq(estimator=Rotation()), masked=True),
    "gradient, k-means": Scenario(lambda: vq(GradientCodebook)),
    "gradient, dead start": Scenario(lambda: vq(GradientCodebook, kmeans=0), dead=True),
    "gradient, NSVQ, masked": Scenario(
        lambda: vq(GradientCodebook, estimator=NSVQ()), masked=True, noisy=True
    ),
    "EMA, NSVQ, uneven": Scenario(
        lambda: vq(kmeans=0, estimator=NSVQ()), dead=True, uneven=True, noisy=True
    ),
    "transformed": Scenario(lambda: vq(TransformedCodebook)),
    "residual": Scenario(lambda: ResidualQuantizer([vq(), vq(GradientCodebook)])),
    "residual, masked": Scenario(lambda: ResidualQuantizer([vq(), vq()]), masked=True),
    "residual, shared": Scenario(
        # Without draws, for they go by the order of the stages' vectors, which differs.
        lambda: ResidualQuantizer(
            [
                VectorQuantizer(
                    EMACodebook(codebook_size=SIZE, dim=DIM),
                    dead_code_reset=None,
                    kmeans_iterations=0,
                )
            ]
            * 2
        )
    ),
    "residual, dropout, uneven": Scenario(
        lambda: ResidualQuantizer([vq(), vq()], dropout=0.5), uneven=True, noisy=True
    ),
    "product of residuals": Scenario(
        lambda: ProductQuantizer([vq(dim=1), ResidualQuantizer([vq(dim=3), vq(dim=3)])])
    ),
    "projected": Scenario(lambda: ProjectedQuantizer(vq(dim=2), DIM)),
    "multi-scale, masked": Scenario(
        lambda: MultiScaleQuantizer(vq(), [(10,), (100,)]), masked=True
    ),
}


class Model(nn.Module):
    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(DIM, DIM)
        self.quantizer = scenario.build()
        if scenario.dead:
            self.quantizer.codebook.replace(
                torch.arange(2, SIZE), torch.full((SIZE - 2, DIM), 50.0)
            )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        output = self.quantizer(self.encoder(x), mask)
        return (output.quantized - x).square().mean() + sum(output.losses.values())


def batch(scenario: Scenario, step: int, rank: int) -> tuple[Tensor, Tensor]:
    """The vectors (100, DIM) of a process at a step, and which are valid."""
    x = torch.randn(100, DIM, generator=torch.Generator().manual_seed(10 * step + rank))
    mask = torch.ones(100, dtype=torch.bool)
    if scenario.uneven and rank == 1:
        mask[70 - step :] = False
    if scenario.masked and rank == 1 and step % 3 != 1:
        mask[:] = False  # also at the first step, that of k-means
    return x, mask


def run(name: str, ranks: list[int], together: bool) -> list[dict[str, Tensor]]:
    """The states of the quantizer after each update, in a process with the batches of `ranks`."""
    scenario = SCENARIOS[name]
    model = Model(scenario)
    trained = DistributedDataParallel(model) if together else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    states = []
    for step in range(UPDATES):
        torch.manual_seed(100 * step + ranks[0])
        parts = [batch(scenario, step, rank) for rank in ranks]
        xs, masks = (torch.stack(column, 1) for column in zip(*parts, strict=True))
        for x, mask in zip(*(t.chunk(scenario.forwards) for t in (xs, masks)), strict=True):
            loss = trained(x.movedim(1, 0), mask.movedim(1, 0))
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.quantizer.update()
        states.append({key: value.clone() for key, value in model.quantizer.state_dict().items()})
    return states


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(
        {name: run(name, [rank], together=True) for name in SCENARIOS}, folder / f"{rank}.pt"
    )
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[dict[str, Tensor]]]]:
    """What each of the two processes ended with, for each scenario."""
    folder = tmp_path_factory.mktemp("processes")
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)]) for rank in (0, 1)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_are_bit_equal_after_each_update(states, name):
    for one, other in zip(states[0][name], states[1][name], strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key
            assert one[key].isfinite().all()


@pytest.mark.parametrize("name", [name for name in SCENARIOS if SCENARIOS[name].even])
def test_two_processes_equal_one_with_both_batches(states, name):
    for joined, one in zip(run(name, [0, 1], together=False), states[0][name], strict=True):
        torch.testing.assert_close(joined, one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SCENARIOS)
def test_k_means_and_resets_took_place(states, name):
    first, last = states[0][name][0], states[0][name][-1]
    codebooks = [key for key in first if key.endswith(("codebook.weight", "codebook.table"))]
    assert codebooks
    for key in codebooks:
        if not SCENARIOS[name].dead:
            assert first[key].abs().max() < 5
        assert last[key].abs().max() < 10
    for key in first:
        if key.endswith("updates"):
            assert int(last[key]) == UPDATES


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
