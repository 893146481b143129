"""Adversarial and perceptual objectives: weights, onsets, and whose gradient reaches whom."""

from __future__ import annotations

import pytest
import torch
from test_adversary import CPU, Noise, same
from torch import nn

from smalti.autoencoders import DiscreteAutoencoder, Reconstruction
from smalti.errors import InputError
from smalti.losses import MSE, R1, LeCam, feature_distance
from smalti.modalities.image import Image
from smalti.networks import (
    ConvDecoder,
    ConvEncoder,
    ConvFeatures,
    PatchDiscriminator,
    ResNetDecoder,
)
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.training import (
    AdversarialObjective,
    AutoencoderStage,
    Hardware,
    PerceptualObjective,
    TokenizerObjective,
    Training,
    train,
)
from smalti.training.callbacks import Progress

SIGNAL = Image(1, (8, 8))
STEPS = 6


def small(signal):
    return PatchDiscriminator(signal, hidden=4, layers=1)


def prepared(objective, seed=1):
    torch.manual_seed(seed)
    objective.prepare(SIGNAL, ConvFeatures(SIGNAL, hidden=4, layers=2))
    return objective


def adversarial(perceptual=0.5, **options):
    base = TokenizerObjective(MSE())
    base = PerceptualObjective(base, perceptual) if perceptual else base
    return prepared(AdversarialObjective(base, small, **options))


def tokenizer(decoder=ConvDecoder) -> DiscreteAutoencoder:
    torch.manual_seed(0)
    sizes = {"hidden": 8, "downsampling": 4}
    encoder = ConvEncoder(SIGNAL, 4, residual_hidden=4, **sizes)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=8, dim=4))
    return DiscreteAutoencoder(encoder, quantizer, decoder(SIGNAL, 4, **sizes), SIGNAL)


def trained(folder, objective, hardware=CPU, **options) -> AutoencoderStage:
    stage = AutoencoderStage(
        tokenizer(),
        Training(STEPS, 8, **{"validate_every": 3, "save_every": 2, **options}),
        Noise(),
        Noise(),
        seed=3,
        objective=objective,
    )
    train(stage, "tokenizer", folder, hardware)
    return stage


@pytest.mark.parametrize("decoder", [ConvDecoder, ResNetDecoder])
def test_the_adaptive_weight_is_the_ratio_of_gradients_at_the_last_layer(decoder):
    model, objective = tokenizer(decoder), adversarial(weight=0.7)
    x = Noise().x[:4]
    output = model(x)
    terms = objective(x, output, 0)
    features = objective.objective.features
    distance = feature_distance(features(output.x_hat), features(x)).mean()
    made = objective.discriminator(output.x_hat).scores[0]
    last = list(model.decoder.parameters())[-2]  # before its bias
    assert last is output.last_weight
    near, gen = (
        torch.autograd.grad(of, last, retain_graph=True)[0].norm()
        for of in ((output.x_hat - x).square().mean() + 0.5 * distance, -made.mean())
    )
    weight = 0.7 * near / (gen + 1e-4)
    assert terms["adversarial_weight"].item() == pytest.approx(weight.item(), rel=1e-4)
    plain = objective.objective(x, output, 0)["loss"]
    assert terms["loss"].item() == pytest.approx((plain - weight * made.mean()).item(), rel=1e-4)
    assert not terms["adversarial_weight"].requires_grad
    capped = adversarial(weight=0.7, cap=weight.item() / 7)
    assert capped(x, output, 0)["adversarial_weight"].item() == pytest.approx(
        weight.item() / 10, rel=1e-4
    )


def test_its_share_is_nothing_before_the_start_and_rises_over_the_ramp():
    objective = adversarial(start=10, ramp=4)
    shares = [objective.share(step) for step in (0, 9, 10, 11, 13, 14, 99)]
    assert shares == pytest.approx([0, 0, 0.2, 0.4, 0.8, 1, 1])
    assert objective.warmup == 14
    x = Noise().x[:2]
    output = tokenizer()(x)
    weights = [objective(x, output, step)["adversarial_weight"] for step in (9, 10, 14)]
    assert weights[0] == 0 and weights[1].item() == pytest.approx(0.2 * weights[2].item())
    assert objective.adversary(x, output, 9) is None


def test_before_the_start_the_training_is_that_of_the_plain_objective_to_the_bit(tmp_path):
    plain = trained(tmp_path / "a", TokenizerObjective(MSE()))
    silent = trained(tmp_path / "b", idle := adversarial(perceptual=0, start=STEPS))
    assert same(plain.model, silent.model)
    assert same(idle, adversarial(perceptual=0, start=STEPS))
    late = trained(tmp_path / "c", heard := adversarial(perceptual=0, start=STEPS - 1))
    assert not same(plain.model, late.model)
    assert not same(heard.discriminator, idle.discriminator)


@pytest.mark.parametrize("penalty", [None, R1(), LeCam()], ids=lambda p: type(p).__name__)
def test_neither_gradient_reaches_the_other_side(penalty):
    model, objective = tokenizer(), adversarial(penalty=penalty)
    x = Noise().x[:4]
    output = model(x)
    terms = objective.adversary(x, output, 0)
    terms["loss"].backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is None for p in objective.objective.parameters())
    assert all(p.grad is not None for p in objective.discriminator.parameters())
    stage = AutoencoderStage(
        model, Training(1), Noise(), Noise(), seed=0, objective=adversarial(penalty=penalty)
    )
    stage.terms(x, output, 0)["loss"].backward()  # its adversary is frozen but for its own loss
    assert all(p.grad is None for p in stage.terms.parameters())
    assert all(p.grad is not None for p in model.decoder.parameters())


@pytest.mark.parametrize(("penalty", "precision"), [(R1, "32-true"), (LeCam, "bf16-mixed")])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, monkeypatch, precision, penalty):
    hardware = Hardware(accelerator="cpu", precision=precision)
    options = {"start": 1, "ramp": 3}
    whole = trained(
        tmp_path / "whole", one := adversarial(penalty=penalty(), **options), hardware, accumulate=2
    )

    def stop(self, trainer, *rest):
        if trainer.global_step == 4:
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="went down"):
            killed = adversarial(penalty=penalty(), **options)
            trained(tmp_path / "killed", killed, hardware, accumulate=2)
    other = adversarial(penalty=penalty(), **options)
    resumed = trained(tmp_path / "killed", other, hardware, accumulate=2)
    assert same(whole.model, resumed.model) and same(one, other)
    assert all(p.dtype == torch.float32 for p in one.parameters())


def test_validation_is_that_of_the_plain_objective():
    model, objective = tokenizer().eval(), adversarial().eval()
    x = Noise().x[:4]
    with torch.no_grad():
        output = model(x)
        terms = objective(x, output, objective.warmup)
        assert terms == objective.objective(x, output, 0)


def test_the_distance_of_features_is_part_of_the_loss_and_its_network_stays():
    objective = prepared(PerceptualObjective(TokenizerObjective(MSE()), 2.0))
    x, x_hat = Noise().x[:4], Noise().x[4:8].requires_grad_()
    output = Reconstruction(x_hat, None, {})
    terms = objective.train()(x, output, 0)
    assert terms["loss"].item() == pytest.approx(
        (terms["reconstruction"] + 2 * terms["perceptual"]).item()
    )
    terms["loss"].backward()
    assert x_hat.grad.abs().sum() > 0 and not objective.has_adversary
    assert not objective.features.training and not any(
        p.requires_grad for p in objective.features.parameters()
    )
    missing = x.clone()
    missing[0, 0, 0, :4] = torch.nan
    # A value that is missing is taken for equal.
    assert objective(x, Reconstruction(x, None, {}), 0)["perceptual"] == 0
    assert objective(missing, Reconstruction(x, None, {}), 0)["perceptual"] == 0


def test_what_makes_no_adversarial_objective_is_refused():
    with pytest.raises(InputError, match="the one adversary there is, got AdversarialObjective"):
        AdversarialObjective(AdversarialObjective(TokenizerObjective(MSE())))
    with pytest.raises(InputError, match="cap above, got"):
        AdversarialObjective(TokenizerObjective(MSE()), cap=0)
    objective, x = adversarial(), Noise().x[:2]
    with pytest.raises(InputError, match="the property last_weight, as ConvDecoder has"):
        objective(x, Reconstruction(x.clone().requires_grad_(), None, {}), 0)
    with pytest.raises(InputError, match="halves the size as often, got images of 8: set"):
        PatchDiscriminator(SIGNAL, layers=4)


def test_a_decoder_names_the_weight_of_its_last_layer():
    model = nn.Module()
    assert DiscreteAutoencoder._last_weight(model) is None
    for decoder in (ConvDecoder, ResNetDecoder):
        last = tokenizer(decoder)(Noise().x[:2]).last_weight
        assert last is not None and 1 in (last.shape[0], last.shape[1])


def test_features_of_the_discriminator_are_matched_within_the_adaptive_weight():
    model, matching = tokenizer(), adversarial(perceptual=0, feature_matching=2.0)
    plain = adversarial(perceptual=0)
    x = Noise().x[:4]
    output = model(x)
    terms, without = matching(x, output, 0), plain(x, output, 0)
    assert "features" not in without
    real, made = (matching.discriminator(y).features for y in (x, output.x_hat))
    wanted = sum((a - b).abs().mean() / a.abs().mean() for a, b in zip(real, made, strict=True))
    wanted = wanted / len(real)
    assert terms["features"].item() == pytest.approx(wanted.item(), rel=1e-4)
    near, whole = (
        torch.autograd.grad(of, output.last_weight, retain_graph=True)[0].norm()
        for of in (
            (output.x_hat - x).square().mean(),
            -matching.discriminator(output.x_hat).scores[0].mean() + 2 * wanted,
        )
    )
    weight = 0.8 * near / (whole + 1e-4)
    assert terms["adversarial_weight"].item() == pytest.approx(weight.item(), rel=1e-4)
    added = terms["adversarial_weight"] * (terms["adversarial"] + 2 * terms["features"])
    base = matching.objective(x, output, 0)["loss"]
    assert terms["loss"].item() == pytest.approx((base + added).item(), rel=1e-5)
    perfect = Reconstruction(x.clone(), None, output.losses, last_weight=None)
    with pytest.raises(InputError, match="last layer"):
        matching(x, perfect, 0)
    with pytest.raises(InputError, match="feature_matching are at least 0"):
        adversarial(feature_matching=-1.0)
