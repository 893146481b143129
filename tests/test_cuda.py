"""What holds on a CPU holds on a GPU: searches, quantizers, priors. Skipped where there is none."""

import copy

import pytest
import torch

from placements import PLACES, assert_nearest
from priors.test_prior_laws import PRIORS, context_of
from smalti.priors import TokenPrior, TractablePrior
from smalti.quantizers import nearest
from smalti.quantizers.exact import exact_nearest
from test_laws import CASES, DIM

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture
def fused_nearest():
    pytest.importorskip("triton")
    from smalti.quantizers.triton_search import fused_nearest

    return fused_nearest


@pytest.mark.parametrize("precision", ["tf32x3", "float32"])
@pytest.mark.parametrize("place", PLACES)
def test_the_kernel_finds_the_nearest_anywhere(fused_nearest, precision, place):
    for k, dim in [(32, 1), (70, 8), (700, 64)]:
        z, codebook = PLACES[place](k, dim)
        found, _ = fused_nearest(z.cuda(), codebook.cuda(), precision)
        assert_nearest(found.cpu(), z, codebook)
        wide, _ = fused_nearest(z.double().cuda(), codebook.cuda())
        assert_nearest(wide.cpu(), z, codebook)
        if place != "vectors of all sizes":  # of vectors that far away, all codewords are as near
            assert torch.equal(wide.cpu(), exact_nearest(z, codebook))


@pytest.mark.parametrize(("n", "size", "dim"), [(1, 1, 1), (4097, 1024, 64), (300, 5000, 256)])
def test_the_kernel_equals_brute_force(fused_nearest, n, size, dim):
    z, codebook = torch.randn(n, dim), torch.randn(size, dim)
    found, _ = fused_nearest(z.cuda(), codebook.cuda())
    assert_nearest(found.cpu(), z, codebook)


def test_a_search_on_a_gpu_finds_what_one_on_a_cpu_finds():
    z, codebook = torch.randn(5000, 16), torch.randn(512, 16)
    assert torch.equal(nearest(z.cuda(), codebook.cuda()).cpu(), nearest(z, codebook))


@pytest.mark.parametrize("name", CASES)
def test_a_quantizer_learns_there_and_encodes_alike(name):
    torch.manual_seed(0)
    quantizer = CASES[name].build().cuda().train()
    for _ in range(3):
        z = torch.randn(64, DIM, device="cuda", requires_grad=True)
        output = quantizer(z)
        (output.quantized.square().mean() + sum(output.losses.values())).backward()
        quantizer.update()
        assert output.quantized.isfinite().all() and z.grad.isfinite().all()
    z = torch.randn(200, DIM)
    there = quantizer.eval()
    here = copy.deepcopy(there).cpu()
    indices = there.encode(z.cuda()).cpu()
    share = (indices == here.encode(z)).float().mean().item()
    assert share > 0.99  # what is nearer by less than float32 can tell may differ
    decoded = here.decode(indices)
    assert torch.allclose(there.decode(indices.cuda()).cpu(), decoded, atol=1e-5)


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_says_and_draws_there_what_it_does_here(name):
    here = PRIORS[name]().eval()  # without dropout
    there = copy.deepcopy(here).cuda()
    context = context_of(here, 6)
    given = None if context is None else context.cuda()
    drawn = there.sample(6, given, generator=torch.Generator().manual_seed(1))
    if [*here.parameters(), *here.buffers()]:
        assert drawn.device.type == "cuda"
    if not isinstance(here, TokenPrior):
        return
    same = here.sample(6, context, generator=torch.Generator().manual_seed(1))
    assert (drawn.cpu() == same).float().mean() > 0.9  # rounding may turn a draw, and what follows
    if isinstance(here, TractablePrior):
        expected = here.log_prob(same, context)
        assert torch.allclose(there.log_prob(same.cuda(), given).cpu(), expected, atol=1e-3)
