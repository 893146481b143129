"""A block of sounds: a picture of their spectrograms, and a player for each."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from smalti.modalities.audio.sound_files import encode_sound, joined
from smalti.reporting.blocks import Block, Picture, Player, SideBySide

__all__ = ["SoundSheet", "make_sheet", "pairs", "players"]

PLAYED = 16  # sounds of a block that have a player, for a page holds them all


@dataclass(frozen=True)
class SoundSheet(Block):
    """A picture of several sounds, players of the first 16 below, and a file
    with all of them.

    Arguments:
        picture: Their spectrograms.
        heard: A player for each.
        together: The content of a .wav file with one after another.
    """

    picture: Picture
    heard: SideBySide
    together: bytes

    def to_html(self) -> str:
        """See `Block.to_html`."""
        return f"{self.picture.to_html()}\n{self.heard.to_html()}"

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {**self.picture.files(), ".wav": self.together}


def make_sheet(
    png: bytes, caption: str, sounds: Sequence[tuple[str, Tensor]], rate: int
) -> SoundSheet:
    """Makes the block of a picture of sounds.

    Arguments:
        png: The content of the picture.
        caption: What the sounds are, in words.
        sounds: What each is called, and its samples (C, T).
        rate: Samples per second.
    """
    content = io.BytesIO()
    encode_sound(joined([x for _, x in sounds], rate), content, rate, "WAV")
    return SoundSheet(Picture(png, caption), players(sounds[:PLAYED], rate), content.getvalue())


def players(sounds: Iterable[tuple[str, Tensor]], rate: int) -> SideBySide:
    """Returns a player for each sound (C, T), with its name."""
    blocks: dict[str, Block] = {}
    for number, (name, x) in enumerate(sounds):
        content = io.BytesIO()
        encode_sound(x, content, rate, "FLAC" if len(x) <= 8 else "WAV")
        media = ("audio/flac", ".flac") if len(x) <= 8 else ("audio/wav", ".wav")
        blocks[str(number)] = Player(content.getvalue(), *media, name)
    return SideBySide(blocks)


def pairs(x: Tensor, x_hat: Tensor) -> list[tuple[str, Tensor]]:
    """Returns originals and reconstructions (B, C, T) in turn, with their names."""
    both: list[tuple[str, Tensor]] = []
    for number, (one, made) in enumerate(zip(x, x_hat, strict=True), start=1):
        both += [(f"original {number}", one), (f"reconstruction {number}", made)]
    return both
