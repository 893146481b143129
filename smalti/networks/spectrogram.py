"""Networks of waveforms that see and give magnitudes of spectra, not samples.

    encoder   x (B, C, T) → magnitudes of the STFT, to the power p → linear → [ConvNeXt] × layers
              → linear → z_e (B, D, T / downsampling)
    decoder   z_q (B, D, L) → linear → [ConvNeXt] × layers → linear → magnitudes → Griffin-Lim
              → x_hat (B, C, L · downsampling)

No bit is spent on phases, which Griffin and Lim's algorithm finds, and all layers run at the rate
of the grid. Samples must be matched to a fraction of a period before a loss of them says anything,
and a network learns that late; magnitudes vary slowly, and what is learned is a regression. The
price: x_hat is no copy of the waveform (SI-SDR says nothing of it), and both look ahead.

**The loss.** The decoder compares magnitudes v itself, weighed by the mel scale where signals have
a rate (`smalti.nn.griffin_lim`): mean (v̂ − v)² over the variance of v. In training x_hat has the
phases of x, so that losses of waveforms and adversaries may be added; in use there is no x.

**The start.** `prepare` makes first weights of training signals: the encoder projects magnitudes to
their principal directions, the decoder goes back, and blocks add to that. So training begins with
PCA, and a few hundred steps do what takes thousands from random weights.

References:
    Signal Estimation from Modified Short-Time Fourier Transform, D. W. Griffin and J. S. Lim, IEEE
    Transactions on Acoustics, Speech and Signal Processing 32, 1984.
    A ConvNet for the 2020s, Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell and S. Xie,
    2022, arXiv 2201.03545.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.networks.moments import Moments
from smalti.networks.network import Decoder, Encoder
from smalti.nn.convnext import convnext_block
from smalti.nn.griffin_lim import GriffinLim, Magnitudes
from smalti.nn.padded_convolutions import as_rows, from_rows
from smalti.nn.streaming import Chain, EachPlace
from smalti.signals import Signal

__all__ = ["SpectrogramDecoder", "SpectrogramEncoder"]

MOST_CHANNELS = 8  # of a waveform; more are features


class Principal(NamedTuple):
    """The principal directions of magnitudes.

    Attributes:
        mean: (values,).
        rows: (n, values), orthonormal.
        deviation: Square root of the mean variance of the values.
    """

    mean: Tensor
    rows: Tensor
    deviation: float


@registered
class SpectrogramEncoder(Encoder):
    """Maps x (B, C, T) to z_e (B, D, T / downsampling) by way of magnitudes of its spectra.

    Arguments:
        signal: Waveforms; any length fits.
        dim: D, dimension of the vectors z_e.
        hidden: Channels inside.
        layers: ConvNeXt blocks.
        downsampling: Samples per position of the grid.
        frames: Frames of the STFT per position of the grid, of which it is a multiple.
        n_fft: Samples of a frame; `None` is four times their distance.
        power: p in (0, 1], the power of magnitudes that networks see and the loss compares.

    Raises:
        InputError: If signals are no waveforms, or the numbers do not go together.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> encoder = SpectrogramEncoder(Features(1, spatial_dims=1), 8, hidden=16, downsampling=40)
        >>> encoder(torch.zeros(3, 1, 400)).shape
        torch.Size([3, 8, 10])
    """

    starts_from_signals, takes_features = True, False

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 256,
        layers: int = 4,
        downsampling: int = 320,
        frames: int = 2,
        n_fft: int | None = None,
        power: float = 0.3,
    ) -> None:
        super().__init__()
        given = _frames(type(self).__name__, signal, downsampling, frames, n_fft, power)
        self.dim, self.downsampling, self.narrow, self.width = dim, downsampling, hidden, hidden
        self.sizes: dict[str, Any] = {"hidden": hidden, "layers": layers, "frames": frames}
        self.sizes |= {"downsampling": downsampling, "n_fft": n_fft, "power": power}
        magnitudes = Magnitudes(*given)
        self.layers = Chain(
            magnitudes,
            EachPlace(nn.Linear(magnitudes.values, hidden)),
            *(convnext_block(hidden, 1 / layers, False) for _ in range(layers)),
            EachPlace(_straight(hidden, dim)),
        )
        first, last = self.layers.needs(0, 0)
        self.ahead = last - (downsampling - 1)
        self.margin = -(min(first, -self.ahead) // downsampling)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """See `Encoder.prepare`: the first layer projects to principal directions."""
        linear: nn.Linear = self.layers[1][0]  # type: ignore[index]
        found = _principal(self.layers[0].magnitudes(x), len(linear.weight))  # type: ignore[operator]
        n = len(found.rows)
        linear.weight[:n] = found.rows / found.deviation
        linear.bias[:n] = -(linear.weight[:n] @ found.mean)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, T) to z_e (B, D, T / downsampling); `downsampling` must divide T."""
        v = self.layers[0](x[:, :, None])
        return from_rows(self.layers[1:](v.to(x.dtype)))

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """See `Encoder.grid`."""
        return tuple(-(-length // self.downsampling) for length in size)

    def mirror(self, signal: Signal, dim: int) -> SpectrogramDecoder:
        """See `Encoder.mirror`."""
        return SpectrogramDecoder(signal, dim, **self.sizes)


@registered
class SpectrogramDecoder(Decoder):
    """Maps z_q (B, D, L) to magnitudes of spectra, and these to x_hat (B, C, L · downsampling).

    Arguments:
        signal: Waveforms; any length fits.
        dim: D, channels of its input.
        iterations: Of Griffin and Lim's algorithm; of a trained one the attribute of that name may
            be set to another number.
        Others: see `SpectrogramEncoder`.

    Raises:
        InputError: If signals are no waveforms, or the numbers do not go together.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> decoder = SpectrogramDecoder(Features(1, spatial_dims=1), 8, hidden=16, downsampling=40)
        >>> decoder(torch.zeros(3, 8, 10)).shape
        torch.Size([3, 1, 400])
    """

    gives_features, compares, starts_from_signals = False, True, True
    spread: Tensor

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 256,
        layers: int = 4,
        downsampling: int = 320,
        frames: int = 2,
        n_fft: int | None = None,
        power: float = 0.3,
        iterations: int = 32,
    ) -> None:
        super().__init__()
        given = _frames(type(self).__name__, signal, downsampling, frames, n_fft, power)
        self.dim, self.channels, self.downsampling = dim, signal.channels, downsampling
        inverse = GriffinLim(*given, iterations=iterations)
        self.layers = Chain(
            EachPlace(_straight(dim, hidden)),
            *(convnext_block(hidden, 1 / layers, False) for _ in range(layers)),
            EachPlace(nn.Linear(hidden, inverse.values)),
            inverse,
        )
        self.register_buffer("spread", torch.ones(()))

    @property
    def inverse(self) -> GriffinLim:
        """Returns the last layer, which gives waveforms."""
        return self.layers[-1]  # type: ignore[return-value]

    @property
    def iterations(self) -> int:
        """Returns how often phases are looked for."""
        return self.inverse.iterations

    @iterations.setter
    def iterations(self, iterations: int) -> None:
        self.inverse.iterations = iterations

    @property
    def margin(self) -> int:  # type: ignore[override]
        """Returns the radius of its receptive field, in positions of the grid."""
        first, last = self.layers.needs(0, self.downsampling - 1)
        return max(-first, last)

    @property
    def ahead(self) -> int:
        """Returns the positions of the grid after its own that a sample depends on."""
        return self.layers.needs(0, self.downsampling - 1)[1]

    @property
    def last_weight(self) -> Tensor:
        """See `Decoder.last_weight`."""
        return self.layers[-2][0].weight  # type: ignore[index]

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """See `Decoder.prepare`: the last layer goes back from principal directions."""
        linear: nn.Linear = self.layers[-2][0]  # type: ignore[index]
        found = _principal(self.inverse.magnitudes(x), linear.in_features)
        linear.weight.zero_()
        linear.weight[:, : len(found.rows)] = found.rows.T * found.deviation
        linear.bias.copy_(found.mean)
        self.spread.fill_(found.deviation)

    def forward(self, z: Tensor) -> Tensor:
        """Maps z_q (B, D, L) to x_hat (B, C, L · downsampling)."""
        return from_rows(self.layers(as_rows(z))).to(z.dtype)

    def compare(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder.compare`: the mean of (v̂ − v)² over the variance of magnitudes v.

        In training x_hat has the phases of x.
        """
        made = self.layers[:-1](as_rows(z)).float()
        loss = ((made - self.inverse.magnitudes(x)) / self.spread.float()).square().mean()
        if self.training:
            return self.inverse.with_phases_of(made, x).to(z.dtype), loss
        return from_rows(self.inverse(made)).to(z.dtype), loss


def _frames(  # noqa: PLR0913 - the fields of a recipe
    name: str, signal: Signal, downsampling: int, frames: int, n_fft: int | None, power: float
) -> tuple[int, int, int, int, float, float | None]:
    """Returns what `smalti.nn.griffin_lim.Frames` are made of."""
    if signal.spatial_dims != 1 or signal.channels > MOST_CHANNELS:
        raise InputError(
            f"A {name} is of waveforms, with a grid of one dimension and at most {MOST_CHANNELS} "
            f"channels, got {signal.plural} with {signal.spatial_dims} and {signal.channels}: "
            f"choose another network, of the levels of a hierarchy e.g. SEANetEncoder."
        )
    if downsampling % frames:
        raise InputError(
            f"A {name} has {frames} frames per position of the grid, which divide its "
            f"downsampling, got {downsampling}: choose another number of frames."
        )
    if not 0 < power <= 1:
        raise InputError(
            f"The power of magnitudes is above 0 and at most 1, got {power}: e.g. 0.3."
        )
    hop, rate = downsampling // frames, getattr(signal, "rate", None)
    return signal.channels, n_fft or 4 * hop, hop, frames, power, rate


def _straight(inputs: int, outputs: int) -> nn.Linear:
    """Makes a linear layer that at first passes on what it gets, as far as there is room."""
    linear = nn.Linear(inputs, outputs)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _principal(v: Tensor, most: int) -> Principal:
    """Returns the principal directions of magnitudes v (B, values, 1, L), the largest first."""
    moments = Moments.of([v], joint=True)
    rows = torch.linalg.eigh(moments.covariance)[1].flip(1)[:, :most].T
    # Either sign is an eigenvector; this one whatever the machine.
    rows = rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
    deviation = float(moments.covariance.diagonal().mean().sqrt()) or 1.0
    return Principal(moments.mean.to(v), rows.to(v), deviation)
