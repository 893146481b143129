"""Prior → indices → decoder: a tokenizer and a prior together make new data.

Three priors share one decoder:

    "uniform"     every index equally likely: what the decoder does without any prior
    "histogram"   token grids seen in training, as often as they were seen
    "learned"     the learned prior, with or without a condition
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.arguments import a_whole_number, as_integers, as_tensor
from smalti.artifacts import checksum, load_model
from smalti.autoencoders import Tokenizer
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.generation.asked import Words, config_of, values_of
from smalti.generation.checks import (
    BATCH,
    check_room,
    generator_of,
    keep_given,
    pieces,
    signal_pieces,
    source_of,
)
from smalti.layout import Layout
from smalti.priors import Cascade, Histogram, SamplingConfig, TokenPrior, Uniform
from smalti.runs import Run, load_prior
from smalti.signals import Signal
from smalti.tokens import cached_tokenizer, read_cache

__all__ = ["PRIORS", "Model"]

PRIORS = ("learned", "histogram", "uniform")


class Model:
    """A tokenizer, and a prior over its tokens if one was learned.

    Arguments:
        tokenizer: The tokenizer.
        prior: The prior.
        run: The run directory that both come from, where the tokens of the training set lie.

    Example:
        >>> model = Model.load("runs/mine")  # doctest: +SKIP
        >>> model.sample(16, condition="10:10").shape  # doctest: +SKIP
        torch.Size([16, 3, 64, 64])
    """

    def __init__(
        self, tokenizer: Tokenizer, prior: TokenPrior | None = None, run: Run | None = None
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
        if not isinstance(tokenizer, Tokenizer) or not isinstance(prior, TokenPrior | None):
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
    def layout(self) -> Layout:
        """How the tokens of one signal are laid out."""
        return self.tokenizer.layout

    @property
    def condition(self) -> Condition | None:
        """What samples can be conditioned on."""
        return None if self.prior is None else self.prior.condition

    def encode(self, x: Any) -> Any:
        """Encodes signals (B, C, *size) to indices (B, *grid); a tuple of them in a hierarchy.

        Arguments:
            x: In the signal's range, of any floating-point type: a tensor, a numpy array or nested
                lists; or a path, what `Modality.from_object` takes, or a list of such, which are
                decoded as the model takes them. Bytes are not guessed at: scale them first.

        Raises:
            InputError: If x is no batch of the signal, or the model gives what is not finite.
        """
        return self.unpack(self.encode_flat(x))

    def decode(self, indices: Tensor | Sequence[Tensor]) -> Tensor:
        """Indices (B, *grid), of a hierarchy a tuple or a prefix of it → signals (B, C, *size).

        Arguments:
            indices: Integers of any type: a tensor, a numpy array or nested lists; of a hierarchy
                a tuple of such.

        Raises:
            InputError: If they are no such grids, or the model gives what is not finite.
        """
        several = self.layout.levels > 1
        if not several or not isinstance(indices, list | tuple) or not indices:
            if isinstance(indices, tuple) or several:
                return self.tokenizer.decode(indices)  # which says what is wrong
            parts: Sequence[Any] = pieces(indices, "Indices")
        else:
            grids = [pieces(grid, "Indices") for grid in indices]
            of_one = [sum(map(len, one_level)) if one_level[0].ndim else 0 for one_level in grids]
            if len(set(of_one)) > 1:
                raise InputError(
                    f"The levels have one batch, got grids of {', '.join(map(str, of_one))} "
                    f"signals: give as many of each."
                )
            parts = list(zip(*grids, strict=True))
        return torch.cat([self.tokenizer.decode(part) for part in parts])

    def encode_flat(self, x: Any) -> Tensor:
        """Signals (B, C, *size) → tokens as a prior sees them, (B, *grid) or rows (B, L)."""
        parts = signal_pieces(x, self.signal, source_of(self.run))
        return torch.cat([self.tokenizer.encode_flat(part) for part in parts])

    def unpack(self, tokens: Tensor) -> Any:
        """Tokens as `encode` gives indices: of a hierarchy a tuple of grids, coarse to fine."""
        grids = self.layout.unpack(tokens)
        return grids if len(grids) > 1 else grids[0]

    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int = 8) -> Tensor:
        """From one signal (C, *size) to another: (steps, C, *size); see `Tokenizer`."""
        steps = a_whole_number(steps, "steps")
        check_room(steps, self.signal.channels * math.prod(self.signal.size), "steps")
        return self.tokenizer.interpolate(x_a, x_b, steps)

    def sample(
        self,
        n: int,
        condition: Words | Mapping[str, Words] | None = None,
        *,
        prior: str = "learned",
        known: Tensor | None = None,
        seed: int | None = None,
        config: SamplingConfig | None = None,
        **options: Any,
    ) -> Tensor:
        """Makes n new signals (n, C, *size).

        Arguments:
            n: How many.
            condition: A label or a time, or n of them: "3", "horse", "10:10"; of a prior with
                several conditions such words by name, {"label": "horse", "time": "10:10"}. What is
                not given is drawn for each sample, all values being equally likely.
            prior: "learned", "histogram" or "uniform".
            known: Tokens (n, *grid), or (1, *grid) for all, -1 where to fill in, see
                `known_tokens`; of a hierarchy rows, or a tuple of all its grids.
            seed: Makes the result repeatable.
            config: How they are drawn.
            options: Those of a `SamplingConfig`, in its place: `temperature`, `top_k`, `top_p`,
                `guidance`.

        Raises:
            InputError: If the condition does not exist, the prior needs something that is not
                there, or an argument is no such thing.
        """
        return self.decode(
            self.sample_indices(
                n, condition, prior=prior, known=known, seed=seed, config=config, **options
            )
        )

    def sample_indices(
        self,
        n: int,
        condition: Words | Mapping[str, Words] | None = None,
        *,
        prior: str = "learned",
        known: Tensor | None = None,
        seed: int | None = None,
        config: SamplingConfig | None = None,
        **options: Any,
    ) -> Any:
        """As `sample`, but gives the indices as `encode` does: (n, *grid), or a tuple of grids."""
        generator = generator_of(n, seed)
        n = a_whole_number(n, "The number of samples")
        check_room(n, self.signal.channels * math.prod(self.signal.size), "samples")
        chosen = self.prior_named(prior)
        config = config_of(config, options)
        context = values_of(chosen.condition, condition, n, generator)
        known = None if known is None else self._known(known, n)
        grids = []
        for start in range(0, n, BATCH):
            part = slice(start, min(start + BATCH, n))
            grids.append(
                chosen.sample(
                    part.stop - start,
                    None if context is None else context[part],
                    known=None if known is None else known[part],
                    config=config,
                    generator=generator,
                )
            )
        return self.unpack(torch.cat(grids))

    def prior_named(self, name: str) -> TokenPrior:
        """Returns the prior of a name.

        Raises:
            InputError: If there is no such prior, or it needs something that is not there.
        """
        if name == "uniform":
            return _uniform(self.tokenizer)
        if name == "learned":
            if self.prior is None:
                if self.run is not None and self.run.prior.exists():
                    raise InputError(
                        f"The priors in {self.run.prior} are not whole: give the same smalti fit "
                        f"again to go on, or use the prior 'uniform'."
                    )
                raise InputError(
                    "No prior was learned in this run: use the prior 'uniform', or fit one."
                )
            return self.prior
        if name == "histogram":
            if self.run is None:
                raise InputError(
                    "The prior 'histogram' draws from a run's tokens: load the model from its run."
                )
            if cached_tokenizer(self.run.tokens) not in (None, checksum(self.run.tokenizer)):
                raise InputError(
                    f"The {self.run.tokens} are of another tokenizer: give the same "
                    f"smalti fit again, which makes them anew."
                )
            histogram = Histogram(self.layout.largest, self.layout.shape, self.condition)
            cached = read_cache(self.run.tokens, "train")
            context = None if self.condition is None else cached.context
            histogram.fit(self.layout.pack(cached.levels), context)
            return histogram
        raise InputError(f"There is no prior {name!r}: choose one of {', '.join(PRIORS)}.")

    def known_tokens(self, x: Tensor, given: Tensor) -> Tensor:
        """The tokens of partly given signals, -1 where a token's patch holds a value that is not
        given; of a hierarchy as rows (B, L).

        Arguments:
            x: (B, C, *size) in the signal's range.
            given: (B, *size), True where the signal is given; the rest should be something smooth.

        Raises:
            InputError: If x is no batch of the signal, or `given` is not bool of its size.
        """
        x, given = as_tensor(x, "The signals"), as_tensor(given, "given")
        self.signal.check(x)
        if given.dtype != torch.bool or given.shape != (len(x), *x.shape[2:]):
            raise InputError(
                f"given must be bool of the shape {(len(x), *x.shape[2:])}, got {given.dtype} of "
                f"the shape {tuple(given.shape)}: True marks what is given."
            )
        given = given.to(self.device)
        coarsest = self.tokenizer.downsampling
        padding = [side for length in reversed(x.shape[2:]) for side in (0, -length % coarsest)]
        given = F.pad(given, padding, value=True)
        levels = []
        for grid in self.layout.unpack(self.encode_flat(x)):
            levels.append(keep_given(grid, given))
        return self.layout.pack(levels)

    def _known(self, known: Any, n: int) -> Tensor:
        """Converts the known tokens of `sample` to (n, *grid)."""
        if isinstance(known, tuple):
            grids = [as_integers(grid, "known") for grid in known]
            shapes = tuple(tuple(grid.shape[1:]) for grid in grids)
            if shapes != self.layout.shapes or len({len(grid) for grid in grids}) > 1:
                got = ", ".join(str(tuple(grid.shape)) for grid in grids) or "none"
                raise InputError(
                    f"The grids of known tokens have the shapes {self.layout.shapes} after the "
                    f"batch, got {got}: give those of all levels, coarse to fine."
                )
            known = self.layout.pack(grids)
        known = as_integers(known, "known")
        if tuple(known.shape[1:]) != self.layout.shape or len(known) not in (1, n):
            wanted = ", ".join(map(str, self.layout.shape))
            raise InputError(
                f"known must have the shape ({n}, {wanted}), or (1, {wanted}) for all, got "
                f"{tuple(known.shape)}: give one grid a sample, with -1 where to fill in."
            )
        return known.expand(n, *known.shape[1:])


def _uniform(tokenizer: Tokenizer) -> TokenPrior:
    """Every index of every level equally likely."""
    layout = tokenizer.layout
    levels = [
        Uniform(max(sizes), shape)
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
    return levels[0] if len(levels) == 1 else Cascade(levels)


def _belong_together(prior: TokenPrior, tokenizer: Tokenizer) -> bool:
    """Whether the prior of each level is over indices such as the level's."""
    priors = prior.levels if isinstance(prior, Cascade) else (prior,)
    ours = [(level.grid, {level.codebook_size}) for level in priors]
    layout = tokenizer.layout
    theirs = [
        (shape, set(sizes))
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
    return ours == theirs
