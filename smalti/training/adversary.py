"""Trains the adversary of an objective, such as a discriminator.

It learns beside the autoencoder, from the same batches. Its gradients are computed when the loss of
a batch is, and its step follows that of the autoencoder, so that both losses of a step are of the
weights from before it. For its own optimizer holds what holds for the first: the learning rate
follows the schedule, gradients are clipped and accumulated, those of several processes averaged,
and its state is part of saved states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from smalti.autoencoders import Reconstruction
from smalti.training.objectives import Objective

__all__ = ["Adversary", "detach_reconstruction"]


class Adversary:
    """Trains the adversary of an objective: those of its parameters that require a gradient.

    They are frozen except while their own loss is computed. So the first optimizer and what wraps
    the model for several processes pass them over.

    Arguments:
        objective: The objective.
        make: Makes the optimizer of the adversary from its parameters.

    Attributes:
        scaler: Multiplies its loss in float16, where small gradients would be 0; it skips a step
            whose gradients are not finite, as that of the autoencoder does. None in other
            precisions. It is set when the training starts.
    """

    def __init__(
        self, objective: Objective, make: Callable[[Iterable[nn.Parameter]], Optimizer]
    ) -> None:
        self.objective = objective
        self.scaler: torch.amp.GradScaler | None = None
        self._make = make
        self._optimizer: Optimizer | None = None
        self._saved: dict[str, Any] | None = None
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self._require_gradients(False)

    def teach(
        self, x: Tensor, output: Reconstruction, step: int, share: float
    ) -> dict[str, Tensor]:
        """Computes the adversary's loss of a batch, and adds to its gradients.

        Arguments:
            x: (B, C, *size), the signals.
            output: Their reconstruction.
            step: Optimizer steps taken.
            share: Share of this batch in the step.

        Returns:
            Its terms, to be logged; empty where there is none, or it does not learn yet.
        """
        if not self.parameters:
            return {}
        with self._learning():
            terms = self.objective.adversary(x.detach(), detach_reconstruction(output), step)
            if terms is None:
                return {}
            loss = terms["loss"] * share
            with torch.autocast(loss.device.type, enabled=False):
                (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return {f"adversary_{name}": term.detach() for name, term in terms.items()}

    def step(self, factor: float, clip: float | None, processes: int) -> None:
        """Takes a step of its optimizer, if there are gradients.

        Arguments:
            factor: Factor on the learning rate, as the schedule says.
            clip: Largest norm of the gradient.
            processes: Number of processes that train together.
        """
        taught = [p for p in self.parameters if p.grad is not None]
        if not taught:
            return
        optimizer = self.optimizer()
        for parameter in taught if processes > 1 else ():
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad.div_(processes)  # type: ignore[union-attr]
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if clip is not None:
            nn.utils.clip_grad_norm_(taught, clip)
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
        optimizer.zero_grad()

    def optimizer(self) -> Optimizer:
        """Returns its optimizer, with the saved state if there is one.

        It is made when it is first needed: then the parameters lie where they are trained.
        """
        if self._optimizer is None:
            self._optimizer = self._make(self.parameters)
            if self._saved is not None:
                self._optimizer.load_state_dict(self._saved["optimizer"])
        return self._optimizer

    def start(self, scaled: torch.device | None) -> None:
        """Prepares for a training.

        Arguments:
            scaled: Where the training is, if it is in float16, whose losses are scaled.
        """
        self.scaler = None if scaled is None else torch.amp.GradScaler(scaled.type)
        self._restore_scaler()

    def state_dict(self) -> dict[str, Any] | None:
        """Returns the state of its optimizer and scaler; `None` without parameters."""
        if not self.parameters:
            return None
        scaler = None if self.scaler is None else self.scaler.state_dict()
        return {"optimizer": self.optimizer().state_dict(), "scaler": scaler}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Takes the state of a training that goes on."""
        self._saved, self._optimizer = state, None
        self._restore_scaler()

    def release(self) -> None:
        """Leaves the parameters as they came."""
        self._require_gradients(True)

    def _restore_scaler(self) -> None:
        if self.scaler is not None and self._saved is not None and self._saved["scaler"]:
            self.scaler.load_state_dict(self._saved["scaler"])

    @contextmanager
    def _learning(self) -> Iterator[None]:
        self._require_gradients(True)
        try:
            yield
        finally:
            self._require_gradients(False)

    def _require_gradients(self, wanted: bool) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(wanted)


def detach_reconstruction(output: Reconstruction) -> Reconstruction:
    """Detaches all tensors of a reconstruction from the graph of gradients."""

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach()
        if isinstance(value, tuple):
            return tuple(map(cut, value))
        return {name: cut(each) for name, each in value.items()} if value is not None else None

    return Reconstruction(*(cut(field) for field in output))
