"""The search in up to 16 dimensions as compiled code, where there is a compiler.

In few dimensions a matrix product is not what takes the time: that goes into scores which are
written, read once for their maximum, and forgotten. `native.cpp` keeps them in registers. It orders
the codewords into groups of 64 that lie close together, and passes over a group whose bounding box
is further away than the best codeword so far, so that in 8 dimensions most groups are never looked
at. Distances are taken directly, and in float64 wherever two come near each other: what is found is
what the search in `smalti.quantizers.search` finds, only sooner.

The code is compiled with the C++ compiler of the system, for the very processor, at the first
search that is worth it, and kept in the user's cache folder (XDG_CACHE_HOME, or ~/.cache). Without
a compiler or a folder to write to, or with SMALTI_NATIVE=0 in the environment, all searches are
those of torch.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.quantizers.tiles import GROUP

__all__ = ["native_nearest"]

MOST_DIM = 16
STEP = 4  # dimensions are filled up to a multiple of this
WORTH = 2**24  # multiplications from which on it is used
LARGEST = 1e15  # numbers whose squares, and 1e18 beside them, have room in float32
SMALLEST = 1e-12  # codewords none of which is larger would all seem equal to float32
ROWS = 1024  # that a thread takes at a time
LANES = 16
FLAGS = ["-O3", "-march=native", "-shared", "-fPIC"]
SECONDS = 60  # for the compiler

Spread = Callable[[int, Callable[[Iterator[int]], None]], None]
Alone = Callable[[Callable[[], Any]], Any]


def native_nearest(z: Tensor, codebook: Tensor, alone: Alone, spread: Spread) -> Tensor | None:
    """Finds the nearest codewords of vectors (N, D) in (K, D): (N,); None where it cannot.

    Arguments:
        z: Vectors.
        codebook: Codewords.
        alone: What has one thread do something.
        spread: What shares numbers among threads.
    """
    n, dim = z.shape
    if dim > MOST_DIM or n * codebook.numel() < WORTH or len(codebook) >= 2**31 - GROUP:
        return None
    if z.device.type != "cpu" or torch.float64 in (z.dtype, codebook.dtype):
        return None
    library = _library()
    if library is None or not alone(lambda: _fit(z, codebook)):
        return None
    codewords = alone(lambda: _filled(codebook))
    groups = -(-len(codewords) // GROUP)
    order = torch.empty(groups, GROUP, dtype=torch.int32)
    turned = torch.empty(groups, codewords.shape[1], GROUP)
    low, high = torch.empty(2, groups, codewords.shape[1]).unbind()
    alone(partial(_prepare, library, codewords, order, turned, low, high))
    index = torch.empty(n, dtype=torch.int64)

    def work(numbers: Iterator[int]) -> None:
        away = torch.empty(groups, LANES)
        for number in numbers:
            rows = slice(number * ROWS, (number + 1) * ROWS)
            block, found = _filled(z[rows]), index[rows]
            library.smalti_nearest(
                *(_at(block), _number(len(block)), _number(block.shape[1])),
                *(_at(order), _at(turned), _at(low), _at(high), _number(groups)),
                *(_at(away), _at(found)),
            )

    spread(-(-n // ROWS), work)
    return index


def _prepare(library: ctypes.CDLL, codewords: Tensor, *made: Tensor) -> None:
    sizes = (_number(length) for length in codewords.shape)
    library.smalti_prepare(_at(codewords), *sizes, *(_at(tensor) for tensor in made))


def _filled(x: Tensor) -> Tensor:
    """Copies vectors (N, D) to float32 side by side, zeros up to a multiple of STEP."""
    return F.pad(x.float(), (0, -x.shape[1] % STEP)).contiguous()


def _fit(z: Tensor, codebook: Tensor) -> bool:
    """Returns whether distances in float32 keep their precision."""
    return SMALLEST < _largest(codebook) < LARGEST and _largest(z) < LARGEST


def _largest(x: Tensor) -> float:
    """Returns the largest magnitude; ∞ if a square would overflow or a number is not finite."""
    low, high = x.aminmax()
    largest = max(-float(low), float(high))
    return largest if largest < LARGEST and float(low) > -LARGEST else math.inf


def _at(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def _number(n: int) -> ctypes.c_int64:
    return ctypes.c_int64(n)


@cache
def _library() -> ctypes.CDLL | None:
    """Returns the compiled code, compiled now if it is not there yet; None without a compiler."""
    if os.environ.get("SMALTI_NATIVE") == "0" or os.name != "posix":
        return None
    try:
        path = _compiled()
        return None if path is None else ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None  # no home, a full disk, a compiler without this processor: torch can do it all


def _compiled() -> Path | None:
    """Returns the library in the user's cache, compiled if need be; None if it cannot be."""
    source = Path(__file__).with_name("native.cpp")
    code = source.read_bytes()
    key = hashlib.sha256(b"\0".join([code, *map(str.encode, [*FLAGS, _processor()])]))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smalti"
    path = folder / f"nearest-{key.hexdigest()[:32]}.so"
    if path.exists():
        # Code is run of nobody but the user.
        return path if path.stat().st_uid == os.getuid() else None
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = Path(temporary) / path.name
        command = [compiler, *FLAGS, str(source), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        made.replace(path)
    return path


def _processor() -> str:
    """Returns the name and features of the processor that the code is compiled for."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    return "\n".join([platform.system(), platform.machine(), platform.processor(), *features])
