"""Checks that the devices of a recipe are there, and starts its processes.

One process on the CPU needs no Lightning, whose import takes seconds and 170 MB.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from smalti.training.hardware import Hardware

__all__ = ["check_hardware", "run_in_all_processes"]


def check_hardware(hardware: Hardware) -> None:
    """Raises `InputError` if this machine does not have the hardware that is asked for.

    Raises:
        InputError: If it does not.
    """
    if hardware.is_one_cpu and not hardware.loggers:
        return
    from smalti.training.trainer import check_devices

    check_devices(hardware)


def run_in_all_processes(work: Callable[[torch.device], None], hardware: Hardware) -> None:
    """Starts the processes that `hardware` asks for, and calls a function in each of them.

    Arguments:
        work: The function; it is given the device of its process.
        hardware: Devices and processes.

    Raises:
        InputError: If there is no such hardware, or not all processes start in time.
    """
    if hardware.is_one_cpu:
        work(torch.device("cpu"))
        return
    from smalti.training.trainer import launch

    launch(work, hardware)
