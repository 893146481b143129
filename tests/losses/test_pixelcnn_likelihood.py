"""The autoregressive likelihood: what a value sees, that drawing equals the full pass, its laws."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from smalti.artifacts import load_model, save_model
from smalti.errors import InputError
from smalti.losses.likelihoods import PixelCNNLikelihood, from_integers

L = 4


def made(c=1, **options) -> PixelCNNLikelihood:
    """In float64, with weights so large that every path leaves its mark."""
    options = {"num_values": L, "hidden": 6, "layers": 3, **options}
    likelihood = PixelCNNLikelihood(c, **options).double().eval()
    for parameter in likelihood.parameters():
        torch.nn.init.normal_(parameter, 0, 0.4)
    return likelihood


def drawn(likelihood, batch=2, size=(3, 4)):
    c = likelihood.signal_channels
    h = torch.randn(batch, likelihood.channels(c), *size, dtype=torch.float64)
    return h, from_integers(torch.randint(L, (batch, c, *size)), L).double()


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_value_changes_the_later_predictions_and_only_those(c, kernel_size):
    likelihood = made(c, kernel_size=kernel_size, layers=4, hidden=12)
    h, x = drawn(likelihood, batch=16)  # of which one at least is not cut off by a ReLU
    before = likelihood.logits(h, x).detach()
    order = list(itertools.product(range(3), range(4), range(c)))
    for number, (i, j, channel) in enumerate(order):
        other = x.clone()
        other[:, channel, i, j] += 0.5
        changed = (likelihood.logits(h, other) != before).any(1).any(0)  # (C, H, W)
        expected = [place > number for place in range(len(order))]
        assert [bool(changed[k, y, z]) for y, z, k in order] == expected


@pytest.mark.parametrize("layers", [1, 3])
def test_h_matters_at_its_own_pixel(layers):
    likelihood = made(2, layers=layers)
    h, x = drawn(likelihood, batch=1)
    before = likelihood.logits(h, x).detach()
    for i, j in itertools.product(range(3), range(4)):
        other = h.clone()
        other[0, :, i, j] += 1.0
        assert (likelihood.logits(other, x) != before)[0, :, :, i, j].any(0).all()


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"kernel_size": 5}], ids=str)
def test_the_logits_of_drawing_are_those_of_the_full_pass(c, options, monkeypatch):
    likelihood = made(c, **options)
    h, _ = drawn(likelihood)
    draw, steps = likelihood.softmax.sample, []

    def recorded(logits, generator):
        steps.append(logits)
        return draw(logits, generator)

    monkeypatch.setattr(likelihood.softmax, "sample", recorded)
    x = likelihood.sample(h, torch.Generator().manual_seed(0))
    expected = likelihood.logits(h, x.double())
    places = list(itertools.product(range(3), range(4), range(c)))
    assert len(steps) == len(places)
    for (i, j, channel), logits in zip(places, steps, strict=True):
        torch.testing.assert_close(logits, expected[:, :, channel, i, j], rtol=1e-5, atol=1e-5)


def test_the_probabilities_of_all_images_sum_to_one():
    likelihood = made(2, num_values=3)
    images = torch.tensor(list(itertools.product([-1.0, 0.0, 1.0], repeat=4)))
    x = images.double().unflatten(1, (2, 1, 2))  # 81 images of two channels, two pixels
    h = torch.randn(1, 6, 1, 2, dtype=torch.float64).expand(81, -1, -1, -1)
    assert (-likelihood(h, x).nll).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_samples_are_as_frequent_as_they_are_probable():
    likelihood, n = made(2, num_values=2), 20_000
    images = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4))).double()
    h = torch.randn(1, 6, 1, 2, dtype=torch.float64)
    p = (-likelihood(h.expand(16, -1, -1, -1), images.unflatten(1, (2, 1, 2))).nll).exp()
    sample = likelihood.sample(h.expand(n, -1, -1, -1), torch.Generator().manual_seed(1))
    number = ((sample.flatten(1) > 0).long() * torch.tensor([8, 4, 2, 1])).sum(1)
    counts = number.bincount(minlength=16)
    deviation = (counts - n * p) / (n * p * (1 - p)).sqrt().clamp(min=1)
    assert deviation.abs().max() < 5


def test_the_mean_is_that_given_the_true_past():
    likelihood = made(3)
    h, x = drawn(likelihood)
    nll, x_hat = likelihood(h, x)
    p = likelihood.logits(h, x).softmax(1)
    mean = torch.einsum("k,bkcij->bcij", from_integers(torch.arange(L), L).double(), p)
    torch.testing.assert_close(x_hat, mean.float())
    k = ((x + 1) * (L - 1) / 2).round().long()
    expected = F.cross_entropy(likelihood.logits(h, x), k, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(nll, expected.float())


def test_it_learns_what_h_says_and_what_the_pixels_before_say():
    """Stripes whose phase is in h, and whose second channel is the first, inverted."""
    columns = torch.arange(6) % 2 * 2.0 - 1
    x = torch.stack([columns, -columns]).expand(2, 5, 2, 6).permute(0, 2, 1, 3)
    x = torch.cat([x, -x])
    h = torch.zeros(4, 8, 5, 6)
    h[2:, 0] = 1
    likelihood = PixelCNNLikelihood(2, num_values=2, hidden=8, layers=2)
    optimizer = torch.optim.Adam(likelihood.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        likelihood(h, x).nll.mean().backward()
        optimizer.step()
    assert likelihood(h, x).nll.max() < 2  # 60 log 2 = 41.6 at first
    without = [n for n, p in likelihood.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_in_autocast(dtype):
    likelihood = PixelCNNLikelihood(3, num_values=256, hidden=8, layers=2)
    h = (100 * torch.randn(2, 8, 4, 4)).requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        nll, _ = likelihood(h, torch.rand(2, 3, 4, 4) * 2 - 1)
        nll.sum().backward()
    assert nll.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in likelihood.parameters())
    assert h.grad.isfinite().all()
    assert h.grad.any()


def test_a_saved_one_is_the_same(tmp_path):
    likelihood = PixelCNNLikelihood(1, num_values=L, hidden=6, layers=2).eval()
    h, x = torch.randn(2, 6, 3, 3), torch.rand(2, 1, 3, 3)
    save_model(likelihood, tmp_path / "likelihood")
    loaded = load_model(tmp_path / "likelihood")
    assert torch.equal(loaded(h, x).nll, likelihood(h, x).nll)
    a, b = (model.sample(h, torch.Generator().manual_seed(3)) for model in (likelihood, loaded))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: PixelCNNLikelihood(0),
        lambda: PixelCNNLikelihood(1, num_values=1),
        lambda: PixelCNNLikelihood(1, layers=0),
        lambda: PixelCNNLikelihood(1, kernel_size=4),
        lambda: PixelCNNLikelihood(1).channels(3),
        lambda: PixelCNNLikelihood(1)(torch.zeros(1, 32, 4), torch.zeros(1, 1, 4)),
    ],
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(InputError) as raised:
        wrong()
    assert "\n" not in str(raised.value)
