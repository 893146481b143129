"""The stage that trains a network of features without labels, on the data of a run."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from smalti.data import Batch
from smalti.training.stage import Stage
from smalti.training.vicreg import FeaturePretraining, random_views, vicreg

__all__ = ["FeatureStage"]


class FeatureStage(Stage):
    """Trains a `FeaturePretraining` by VICReg."""

    model: FeaturePretraining

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """See `Stage.objective`."""
        x = self.model.normalize(batch.x)
        return vicreg(self.model(random_views(x)), self.model(random_views(x)))

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Moves the signal to the device; labels are not used."""
        return batch._replace(x=batch.x.to(device, non_blocking=True), condition=None)
