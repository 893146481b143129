"""Gumbel-softmax quantization against its closed forms."""

import math

import pytest
import torch

from smalti.artifacts import load_model, save_model
from smalti.errors import InputError
from smalti.quantizers import Annealing, GumbelQuantizer

SIZE, DIM = 7, 4


def quantizer(start: float = 0.8) -> GumbelQuantizer:
    return GumbelQuantizer(
        codebook_size=SIZE, dim=DIM, temperature=Annealing(start, 0.2, updates=10)
    )


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    torch.manual_seed(seed)
    return -torch.empty(*shape).exponential_().log()


def test_the_gradient_equals_its_closed_form():
    one = quantizer()
    z, g = torch.randn(30, DIM, requires_grad=True), torch.randn(30, DIM)
    torch.manual_seed(3)
    output = one(z)
    output.quantized.backward(g)

    weight, bias, codebook = one.logits.weight.detach(), one.logits.bias.detach(), one.codebook
    noisy = z.detach() @ weight.T + bias + noise(30, SIZE)
    pi, a = (noisy / 0.8).softmax(-1), g @ codebook.detach().T
    g_l = pi * (a - (pi * a).sum(-1, keepdim=True)) / 0.8
    index = noisy.argmax(-1)
    assert torch.equal(output.indices, index)
    assert torch.equal(output.quantized, codebook[index])  # hard, exactly
    torch.testing.assert_close(z.grad, g_l @ weight)
    torch.testing.assert_close(one.logits.weight.grad, g_l.T @ z.detach())
    torch.testing.assert_close(one.logits.bias.grad, g_l.sum(0))
    torch.testing.assert_close(codebook.grad, torch.zeros(SIZE, DIM).index_add_(0, index, g))


def test_the_gradient_is_not_the_identity():
    z, g = torch.randn(30, DIM, requires_grad=True), torch.randn(30, DIM)
    quantizer()(z).quantized.backward(g)
    assert z.grad.any() and (z.grad - g).abs().mean() > 0.1


def test_the_loss_is_the_divergence_from_uniform():
    one = quantizer()
    z = torch.randn(30, DIM, requires_grad=True)
    mask = torch.rand(30) < 0.5
    q = one.logits(z).softmax(-1)
    expected = (q * (SIZE * q).log()).sum(-1)
    for mode in (True, False):
        torch.testing.assert_close(one.train(mode)(z).losses["kl"], expected.mean())
        torch.testing.assert_close(one(z, mask).losses["kl"], expected[mask].mean())
    assert one(z).losses["kl"] > 0
    one.logits.weight.data.zero_(), one.logits.bias.data.zero_()
    assert one(z).losses["kl"].abs() < 1e-6
    one.logits.bias.data[2] = 1e4
    torch.testing.assert_close(one(z).losses["kl"], torch.tensor(math.log(SIZE)))


def test_indices_are_drawn_from_the_softmax():
    one = quantizer()
    one.logits.bias.data.mul_(3)
    indices = one(torch.zeros(20000, DIM)).indices
    shares = torch.bincount(indices, minlength=SIZE) / 20000
    torch.testing.assert_close(shares, one.logits.bias.softmax(-1).detach(), atol=0.02, rtol=0)


def test_evaluation_is_the_most_likely():
    one = quantizer().eval()
    z = torch.randn(30, DIM)
    output = one(z)
    assert torch.equal(output.indices, one.logits(z).argmax(-1))
    assert torch.equal(output.quantized, one.decode(output.indices))


def test_the_temperature_falls_and_goes_on_after_loading(tmp_path):
    one = quantizer()
    for _ in range(5):
        one.update()
    torch.testing.assert_close(one.temperature, torch.tensor(0.8 * 0.25**0.5))
    save_model(one, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert torch.equal(loaded.temperature, one.temperature)
    for _ in range(50):
        loaded.update()
    torch.testing.assert_close(loaded.temperature, torch.tensor(0.2))


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Annealing(0.0),
        lambda: Annealing(end=-1.0),
        lambda: Annealing(updates=0),
        lambda: GumbelQuantizer(codebook_size=0, dim=3),
    ],
)
def test_mistakes_are_told(mistake):
    with pytest.raises(InputError, match="got"):
        mistake()
