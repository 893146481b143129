"""Reads coded files in a process of its own, whose processor and threads differ: see its caller.

python reads_elsewhere.py FOLDER NAME …      FOLDER/NAME is a prior, FOLDER/NAME.smt a file
"""

import hashlib
import sys
from pathlib import Path

import torch

from smalti.artifacts import load_model
from smalti.codec import Codec, LearnedModel


def main() -> None:
    torch.set_num_threads(2)
    folder = Path(sys.argv[1])
    print(torch.backends.cpu.get_cpu_capability())
    for name in sys.argv[2:]:
        codec = Codec(LearnedModel(load_model(folder / name)))
        with torch.backends.mkldnn.flags(enabled=False):
            (found,) = codec.decode_all((folder / f"{name}.smt").read_bytes())
        told = b"".join(level.numpy().tobytes() for level in found.levels)
        print(name, hashlib.sha256(told).hexdigest())


if __name__ == "__main__":
    main()
