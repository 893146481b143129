"""Laws that every kind of data keeps; another one joins by a line in ROOMS."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch

import pulse
from smalti.artifacts import build, describe
from smalti.data import Source
from smalti.errors import InputError
from smalti.modalities import audio, image, series, vector
from smalti.modalities.base import Classifier, JoinedInFile, ManyPerFile, Metric, Modality
from smalti.reporting import Block, Measurement
from smalti.reporting.figures import is_figure
from smalti.signals import Signal

ROOMS: dict[str, tuple[ModuleType, Signal]] = {
    "audio": (audio, audio.Sound(2, 8000, (500,))),
    "image": (image, image.Image(3, (24, 20))),
    "pulse": (pulse, pulse.Pulse(1, (16,))),
    "series": (series, series.Series(2, (20,), 8.0, ("left", "right, foot"))),
    "vector": (vector, vector.Vector(12)),
}
STEP = 2 / 255  # the most that a file of bytes may round


@pytest.fixture(params=ROOMS)
def room(request):
    return ROOMS[request.param]


@pytest.fixture
def modality(room) -> Modality:
    return room[0].modality()


@pytest.fixture
def signal(room) -> Signal:
    return room[1]


@pytest.fixture
def x(signal):
    """(4, C, *size), no two alike."""
    h = torch.rand(4, *signal.shape, generator=torch.Generator().manual_seed(0))
    return signal.finish(1.9 * h - 0.95)


def one_line(error) -> bool:
    return "\n" not in str(error.value)


def test_a_room_has_a_signal_a_modality_and_sources(room, modality, signal):
    assert isinstance(modality, Modality)
    assert modality.signal is room[0].SIGNAL is type(signal)
    assert build(describe(signal)) == signal
    assert all(issubclass(source, Source) for source in room[0].sources())
    assert all(suffix[0] == "." and suffix == suffix.lower() for suffix in modality.suffixes)


def test_what_was_written_is_read(modality, signal, x, tmp_path):
    for number, one in enumerate(x):
        file = tmp_path / f"{number}{modality.suffixes[0]}"
        modality.write(one, file, signal=signal)
        again = modality.read(file, signal)
        assert again.shape == one.shape
        assert again.dtype == torch.float32
        assert (again - one).abs().max() <= STEP
        signal.check(again[None])


def test_many_in_a_file_come_back_in_order_with_their_names(modality, signal, x, tmp_path):
    if not isinstance(modality, ManyPerFile):
        return
    for suffix in modality.written_together:
        modality.write_all(x, tmp_path / f"many{suffix}", [f"item {i}" for i in range(len(x))])
        parts = list(modality.read_all(tmp_path / f"many{suffix}", signal))
        assert torch.equal(torch.cat([part.x for part in parts]), x)
        names = [name for part in parts for name in part.names]
        numbered = [part.numbered for part in parts]
        words = [str(i) if numbered[0] else f"item {i}" for i in range(len(x))]
        assert names == words and len(set(numbered)) == 1
        with pytest.raises(InputError):
            modality.write_all(torch.full_like(x, torch.nan), tmp_path / f"bad{suffix}")
        assert not (tmp_path / f"bad{suffix}").exists()


def test_several_stand_one_after_another_in_a_file(modality, signal, x, tmp_path):
    if not isinstance(modality, JoinedInFile):
        return
    for suffix in modality.written_joined:
        file = tmp_path / f"all{suffix}"
        modality.write_joined([x[0], x[1]], file, signal=signal)
        whole = modality.read(file, replace(signal, size=()))
        length = signal.size[0]
        assert whole.shape[1] > 2 * length
        for part, one in ((whole[:, :length], x[0]), (whole[:, -length:], x[1])):
            assert (part - one).abs().max() <= STEP
        assert not whole[:, length:-length].any()
        modality.write_joined([x[0]], file, signal=signal)
        assert (modality.read(file, signal) - x[0]).abs().max() <= STEP


def test_a_file_of_the_user_is_replaced_when_asked_only(modality, x, tmp_path):
    file = tmp_path / f"mine{modality.suffixes[0]}"
    file.write_bytes(b"mine")
    with pytest.raises(InputError, match="was not written by smalti"):
        modality.write(x[0], file)
    assert file.read_bytes() == b"mine"
    modality.write(x[0], file, overwrite=True)
    assert file.read_bytes() != b"mine"


def test_what_is_not_finite_is_not_written(modality, x, tmp_path):
    file = tmp_path / f"a{modality.suffixes[0]}"
    for bad in (torch.nan, torch.inf):
        with pytest.raises(InputError) as told:
            modality.write(torch.full_like(x[0], bad), file)
        assert one_line(told)
        assert not file.exists()


def test_a_file_that_is_none_is_one_line(modality, signal, tmp_path):
    broken = tmp_path / f"broken{modality.suffixes[0]}"
    broken.write_bytes(b"\x00\x01\x02")
    for file in (broken, tmp_path / "missing.xyz"):
        for read in (modality.read, modality.read_partial, modality.read_mask):
            with pytest.raises(InputError) as told:
                read(file, signal)
            assert one_line(told)


def test_of_a_part_that_is_given_the_rest_is_smooth(modality, signal, x, tmp_path):
    file = tmp_path / f"a{modality.suffixes[0]}"
    modality.write(x[0], file, signal=signal)
    if not signal.spatial_dims:  # it has no parts
        for keep in (None, "nonsense"):
            with pytest.raises(InputError, match="whole") as told:
                modality.read_partial(file, signal, keep)
            assert one_line(told)
        return
    part, given = modality.read_partial(file, signal)
    assert given.dtype == torch.bool
    assert given.shape == signal.size
    assert given.any() and not given.all()
    assert torch.equal(part[:, given], modality.read(file, signal)[:, given])
    signal.check(part[None])
    with pytest.raises(InputError, match="nonsense") as told:
        modality.read_partial(file, signal, "nonsense")
    assert one_line(told)


def test_a_mask_marks_what_is_high_in_a_file_of_the_same_size(modality, signal, x, tmp_path):
    file = tmp_path / f"mask{modality.suffixes[0]}"
    marked = torch.rand(signal.size, generator=torch.Generator().manual_seed(1)) < 0.3
    highs = torch.where(marked, 1.0, -1.0).expand(signal.shape)
    modality.write(highs, file, signal=signal)
    if not signal.spatial_dims:
        with pytest.raises(InputError, match="no parts") as told:
            modality.read_mask(file, signal)
        assert one_line(told)
        return
    mask = modality.read_mask(file, signal)
    assert mask.dtype == torch.bool and torch.equal(mask, marked)


def test_they_are_shown_as_blocks(modality, signal, x):
    shown = modality.render(x, "These are some.", columns=2)
    assert isinstance(shown, Block)
    assert "These are some." in shown.to_html()
    assert shown.files()[modality.shown_as]
    pairs = modality.compare(x, x.flip(0), "Pairs.")
    assert isinstance(pairs, Block) and "Pairs." in pairs.to_html()
    assert signal.plural in modality.describe(signal).lower()


def test_metrics_measure_batches_as_a_whole(modality, signal, x):
    x_hat = (0.9 * x).clone()
    for whole, parts in zip(modality.metrics(signal), modality.metrics(signal), strict=True):
        assert isinstance(whole, Metric)
        whole.update(x, x_hat)
        for i in range(len(x)):
            parts.update(x[i : i + 1], x_hat[i : i + 1])
        figures, of_parts = whole.figures("test set, N = 4"), parts.figures("test set, N = 4")
        assert set(figures) | set(whole.missing()) == set(whole.names)
        assert set(whole.cards) <= set(whole.names) and set(whole.units) <= set(whole.names)
        for key, figure in figures.items():
            assert is_figure(figure)
            assert "test set, N = 4" in figure["protocol"]
            assert figure["unit"] == whole.units.get(key, "")
            assert figure["value"] == pytest.approx(of_parts[key]["value"], rel=1e-5)


def test_a_classifier_gives_logits_of_features(modality, signal, x):
    classifier = modality.classifier(signal, 3)
    assert classifier is None or isinstance(classifier, Classifier)
    if classifier is not None:
        classifier.eval()
        features = classifier.features(x)
        assert features.ndim == 2 and len(features) == len(x)
        assert classifier(x).shape == (len(x), 3)
        torch.testing.assert_close(classifier.head(features), classifier(x))


def test_measurements_have_keys_of_their_own(modality):
    made = modality.measurements()
    assert all(isinstance(one, Measurement) for one in made)
    assert len({one.key for one in made}) == len(made)
