"""The search shares whole blocks among threads, and leaves torch's own numbers of threads alone."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from smalti.quantizers import nearest, search, search_threads
from smalti.quantizers.exact import exact_nearest


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_find_what_one_finds(two_threads):
    z, codebook = torch.randn(20_000, 16), torch.randn(3000, 16)
    codebook[7] = 1e6
    z[5] = torch.nan
    z[::100] *= 1e6
    with torch.inference_mode():
        together = nearest(z, codebook)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert torch.equal(nearest(z, codebook), together)


def test_blocks_are_shared_and_no_operation_is_split(two_threads):
    seen, both = set(), threading.Barrier(2, timeout=20)

    def work(numbers):
        for number in numbers:
            if number < 2:
                both.wait()  # which one thread alone would never pass
            seen.add((threading.get_ident(), torch.get_num_threads(), number))

    search_threads.run_in_threads(7, work)
    assert {number for *_, number in seen} == set(range(7))
    assert {threads for _, threads, _ in seen} == {1}
    assert len({ident for ident, *_ in seen}) == 2
    assert threading.get_ident() not in {ident for ident, *_ in seen}
    # A thread that starts afterwards has what this one has.
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_what_fails_in_a_thread_fails_here(two_threads):
    def work(numbers):
        raise KeyError("in a thread")

    with pytest.raises(KeyError, match="in a thread"):
        search_threads.run_in_threads(3, work)
    assert search_threads.run_in_one_thread(lambda: 3) == 3


def test_with_one_thread_there_are_no_others(monkeypatch):
    monkeypatch.setattr(search_threads, "_threads", None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        z, codebook = torch.randn(5000, 16), torch.randn(300, 16)
        assert torch.equal(nearest(z, codebook), exact_nearest(z, codebook))
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(two_threads):
    z, codebook = torch.randn(5000, 16), torch.randn(300, 16)
    expected = nearest(z, codebook)
    child = os.fork()
    if not child:
        os._exit(
            0 if torch.equal(search_threads.run_in_one_thread(lambda: expected), expected) else 1
        )
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_small_wakes_nobody(two_threads, monkeypatch):
    monkeypatch.setattr(search, "run_in_threads", None)
    monkeypatch.setattr(search, "run_in_one_thread", None)
    assert nearest(torch.zeros(10, 4), torch.ones(20, 4)).tolist() == [0] * 10
