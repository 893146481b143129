"""What drawings of all kinds of data share: colours for white and black paper, and PNG files."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from smalti.outputs import MARK

__all__ = ["BLUE", "GREY", "ORANGE", "to_png"]

BLUE, ORANGE, GREY = "#3f8fd0", "#e0812f", "#828282"


def to_png(drawing: Figure) -> bytes:
    """Draws a figure as a PNG file, and returns its bytes; the metadata name smalti."""
    content = io.BytesIO()
    drawing.savefig(
        content,
        format="png",
        dpi=144,
        transparent=True,
        bbox_inches="tight",
        metadata={"Software": MARK},
    )
    return content.getvalue()
