"""The gradients of the estimators against their closed forms."""

import pytest
import torch
from torch import nn

from smalti.errors import InputError
from smalti.quantizers import (
    NSVQ,
    Cosine,
    DiVeQ,
    EMACodebook,
    Euclidean,
    GradientCodebook,
    GumbelQuantizer,
    IndexBackpropagation,
    MultiScaleQuantizer,
    Nearest,
    ProjectedQuantizer,
    ResidualQuantizer,
    Rotation,
    Sinkhorn,
    Spherical,
    Stochastic,
    StraightThrough,
    TransformedCodebook,
    VectorQuantizer,
)


def vectors(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    z_e, z_q, upstream = torch.randn(3, *shape).unbind()
    return z_e.requires_grad_(), z_q.requires_grad_(), upstream


def test_straight_through_is_exactly_the_codeword_with_the_gradient_of_the_input():
    z_e, z_q, upstream = vectors(6, 9, 5)
    y = StraightThrough()(z_e * 1e3, z_q, z_q)
    y.backward(upstream)
    assert torch.equal(y, z_q)
    assert torch.equal(z_e.grad, 1e3 * upstream)
    assert z_q.grad is None


@pytest.mark.parametrize("dim", [1, 2, 64])
def test_nsvq_equals_its_closed_forms(dim):
    z_e, z_q, g = vectors(6, 9, dim)
    torch.manual_seed(3)
    y = NSVQ()(z_e, z_q, z_q)
    y.backward(g)

    torch.manual_seed(3)
    v = torch.randn(6, 9, dim)
    unit = v / v.norm(dim=-1, keepdim=True)
    error = (z_e - z_q).detach()
    length = error.norm(dim=-1, keepdim=True)
    r, along = error / length, (g * unit).sum(-1, keepdim=True)
    torch.testing.assert_close(y, z_e + length * unit)
    torch.testing.assert_close(z_e.grad, g + along * r)
    torch.testing.assert_close(z_q.grad, -along * r)


def test_nsvq_noise_has_the_length_of_the_error():
    z_e, z_q, _ = vectors(1000, 8)
    y = NSVQ()(z_e, z_q, z_q)
    torch.testing.assert_close((y - z_e).norm(dim=-1), (z_q - z_e).norm(dim=-1))
    cosine = torch.cosine_similarity(y - z_e, z_q - z_e, dim=-1)
    assert cosine.mean().abs() < 0.05  # in a random direction


def test_nsvq_on_a_codeword_has_no_noise_and_a_finite_gradient():
    z_e, _, upstream = vectors(4, 3)
    z_q = z_e.detach().clone().requires_grad_()
    y = NSVQ()(z_e, z_q, z_q)
    y.backward(upstream)
    assert torch.equal(y, z_q)
    assert torch.equal(z_e.grad, upstream)
    assert not z_q.grad.any()


@pytest.mark.parametrize("dim", [1, 2, 64])
def test_diveq_equals_its_closed_forms(dim):
    z_e, z_q, g = vectors(6, 9, dim)
    torch.manual_seed(3)
    y = DiVeQ(noise=0.5)(z_e, z_q, z_q)
    y.backward(g)

    torch.manual_seed(3)
    error = (z_e - z_q).detach()
    way = -error + 0.5 * torch.randn(6, 9, dim)
    unit, length = way / way.norm(dim=-1, keepdim=True), error.norm(dim=-1, keepdim=True)
    r, along = error / length, (g * unit).sum(-1, keepdim=True)
    torch.testing.assert_close(y, z_e + length * unit)
    torch.testing.assert_close(z_e.grad, g + along * r)
    torch.testing.assert_close(z_q.grad, -along * r)


def test_diveq_without_noise_is_the_codeword():
    z_e, z_q, _ = vectors(6, 9, 5)
    torch.testing.assert_close(DiVeQ(noise=0.0)(z_e, z_q, z_q), z_q)


@pytest.mark.parametrize("dim", [2, 5, 64])
def test_rotation_equals_its_closed_forms(dim):
    z_e, z_q, g = vectors(6, 9, dim)
    y = Rotation()(z_e, z_q, z_q)
    y.backward(g)
    assert torch.equal(y, z_q)
    assert z_q.grad is None

    for z, e, upstream, gradient in zip(
        *(x.detach().reshape(-1, dim) for x in (z_e, z_q, g)),
        z_e.grad.reshape(-1, dim),
        strict=True,
    ):
        z_hat, e_hat = z / z.norm(), e / e.norm()
        r = (z_hat + e_hat) / (z_hat + e_hat).norm()
        turn = torch.eye(dim) - 2 * torch.outer(r, r) + 2 * torch.outer(e_hat, z_hat)
        scale = e.norm() / z.norm()
        torch.testing.assert_close(turn @ turn.T, torch.eye(dim), atol=1e-5, rtol=0)
        torch.testing.assert_close(scale * turn @ z, e, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gradient, scale * turn.T @ upstream, atol=1e-4, rtol=1e-4)


def test_rotation_keeps_the_angle_between_gradient_and_codeword():
    z_e, z_q, g = vectors(200, 8)
    Rotation()(z_e, z_q, z_q).backward(g)
    before = torch.cosine_similarity(g, z_q, dim=-1)
    after = torch.cosine_similarity(z_e.grad, z_e, dim=-1)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [0.0, 1e-30])
def test_rotation_of_no_direction_is_straight_through(length):
    _, z_q, g = vectors(4, 3)
    z_e = torch.full((4, 3), length, requires_grad=True)
    y = Rotation()(z_e, z_q, z_q)
    y.backward(g)
    assert torch.equal(y, z_q)
    assert torch.equal(z_e.grad, g)


def test_rotation_to_the_opposite_and_to_zero_is_finite():
    z_e = torch.tensor([[1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    z_q = torch.tensor([[-2.0, -4.0], [0.0, 0.0]])
    y = Rotation()(z_e, z_q, z_q)
    y.sum().backward()
    assert torch.equal(y, z_q)
    assert z_e.grad.isfinite().all()
    assert not z_e.grad[1].any()  # a codeword of no length scales the gradient to nothing


@pytest.mark.parametrize("length", [1e-9, 1e-4, 1.0])
def test_rotation_multiplies_no_gradient_by_more_than_a_hundred(length):
    _, z_q, g = vectors(40, 3)
    z_e = (length * torch.randn(40, 3)).requires_grad_()
    Rotation()(z_e, 1e3 * z_q, z_q).backward(g)
    times = z_e.grad.norm(dim=-1) / g.norm(dim=-1)
    assert (times <= 101).all() and (times >= 99).any()


@pytest.mark.parametrize("geometry", [Euclidean, Cosine, Spherical])
def test_where_codewords_are_drawn_only_the_nearest_are_rotated(geometry):
    results = []
    for estimator in (Rotation(), StraightThrough()):
        torch.manual_seed(0)
        quantizer = VectorQuantizer(
            EMACodebook(codebook_size=8, dim=3),
            estimator,
            geometry=geometry(),
            assignment=Stochastic(0.5),
        )
        z = torch.randn(200, 3, requires_grad=True)
        output = quantizer(z)
        output.quantized.backward(torch.ones(200, 3))
        results.append((output.indices, z.grad))
    (indices, rotated), (same, plain) = results
    assert torch.equal(indices, same)
    nearest = indices == quantizer.encode(z.detach())
    assert 20 < nearest.sum() < 180
    assert torch.equal((rotated == plain).all(1), ~nearest)


def learned(estimator, assignment, codebook, steps: int = 200) -> tuple[float, float]:
    """MSE of a small autoencoder of N(0, I): the largest from a quarter on, and at the end."""
    dim, errors = 8, []
    encoder = nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, dim))
    decoder = nn.Linear(dim, dim)
    quantizer = VectorQuantizer(
        codebook(codebook_size=32, dim=dim), estimator, assignment=assignment
    )
    optimizer = torch.optim.Adam(nn.ModuleList([encoder, decoder, quantizer]).parameters(), 1e-2)
    for _ in range(steps):
        x = torch.randn(128, dim)
        y, _, losses = quantizer(encoder(x))
        error = (decoder(y) - x).square().mean()
        loss = error + 0.25 * losses.get("commitment", 0) + losses.get("codebook", 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        quantizer.update()
        errors.append(float(error.detach()))
    return max(errors[steps // 4 :]), sum(errors[-20:]) / 20


@pytest.mark.parametrize("codebook", [EMACodebook, GradientCodebook, TransformedCodebook])
@pytest.mark.parametrize(
    "estimator", [StraightThrough, Rotation, NSVQ, DiVeQ, IndexBackpropagation]
)
def test_no_estimator_diverges_with_an_assignment(estimator, codebook):
    for assignment in (Nearest(), Stochastic(0.1), Stochastic(1.0), Sinkhorn(0.01, 20)):
        highest, last = learned(estimator(), assignment, codebook)
        assert highest < 1.3  # 1 is what the mean alone gives
        if estimator is not IndexBackpropagation:
            assert last < 0.8


@pytest.mark.parametrize(
    "stage",
    [
        lambda: VectorQuantizer(EMACodebook(codebook_size=8, dim=3), assignment=Stochastic(0.5)),
        lambda: GumbelQuantizer(codebook_size=8, dim=3),
        lambda: ProjectedQuantizer(
            VectorQuantizer(EMACodebook(codebook_size=8, dim=2), assignment=Stochastic(0.5)), 3
        ),
    ],
)
def test_a_sum_of_drawn_codewords_takes_no_rotation(stage):
    ResidualQuantizer([stage()])
    with pytest.raises(InputError, match="Rotation supposes .* nearest codewords, got a stage"):
        ResidualQuantizer([stage()], Rotation())
    with pytest.raises(InputError, match="Rotation supposes"):
        MultiScaleQuantizer(stage(), (1, 2), Rotation())


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_ibq_has_the_gradient_of_the_soft_choice(temperature):
    z_e, codebook, g = torch.randn(20, 4), torch.randn(7, 4), torch.randn(20, 4)
    z_e.requires_grad_(), codebook.requires_grad_()
    index = torch.cdist(z_e, codebook).argmin(1)
    z_q = codebook[index]
    y = IndexBackpropagation(temperature)(z_e, z_q, codebook)
    torch.testing.assert_close(y, z_q)
    assert torch.equal(y, z_q)
    found = torch.autograd.grad(y, [z_e, codebook], g)

    p = torch.softmax((z_e @ codebook.T - codebook.square().sum(1) / 2) / temperature, 1)
    through_p = torch.autograd.grad(p @ codebook.detach(), [z_e, codebook], g)
    torch.testing.assert_close(found[0], through_p[0])
    hard = torch.zeros(7, 4).index_add_(0, index, g)
    torch.testing.assert_close(found[1], through_p[1] + hard)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiVeQ(noise=-1), "at least 0, got -1"),
        (lambda: IndexBackpropagation(0), "above 0, got 0"),
    ],
)
def test_estimators_out_of_range(make, message):
    with pytest.raises(InputError, match=message):
        make()
