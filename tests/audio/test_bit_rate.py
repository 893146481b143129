"""Bit rate and speed of a tokenizer of sounds: arithmetic of the rates, stages, and reasons."""

import math

import pytest
import torch

from smalti.evaluation import EvaluationContext, Limits, evaluate
from smalti.generation import Model
from smalti.modalities.audio.bit_rate import BitRate, CodingSpeed
from smalti.priors import Uniform
from smalti.quantizers.first_codebooks import first_codebooks
from voices import LENGTH, RATE, STAGES, K, tiny_codec

LIMITS = Limits(samples=0, classifier_steps=0, feature_steps=0, shown=2, batch_size=4)


@pytest.fixture(scope="module")
def subject():
    model, splits = tiny_codec()
    return EvaluationContext(model, splits, None, LIMITS, 0)


def value(figures, *path):
    for key in path:
        figures = figures[key]
    return figures["value"]


def test_rates_are_tokens_and_their_nats_over_seconds(subject):
    with torch.no_grad():
        section = BitRate().run(subject)
        nats = -subject.prior.log_prob(subject.encoded.latents).mean().item()
    seconds, tokens = LENGTH / RATE, LENGTH // 4 * STAGES
    figures = section.figures
    assert value(figures, "nominal", "tokens_per_second") == tokens / seconds
    assert value(figures, "nominal", "bits_per_second") == tokens * math.log2(K) / seconds
    coded = value(figures, "prior", "bits_per_second")
    assert coded == pytest.approx(nats / math.log(2) / seconds, rel=1e-5)
    assert value(figures, "prior", "share_of_nominal") == pytest.approx(
        coded / value(figures, "nominal", "bits_per_second")
    )
    assert "histogram" not in figures and "uniform" not in figures


def test_a_uniform_prior_costs_the_nominal_rate():
    model, splits = tiny_codec(prior=False)
    prior = Uniform(K, (LENGTH // 4, STAGES))
    figures = (
        BitRate()
        .run(EvaluationContext(Model(model.autoencoder, prior), splits, None, LIMITS, 0))
        .figures
    )
    assert value(figures, "prior", "share_of_nominal") == pytest.approx(1)


def test_each_number_of_stages_has_its_rate_and_what_is_left_out_is_not_decoded(subject):
    with torch.no_grad():
        stages = BitRate().run(subject).figures["stages"]
        one = subject.decode(first_codebooks(subject.encoded.latents, 1))
        first = subject.tokenizer.quantizer.stages[0].decode(subject.encoded.latents[..., 0])
        alone = subject.tokenizer.decoder(first.movedim(-1, 1))
    assert list(stages) == ["1", "2", "3"]
    rates = [value(stages, name, "bits_per_second") for name in stages]
    assert rates == pytest.approx([rates[-1] / 3, rates[-1] * 2 / 3, LENGTH // 4 * 3 * 4 * 2])
    assert torch.allclose(one, alone.clamp(-1, 1), atol=1e-5)
    assert len({value(of, "mel_distance") for of in stages.values()}) == 3
    assert all("N = 6 of the test set" in of["si_sdr"]["protocol"] for of in stages.values())


def test_speed_is_of_one_thread_and_leaves_the_threads_as_they_were(subject, monkeypatch):
    said = []
    monkeypatch.setattr(torch, "set_num_threads", said.append)
    section = CodingSpeed().run(subject)
    assert said == [1, torch.get_num_threads()]
    assert value(section.figures, "encoding") > 0 and value(section.figures, "decoding") > 0
    assert "one thread of the CPU" in section.figures["encoding"]["protocol"]


def test_a_report_of_sounds_has_all_figures():
    model, splits = tiny_codec(stages=1, prior=False)
    report = evaluate(model, splits, limits=LIMITS)
    assert report.failed == []
    assert {"si_sdr", "mel_distance", "stoi"} <= set(report.figures["reconstruction"])
    assert set(report.figures["bit_rate"]) == {"nominal"}
    assert set(report.figures["coding_speed"]) == {"encoding", "decoding"}
    assert "Speed of coding" in report.to_html()


def test_other_data_have_no_bit_rate():
    model, splits = tiny_codec(prior=False)
    subject = EvaluationContext(model, splits, None, LIMITS, 0)
    subject.splits = splits._replace(signal=None)
    assert BitRate().applies(subject) == CodingSpeed().applies(subject) == "the data are no sounds."
    subject.splits, subject.tokenizer = splits, None
    assert BitRate().applies(subject) == "the latents of the model are no tokens."
