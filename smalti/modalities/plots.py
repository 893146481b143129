"""Shared by the plots of all modalities: colours for light and dark pages, and PNG files."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from smalti.outputs import MARK

__all__ = ["BLUE", "GREY", "ORANGE", "to_png"]

BLUE, ORANGE, GREY = "#3f8fd0", "#e0812f", "#828282"


def to_png(drawing: Figure, cropped: bool = True) -> bytes:
    """Renders a matplotlib figure to the content of a PNG file.

    Its metadata names smalti as the writer, so that it may be replaced later (`smalti.outputs`).

    Arguments:
        drawing: The figure.
        cropped: Whether empty margins are cut off; without that, figures of one size give pictures
            of one size.
    """
    content = io.BytesIO()
    drawing.savefig(
        content,
        format="png",
        dpi=144,
        transparent=True,
        bbox_inches="tight" if cropped else None,
        metadata={"Software": MARK},
    )
    return content.getvalue()
