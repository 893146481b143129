"""A block that shows a tree, whose nodes open by a click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from smalti.reporting.blocks import Block
from smalti.reporting.figures import NARROW_SPACE, number

__all__ = ["Branch", "Tree"]


@dataclass(frozen=True)
class Branch:
    """A node of a `Tree`, with its children.

    Arguments:
        name: The name of the node.
        count: The number of examples below it.
        examples: Some of these examples, in words.
        note: A remark of a few words.
        children: The nodes below it that are shown.
        hidden: The number of nodes below it that are not shown.
    """

    name: str
    count: int
    examples: Sequence[str] = ()
    note: str = ""
    children: Sequence[Branch] = ()
    hidden: int = 0


@dataclass(frozen=True)
class Tree(Block):
    """Shows a tree whose nodes open by a click, without a script.

    Arguments:
        branches: The nodes of the first level.
        caption: What it shows, in words.
        whole: The number of all examples.

    Example:
        >>> leaf = Branch("a_1 b_2", 3, ["a hat"])
        >>> branch = Branch("a_1", 4, ["a hat", "a cap"], children=[leaf])
        >>> html = Tree([branch], "Hats.", whole=8).to_html()
        >>> html.count("<details"), "50.0" in html, "a cap" in html
        (1, True, True)
    """

    branches: Sequence[Branch]
    caption: str
    whole: int

    def to_html(self) -> str:
        """See `Block.to_html`."""
        most = max((branch.count for branch in self.branches), default=1)
        tiles = "\n".join(self._branch(branch, most, "tile") for branch in self.branches)
        return f'<p>{escape(self.caption)}</p>\n<div class="tree">\n{tiles}\n</div>'

    def files(self) -> dict[str, bytes]:
        """See `Block.files`."""
        return {}

    def _branch(self, branch: Branch, most: int, kind: str) -> str:
        """Returns a node as an element that opens where there is something below it."""
        said = [number(branch.count)]
        if kind == "tile":
            said.append(f"{100 * branch.count / max(1, self.whole):.1f}{NARROW_SPACE}%")
        if branch.note:
            said.append(branch.note)
        head = (
            f"<b>{escape(branch.name)}</b> <small>{escape(' · '.join(said))}</small>"
            f'<i style="width:{100 * branch.count / max(1, most):.1f}%"></i>'
        )
        if branch.examples:
            listed = "".join(f"<li>{escape(example)}</li>" for example in branch.examples)
            head += f"<ul>{listed}</ul>"
        if not branch.children:
            return f'<div class="{kind}">{head}</div>'
        widest = max(child.count for child in branch.children)
        below = "\n".join(self._branch(child, widest, "branch") for child in branch.children)
        more = f"<p>and {number(branch.hidden)} smaller ones</p>" if branch.hidden else ""
        return (
            f'<details class="{kind}"><summary>{head}</summary>\n<div class="tree">{below}</div>'
            f"{more}</details>"
        )
