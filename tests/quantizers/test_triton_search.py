"""The fused search, in Triton's interpreter, finds what a search over all distances finds.

The interpreter must be chosen before Triton is imported, and must not be there for other tests, so
this file runs itself in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if not INTERPRETED:

    def test_in_the_interpreter():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        root = Path(__file__).parents[2]
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "TRITON_INTERPRET": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

else:
    from placements import PLACES, assert_nearest
    from smalti.errors import InputError
    from smalti.quantizers import nearest
    from smalti.quantizers.exact import exact_nearest
    from smalti.quantizers.triton_search import PRECISIONS, fused_nearest

    exact = pytest.mark.parametrize("precision", ["tf32x3", "float32"])

    def brute_force(z, codebook):
        return torch.cdist(z.double(), codebook.double()).argmin(-1)

    @exact
    @pytest.mark.parametrize(
        ("n", "size", "dim"), [(1, 1, 1), (130, 63, 8), (40, 700, 33), (257, 65, 40)]
    )
    def test_it_equals_brute_force(precision, n, size, dim):
        z, codebook = torch.randn(n, dim), torch.randn(size, dim)
        index, score = fused_nearest(z, codebook, precision)
        assert index.shape == (n,) and index.dtype == torch.int64
        assert torch.equal(index, brute_force(z, codebook))
        centre = codebook.mean(0)
        squares = (z - centre).square().sum(1) - (z - codebook[index]).square().sum(1)
        assert torch.allclose(score, squares / 2, atol=1e-4)

    @exact
    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_it_is_the_nearest_anywhere(precision, place):
        for k, dim in [(32, 1), (70, 8)]:
            z, codebook = PLACES[place](k, dim)
            z = z[:24]
            assert_nearest(fused_nearest(z, codebook, precision)[0], z, codebook)
            assert torch.equal(fused_nearest(z.double(), codebook)[0], exact_nearest(z, codebook))

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    def test_codewords_that_are_not_finite_are_never_the_nearest(bad):
        z, codebook = torch.randn(20, 3), torch.randn(70, 3)
        codebook[::5, 0] = bad
        assert torch.equal(fused_nearest(z, codebook)[0], exact_nearest(z, codebook))

    @pytest.mark.parametrize("size", [200, 1200])
    def test_of_equals_the_first_is_chosen(size):
        codebook = torch.randn(50, 3).repeat(size // 50, 1)
        assert torch.equal(fused_nearest(codebook[:50], codebook)[0], torch.arange(50))

    def test_a_common_offset_costs_no_precision():
        codebook, z = torch.randn(100, 4), torch.randn(50, 4)
        offset = 1000 * torch.randn(4)
        codebook, z = codebook + offset, z + offset
        assert torch.equal(fused_nearest(z, codebook)[0], brute_force(z, codebook))

    def test_far_from_the_origin_the_padding_is_never_chosen():
        codebook, z = torch.randn(70, 4) + 100, torch.zeros(20, 4)
        assert torch.equal(fused_nearest(z, codebook)[0], brute_force(z, codebook))

    def test_bfloat16_is_exact_for_what_it_rounds_to():
        z, codebook = torch.randn(100, 16), torch.randn(300, 16)
        centre = codebook.mean(0)
        rounded = (z - centre).bfloat16(), (codebook - centre).bfloat16()
        index, _ = fused_nearest(z, codebook, "bfloat16")
        distance = torch.cdist(*(each.double() for each in rounded))
        assert torch.allclose(distance.gather(1, index[:, None])[:, 0], distance.amin(1), rtol=1e-5)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
    def test_not_a_number_gives_some_index_and_spoils_no_other(bad):
        codebook, z = torch.randn(70, 4), torch.randn(40, 4)
        expected = nearest(z, codebook)
        z[13, 2] = bad
        index, _ = fused_nearest(z, codebook)
        assert 0 <= index[13] < len(codebook)
        others = torch.arange(40) != 13
        assert torch.equal(index[others], expected[others])

    def test_no_vectors():
        index, score = fused_nearest(torch.zeros(0, 4), torch.zeros(100, 4))
        assert index.shape == score.shape == (0,)

    def test_an_unknown_precision_is_told():
        with pytest.raises(InputError, match="precision must be one of tf32x3"):
            fused_nearest(torch.zeros(1, 4), torch.zeros(1, 4), "tf32")

    def test_a_compiler_sees_one_operation():
        with torch._subclasses.FakeTensorMode():
            index, score = fused_nearest(torch.empty(7, 4), torch.empty(9, 4))
        assert index.shape == score.shape == (7,) and index.dtype == torch.int64
        assert set(PRECISIONS) == {"tf32x3", "float32", "bfloat16"}
