"""A recipe is a text of anybody's: read within bounds, told in one line, and no code is run."""

from __future__ import annotations

import os
import time

import pytest
import yaml

from mistakes import mistake
from smalti.cli import main
from smalti.errors import InputError
from smalti.recipes import allowed_classes, safe_yaml, schema
from tiny import clocks_recipe, write_recipe

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9)
)
MERGED_LAUGHS = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i + 1}: &a{i + 1} {{<<: [{', '.join([f'*a{i}'] * 10)}], k{i}: 1}}\n" for i in range(9)
)
TALL = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(5_000))

REFUSED = {
    "aliases that multiply": (LAUGHS, "aliases repeat"),
    "merges that multiply": (MERGED_LAUGHS, "aliases repeat"),
    "aliases that nest": (TALL, "nests more than"),
    "itself in a list": ("a: &a [*a]", "refers to itself"),
    "itself in a mapping": ("a: &a {b: *a}", "refers to itself"),
    "itself by merging": ("a: &a {<<: *a}", "refers to itself"),
    "deep lists": ("[" * 100_000, "nests more than"),
    "deep mappings": ("{a: " * 100_000, "nests more than"),
    "deep blocks": ("".join(" " * i + "a:\n" for i in range(500)), "nests more than"),
    "deep dashes": ("- " * 50_000, "nests more than"),
    "digits": ("seed: " + "9" * 5_000, "5000 digits"),
    "digits of a fraction": ("seed: 0." + "9" * 5_000, "digits"),
    "a key twice": ("seed: 1\nseed: 2", "seed is there twice"),
    "NUL": ("seed: 1\0", "NUL"),
    "NUL by its number": (r'data: "\0"', "NUL"),
    "a tab": ("data:\n\t- b", "line 2"),
    "a control character": ("data: \x07", "control characters"),
    "half a pair of UTF-16": (r'data: "\ud800"', "escape"),
    "Python's objects": ("seed: !!python/object/apply:os.system [ls]", "names the type python"),
    "another tag": ("seed: !frob 3", "names the type !frob"),
    "a set": ("seed: !!set {3}", "names the type set"),
    "octal": ("seed: 010", "octal"),
    "sexagesimal": ("seed: 1:30", "sexagesimal"),
    "no number": ("seed: !!int x", "x is no decimal"),
    "two documents": ("seed: 1\n---\nseed: 2", "another document"),
    "no such alias": ("*a", "undefined alias"),
    "a list as key": ("{[a]: 1}", "not a word"),
    "many values": ("[" + "1," * 100_000 + "]", "values"),
    "long": ("a: " + "x" * 2_000_000, "characters"),
    "open quotes": ("a: '" + "'" * 100_002, "end of stream"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_so_at_once_in_one_line(tmp_path, kind):
    written, said = REFUSED[kind]
    (tmp_path / "r.yaml").write_text(written)
    start = time.process_time()
    with pytest.raises(InputError) as told:
        safe_yaml.read(tmp_path / "r.yaml")
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert time.process_time() - start < 10  # what unpacks to 10⁹ items takes minutes


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a: [1e-3, 1E5, .5, -1.5e-3, 1_000, 0x10]", [0.001, 1e5, 0.5, -0.0015, 1000, 16]),
        ("a: [yes, 2020-01-01, '010', '1:30', 12:30:00.5, ~]", [True, "2020-01-01", "010", "1:30"]),
        ("b: &b {x: 1}\na: {<<: *b, y: 2}", {"x": 1, "y": 2}),
        ("b: &b [1, 2]\na: [*b, *b]", [[1, 2], [1, 2]]),
    ],
)
def test_what_is_well_formed_is_right(written, value):
    got = safe_yaml.load(written)["a"]
    assert (got[: len(value)] if isinstance(value, list) else got) == value


def test_files_of_other_kinds(tmp_path, capsys):
    recipe = yaml.safe_dump(clocks_recipe())
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):  # as editors of all systems write it
        (tmp_path / "r.yaml").write_text(recipe, encoding=encoding)
        assert schema.read(str(tmp_path / "r.yaml")).seed == 0
    (tmp_path / "latin.yaml").write_bytes("data: é".encode("latin-1"))
    assert "not a YAML text" in mistake(capsys, "fit", str(tmp_path / "latin.yaml"))
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert "is empty" in mistake(capsys, "fit", str(tmp_path / "empty.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("folder.yaml", "pipe.yaml"):
        assert "no YAML file" in mistake(capsys, "fit", str(tmp_path / name))
        options = ["--config", str(tmp_path / name)]
        assert "is not a file" in mistake(capsys, "fit", "clocks", *options)


def test_the_same_bounds_hold_for_options_and_for_runs(tmp_path, capsys):
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    for value, said in (
        ("{a: &a [*a]}", "refers to itself"),
        ("[" * 100_000, "nests more than"),
        ("{" + LAUGHS.replace("\n", ", ") + "}", "aliases repeat"),
        ("{a: !!python/name:os.system }", "names the type"),
        ("{steps: 1, steps: 2}", "twice"),
    ):
        assert said in mistake(capsys, "fit", recipe, "--tokenizer.training", value)
    assert "5000 digits" in mistake(capsys, "fit", recipe, "--seed", "9" * 5_000)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(LAUGHS)
    for words in (["sample"], ["evaluate"], ["fit", recipe, "--out"]):
        assert "config.yaml" in mistake(capsys, *words, str(tmp_path / "run"))


@pytest.mark.parametrize(
    "place",
    [
        "tokenizer.training.optimizer",
        "tokenizer.quantizer",
        "tokenizer.training.schedule",
        "prior.model",
        "data",
        "tokenizer.reconstruction",
    ],
)
def test_a_recipe_imports_nothing_of_a_stranger(tmp_path, monkeypatch, place):
    (tmp_path / "strange.py").write_text("raise SystemError('was run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    spelled = ["strange.Frob", "os.system", "smalti.cli.os.system", "subprocess.Popen"]
    for name in spelled:
        for value in (name, f"{{class_path: {name}, init_args: {{a: 1}}}}"):
            with pytest.raises(InputError, match=r"--allow|not the fields|no class"):
                schema.read(recipe, [f"--{place}", value])
    with pytest.raises(InputError, match="--allow strange"):
        schema.read(recipe, ["--hardware.loggers", "[strange.Frob]"])


MODULE = """
from torch.optim import SGD
from smalti.training.schedules import Constant

class Mine(SGD):
    pass

class Slow(Constant):
    pass
"""


def test_a_module_of_ones_own_is_allowed_by_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_classes.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(allowed_classes, "_by_the_user", [])
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    options = ["--tokenizer.training.optimizer=own_classes.Mine", "--prior=null"]
    options += ["--tokenizer.training.optimizer.lr=0.1", "--evaluation.samples=4"]
    words = ["fit", recipe, "--out", "run", *options]
    assert "--allow own_classes" in mistake(capsys, *words)
    assert not (tmp_path / "run").exists()
    assert "no_such_module cannot be imported" in mistake(
        capsys, *words, "--allow", "no_such_module"
    )
    assert main([*words, "--allow", "own_classes"]) == 0
    assert "own_classes.Mine" in (tmp_path / "run" / "config.yaml").read_text()


def test_others_that_use_jsonargparse_are_left_alone(tmp_path):
    before = dict(allowed_classes._common.parsing_settings)
    schema.read("clocks")
    assert allowed_classes._common.parsing_settings == before
