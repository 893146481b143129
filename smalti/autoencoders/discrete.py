"""The VQ-VAE: encoder, quantizer, decoder.

    z_e = encoder(x)              (B, D, *grid)
    z_q, indices, losses = quantizer(z_e)
    x_hat = decoder(z_q)

The encoder gives vectors, the quantizer replaces each by a codeword, the decoder reconstructs. It
is what language models call a tokenizer: `encode` turns a signal into a grid of integers, `decode`
turns such a grid back.

With a likelihood the decoder gives h, from which the likelihood makes a distribution of the signal:

    h = decoder(z_q)        p(x | z_q) = likelihood(h)        x_hat = E[x | h]

and the loss of the reconstruction is −log p(x | z_q), in nats per dimension.

References:
    Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu, 2017,
    arXiv 1711.00937.
"""

from __future__ import annotations

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
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.losses.likelihoods import Likelihood
from smalti.networks import Normalization, grid_of
from smalti.quantizers import Quantizer
from smalti.signals import Signal

__all__ = ["DiscreteAutoencoder"]


@registered
class DiscreteAutoencoder(Tokenizer):
    """A VQ-VAE assembled from an encoder, a quantizer and a decoder.

    Sizes that the downsampling does not divide are padded by reflection on the far side, and the
    reconstruction is cropped back.

    Arguments:
        encoder: (B, C, *size) → (B, D, *grid), with the attribute `downsampling`.
        quantizer: Acts on the last dimension, (B, *grid, D).
        decoder: (B, D, *grid) → (B, C, *grid · downsampling), or with a likelihood
            (B, likelihood.channels(C), *grid · downsampling).
        signal: The signal that it is trained on. `encode` checks its input against it.
        likelihood: p(x | h) of the decoder's output h; the output is the signal itself if None.
        normalization: Maps signals to what the networks see; no normalization if None.

    Example:
        >>> from smalti.networks import ConvEncoder
        >>> from smalti.modalities.image import Image
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> signal = Image(channels=3, size=(30, 20))
        >>> encoder = ConvEncoder(signal, 16, hidden=32)
        >>> model = DiscreteAutoencoder(
        ...     encoder,
        ...     VectorQuantizer(EMACodebook(codebook_size=64, dim=16)),
        ...     encoder.mirror(signal, 16),
        ...     signal,
        ... ).eval()
        >>> indices = model.encode(torch.zeros(2, 3, 30, 20))
        >>> indices.shape, model.decode(indices).shape
        (torch.Size([2, 8, 5]), torch.Size([2, 3, 30, 20]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: Quantizer,
        decoder: nn.Module,
        signal: Signal,
        likelihood: Likelihood | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.signal = signal
        self.likelihood = likelihood
        self.downsampling: int = encoder.downsampling  # type: ignore[assignment]
        self._check_decoder(decoder)
        self._take_normalization(normalization)

    @property
    def grid(self) -> tuple[int, ...]:
        """Returns the shape of the grid of one signal, without a trailing Q; empty for any size."""
        return grid_of(self.encoder, self.signal.size)

    @property
    def levels(self) -> tuple[Quantizer, ...]:
        return (self.quantizer,)

    @property
    def layout(self) -> Layout:
        sizes = self.quantizer.codebook_sizes
        if self.quantizer.acts_on_grid:
            return Layout((() if len(sizes) > 1 else (1,),), (sizes,))
        return Layout((self.grid,), (sizes,))

    def encode_flat(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def decode_flat(self, tokens: Tensor) -> Tensor:
        return self.decode(tokens)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """See `Autoencoder.forward`; losses are the quantizer's, and that of the likelihood."""
        of_grid = None if mask is None else self._mask_of_grid(mask, x)
        z_q, indices, losses = self.quantizer(self._vectors(self._seen(x)), of_grid)
        last = self._last_weight(self.decoder)
        if getattr(self.decoder, "compares", False):
            x_hat, distance = self._compared(self.decoder, self._grid_first(z_q), x, mask)
            losses = {**losses, "reconstruction": distance}
            return Reconstruction(x_hat, indices, losses, last_weight=last)
        h = self._outputs(z_q, tuple(x.shape[2:]))
        if self.likelihood is None:
            x_hat = h if mask is None else fill_padding(h, x, mask)
            return Reconstruction(x_hat, indices, losses, last_weight=last)
        nll, x_hat = self._likelihood_of(h, x)
        nats = nll.mean() / x[0].numel()
        losses = {**losses, "reconstruction": nats}
        return Reconstruction(x_hat, indices, losses, last_weight=last)

    @property
    def one_size(self) -> str | None:
        if self.quantizer.acts_on_grid:
            return f"A {type(self.quantizer).__name__}"
        fixed = getattr(self.encoder, "margin", 0) is None
        return f"A {type(self.encoder).__name__}" if fixed else None

    @property
    def upsamplings(self) -> tuple[int, ...]:
        return (1,)

    @property
    def margins(self) -> tuple[int, int] | None:
        margins = [getattr(part, "margin", None) for part in (self.encoder, self.decoder)]
        known = [margin for margin in margins if margin is not None]
        return (known[0], known[1]) if len(known) == 2 else None

    def quantized(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.quantizer.encode(check_result(self._vectors(x), "The encoder")),)

    def reconstructed(self, grids: Sequence[Tensor], size: tuple[int, ...] | None) -> Tensor:
        h = self._outputs(self.quantizer.decode(grids[0]), size)
        return h if self.likelihood is None else self.likelihood.point_estimate(h)

    @torch.no_grad()
    def encode(self, x: Any, any_size: bool = False) -> Tensor:
        """Encodes signals x (B, C, *size) to indices (B, *grid) or (B, *grid, Q).

        See `Autoencoder.encode`.
        """
        (indices,) = self.encoded(self._seen(self.normalize(self.as_batch(x, any_size))))
        return indices

    @torch.no_grad()
    def encode_vectors(self, x: Any) -> Tensor:
        """Encodes signals x (B, C, *size) to the vectors (B, *grid, D) that are quantized.

        Raises:
            InputError: If x is no batch of the signal, or the encoder gives what is not finite.
        """
        x = self._seen(self.normalize(self.as_batch(x)))
        return check_result(self._vectors(x), "The encoder")

    @torch.no_grad()
    def decode(self, indices: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """Decodes indices to signals (B, C, *size), clipped to the signal's range.

        Arguments:
            indices: (B, *grid) or (B, *grid, Q), integers of any type, each below its codebook's
                size; -1 for none.
            size: The size to crop to. Default: the signal's own size where the grid is that of the
                model, else the whole.

        Raises:
            InputError: If the indices have too few dimensions or are out of range, or the result
                is not finite.
        """
        if isinstance(indices, tuple):
            raise InputError(
                f"This model has one grid of indices per signal, got a tuple of {len(indices)}: "
                f"give the tensor itself."
            )
        indices = as_integers(indices, "Indices").to(device_of(self))
        whole = self.quantizer.acts_on_grid
        dims = 1 if whole else 1 + (len(self.grid) or self.signal.spatial_dims)
        several = len(self.quantizer.codebook_sizes) > 1
        if indices.ndim != dims + (several or whole):
            shape = ["B", *([] if whole else map(str, self.grid or ["*grid"]))]
            shape += [str(len(self.quantizer.codebook_sizes))] if several or whole else []
            raise InputError(
                f"Indices have the shape ({', '.join(shape)}), got {tuple(indices.shape)}: "
                f"give a batch of grids, one x of them as x[None]."
            )
        grid = self.grid if whole else tuple(indices.shape[1:dims])
        if 0 in grid:
            raise InputError(
                f"Grids of indices have at least one position, got the shape "
                f"{tuple(indices.shape)}: give those that encode gave."
            )
        if size is None and grid == self.grid:
            size = self.signal.size
        else:
            size = check_crop_size(size, tuple(length * self.downsampling for length in grid))
        x_hat = self._raw(self.decoded((indices,), size))
        return self.signal.finish(check_result(x_hat, "The decoder"))

    @torch.no_grad()
    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int) -> Tensor:
        pair = self._seen(self.normalize(self.as_pair(x_a, x_b)))
        z_a, z_b = check_result(self._vectors(pair), "The encoder")
        return self.decode(self.quantizer.encode(linear_path(z_a, z_b, steps)))

    @torch.no_grad()
    def with_quantizer(self, quantizer: Quantizer) -> DiscreteAutoencoder:
        """Returns the same autoencoder with another quantizer; all else is shared."""
        arguments: dict[str, Any] = self._arguments  # type: ignore[assignment]
        return type(self)(**{**arguments, "quantizer": quantizer}).train(self.training)

    def nll(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        self.needed_likelihood()
        x = self.as_batch(x)
        indices = self.encode(x) if latents is None else as_integers(latents, "Tokens").to(x.device)
        h = self._outputs(self.quantizer.decode(indices), tuple(x.shape[2:]))
        return self._nats(h, x)

    def vectors(self, x: Tensor) -> Tensor:
        """Computes z_e (B, *grid, D) of signals x (B, C, *size), what the quantizer is given."""
        return self._vectors(self._seen(self.normalize(x)))

    def _mask_of_grid(self, mask: Tensor, x: Tensor) -> Tensor:
        """Returns the mask of the positions of the grid, (B, *grid)."""
        check_mask(mask, x)
        counts = downsample_mask(mask, self.downsampling)
        on_grid = tuple(counts.shape[1:]) == grid_of(self.encoder, tuple(x.shape[2:]))
        whole = {
            self.likelihood: self.likelihood is not None,
            self.quantizer: self.quantizer.acts_on_grid,
            self.encoder: not on_grid,
        }
        for what in (part for part, takes_whole in whole.items() if takes_whole):
            raise InputError(
                f"A {type(what).__name__} takes signals as a whole, got a mask: leave it out, or "
                f"train on signals of one size."
            )
        return counts

    def _vectors(self, x: Tensor) -> Tensor:
        """Computes z_e (B, *grid, D) of x (B, C, *size); only here the layout changes."""
        return rearrange(self.encoder(pad(x, self.downsampling)), "b d ... -> b ... d")

    def _outputs(self, z_q: Tensor, size: tuple[int, ...] | None) -> Tensor:
        """Runs the decoder on z_q (B, *grid, D): x_hat (B, C, *size), or h of a likelihood."""
        h = self.decoder(self._grid_first(z_q))
        return h if size is None else crop(h, size)

    def _grid_first(self, z_q: Tensor) -> Tensor:
        """Lays z_q (B, *grid, D) out as the decoder takes it, (B, D, *grid)."""
        return to_weights(rearrange(z_q, "b ... d -> b d ..."), self.decoder)
