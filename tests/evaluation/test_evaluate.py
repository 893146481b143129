"""The whole evaluation over tiny real parts: what is in the report, and what it says is not."""

import io
import json

import pytest
import torch
from PIL import Image
from test_report import Page
from tiny_models import LABELS, tiny_histogram, tiny_model, tiny_splits

from smalti.conditions import TimeOfDay
from smalti.errors import InputError
from smalti.evaluation import Limits, evaluate
from smalti.reporting.figures import is_figure
from smalti.synthetic import MEASUREMENTS
from smalti.synthetic.clock_reading import add_frames, minutes_off, requested_times

LIMITS = Limits(samples=12, classifier_steps=3, feature_steps=2, shown=4, batch_size=10)


def leaves(tree):
    for branch in tree.values():
        if is_figure(branch):
            yield branch
        else:
            yield from leaves(branch)


def picture(png):
    return Image.open(io.BytesIO(png))


def write_curves(path):
    path.write_text(
        "epoch,step,train/loss,train/seconds,validation/loss\n0,1,0.5,61.6,\n0,2,,,0.4\n"
    )
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A report of a model with labels, and its parts."""
    model, splits = tiny_model(LABELS), tiny_splits(LABELS)
    histogram = tiny_histogram(model, splits, LABELS)
    curves = {"tokenizer": write_curves(tmp_path_factory.mktemp("logs") / "metrics.csv")}
    report = evaluate(model, splits, histogram, curves=curves, limits=LIMITS, title="Stripes")
    return report, model, splits, histogram


def test_every_figure_has_its_protocol_and_every_picture_its_words(labelled):
    report, *_ = labelled
    found = list(leaves(report.figures))
    assert len(found) > 20
    assert all("N = " in figure["protocol"] for figure in found)
    assert all(Page(report.to_html()).captions)


def test_all_that_labels_allow_is_there(labelled):
    report, *_ = labelled
    priors = ["uniform", "histogram", "prior"]
    assert list(report.figures["rate"]) == priors
    assert list(report.figures["frechet"]) == ["train", "reconstructions", *priors]
    assert set(report.figures["conditional_accuracy"]) == {
        "test",
        "reconstructions",
        "histogram",
        "prior",
    }
    files = report.files()
    assert [name for name in files if name.startswith("samples")] == [
        f"samples-{name}.png" for name in priors
    ]
    shown = [picture(files[name]) for name in ("samples-prior.png", "likely.png")]
    assert shown[0].size == shown[1].size and shown[0].tobytes() != shown[1].tobytes()
    assert all(f"<span>{name}</span>" in report.to_html() for name in LABELS.names)
    assert len([name for name in files if name.startswith("labels")]) == len(LABELS.names)
    assert [name for name in files if name.startswith("curves")] == ["curves-tokenizer-loss.png"]
    assert report.facts["Training"] == "tokenizer 62 s"
    assert set(report.missing) <= {"FID and KID", "Samples with guidance"}


def test_figures_are_those_of_the_parts(labelled):
    report, model, splits, _ = labelled
    x, labels = splits.test.__getitems__(range(len(splits.test)))
    indices = model.autoencoder.encode(x)
    mse = (model.autoencoder.decode(indices) - x).square().mean().item()
    with torch.no_grad():
        nats = model.prior.loss(indices, labels).item()
    assert report.figures["reconstruction"]["mse"]["value"] == pytest.approx(mse, rel=1e-5)
    assert report.figures["rate"]["prior"]["nats_per_index"]["value"] == pytest.approx(
        nats, rel=1e-5
    )
    assert report.figures["codebook"]["usage"]["value"] == len(indices.unique()) / 8
    assert report.figures["rate"]["uniform"]["bits_per_image"]["value"] == pytest.approx(16 * 3)


def test_page_and_json_of_a_whole_report(labelled):
    report, *_ = labelled
    page = Page(report.to_html())
    assert page.tags.count("img") == len(report.files())
    content = json.loads(report.to_json(), parse_constant=pytest.fail)
    measured = [figure for figure in leaves(content["figures"]) if figure["protocol"]]
    assert len(measured) == len(list(leaves(report.figures)))


def test_the_seed_decides_and_nothing_else_is_changed(labelled):
    report, model, splits, histogram = labelled
    torch.rand(7)
    model.prior.train()
    before = torch.random.get_rng_state()
    again = evaluate(model, splits, histogram, limits=LIMITS, title="Stripes")
    assert again.figures == report.figures
    assert model.prior.training
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "Training curves" in again.missing
    model.prior.eval()


def test_without_a_prior_only_the_tokenizer_is_measured():
    report = evaluate(tiny_model(prior=False), tiny_splits(), limits=LIMITS)
    assert set(report.figures) == {"reconstruction", "codebook"}
    assert "no prior" in report.missing["Samples"]
    text = " ".join(Page(report.to_html()).texts)
    assert "no prior was learned" in text
    assert "the data have no labels" in text


def test_a_test_set_too_large_is_drawn_from_and_that_is_said():
    limits = Limits(test=10, samples=12, classifier_steps=0, shown=4)
    report = evaluate(tiny_model(prior=False), tiny_splits(), limits=limits)
    protocol = report.figures["reconstruction"]["mse"]["protocol"]
    assert "N = 10 of 24, drawn at random" in protocol


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(samples=1, classifier_steps=1, shown=2), "at least two images"),
        (Limits(classifier_steps=0, shown=2), "switched off"),
    ],
)
def test_what_is_not_compared_says_why(limits, reason):
    report = evaluate(tiny_model(prior=False), tiny_splits(LABELS), limits=limits)
    assert set(report.figures) == {"reconstruction", "codebook"}
    assert any(reason in line for line in report.missing.values())
    assert reason in " ".join(Page(report.to_html()).texts)


def test_an_unconditional_prior_over_labelled_data():
    model, splits = tiny_model(), tiny_splits(LABELS)
    report = evaluate(model, splits, tiny_histogram(model, splits), limits=LIMITS)
    assert "prior" in report.figures["frechet"]
    assert set(report.figures["conditional_accuracy"]) == {"test", "reconstructions"}
    assert (
        "no prior conditional" in report.missing["Accuracy of a classifier on conditional samples"]
    )
    assert "labels-0.png" not in report.files()
    assert Page(report.to_html()).tags


def test_clocks_are_read_back():
    time = TimeOfDay()
    model, splits = tiny_model(time), tiny_splits(time)._replace(measurements=MEASUREMENTS)
    report = evaluate(model, splits, tiny_histogram(model, splits, time), limits=LIMITS)
    clocks = report.figures["clocks"]
    assert set(clocks) == {"test", "reconstructions", "generated", "median_error"}
    assert "N = 144" in clocks["generated"]["protocol"]
    assert clocks["generated"]["value"] < 0.5  # stripes are no clocks
    assert "FID and KID" in report.missing
    assert picture(report.files()["clocks.png"]).width == 12 * 4 * 20
    assert Page(report.to_html()).tags


def test_real_clocks_are_read_right():
    class Sure:
        """Reads the time that is written in the first pixel, and errs by 6 minutes past noon."""

        def read(self, images):
            minutes = (images[:, 0, 0, 0] + 1) * 360
            return torch.where(minutes < 5, minutes - 6, minutes) % 720

    times = requested_times()
    images = (times / 360 - 1)[:, None, None, None].expand(-1, 1, 4, 4)
    off = minutes_off(Sure(), images.split(50), times)
    assert len(times) == 144
    assert off[0].item() == pytest.approx(6, abs=1e-3)
    assert off[1:].max().item() < 1e-3


def test_a_frame_marks_what_was_misread():
    images = torch.zeros(2, 1, 4, 4)
    marked = add_frames(images, torch.tensor([True, False]), width=1)
    assert marked.shape == (2, 4, 6, 6)
    red, green, _, opacity = marked[0, :, 0, 0].tolist()
    assert red > green
    assert opacity == 1
    assert marked[1, 3, 0, 0] == -1
    assert torch.equal(marked[:, :3, 1:-1, 1:-1], images.expand(-1, 3, -1, -1))
    assert (marked[:, 3, 1:-1, 1:-1] == 1).all()


def test_data_of_another_size_are_refused():
    with pytest.raises(InputError, match="size 16×16"):
        evaluate(tiny_model(), tiny_splits(side=20), limits=LIMITS)
