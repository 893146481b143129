"""Options of sampling from a prior, and drawing an index from logits ℓ.

    p = softmax(ℓ / temperature)      1: the distribution as it is; 0: always the most likely index
    top-k                             only the k most likely indices
    top-p                             only the fewest most likely indices whose mass reaches p
    guidance g                        ℓ = ℓ_null + g (ℓ_context − ℓ_null): above 1 shows more of the
                                      context, 1 as much as was learned, 0 nothing

What is kept is renormalised and drawn by inversion: the first index whose cumulative probability
passes a uniform number. One number per index is drawn, on the generator's own device, so that a CPU
generator gives a GPU the same draws.

References:
    Top-p: The Curious Case of Neural Text Degeneration (Holtzman et al., 2019), arXiv 1904.09751.
    Guidance: Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), arXiv 2207.12598.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from smalti.arguments import as_generator, as_number, as_whole_number
from smalti.errors import InputError

__all__ = ["SamplingConfig", "uniform_integers", "sample_from_logits"]


@dataclass(frozen=True)
class SamplingConfig:
    """The options of sampling from a prior; a prior refuses options that it does not have.

    Arguments:
        temperature: At least 0: below 1 for likelier, above 1 for more varied samples.
        top_k: Draw from the k most likely indices only; of equally likely ones, the first.
        top_p: Draw from the fewest most likely indices whose mass reaches p, in (0, 1]; the mass is
            that after temperature and top-k.
        guidance: The weight of classifier-free guidance, at least 0: 1 for none, more than 1 for
            samples that show more of the condition.
        steps: The number of passes, for priors that draw many indices in each pass.
        order: The name of the order of the indices, for priors that can draw them in several.
        choice_temperature: How much luck decides, at first, which indices such a prior draws next,
            at least 0: 0 for always those it is surest of.

    Raises:
        InputError: If an option is not a number, or is out of range.

    Example:
        >>> SamplingConfig(top_k=5).chosen()
        {'top_k': 5}
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0
    steps: int | None = None
    order: str | None = None
    choice_temperature: float | None = None

    def __post_init__(self) -> None:
        self._take("temperature", "1 samples as learned, 0 takes the most likely")
        self._take("top_k", "leave it out to allow all")
        self._take("top_p", "leave it out to allow all")
        self._take("guidance", "1 samples as learned, 2 shows more of the condition")
        if not 0 <= self.temperature <= sys.float_info.max:
            raise InputError(
                f"temperature must be at least 0 and finite, got {self.temperature}: "
                f"1 samples as learned, 0 takes the most likely."
            )
        if self.top_k is not None and not (self.top_k >= 1 and float(self.top_k).is_integer()):
            raise InputError(
                f"top_k must be a whole number of at least 1, got {self.top_k}: "
                f"leave it out to allow all."
            )
        if self.top_k is not None:
            object.__setattr__(self, "top_k", int(self.top_k))
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(
                f"top_p must be above 0 and at most 1, got {self.top_p}: leave it out to allow all."
            )
        if not 0 <= self.guidance <= sys.float_info.max:
            raise InputError(
                f"guidance must be at least 0 and finite, got {self.guidance}: "
                f"1 samples as learned, 2 shows more of the condition."
            )
        if self.steps is not None:
            object.__setattr__(self, "steps", as_whole_number(self.steps, "steps", 1))
        if self.order is not None and not (isinstance(self.order, str) and self.order):
            raise InputError(f"order must be a word, got {self.order!r}: leave it out.")
        if self.choice_temperature is not None:
            mend = "0 takes what the prior is surest of, 4.5 is usual"
            value = as_number(self.choice_temperature, "choice_temperature", mend)
            if not 0 <= value <= sys.float_info.max:
                raise InputError(
                    f"choice_temperature must be at least 0 and finite, got {value}: {mend}."
                )
            object.__setattr__(self, "choice_temperature", value)

    def chosen(self) -> dict[str, Any]:
        """Returns the options that are not at their defaults."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: given[field.name]
            for field in fields(self)
            if given[field.name] != field.default
        }

    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draws indices (...), int64 in [0, K), from logits (..., K), by temperature, k and p.

        Raises:
            InputError: If they are no distribution: one is NaN or +inf, or all of a row are −inf.
        """
        if not logits.numel():
            return logits.new_zeros(logits.shape[:-1], dtype=torch.int64)
        largest = logits.amax(-1, keepdim=True)
        if not bool(largest.isfinite().all()):
            raise InputError(
                "No index can be drawn from logits that are NaN or infinite: the prior has "
                "diverged, train it again with a lower learning rate, or sample in float32."
            )
        if self.temperature == 0:
            return logits.argmax(-1)
        # In float64, except on MPS, which has none.
        wide = torch.float32 if logits.device.type == "mps" else torch.float64
        # Kept finite: at a temperature near 0 the largest logit must not become inf − inf.
        logits = (logits.to(wide) - largest.to(wide)) / float(self.temperature)
        if self.top_k is None and self.top_p is None:
            return _draw(logits.softmax(-1), generator)

        # In descending order, what is kept is a beginning: (..., K) → (..., k)
        k = min(self.top_k or logits.shape[-1], logits.shape[-1])
        logits, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = logits[..., :k].softmax(-1)
        if self.top_p is not None:
            before = probabilities.cumsum(-1) - probabilities
            probabilities = probabilities * (before < self.top_p)
        return order.gather(-1, _draw(probabilities, generator)[..., None])[..., 0]

    @property
    def certain(self) -> bool:
        """Returns whether the most likely index is always drawn, without luck."""
        return self.temperature == 0 or self.top_k == 1

    @property
    def plain(self) -> bool:
        """Returns whether the distribution is drawn from as it is."""
        return self.temperature == 1 and self.top_k is None and self.top_p is None

    def _take(self, name: str, mend: str) -> None:
        """Converts a number of any type to one of Python's."""
        value = getattr(self, name)
        if type(value) is not int and (value is not None or not name.startswith("top")):
            object.__setattr__(self, name, as_number(value, name, mend))


def uniform_integers(
    below: int, shape: Sequence[int], generator: torch.Generator | None = None
) -> Tensor:
    """Draws integers in [0, below), all equally likely, on the generator's device."""
    where = "cpu" if generator is None else generator.device
    return torch.randint(below, tuple(shape), generator=generator, device=where)


def _draw(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws indices (...) in proportion to weights (..., K), none negative."""
    cumulative = weights.cumsum(-1)
    where = weights.device if generator is None else generator.device
    shape = (*weights.shape[:-1], 1)
    u = torch.rand(shape, dtype=weights.dtype, device=where, generator=generator)
    threshold = u.to(weights.device) * cumulative[..., -1:]
    # Strictly above the threshold: an index of weight 0 is passed over.
    return torch.searchsorted(cumulative, threshold, right=True)[..., 0]


def sample_from_logits(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws an index from each row of logits.

    Arguments:
        logits: (..., K), log-probabilities up to a constant.
        temperature: At least 0; 0 takes the most likely index.
        top_k: Draw from the k most likely indices only; of equally likely ones, the first.
        top_p: Draw from the fewest most likely indices whose mass reaches p, in (0, 1]; the mass is
            that after temperature and top-k.
        generator: Source of randomness, on any device.

    Returns:
        (...), int64 in [0, K).

    Raises:
        InputError: If the temperature is negative, k is below 1 or p not in (0, 1].

    Example:
        >>> logits = torch.tensor([[0.1, 0.5, 0.4], [0.8, 0.1, 0.1]]).log()
        >>> sample_from_logits(logits, temperature=0)
        tensor([1, 0])
        >>> sample_from_logits(logits, top_p=0.3)
        tensor([1, 0])
    """
    return SamplingConfig(temperature, top_k, top_p).draw(logits, as_generator(generator))
