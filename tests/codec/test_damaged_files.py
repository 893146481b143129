"""Foreign, truncated and altered files are refused in one line, whatever was done to them."""

from __future__ import annotations

import runpy
import struct
import zlib
from pathlib import Path

import pytest
import torch

from smalti.codec import Codec, Coded, LearnedModel, UniformModel
from smalti.codec.container import Reader, Writer, read, write
from smalti.codec.range_coder import Damaged
from smalti.conditions import Label, TimeOfDay
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors import TransformerPrior
from walks import large

FUZZ = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "bitstreams.py"))["fuzz"]


@pytest.fixture(scope="module")
def learned():
    torch.manual_seed(0)
    sizes = {"hidden": 8, "layers": 1, "heads": 2, "pattern": "delayed"}
    prior = large(TransformerPrior([7, 5], (4, 2), TimeOfDay(), **sizes)).requires_grad_(False)
    codec = Codec(LearnedModel(prior), rate=16_000)
    tokens = [torch.randint(5, (1, n, 2)) for n in (4, 9, 3)]
    files = [
        Coded((x,), f"{len(x)}-{n}.wav", torch.tensor([10.0]), (3 * n,))
        for n, x in enumerate(tokens, 1)
    ]
    files.append(Coded((torch.randint(5, (5, 4, 2)),), "x", torch.arange(5.0), names=list("abcde")))
    return codec, codec.encode_all(files)


def mended(content: bytes) -> bytes:
    return content[:-4] + struct.pack("<I", zlib.crc32(content[:-4]))


def test_what_is_changed_at_random_is_refused_in_one_line(learned):
    codec, content = learned
    found, slowest = FUZZ(content, codec, 2000, 0)
    assert sum(found.values()) == 2000 and slowest < 5
    uniform = Codec(UniformModel(Layout(((2,), (4,)), ((3,), (300, 2)))))
    tokens = (torch.randint(3, (1, 5)), torch.randint(2, (1, 10, 2)))
    FUZZ(uniform.encode_all([Coded(tokens, size=(40,))]), uniform, 1000, 0)


def test_every_truncation_and_every_bit_is_noticed(learned):
    codec, content = learned
    for end in range(len(content)):
        for damaged in (content[:end], mended(content[:end] + bytes(4))):
            if damaged == content:
                continue
            with pytest.raises(InputError, match="no whole file"):
                codec.decode_all(damaged)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            read(bytes(damaged))


def test_numbers_that_no_file_could_hold_take_no_memory(learned, monkeypatch):
    """Counts and sizes near 2⁶³ in a file of few bytes."""
    codec, content = learned
    found = read(content)
    huge = 2**63 - 1
    for entry in (
        found.entries[3]._replace(signals=huge),
        found.entries[1]._replace(shapes=((huge, 2),)),
        found.entries[1]._replace(shapes=((2**40, 2),), size=(huge,)),
        found.entries[1]._replace(shapes=((9, 2, 7, 7),)),
        found.entries[3]._replace(context=[[0.5]] * 3),
        found.entries[3]._replace(context=[[1.0] * 100]),
        found.entries[3]._replace(context=[[float("nan")]]),
        found.entries[3]._replace(context=[[1e300]]),
        found.entries[3]._replace(context=None),
        found.entries[3]._replace(names=["a"] * 4),
        found.entries[3]._replace(blocks=found.entries[3].blocks * 2),
        found.entries[0]._replace(name="../up.wav"),
        found.entries[0]._replace(name="/etc/passwd"),
        found.entries[0]._replace(name="a\nb"),
        found.entries[0]._replace(name=""),
    ):
        with pytest.raises(InputError, match="no whole file"):
            codec.decode_all(write(found._replace(entries=[entry])))
    lists = Writer()
    lists.numbers([huge, huge])
    block = found.entries[3].blocks[0]
    for content in (bytes(lists.content), b"\xff" * 30, b"\x05" + b"\0" * 5, b""):
        entry = found.entries[3]._replace(blocks=[block._replace(content=content)])
        with pytest.raises(InputError, match="no whole file"):
            codec.decode_all(write(found._replace(entries=[entry])))


def test_what_unpacks_to_far_more_is_refused():
    packed = zlib.compress(bytes(1 << 26), 9)
    source = Writer()
    source.content.append(1)
    source.text(packed)
    from smalti.codec.container import _unpacked

    with pytest.raises(Damaged, match="cannot be unpacked"):
        _unpacked(Reader(bytes(source.content)))


def test_files_of_other_models_are_told_apart(learned):
    codec, content = learned
    prior = codec.model.prior
    others = {
        "another tokenizer": Codec(codec.model, tokenizer=b"another!", rate=16_000),
        "coded with --prior learned": Codec(UniformModel(prior.layout), rate=16_000),
    }
    torch.manual_seed(1)
    sizes = {"hidden": 8, "layers": 1, "heads": 2, "pattern": "delayed"}
    other = large(TransformerPrior([7, 5], (4, 2), TimeOfDay(), **sizes))
    others["another learned prior"] = Codec(LearnedModel(other), rate=16_000)
    label = large(TransformerPrior([7, 5], (4, 2), Label(["a", "b"]), **sizes))
    others["learned prior of"] = Codec(LearnedModel(label), rate=16_000)
    for told, reader in others.items():
        with pytest.raises(InputError, match=told):
            reader.decode_all(content)
    codec.decode_all(content)


def test_a_block_of_another_file_is_not_taken_for_its_own(learned):
    codec, content = learned
    found = read(content)
    one, other = found.entries[0], found.entries[2]
    swapped = one._replace(blocks=[other.blocks[0]._replace(check=one.blocks[0].check)])
    with pytest.raises(InputError, match="its tokens are not those that were written"):
        codec.decode_all(write(found._replace(entries=[swapped])))
