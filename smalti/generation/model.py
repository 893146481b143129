"""A model: an autoencoder and a prior over its latents, which together make new data.

    new    latents ~ prior → decoder
    old    x → encoder → latents → decoder

Models of tokens and models of vectors are used alike; `layout` says which one it is. Over tokens
there are three priors, which share one decoder:

    "uniform"     every index equally likely: what the decoder does without any prior
    "histogram"   token grids seen in training, as often as they were seen
    "learned"     the learned prior, with or without a condition

The latent vectors of a continuous autoencoder have one, the Gaussian that belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from smalti.arguments import as_whole_number
from smalti.autoencoders import Autoencoder, ContinuousAutoencoder, Tokenizer
from smalti.autoencoders.inputs import device_of, with_size
from smalti.autoencoders.streams import StreamDecoder, StreamEncoder
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.generation.candidates import check_candidates, check_captions
from smalti.generation.checks import (
    check_batch_memory,
    latent_pieces,
    make_generator,
    signal_pieces,
)
from smalti.generation.compressing import Compressing
from smalti.generation.drawing import draw
from smalti.generation.editing import check_part, redraw
from smalti.generation.editing import swap as swap_tokens
from smalti.generation.known import known_tokens, pack_known_tokens
from smalti.generation.named_prior import PRIORS, named_prior
from smalti.generation.pasting import paste_back
from smalti.generation.sampling_request import Words, condition_values, make_sampling_config
from smalti.generation.saved import load_models, save_models
from smalti.generation.traversal import as_continuous, latent_dimensions, traverse
from smalti.layout import Layout
from smalti.networks import ContrastiveNetwork
from smalti.priors import GaussianPrior, Prior, SamplingConfig
from smalti.quantizers import Quantizer
from smalti.quantizers.beam_width import with_beam
from smalti.quantizers.first_codebooks import check_codebooks, first_codebooks
from smalti.run_directory import Run
from smalti.signals import Signal

if TYPE_CHECKING:
    from smalti.data import Splits

__all__ = ["PRIORS", "Model"]


class Model(Compressing):
    """An autoencoder, and a prior over its latents if there is one.

    Arguments:
        autoencoder: The autoencoder.
        prior: The prior. That of a continuous autoencoder is its own Gaussian if not given.
        run: The run directory that both were loaded from, which also has the training tokens.
        reranker: What says how well samples fit their captions, if there is such a network.

    Example:
        >>> model = Model.load("runs/clocks")  # doctest: +SKIP
        >>> model.sample(16, condition="10:10").shape  # doctest: +SKIP
        torch.Size([16, 3, 64, 64])
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        prior: Prior | None = None,
        run: Run | None = None,
        reranker: ContrastiveNetwork | None = None,
    ) -> None:
        if prior is None and isinstance(autoencoder, ContinuousAutoencoder):
            prior = GaussianPrior.of(*autoencoder.latent_distribution)
        self.autoencoder, self.prior, self.run = autoencoder, prior, run
        self.reranker = reranker

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Loads the models of a run directory, maybe without a prior yet, or of `save`'s folder.

        Raises:
            InputError: If it is neither, it has no autoencoder yet, or a model in it is damaged.
        """
        return cls(*load_models(folder))

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Saves autoencoder and prior in a folder for `load`, without data, tokens and report.

        Raises:
            InputError: If the folder is a run, or a model there would be replaced that smalti did
                not write.
        """
        save_models(self.autoencoder, self.prior, folder, overwrite, self.reranker)

    def to(self, device: str | torch.device) -> Self:
        """Moves autoencoder and prior to a device."""
        for module in (self.autoencoder, self.prior, self.reranker):
            if module is not None:
                module.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Returns the device of the model."""
        return device_of(self.autoencoder)

    @property
    def signal(self) -> Signal:
        """Returns the signal that the autoencoder takes and gives: its kind, shape and range."""
        return self.autoencoder.signal

    @property
    def layout(self) -> Layout | None:
        """Returns how the tokens of one signal are laid out; `None` if latents are vectors."""
        return self.autoencoder.layout

    @property
    def condition(self) -> Condition | None:
        """Returns the condition that the prior takes; `None` if it takes none."""
        return None if self.prior is None else self.prior.condition

    def encode(
        self,
        x: Any,
        any_size: bool = False,
        *,
        beam: int | None = None,
        codebooks: int | None = None,
    ) -> Any:
        """Encodes signals (B, C, *size): indices (B, *grid), of a hierarchy a tuple; or (B, D).

        Arguments:
            x: In the signal's range, of any floating-point type: a tensor, a numpy array or nested
                lists; or a path, what `Modality.from_object` takes, or a list of such, which are
                decoded as the model takes them. Bytes are not guessed at: scale them first.
            any_size: Whether signals may be of another size than the model was trained on, which a
                convolutional tokenizer takes. Large ones are taken in tiles.
            beam: B > 0, how many sums of codewords are kept while codes are searched, for this
                call; more come closer to x and take longer. If not given, the model's own.
            codebooks: How many of Q codebooks to use, from the first on: indices (B, *grid, q), at
                a lower rate, which decode as well. All if not given.

        Raises:
            InputError: If x is no batch of the signal, the model gives what is not finite, or it
                has no beam, or not so many codebooks that refine each other.
        """
        kept = None if codebooks is None else check_codebooks(self._quantizers, codebooks)
        signal = with_size(self.signal, ()) if any_size else self.signal
        given = signal_pieces(x, signal, self.run)
        with with_beam(self.autoencoder, beam):
            parts = [self.autoencoder.encode(part, any_size) for part in given]
        if isinstance(parts[0], tuple):
            return tuple(torch.cat(level) for level in zip(*parts, strict=True))
        return first_codebooks(torch.cat(parts), kept)

    def decode(
        self, latents: Tensor | Sequence[Tensor], size: tuple[int, ...] | None = None
    ) -> Tensor:
        """Decodes latents, of a hierarchy a tuple or a prefix of it, to signals (B, C, *size).

        Arguments:
            latents: As `encode` gives them: tensors, numpy arrays or nested lists; indices are
                integers of any type, vectors floating-point numbers.
            size: The size to crop to, of signals of another size than the model's.

        Raises:
            InputError: If they are no such latents, or the model gives what is not finite.
        """
        parts = latent_pieces(latents, self.layout)
        return torch.cat([self.autoencoder.decode(part, size) for part in parts])

    def reconstruct(
        self,
        x: Any,
        levels: int | None = None,
        any_size: bool = False,
        *,
        codebooks: int | None = None,
    ) -> Tensor:
        """Encodes signals and decodes them again: (B, C, *size), of the size of x.

        Arguments:
            x: A batch of signals, as `encode` takes them.
            levels: How many levels of a hierarchy to decode, from the coarsest; all if not given.
            any_size: Whether signals may be of another size than the model was trained on.
            codebooks: How many of several codebooks to use, as of `encode`.

        Raises:
            InputError: If x is no batch of the signal, or there are not so many levels or
                codebooks.
        """
        if any_size:
            x = torch.cat(list(signal_pieces(x, with_size(self.signal, ()), self.run)))
        latents = self.encode(x, any_size, codebooks=codebooks)
        if levels is not None:
            most = len(latents) if isinstance(latents, tuple) else 1
            if most == 1 or not 1 <= levels <= most:
                has = f"{most} levels" if most > 1 else "no levels"
                mend = f"give 1 to {most}" if most > 1 else "leave it out"
                raise InputError(f"This model has {has}, got --levels {levels}: {mend}.")
            latents = latents[:levels]
        return self.decode(latents, tuple(x.shape[2:]) if any_size else None)

    def stream_encoder(self) -> StreamEncoder:
        """Returns what encodes a signal chunk by chunk, to the indices that `encode` gives.

        Raises:
            InputError: If the model looks at later positions, or at signals as a whole.
        """
        return StreamEncoder(self.autoencoder)

    def stream_decoder(self) -> StreamDecoder:
        """Returns what decodes indices chunk by chunk, to the signals that `decode` gives.

        Raises:
            InputError: See `stream_encoder`.
        """
        return StreamDecoder(self.autoencoder)

    def encode_flat(self, x: Any) -> Tensor:
        """Encodes signals (B, C, *size) to latents as a prior sees them: one tensor (B, …)."""
        given = signal_pieces(x, self.signal, self.run)
        return torch.cat([self.autoencoder.encode_flat(part) for part in given])

    def unpack(self, latents: Tensor) -> Any:
        """Converts latents from the tensor that a prior sees to the form that `encode` gives."""
        if self.layout is None:
            return latents
        grids = self.layout.unpack(latents)
        return grids if len(grids) > 1 else grids[0]

    @property
    def _quantizers(self) -> tuple[Quantizer, ...]:
        """Returns the quantizer of each level; none of a model of vectors."""
        return self.autoencoder.levels if isinstance(self.autoencoder, Tokenizer) else ()

    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int = 8) -> Tensor:
        """Decodes steps between the latents of two signals (C, *size): (steps, C, *size)."""
        steps = as_whole_number(steps, "steps")
        check_batch_memory(steps, math.prod(self.signal.shape), "steps")
        return self.autoencoder.interpolate(x_a, x_b, steps)

    def dimensions(self, rows: int | None = None) -> list[int]:
        """Returns the indices of the latent dimensions, the most informative first.

        Arguments:
            rows: How many of them; all if not given.

        Raises:
            InputError: If the latents are tokens, or it has not so many.
        """
        return latent_dimensions(self.autoencoder, rows)

    def traverse(
        self, x: Tensor, rows: int | None = None, steps: int = 9, reach: float = 3.0
    ) -> Tensor:
        """Changes a signal x (C, *size) along one latent dimension a row: (R, steps, C, *size).

        Arguments:
            x: The signal whose latents give the values of the other dimensions.
            rows: R, how many dimensions, the most informative first; all if not given.
            steps: The number of values of each.
            reach: How far to each side, in standard deviations of the prior.

        Raises:
            InputError: If x is no such signal, one of the others is out of range, or the latents
                are tokens.
        """
        autoencoder, dims = as_continuous(self.autoencoder), self.dimensions(rows)
        steps = as_whole_number(steps, "steps")
        check_batch_memory(steps * len(dims), math.prod(self.signal.shape), "signals")
        prior = GaussianPrior.of(*autoencoder.latent_distribution)
        return traverse(autoencoder, prior, x, dims, steps, reach)

    def sample(
        self,
        n: int,
        condition: Words | Mapping[str, Words] | None = None,
        *,
        prior: str = "learned",
        known: Tensor | None = None,
        seed: int | None = None,
        config: SamplingConfig | None = None,
        candidates: int = 1,
        **options: Any,
    ) -> Tensor:
        """Draws latents from a prior and decodes them to n new signals (n, C, *size).

        Arguments:
            n: The number of signals.
            condition: A label or a time, or n of them: "3", "horse", "10:10"; of a prior with
                several conditions such words by name, {"label": "horse", "time": "10:10"}. What is
                not given is drawn for each sample, all values being equally likely.
            prior: "learned", or of a model of tokens "histogram" or "uniform".
            known: Tokens (n, *grid), or (1, *grid) for all, -1 where to fill in, see
                `known_tokens`; of a hierarchy rows, or a tuple of all its grids.
            seed: Makes the result repeatable.
            config: Temperature, truncation and guidance of the draws.
            candidates: How many are drawn for each that is kept: those that fit their captions
                best, of one caption the best first. Of a model with a reranker.
            options: The fields of a `SamplingConfig`, in place of `config`: `temperature`,
                `top_k`, `top_p`, `guidance`, `steps`, `order`, `choice_temperature`.

        Raises:
            InputError: If the condition does not exist, the prior needs something that is not
                there, or an argument is no such thing.
        """
        return self.decode(
            self.sample_latents(
                n,
                condition,
                prior=prior,
                known=known,
                seed=seed,
                config=config,
                candidates=candidates,
                **options,
            )
        )

    def sample_latents(
        self,
        n: int,
        condition: Words | Mapping[str, Words] | None = None,
        *,
        prior: str = "learned",
        known: Tensor | None = None,
        seed: int | None = None,
        config: SamplingConfig | None = None,
        candidates: int = 1,
        **options: Any,
    ) -> Any:
        """Draws n latents as `sample` does, without decoding them: as `encode` gives them."""
        generator = make_generator(n, seed)
        n = as_whole_number(n, "The number of samples")
        candidates = check_candidates(candidates, self.reranker, prior)
        check_batch_memory(n, math.prod(self.signal.shape), "samples")
        if self.layout is not None:  # all of their tokens are kept until they are chosen among
            check_batch_memory(n * candidates, 2 * self.layout.positions, "candidates")
        chosen = self.prior_named(prior)
        config = make_sampling_config(config, options)
        context = condition_values(chosen.condition, condition, n, generator)
        check_captions(candidates, context, chosen.condition)
        known = None if known is None else pack_known_tokens(known, self.layout, n)
        drawn = draw(self, chosen, context, known, config, generator, n=n, candidates=candidates)
        return self.unpack(drawn)

    def edit(
        self,
        x: Any,
        mask: Any = None,
        condition: Words | Mapping[str, Words] | None = None,
        *,
        n: int = 1,
        strength: float | None = None,
        swap: Any = None,
        blend: int | None = None,
        **options: Any,
    ) -> Tensor:
        """Edits a signal: inpaints a part of it, varies it, or swaps a part: (n, C, *size).

        The tokens of the rest are kept. `smalti.generation.editing` says how, and logs a line if
        the prior does not see all kept tokens.

        Arguments:
            x: (C, *size) in the signal's range.
            mask: (*size), bool, True where the signal is drawn anew. The values of x there are
                not used, unless a strength is given.
            condition: What the edited signal is asked to show; see `sample`.
            n: The number of variants to make.
            strength: Vary: draw this share of the tokens anew, in (0, 1], of those under the mask,
                or of all tokens if there is no mask.
            swap: Another signal (C, *size). Its tokens are taken under the mask; none are drawn.
            blend: Paste x back outside of the mask, with a seam so many values wide, at least 0.
                If not given, the outside is what the decoder makes of the kept tokens.
            options: `prior`, `seed`, `candidates`, `config` and its options; see `sample`.

        Raises:
            InputError: If an argument does not fit, nothing is to be edited, or the latents are no
                tokens.
        """
        if "known" in options:
            raise InputError(
                "An edit keeps the tokens that its mask leaves, got known ones: leave them out, or "
                "give them to sample."
            )
        x, mask = check_part(self, x, mask)
        if blend is not None and mask is None:
            raise InputError(f"Without a mask nothing is outside, got blend={blend}: leave it out.")
        if swap is not None:
            asked = {"condition": condition, "strength": strength, "n": None if n == 1 else n}
            given = [name for name, value in asked.items() if value is not None]
            made = swap_tokens(self, x, mask, swap, [*given, *options])
        else:
            made = redraw(self, x, mask, condition, n, strength, options)
        return made if blend is None else paste_back(made, x, mask, blend)

    def prior_named(self, name: str) -> Prior:
        """Returns the prior that is called "learned", "histogram" or "uniform".

        Raises:
            InputError: If there is no such prior, or what it needs is missing.
        """
        return named_prior(self, name)

    def evaluate(self, splits: Splits | None = None, **options: Any) -> Any:
        """Measures the model on its test set.

        Arguments:
            splits: The data that it was learned from; those of its run if not given.
            options: See `smalti.evaluation.evaluate`.

        Returns:
            A `smalti.evaluation.Report`.

        Raises:
            InputError: If there are no such data, or they are not what the model was trained on.
        """
        from smalti.generation import measuring  # which the light install cannot import

        return measuring.evaluate(self, splits, **options)

    def known_tokens(self, x: Tensor, given: Tensor) -> Tensor:
        """Encodes partly given signals to tokens, -1 where a patch holds a value not given; of a
        hierarchy as rows (B, L).

        Arguments:
            x: (B, C, *size) in the signal's range.
            given: (B, *size), True where the signal is given; the rest should be something smooth.

        Raises:
            InputError: If x is no batch of the signal, `given` is not bool of its size, or the
                latents are no tokens.
        """
        return known_tokens(self.autoencoder, x, given)
