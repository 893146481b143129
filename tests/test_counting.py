"""Messages count in grammar: one image, two images."""

import re
from pathlib import Path

import pytest
import torch

import smalti
from smalti.commands.signal_output import SignalOutput
from smalti.counting import counted
from smalti.modalities.image import Image

ALONE = re.compile(r"\{(?:len\([^{}]*\)|n)\} (?:images|labels|examples|names|tensors)\b")


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1000, "1000 images")]
)
def test_a_count_agrees_with_its_noun(n, words):
    assert counted(n, "image") == words


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_command_wrote_is_counted(count, tmp_path, capsys):
    noun = "1 image" if count == 1 else "2 images"
    for out, line in (("a.png", f"{noun} in one picture\n"), ("a", f"/: {noun}\n")):
        SignalOutput(Image(1), str(tmp_path / out), count, default_name="a").write(
            torch.zeros(count, 1, 4, 4)
        )
        assert capsys.readouterr().out.endswith(line)


def test_no_message_counts_images_or_labels_by_itself():
    found = []
    for file in Path(smalti.__file__).parent.rglob("*.py"):
        for text in ALONE.findall(file.read_text()):
            found.append(f"{file.name}: {text}")
    assert not found
