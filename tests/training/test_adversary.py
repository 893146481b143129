"""An adversary learns beside the autoencoder, with an optimizer and a state of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from smalti.autoencoders import DiscreteAutoencoder
from smalti.data import Batch
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.training import AutoencoderStage, CosineDecay, Hardware, Objective, Training, train
from smalti.training.callbacks import Progress

CPU = Hardware(accelerator="cpu", precision="32-true")
STEPS = 12


class Noise(torch.utils.data.Dataset):
    """64 images of noise."""

    def __init__(self) -> None:
        self.x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def __len__(self):
        return len(self.x)

    def __getitems__(self, indices):
        return Batch(self.x[indices], None)


class Adversarial(Objective):
    """A critic with dropout and normalisation tells images from reconstructions."""

    def __init__(self, start: int = 0, weight: float = 0.1, dropout: float = 0.2) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            nn.Conv2d(1, 4, 4, stride=4),
            nn.BatchNorm2d(4),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            nn.Conv2d(4, 1, 1),
        )
        self.start, self.weight = start, weight

    @property
    def warmup(self):
        return self.start

    def forward(self, x, output, step):
        distance = F.mse_loss(output.x_hat, x)
        if not self.training:
            return {"loss": distance}
        fooled = F.softplus(-self.critic(output.x_hat)).mean()
        loss = distance + output.losses["commitment"] + self.weight * fooled
        return {"loss": loss, "distance": distance, "fooled": fooled}

    def adversary(self, x, output, step):
        assert self.training, "it was asked in validation"
        assert not output.x_hat.requires_grad and not output.latents.requires_grad
        if step < self.start:
            return None
        real, made = self.critic(x), self.critic(output.x_hat)
        right = ((real > 0).float().mean() + (made < 0).float().mean()) / 2
        return {"loss": F.softplus(-real).mean() + F.softplus(made).mean(), "right": right}


def trained(
    folder: Path, objective: Objective, hardware: Hardware = CPU, **options
) -> AutoencoderStage:
    torch.manual_seed(0)
    sizes = {"hidden": 8, "residual_hidden": 4}
    encoder, decoder = ConvEncoder(Features(1), 4, **sizes), ConvDecoder(Features(1), 4, **sizes)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=8, dim=4))
    given = {"validate_every": 6, "save_every": 4, "weight_ema": 0.9, "schedule": CosineDecay(3)}
    stage = AutoencoderStage(
        DiscreteAutoencoder(encoder, quantizer, decoder, Image(1, (8, 8))),
        Training(STEPS, 8, **{**given, **options}),
        Noise(),
        Noise(),
        seed=3,
        objective=objective,
    )
    train(stage, "tokenizer", folder, hardware)
    return stage


def objective(**options) -> Adversarial:
    torch.manual_seed(1)
    return Adversarial(**options)


def same(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_both_learn_and_the_adversary_only_from_its_own_loss(tmp_path):
    before = objective()
    whole = trained(tmp_path / "a", made := objective())
    assert not same(made, before)
    assert all(p.requires_grad for p in made.parameters())  # as it came
    # With a weight of 0 it changes nothing of the autoencoder, and learns all the same.
    silent = trained(tmp_path / "b", alone := objective(weight=0.0, dropout=0.0))
    plain = trained(tmp_path / "c", idle := objective(weight=0.0, dropout=0.0, start=STEPS))
    assert same(silent.model, plain.model)
    assert not same(alone.critic[0], idle.critic[0])
    assert same(idle.critic[0], before.critic[0])
    assert not same(whole.model, plain.model)


@pytest.mark.parametrize(
    "hardware",
    [
        CPU,
        Hardware(accelerator="cpu", precision="bf16-mixed"),
        pytest.param(
            Hardware(accelerator="gpu", devices=1, precision="16-mixed"),
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 needs a GPU"),
        ),
    ],
    ids=lambda hardware: hardware.precision,
)
def test_a_killed_training_ends_with_the_same_weights(tmp_path, monkeypatch, hardware):
    whole = trained(tmp_path / "whole", one := objective(), hardware)
    assert not same(one, objective())

    def stop(self, trainer, *rest):
        if trainer.global_step == 9:
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="went down"):
            trained(tmp_path / "killed", objective(), hardware)
    resumed = trained(tmp_path / "killed", other := objective(), hardware)
    assert same(whole.model, resumed.model)
    assert same(one, other)
    states = whole.adversary.state_dict(), resumed.adversary.state_dict()
    assert states[0]["scaler"] == states[1]["scaler"]
    assert (states[0]["scaler"] is None) == (hardware.precision != "16-mixed")
    optimizers = [state["optimizer"] for state in states]
    for number, state in optimizers[0]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, optimizers[1]["state"][number][name]), name
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]


def test_in_bfloat16_it_learns_what_it_learns_in_float32(tmp_path):
    """Its losses are computed in half precision, its weights and their steps are in float32."""
    half = Hardware(accelerator="cpu", precision="bf16-mixed")
    options = {"weight": 0.0, "dropout": 0.0}  # so that both see the same reconstructions, almost
    sgd = {"adversary_optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1)}
    trained(tmp_path / "whole", whole := objective(**options), **sgd)
    trained(tmp_path / "half", rough := objective(**options), half, **sgd)
    start = objective(**options).state_dict()
    for name in ("critic.0.weight", "critic.1.weight", "critic.3.weight", "critic.3.bias"):
        a, b = (made.state_dict()[name] - start[name] for made in (whole, rough))
        assert b.dtype == torch.float32 and b.norm() > 0
        assert (a - b).norm() < 0.2 * a.norm(), name


def test_validation_changes_nothing_of_it(tmp_path):
    often = trained(tmp_path / "often", one := objective(), validate_every=2)
    seldom = trained(tmp_path / "seldom", other := objective(), validate_every=12)
    assert same(often.model, seldom.model)
    assert same(one, other)


def test_accumulated_batches_are_one_step_of_both(tmp_path, monkeypatch):
    taken = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self, *a, **k: (taken.append(1), step(self, *a, **k))[1]
    )
    trained(
        tmp_path / "a",
        objective(),
        accumulate=3,
        adversary_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    assert len(taken) == STEPS


def test_its_rate_follows_the_schedule_and_its_gradient_is_clipped(tmp_path, monkeypatch):
    rates, norms = [], []
    step = torch.optim.SGD.step

    def note(self, *rest, **options):
        rates.append(self.param_groups[0]["lr"])
        grads = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norms.append(torch.stack(grads).norm().item())
        return step(self, *rest, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", note)
    adversary = lambda parameters: torch.optim.SGD(parameters, lr=0.1)  # noqa: E731
    trained(tmp_path / "a", objective(), adversary_optimizer=adversary, clip=1e-3)
    assert rates[:3] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    assert rates[3:] == sorted(rates[3:], reverse=True) and rates[-1] < 0.02
    assert max(norms) <= 1e-3 * (1 + 1e-4)


@pytest.mark.slow
def test_two_processes_have_one_adversary(tmp_path):
    script = Path(__file__).with_name("adversary_of_two_processes.py")
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=120)
    ranks = [(tmp_path / f"rank-{rank}").read_text() for rank in range(2)]
    assert ranks[0] == ranks[1]
