"""The VQ-VAE-2: several grids of indices, coarse ones for large structure, fine ones for details.

With L levels, coarse (1) to fine (L), the encoders form a chain from fine to coarse,

    h_L = E_L(x)            h_l = E_l(h_{l+1})                        (B, ·, *grid_l)

and quantization goes the other way. The encoder of a finer level is told what the coarser ones say
already, d_l, so that its own indices need only hold the rest:

    z_1 = h_1               z_l = P_l [h_l, d_l]                      (B, D_l, *grid_l)
    q_l = quantizer_l(z_l)
    d_{l+1} = D_l([d_l, q_l])               x_hat = D_L([d_L, q_L])

P_l is a 1×1 convolution, [·, ·] lays channels side by side, and D_l decodes to the next finer grid;
the last of them decodes to the signal, from all levels: each passes on what the coarser ones said.

**Prefixes.** The paper decodes all levels only. Here the first n of them decode as well, with
q_l = 0 for the finer ones, which shows what each holds. A decoder that never saw such zeros would
make nothing of them; so in training, with the probability `level_dropout` and for each signal by
itself, n is drawn evenly from 1 … L − 1 and the finer levels are masked. What that costs: this
share of a batch teaches the finer levels nothing, and the decoder spends some of its capacity on
blurred reconstructions. With `level_dropout=0` it is the paper's training, and prefixes are not to
be looked at.

References:
    Generating Diverse High-Fidelity Images with VQ-VAE-2, A. Razavi, A. van den Oord and O.
    Vinyals, 2019, arXiv 1906.00446, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from smalti.arguments import as_integers, check_result, to_weights
from smalti.artifacts import registered
from smalti.autoencoders.base import Reconstruction
from smalti.autoencoders.inputs import check_crop_size, device_of
from smalti.autoencoders.masks import check_mask, downsample_mask, fill_padding
from smalti.autoencoders.padding import crop, pad
from smalti.autoencoders.paths import linear_path
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.counting import counted
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.losses.likelihoods import Likelihood
from smalti.networks import Normalization
from smalti.nn import conv_layers
from smalti.quantizers import Quantizer
from smalti.signals import Signal

__all__ = ["HierarchicalAutoencoder"]


@registered
class HierarchicalAutoencoder(Tokenizer):
    """A VQ-VAE-2 of L levels, coarse to fine in every sequence. With one level, a VQ-VAE.

    Sizes that the downsampling of the coarsest level does not divide are padded by reflection on
    the far side, and the reconstruction is cropped back.

    Arguments:
        encoders: E_1 … E_L, with the attributes `downsampling` and `dim`. The last takes the
            signal, each other the features of the next finer one.
        quantizers: One for each level, coarse to fine.
        decoders: D_1 … D_L, with the attributes `dim` and `channels`: the mirrors of the encoders.
        signal: The signal that it is trained on. `encode` checks its input against it.
        level_dropout: Probability in training that a signal is decoded from its coarser levels
            alone.
        likelihood: p(x | h) of the last decoder's output h; that is the signal itself if None.
        normalization: Maps signals to what the networks see; no normalization if None.

    Raises:
        InputError: If there are not as many of each, their channels do not fit, or the probability
            is out of range.

    Example:
        >>> from smalti.networks import ConvEncoder, Features
        >>> from smalti.modalities.image import Image
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> image, between = Image(channels=3, size=(32, 32)), Features(32)
        >>> coarse = ConvEncoder(between, 16, hidden=32, downsampling=2)
        >>> fine = ConvEncoder(image, 32, hidden=32)
        >>> model = HierarchicalAutoencoder(
        ...     [coarse, fine],
        ...     [VectorQuantizer(EMACodebook(codebook_size=64, dim=16)) for _ in range(2)],
        ...     [coarse.mirror(between, 16), fine.mirror(image, 32 + 16)],
        ...     image,
        ... ).eval()
        >>> top, bottom = model.encode(torch.zeros(2, 3, 32, 32))
        >>> top.shape, bottom.shape, model.decode((top,)).shape
        (torch.Size([2, 4, 4]), torch.Size([2, 8, 8]), torch.Size([2, 3, 32, 32]))
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        quantizers: Sequence[Quantizer],
        decoders: Sequence[nn.Module],
        signal: Signal,
        level_dropout: float = 0.1,
        likelihood: Likelihood | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__()
        _check(encoders, quantizers, decoders, level_dropout)
        self.encoders = nn.ModuleList(encoders)
        self.quantizers = nn.ModuleList(quantizers)
        self.decoders = nn.ModuleList(decoders)
        self.signal, self.level_dropout, self.likelihood = signal, level_dropout, likelihood
        convolution = conv_layers(signal.spatial_dims).convolution
        self.joins = nn.ModuleList(  # P_2 … P_L
            convolution(encoder.dim + coarser.channels, quantizer.dim, 1)  # type: ignore[operator]
            for encoder, coarser, quantizer in zip(
                encoders[1:], decoders[:-1], quantizers[1:], strict=True
            )
        )
        self.factors: tuple[int, ...] = tuple(encoder.downsampling for encoder in encoders)  # type: ignore[misc]
        self.downsampling = math.prod(self.factors)
        self._check_decoder(decoders[-1])
        self._take_normalization(normalization)

    @property
    def levels(self) -> tuple[Quantizer, ...]:
        return tuple(self.quantizers)  # type: ignore[arg-type]

    @property
    def layout(self) -> Layout:
        coarsest = tuple(-(-length // self.downsampling) for length in self.signal.size)
        grids = (tuple(length * factor for length in coarsest) for factor in self._upsamplings())
        return Layout(tuple(grids), tuple(quantizer.codebook_sizes for quantizer in self.levels))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """See `Autoencoder.forward`; losses are summed over the levels."""
        of_grids = None if mask is None else self._masks_of_grids(mask, x)
        features = self._features(self._seen(x))
        kept = self._kept(x)
        d: Tensor | None = None
        last = self._last_weight(self.decoders[-1])
        indices: list[Tensor] = []
        losses: dict[str, Tensor] = {}
        for level, (h, quantizer) in enumerate(zip(features, self.levels, strict=True)):
            z = self._vectors(level, h, d)
            counts = None if of_grids is None else of_grids[level]
            if kept is not None and level:
                whole = (kept > level).view(-1, *[1] * (z.ndim - 2)).expand(z.shape[:-1])
                counts = whole if counts is None else counts & whole
            z_q, found, terms = quantizer(z, counts)
            indices.append(found)
            losses |= {name: losses.get(name, 0) + term for name, term in terms.items()}
            given = self._given(level, z_q, d)
            if level == len(features) - 1 and getattr(self.decoders[level], "compares", False):
                x_hat, losses["reconstruction"] = self._compared(
                    self.decoders[level], given, x, mask
                )
                return Reconstruction(x_hat, tuple(indices), losses, last_weight=last)
            d = self.decoders[level](given)
        assert d is not None
        x_hat = crop(d, tuple(x.shape[2:]))
        if self.likelihood is not None:
            nll, x_hat = self._likelihood_of(x_hat, x)
            losses["reconstruction"] = nll.mean() / x[0].numel()
        elif mask is not None:
            x_hat = fill_padding(x_hat, x, mask)
        return Reconstruction(x_hat, tuple(indices), losses, last_weight=last)

    @property
    def one_size(self) -> str | None:
        parts = [*(q for q in self.levels if q.acts_on_grid)]
        parts += [e for e in self.encoders if getattr(e, "margin", 0) is None]  # type: ignore[misc]
        return f"A {type(parts[0]).__name__}" if parts else None

    @property
    def upsamplings(self) -> tuple[int, ...]:
        return tuple(self._upsamplings())

    @property
    def margins(self) -> tuple[int, int] | None:
        nets = [*self.encoders, *self.decoders]
        margins = [getattr(net, "margin", None) for net in nets]
        known = [margin for margin in margins if margin is not None]
        if len(known) < len(nets):
            return None
        ups = self._upsamplings()
        encoders, decoders = (
            [margin / up for margin, up in zip(part, ups, strict=True)]
            for part in (known[: len(ups)], known[len(ups) :])
        )
        # An index of the finest level depends on all encoders, and on what coarser indices say.
        return math.ceil(sum(encoders) + sum(decoders[:-1])), math.ceil(sum(decoders))

    def quantized(self, x: Tensor) -> tuple[Tensor, ...]:
        return self._indices(self._features(x))

    def reconstructed(self, grids: Sequence[Tensor], size: tuple[int, ...] | None) -> Tensor:
        h = self._outputs(grids, size)
        return h if self.likelihood is None else self.likelihood.point_estimate(h)

    @torch.no_grad()
    def encode(self, x: Any, any_size: bool = False) -> tuple[Tensor, ...]:
        """Encodes signals x (B, C, *size) to the indices of each level, coarse to fine.

        See `Autoencoder.encode`.
        """
        return self.encoded(self._seen(self.normalize(self.as_batch(x, any_size))))

    @torch.no_grad()
    def decode(self, indices: Sequence[Tensor], size: tuple[int, ...] | None = None) -> Tensor:
        """Decodes indices of all levels, or of the coarser ones alone, to signals in their range.

        Arguments:
            indices: Those of the first 1 … L levels, each (B, *grid_l) or (B, *grid_l, Q), integers
                of any type.
            size: The size to crop to. Default: the signal's own size if the grids are those of the
                model, else the whole.

        Returns:
            (B, C, *size).

        Raises:
            InputError: If there are no grids or too many, their shapes do not belong together, or
                an index is out of range, or the result is not finite.
        """
        grids = self._checked_grids(indices)
        if size is None and tuple(grids[0].shape[1:]) == self.layout.shapes[0]:
            size = self.signal.size
        dims = 1 + self.signal.spatial_dims
        whole = tuple(length * self.downsampling for length in grids[0].shape[1:dims])
        x_hat = self._raw(self.decoded(grids, check_crop_size(size, whole)))
        return self.signal.finish(check_result(x_hat, "The decoder"))

    def encode_flat(self, x: Tensor) -> Tensor:
        return self.layout.pack(self.encode(x))

    def decode_flat(self, tokens: Tensor) -> Tensor:
        return self.decode(self.layout.unpack(tokens))

    @torch.no_grad()
    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int) -> Tensor:
        features = self._features(self._seen(self.normalize(self.as_pair(x_a, x_b))))
        return self.decode(self._indices([linear_path(h[0], h[1], steps) for h in features]))

    @torch.no_grad()
    def nll(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        self.needed_likelihood()
        x = self.as_batch(x)
        grids = (
            self.encode(x)
            if latents is None
            else self.layout.unpack(as_integers(latents, "Tokens").to(x.device))
        )
        return self._nats(self._outputs(grids, tuple(x.shape[2:])), x)

    def _masks_of_grids(self, mask: Tensor, x: Tensor) -> list[Tensor]:
        """Returns the mask of the positions of each grid, (B, *grid_l), coarse to fine."""
        check_mask(mask, x)
        if self.likelihood is not None:
            raise InputError(
                f"A {type(self.likelihood).__name__} takes signals as a whole, got a mask: leave "
                f"it out, or train on signals of one size."
            )
        coarsest = self.downsampling
        return [downsample_mask(mask, coarsest // up, coarsest) for up in self._upsamplings()]

    def _outputs(self, grids: Sequence[Tensor], size: tuple[int, ...] | None) -> Tensor:
        """Decodes indices of the first levels to x_hat (B, C, *size), or h of a likelihood.

        Levels without indices get z_q = 0. The output is cropped to `size`, if one is given.
        """
        d: Tensor | None = None
        for level, quantizer in enumerate(self.levels):
            if level < len(grids):
                z_q = quantizer.decode(grids[level])
            else:
                assert d is not None
                z_q = d.new_zeros(len(d), *d.shape[2:], quantizer.dim)
            d = self._decoded(level, z_q, d)
        assert d is not None
        return d if size is None else crop(d, size)

    def _features(self, x: Tensor) -> list[Tensor]:
        """Runs the encoders on x (B, C, *size): h_1 … h_L."""
        features = [pad(x, self.downsampling)]
        for encoder in reversed(self.encoders):
            features.append(encoder(features[-1]))
        return features[:0:-1]

    def _indices(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Quantizes h_1 … h_L to the indices of each level."""
        d: Tensor | None = None
        indices = []
        for level, (h, quantizer) in enumerate(zip(features, self.levels, strict=True)):
            z = check_result(self._vectors(level, h, d), f"The encoder of level {level}")
            indices.append(quantizer.encode(z))
            if level < len(self.levels) - 1:
                d = self._decoded(level, quantizer.decode(indices[-1]), d)
        return tuple(indices)

    def _vectors(self, level: int, h: Tensor, d: Tensor | None) -> Tensor:
        """Projects h_l and d_l, (B, ·, *grid_l), to z_l (B, *grid_l, D_l)."""
        z = h if d is None else self.joins[level - 1](torch.cat([h, d], 1))
        return rearrange(z, "b d ... -> b ... d")

    def _decoded(self, level: int, z_q: Tensor, d: Tensor | None) -> Tensor:
        """Decodes q_l (B, *grid_l, D_l) and d_l to d_{l+1}, or at the finest level the signal."""
        return self.decoders[level](self._given(level, z_q, d))

    def _given(self, level: int, z_q: Tensor, d: Tensor | None) -> Tensor:
        """Returns what the decoder of a level takes of q_l (B, *grid_l, D_l) and d_l."""
        q = to_weights(rearrange(z_q, "b ... d -> b d ..."), self.decoders[level])
        return q if d is None else torch.cat([d, q], 1)

    def _kept(self, x: Tensor) -> Tensor | None:
        """Returns how many levels each signal keeps, (B,); None where all keep all."""
        levels = len(self.levels)
        if not self.training or self.level_dropout == 0 or levels == 1:
            return None
        prefix = torch.randint(1, levels, (len(x),), device=x.device)
        dropped = torch.rand(len(x), device=x.device) < self.level_dropout
        return torch.where(dropped, prefix, levels)

    def _upsamplings(self) -> list[int]:
        """Returns how many positions of each grid lie along one of the coarsest, per dimension."""
        return [math.prod(self.factors[:level]) for level in range(len(self.factors))]

    def _checked_grids(self, indices: Sequence[Tensor]) -> list[Tensor]:
        """Returns the grids as int64 on the model's device."""
        several = isinstance(indices, list | tuple)
        if not several or not 1 <= len(indices) <= len(self.levels):
            got = counted(len(indices), "grid") if several else "one tensor"
            raise InputError(
                f"This model has {counted(len(self.levels), 'level')}, got {got}: give a tuple of "
                "the grids "
                f"of the first one or more, coarse to fine."
            )
        where = device_of(self)
        grids = [as_integers(grid, "Indices").to(where) for grid in indices]
        dims = 1 + self.signal.spatial_dims
        if not grids[0].ndim or 0 in grids[0].shape[1:]:
            wanted = ", ".join(map(str, self.layout.shapes[0]))
            raise InputError(
                f"The coarsest grid has the shape (B, {wanted}), got "
                f"{tuple(grids[0].shape)}: give a batch of grids, one x of them as x[None]."
            )
        coarsest = grids[0].shape[1:dims]
        for level, (grid, factor) in enumerate(zip(grids, self._upsamplings(), strict=False)):
            trailing = _trailing(self.levels[level])
            expected = (len(grids[0]), *(length * factor for length in coarsest), *trailing)
            if tuple(grid.shape) != expected or len(expected) != dims + len(trailing):
                shapes = ", ".join(map(str, self.layout.shapes))
                raise InputError(
                    f"Level {level} of {len(self.levels)} has the grid {tuple(grid.shape)}, which "
                    f"does not go with the coarsest, {tuple(grids[0].shape)}: for the model's own "
                    f"size the shapes are {shapes} after the batch."
                )
        return grids


def _trailing(quantizer: Quantizer) -> tuple[int, ...]:
    """Returns (Q,) of several indices per position, else ()."""
    several = len(quantizer.codebook_sizes)
    return (several,) if several > 1 else ()


def _check(
    encoders: Sequence[nn.Module],
    quantizers: Sequence[Quantizer],
    decoders: Sequence[nn.Module],
    level_dropout: float,
) -> None:
    """Raises `InputError` unless there are as many of each and their channels fit."""
    counts = len(encoders), len(quantizers), len(decoders)
    if not encoders or len(set(counts)) > 1:
        raise InputError(
            f"A level takes an encoder, a quantizer and a decoder, got {counts[0]}, {counts[1]} "
            f"and {counts[2]}: give as many of each, coarse to fine."
        )
    if not 0 <= level_dropout < 1:
        raise InputError(f"level_dropout is at least 0 and below 1, got {level_dropout}: try 0.1.")
    width: Any = encoders[0].dim
    if width != quantizers[0].dim:
        raise InputError(
            f"The coarsest encoder gives {counted(width, 'channel')}, its quantizer "
            "takes "
            f"{quantizers[0].dim}: give it the quantizer's dim."
        )
    coarser = 0
    for level, (quantizer, decoder) in enumerate(zip(quantizers, decoders, strict=True)):
        if decoder.dim != coarser + quantizer.dim:
            raise InputError(
                f"The decoder of level {level} is given {counted(coarser, 'channel')} by the "
                "coarser levels "
                f"and {quantizer.dim} by its quantizer, and takes {decoder.dim}: give it the sum "
                f"as dim."
            )
        coarser = decoder.channels  # type: ignore[assignment]
