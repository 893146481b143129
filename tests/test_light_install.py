"""`pip install smalti` alone: what works, how soon it is there, and what is said of the rest."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

import bare
import smalti
from smalti.extras import PACKAGES
from smalti.modalities.image.pictures import save_png
from smalti.recipes import schema
from smalti.runs import fit
from tiny import clocks_recipe, vae_recipe

SECONDS = 1.5  # of which torch takes most
LIGHT = ("artifacts", "autoencoders", "conditions", "losses", "nn", "priors", "quantizers")
IMPORTED_AS = {
    "faiss-cpu": "faiss",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
}
KERNEL = "smalti.quantizers.triton_search"
HEAVY = {
    "PIL",
    "datasets",
    "diffusers",
    "docstring_parser",
    "jsonargparse",
    "lightning",
    "matplotlib",
    "pandas",
    "pyarrow",
    "pytorch_lightning",
    "sklearn",
    "torchmetrics",
    "transformers",
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return bare.make(tmp_path_factory.mktemp("bare") / "env")


@pytest.fixture(scope="module")
def used(python):
    return use(python)


def use(python) -> dict:
    done = bare.run(python, str(Path(__file__).with_name("light_use.py")))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_quantizers_autoencoders_priors_and_saved_models_work(used):
    assert used["last"] < 0.5 * used["first"]
    assert used["drawn"] == [3, 2, 2]
    assert used["same"]
    assert not HEAVY & set(used["modules"])


@pytest.fixture(scope="module")
def runs_of_both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    fit(schema.parsed(clocks_recipe()), folder / "tokens")
    fit(schema.parsed(vae_recipe()), folder / "vectors")
    return folder / "tokens", folder / "vectors"


def test_a_run_is_loaded_encodes_decodes_and_samples(
    python, runs_of_both, tmp_path, monkeypatch, capsys
):
    picture = tmp_path / "black.png"
    save_png(Image.new("RGB", (16, 16)), picture)
    words = [str(Path(__file__).with_name("light_load.py")), *map(str, runs_of_both), str(picture)]
    done = bare.run(python, *words)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(sys, "argv", words)
    capsys.readouterr()
    runpy.run_path(words[0], run_name="__main__")
    light, whole = json.loads(done.stdout), json.loads(capsys.readouterr().out)
    assert not HEAVY & set(light.pop("modules"))
    del whole["modules"]
    lines, of_whole = light.pop("said"), whole.pop("said")
    assert light == whole
    assert [name for name, line in of_whole.items() if line] == ["word"]
    assert lines.pop("word") == of_whole["word"]
    for line in lines.values():
        assert re.fullmatch(r"smalti.* needs the package \w+, got none: .*\[train\]'\.", line), line


def test_they_are_there_soon(python, used):
    """Within 1.5 s of a processor, or of a slow or busy one in little more than torch takes."""
    tries = [used]
    while _late(tries[-1]) and len(tries) < 3:
        tries.append(use(python))
    assert not _late(tries[-1]), {name: tries[-1][name] for name in ("torch", "everything")}


def _late(found: dict) -> bool:
    return found["everything"] > max(SECONDS, 1.6 * found["torch"])


def test_every_module_is_imported_or_names_the_extra(python):
    root = Path(smalti.__file__).parent
    files = [path.relative_to(root.parent).with_suffix("") for path in root.rglob("*.py")]
    names = sorted(".".join(file.parts).removesuffix(".__init__") for file in files)
    program = (
        "import importlib, json, sys\n"
        "said = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception as error: said[name] = f'{type(error).__name__}: {error}'\n"
        "print(json.dumps(said))"
    )
    done = bare.run(python, "-c", program, *(name for name in names if "__main__" not in name))
    said = json.loads(done.stdout)
    sentence = (
        r"MissingExtra: smalti[.\w]* needs the package \w+, got none: "
        r"pip install 'smalti\[(train|ids|transformers|diffusion|audio|speech|codec)\]'\."
    )
    if "No module named 'triton'" in said.get(KERNEL, ""):
        del said[KERNEL]  # which torch for CUDA brings
    assert {name: line for name, line in said.items() if not re.fullmatch(sentence, line)} == {}
    assert not [name for name in said if name.split(".")[1] in LIGHT]
    assert {"smalti.runs", "smalti.training.stage", "smalti.evaluation"} <= said.keys()


@pytest.mark.parametrize("words", ["fit clocks", "--help", "--allow mine fit clocks"])
def test_the_command_line_names_the_extra(python, words):
    done = bare.run(python, "-m", "smalti", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"smalti: .* pip install 'smalti\[train\]'\.\n", done.stderr)


def test_the_estimator_names_its_own_extra(python):
    program = (
        "import smalti\ntry: smalti.SemanticIDs\nexcept smalti.InputError as error: print(error)"
    )
    done = bare.run(python, "-c", program)
    needs = "smalti.semantic_ids needs the package sklearn, got none: pip install 'smalti[ids]'.\n"
    assert done.stdout == needs, done.stderr


def test_what_needs_no_extra_is_done(python):
    done = bare.run(python, "-m", "smalti", "--version")
    assert (done.returncode, done.stdout) == (0, f"{smalti.__version__}\n")
    done = bare.run(python, "-m", "smalti", "fiit")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "There is no command 'fiit'" in done.stderr


def test_a_package_of_no_extra_is_said_to_be_missing_as_python_says_it():
    error = ModuleNotFoundError("No module named 'somebodys'", name="somebodys")
    assert smalti.extras.explain_import_error(error) is error
    error = ModuleNotFoundError("No module named 'lightning.gone'", name="lightning.gone")
    assert smalti.extras.explain_import_error(error) is error


def test_the_imports_of_others_are_left_as_they_are():
    smalti.extras.watch_imports()
    ours = [finder for finder in sys.meta_path if type(finder).__module__ == "smalti.extras"]
    assert len(ours) == 1
    assert ours[0].find_spec("json") is None
    assert ours[0].find_spec("smalti_of_somebody") is None
    importlib.invalidate_caches()


def test_the_packages_of_each_extra_are_those_of_the_project():
    project = tomllib.loads(bare.PROJECT.read_text())["project"]
    for extra, packages in PACKAGES.items():
        names = [Requirement(text).name for text in project["optional-dependencies"][extra]]
        modules = [IMPORTED_AS.get(name, name.replace("-", "_")) for name in names]
        assert sorted(set(modules) - {"smalti"}) == sorted(packages)
