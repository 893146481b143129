"""Prior → indices → decoder: a tokenizer and a prior together make new data.

Three sampling schemes share one decoder:

    "uniform"     every index equally likely: what the decoder does without any prior
    "histogram"   token grids seen in training, as often as they were seen
    "prior"       the learned prior, with or without a condition
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import load_model
from smalti.autoencoders import Tokenizer
from smalti.data import Condition
from smalti.errors import InputError
from smalti.generation.sources import generator_of
from smalti.priors import Cascade, Histogram, Prior, Uniform
from smalti.runs import Run, load_prior
from smalti.signals import Signal
from smalti.tokens import read_cache

__all__ = ["SCHEMES", "Model"]

SCHEMES = ("prior", "histogram", "uniform")
BATCH = 256  # signals at a time


class Model:
    """A tokenizer, and a prior over its tokens if one was learned.

    Arguments:
        tokenizer: The tokenizer.
        prior: The prior.
        run: The run directory that both come from, where the tokens of the training set lie.

    Example:
        >>> model = Model.load("runs/clocks")  # doctest: +SKIP
        >>> model.sample(16, condition="10:10").shape  # doctest: +SKIP
        torch.Size([16, 3, 64, 64])
    """

    def __init__(
        self, tokenizer: Tokenizer, prior: Prior | None = None, run: Run | None = None
    ) -> None:
        self.tokenizer, self.prior, self.run = tokenizer, prior, run

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Loads what a run directory holds so far: at least the tokenizer.

        Raises:
            InputError: If it is not a run directory, or a model in it is missing or damaged.
        """
        run = Run.existing(folder)
        if run.is_continuous():
            raise InputError(
                f"{folder} has no tokens, got a run of a continuous autoencoder: use one with a "
                f"tokenizer."
            )
        if not run.tokenizer.exists():
            raise InputError(
                f"{folder} has no tokenizer yet: its fit has not come so far; give the same smalti "
                f"fit again to go on."
            )
        tokenizer = load_model(run.tokenizer)
        prior = load_prior(run, tokenizer) if isinstance(tokenizer, Tokenizer) else None
        if not isinstance(tokenizer, Tokenizer) or not isinstance(prior, Prior | None):
            raise InputError(f"The models in {folder} have changed places: copy the run again.")
        if prior is not None and not _belong_together(prior, tokenizer):
            raise InputError(
                f"The prior in {folder} is of another tokenizer: copy the run again, or delete "
                f"{run.prior} and fit again."
            )
        return cls(tokenizer, prior, run)

    def to(self, device: str | torch.device) -> Self:
        """Moves both to a device."""
        for module in (self.tokenizer, self.prior):
            if module is not None:
                module.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where both lie."""
        return next(self.tokenizer.parameters()).device

    @property
    def signal(self) -> Signal:
        """What the tokenizer takes and gives."""
        return self.tokenizer.signal

    @property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the indices of one signal, coarse to fine; most models have one."""
        return self.tokenizer.grids

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the tokens of one signal, as a prior sees them: the grid, or a row (P,)."""
        if len(self.grids) == 1:
            return self.grids[0]
        return (sum(map(math.prod, self.grids)),)

    @property
    def codebook_size(self) -> int:
        """K, of the largest codebook."""
        return max(self.tokenizer.codebook_sizes)

    @property
    def condition(self) -> Condition | None:
        """What samples can be conditioned on."""
        return None if self.prior is None else self.prior.condition

    def encode(self, x: Tensor) -> Any:
        """Signals (B, C, *size) → indices (B, *grid), of a hierarchy a tuple, coarse to fine."""
        return self.apart(self.tokens(x))

    def decode(self, indices: Tensor | Sequence[Tensor]) -> Tensor:
        """Indices (B, *grid), of a hierarchy a tuple or a prefix of it → signals (B, C, *size)."""
        if isinstance(indices, Tensor):
            parts: list[Any] = [part.to(self.device) for part in indices.split(BATCH)]
        else:
            levels = (grid.to(self.device).split(BATCH) for grid in indices)
            parts = list(zip(*levels, strict=True))
        return torch.cat([self.tokenizer.decode(part) for part in parts])

    def tokens(self, x: Tensor) -> Tensor:
        """Signals (B, C, *size) → tokens as a prior sees them, (B, *grid) or rows (B, P)."""
        return torch.cat([self.tokenizer.tokens(part.to(self.device)) for part in x.split(BATCH)])

    def apart(self, tokens: Tensor) -> Any:
        """Tokens as `encode` gives indices: of a hierarchy a tuple of grids, coarse to fine."""
        grids = self.tokenizer.split(tokens)
        return grids if len(grids) > 1 else grids[0]

    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int = 8) -> Tensor:
        """From one signal (C, *size) to another: (steps, C, *size); see `Tokenizer`."""
        return self.tokenizer.interpolate(x_a.to(self.device), x_b.to(self.device), steps)

    def sample(
        self,
        n: int,
        condition: str | int | Sequence[str | int] | None = None,
        *,
        scheme: str = "prior",
        known: Tensor | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Tensor:
        """Makes n new signals (n, C, *size).

        Arguments:
            n: How many.
            condition: A label or a time, or n of them: "3", "horse", "10:10". Without one, a
                conditional prior draws a condition for each sample, all equally likely.
            scheme: "prior", "histogram" or "uniform".
            known: Tokens (n, *grid), or (1, *grid) for all, -1 where to fill in; see
                `known_tokens`.
            seed: Makes the result repeatable.
            options: `temperature`, `top_k`, `top_p`, see `Prior.sample`.

        Raises:
            InputError: If the condition does not exist, or the scheme needs something that is not
                there.
        """
        return self.decode(
            self.sample_indices(n, condition, scheme=scheme, known=known, seed=seed, **options)
        )

    def sample_indices(
        self,
        n: int,
        condition: str | int | Sequence[str | int] | None = None,
        *,
        scheme: str = "prior",
        known: Tensor | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Any:
        """As `sample`, but gives the indices as `encode` does: (n, *grid), or a tuple of grids."""
        generator = generator_of(n, seed)
        prior = self.scheme(scheme)
        context = self._context(prior, n, condition, generator)
        if known is not None and len(known) == 1:
            known = known.expand(n, *known.shape[1:])
        grids = []
        for start in range(0, n, BATCH):
            part = slice(start, min(start + BATCH, n))
            grids.append(
                prior.sample(
                    (part.stop - start, *self.grid),
                    None if context is None else context[part],
                    known=None if known is None else known[part],
                    generator=generator,
                    **options,
                )
            )
        return self.apart(torch.cat(grids))

    def scheme(self, name: str) -> Prior:
        """The prior of a sampling scheme.

        Raises:
            InputError: If there is no such scheme, or it needs something that is not there.
        """
        if name == "uniform":
            return _uniform(self.tokenizer)
        if name == "prior":
            if self.prior is None:
                if self.run is not None and self.run.prior.exists():
                    raise InputError(
                        f"The priors in {self.run.prior} are not whole: give the same smalti fit "
                        f"again to go on, or use the scheme 'uniform'."
                    )
                raise InputError(
                    "No prior was learned in this run: use the scheme 'uniform', or fit one."
                )
            return self.prior
        if name == "histogram":
            if self.run is None:
                raise InputError(
                    "The scheme 'histogram' draws from a run's tokens: load the model from its run."
                )
            histogram = Histogram(self.codebook_size, self.grid, self.condition)
            cached = read_cache(self.run.tokens, "train")
            context = None if self.condition is None else cached.context
            histogram.fit(self.tokenizer.join(cached.levels), context)
            return histogram
        raise InputError(
            f"There is no sampling scheme {name!r}: choose one of {', '.join(SCHEMES)}."
        )

    def known_tokens(self, x: Tensor, given: Tensor) -> Tensor:
        """The tokens of partly given images, -1 where a token's patch holds a pixel that is not
        given; of a hierarchy as rows (B, P).

        Arguments:
            x: (B, C, H, W) in the signal's range.
            given: (B, H, W), True where the pixel is given; the others should hold something
                smooth.
        """
        coarsest = self.tokenizer.downsampling
        padding = [side for length in reversed(x.shape[2:]) for side in (0, -length % coarsest)]
        missing = F.pad((~given).float(), padding)[:, None]
        levels = []
        for grid in self.tokenizer.split(self.tokens(x)):
            whole = F.max_pool2d(missing, missing.shape[2] // grid.shape[1])[:, 0] == 0
            if grid.ndim > whole.ndim:
                whole = whole[..., None]
            levels.append(torch.where(whole, grid, -1))
        return self.tokenizer.join(levels)

    def _context(
        self,
        prior: Prior,
        n: int,
        condition: str | int | Sequence[str | int] | None,
        generator: torch.Generator,
    ) -> Tensor | None:
        """The values (n,) that a prior is given for the conditions in words."""
        if condition is None:
            return None if prior.condition is None else prior.condition.draw(n, generator)
        if prior.condition is None:
            what = "This sampling scheme takes no" if self.condition else "This model has no"
            raise InputError(f"{what} condition, got {condition!r}: leave it out.")
        if isinstance(condition, Tensor | np.ndarray | np.generic):
            condition = condition.tolist()
        if isinstance(condition, str) or not isinstance(condition, Iterable):
            words: list[Any] = [condition] * n
        else:
            words = list(condition)
        if len(words) != n:
            raise InputError(f"{n} samples take {n} conditions, got {len(words)}.")
        values = [prior.condition.parse(str(word)) for word in words]
        return torch.tensor(values, dtype=prior.condition.dtype)


def _uniform(tokenizer: Tokenizer) -> Prior:
    """Every index of every level equally likely."""
    levels = [
        Uniform(max(quantizer.codebook_sizes), grid)
        for quantizer, grid in zip(tokenizer.levels, tokenizer.grids, strict=True)
    ]
    return levels[0] if len(levels) == 1 else Cascade(levels)


def _belong_together(prior: Prior, tokenizer: Tokenizer) -> bool:
    """Whether the prior of each level is over indices such as the level's."""
    priors = prior.levels if isinstance(prior, Cascade) else (prior,)
    ours = [(level.grid, {level.codebook_size}) for level in priors]
    theirs = [
        (grid, set(quantizer.codebook_sizes))
        for quantizer, grid in zip(tokenizer.levels, tokenizer.grids, strict=True)
    ]
    return ours == theirs
