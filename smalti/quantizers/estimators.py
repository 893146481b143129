"""Estimators: what stands in for the gradient of quantization.

The step from z_e to its codeword e has no useful derivative. With g = ∂L/∂y for the quantizer's
output y, an estimator settles what the encoder (g_z) and the codebook (g_e) learn from g:

    straight-through   y = z_e + sg(e − z_e)        g_z = g                    g_e = 0
    NSVQ               y = z_e + ‖z_e − e‖ v̂         g_z = g + ⟨g, v̂⟩ r          g_e = −⟨g, v̂⟩ r

with r = (z_e − e) / ‖z_e − e‖, v̂ = v / ‖v‖, v ~ N(0, I), and sg the stop-gradient.

Straight-through leaves the codebook without a gradient and the encoder free to drift away from it,
so it goes together with two losses, the mean squares of sg(z_e) − e and z_e − sg(e). NSVQ needs
neither: its output carries the length of the quantization error, so whatever makes that error hurt
reaches both sides.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from smalti.artifacts import registered

__all__ = ["NSVQ", "Estimator", "StraightThrough", "straight_through"]


def straight_through(z_e: Tensor, z_q: Tensor) -> Tensor:
    """z_q in value, exactly, with the gradient of z_e: y = sg(z_q) + z_e − sg(z_e)."""
    # Not z_e + sg(z_q − z_e), which is the same but for rounding.
    return z_q.detach() + (z_e - z_e.detach())


class Estimator(nn.Module, ABC):
    """Abstract estimator: used in training only, for evaluation is always plain quantization.

    Attributes:
        auxiliary: Whether it needs the codebook and the commitment loss beside it.
    """

    auxiliary: bool

    def __init__(self) -> None:  # no arguments, where nn.Module takes any
        super().__init__()

    @abstractmethod
    def forward(self, z_e: Tensor, z_q: Tensor) -> Tensor:
        """The output y (..., D), in training.

        Arguments:
            z_e: The encoder's vectors (..., D), float32.
            z_q: Their codewords (..., D), float32, with a gradient where gradients train them.
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

    auxiliary = True

    def forward(self, z_e: Tensor, z_q: Tensor) -> Tensor:
        return straight_through(z_e, z_q)


@registered
class NSVQ(Estimator):
    """Noise substitution: the quantization error is replaced by noise of the same length.

    The noise is drawn from torch's global random numbers on the device of z_e. Codewords that
    nothing falls near must be replaced now and then during training, but not in the last stretch of
    it: `Revival(stop_after=…)`.

    References:
        NSVQ: Noise Substitution in Vector Quantization for Machine Learning, M. H. Vali and T.
            Bäckström, 2022, IEEE Access 10, doi 10.1109/ACCESS.2022.3147670.
    """

    auxiliary = False

    def forward(self, z_e: Tensor, z_q: Tensor) -> Tensor:
        error = torch.linalg.vector_norm(
            z_e - z_q, dim=-1, keepdim=True
        )  # (..., 1); its gradient at 0 is 0
        return z_e + error * nn.functional.normalize(torch.randn_like(z_e), dim=-1)
