"""Adds a discriminator to an objective: reconstructions are to look like signals (VQGAN).

    loss = L + share(step) · weight · w · L_A        L_A = L_G(D(x̂)) + feature_matching · L_F

    w = min(‖∇L‖ / (‖∇L_A‖ + δ), cap)        gradients at the weight of the decoder's last layer

L is the loss of the objective that is added to, such as reconstruction + distance of features +
commitment. Only terms of x̂ have a gradient at the last layer of the decoder, so that ∇L is that of
reconstruction and distance of features. w keeps the discriminator from outweighing them, however
sure it is.

L_F compares the features f_l of D's layers, each relative to its own size:

    L_F = mean_l  mean |f_l(x) − f_l(x̂)| / mean |f_l(x)|

It is counted into what w weighs: the whole of what D brings has the share of the gradient that
`weight` says, and `feature_matching` divides it between the two.

Before the step `start` nothing of this is computed, so that the training is that of L to the bit.
From there on D learns, and the share of its losses rises linearly to 1 over the steps of the ramp:
D is drawn at random, and has nothing to say at first. In validation the loss is L alone: what two
states of D say cannot be compared.

References:
    Taming Transformers for High-Resolution Image Synthesis, P. Esser, R. Rombach and B. Ommer,
    2021, arXiv 2012.09841, equations 6 and 7.
    High Fidelity Neural Audio Compression, A. Défossez, J. Copet, G. Synnaeve and Y. Adi, 2022,
    arXiv 2210.13438, section 3.4, on L_F.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from smalti.autoencoders import Reconstruction
from smalti.errors import InputError
from smalti.losses import (
    AdversarialLoss,
    DiscriminatorPenalty,
    Hinge,
    feature_matching,
    mean_score,
)
from smalti.networks import Discriminator, FeatureNetwork, PatchDiscriminator, Verdict
from smalti.signals import Signal
from smalti.training.objectives.objective import Objective
from smalti.training.objectives.perceptual_objective import fill_gaps

__all__ = ["AdversarialObjective"]

DELTA = 1e-4
SCALE = 2.0**14  # of losses in both gradients, which in float16 would be 0; elsewhere it is exact


class AdversarialObjective(Objective):
    """The loss of another objective, and of a discriminator that learns beside.

    It logs "adversarial" (L_G), with feature matching "features" (L_F), "adversarial_weight"
    (share · weight · w), and of the discriminator its loss, the mean scores "real" and "made", and
    "penalty".

    Arguments:
        objective: The objective that it adds to.
        discriminator: Any discriminator; PatchDiscriminator if not given. Its signal comes from the
            data.
        weight: Weight of the discriminator's verdict, relative to the gradient of L.
        start: Optimizer steps before the discriminator learns and is heard.
        ramp: Steps over which its share rises to 1 from there.
        cap: Largest w.
        penalty: R1 or LeCam; none if not given.
        loss: Hinge or NonSaturating; Hinge if not given.
        feature_matching: Weight of L_F beside L_G; 0 leaves it out.

    Raises:
        InputError: If a number is out of range, or the objective has an adversary already.
    """

    discriminator: Discriminator | None

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        objective: Objective,
        discriminator: Callable[[Signal], Discriminator] | None = None,
        *,
        weight: float = 0.8,
        start: int = 0,
        ramp: int = 0,
        cap: float = 1e4,
        penalty: DiscriminatorPenalty | None = None,
        loss: AdversarialLoss | None = None,
        feature_matching: float = 0.0,
    ) -> None:
        super().__init__()
        if objective.has_adversary:
            raise InputError(
                f"An AdversarialObjective adds the one adversary there is, got "
                f"{type(objective).__name__}, which has one: give an objective without."
            )
        if min(weight, start, ramp, feature_matching) < 0 or cap <= 0:
            raise InputError(
                f"weight, start, ramp and feature_matching are at least 0, and cap above, got "
                f"{weight}, {start}, {ramp}, {feature_matching} and {cap}."
            )
        self.objective, self.make = objective, discriminator or PatchDiscriminator
        self.weight, self.start, self.ramp, self.cap = weight, start, ramp, cap
        self.penalty, self.loss = penalty, loss or Hinge()
        self.feature_matching = feature_matching
        self.discriminator = None

    @property
    def has_adversary(self) -> bool:
        """See `Objective.has_adversary`."""
        return True

    @property
    def needs_features(self) -> bool:
        """See `Objective.needs_features`."""
        return self.objective.needs_features

    @property
    def warmup(self) -> int:
        """Returns the step from which on the share is 1, and nothing else rises."""
        return max(self.objective.warmup, self.start + self.ramp)

    def prepare(self, signal: Signal, features: FeatureNetwork | None) -> None:
        """See `Objective.prepare`; it makes the discriminator."""
        self.objective.prepare(signal, features)
        self.discriminator = self.make(signal)

    def share(self, step: int) -> float:
        """Returns the share of the adversary's losses at optimizer step `step`, 0 to 1."""
        if step < self.start:
            return 0.0
        return min(1.0, (step - self.start + 1) / (self.ramp + 1))

    def forward(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor]:
        """See `Objective.forward`."""
        terms = self.objective(x, output, step)
        if not self.training:
            return terms
        share = self.share(step)
        if not share:
            return {**terms, "adversarial_weight": torch.zeros_like(terms["loss"])}
        made = self._verdict(output.x_hat)
        added = {"adversarial": self.loss.generator(made.scores)}
        whole = added["adversarial"]
        if self.feature_matching:
            added["features"] = self._feature_matching(x, output.x_hat, made)
            whole = whole + self.feature_matching * added["features"]
        w = self.adaptive_weight(terms["loss"], whole, output.last_weight)
        weight = share * self.weight * w
        loss = terms["loss"] + weight * whole
        return {**terms, **added, "loss": loss, "adversarial_weight": weight}

    def _feature_matching(self, x: Tensor, x_hat: Tensor, made: Verdict) -> Tensor:
        """Returns L_F of signals and what D says of their reconstructions."""
        with torch.no_grad():
            real = self._verdict(fill_gaps(x, x_hat))
        return feature_matching(real.features, made.features)

    def adaptive_weight(self, loss: Tensor, adversarial: Tensor, last: Tensor | None) -> Tensor:
        """Returns w, without gradient.

        Arguments:
            loss: L.
            adversarial: L_A.
            last: The weight of the decoder's last layer.

        Raises:
            InputError: If there is none.
        """
        if last is None:
            raise InputError(
                "An AdversarialObjective compares gradients at the last layer of the decoder, got "
                "one that names none: give it the property last_weight, as ConvDecoder has."
            )
        norms = []
        for of in (loss, adversarial):
            with torch.autocast(of.device.type, enabled=False):
                (gradient,) = torch.autograd.grad(SCALE * of, last, retain_graph=True)
                norms.append(gradient.float().norm())
        # Of overflowing gradients, whose step a scaler of float16 leaves out, it is 0.
        w = norms[0] / (norms[1] + SCALE * DELTA)
        return w.nan_to_num(nan=0.0).clamp(max=self.cap).detach()

    def adversary(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor] | None:
        """See `Objective.adversary`."""
        if step < self.start:
            return None
        x = fill_gaps(x, output.x_hat)
        real, made = self._verdict(x), self._verdict(output.x_hat.detach())
        loss = self.loss.discriminator(real.scores, made.scores)
        scores = {"real": mean_score(real.scores), "made": mean_score(made.scores)}
        if self.penalty is None:
            return {"loss": loss, **scores}
        assert self.discriminator is not None
        penalty = self.penalty(self.discriminator, x, real, made)
        return {"loss": loss + penalty, **scores, "penalty": penalty}

    def _verdict(self, x: Tensor) -> Verdict:
        assert self.discriminator is not None, "prepare makes the discriminator"
        return self.discriminator(x)
