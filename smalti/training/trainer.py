"""Runs a stage with Lightning: devices, precision, loggers, saved states."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from smalti.checksums import check_made_from
from smalti.errors import InputError
from smalti.processors import fast_in_bfloat16
from smalti.training.averaging import weight_averaging
from smalti.training.callbacks import (
    KeepBest,
    Patience,
    Progress,
    SaveState,
    Stopwatch,
)
from smalti.training.checkpoints import AtomicCheckpointIO, read_state
from smalti.training.cpu import speed_up_cpu
from smalti.training.divergence import DivergenceCheck
from smalti.training.hardware import Hardware
from smalti.training.rendezvous import limit_startup_wait
from smalti.training.stage import Stage
from smalti.weights import first_not_finite

__all__ = ["check_devices", "launch", "train"]


def train(stage: Stage, name: str, run: Path, hardware: Hardware) -> None:
    """Trains `stage` to its end, from the saved state if there is one.

    Arguments:
        stage: The stage to train; its model is the result afterwards, on the CPU and in
            evaluation mode.
        name: Name of the stage: the state is kept in `run/state/name.ckpt`, the curves in
            `run/logs/name`.
        run: The run directory.
        hardware: Devices, precision, loggers.

    Raises:
        InputError: If there is no such hardware, or the saved state is damaged.
        Diverged: If loss or weights are no longer finite, which leaves the last good state.
    """
    state, best = run / "state" / f"{name}.ckpt", KeepBest()
    watch, stage.name = DivergenceCheck(name, state), name
    _quieten()
    speed_up_cpu()
    with _explained_hardware_errors():
        trainer = _trainer(stage, run, hardware, watch, best)
    limit_startup_wait(trainer, hardware.wait)
    if state.exists():
        found = read_state(state, stage).get("made_from") or {}
        if stage.made_from:
            mend = "delete it, which starts this stage over, or choose another --out."
            check_made_from(str(state), found, {"stage": (name,), **stage.made_from}, mend)
    try:
        trainer.fit(stage, ckpt_path=str(state) if state.exists() else None, weights_only=True)
    except InputError:
        raise
    except Exception as error:
        # What is made of weights that are no numbers may break before the loss is known.
        if first_not_finite(stage.model.state_dict()) is not None:
            raise watch.diverged("weights are not finite", trainer) from error
        raise
    except SystemExit as end:  # Lightning's answer to Ctrl-C, and to a request to end
        by_hand = isinstance(end.__context__, KeyboardInterrupt)
        raise KeyboardInterrupt(signal.SIGINT if by_hand else signal.SIGTERM) from end
    if best.weights:
        stage.model.load_state_dict(best.weights)
    stage.model.cpu().eval()
    if first_not_finite(stage.model.state_dict()) is not None:
        raise watch.diverged("weights are not finite", trainer)


def check_devices(hardware: Hardware) -> None:
    """Raises `InputError` if this machine does not have the devices that are asked for."""
    _quieten()
    with _explained_hardware_errors():
        _bare_trainer(hardware)
        _loggers(hardware)


def launch(work: Callable[[torch.device], None], hardware: Hardware) -> None:
    """Starts the processes that `hardware` asks for: see `run_in_all_processes`."""
    _quieten()
    with _explained_hardware_errors():
        trainer = _bare_trainer(hardware)
    limit_startup_wait(trainer, hardware.wait)
    strategy: Any = trainer.strategy

    def met() -> None:
        strategy.setup_environment()
        work(strategy.root_device)

    if strategy.launcher is None:
        met()
    else:
        strategy.launcher.launch(met, trainer=trainer)


def _bare_trainer(hardware: Hardware) -> Trainer:
    """Makes a trainer that trains nothing: it knows devices and processes."""
    return Trainer(
        **_where(hardware),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _explained_hardware_errors() -> Iterator[None]:
    """Turns the errors of Lightning for hardware that is not there into `InputError`."""
    try:
        yield
    except (MisconfigurationException, ValueError, ImportError) as error:
        raise InputError(
            f"This hardware cannot be used ({' '.join(str(error).split())}): change hardware.*."
        ) from error


def _where(hardware: Hardware) -> dict[str, Any]:
    """Returns what Lightning's trainer is told of devices and precision."""
    return {
        "accelerator": hardware.accelerator,
        "devices": hardware.devices,
        "num_nodes": hardware.num_nodes,
        "strategy": hardware.strategy,
        "precision": _precision(hardware),
    }


def _trainer(
    stage: Stage, run: Path, hardware: Hardware, watch: DivergenceCheck, best: KeepBest
) -> Trainer:
    """Makes Lightning's trainer for a stage."""
    options, name, state = stage.training_options, watch.name, watch.state
    saved = SaveState(state, options.save_every, options.validation_interval, watch)
    patience = Patience(options.patience)
    callbacks: list[Callback] = [watch, Progress(name, patience), Stopwatch(), saved, patience]
    if options.keep_best:
        callbacks.append(best)
    if options.weight_ema is not None:
        callbacks.append(weight_averaging(options.weight_ema))
    trainer = Trainer(
        default_root_dir=state.parent / name,  # where a cluster that requeues leaves its states
        **_where(hardware),
        logger=[*_curves(run, name), *_loggers(hardware)],
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        max_steps=options.steps,
        max_epochs=-1,
        gradient_clip_val=options.clip,
        accumulate_grad_batches=options.accumulate,
        val_check_interval=options.validation_interval * options.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=max(1, min(20, options.steps // 10)),  # a short run has a curve too
        use_distributed_sampler=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if isinstance(trainer.strategy, DDPStrategy):
        # The quantizer adds up its own counts in every process, until its update joins them.
        trainer.strategy._ddp_kwargs["broadcast_buffers"] = False
    return trainer


def _precision(hardware: Hardware) -> str:
    """Returns the precision asked for, or the fastest that the device has and training bears."""
    if hardware.precision != "auto":
        return hardware.precision
    if hardware.device().type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = hardware.accelerator in ("auto", "cpu") and fast_in_bfloat16()
    return "bf16-mixed" if native else "32-true"


def _loggers(hardware: Hardware) -> list[Logger]:
    return [cast("Logger", make()) for make in hardware.loggers or []]


def _curves(run: Path, name: str) -> list[Logger]:
    return [
        # Each start writes to a new version: what an earlier one wrote stays.
        CSVLogger(run / "logs", name=f"{name}/csv", flush_logs_every_n_steps=100),
        TensorBoardLogger(run / "logs", name=f"{name}/tensorboard"),
    ]


def _quieten() -> None:
    """Drops what Lightning says about choices that were made on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*resuming from a checkpoint that ended.*",
        ".*LeafSpec.*is deprecated.*",  # inside lightning itself
        ".*in eval mode at the start of training.*",  # networks of features are
    ):
        warnings.filterwarnings("ignore", message)
