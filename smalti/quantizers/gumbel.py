"""Gumbel-softmax quantization: the index is drawn from a distribution that the encoder predicts.

    l = W z_e + b (K,)        k ~ softmax(l)        z_q = e_k

A sample can be had as a maximum, k = argmax_k (l_k + G_k) with independent G_k = −ln(−ln U_k), U_k
uniform on (0, 1). The maximum becomes differentiable by a softmax at the temperature τ,

    π = softmax((l + G) / τ)        hard = onehot(k) + π − sg(π)        y = hardᵀ E

so that y is exactly the codeword e_k while the gradient is that of the relaxed sample. With g the
gradient of y, E (K, D) the codewords and a = E g,

    g_l = π ∘ (a − ⟨π, a⟩) / τ        g_z = Wᵀ g_l        g_{e_k} = g, of the codeword drawn only

It is not the identity: the gradient goes through the logits. A low temperature makes π close to the
sample, with little bias and much variance; so training starts high and lowers it,

    τ_t = τ_start (τ_end / τ_start)^min(t / T, 1)

after t updates. Nothing keeps the distribution from collapsing onto few indices early on, so there
is one loss, the divergence from the uniform prior, with q = softmax(l):

    kl = Σ_k q_k ln(K q_k)        from 0 to ln K, the mean over the vectors

In evaluation nothing is drawn: k = argmax l.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.means import masked_mean
from smalti.quantizers.quantizer import (
    Quantized,
    Quantizer,
    check_indices,
    check_vectors,
    finite_vectors,
    make_output,
    prepare_input,
)
from smalti.quantizers.search import nearest
from smalti.quantizers.unit_vectors import limit_length

__all__ = ["Annealing", "GumbelQuantizer"]


@registered
class Annealing:
    """A schedule of the temperature, which falls geometrically from start to end and then stays.

    Arguments:
        start: τ of the first update, > 0.
        end: τ after the last, > 0.
        updates: T ≥ 1, the updates from one to the other.

    Example:
        >>> Annealing(1.0, 0.25, updates=100).at(torch.tensor([0, 50, 100, 200]))
        tensor([1.0000, 0.5000, 0.2500, 0.2500])
    """

    def __init__(self, start: float = 1.0, end: float = 0.0625, updates: int = 10_000) -> None:
        if not (start > 0 and end > 0 and updates >= 1):
            raise InputError(
                f"Annealing takes start > 0, end > 0 and updates ≥ 1, got {start}, {end} and "
                f"{updates}: the defaults are 1, 1/16 and 10000."
            )
        self.start, self.end, self.updates = start, end, updates

    def at(self, update: Tensor) -> Tensor:
        """Returns τ after so many updates: () int64 to () float32."""
        return self.start * (self.end / self.start) ** (update / self.updates).clamp(max=1.0)

    def __repr__(self) -> str:
        return f"Annealing({self.start}, {self.end}, updates={self.updates})"


@registered
class GumbelQuantizer(Quantizer):
    """Quantizes vectors (..., D) by Gumbel-softmax over logits from a linear map; indices (...).

    Each `update()` lowers the temperature by a step of its schedule; how many there were is kept in
    the state. The noise is drawn from torch's global random numbers on the device of z. A training
    step holds the K probabilities of all N vectors.

    Arguments:
        codebook_size: K.
        dim: D.
        temperature: Schedule of τ; `Annealing()` if None.

    References:
        Categorical Reparameterization with Gumbel-Softmax, E. Jang, S. Gu and B. Poole, 2016, arXiv
        1611.01144.
        The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables, C. J.
        Maddison, A. Mnih and Y. W. Teh, 2016, arXiv 1611.00712.

    Example:
        >>> quantizer = GumbelQuantizer(
        ...     codebook_size=512, dim=64, temperature=Annealing(1.0, 0.5, updates=1000)
        ... )
        >>> quantized, indices, losses = quantizer(torch.randn(8, 7, 7, 64))
        >>> quantized.shape, indices.shape, list(losses)
        (torch.Size([8, 7, 7, 64]), torch.Size([8, 7, 7]), ['kl'])
        >>> quantizer.update()  # after the optimizer's step
        >>> round(float(quantizer.temperature), 4)
        0.9993
    """

    learns_from_output = True
    draws = True
    updates: Tensor  # (), int64

    def __init__(
        self, *, codebook_size: int, dim: int, temperature: Annealing | None = None
    ) -> None:
        super().__init__()
        if codebook_size < 1 or dim < 1:
            raise InputError(
                f"codebook_size and dim must be at least 1, got {codebook_size} and {dim}."
            )
        self.schedule = Annealing() if temperature is None else temperature
        self.codebook_sizes, self.dim = (codebook_size,), dim
        self.logits = nn.Linear(dim, codebook_size)
        self.codebook = nn.Parameter(torch.randn(codebook_size, dim) / dim**0.5)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def temperature(self) -> Tensor:
        """Returns the current τ, ()."""
        return self.schedule.at(self.updates)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        with torch.autocast(z.device.type, enabled=False):
            z_e = prepare_input(z, self.dim, mask)
            l = self._logits(z_e)  # (..., K)  # noqa: E741 - as above
            l_noisy = l + _gumbel(l) if self.training else l
            indices = l_noisy.argmax(dim=-1)
            codebook = self.codebook.float()
            y = F.embedding(indices, codebook)
            if self.training:
                pi = torch.softmax(l_noisy / self.temperature, dim=-1)
                # The codeword drawn has its gradient from the line above.
                y = y + (pi - pi.detach()) @ codebook.detach()
            self._remind()
            kl = masked_mean(_kl_to_uniform(l)[..., None], mask)
        return make_output(z, mask, y, indices, {"kl": kl})

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        check_vectors(z, self.dim)
        with torch.autocast(z.device.type, enabled=False):
            indices = self._logits(z.float()).argmax(dim=-1)
        return torch.where(finite_vectors(z), indices, -1)

    @torch.no_grad()
    def encode_decoded(self, z_q: Tensor) -> Tensor:
        """See `Quantizer.encode_decoded`: the nearest codewords, for logits are of the input."""
        z_q = prepare_input(z_q, self.dim)
        return torch.where(finite_vectors(z_q), nearest(z_q, self.codebook.float()), -1)

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        check_indices(indices, self.codebook_sizes[0])
        z_q = F.embedding(indices.long().clamp(min=0), self.codebook.float())
        return torch.where(indices[..., None] >= 0, z_q, 0.0)

    @torch.no_grad()
    def update(self) -> None:
        self.reminder.silent = True
        if self.codebook.requires_grad:
            self.updates += 1

    @property
    def needs_update(self) -> bool:
        return self.codebook.requires_grad and self.schedule.start != self.schedule.end

    def extra_repr(self) -> str:
        return f"{self.codebook_sizes[0]}, {self.dim}, {self.schedule}"

    def _logits(self, z: Tensor) -> Tensor:
        return F.linear(limit_length(z), self.logits.weight.float(), self.logits.bias.float())


def _gumbel(like: Tensor) -> Tensor:
    """Draws noise −ln(−ln U), since an exponential variable is −ln U."""
    return -torch.empty_like(like).exponential_().clamp(min=1e-30).log()


def _kl_to_uniform(logits: Tensor) -> Tensor:
    """Computes Σ_k q_k ln(K q_k): (..., K) to (...)."""
    log_q = torch.log_softmax(logits, dim=-1)
    return (log_q.exp() * (log_q + math.log(logits.shape[-1]))).sum(dim=-1)
