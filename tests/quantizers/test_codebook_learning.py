"""How codebooks move: the running means in closed form, and replacement."""

import copy

import pytest
import torch

from smalti.errors import InputError
from smalti.quantizers import (
    EMACodebook,
    GradientCodebook,
    MultiScaleQuantizer,
    StraightThrough,
    TransformedCodebook,
    VectorQuantizer,
)

SIZE, DIM, DECAY, EPS = 16, 3, 0.8, 1e-5


def test_ema_equals_its_closed_form_with_accumulated_forwards():
    codebook = EMACodebook(codebook_size=SIZE, dim=DIM, decay=DECAY, eps=EPS)
    quantizer = VectorQuantizer(codebook, dead_code_reset=None, kmeans_iterations=0)
    n = torch.ones(SIZE, dtype=torch.float64)
    m = codebook.weight.double()
    for _ in range(20):
        parts = [torch.randn(2, 15, DIM), torch.randn(7, DIM)]
        # The codebook before the update quantizes every forward pass of the step.
        indices = torch.cat([quantizer(part).indices.flatten() for part in parts])
        z = torch.cat([part.reshape(-1, DIM) for part in parts]).double()
        quantizer.update()
        for k in range(SIZE):
            n[k] = DECAY * n[k] + (1 - DECAY) * (indices == k).sum()
            m[k] = DECAY * m[k] + (1 - DECAY) * z[indices == k].sum(0)
        total = n.sum()
        smoothed = total * (n + EPS) / (total + SIZE * EPS)
        expected = m / smoothed[:, None]
        torch.testing.assert_close(codebook.weight.double(), expected, atol=1e-5, rtol=1e-4)
    assert len(indices.unique()) > SIZE / 2


def test_ema_finds_the_means_of_clusters():
    centres = torch.tensor([[10.0, 0], [0, 10], [-10, 0], [0, -10]])
    codebook = EMACodebook(codebook_size=4, dim=2, decay=0.5)
    codebook.replace(torch.arange(4), centres / 2)
    for _ in range(50):
        z = centres.repeat(100, 1) + 0.1 * torch.randn(400, 2)
        index = torch.arange(4).repeat(100)
        sums = torch.zeros(4, 2).index_add_(0, index, z)
        codebook.learn(torch.full((4,), 100.0), sums)
    torch.testing.assert_close(codebook.weight, centres, atol=0.05, rtol=0)


def test_a_replaced_codeword_survives_steps_in_which_nothing_falls_on_it():
    codebook = EMACodebook(codebook_size=SIZE, dim=DIM)
    for _ in range(300):  # all but the first die
        codebook.learn(torch.eye(SIZE)[0] * 50, torch.eye(SIZE)[0][:, None] * torch.ones(DIM) * 50)
    vector = torch.tensor([[5.0, -5.0, 5.0]])
    codebook.replace(torch.tensor([7]), vector)
    assert torch.equal(codebook.weight[7:8], vector)
    for _ in range(20):
        codebook.learn(torch.eye(SIZE)[0] * 50, torch.eye(SIZE)[0][:, None] * torch.ones(DIM) * 50)
    torch.testing.assert_close(codebook.weight[7:8], vector, rtol=1e-3, atol=0)


@pytest.mark.parametrize("steps", [1, 100, 3000])
def test_a_codeword_that_nothing_falls_on_stays_where_it_is(steps):
    codebook = EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9)
    before = codebook.weight.clone()
    counts = 50 * torch.eye(SIZE)[0]
    for _ in range(steps):
        codebook.learn(counts, counts[:, None] * torch.full((DIM,), 3.0))
    assert torch.equal(codebook.weight[1:], before[1:])
    # And it is taken along as soon as something falls on it.
    counts = torch.eye(SIZE)[5]
    for _ in range(60):
        codebook.learn(counts, counts[:, None] * torch.full((DIM,), 7.0))
    torch.testing.assert_close(codebook.weight[5], torch.full((DIM,), 7.0), rtol=0.01, atol=0)


def test_means_of_few_vectors_are_not_drawn_to_zero():
    # One vector a step for a thousand codewords: ε must not count beside n.
    codebook = EMACodebook(codebook_size=1000, dim=DIM)
    for _ in range(3000):
        hit = torch.zeros(1000)
        hit[torch.randint(1000, (1,))] = 1
        codebook.learn(hit, hit[:, None] * torch.full((DIM,), 50.0))
    seen = (codebook.weight - 50).abs().amax(1) < 25
    assert seen.float().mean() > 0.9
    hit = torch.eye(1000)[7]
    for _ in range(500):
        codebook.learn(hit, hit[:, None] * torch.full((DIM,), 50.0))
    torch.testing.assert_close(codebook.weight[7], torch.full((DIM,), 50.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_running_means_do_not_care_what_the_module_is_cast_to(dtype):
    plain = VectorQuantizer(
        EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.999), kmeans_iterations=0
    )
    cast = copy.deepcopy(plain).to(dtype)
    for _ in range(50):
        z = (100 + torch.randn(300, DIM)).to(dtype)
        torch.manual_seed(0)
        plain(z.float()), plain.update()
        torch.manual_seed(0)
        cast(z), cast.update()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(cast.state_dict()[name], tensor), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_counts_of_a_hundred_thousand_neither_stall_nor_overflow(dtype):
    quantizer = VectorQuantizer(EMACodebook(codebook_size=2, dim=DIM), kmeans_iterations=0).to(
        dtype
    )
    z = torch.full((100_000, DIM), 5.0, dtype=dtype)
    for _ in range(3):
        quantizer(z)
        quantizer.update()
    k = quantizer.encode(z[0])
    assert quantizer.codebook.counts[k] == pytest.approx(1e5 * (1 - 0.99**3), rel=1e-3)
    torch.testing.assert_close(quantizer.decode(k), torch.full((DIM,), 5.0), rtol=1e-2, atol=0)


def test_codebooks_made_where_half_precision_is_the_default_keep_their_statistics():
    torch.set_default_dtype(torch.bfloat16)
    try:
        made = [
            VectorQuantizer(EMACodebook(codebook_size=4, dim=DIM)),
            VectorQuantizer(GradientCodebook(codebook_size=4, dim=DIM)),
            VectorQuantizer(TransformedCodebook(codebook_size=4, dim=DIM)),
            MultiScaleQuantizer(VectorQuantizer(EMACodebook(codebook_size=4, dim=DIM)), (1, 2, 4)),
        ]
        for quantizer in made:
            z = torch.randn(4, 4, DIM)
            quantizer(z), quantizer.update()
            assert {b.dtype for b in quantizer.buffers()} == {torch.float32, torch.int64}
            assert quantizer.decode(quantizer.encode(z)).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_replaced_codeword_is_moved_by_what_falls_on_it():
    codebook = EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9)
    codebook.replace(torch.tensor([7]), torch.zeros(1, DIM))
    for _ in range(60):
        codebook.learn(torch.full((SIZE,), 9.0), torch.full((SIZE, DIM), 9.0))
    torch.testing.assert_close(codebook.weight, torch.ones(SIZE, DIM), atol=0.01, rtol=0)


def test_vectors_that_overflow_do_not_poison_the_averages():
    quantizer = VectorQuantizer(EMACodebook(codebook_size=SIZE, dim=DIM), kmeans_iterations=0)
    z = torch.randn(200, DIM)
    z[5] = torch.inf
    z[6] = torch.nan
    for _ in range(30):
        quantizer(z)
        quantizer.update()
    assert all(tensor.isfinite().all() for tensor in quantizer.state_dict().values())
    untouched = quantizer.codebook.weight
    quantizer(torch.randn(200, DIM))
    quantizer.update()
    assert not torch.equal(quantizer.codebook.weight, untouched.clone().zero_())


def test_k_means_leaves_out_vectors_that_overflow():
    quantizer = VectorQuantizer(EMACodebook(codebook_size=4, dim=DIM))
    z = torch.randn(200, DIM)
    z[5] = torch.inf
    quantizer(z)
    quantizer.update()
    assert quantizer.codebook.weight.isfinite().all()
    assert quantizer.codebook.weight.abs().max() < 5


def test_a_gradient_codebook_is_moved_by_the_optimizer_alone():
    quantizer = VectorQuantizer(
        GradientCodebook(codebook_size=SIZE, dim=DIM),
        StraightThrough(),
        dead_code_reset=None,
        kmeans_iterations=0,
    )
    z = torch.randn(60, DIM)
    before = quantizer.codebook.weight.detach().clone()
    output = quantizer(z)
    output.losses["codebook"].backward()
    torch.optim.SGD(quantizer.parameters(), lr=1.0).step()
    after = quantizer.codebook.weight.detach().clone()
    quantizer.update()

    error = before[output.indices] - z
    gradient = torch.zeros(SIZE, DIM).index_add_(0, output.indices, 2 * error / z.numel())
    torch.testing.assert_close(after, before - gradient)
    assert torch.equal(quantizer.codebook.weight, after)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: EMACodebook(codebook_size=0, dim=3),
        lambda: GradientCodebook(codebook_size=3, dim=0),
        lambda: EMACodebook(codebook_size=3, dim=3, decay=1.0),
        lambda: EMACodebook(codebook_size=3, dim=3, eps=0.0),
    ],
)
def test_impossible_codebooks_are_told(mistake):
    with pytest.raises(InputError, match="needs .* got"):
        mistake()
