"""Blocks of a report: pictures, plots, tables, … Each makes its own HTML and files.

A page needs no other file, so a block embeds what it shows. What can be used outside the page (a
picture, a sound) is a file, too: `files` gives its content by the end of its name, so that the
block "samples" of two pictures becomes `samples-uniform.png` and `samples-prior.png`.
"""

from __future__ import annotations

import base64
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from smalti.reporting.figures import Figure, display

__all__ = [
    "Block",
    "FigureTable",
    "Listing",
    "Picture",
    "Player",
    "Plot",
    "SideBySide",
    "Table",
    "Text",
]


class Block(ABC):
    """Abstract: one element that a section of a report shows, such as a table or a plot."""

    @abstractmethod
    def to_html(self) -> str:
        """Returns an element that needs no other file and no script."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Returns the contents of its files by the end of their names, e.g. ".png"."""


@dataclass(frozen=True)
class Picture(Block):
    """A picture at its own size, or as wide as the page.

    Arguments:
        png: The content of a PNG file whose metadata names smalti, such as `to_png` gives.
        caption: What it shows, in words.
    """

    png: bytes
    caption: str

    def to_html(self) -> str:
        """See `Block.to_html`."""
        return f"<figure>\n{_img(self.png, self.caption)}\n{_caption(self.caption)}</figure>"

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {".png": self.png}


@dataclass(frozen=True)
class Plot(Block):
    """A plot, shown at most as wide as is easy to read.

    Arguments:
        png: The content of a PNG file whose metadata names smalti, such as `to_png` gives.
        caption: What it shows, in words.
        captioned: Whether the caption is shown below, too; it is the alternative text in any case.
    """

    png: bytes
    caption: str
    captioned: bool = True

    def to_html(self) -> str:
        """See `Block.to_html`."""
        below = _caption(self.caption) if self.captioned else ""
        return f'<figure class="plot">\n{_img(self.png, self.caption)}\n{below}</figure>'

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {".png": self.png}


@dataclass(frozen=True)
class Player(Block):
    """An audio player.

    Arguments:
        content: Content of its file.
        media_type: Media type of the content, e.g. "audio/wav".
        suffix: Suffix of its file, e.g. ".wav".
        caption: What is heard, in words.
    """

    content: bytes
    media_type: str
    suffix: str
    caption: str

    def to_html(self) -> str:
        """See `Block.to_html`."""
        address = _embedded(self.media_type, self.content)
        return (
            f'<figure>\n<audio controls src="{address}"></audio>\n{_caption(self.caption)}</figure>'
        )

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {self.suffix: self.content}


@dataclass(frozen=True)
class Text(Block):
    """A paragraph of text, escaped for HTML."""

    text: str

    def to_html(self) -> str:
        """Returns the paragraph.

        Example:
            >>> Text("MSE < 1").to_html()
            '<p>MSE &lt; 1</p>'
        """
        return f"<p>{escape(self.text)}</p>"

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {}


@dataclass(frozen=True)
class Table(Block):
    """A table of figures that are compared with each other, one row per measured object.

    Arguments:
        columns: Titles of the columns; the first is that of the names of the rows.
        rows: Cells by the name of the row: figures, words, or `None` for an empty cell.
        best: The name of the row that is highlighted.
        notes: Sentences below the table, on how it was measured.
        units: Whether figures are shown with their units, where the columns do not name them.
    """

    columns: Sequence[str]
    rows: Mapping[str, Sequence[Figure | str | None]]
    best: str | None = None
    notes: Sequence[str] = ()
    units: bool = True

    def to_html(self) -> str:
        """See `Block.to_html`."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns)
        rows = "\n".join(self._row(name, cells) for name, cells in self.rows.items())
        notes = "".join(f"<p>{escape(sentence(note))}</p>" for note in self.notes)
        below = f'\n<div class="protocol"><b>How measured</b>{notes}</div>' if notes else ""
        return (
            f'<div class="scroll"><table class="matrix">\n<thead><tr>{head}</tr></thead>\n'
            f"{rows}\n</table></div>{below}"
        )

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {}

    def _row(self, name: str, cells: Sequence[Figure | str | None]) -> str:
        best = ' class="best"' if name == self.best else ""
        return (
            f'<tr{best}><th scope="row">{escape(name)}</th>'
            + "".join(f"<td>{escape(self._cell(cell))}</td>" for cell in cells)
            + "</tr>"
        )

    def _cell(self, cell: Figure | str | None) -> str:
        if cell is None:
            return "–"
        return cell if isinstance(cell, str) else display(cell, self.units)


@dataclass(frozen=True)
class FigureTable(Block):
    """A table of single figures, one per row, each with its protocol.

    Arguments:
        figures: The figures by their names.
    """

    figures: Mapping[str, Figure]

    def to_html(self) -> str:
        """See `Block.to_html`."""
        rows = "\n".join(
            f'<tr><th scope="row">{escape(name)}</th><td class="value">{escape(display(figure))}'
            f'</td><td class="protocol">{escape(sentence(figure["protocol"]))}</td></tr>'
            for name, figure in self.figures.items()
        )
        return f'<table class="rows">\n{rows}\n</table>'

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {}


@dataclass(frozen=True)
class SideBySide(Block):
    """Blocks beside each other, wrapped where the page is too narrow.

    Arguments:
        blocks: By key. The key is also the end of the name of the block's file: "prior" in
            samples-prior.png.
        titles: Titles over single blocks, by the same keys.
        heading: Heading over all of them.
        narrow: Whether a few blocks stay narrow and do not fill the page.
    """

    blocks: Mapping[str, Block]
    titles: Mapping[str, str] = field(default_factory=dict)
    heading: str = ""
    narrow: bool = False

    def to_html(self) -> str:
        """See `Block.to_html`."""
        shown = (
            f"<div><h4>{escape(self.titles[name])}</h4>{block.to_html()}</div>"
            if name in self.titles
            else block.to_html()
            for name, block in self.blocks.items()
        )
        inner = "\n".join(shown)
        above = f"<h4>{escape(self.heading)}</h4>\n" if self.heading else ""
        return f'{above}<div class="side{" narrow" if self.narrow else ""}">\n{inner}\n</div>'

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return _files(self.blocks)


@dataclass(frozen=True)
class Listing(Block):
    """Blocks below each other, each behind its name.

    Arguments:
        blocks: The blocks in order, by keys. The key ends the name of the block's file: "3" in
            labels-3.png.
        names: What is shown before each block, by the same keys.
    """

    blocks: Mapping[str, Block]
    names: Mapping[str, str]

    def to_html(self) -> str:
        """See `Block.to_html`."""
        rows = "\n".join(
            f"<span>{escape(self.names[name])}</span>{block.to_html()}"
            for name, block in self.blocks.items()
        )
        return f'<div class="listing">\n{rows}\n</div>'

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return _files(self.blocks)


def sentence(text: str) -> str:
    """Returns a text as a sentence: with a capital letter first, and a full stop last.

    Example:
        >>> sentence("test set, N = 8")
        'Test set, N = 8.'
    """
    return f"{text[:1].upper()}{text[1:]}."


def _files(blocks: Mapping[str, Block]) -> dict[str, bytes]:
    return {
        f"-{name}{end}": content
        for name, block in blocks.items()
        for end, content in block.files().items()
    }


def _img(png: bytes, caption: str) -> str:
    """Returns an element with the size of the picture, which stands in the header of a PNG file."""
    width, height = struct.unpack(">II", png[16:24])
    return (
        f'<img src="{_embedded("image/png", png)}" width="{width}" height="{height}" '
        f'alt="{escape(caption)}">'
    )


def _caption(caption: str) -> str:
    return f"<figcaption>{escape(caption)}</figcaption>\n"


def _embedded(media_type: str, content: bytes) -> str:
    """Returns the content of a file as the address of an element."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
