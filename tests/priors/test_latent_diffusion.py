"""Latent diffusion: its space, its noise, what it learns, what is known, and what it refuses."""

import sys

import pytest
import torch
from torch import nn

from smalti.conditions import Label
from smalti.errors import InputError
from smalti.priors import LatentDiffusion, SamplingConfig
from smalti.priors.latent_space import LatentSpace
from smalti.quantizers import (
    BinarySphericalQuantizer,
    Cosine,
    EMACodebook,
    FiniteScalarQuantizer,
    GumbelQuantizer,
    LookupFreeQuantizer,
    MultiScaleQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    RotatedQuantizer,
    ScaledQuantizer,
    Spherical,
    VectorQuantizer,
)
from toy_words import ToyWords

SIZES = {"channels": 8, "blocks": 1}


def vq(size=12, dim=6, **options):
    quantizer = VectorQuantizer(EMACodebook(codebook_size=size, dim=dim), **options)
    with torch.no_grad():
        nn.init.normal_(quantizer.codebook.weight, 0, 3, generator=torch.Generator().manual_seed(0))
    return quantizer


def scalars(*values):
    return FiniteScalarQuantizer(list(values))


QUANTIZERS = {
    "vectors": vq,
    "cosine": lambda: vq(geometry=Cosine()),
    "spherical": lambda: vq(geometry=Spherical()),
    "scalars": lambda: scalars(5, 3),
    "one scalar": lambda: scalars(7),
    "lookup-free": lambda: LookupFreeQuantizer(4),
    "binary": lambda: BinarySphericalQuantizer(4),
    "product": lambda: ProductQuantizer([vq(5), scalars(4)]),
    "projected": lambda: ProjectedQuantizer(scalars(5, 3), dim=24),
    "rotated": lambda: RotatedQuantizer(vq()),
    "scaled": lambda: ScaledQuantizer(vq(), 0.01),
    "Gumbel": lambda: GumbelQuantizer(codebook_size=9, dim=5),
    "residual": lambda: ResidualQuantizer([vq(6), ScaledQuantizer(scalars(3, 3, 3, 3, 3, 3), 0.1)]),
}


def any_indices(quantizer, *shape):
    sizes = quantizer.codebook_sizes
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randint(size, shape, generator=generator) for size in sizes]
    return drawn[0] if len(drawn) == 1 else torch.stack(drawn, -1)


def made(quantizer=None, grid=(3, 3), condition=None, **options):
    torch.manual_seed(0)
    prior = LatentDiffusion(quantizer or scalars(5), grid, condition, **SIZES, **options).eval()
    for parameter in prior.unet.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return prior


def draw(prior, n, known=None, seed=0, context=None, **options):
    config, generator = SamplingConfig(**options), torch.Generator().manual_seed(seed)
    return prior.sample(n, context, known=known, config=config, generator=generator)


class Oracle(nn.Module):
    """Knows that there is one grid of vectors y, and so what v is."""

    def __init__(self, prior, y):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.y, self.alphas, self.sigmas, self.calls = y, prior.alphas, prior.sigmas, []

    def forward(self, y_t, known, t, context):
        self.calls.append(len(y_t))
        alpha, sigma = (part[t, None, None, None] for part in (self.alphas, self.sigmas))
        noise = (y_t - alpha * self.y) / sigma
        return alpha * noise - sigma * self.y


@pytest.mark.parametrize("name", QUANTIZERS)
def test_indices_come_back_from_their_vectors(name):
    quantizer = QUANTIZERS[name]().eval()
    space, indices = LatentSpace(quantizer, dims=16), any_indices(quantizer, 700)
    for _ in range(2):  # also before it knows how vectors lie
        again = space.indices(space.vectors(indices))
        if name == "residual":  # a sum may have a nearer name
            decoded = quantizer.decode(indices), quantizer.decode(again)
            assert (decoded[0] - decoded[1]).abs().max() < 1.0
        else:
            assert torch.equal(again, indices)
        space.fit(indices)
    y = space.vectors(indices).double()
    assert y.shape == (700, space.dims) and space.dims <= 7
    torch.testing.assert_close(y.mean(0), torch.zeros(space.dims).double(), atol=1e-4, rtol=0)
    covariance = y.T @ y / len(y)
    variances = covariance.diagonal()
    torch.testing.assert_close(covariance, variances.diag(), atol=1e-4, rtol=0)
    assert variances[space.used > 0].mean().item() == pytest.approx(1, abs=1e-3)
    assert (variances.diff() < 1e-4).all()  # the largest first


def test_it_draws_the_dimensions_along_which_vectors_vary():
    """Of 24 dimensions that are mixtures of three, two suffice to find the nearest."""
    quantizer = vq(30, 24)
    with torch.no_grad():
        three = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
        three *= torch.tensor([9.0, 3.0, 0.01])
        mixed = torch.linalg.qr(torch.randn(24, 3)).Q.T
        quantizer.codebook.weight.copy_(5 + three @ mixed)
    indices = torch.arange(30)
    for dims in (2, 3, 16):
        space = LatentSpace(quantizer, dims)
        space.fit(indices)
        assert space.dims == dims
        assert torch.equal(space.indices(space.vectors(indices)), indices)
        assert space.used.tolist() == [1, 1, *[0] * (dims - 2)]
        assert not space.vectors(indices)[:, 2:].any()  # what hardly varies has its mean


@pytest.mark.parametrize("name", ["vectors", "product", "residual", "one scalar"])
@pytest.mark.parametrize("grid", [(7, 7), (3, 6), (5,), ()], ids=str)
def test_any_part_is_filled_in_and_the_rest_stays(name, grid):
    quantizer = QUANTIZERS[name]()
    sizes = quantizer.codebook_sizes
    if not grid and len(sizes) == 1:
        return
    whole = any_indices(quantizer, 6, *grid)
    prior = made(quantizer, tuple(whole.shape[1:]))
    prior.prepare(whole)
    prior.train()
    prior.loss(whole).backward()
    known = whole.where(torch.rand(whole.shape) < 0.5, -1)
    known[0], known[1] = -1, whole[1]
    filled = draw(prior.eval(), 6, known, steps=3)
    assert torch.equal(filled[known >= 0], known[known >= 0])
    assert ((filled >= 0) & (filled < torch.tensor(sizes)[-filled.shape[-1] :])).all()


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_who_knows_the_noise_finds_the_grid_in_any_number_of_steps(steps):
    prior = made(vq(), (3, 4))
    indices = any_indices(prior.space.quantizer, 50, 3, 4)
    prior.prepare(indices)
    prior.unet = Oracle(prior, prior._vectors(indices[:1]))
    assert prior.loss(indices[:1].expand(20, 3, 4)) < 1e-4
    assert prior.loss(indices) > 0.3
    prior.unet.calls.clear()
    assert torch.equal(draw(prior, 5, steps=steps), indices[:1].expand(5, 3, 4))
    assert prior.unet.calls == [5] * steps
    known = indices[:5].clone()
    known[:, 1:] = -1
    filled = draw(prior, 5, known, steps=steps)
    assert torch.equal(filled[:, :1], known[:, :1])
    assert torch.equal(filled[:, 1:], indices[:1, 1:].expand(5, 2, 4))


def test_it_learns_what_belongs_together_and_completes_it():
    """All indices of a grid are equal, and of one of the two that a label allows."""
    torch.manual_seed(0)
    prior = LatentDiffusion(vq(4), (3, 3), Label(["a", "b"]), channels=32, blocks=1)
    prior.prepare(torch.arange(4)[:, None, None].expand(4, 3, 3))
    optimizer = torch.optim.Adam(prior.unet.parameters(), 5e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for _ in range(250):
        context = torch.randint(2, (32,))
        value = 2 * context + torch.randint(2, (32,))
        optimizer.zero_grad()
        prior.loss(value[:, None, None].expand(32, 3, 3), context).backward()
        optimizer.step()
        rate.step()
    context = torch.arange(200) % 2
    drawn = draw(prior, 200, context=context, steps=10).flatten(1)
    equal = (drawn == drawn[:, :1]).all(1)
    assert equal.float().mean() > 0.8
    assert torch.equal(drawn[equal][:, 0] // 2, context[equal])
    assert set(drawn[equal][:, 0].tolist()) == {0, 1, 2, 3}
    for value in (2, 3):
        known = torch.full((50, 3, 3), -1)
        known[:, 2] = value  # the last decide on the first
        filled = draw(prior, 50, known, context=torch.ones(50).long(), steps=10)
        assert (filled == value).float().mean() > 0.8


def test_the_quantizer_is_kept_as_it_is():
    quantizer = vq()
    prior = LatentDiffusion(quantizer, (3, 3), **SIZES).train()
    assert quantizer.training and all(weight.requires_grad for weight in quantizer.parameters())
    quantizer = prior.space.quantizer
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    indices = any_indices(quantizer, 8, 3, 3)
    prior.prepare(indices)
    learned = [weight for weight in prior.parameters() if weight.requires_grad]
    assert {id(weight) for weight in learned} == {id(weight) for weight in prior.unet.parameters()}
    optimizer = torch.optim.Adam(learned, 1e-2)
    for _ in range(3):
        prior.loss(indices).backward()
        optimizer.step()
    assert not prior.space.quantizer.training
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_losses_of_evaluation_can_be_compared_and_those_of_training_differ():
    prior = made()
    indices = any_indices(scalars(5), 16, 3, 3)
    with torch.no_grad():
        assert torch.equal(prior.loss(indices), prior.loss(indices))
        prior.train()
        assert not torch.equal(prior.loss(indices), prior.loss(indices))


def test_words_are_seen_and_what_stands_in_the_place_of_none_is_not():
    words = ToyWords(["red", "blue", "heart"], 3)
    prior = made(condition=words)
    indices = any_indices(scalars(5), 1, 3, 3)

    def loss(of, *numbers):
        with torch.no_grad():
            return of.loss(indices, torch.tensor([numbers]))

    one = loss(prior, 0, 2, -1)
    assert (loss(prior, 1, 2, -1) - one).abs() > 1e-4
    assert (loss(prior, 2, 0, -1) - one).abs() > 1e-4
    longer = made(condition=ToyWords(["red", "blue", "heart"], 4))
    longer.load_state_dict(prior.state_dict())
    torch.testing.assert_close(loss(longer, 0, 2, -1, -1), one)
    context = torch.tensor([[0, -1, -1], [1, 2, 0]])
    assert draw(prior, 2, context=context, steps=2).shape == (2, 3, 3)


def test_less_noise_brings_samples_nearer_to_the_mean():
    prior = made(scalars(21), (2, 2))
    prior.prepare(torch.arange(21)[:, None, None].expand(21, 2, 2))
    nn.init.zeros_(prior.unet.unet.conv_out.weight)
    nn.init.zeros_(prior.unet.unet.conv_out.bias)  # v is 0: noise goes to the mean
    drawn = [(draw(prior, 60, temperature=t) - 10.0).square().mean() for t in (0, 0.5, 1)]
    assert drawn[0] <= drawn[1] < drawn[2]


def test_without_diffusers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"needs the package diffusers, .*smalti\[diffusion\]"):
        LatentDiffusion(scalars(3), (2, 2))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"quantizer": 512}, "made of the quantizer of a tokenizer, got 512"),
        ({"quantizer": MultiScaleQuantizer(vq(), [(1, 1), (2, 2)])}, "takes whole grids"),
        ({"grid": (2, 2, 2)}, "takes grids"),
        ({"quantizer": ProductQuantizer([vq(), vq()]), "grid": (2, 3)}, "of 2 codebooks"),
        ({"grid": ()}, "at least one position"),
        ({"channels": 12}, "multiple of 8"),
        ({"blocks": 0}, "blocks at least 1"),
        ({"dims": 0}, "dims must be at least 1"),
        ({"dropout": "auto"}, "dropout"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, says):
    with pytest.raises(InputError, match=says) as raised:
        LatentDiffusion(**{"quantizer": scalars(4), "grid": (2, 2), **SIZES, **arguments})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("latents", "says"),
    [
        (torch.zeros(0, 3, 3).long(), "got none"),
        (torch.zeros(4, 2, 3).long(), "must have the shape"),
        (torch.tensor(0), "must have the shape"),
        (torch.full((4, 3, 3), 5), "from 0 to 4"),
    ],
    ids=str,
)
def test_training_indices_that_do_not_fit_are_refused_in_one_line(latents, says):
    with pytest.raises(InputError, match=says) as raised:
        made().prepare(latents)
    assert "\n" not in str(raised.value)


def test_it_has_no_likelihood_and_knows_no_order():
    prior = made()
    with pytest.raises(InputError, match="has no likelihood"):
        prior.log_prob(torch.zeros(1, 3, 3).long())
    for options, says in (
        ({"top_k": 2}, "samples without top_k"),
        ({"order": "halton"}, "samples without order"),
        ({"guidance": 2}, "Guidance makes more of a condition"),
    ):
        with pytest.raises(InputError, match=says):
            draw(prior, 2, **options)
