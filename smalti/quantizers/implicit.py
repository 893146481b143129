"""Residual quantization whose codewords follow from what was reconstructed so far.

    x̂_0 = 0        e = the base codeword k of stage m        x̂_m = x̂_{m−1} + f_m(e, x̂_{m−1})

    f_1(e, x̂) = e
    f_m(e, x̂) = h_L        h_1 = e + V_1 φ(U_1 e + W x̂ + b_1)
                           h_l = h_{l−1} + V_l φ(U_l h_{l−1} + b_l)

A residual quantizer has one codebook for all errors of the stages before, wherever their sum lies;
here each sum has a codebook of its own, which a network makes of the base codebook when it is asked
for. All V are 0 at first: then it is the residual quantizer of its base codebooks.

Which codeword is nearest can only be found by making codewords. `candidates` says how many are made
for each sum that is kept: those whose base codewords are nearest to what is left over, of all sums
together. The stages start from k-means, dead codes are reset and statistics are taken as in any
residual quantizer, with the base codewords in the place of the codewords.

All learn from the codebook loss, which is, like the commitment loss, a mean of the squared errors
of z and of the sums x̂_m, weighted: 1 for the last and `prefix_weight` for each before it. As ever,
the first moves codewords (and networks), the second the encoder.

References:
    Residual Quantization with Implicit Neural Codebooks, I. A. M. Huijben, M. Douze, M. Muckley, R.
    J. G. van Sloun and J. Verbeek, 2024, arXiv 2401.14732.
    Qinco2: Vector Compression and Search with Improved Implicit Neural Codebooks, T. Vallaeys, M.
    Muckley, J. Verbeek and M. Douze, 2025, arXiv 2501.03078: candidates, and the beam.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.composed import (
    Losses,
    add_code_axis,
    learns_from_output,
    pad_codes,
    remove_code_axis,
    sum_losses,
)
from smalti.quantizers.estimators import Estimator
from smalti.quantizers.means import mean_square
from smalti.quantizers.quantizer import (
    Quantized,
    Quantizer,
    finish_output,
    finite_vectors,
    prepare_input,
)
from smalti.quantizers.search import nearest_or_zero
from smalti.quantizers.staged import StagedQuantizer
from smalti.ranges import range_of

__all__ = ["ImplicitResidualQuantizer"]

OWN = ("commitment", "codebook")  # the losses of stages that are those of the sums here
HIDDEN = 2**20  # numbers in the first hidden layer of a block of vectors: 4 MB


@registered
class ImplicitResidualQuantizer(StagedQuantizer):
    """Quantizes vectors (..., D) in stages whose codewords depend on the stages before (QINCo).

    Indices are (..., Q), and the first q of them decode to x̂_q. All arithmetic is in float32.

    Arguments:
        stages: Quantizers of vectors of D dimensions that go by Euclidean distance, such as
            `VectorQuantizer`s: their codewords are the base codewords.
        estimator: The gradient estimator of the sum; `StraightThrough()` if None.
        hidden: H, width of the networks.
        layers: L, how many hidden layers each of them has.
        beam: The beam width of the search for codes in evaluation and by `encode`; 1 is greedy
            search. It may be set at any time.
        training_beam: The beam width in training.
        candidates: The number of codewords that are computed for each sum in the beam; all of them
            if None.
        prefix_weight: Weight of the error of each x̂_m but the last, whose own is 1.

    Example:
        >>> from smalti.quantizers import GradientCodebook, VectorQuantizer
        >>> quantizer = ImplicitResidualQuantizer(
        ...     [VectorQuantizer(GradientCodebook(codebook_size=64, dim=8)) for _ in range(4)]
        ... )
        >>> z = torch.randn(2, 50, 8)
        >>> indices = quantizer.encode(z)
        >>> indices.shape, quantizer.codebook_sizes
        (torch.Size([2, 50, 4]), (64, 64, 64, 64))
        >>> quantizer.decode(indices[..., :2]).shape  # at half the rate
        torch.Size([2, 50, 8])
    """

    def __init__(
        self,
        stages: Sequence[Quantizer],
        estimator: Estimator | None = None,
        *,
        hidden: int = 256,
        layers: int = 2,
        beam: int = 1,
        training_beam: int = 1,
        candidates: int | None = 16,
        prefix_weight: float = 0.1,
    ) -> None:
        whole_numbers = {"hidden": hidden, "layers": layers, "training_beam": training_beam}
        if candidates is not None:
            whole_numbers["candidates"] = candidates
        for name, number in whole_numbers.items():
            if type(number) is not int or number not in range_of(type(self), name):
                raise InputError(f"{name} must be a whole number of at least 1, got {number!r}.")
        if prefix_weight not in range_of(type(self), "prefix_weight"):
            raise InputError(
                f"prefix_weight must be 0 or more, got {prefix_weight}: 0 is for whole sums alone."
            )
        super().__init__(stages, estimator, beam)
        self.training_beam, self.candidates = training_beam, candidates
        self.hidden, self.prefix_weight = hidden, prefix_weight
        networks = [_Network(self.dim, hidden, layers) for _ in self.order[1:]]
        self.networks = nn.ModuleList(networks)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        with torch.autocast(z.device.type, enabled=False):
            z_e = prepare_input(z, self.dim, mask)
            codes = self._codes(z_e, self.training_beam if self.training else self.beam)
            sums = self._sums(codes.clamp(min=0))
            losses = self._losses(z_e, codes, sums, mask)
            learns = self.training and not self.estimator.needs_commitment
            y = self._output(z_e, sums[-1] if learns else sums[-1].detach())
        self._remind()
        indices = codes if mask is None else torch.where(mask[..., None], codes, -1)
        return Quantized(finish_output(z, mask, y), remove_code_axis(self, indices), losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return remove_code_axis(self, self._codes(prepare_input(z, self.dim), self.beam))

    def decode(self, indices: Tensor) -> Tensor:
        """Decodes indices (..., q), the first q ≤ Q of each, to vectors (..., D).

        An index of -1 contributes nothing.

        Raises:
            InputError: If an index is out of range, or q > Q.
        """
        given = add_code_axis(self, indices)
        codes = pad_codes(given, len(self.codebook_sizes))[..., : given.shape[-1]]
        with torch.autocast(indices.device.type, enabled=False):
            sums = self._sums(codes)
        return sums[-1] if sums else codes.new_zeros(*codes.shape[:-1], self.dim).float()

    def extra_repr(self) -> str:
        return f"beam={self.beam}, candidates={self.candidates}"

    def _check_beam(self, beam: int) -> None:
        for stage in self._stages():
            if stage.euclidean_codewords() is None or stage.draws or learns_from_output(stage):
                raise InputError(
                    f"The base codewords are those of stages that take the codeword at the "
                    f"smallest Euclidean distance, got {type(stage).__name__}: choose "
                    f"VectorQuantizers with Euclidean geometry and Nearest()."
                )

    def _sums(self, codes: Tensor) -> list[Tensor]:
        """Returns x̂_1 … x̂_q, (..., D) each, of codes (..., q); -1 contributes nothing."""
        sums: list[Tensor] = []
        for number, index in enumerate(codes.unbind(-1)):
            e = self._stages()[number].decode(index)
            if number == 0:
                sums.append(e)
                continue
            f = self.networks[number - 1](e, sums[-1])
            sums.append(sums[-1] + torch.where(index[..., None] >= 0, f, 0.0))
        return sums

    def _losses(
        self, z_e: Tensor, codes: Tensor, sums: list[Tensor], mask: Tensor | None
    ) -> Losses:
        """Returns the losses, and has the stages take note of what they are to learn from."""
        weights = [self.prefix_weight] * (len(sums) - 1) + [1.0]
        terms: list[tuple[float, Losses]] = []
        x_hat = torch.zeros_like(z_e)
        for stage, weight, index, x_next in zip(
            self._stages(), weights, codes.unbind(-1), sums, strict=True
        ):
            output = stage.quantize_as(z_e.detach() - x_hat, index, mask)
            further = {n: loss for n, loss in output.losses.items() if n not in OWN}
            terms.append((1 / len(sums), further))
            x_hat = x_next.detach()
            if self.estimator.needs_commitment:
                own = {
                    "commitment": mean_square(z_e - x_hat, mask),
                    "codebook": mean_square(z_e.detach() - x_next, mask),
                }
                terms.append((weight / sum(weights), own))
        return sum_losses(terms)

    @torch.no_grad()
    def _codes(self, z_e: Tensor, beam: int) -> Tensor:
        """Searches for the codes (..., Q) of vectors (..., D); -1 where one is not finite."""
        good = finite_vectors(z_e)
        z = torch.where(good[..., None], z_e, 0.0).reshape(-1, self.dim)
        books = self._books()
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():
            found = self._search(z, books, beam)  # where no loop follows from a shape
        else:
            sizes = [beam * min(book.size, self.candidates or book.size) for book in books]
            rows = max(HIDDEN // (max(sizes) * max(self.hidden, self.dim)), 1)
            found = torch.cat([self._search(block, books, beam) for block in z.split(rows)])
        found = found.view(*z_e.shape[:-1], len(books))
        return torch.where(good[..., None], found, -1)

    def _search(self, z: Tensor, books: "list[_Book]", beam: int) -> Tensor:
        """Searches for the codes (N, Q) of finite vectors (N, D)."""
        first = books[0].codewords
        if beam == 1 or len(books) == 1:
            codes = nearest_or_zero(z, first)[:, None, None]  # (N, B, 1)
        else:  # in float64, for vectors may lie far from the origin, compared with the codewords
            far = first.double().square().sum(1) / 2 - z.double() @ first.double().T
            codes = far.topk(min(beam, len(first)), dim=1, largest=False).indices[..., None]
        x_hat = F.embedding(codes[..., 0], first)  # (N, B, D)
        for number, (book, network) in enumerate(zip(books[1:], self.networks, strict=True), 2):
            kept = beam if number < len(books) else 1
            parent, code, x_hat = self._continued(z, x_hat, book, network, kept)  # type: ignore[arg-type]
            codes = torch.cat([_rows(codes, parent), code[..., None]], 2)
        return codes[:, 0]

    def _continued(
        self, z: Tensor, x_hat: Tensor, book: "_Book", network: "_Network", kept: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Goes on from sums x̂ (N, B, D) by one stage, with the best `kept` of those it tries.

        Returns:
            From which of the B sums and with which code (N, kept), and the new sums (N, kept, D).
        """
        every = x_hat.shape[1] * book.size
        tried = min(x_hat.shape[1] * (self.candidates or book.size), every)
        left = z[:, None] - x_hat
        far = left.square().sum(2, keepdim=True) / 2 + (book.half - left @ book.codewords.T)
        place = far.flatten(1).topk(tried, dim=1, largest=False).indices  # (N, C)
        parent, code = place // book.size, place % book.size
        e, inner = F.embedding(code, book.codewords), F.embedding(code, book.inner)
        made = network.outer(e, inner + _rows(network.of_sum(x_hat), parent))
        sums = _rows(x_hat, parent) + made  # (N, C, D)
        error = (z[:, None] - sums).square().sum(2)
        best = error.topk(min(kept, tried), dim=1, largest=False).indices
        return torch.gather(parent, 1, best), torch.gather(code, 1, best), _rows(sums, best)

    def _books(self) -> "list[_Book]":
        books = []
        for stage, network in zip(self._stages(), [None, *self.networks], strict=True):
            codewords = stage.euclidean_codewords()
            assert codewords is not None
            inner = codewords if network is None else network.of_codeword(codewords)
            half = codewords.square().sum(1) / 2
            books.append(_Book(codewords, half, inner, len(codewords)))
        return books


class _Book(NamedTuple):
    """The base codewords of a stage.

    Attributes:
        codewords: (K, D).
        half: Half their squared lengths (K,).
        inner: What they bring to the first hidden layer (K, H).
        size: K.
    """

    codewords: Tensor
    half: Tensor
    inner: Tensor
    size: int


class _Network(nn.Module):
    """f(e, x̂), which is e at first.

    Arguments:
        dim: D.
        hidden: H.
        layers: L.
    """

    def __init__(self, dim: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.sum_in = nn.Linear(dim, hidden, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(dim, hidden) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(hidden, dim, bias=False) for _ in range(layers))
        for layer in self.out:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]

    def forward(self, e: Tensor, x_hat: Tensor) -> Tensor:
        """Returns f (..., D) of base codewords e and sums x̂, (..., D) each."""
        return self.outer(e, self.of_codeword(e) + self.of_sum(x_hat))

    def of_codeword(self, e: Tensor) -> Tensor:
        """Returns what base codewords (..., D) bring to the first hidden layer (..., H)."""
        return _linear(e, self.hidden[0])

    def of_sum(self, x_hat: Tensor) -> Tensor:
        """Returns what sums (..., D) bring to the first hidden layer (..., H)."""
        return _linear(x_hat, self.sum_in)

    def outer(self, e: Tensor, inner: Tensor) -> Tensor:
        """Returns f (..., D) of base codewords e (..., D) and the first hidden layer (..., H)."""
        h = e + _linear(F.relu(inner), self.out[0])
        for layer, out in zip(self.hidden[1:], self.out[1:], strict=True):
            h = h + _linear(F.relu(_linear(h, layer)), out)
        return h


def _linear(x: Tensor, layer: nn.Module) -> Tensor:
    """Applies a layer in float32, whatever it was cast to."""
    assert isinstance(layer, nn.Linear)
    return F.linear(x, layer.weight.float(), None if layer.bias is None else layer.bias.float())


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Returns of each (B, D) of x (N, B, D) the rows of an index (N, C): (N, C, D)."""
    n, beam = x.shape[:2]
    first = torch.arange(n, device=x.device)[:, None] * beam
    return x.flatten(0, 1)[index + first]
