"""`smalti edit`: from files and masks to pictures, and one clear line for each mistake."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import smalti
from mistakes import mistake
from smalti.cli import main
from smalti.modalities.image.image_files import read_image_mask, read_partial_image
from tiny import clocks_recipe, write_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of tiny clocks, of 16 px and 4×4 tokens."""
    folder = tmp_path_factory.mktemp("edit")
    recipe = write_recipe(folder / "tiny.yaml", clocks_recipe())
    assert main(["fit", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    """Two pictures, and a mask in the middle of a token."""
    (tmp_path / "in").mkdir()
    drawn = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    pictures = [save(tmp_path / "in" / f"{name}.png", x) for name, x in zip("ab", drawn, strict=1)]
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[5:7, 5:7] = 255
    return *pictures, save(tmp_path / "mask.png", mask)


def pixels(path):
    with Image.open(path) as image:
        return np.array(image).astype(int)


def said(caplog) -> str:
    """The one line that the last edit says."""
    (line,) = [record.getMessage() for record in caplog.records if "editing" in record.name]
    return line


def test_the_outside_is_pasted_back_byte_for_byte(run, files, tmp_path, caplog):
    a, _, mask = files
    words = ["edit", str(run), a, "--mask", mask, "--time", "3:00", "--seed", "1", "--n", "2"]
    assert main([*words, "--out", f"{tmp_path}/plain/"]) == 0
    assert said(caplog).startswith("A PixelCNN cannot look ahead: 1 of 16 tokens")
    made = sorted((tmp_path / "plain").iterdir())
    assert [file.name for file in made] == ["00000.png", "00001.png"]
    outside = pixels(mask) < 128
    for blend in ("0", "2"):
        out = f"{tmp_path}/pasted{blend}/"
        assert main([*words, "--paste_back", "--blend", blend, "--out", out]) == 0
        far = outside.copy()
        far[5 - int(blend) : 7 + int(blend), 5 - int(blend) : 7 + int(blend)] = False
        for name in ("00000.png", "00001.png"):
            pasted = pixels(f"{out}{name}")
            assert (pasted[far] == pixels(a)[far]).all()
            assert (pasted[~outside] == pixels(f"{tmp_path}/plain/{name}")[~outside]).all()
    assert main([*words, "--paste_back", "--out", f"{tmp_path}/usual.png"]) == 0
    again = f"{tmp_path}/again/"
    assert main([*words, "--out", again]) == 0
    for file in made:  # seeds repeat
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_folder_is_edited_file_by_file(run, files, tmp_path, caplog):
    *_, mask = files
    words = ["--mask", mask, "--seed", "0", "--n", "2"]
    assert main(["edit", str(run), f"{tmp_path}/in", *words, "--out", f"{tmp_path}/all/"]) == 0
    assert "cannot look ahead" in said(caplog)  # of both files once
    made = sorted((tmp_path / "all").iterdir())
    names = ["00000-a.png", "00001-a.png", "00002-b.png", "00003-b.png"]
    assert [file.name for file in made] == names
    assert main(["edit", str(run), files[1], *words, "--out", f"{tmp_path}/one/"]) == 0
    for file, expected in zip(made[2:], sorted((tmp_path / "one").iterdir()), strict=True):
        assert file.read_bytes() == expected.read_bytes()
    assert (
        main(["edit", str(run), f"{tmp_path}/in/*.png", *words, "--out", f"{tmp_path}/s.png"]) == 0
    )
    with Image.open(tmp_path / "s.png") as rows:
        assert rows.size[0] == rows.size[1]


def test_variations_and_swaps(run, files, tmp_path):
    a, b, mask = files
    words = ["edit", str(run), a, "--out"]
    for name, options in {
        "one": ["--strength", "0.3", "--seed", "1"],
        "same": ["--strength", "0.3", "--seed", "1"],
        "other": ["--strength", "0.3", "--seed", "2"],
        "within": ["--strength", "0.3", "--mask", mask, "--seed", "1", "--top_k", "3"],
        "swapped": ["--swap", b, "--mask", mask],
        "uniform": ["--strength", "0.3", "--prior", "uniform"],
    }.items():
        assert main([*words, str(tmp_path / f"{name}.png"), *options]) == 0
    read = {path.stem: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert read["one"] == read["same"] != read["other"]
    model = smalti.load(run)
    x, y = (model.reconstruct(file) for file in (a, b))
    assert model.edit(x[0], swap=y[0], mask=np.ones((16, 16), dtype=bool)).shape == (1, 3, 16, 16)


def test_a_mask_may_be_of_any_mode_and_with_convert_of_any_size(run, files, tmp_path):
    a, _, mask = files
    marked = pixels(mask) > 0
    grey = np.where(marked, 128, 127).astype(np.uint8)
    rgba = np.zeros((16, 16, 4), dtype=np.uint8)
    rgba[..., :3], rgba[..., 3] = 255, 255 * marked
    deep = np.where(marked, 1 << 15, (1 << 15) - 1).astype(np.uint16)
    other = {
        "grey": save(tmp_path / "grey.png", grey),
        "clear": save(tmp_path / "clear.png", rgba),
        "deep": save(tmp_path / "deep.png", deep),
        "bits": save(tmp_path / "bits.png", marked),
        "large": save(tmp_path / "large.png", np.kron(marked, np.ones((3, 3), bool))),
    }
    words = ["edit", str(run), a, "--seed", "0", "--time", "3:00", "--convert", "--paste_back"]
    assert main([*words, "--mask", mask, "--out", f"{tmp_path}/wanted.png"]) == 0
    for name, file in other.items():
        out = tmp_path / f"with-{name}.png"
        assert main([*words, "--mask", file, "--out", str(out)]) == 0
        assert out.read_bytes() == (tmp_path / "wanted.png").read_bytes()


def test_all_masked_is_a_plain_sample_and_a_warning(run, files, tmp_path, caplog):
    white = save(tmp_path / "white.png", np.full((16, 16), 255, dtype=np.uint8))
    words = [str(run), "--time", "3:00", "--seed", "0", "--n", "2"]
    edited = ["edit", *words, files[0], "--mask", white, "--out", f"{tmp_path}/edited.png"]
    assert main(edited) == 0
    assert "this is a plain sample" in said(caplog)
    assert main(["sample", *words, "--out", f"{tmp_path}/drawn.png"]) == 0
    assert (tmp_path / "edited.png").read_bytes() == (tmp_path / "drawn.png").read_bytes()


@pytest.mark.parametrize(
    "words, line",
    [
        ([], "give --mask FILE, --strength S"),
        (["--mask", "black.png"], "black.png has no white pixel"),
        (["--mask", "wide.png"], "wide.png has 24×16 pixels, and the model's images 16×16"),
        (["--mask", "nowhere.png"], "no image file nowhere.png"),
        (["--mask", "broken.png"], "broken.png cannot be read as an image"),
        (["--mask", "."], "takes one file, got the folder"),
        (["--mask", "MASK", "--strength", "0"], "strength must be above 0 and at most 1, got 0"),
        (["--strength", "1.2"], "strength must be above 0 and at most 1, got 1.2"),
        (["--strength", "much"], "--strength takes a value of the type float, got much"),
        (["--strength", "nan"], "--strength takes a value of the type float, got nan"),
        (["--strength", "0.5", "--paste_back"], "--paste_back is of a mask"),
        (["--strength", "0.5", "--blend", "2"], "--blend is of a mask"),
        (["--mask", "MASK", "--blend", "2"], "--paste_back, too"),
        (["--mask", "MASK", "--paste_back", "--blend", "-1"], "blend must be from 0 to 16"),
        (["--mask", "MASK", "--paste_back", "--blend", "99"], "blend must be from 0 to 16"),
        (["--swap", "a.png"], "--swap is of a mask"),
        (["--swap", "wide.png", "--mask", "MASK"], "24×16"),
        (["--swap", "in/b.png", "--mask", "MASK", "--seed", "1"], "draws none, got seed"),
        (["--swap", "in/b.png", "--mask", "MASK", "--time", "3:00"], "draws none, got condition"),
        (["--swap", "in/b.png", "--mask", "MASK", "--n", "2"], "draws none, got n"),
        (["--mask", "MASK", "--label", "3"], "no option --label: this model is conditioned on a"),
        (["--mask", "MASK", "--time", "25:00"], "no time '25:00'"),
        (["--mask", "MASK", "--guidance", "2"], "fit one with --prior.condition_dropout 0.1"),
        (["--mask", "MASK", "--prior", "uniform", "--guidance", "2"], "samples without guidance"),
        (["--mask", "MASK", "--n", "0"], "at least 1"),
        (["--mask", "MASK", "--out", "MASK"], "is an input and would be overwritten"),
        (["--mask", "MASK", "--steps", "3"], "samples without steps, got steps=3"),
        (["--mask", "MASK", "--keep", "top"], "no option --keep"),
        (["--mask", "MASK", "--candidates", "2"], "has no reranker"),
        (["--swap", "in/b.png", "--mask", "MASK", "--candidates", "2"], "draws none, got candid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(run, files, tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "black.png", np.full((16, 16), 127, dtype=np.uint8))
    save(tmp_path / "wide.png", np.full((16, 24, 3), 255, dtype=np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    given = [files[2] if word == "MASK" else word for word in words]
    assert line in mistake(capsys, "edit", str(run), files[0], *given, "--overwrite")


def test_without_a_file_the_parser_says_what_is_missing(run, capsys):
    assert "files" in mistake(capsys, "edit", str(run))
    assert "folder" in mistake(capsys, "edit")


def test_one_white_or_clear_pixel_of_a_large_file_counts(run, tmp_path):
    dot = np.zeros((512, 512), dtype=np.uint8)
    dot[70, 200] = 255
    signal = smalti.load(run).signal
    marked = read_image_mask(save(tmp_path / "dot.png", dot), signal, convert=True)
    assert marked.nonzero().tolist() == [[70 // 32, 200 // 32]]
    picture = np.dstack([dot, dot, dot, 255 - dot])
    _, given = read_partial_image(save(tmp_path / "clear.png", picture), signal, convert=True)
    assert torch.equal(~given, marked)


def test_more_than_there_is_room_for_is_refused_at_once(run, files, capsys):
    words = ["edit", str(run), *files[:2], "--strength", "0.5", "--n", str(10**15)]
    assert "make fewer at a time" in mistake(capsys, *words)
