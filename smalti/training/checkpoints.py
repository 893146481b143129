"""The checkpoints of Lightning as saved states with a checksum (`smalti.training.saved_states`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from smalti.training.saved_states import read_verified, write_sealed
from smalti.training.stage import Stage

__all__ = ["AtomicCheckpointIO", "read_state"]

PARTS = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "global_step"}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's plugin that writes checkpoints: atomically, and with a checksum."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Writes to a temporary name, flushes, renames."""
        write_sealed(checkpoint, path)


def read_state(path: Path, stage: Stage) -> dict[str, Any]:
    """Reads the saved state of a training stage, to resume from.

    Raises:
        InputError: If it is damaged, of an earlier version, or of a stage with another model.
    """
    return read_verified(path, PARTS, stage.state_dict())
