"""Discriminators of waveforms: what they see, their verdicts, and several as one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from smalti.errors import InputError
from smalti.losses import R1, LeCam
from smalti.modalities.audio import Sound
from smalti.modalities.series import Series
from smalti.networks import (
    Discriminators,
    Features,
    MultiPeriodDiscriminator,
    MultiScaleSTFTDiscriminator,
    PatchDiscriminator,
)
from smalti.registry import build, describe

RATE = 8000


SPECTRA = partial(MultiScaleSTFTDiscriminator, hidden=4, windows=[8.0, 16.0])
PERIODS = partial(MultiPeriodDiscriminator, hidden=4, layers=3, periods=[2, 3])
BOTH = partial(Discriminators, members=[SPECTRA, PERIODS])
KINDS = {"spectra": SPECTRA, "periods": PERIODS, "both": BOTH}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(2, 1, 700), (2, 2, 701), (1, 1, 1)])
def test_a_verdict_has_scores_of_each_scale_and_depends_on_no_other_signal(name, shape):
    judge, x = KINDS[name](Sound(shape[1], RATE)), noise(*shape)
    verdict = judge(x)
    assert len(verdict.scores) == (4 if name == "both" else 2)
    assert len(verdict.features) == {"spectra": 10, "periods": 6, "both": 16}[name]
    alone = judge(x[:1])
    for kind in ("scores", "features"):
        for whole, one in zip(getattr(verdict, kind), getattr(alone, kind), strict=True):
            assert torch.allclose(whole[:1], one, atol=1e-5)
    sum(score.sum() for score in verdict.scores).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in judge.parameters())
    if shape[-1] > 1:  # a single sample lies where the shortest filters see it only in part
        assert all(p.grad.abs().max() > 0 for p in judge.parameters())


def test_several_as_one_say_what_each_says():
    torch.manual_seed(0)
    both, x = BOTH(Sound(1, RATE)), noise(2, 1, 500)
    one, other = (member(x) for member in both.members)
    verdict = both(x)
    assert all(map(torch.equal, verdict.scores, one.scores + other.scores))
    assert all(map(torch.equal, verdict.features, one.features + other.features))
    with pytest.raises(InputError, match="got none"):
        Discriminators(Sound(1, RATE), [])


def test_a_period_sees_each_of_its_columns_by_itself():
    judge = MultiPeriodDiscriminator(Sound(1, RATE), hidden=4, layers=2, periods=[5])
    x = noise(1, 1, 500).requires_grad_()
    (scores,) = judge(x).scores
    scores[0, 0, :, 2].sum().backward()
    seen = x.grad[0, 0].view(-1, 5)
    assert seen[:, 2].abs().min() > 0 and not seen[:, [0, 1, 3, 4]].any()


def test_spectra_see_a_phase_that_magnitudes_do_not():
    judge, x = SPECTRA(Sound(1, RATE)), noise(1, 1, 800)
    one, other = judge(x), judge(-x)
    assert all(not torch.allclose(a, b) for a, b in zip(one.scores, other.scores, strict=True))


def test_at_24_khz_the_windows_are_those_of_encodec():
    judge = MultiScaleSTFTDiscriminator(Sound(1, 24_000), hidden=2)
    assert [scale.spectra.size for scale in judge.scales] == [128, 256, 512, 1024, 2048]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_penalties_and_half_precision_go_with_them(name, dtype):
    torch.manual_seed(0)
    judge, x, x_hat = KINDS[name](Sound(1, RATE)), noise(2, 1, 400), noise(2, 1, 400, seed=1)
    real, made = judge(x), judge(x_hat)
    penalties = [penalty(judge, x, real, made) for penalty in (R1(), LeCam())]
    sum(penalties).backward()
    assert all(p.grad.isfinite().all() for p in judge.parameters() if p.grad is not None)
    # R1 is the squared gradient, by differences along it.
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sum(s.mean((1, 2, 3)).sum() for s in judge(y).scores), y)
    by_hand = 5 * (gradient / len(real.scores)).square().sum((1, 2)).mean()
    assert penalties[0].item() == pytest.approx(by_hand.item(), rel=1e-3)
    with torch.autocast("cpu", dtype=dtype):
        inside = judge(x)
    for scores, whole in zip(inside.scores, real.scores, strict=True):
        assert scores.dtype == dtype
        assert torch.allclose(scores.float(), whole, atol=0.02 * (1 + whole.abs().max().item()))
    cast = judge.to(dtype)
    assert cast(x).scores[0].dtype == dtype


@pytest.mark.parametrize("make", [SPECTRA, PERIODS])
def test_one_is_rebuilt_from_its_config(make):
    judge, x = make(Series(1, rate=8000.0)), noise(1, 1, 300)
    again = build(describe(judge))
    again.load_state_dict(judge.state_dict())
    assert all(map(torch.equal, again(x).scores, judge(x).scores))


def test_signals_that_are_no_waveforms_are_refused():
    with pytest.raises(InputError, match="without a rate"):
        MultiScaleSTFTDiscriminator(Features(1, spatial_dims=1))
    with pytest.raises(InputError, match="over one dimension"):
        MultiPeriodDiscriminator(Features(1))
    with pytest.raises(InputError, match="from 1 on, got"):
        MultiPeriodDiscriminator(Sound(1, RATE), periods=[2, 0])
    assert PatchDiscriminator(Sound(1, RATE), hidden=4)(noise(1, 1, 64)).scores[0].shape == (
        1,
        1,
        8,
    )
