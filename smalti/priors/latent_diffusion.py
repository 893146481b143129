"""Latent diffusion: a U-Net denoises the tokenizer's vectors, in v-prediction.

A grid of indices is a grid of codewords, which `LatentSpace` maps to standardised vectors y. The
forward process turns y into noise from time 0 to T. The network predicts v, from which y and the
noise follow:

    y_t = α_t y + σ_t ε,   ε ~ N(0, I),   α_t² + σ_t² = 1             v = α_t ε − σ_t y
    loss = mean of (v̂(y_t, t, c) − v)²

over all dimensions of the vectors. α_t² follows the squared cosine schedule. A sample starts as
noise y_T, and DPM-Solver++, which solves the probability flow ODE, takes it to y in few steps. The
quantizer of the tokenizer then maps y to indices, which are decoded like any others.

Any part of a grid may be given (inpainting): its vectors stand without noise in the network's input
at every step, and a mask tells the network which they are. It is trained for that on a share of the
examples: part of the grid, random positions or all but a rectangle, has no noise, and does not
count in the loss.

References:
    High-Resolution Image Synthesis with Latent Diffusion Models, R. Rombach et al., 2021, arXiv
    2112.10752 (quantized in the decoder: its VQ-regularized latents).
    Progressive Distillation for Fast Sampling of Diffusion Models, T. Salimans and J. Ho, 2022,
    arXiv 2202.00512 (v).
    Improved Denoising Diffusion Probabilistic Models, A. Nichol and P. Dhariwal, 2021, arXiv
    2102.09672 (the schedule).
    DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, C. Lu et al.,
    2022, arXiv 2211.01095.
    Palette: Image-to-Image Diffusion Models, C. Saharia et al., 2021, arXiv 2111.05826 (noise only
    where something is to be filled in).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NoReturn, cast

import torch
from einops import rearrange
from torch import Tensor

from smalti.arguments import as_tensor
from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.extras import explain_import_error
from smalti.layout import Layout
from smalti.nn.gated_layers import check_dropout
from smalti.priors.bidirectional import uniform_numbers
from smalti.priors.latent_space import SAMPLED, LatentSpace, check_positions
from smalti.priors.latent_unet import LatentUNet
from smalti.priors.sampling import SamplingConfig
from smalti.priors.token_prior import TokenPrior
from smalti.quantizers import Quantizer

__all__ = ["LatentDiffusion"]

TIMES = 1000  # T
STEPS = 12
GIVEN = 1 / 4  # share of the training examples of which a part is given


@registered
class LatentDiffusion(TokenPrior):
    """Draws grids of vectors by reverse diffusion from noise, and quantizes them to indices.

    It has no likelihood of indices. Its loss is the mean squared error of v, not in nats, and
    cannot be compared with the loss of other priors. The temperature scales the initial noise:
    below 1, samples are nearer to the mean of all.

    If only some of the Q indices of a position are known, its vector is drawn as if none were.

    Arguments:
        quantizer: The quantizer of the tokenizer; the prior keeps a frozen copy.
        grid: (H, W) or (T,), or () of a tokenizer without a grid; with Q > 1 codebooks Q follows.
        condition: The condition, such as a label; None for an unconditional prior.
        channels: Channels of the U-Net at full resolution, a multiple of 8; twice as many below.
        blocks: Residual blocks of each of its resolutions.
        dims: The largest number of principal axes of the vectors that it draws.
        dropout: Probability that a number in a residual block is dropped in training; in recipes
            also "auto".

    Raises:
        InputError: If an argument is out of range, or diffusers is not installed.

    Example:
        >>> from smalti.quantizers import FiniteScalarQuantizer
        >>> prior = LatentDiffusion(FiniteScalarQuantizer([3]), (4, 4), channels=8, blocks=1)
        >>> prior.prepare(torch.randint(3, (5, 4, 4)))
        >>> prior.sample(2, config=SamplingConfig(steps=3)).shape
        torch.Size([2, 4, 4])
    """

    over_vectors = True
    alphas: Tensor  # (T,)
    sigmas: Tensor
    takes = frozenset({"temperature", "guidance", "steps"})

    def __init__(
        self,
        quantizer: Quantizer,
        grid: Sequence[int],
        condition: Condition | None = None,
        channels: int = 48,
        blocks: int = 2,
        dims: int = 16,
        dropout: float | Literal["auto"] = 0.0,
    ) -> None:
        grid, sizes = tuple(grid), _sizes_of(quantizer)
        several = len(sizes) > 1
        super().__init__(sizes if several else sizes[0], grid, condition)
        self.layout = _layout(sizes, grid)
        if min(channels, blocks) < 1 or channels % 8:
            raise InputError(
                f"channels must be a multiple of 8 and blocks at least 1, got channels={channels} "
                f"and blocks={blocks}: 48 and 2 are a good start."
            )
        self.shape = cast("tuple[int, int]", (1, 1, *self.layout.grids[0])[-2:])
        self.space = LatentSpace(quantizer, dims)
        self.unet = LatentUNet(
            self.space.dims, self.shape, condition, channels, blocks, check_dropout(dropout)
        )
        with torch.device("cpu"):  # numbers, also of a model that has none
            kept = torch.from_numpy(_solver().alphas_cumprod).double()
        device = self.space.mean.device
        self.register_buffer("alphas", kept.sqrt().float().to(device), persistent=False)
        self.register_buffer("sigmas", (1 - kept).sqrt().float().to(device), persistent=False)

    def prepare(self, latents: Tensor) -> None:
        """Fits the axes of the vectors to training indices (N, *grid); see `Prior.prepare`."""
        latents = as_tensor(latents, "indices")
        if latents.ndim:  # of very many some suffice, and no copy of all is made
            latents = latents[:: max(latents.numel() // SAMPLED, 1)]
        indices = self._check_indices(latents)
        if not len(indices):
            raise InputError(
                f"A {type(self).__name__} takes the axes of its vectors from training indices, got "
                f"none: give at least one grid."
            )
        self.space.fit(indices.flatten(0, len(self.layout.grids[0])))

    def log_prob(self, indices: Tensor, context: Tensor | None = None) -> NoReturn:
        """Raises `InputError`: there is no likelihood of indices; the message says why."""
        raise InputError(
            f"A {type(self).__name__} has no likelihood of indices that could be computed, got "
            f"log_prob: choose an autoregressive prior, such as PixelCNN, to have one."
        )

    def loss(
        self, latents: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Returns the mean squared error of v, a scalar; see `Prior.loss`.

        Times and noise are drawn anew in training. In evaluation mode they are always the same, so
        that losses of one set can be compared. A position counts if all of its indices do.
        """
        latents, mask = self._check_mask(latents, mask)
        indices = self._check_indices(latents)
        context = self._check_context(context, len(indices))
        y = self._vectors(indices)  # (B, d, H, W)
        counts = torch.ones_like(y[:, :1]) if mask is None else self._places(mask).to(y)
        rows = counts.flatten(1).any(1)
        if not bool(rows.all()):
            y, counts = y[rows], counts[rows]
            context = None if context is None else context[rows]
        if not len(y):
            return next(self.unet.parameters()).sum() * 0
        generator = None if self.training else torch.Generator().manual_seed(0)
        # Stratified times, one from each part of [0, T): batches differ less.
        u = torch.arange(len(y), device=y.device) + uniform_numbers((len(y),), y.device, generator)
        t = (u / len(y) * TIMES).long().clamp(max=TIMES - 1)
        alpha, sigma = (part.to(y)[t, None, None, None] for part in (self.alphas, self.sigmas))
        noise, known = self._noise(y, generator), torch.zeros_like(counts, dtype=torch.bool)
        if self.training:
            known = _draw_known(len(y), self.shape).to(y.device)
        y_t = torch.where(known, y, alpha * y + sigma * noise) * counts
        v_hat = self.unet(y_t, known, t, self.context_of(context))
        counts = counts * ~known * self.space.used.to(y)[:, None, None]
        error = (v_hat - (alpha * noise - sigma * y)).square() * counts
        return error.sum() / counts.sum().clamp(min=1)

    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        if not n:
            return torch.zeros((0, *self.grid), dtype=torch.int64, device=self.device)
        weight = next(self.unet.parameters())
        y = weight.new_empty(n, self.space.dims, *self.shape)
        there, given = torch.zeros_like(y[:, :1], dtype=torch.bool), y
        if known is not None:
            there, given = self._places(known >= 0), self._vectors(known.clamp(min=0))
        y, solver = float(config.temperature) * self._noise(y, generator), _solver()
        solver.set_timesteps(min(config.steps or STEPS, TIMES))
        with torch.autocast(self.device.type, enabled=False):
            for t in solver.timesteps:
                seen = torch.where(there, given, y)
                v = self._guided(seen, there, t, context, config.guidance)
                v = v * self.space.used.to(v)[:, None, None]
                y = solver.step(v, t, y).prev_sample
            drawn = self._indices(torch.where(there, given, y))
        return drawn if known is None else known.where(known >= 0, drawn)

    def _guided(
        self, y: Tensor, known: Tensor, t: Tensor, context: Tensor | None, guidance: float
    ) -> Tensor:
        """Returns v̂ at time t with classifier-free guidance: v̂_null + g (v̂_context − v̂_null)."""
        if context is not None and guidance == 0:
            assert self.condition is not None
            context = self.condition.without(context)
        if context is None or guidance in (0, 1):
            return self.unet(y, known, t.to(y.device).expand(len(y)), self.context_of(context))
        assert self.condition is not None
        both = self.context_of(torch.cat([context, self.condition.without(context)]))
        y, known = y.repeat(2, 1, 1, 1), known.repeat(2, 1, 1, 1)
        given, null = self.unet(y, known, t.to(y.device).expand(len(y)), both).chunk(2)
        return null + guidance * (given - null)

    def _noise(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws N(0, I) of the shape of y on the generator's device, 0 on unused axes."""
        where = like.device if generator is None else generator.device
        noise = torch.randn(like.shape, generator=generator, device=where, dtype=torch.float32)
        return noise.to(like) * self.space.used.to(like)[:, None, None]

    def _vectors(self, indices: Tensor) -> Tensor:
        """Returns the standardised vectors (B, d, H, W) of indices (B, *grid)."""
        y = self.space.vectors(indices).to(next(self.unet.parameters()))
        return rearrange(y.reshape(len(indices), *self.shape, -1), "b h w d -> b d h w")

    def _indices(self, y: Tensor) -> Tensor:
        """Returns the indices (B, *grid) of vectors y (B, d, H, W)."""
        y = rearrange(y, "b d h w -> b h w d").contiguous()
        return self.space.indices(y).reshape(len(y), *self.grid)

    def _places(self, mask: Tensor) -> Tensor:
        """Returns the positions at which a mask (B, *grid) holds for all indices, (B, 1, H, W)."""
        return mask.reshape(len(mask), *self.shape, -1).all(-1)[:, None]


def _sizes_of(quantizer: Any) -> tuple[int, ...]:
    """Returns the codebook sizes of a quantizer.

    Raises:
        InputError: If it is none, or takes whole grids.
    """
    if not isinstance(quantizer, Quantizer):
        raise InputError(
            f"A LatentDiffusion is made of the quantizer of a tokenizer, got {quantizer!r:.60}: "
            f"give tokenizer.levels[0]."
        )
    check_positions(quantizer)
    return tuple(quantizer.codebook_sizes)


def _layout(sizes: tuple[int, ...], grid: tuple[int, ...]) -> Layout:
    """Returns the layout of indices of so many codebooks; raises `InputError` if none fits."""
    places = grid[:-1] if len(sizes) > 1 else grid
    if len(places) > 2:
        raise InputError(
            f"A LatentDiffusion takes grids (H, W) or (T,), and of Q ≥ 2 codebooks (H, W, Q), "
            f"(T, Q) or (Q,), got {grid} and {len(sizes)}: give those of the tokenizer."
        )
    return Layout((places,), (sizes,))


def _solver() -> Any:
    """Makes the solver of `diffusers`, whose schedule of noise is that of training."""
    try:
        from diffusers import DPMSolverMultistepScheduler
    except ModuleNotFoundError as error:
        raise explain_import_error(error, "Latent diffusion") from error
    solver: Any = DPMSolverMultistepScheduler(
        TIMES,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    # It computes with numpy, which warns of tensors of this torch.
    solver.alphas_cumprod = solver.alphas_cumprod.numpy()
    return solver


def _draw_known(n: int, shape: tuple[int, int]) -> Tensor:
    """Draws which positions of n grids (H, W) are given in training: (n, 1, H, W), bool.

    Most grids have none. Half of the others have random positions, half all but a rectangle.
    """
    share, scattered, anywhere = torch.rand(3, n, 1, 1, 1)
    known = torch.rand(n, 1, *shape) < anywhere
    inside = torch.ones_like(known)
    for axis, length in enumerate(shape, 2):
        ends = (torch.rand(2, n, 1, 1, 1) * (length + 1)).floor().sort(0).values
        places = torch.arange(length).view(*[1] * axis, -1, *[1] * (3 - axis))
        inside = inside & (places >= ends[0]) & (places < ends[1].maximum(ends[0] + 1))
    return torch.where(scattered < 0.5, known, ~inside) & (share < GIVEN)
