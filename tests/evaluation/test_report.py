"""The page and the JSON: whole, self-contained, and honest about what is missing."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from smalti.evaluation import Report
from smalti.modalities.image.pictures import grid, to_png
from smalti.reporting import (
    FigureTable,
    Listing,
    Picture,
    Player,
    Plot,
    Section,
    SideBySide,
    Table,
    Text,
    figure,
)

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page and checks that every element that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.texts = [], [], [], []
        self.captions = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]
        self.captions += [value for name, value in attrs if name == "alt"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def report():
    values = {"mse": 0.01, "mse_over_variance": 0.04, "psnr": float("inf")}
    figures = {name: figure(v, "", "test set, N = 8") for name, v in values.items()}
    png = to_png(grid(torch.zeros(1, 1, 8, 8)))
    made = Report("A <b>title</b>")
    section = Section("Reconstructions", "reconstruction", "Reconstructions", figures)
    section.lead, section.facts["Data"] = "A summary.", "8 images"
    section.blocks = {
        "reconstructions": Picture(png, 'Say "pairs"'),
        "text": Text("a < b"),
        "table": Table(("Set", "MSE"), {"Test": [figures["mse"], None]}, notes=["test set"]),
        "figures": FigureTable({"PSNR": figures["psnr"]}),
        "side": SideBySide({"0": Plot(png, "over steps", captioned=False)}, {"0": "First"}),
        "list": Listing({"cat": Picture(png, "cats")}, {"cat": "cat"}),
        "heard": Player(b"RIFF", "audio/wav", ".wav", "a beat"),
    }
    made.add(section)
    made.add(Section("Use", "codebook", "Tokens", {"usage": figure(1, "share", "K = 8")}))
    made.leave_out("Samples", "no prior was learned.")
    made.leave_out("FID and KID", "no weights.")
    made.not_applicable["Levels"] = "there is one."
    return made


def test_the_page_is_well_formed_and_needs_nothing_else(report):
    page = Page(report.to_html())
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.addresses
    kinds = ("data:image/png;base64,", "data:audio/wav;base64,")
    assert all(address.startswith(kinds) for address in page.addresses)
    assert not re.search(r"url\(|@import|https?://", report.to_html())


def test_text_is_escaped(report):
    html = report.to_html()
    assert "<b>title</b>" not in html
    assert "A &lt;b&gt;title" in html
    assert 'alt="Say &quot;pairs&quot;"' in html


def test_what_is_missing_is_said_with_its_reason(report):
    text = " ".join(" ".join(Page(report.to_html()).texts).split())
    assert "Samples not computed: no prior was learned." in text
    assert "FID and KID not computed: no weights." in text


def test_json_is_strict_and_complete(report):
    content = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert content["figures"]["reconstruction"]["psnr"]["value"] is None
    assert content["figures"]["reconstruction"]["psnr"]["note"] == "infinite"
    assert content["figures"]["codebook"]["usage"]["value"] == 1
    assert content["missing"] == report.missing
    assert content["not_applicable"] == {"Levels": "there is one."}
    assert content["title"] == report.title


def test_saving_writes_both_and_each_picture(report, tmp_path):
    report.save(tmp_path)
    report.save_pictures(tmp_path / "samples")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.json", "samples"}
    written = {path.name: path.read_bytes() for path in (tmp_path / "samples").iterdir()}
    assert set(written) == {"reconstructions.png", "side-0.png", "list-cat.png", "heard.wav"}
    assert written == report.files()
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == report.to_html()
