"""The number of threads of a run: asked for, kept, or found; and always said."""

from __future__ import annotations

import json

import pytest
import torch

from smalti import runs
from smalti.errors import InputError
from smalti.recipes import schema
from smalti.training import Hardware, threads
from smalti.training.threads import choose_threads
from tiny import clocks_recipe, write_recipe


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    for name in threads.SET:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def taking(monkeypatch):
    """Has a small step take so many seconds with each number of threads."""

    def seconds(**each):
        monkeypatch.setattr(
            threads, "_medians", lambda numbers, _: {n: each[f"with_{n}"] for n in numbers}
        )

    return seconds


@pytest.mark.parametrize(("two", "number"), [(0.6, 2), (0.94, 2), (0.97, 1), (1.0, 1), (2.5, 1)])
def test_the_fastest_is_taken_said_and_kept(two, number, taking, tmp_path, capsys):
    taking(with_1=1e-3, with_2=two * 1e-3)
    assert choose_threads(Hardware(), tmp_path) == number == torch.get_num_threads()
    said = capsys.readouterr().out
    assert said.startswith(f"threads: {number}, the fastest now: ") and said.count("\n") == 1
    assert "1.0 ms with 1" in said
    assert json.loads((tmp_path / "threads.json").read_text()) == {"threads": number}


def test_a_run_goes_on_with_what_it_began_with(taking, tmp_path, capsys):
    taking(with_1=1.0, with_2=0.5)
    choose_threads(Hardware(), tmp_path)
    torch.set_num_threads(1)
    taking(with_1=0.5, with_2=1.0)  # a neighbour has come
    assert choose_threads(Hardware(), tmp_path) == 2 == torch.get_num_threads()
    assert "threads: 2, as this run began with" in capsys.readouterr().out


def test_what_is_asked_for_goes_before_all(taking, tmp_path, monkeypatch, capsys):
    taking(with_1=1.0, with_2=0.5)
    assert choose_threads(Hardware(threads=1), tmp_path) == 1 == torch.get_num_threads()
    assert "threads: 1, as asked for" in capsys.readouterr().out
    torch.set_num_threads(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose_threads(Hardware(), tmp_path) == 2
    assert "threads: 2, as the environment says" in capsys.readouterr().out
    for number in (0, -1, 10**9):
        with pytest.raises(InputError, match="hardware.threads"):
            Hardware(threads=number)


def test_workers_are_neighbours(taking, tmp_path):
    taking(with_1=1.0, with_2=0.5)
    assert choose_threads(Hardware(workers=1), tmp_path) == 1


def test_an_old_run_and_several_processes_stay_as_they_were(taking, tmp_path):
    taking(with_1=0.5, with_2=1.0)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "prior.ckpt").touch()
    assert choose_threads(Hardware(), tmp_path / "old") == 2
    assert choose_threads(Hardware(devices=2), tmp_path / "several") == 2


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"threads": 0}', '{"threads": "2"}', "\0"])
def test_a_broken_note_costs_nothing(broken, taking, tmp_path):
    taking(with_1=1.0, with_2=0.5)
    (tmp_path / "threads.json").write_text(broken)
    assert choose_threads(Hardware(), tmp_path) == 2


def test_the_measurement_is_short_and_draws_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "SECONDS", 0.05)
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    number = choose_threads(Hardware(), tmp_path)
    assert number in (1, 2) and torch.rand(()) == expected
    assert threads._medians([1, 2], lambda: None).keys() == {1, 2}


def test_a_fit_says_its_threads_and_keeps_them(taking, tmp_path, capsys):
    taking(with_1=1.0, with_2=0.5)
    recipe = write_recipe(tmp_path / "small.yaml", clocks_recipe() | {"prior": None})
    runs.fit(schema.read(str(recipe)), tmp_path / "run")
    assert capsys.readouterr().out.count("threads: 2, the fastest now") == 1
    assert (tmp_path / "run" / "state" / "threads.json").is_file()
    runs.fit(schema.read(str(recipe)), tmp_path / "run")
    assert "threads: 2, as this run began with" in capsys.readouterr().out
