"""The source of sounds: what it finds, what it leaves out, and the excerpts it gives."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from smalti.conditions import Conditions, Label
from smalti.errors import InputError
from smalti.modalities.audio import Sound, SoundColumns, Sounds
from smalti.modalities.audio.decoding import SoundFault, decode_sound, wav_bytes
from smalti.modalities.audio.excerpts import StoredExcerpts, cut_excerpts

RATE = 8000


def tone(seconds: float, hertz: float = 440, rate: int = RATE, loud: float = 0.3) -> np.ndarray:
    return loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def fill(folder: Path, n: int = 40, seconds: float = 0.1) -> None:
    """A folder of two labels, all tones different."""
    for label in ("low", "high"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(n // 2):
            hertz = 100 + 10 * i + 1000 * (label == "high")
            soundfile.write(folder / label / f"{i:03d}.wav", tone(seconds, hertz), RATE)


def loaded(caplog, *args, **options):
    caplog.clear()
    with caplog.at_level(logging.INFO):
        splits = Sounds(*map(str, args), **options).load()
    return splits, [record.getMessage() for record in caplog.records]


def test_folders_are_labels_and_what_is_found_is_told(tmp_path, caplog):
    fill(tmp_path)
    soundfile.write(tmp_path / "low" / "stereo.flac", np.stack([tone(0.2), 0 * tone(0.2)], 1), RATE)
    soundfile.write(tmp_path / "low" / "slow.ogg", tone(0.2, rate=16_000), 16_000)
    soundfile.write(tmp_path / "low" / "loud.mp3", np.clip(tone(0.2, loud=3), -1, 1), RATE)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "other.m4a").write_bytes(b"x")
    splits, told = loaded(caplog, tmp_path)
    assert splits.signal == Sound(1, RATE, (1600,))
    assert isinstance(splits.condition, Label) and splits.condition.names == ("high", "low")
    assert sum(map(len, splits[:3])) == 43 == len(splits.manifest)
    text = "\n".join(told)
    assert "found 43 sounds" in text and "2 labels (high, low)" in text
    assert "4.6 s at 8000 Hz, mono: sounds of 0.1 s to 0.2 s" in text
    assert "resampled to 8000 Hz: 1 of 16000 Hz" in text
    assert "mixed to mono: 1 with 2 channels" in text
    assert "clipped, with more than 0.1% of the samples at full scale: 1 sound" in text
    assert ".m4a files, a kind of sound that is not read (1)" in text


def test_a_sound_is_mixed_and_resampled_to_what_is_asked_for(tmp_path):
    fill(tmp_path, 20)
    both = np.stack([tone(0.1, 300), tone(0.1, 300, loud=0.1)], 1)
    soundfile.write(tmp_path / "low" / "both.wav", both, RATE)
    mono, _ = decode_sound(tmp_path / "low" / "both.wav", RATE, 1)
    np.testing.assert_allclose(mono[:, 0] / 32768, both.mean(1), atol=2e-4)
    stereo, _ = decode_sound(tmp_path / "low" / "000.wav", RATE, 2)
    assert (stereo[:, 0] == stereo[:, 1]).all()
    fast, known = decode_sound(tmp_path / "high" / "000.wav", 16_000, 1)
    assert (known.rate, known.samples) == (RATE, 1600)
    np.testing.assert_allclose(
        fast[200:-200, 0] / 32768, tone(0.1, 1100, 16_000)[200:-200], atol=5e-3
    )
    splits = Sounds(str(tmp_path), rate=16_000, channels=2, seconds=0.05).load()
    assert splits.signal == Sound(2, 16_000, (800,))
    assert splits.train[0].x.shape == (1, 2, 800)


def test_the_commonest_rate_is_taken_but_24_kHz_at_most(tmp_path):
    for i in range(12):
        rate = 48_000 if i < 7 else RATE
        soundfile.write(tmp_path / f"{i}.wav", tone(0.05, 300 + i, rate), rate)
    assert Sounds(str(tmp_path)).load().signal.rate == 24_000
    for i in range(7, 12):
        soundfile.write(tmp_path / f"more{i}.wav", tone(0.05, 400 + i), RATE)
    assert Sounds(str(tmp_path)).load().signal.rate == RATE


def test_sounds_are_as_loud_as_asked_unless_they_would_clip(tmp_path):
    for i in range(12):
        loud = 0.01 * (i + 1)
        soundfile.write(tmp_path / f"{i}.wav", tone(0.1, 300, loud=loud), RATE)
    click = np.zeros(800)
    click[400] = 0.9  # as loud as it can be already
    soundfile.write(tmp_path / "click.wav", click, RATE)
    splits = Sounds(str(tmp_path), loudness=-20).load()
    x = torch.cat([part.__getitems__(range(len(part))).x for part in splits[:3]])[:, 0]
    rms = x.square().mean(1).sqrt()
    assert ((rms - 0.1).abs() < 1e-3).sum() == 12
    assert x.abs().max() <= 1


# Excerpts


def test_excerpts_cover_a_recording_and_begin_anywhere_in_training():
    samples = np.arange(1, 1001, dtype=np.int16)[:, None]
    lengths = np.array([1000])
    examples = StoredExcerpts(samples, cut_excerpts(np.array([0]), lengths, 300), 300)
    x = examples.__getitems__(range(len(examples))).x[:, 0] * 32768
    assert len(examples) == 4 and x[0, 0] == 1 and x[-1, -1] == 1000
    assert set(x.flatten().int().tolist()) == set(range(1, 1001))
    starts = torch.cat([examples.varied([i], [v]).x[:, 0, 0] for i in range(4) for v in range(300)])
    starts = (starts * 32768).round().long()
    assert starts.min() < 20 and starts.max() > 680 and starts.max() <= 701
    assert starts.float().mean().item() == pytest.approx(351, abs=25)
    assert len(starts.unique()) > 500


def test_after_a_short_sound_there_is_silence_also_in_training():
    samples = np.full((100, 1), 8192, dtype=np.int16)
    examples = StoredExcerpts(samples, cut_excerpts(np.array([0]), np.array([100]), 300), 300)
    for x in (examples[0].x, examples.varied([0], [5]).x):
        assert (x[0, 0, :100] == 0.25).all() and (x[0, 0, 100:] == 0).all()


def test_excerpts_of_one_recording_are_held_out_together(tmp_path):
    for i in range(12):
        soundfile.write(tmp_path / f"{i}.wav", tone(0.5, 200 + 40 * i), RATE)
    splits = Sounds(str(tmp_path), seconds=0.1).load()
    manifest = splits.manifest
    assert len(manifest) == 12 * 5
    of = {}
    for row, split in enumerate(manifest.splits):
        of.setdefault(manifest.name(row).split(" ")[0], set()).add(int(split))
    assert len(of) == 12 and all(len(seen) == 1 for seen in of.values())
    assert manifest.counts()["test"] and manifest.counts()["validation"]


# Tables


def write_table(path: Path, **columns) -> None:
    pq.write_table(pa.table(columns), path)


def test_columns_of_files_and_of_values_are_read_alike(tmp_path):
    values = [np.round(tone(0.05, 200 + 20 * i) * 32768).astype(np.int16) for i in range(16)]
    stored = [{"bytes": wav_bytes(v, RATE), "path": f"{i}.wav"} for i, v in enumerate(values)]
    forms = {
        "files": {"audio": stored},
        "bytes": {"sound": [one["bytes"] for one in stored]},
        "integers": {"audio": [v.tolist() for v in values], "sample_rate": [RATE] * 16},
        "structs": {"audio": [{"array": v / 32768, "sampling_rate": RATE} for v in values]},
    }
    found = {}
    for name, columns in forms.items():
        (tmp_path / name).mkdir()
        write_table(tmp_path / name / "train.parquet", **columns)
        splits = Sounds(str(tmp_path / name)).load()
        x = torch.cat([part.__getitems__(range(len(part))).x for part in splits[:3]])[:, 0]
        found[name] = x[x[:, 1].argsort()]
    for name in forms:
        assert found[name].shape == (16, 400)
        assert torch.equal(found[name], found["files"]), name
    write_table(tmp_path / "bare.parquet", audio=[v.tolist() for v in values])
    with pytest.raises(InputError, match=r"give --data\.rate"):
        Sounds(str(tmp_path / "bare.parquet")).load()
    assert len(Sounds(str(tmp_path / "bare.parquet"), rate=RATE).load().manifest) == 16


def test_speakers_are_a_condition_beside_the_label_where_asked_for(tmp_path, caplog):
    audio = [tone(0.05, 200 + 20 * i).tolist() for i in range(24)]
    who = ["anna", "ben", "cleo"] * 8
    write_table(
        tmp_path / "train.parquet",
        audio=audio,
        sampling_rate=[RATE] * 24,
        label=[i % 2 for i in range(24)],
        speaker=who,
    )
    splits = Sounds(str(tmp_path)).load()
    assert isinstance(splits.condition, Label)  # speakers are then a fact that reports measure
    speakers = splits.items.categories["speaker"].take(splits.items.rows(splits.manifest))
    for row, code in enumerate(speakers.codes.tolist()):
        assert speakers.names[code] == who[int(splits.manifest.name(row).split()[1])]
    splits, told = loaded(caplog, tmp_path, columns=SoundColumns(speaker="speaker"))
    condition = splits.condition
    assert isinstance(condition, Conditions) and list(condition.named) == ["label", "speaker"]
    assert "3 speakers: anna, ben, cleo" in told
    manifest = splits.manifest
    for number, part in enumerate(splits[:3]):
        rows = np.flatnonzero(manifest.splits == number)
        for place, row in enumerate(rows.tolist()):
            i = int(manifest.name(row).split()[1])
            words = condition.format(part.conditions[place])
            assert words == f"label={i % 2}, speaker={who[i]}" == manifest.label_name(row)
    with pytest.raises(InputError, match="no column 'voice'"):
        Sounds(str(tmp_path), columns=SoundColumns(speaker="voice")).load()


def test_captions_and_speakers_of_files_stand_in_a_table_beside_them(tmp_path):
    for i in range(16):
        soundfile.write(tmp_path / f"{i}.wav", tone(0.05, 200 + 20 * i), RATE)
    rows = [f"{i}.wav,tone number {i},{'anna' if i % 2 else 'ben'}" for i in range(16)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text,who", *rows]))
    splits = Sounds(str(tmp_path), columns=SoundColumns(text="text")).load()
    assert splits.manifest.captions and "tone number 3" in splits.manifest.label_names
    splits = Sounds(str(tmp_path), columns=SoundColumns(speaker="who")).load()
    assert splits.condition.name == "speaker" and splits.condition.names == ("anna", "ben")


# What is broken


def broken(name: str, whole: bytes) -> bytes:
    nan = tone(0.1)
    nan[50] = np.nan
    flac = io.BytesIO()
    soundfile.write(flac, tone(0.2), RATE, format="FLAC")
    return {
        "text.wav": b"not a sound\n" * 20,
        "empty.wav": b"",
        "half.wav": whole[: len(whole) // 2],
        "half.flac": flac.getvalue()[: len(flac.getvalue()) // 2],
        "silent.wav": wav_bytes(np.zeros(800, np.int16), RATE),
        "short.wav": wav_bytes(np.ones(4, np.int16), RATE),
        "nan.wav": wav_bytes(nan, RATE),
        "channels.wav": whole[:22] + b"\xff\xff" + whole[24:],
        "rate.wav": whole[:24] + bytes(4) + whole[28:],
    }[name]


FAULTS = {
    "text.wav": "not a sound",
    "empty.wav": "it is empty",
    "half.wav": "it is cut off",
    "half.flac": "it is cut off or damaged",
    "silent.wav": "it is silent",
    "short.wav": "it has 4 samples",
    "nan.wav": "values that are not finite",
    "channels.wav": "its header makes no sense",
    "rate.wav": "its header makes no sense",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_sound_is_named_and_left_out(tmp_path, caplog, name):
    fill(tmp_path, 30)
    whole = (tmp_path / "low" / "000.wav").read_bytes()
    (tmp_path / "low" / name).write_bytes(broken(name, whole))
    splits, told = loaded(caplog, tmp_path)
    assert len(splits.manifest) == 30
    (line,) = [line for line in told if "Left out a sound" in line]
    assert name in line and FAULTS[name] in line
    assert [fault for file, fault in splits.manifest.left_out if file.endswith(name)]


def test_many_broken_sounds_are_one_line(tmp_path):
    fill(tmp_path, 20)
    for i in range(5):
        (tmp_path / "low" / f"bad{i}.wav").write_bytes(b"bad")
    with pytest.raises(
        InputError, match=r"5 of 25 sounds cannot be used, more than .*bad0"
    ) as told:
        Sounds(str(tmp_path)).load()
    assert "\n" not in str(told.value)
    for file in tmp_path.rglob("*.wav"):
        file.write_text("none of them")
    with pytest.raises(InputError, match="None of the 25 train sounds") as told:
        Sounds(str(tmp_path)).load()
    assert "\n" not in str(told.value)


def test_pipes_folders_and_wrong_endings_do_no_harm(tmp_path):
    fill(tmp_path, 30)
    os.mkfifo(tmp_path / "low" / "pipe.wav")
    (tmp_path / "low" / "folder.wav").mkdir()
    whole = (tmp_path / "low" / "000.wav").read_bytes()
    other = io.BytesIO()
    soundfile.write(other, tone(0.1, 777), RATE, format="FLAC")
    (tmp_path / "low" / "flac.wav").write_bytes(other.getvalue())
    (tmp_path / "high" / "wav.mp3").write_bytes(whole[:-2] + b"\1\1")
    assert len(Sounds(str(tmp_path)).load().manifest) == 32


@pytest.mark.parametrize("claim", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_that_claims_more_is_not_trusted(claim):
    whole = wav_bytes((tone(0.1) * 32767).astype(np.int16), RATE)
    told = claim.to_bytes(4, "little")
    samples, _ = decode_sound(whole[:4] + told + whole[8:40] + told + whole[44:], RATE, 1)
    assert len(samples) == 800


def test_a_sound_that_would_grow_beyond_bounds_is_refused(monkeypatch):
    whole = wav_bytes((tone(1) * 32767).astype(np.int16), 100)
    monkeypatch.setattr("smalti.modalities.audio.decoding.MOST_VALUES", 100_000)
    with pytest.raises(SoundFault, match="more than 100000 values"):
        decode_sound(whole, RATE, 1)  # 80 s
    with pytest.raises(SoundFault, match="50 samples per second"):
        decode_sound(wav_bytes(np.ones(99, np.int16), 50), RATE, 1)


def test_what_is_wrong_with_arguments_is_one_line(tmp_path):
    for options in (
        {"rate": 10},
        {"channels": 3},
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"loudness": 3.0},
        {"splits": "some"},
        {"columns": SoundColumns(text="text", label="label")},
    ):
        with pytest.raises(InputError) as told:
            Sounds(str(tmp_path), **options)
        assert "\n" not in str(told.value)
    for path in (tmp_path, tmp_path / "none here"):
        with pytest.raises(InputError):
            Sounds(str(path)).load()


def test_what_was_decoded_is_kept_and_found_again(tmp_path, monkeypatch):
    fill(tmp_path / "data", 20)
    monkeypatch.setenv("SMALTI_NO_CACHE", "0")
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    first = Sounds(str(tmp_path / "data")).load()

    def never(*_):
        raise AssertionError("it was decoded again")

    monkeypatch.setattr("smalti.modalities.audio.recordings.decode_sound", never)
    again = Sounds(str(tmp_path / "data")).load()
    rows = range(len(first.train))
    assert torch.equal(again.train.__getitems__(rows).x, first.train.__getitems__(rows).x)
    assert again.manifest.checksum == first.manifest.checksum
