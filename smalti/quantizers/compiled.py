"""Compiles and loads the C++ searches, for which torch has no operation.

The sources beside this file are compiled into one library with the C++ compiler of the system, for
the very processor, when it is first asked for, and it is kept in the user's cache folder
(XDG_CACHE_HOME, or ~/.cache). Without a compiler or a folder to write to, or with SMALTI_NATIVE=0
in the environment, there is none, and torch does the work.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from torch import Tensor

__all__ = ["data_pointer", "compiled_library", "as_int64"]

SOURCES = ("native.cpp", "beam.cpp")
HEADERS = ("lanes.h",)
FLAGS = ["-O3", "-march=native", "-shared", "-fPIC"]
SECONDS = 60  # for the compiler


def data_pointer(x: Tensor) -> ctypes.c_void_p:
    """Returns a pointer to the data of a tensor, as an argument of compiled code."""
    return ctypes.c_void_p(x.data_ptr())


def as_int64(n: int) -> ctypes.c_int64:
    """Converts an int to int64, as an argument of compiled code."""
    return ctypes.c_int64(n)


@cache
def compiled_library() -> ctypes.CDLL | None:
    """Loads the library of compiled code, after compiling it if needed; None without a compiler."""
    if os.environ.get("SMALTI_NATIVE") == "0" or os.name != "posix":
        return None
    try:
        path = _compiled()
        return None if path is None else ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None  # no home, a full disk, a compiler without this processor: torch can do it all


def _compiled() -> Path | None:
    """Returns the library in the user's cache, compiled if need be; None if it cannot be."""
    here = Path(__file__).parent
    code = [(here / name).read_bytes() for name in (*SOURCES, *HEADERS)]
    key = hashlib.sha256(b"\0".join([*code, *map(str.encode, [*FLAGS, _processor()])]))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smalti"
    path = folder / f"search-{key.hexdigest()[:32]}.so"
    if path.exists():
        # Code is run of nobody but the user.
        return path if path.stat().st_uid == os.getuid() else None
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = Path(temporary) / path.name
        command = [compiler, *FLAGS, *(str(here / name) for name in SOURCES), "-o", str(made)]
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
