"""The examples of docs/extending.md run as they stand there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from smalti.modalities import base
from smalti.registry import registry

DOCS = Path(__file__).parents[1] / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class TideRoom:
    """The module that the page describes, of the classes that its examples define."""

    def __init__(self, defined: dict) -> None:
        self.defined = defined

    @property
    def SIGNAL(self) -> type:  # noqa: N802 - as of a module
        return self.defined.get("Tide", type(None))

    def modality(self):
        return self.defined["TideModality"]()

    def sources(self):
        return ()


def test_the_page_runs_as_it_stands(monkeypatch):
    before = dict(registry)
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, "extending.md", "docs/extending.md", 0)
    room, own = TideRoom(page.globs), base.import_modalities
    monkeypatch.setattr(base, "import_modalities", lambda: [*own(), room])
    said: list[str] = []
    try:
        result = doctest.DocTestRunner(optionflags=FLAGS).run(page, out=said.append)
    finally:
        for name in set(registry) - set(before):
            del registry[name]
    assert not result.failed, "".join(said)
    assert result.attempted > 50


def test_the_suites_that_the_page_names_are_there():
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    for name in re.findall(r"`(tests/\S+\.py)`", text):
        assert (DOCS.parent / name).is_file(), name
