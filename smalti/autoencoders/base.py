"""The base class of all autoencoders, and the output of their forward pass.

    latents = encoder(x)        x_hat = decoder(latents)

All are used alike. What tells them apart is what their latents are, which `layout` says: integers
that lie in grids, which a tokenizer has, or, where there is no layout, one vector of real numbers
per signal. With a likelihood the decoder gives h, which makes a distribution of the signal:
p(x | latents) = likelihood(h), x_hat = E[x | h].

With a normalization, networks see y of the signals x, and reconstruct y; what a user gives and gets
is x in any case. `forward`, the pass of training, takes and gives y, so that losses weigh values as
they are normalized: `normalize` makes y. Where a signal has gaps, values that are missing are NaN
in x and y; encoders see 0 there, and no loss counts them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from smalti.artifacts import Pretrained
from smalti.autoencoders.inputs import as_batch, stack_pair
from smalti.autoencoders.padding import crop, pad
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.losses.likelihoods import Likelihood, LikelihoodOutput
from smalti.networks import Normalization
from smalti.quantizers import Attachment, attach_quantizers, freeze_codebooks
from smalti.signals import Signal, format_size

__all__ = ["Autoencoder", "Reconstruction"]


class Reconstruction(NamedTuple):
    """The output of an autoencoder's forward pass: reconstruction, latents and losses.

    Attributes:
        x_hat: (B, C, *size), the reconstruction. Where a mask is False it is x itself.
        latents: The latents that were decoded: indices (B, *shape), int64, of a hierarchy a tuple
            of them, coarse to fine, with -1 where a mask or a dropped level left them out; or
            vectors (B, D).
        losses: Unweighted scalars, such as "commitment" or "kl"; with a likelihood also
            "reconstruction", −log p(x | latents) in nats per dimension.
        kl: The KL of each latent dimension in nats, (D,), the mean over the batch; `None` where
            latents have no distribution.
        last_weight: The weight of the decoder's last layer, at which objectives compare the
            gradients of losses; `None` where the decoder names none.
    """

    x_hat: Tensor
    latents: Any
    losses: dict[str, Tensor]
    kl: Tensor | None = None
    last_weight: Tensor | None = None


class Autoencoder(nn.Module, Pretrained, ABC):
    """Abstract autoencoder: encodes signals to latents and decodes them.

    Attributes:
        signal: The signal that it is trained on. `encode` checks its input against it.
        downsampling: Signal positions per position of the coarsest grid, along each dimension.
        likelihood: p(x | h) of the decoder's output h, if it has one.
        normalization: Maps signals to what the networks see; `None` for no normalization.
    """

    signal: Signal
    downsampling: int
    likelihood: Likelihood | None
    normalization: Normalization | None

    @property
    @abstractmethod
    def layout(self) -> Layout | None:
        """Returns how the tokens of one signal lie; `None` where latents are real numbers."""

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """Reconstructs x (B, C, *size), with gradients and losses.

        Arguments:
            x: A batch of signals, as `normalize` gives them.
            mask: (B, *size) bool, False where x is padding that no signal has: no index, no
                statistic and no loss comes of it.

        Raises:
            InputError: If the mask is of another shape, or the model takes signals as a whole.
        """

    @abstractmethod
    def encode(self, x: Any, any_size: bool = False) -> Any:
        """Encodes signals x (B, C, *size) to latents.

        Arguments:
            x: A batch of the signal that the model was trained on.
            any_size: Whether it may be of another size, which gives other grids. Large ones are
                taken in tiles, with the result of the whole.

        Raises:
            InputError: If x is no such batch, or the model takes signals of one size.
        """

    @abstractmethod
    def encode_flat(self, x: Any) -> Tensor:
        """Encodes signals x (B, C, *size) to latents as a prior sees them, one tensor (B, …)."""

    @abstractmethod
    def decode_flat(self, latents: Tensor) -> Tensor:
        """Decodes latents as a prior sees them to signals (B, C, *size), in their range."""

    @abstractmethod
    def decode(self, latents: Any, size: tuple[int, ...] | None = None) -> Tensor:
        """Decodes latents to signals (B, C, *size), clipped to the signal's range.

        Arguments:
            latents: As `encode` gives them.
            size: The size to crop to. Default: the signal's own size where the latents are of that
                size, else the whole.

        Raises:
            InputError: If the latents do not fit, or the result is not finite.
        """

    @abstractmethod
    def update(self) -> None:
        """Updates what learns without gradients, such as codebooks, after an optimizer step."""

    def attach(self, optimizer: Optimizer) -> Attachment:
        """Calls the quantizers' `update` after each step of an optimizer, from now on.

        See `Quantizer.attach`; a model that learns by gradients alone has none.
        """
        return attach_quantizers(self, optimizer)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes or unfreezes all of the model, its codebooks too."""
        super().requires_grad_(requires_grad)
        freeze_codebooks(self, not requires_grad)
        return self

    @abstractmethod
    def interpolate(self, x_a: Any, x_b: Any, steps: int) -> Tensor:
        """Decodes points on the straight line between the encoder outputs of two signals.

        Arguments:
            x_a: (C, *size).
            x_b: (C, *size).
            steps: Signals on the way, both ends included.

        Returns:
            (steps, C, *size): from the reconstruction of x_a to that of x_b.

        Raises:
            InputError: If the two are not signals that the model was trained on.
        """

    @abstractmethod
    def nll(self, x: Tensor, latents: Any = None) -> Tensor:
        """Computes −log p(x | latents) in nats, summed over the dimensions of each signal, (B,).

        Arguments:
            x: (B, C, *size).
            latents: Those of x, where they are known already; of a hierarchy as one row.

        Raises:
            InputError: If the model has no likelihood, or x is not a batch of its signal.
        """

    @property
    @abstractmethod
    def one_size(self) -> str | None:
        """Returns what takes signals of one size, as the subject of a sentence; `None` if nothing
        does.
        """

    @property
    def starts_from_signals(self) -> bool:
        """Returns whether `prepare` makes first weights of signals."""
        return any(
            getattr(part, "starts_from_signals", False)
            for part in self.modules()
            if part is not self
        )

    def prepare(self, x: Tensor) -> None:
        """Makes the first weights of encoders and decoders that start from signals.

        To be called once before training; what the others start from stays as it is.

        Arguments:
            x: Training signals (B, C, *size), as they are given; some hundred suffice.
        """
        y = pad(self._seen(self.normalize(self.as_batch(x))), self.downsampling)
        for part in self.modules():
            if part is not self and getattr(part, "starts_from_signals", False):
                part.prepare(y)  # type: ignore[operator]

    def normalize(self, x: Tensor) -> Tensor:
        """Makes of signals x (B, C, *size) what `forward` takes, and losses are computed with.

        Values that are missing stay NaN.
        """
        return x if self.normalization is None else self.normalization(x)

    def as_batch(self, x: Any, any_size: bool = False) -> Tensor:
        """Moves a batch of signals to the device and the type of the weights.

        Arguments:
            x: (B, C, *size), of any floating-point type: a tensor, an array or nested lists.
            any_size: Whether it may be of another size.

        Raises:
            InputError: If it is no batch of the signal that the model was trained on.
        """
        if any_size and self.one_size is not None:
            raise InputError(
                f"{self.one_size} takes {self.signal.plural} of one size, got any_size: leave it "
                f"out, or use a convolutional tokenizer."
            )
        batch = as_batch(x, self.signal, self, any_size=self.one_size is None)
        size, own = tuple(batch.shape[2:]), tuple(self.signal.size)
        if not any_size and own and size != own:
            raise InputError(
                f"The model was trained on {self.signal.plural} of size {format_size(own)}, got "
                f"{format_size(size)}: resize or crop them first, or take them as they are with "
                f"any_size."
            )
        return batch

    def as_pair(self, x_a: Any, x_b: Any) -> Tensor:
        """Stacks two signals (C, *size) to one batch of two; see `as_batch`."""
        return stack_pair(x_a, x_b, self.signal, self)

    def needed_likelihood(self) -> Likelihood:
        """Returns the likelihood of a model that must have one.

        Raises:
            InputError: If the model has no likelihood.
        """
        if self.likelihood is None:
            raise InputError(
                f"The {self.noun} has no likelihood, so that its reconstructions cost no nats: "
                f"train it with one, e.g. Categorical."
            )
        return self.likelihood

    def _take_normalization(self, normalization: Normalization | None) -> None:
        """Keeps the normalization, once signal and likelihood are set.

        Raises:
            InputError: If the three do not fit together.
        """
        self.normalization = normalization
        likelihood, signal = self.likelihood, self.signal
        if signal.gaps and likelihood is not None and not likelihood.gaps:
            raise InputError(
                f"{signal.plural.capitalize()} may have gaps, which a {type(likelihood).__name__} "
                f"cannot leave out: choose Gaussian, or no likelihood."
            )
        if normalization is None:
            return
        normalization.channels(signal.channels)
        name = type(normalization).__name__
        if signal.gaps and normalization.mixes:
            raise InputError(
                f"{signal.plural.capitalize()} may have gaps, and a {name} needs all channels at "
                f"once: standardise them (Affine) instead."
            )
        if likelihood is None:
            return
        one = torch.zeros(1, signal.channels, *[1] * signal.spatial_dims)
        if likelihood.discrete or normalization.volume(one) is None:
            why = "of the values as they are stored" if likelihood.discrete else "a density"
            raise InputError(
                f"A {type(likelihood).__name__} is {why}, got a {name} of them: leave one of the "
                f"two out."
            )

    def _seen(self, y: Tensor) -> Tensor:
        """Returns what encoders take of y: 0, about the mean, where a value is missing."""
        return torch.where(y.isnan(), 0.0, y) if self.signal.gaps else y

    def _raw(self, y: Tensor) -> Tensor:
        """Inverts `normalize`."""
        return y if self.normalization is None else self.normalization.inverse(y)

    def _likelihood_of(self, h: Tensor, y: Tensor) -> LikelihoodOutput:
        """Returns −log p(y | h), of the values that are there, and E[y | h]."""
        likelihood = self.needed_likelihood()
        return likelihood(h, y, ~y.isnan()) if self.signal.gaps else likelihood(h, y)

    def _nats(self, h: Tensor, x: Tensor) -> Tensor:
        """Returns −log p(x | h) of signals as they are given, (B,)."""
        nll = self._likelihood_of(h, self.normalize(x)).nll
        return nll if self.normalization is None else nll + self.normalization.volume(x)  # type: ignore[operator]

    def _compared(
        self, decoder: nn.Module, z: Tensor, x: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Returns x_hat (B, C, *size) of z, and its distance to x, of a decoder that compares."""
        if mask is not None:
            raise InputError(
                f"A {type(decoder).__name__} takes signals as a whole, got a mask: leave it out, "
                f"or train on signals of one size."
            )
        x_hat, distance = decoder.compare(z, pad(self._seen(x), self.downsampling))  # type: ignore[operator]
        return crop(x_hat, tuple(x.shape[2:])), distance

    def _check_decoder(self, decoder: nn.Module) -> None:
        """Raises `InputError` if a decoder compares signals, and there is a likelihood, too."""
        if getattr(decoder, "compares", False) and self.likelihood is not None:
            raise InputError(
                f"A {type(decoder).__name__} has a loss of its own, got the likelihood "
                f"{type(self.likelihood).__name__}: leave it out, or choose another decoder."
            )

    @staticmethod
    def _last_weight(decoder: nn.Module) -> Tensor | None:
        """Returns the weight of a decoder's last layer, if it names one."""
        return getattr(decoder, "last_weight", None)

    @property
    def noun(self) -> str:
        """Returns what a user calls it."""
        return "autoencoder" if self.layout is None else "tokenizer"
