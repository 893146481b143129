"""Tokenizers run chunk by chunk, with the result of the whole.

    encoder = StreamEncoder(tokenizer)
    for chunk in chunks:                     # of any lengths
        indices = encoder.push(chunk)        # those that are known by now, maybe none
    indices = encoder.finish()               # of the last positions, padded as `encode` pads them

Side by side they are what `encode` gives of the whole, and what a `StreamDecoder` makes of them is
what `decode` makes: the networks are causal, quantizers and normalizations act on each position by
itself. What is kept between two chunks has a fixed size.

The **algorithmic latency** is the number of signal positions that must have come before the first
of them can be given out again: the downsampling, for an index is known when the last position of
its patch is. What computing takes comes on top.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smalti.arguments import as_integers, as_tensor, check_result
from smalti.autoencoders.base import Autoencoder
from smalti.autoencoders.inputs import device_of
from smalti.autoencoders.padding import pad
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.errors import InputError
from smalti.nn.streaming import Running, Streamed

__all__ = ["StreamDecoder", "StreamEncoder", "algorithmic_latency"]

ONE, SEVERAL = ("encoder", "decoder"), ("encoders", "decoders")  # networks, by attribute


class StreamEncoder:
    """Encodes a batch of signals chunk by chunk.

    Arguments:
        autoencoder: A tokenizer with causal networks.

    Raises:
        InputError: If it is none, or takes signals as a whole.

    Example:
        >>> from smalti.autoencoders import DiscreteAutoencoder
        >>> from smalti.networks import Features, SEANetEncoder
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> wave = Features(1, spatial_dims=1)
        >>> encoder = SEANetEncoder(wave, 4, hidden=4, strides=[2, 5], causal=True)
        >>> quantizer = VectorQuantizer(EMACodebook(codebook_size=8, dim=4))
        >>> model = DiscreteAutoencoder(encoder, quantizer, encoder.mirror(wave, 4), wave).eval()
        >>> stream = StreamEncoder(model)
        >>> [stream.push(torch.zeros(1, 1, 7)).shape[1] for _ in range(4)]
        [0, 1, 1, 0]
        >>> stream.finish().shape, stream.latency
        (torch.Size([1, 1]), 10)
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.model = _running(autoencoder)
        self.latency = algorithmic_latency(autoencoder)
        self._unit = autoencoder.downsampling
        self._waiting: Tensor | None = None  # what is not encoded yet
        self._before: Tensor | None = None  # the last positions that are
        self._ended = False

    @torch.no_grad()
    def push(self, x: Any) -> Any:
        """Takes the next chunk of the signals, and returns the indices that are known by now.

        Arguments:
            x: (B, C, T) in the signal's range, of any T.

        Returns:
            (B, L) or (B, L, Q), of a hierarchy a tuple of such; L may be 0.

        Raises:
            InputError: If it is no such chunk, or the stream has ended.
        """
        _check_open(self._ended)
        y = self._seen(x)
        if self._waiting is not None and y.shape[:2] != self._waiting.shape[:2]:
            raise InputError(
                f"A chunk has the batch and the channels of those before, "
                f"{tuple(self._waiting.shape[:2])}, got {tuple(y.shape[:2])}: begin another stream."
            )
        y = y if self._waiting is None else torch.cat([self._waiting, y], -1)
        whole = y.shape[-1] - y.shape[-1] % self._unit
        self._waiting = y[..., whole:].clone()
        if not whole:
            return self._form(self._none(len(y)))
        self._before = y[..., whole - self._unit : whole].clone()
        return self._form(self.model.quantized(y[..., :whole]))

    @torch.no_grad()
    def finish(self) -> Any:
        """Ends the stream, and returns the index of what is left, padded as `encode` pads it.

        Raises:
            InputError: If it has ended, or nothing was pushed.
        """
        _check_open(self._ended)
        if self._waiting is None:
            raise InputError("A stream has at least one chunk, got none: push one.")
        self._ended, left = True, self._waiting
        if not left.shape[-1]:
            return self._form(self._none(len(left)))
        known = left if self._before is None else torch.cat([self._before, left], -1)
        return self._form(self.model.quantized(pad(known, self._unit)[..., -self._unit :]))

    def _seen(self, x: Any) -> Tensor:
        """Returns what the encoder sees of a chunk, which may be a gap from end to end."""
        x = as_tensor(x, "The signals")
        missing = x.isnan() if self.model.signal.gaps and x.is_floating_point() else None
        if missing is None:
            return self.model.normalize(self.model.as_batch(x, any_size=True))
        y = self.model.as_batch(torch.where(missing, 0.0, x), any_size=True)
        y = self.model.normalize(torch.where(missing.to(y.device), torch.nan, y))
        return torch.where(y.isnan(), 0.0, y)

    def _none(self, batch: int) -> tuple[Tensor, ...]:
        """Returns the indices of no position."""
        depths = [len(quantizer.codebook_sizes) for quantizer in self.model.levels]
        shapes = [(batch, 0, *([depth] if depth > 1 else [])) for depth in depths]
        return tuple(
            torch.zeros(shape, dtype=torch.int64, device=device_of(self.model)) for shape in shapes
        )

    def _form(self, grids: tuple[Tensor, ...]) -> Any:
        return grids if len(self.model.levels) > 1 else grids[0]


class StreamDecoder:
    """Decodes a batch of indices chunk by chunk.

    Arguments:
        autoencoder: A tokenizer with causal networks.

    Raises:
        InputError: If it is none, or takes signals as a whole.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.model = _running(autoencoder)

    @torch.no_grad()
    def push(self, indices: Any) -> Tensor:
        """Decodes the next indices to the next positions of the signals.

        Arguments:
            indices: As `StreamEncoder.push` gives them; of a hierarchy the first levels alone go.

        Returns:
            (B, C, L · downsampling), in the signal's range.

        Raises:
            InputError: If they are no such indices.
        """
        grids = self._checked(indices)
        model, signal = self.model, self.model.signal
        if not grids[0].shape[1]:
            empty = torch.zeros(len(grids[0]), signal.channels, 0, device=grids[0].device)
            return empty.to(next(model.parameters()).dtype)
        x_hat = model._raw(model.reconstructed(grids, None))
        return signal.finish(check_result(x_hat, "The decoder"))

    def _checked(self, indices: Any) -> list[Tensor]:
        """Returns the indices of each level; raises `InputError` unless they go together."""
        several = isinstance(indices, tuple | list) and len(self.model.levels) > 1
        given: Sequence[Any] = indices if several else [indices]
        where = device_of(self.model)
        grids = [as_integers(grid, "Indices").to(where) for grid in given]
        depths = [len(quantizer.codebook_sizes) for quantizer in self.model.levels]
        if not 1 <= len(grids) <= len(depths) or any(
            grid.ndim != 2 + (depth > 1) or grid.shape[1] != grids[0].shape[1] * up
            for grid, depth, up in zip(grids, depths, self.model.upsamplings, strict=False)
        ):
            shapes = ", ".join(str(tuple(grid.shape)) for grid in grids)
            raise InputError(
                f"A stream is decoded from indices as a StreamEncoder gives them, got "
                f"{shapes or 'none'}: give what its push returned."
            )
        return grids


def algorithmic_latency(autoencoder: Autoencoder) -> int:
    """Returns how many signal positions must have come before the first is given out again.

    Raises:
        InputError: If the networks are not causal, or not such that this is known.
    """
    for network in _networks(autoencoder):
        _check_causal(network)
    return autoencoder.downsampling


def _running(autoencoder: Autoencoder) -> Any:
    """Returns a copy of a tokenizer whose networks keep their state from one chunk to the next.

    All else it shares with the tokenizer, such as codebooks.
    """
    if not isinstance(autoencoder, Tokenizer):
        raise InputError(
            f"A stream needs a tokenizer, got a {type(autoencoder).__name__}, which makes one "
            f"vector of a whole {autoencoder.signal.noun}: use one with causal networks."
        )
    if autoencoder.one_size is not None:
        raise InputError(
            f"{autoencoder.one_size} takes {autoencoder.signal.plural} as a whole, so they are not "
            f"streamed: use a tokenizer with causal networks, e.g. SEANetEncoder."
        )
    likelihood = autoencoder.likelihood
    if likelihood is not None and likelihood.autoregressive:
        raise InputError(
            f"A {type(likelihood).__name__} draws a {autoencoder.signal.noun} as a whole, so it is "
            f"not streamed: train the tokenizer without it."
        )
    algorithmic_latency(autoencoder)
    clone = copy.copy(autoencoder)
    parts: dict[str, nn.Module | None] = dict(autoencoder._modules)
    for name, part in parts.items():
        if name in ONE and part is not None:
            parts[name] = Running(part)
        elif name in SEVERAL and part is not None:
            parts[name] = nn.ModuleList(map(Running, part.children()))
    clone.__dict__["_modules"] = parts
    return clone


def _networks(autoencoder: Autoencoder) -> list[nn.Module]:
    """Lists the encoders and decoders of an autoencoder."""
    parts = [part for name, part in autoencoder.named_children() if name in ONE]
    for name, part in autoencoder.named_children():
        parts += part.children() if name in SEVERAL else ()
    return parts


def _check_open(ended: bool) -> None:
    if ended:
        raise InputError("A stream that was finished takes no more: begin another.")


def _check_causal(network: nn.Module) -> None:
    name = type(network).__name__
    if not isinstance(network, Streamed):
        raise InputError(
            f"A {name} is not run chunk by chunk: use a SEANetEncoder, a SEANetDecoder or a "
            f"VocosDecoder with causal: true, such as those of the recipe speech-codec-streaming."
        )
    if network.ahead:
        raise InputError(
            f"This {name} looks {network.ahead} positions ahead, so nothing is streamed: train the "
            f"model with causal: true."
        )
