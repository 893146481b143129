"""Loads many small image files twice: how long it takes, and how much memory, with the cache.

    python benchmarks/many_images.py --images 50000

Writes 64×64 PNG files of noise, blurred so that they are of usual size, to a temporary folder, and
loads them at 32×32 in new processes: without the cache, then with an empty and with a full one.
Anonymous memory is what a process has of its own; mapped pages are dropped when others need them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

PROGRAM = """
import json, sys, time
from smalti.modalities.image import Images
def memory():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return {name: int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}
before, start = memory(), time.perf_counter()
splits = Images(sys.argv[1], size=32).load()
seconds = time.perf_counter() - start
for first in range(0, len(splits.train), 256):
    splits.train.__getitems__(range(first, min(first + 256, len(splits.train))))
after = memory()
print(json.dumps({"seconds": seconds, "before": before, "after": after}))
"""


def write(folder: Path, n: int) -> None:
    """Writes n images, in ten folders."""
    rng = np.random.default_rng(0)
    for number in range(n):
        path = folder / str(number % 10) / f"{number:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        image.filter(ImageFilter.GaussianBlur(4)).save(path, compress_level=1)


def load(folder: Path, **environment: str) -> dict:
    """Loads them in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Prints a line for each load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    n = parser.parse_args().images
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "images", Path(place) / "cache"
        write(folder, n)
        ways = {"without the cache": {"SMALTI_NO_CACHE": "1"}}
        for name in ("first time", "second time"):
            ways[name] = {"SMALTI_NO_CACHE": "", "SMALTI_CACHE": str(cache)}
        for name, environment in ways.items():
            found = load(folder, **environment)
            memory = ", ".join(
                f"{kind} {found['before'][kind]:.0f} → {found['after'][kind]:.0f} MiB"
                for kind in found["after"]
            )
            print(f"{n} images, {name}: {found['seconds']:.1f} s, {memory}", flush=True)


if __name__ == "__main__":
    main()
