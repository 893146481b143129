"""Gradient estimators: they replace the gradient of quantization, which is 0 almost everywhere.

The step from z_e to its codeword e has no useful derivative. With g = ∂L/∂y for the quantizer's
output y, an estimator settles what the encoder (g_z) and the codebook (g_e) learn from g:

    straight-through   y = z_e + sg(e − z_e)        g_z = g                        g_e = 0
    rotation           y = sg(λR) z_e = e           g_z = λ Rᵀ g                   g_e = 0
    NSVQ               y = z_e + ‖z_e − e‖ v̂         g_z = g + ⟨g, v̂⟩ r              g_e = −⟨g, v̂⟩ r
    DiVeQ              y = z_e + ‖z_e − e‖ d̂         g_z = g + ⟨g, d̂⟩ r              g_e = −⟨g, d̂⟩ r
    IBQ                y = e + Σ_k (p_k − sg(p_k)) sg(e_k)

with r = (z_e − e) / ‖z_e − e‖, v̂ = v / ‖v‖ of v ~ N(0, I), d̂ the constant direction of
e − z_e + σv, λ = ‖e‖ / ‖z_e‖, R the rotation that turns z_e to e, sg the stop-gradient, and
p = softmax(⟨z_e, e_k⟩ − ½‖e_k‖²).

Straight-through and rotation leave the codebook without a gradient and the encoder free to drift
away from it, so they go together with two losses, the mean squares of sg(z_e) − e and z_e − sg(e).
NSVQ and DiVeQ need neither: their outputs carry the length of the quantization error, so whatever
makes that error hurt reaches both sides. IBQ sends a gradient to every codeword through p.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.unit_vectors import LONG, limit_length, normalize_vectors

__all__ = [
    "NSVQ",
    "DiVeQ",
    "Estimator",
    "IndexBackpropagation",
    "Rotation",
    "StraightThrough",
    "straight_through",
]

LARGEST_SCALE = 100.0  # λ of the rotation


def straight_through(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Returns z_q with the gradient of z_e: y = sg(z_q) + z_e − sg(z_e), with the exact value.

    It may share the memory of z_q.
    """
    if torch.compiler.is_compiling():
        # Not z_e + sg(z_q − z_e), which is the same but for rounding.
        return z_q.detach() + (z_e - z_e.detach())
    passed: Tensor = _Past.apply(z_e, z_q)
    return passed


class _Past(torch.autograd.Function):
    """Computes `straight_through` without arithmetic; a compiler drops that by itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None

    @staticmethod
    def jvp(ctx: Any, z_e: Tensor, z_q: Tensor | None) -> Tensor:
        return z_e.clone()


class Estimator(nn.Module, ABC):
    """Abstract: estimates the gradient of quantization; used in training only.

    Attributes:
        needs_commitment: Whether it needs the codebook and the commitment loss beside it.
        needs_codebook: Whether it needs all codewords, and so a single codebook.
        of_nearest: Whether it supposes that vectors go to their nearest codewords. Those that do
            not, because codewords are drawn, get the gradient of straight-through in its place.
    """

    needs_commitment: bool
    needs_codebook: bool = False
    of_nearest: bool = False

    def __init__(self) -> None:  # no arguments, where nn.Module takes any
        super().__init__()

    @abstractmethod
    def forward(self, z_e: Tensor, z_q: Tensor, codebook: Tensor | None) -> Tensor:
        """Computes the output y (..., D), in training.

        Arguments:
            z_e: The encoder's vectors (..., D), float32.
            z_q: Their codewords (..., D), float32, with a gradient where gradients train them.
            codebook: All codewords (K, D), likewise; None where z_q are sums of codewords.
        """


@registered
class StraightThrough(Estimator):
    """The straight-through estimator: the gradient passes as if quantization were the identity.

    References:
        Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation,
        Y. Bengio, N. Léonard and A. Courville, 2013, arXiv 1308.3432; for vector quantization:
        Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu,
        2017, arXiv 1711.00937.
    """

    needs_commitment = True

    def forward(self, z_e: Tensor, z_q: Tensor, codebook: Tensor | None) -> Tensor:
        return straight_through(z_e, z_q)


@registered
class NSVQ(Estimator):
    """Noise substitution: the quantization error is replaced by noise of the same length.

    The noise is drawn from torch's global random numbers on the device of z_e. Codewords that
    nothing falls near must be replaced now and then during training, but not in the last stretch of
    it: `DeadCodeReset(stop_after=…)`.

    References:
        NSVQ: Noise Substitution in Vector Quantization for Machine Learning, M. H. Vali and T.
        Bäckström, 2022, IEEE Access 10, doi 10.1109/ACCESS.2022.3147670.
    """

    needs_commitment = False

    def forward(self, z_e: Tensor, z_q: Tensor, codebook: Tensor | None) -> Tensor:
        return z_e + _length(z_e - z_q) * F.normalize(torch.randn_like(z_e), dim=-1)


@registered
class DiVeQ(Estimator):
    """DiVeQ: moves a vector the distance to its codeword, in nearly that direction (with noise).

    The noise is drawn from torch's global random numbers on the device of z_e.

    Arguments:
        noise: σ ≥ 0, the standard deviation of the noise in each dimension.

    References:
        DiVeQ: Differentiable Vector Quantization Using the Reparameterization Trick, M. H. Vali, T.
        Bäckström and A. Solin, 2025, arXiv 2509.26469.
    """

    needs_commitment = False

    def __init__(self, noise: float = 0.03) -> None:
        super().__init__()
        if not noise >= 0:
            raise InputError(f"DiVeQ needs noise of at least 0, got {noise}: 0.03 is usual.")
        self.noise = noise

    def forward(self, z_e: Tensor, z_q: Tensor, codebook: Tensor | None) -> Tensor:
        way = (z_q - z_e).detach()
        direction = F.normalize(way + self.noise * torch.randn_like(way), dim=-1)
        return z_e + _length(z_e - z_q) * direction

    def extra_repr(self) -> str:
        return f"noise={self.noise}"


@registered
class Rotation(Estimator):
    """The rotation trick: the gradient is rotated and scaled as z_e is to reach its codeword e.

    With the unit vectors ẑ, ê of z_e and e and r that of ẑ + ê, R = I − 2rrᵀ + 2êẑᵀ turns ẑ to ê.
    λ is at most 100, lest a short vector get all of the gradient. A vector without a direction (no
    coordinate above 1e-12) has nothing to be turned from: it gets the gradient of straight-through.

    To turn is to say that z_e and e belong together. With a codeword drawn at random, R turns the
    gradient anywhere, encoders learn to give nothing, and the reconstruction is soon that of the
    mean; so such vectors get straight-through, and a sum whose stages draw takes no rotation.

    References:
        Restructuring Vector Quantization with the Rotation Trick, C. Fifty et al., 2024, arXiv
        2410.06424.
    """

    needs_commitment = True
    of_nearest = True

    def forward(self, z_e: Tensor, z_q: Tensor, codebook: Tensor | None) -> Tensor:
        z, e = z_e.detach(), z_q.detach()
        z_hat, e_hat = normalize_vectors(z), normalize_vectors(e)
        r = normalize_vectors(z_hat + e_hat)
        long = _dot(z_hat, z)
        turnable = long > 0
        scale = (_dot(e_hat, e) / torch.where(turnable, long, 1.0)).clamp(max=LARGEST_SCALE)

        turned = z_e - 2 * _dot(r, z_e) * r + 2 * _dot(z_hat, z_e) * e_hat
        return straight_through(torch.where(turnable, scale * turned, z_e), z_q)


@registered
class IndexBackpropagation(Estimator):
    """IBQ: straight-through from the one-hot choice of an index to the softmax over codewords.

    It takes memory for N × K numbers in training.

    Arguments:
        temperature: τ > 0, by which the scores are divided.

    References:
        Scalable Image Tokenization with Index Backpropagation Quantization, F. Shi et al., 2024,
        arXiv 2412.02692. Scores here are ⟨z, e⟩ − ½‖e‖², whose largest is the nearest codeword.
    """

    needs_commitment = True
    needs_codebook = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError(f"IBQ needs a temperature above 0, got {temperature}: take 1.")
        self.temperature = temperature

    def forward(self, z_e: Tensor, z_q: Tensor, codebook: Tensor | None) -> Tensor:
        assert codebook is not None
        score = limit_length(z_e) @ codebook.T - 0.5 * codebook.square().sum(1)  # (..., K)
        p = torch.softmax(score / self.temperature, dim=-1)
        return z_q + (p - p.detach()) @ codebook.detach()

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


def _length(x: Tensor) -> Tensor:
    scale = x.detach().abs().amax(-1, keepdim=True)
    scale = torch.where(scale > LONG, scale, 1.0)  # whose squares would be infinite
    return scale * torch.linalg.vector_norm(x / scale, dim=-1, keepdim=True)  # gradient 0 at 0


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)
