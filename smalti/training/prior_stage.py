"""The training stage of a prior over the tokens of a frozen tokenizer.

The tokens were cached once, so a step sees integers only. The loss is the prior's: −log p(indices |
context) in nats per index, or what its class says.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from smalti.errors import InputError
from smalti.priors import AutoregressivePrior, Prior
from smalti.training.settings import Training
from smalti.training.stage import Stage

__all__ = ["PriorStage", "TokenBatch", "Tokens"]


class TokenBatch(NamedTuple):
    """A batch of token grids, with their conditions.

    Attributes:
        indices: (B, *grid), int64.
        context: The values of their condition (B, ...), or None.
    """

    indices: Tensor
    context: Tensor | None


class Tokens(Dataset[TokenBatch]):
    """A data set of token grids in memory, with the condition of each.

    Arguments:
        indices: (N, *grid), any integer type.
        context: (N,) labels or minutes, rows (N, S) of several numbers, or None.
    """

    def __init__(self, indices: Tensor, context: Tensor | None = None) -> None:
        self.indices, self.context = indices, context

    def __deepcopy__(self, memo: dict) -> Self:
        """Returns itself: tokens are only read, so copies can share them."""
        return self

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> TokenBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> TokenBatch:
        chosen = torch.as_tensor(indices)
        context = None if self.context is None else self.context[chosen]
        return TokenBatch(self.indices[chosen].long(), context)


class PriorStage(Stage):
    """Trains a `Prior` on a data set of `Tokens`.

    Arguments:
        token_noise: Probability that an index in the prior's input, not in its target, is replaced
            by a random one.
        weight_decay: AdamW's, on all weights but biases; the optimizer's own if not given.
        Others: see `Stage`.

    Raises:
        InputError: If the prior has no token noise, or the optimizer no weight decay.
    """

    model: Prior

    def __init__(
        self,
        model: Prior,
        training: Training,
        train: Dataset,
        validation: Dataset,
        *,
        seed: int,
        workers: int = 0,
        token_noise: float = 0.0,
        weight_decay: float | None = None,
    ) -> None:
        super().__init__(model, training, train, validation, seed=seed, workers=workers)
        if token_noise and not isinstance(model, AutoregressivePrior):
            raise InputError(
                f"Token noise is for priors that see the indices before one, got "
                f"{type(model).__name__}: set prior.token_noise 0."
            )
        self.token_noise, self.weight_decay = token_noise, weight_decay

    def objective(self, batch: TokenBatch) -> dict[str, Tensor]:
        """See `Stage.objective`."""
        if self.training and self.token_noise:
            assert isinstance(self.model, AutoregressivePrior)
            loss = self.model.loss_of_noisy(batch.indices, batch.context, self.token_noise)
        else:
            loss = self.model.loss(batch.indices, batch.context)
        return {"loss": loss}

    def optimizer(self) -> Optimizer:
        """Builds `Stage.optimizer` with the weight decay, if one was given."""
        if self.weight_decay is None:
            return super().optimizer()
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in learned if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = self.training_options.optimizer(groups)  # type: ignore[arg-type]
        if "weight_decay" not in optimizer.defaults:
            raise InputError(
                f"{type(optimizer).__name__} has no weight decay, got prior.weight_decay "
                f"{self.weight_decay}: take AdamW, or set it to null."
            )
        return optimizer
