"""Who trains with others waits for them, says for whom, and not forever."""

from __future__ import annotations

import os
import socket

import pytest
import torch
from lightning import Trainer
from torch import distributed, multiprocessing

from smalti.errors import InputError
from smalti.training import rendezvous


def _free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def _trainer(rank: int, port: str, processes: int = 2) -> Trainer:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "NODE_RANK": str(rank),
        "LOCAL_RANK": "0",
    }
    return Trainer(
        accelerator="cpu", devices=1, num_nodes=processes, strategy="ddp", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rank", "processes", "whom"),
    [(0, 2, "process 1"), (1, 2, "process 0"), (0, 3, "processes 1 to 2")],
)
def test_one_that_never_comes(rank, processes, whom, monkeypatch, capsys):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")  # put back at the end
    monkeypatch.setattr(rendezvous, "EVERY", 0.5)
    port = _free_port()
    trainer = _trainer(rank, port, processes)
    rendezvous.limit_startup_wait(trainer, 2)
    with pytest.raises(InputError) as told:
        trainer.strategy.setup_environment()
    assert f"Process {rank} of {processes} has waited 2 s for {whom}" in str(told.value)
    assert f"127.0.0.1:{port}" in str(told.value)
    assert "hardware.wait" in str(told.value)
    assert f"waits for {whom} at 127.0.0.1:{port}" in capsys.readouterr().err


def _meet(rank: int, port: str, done: multiprocessing.Queue) -> None:
    trainer = _trainer(rank, port)
    rendezvous.limit_startup_wait(trainer, 60)
    trainer.strategy.setup_environment()
    group = distributed.distributed_c10d._get_default_group()
    number = torch.ones(1)
    distributed.all_reduce(number)
    done.put((int(number), group._get_backend(torch.device("cpu")).options._timeout))
    distributed.destroy_process_group()


def test_those_that_come_have_as_long_as_ever_for_each_other():
    context = multiprocessing.get_context("spawn")
    done, port = context.Queue(), _free_port()
    started = [context.Process(target=_meet, args=(rank, port, done)) for rank in range(2)]
    for process in started:
        process.start()
    for _ in started:
        assert done.get(timeout=120) == (2, rendezvous.TOGETHER)
    for process in started:
        process.join(60)
