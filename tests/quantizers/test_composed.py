"""Quantizers made of quantizers: sums, products, projections and scales of a grid."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smalti.artifacts import describe, load_model, save_model
from smalti.errors import InputError
from smalti.quantizers import (
    NSVQ,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    GumbelQuantizer,
    MultiScaleQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    ScaledQuantizer,
    VectorQuantizer,
)

SIZE, DIM = 8, 4


def vq(dim: int = DIM, codebook=GradientCodebook, size: int = SIZE, **options) -> VectorQuantizer:
    return VectorQuantizer(codebook(codebook_size=size, dim=dim), **options)


def residual(depth: int = 3, **options) -> ResidualQuantizer:
    return ResidualQuantizer([vq() for _ in range(depth)], **options)


def shared(depth: int = 3, codebook=GradientCodebook, **options) -> ResidualQuantizer:
    return ResidualQuantizer([vq(codebook=codebook)] * depth, **options)


def product() -> ProductQuantizer:
    return ProductQuantizer([vq(1), vq(3)])


SCALES = ((1, 1), (2, 3), (4, 6))

# Each with the shape of its vectors.
NESTED: dict[str, tuple] = {
    "residual": (residual, (5, 6)),
    "shared residual": (shared, (5, 6)),
    "residual of one": (lambda: residual(1), (5, 6)),
    "product": (product, (5, 6)),
    "product of the same": (lambda: ProductQuantizer([vq(2)] * 2), (5, 6)),
    "projected": (lambda: ProjectedQuantizer(vq(2), DIM), (5, 6)),
    "scaled": (lambda: ScaledQuantizer(vq(), 0.3), (5, 6)),
    "residual of products": (lambda: ResidualQuantizer([product(), vq(), product()]), (5, 6)),
    "product of residuals": (
        lambda: ProductQuantizer([vq(1), ResidualQuantizer([vq(3)] * 2)]),
        (5, 6),
    ),
    "projected product": (lambda: ProjectedQuantizer(product(), DIM), (5, 6)),
    "residual of projected": (
        lambda: ResidualQuantizer([ProjectedQuantizer(vq(2), DIM) for _ in range(2)]),
        (5, 6),
    ),
    "residual of Gumbel": (
        lambda: ResidualQuantizer([GumbelQuantizer(codebook_size=SIZE, dim=DIM) for _ in range(2)]),
        (5, 6),
    ),
    "one codebook at falling scales": (
        lambda: ResidualQuantizer([ScaledQuantizer(one, 0.5**i) for one in [vq()] for i in (0, 1)]),
        (5, 6),
    ),
    "multi-scale": (lambda: MultiScaleQuantizer(vq(), SCALES), (5, 4, 6)),
    "multi-scale, 1-D, plain": (
        lambda: MultiScaleQuantizer(vq(), (1, 3, 7), convolutions=0),
        (5, 7),
    ),
    "multi-scale of products": (lambda: MultiScaleQuantizer(product(), SCALES), (2, 5, 4, 6)),
    "projected multi-scale": (
        lambda: ProjectedQuantizer(MultiScaleQuantizer(vq(2), SCALES), DIM),
        (5, 4, 6),
    ),
}


@pytest.fixture(params=NESTED)
def nested(request: pytest.FixtureRequest) -> tuple[Quantizer, Tensor]:
    build, shape = NESTED[request.param]
    quantizer = build()
    z = torch.randn(*shape, DIM)
    quantizer(z)
    quantizer.update()
    return quantizer, z


# Laws of all compositions


def test_decoding_the_encoding_is_the_evaluation_output(nested):
    quantizer, z = nested
    output, indices = quantizer.eval()(z), quantizer.encode(z)
    assert torch.equal(output.indices, indices)
    assert torch.equal(output.quantized, quantizer.decode(indices))
    q = len(quantizer.codebook_sizes)
    assert indices.shape == z.shape[: 1 if quantizer.acts_on_grid else -1] + (q,) * (q > 1) or (
        z.ndim == 5 and indices.shape == (2, 5, q)
    )
    flat = indices.reshape(-1, q)
    assert all(flat[:, i].max() < size for i, size in enumerate(quantizer.codebook_sizes))


def test_what_is_not_finite_is_never_passed_off_as_a_codeword(nested):
    quantizer, z = nested
    for training in (True, False):
        expected = quantizer.train(training)(z)
        spoilt = z.clone()
        place = (0,) * (z.ndim - 1)
        spoilt[place][1] = torch.nan
        output = quantizer(spoilt)
        assert output.quantized[place].isnan().any()
        assert not any(loss.isfinite() for loss in output.losses.values())
        for indices in (output.indices, quantizer.encode(spoilt)):
            assert (indices[0] == -1).any() and (indices[1:] >= 0).all()
        if not training:
            assert torch.equal(output.quantized[1:], expected.quantized[1:])
        quantizer.update()
        assert all(tensor.isfinite().all() for tensor in quantizer.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_learns_whatever_it_is_cast_to(nested, dtype):
    quantizer, z = nested
    quantizer, z = quantizer.to(dtype), z.to(dtype).requires_grad_()
    output = quantizer(z)
    assert output.quantized.dtype == dtype
    (output.quantized.float().square().mean() + sum(output.losses.values())).backward()
    assert z.grad.isfinite().all()
    quantizer.update()
    assert all(buffer.dtype in (torch.float32, torch.int64) for buffer in quantizer.buffers())
    z_q = quantizer.eval()(z).quantized
    torch.testing.assert_close(quantizer.decode(quantizer.encode(z)).to(dtype), z_q)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_changes_nothing(nested, reentrant):
    whole, z = nested
    states = []
    for checkpointed in (False, True):
        quantizer = copy.deepcopy(whole)

        def forward(z: Tensor, quantizer: Quantizer = quantizer) -> Tensor:
            output = quantizer(z)
            return output.quantized.square().sum() + sum(output.losses.values())

        torch.manual_seed(3)
        given = z.clone().requires_grad_()
        if checkpointed:
            checkpoint(forward, given, use_reentrant=reentrant).backward()
        else:
            forward(given).backward()
        torch.manual_seed(4)
        quantizer.update()
        states.append({**quantizer.state_dict(), "gradient": given.grad})
    for name, tensor in states[0].items():
        assert torch.equal(states[1][name], tensor), name


def test_any_prefix_can_be_decoded_and_none_is_zero(nested):
    quantizer, z = nested
    indices = quantizer.eval().encode(z)
    count = len(quantizer.codebook_sizes)
    if count == 1:
        return
    for q in range(count + 1):
        filled = torch.where(torch.arange(count) < q, indices, -1)
        assert torch.equal(quantizer.decode(indices[..., :q]), quantizer.decode(filled))
    assert not quantizer.decode(indices[..., :0]).any()
    with pytest.raises(InputError, match=f"q from 0 to {count}, got"):
        quantizer.decode(torch.cat([indices, indices[..., :1]], dim=-1))


def test_the_state_is_saved_once_and_loads(nested, tmp_path):
    quantizer, z = nested
    save_model(quantizer, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    expected = quantizer.eval()(z)
    assert torch.equal(loaded(z).quantized, expected.quantized)
    assert describe(loaded) == describe(quantizer)
    assert len(list(loaded.parameters())) == len(list(quantizer.parameters()))


def test_masked_positions_have_no_say(nested):
    quantizer, z = nested
    mask = torch.rand(z.shape[:-1]) < 0.6
    other = torch.where(mask[..., None], z, torch.nan)
    outputs = []
    for vectors in (z, other):
        torch.manual_seed(0)
        outputs.append(quantizer.train()(vectors.requires_grad_(), mask))
    one, two = outputs
    assert torch.equal(one.quantized, two.quantized) and torch.equal(one.indices, two.indices)
    torch.testing.assert_close(one.losses, two.losses)
    assert not one.quantized[~mask].any()
    (two.quantized.sum() + sum(two.losses.values())).backward()
    assert other.grad.isfinite().all() and not other.grad[~mask].any()


def test_nothing_gives_zeros(nested):
    quantizer, z = nested
    before = copy.deepcopy(quantizer.state_dict())
    for vectors, mask in ((z[:0], None), (z, torch.zeros(z.shape[:-1], dtype=torch.bool))):
        output = quantizer.train()(vectors, mask)
        assert not output.quantized.any() and (output.indices == -1).all()
        assert all(loss == 0 for loss in output.losses.values())
        quantizer.update()
    for name, tensor in quantizer.state_dict().items():
        assert name.endswith("updates") or torch.equal(tensor, before[name]), name


def test_each_codebook_is_updated_once(nested, monkeypatch):
    quantizer, _ = nested
    updated = []
    for kind in (VectorQuantizer, GumbelQuantizer):
        monkeypatch.setattr(kind, "update", lambda self: updated.append(id(self)))
    quantizer.update()
    kinds = (VectorQuantizer, GumbelQuantizer)
    assert sorted(updated) == sorted(id(m) for m in quantizer.modules() if isinstance(m, kinds))


def test_it_compiles_and_exports(nested):
    quantizer, z = nested
    quantizer.eval()
    expected = quantizer(z)
    compiled = torch.compile(quantizer, fullgraph=True, backend="eager")(z)
    exported = torch.export.export(quantizer, (z,)).module()(z)
    for output in (compiled, exported):
        assert torch.equal(output[0], expected.quantized)
        assert torch.equal(output[1], expected.indices)
        torch.testing.assert_close(output[2], expected.losses)


# Residual


@pytest.mark.parametrize(
    "stages",
    [
        lambda: [vq() for _ in range(6)],
        lambda: [vq()] * 6,
        lambda: [vq(codebook=EMACodebook), product(), residual(2)],
        lambda: [
            ProjectedQuantizer(vq(2), DIM),
            vq(),
            GumbelQuantizer(codebook_size=SIZE, dim=DIM),
        ],
    ],
)
def test_the_input_gradient_of_a_stack_is_one_identity(stages):
    quantizer = ResidualQuantizer(stages())
    z = torch.randn(7, DIM, requires_grad=True)
    upstream = torch.randn(7, DIM)
    quantizer(z).quantized.backward(upstream)
    assert torch.equal(z.grad, upstream)


def test_residual_equals_its_definition():
    quantizer = residual(3)
    z = torch.randn(20, DIM, requires_grad=True)
    output = quantizer(z)
    r, total, commitment, codebook = z.detach(), torch.zeros(20, DIM), 0.0, 0.0
    for i, stage in enumerate(quantizer.stages):
        index = torch.cdist(r, stage.codebook.weight).argmin(1)
        assert torch.equal(index, output.indices[:, i])
        e = stage.codebook.weight[index]
        codebook = codebook + (r - e).square().mean() / 3
        r, total = r - e.detach(), total + e.detach()
        commitment = commitment + (z - total).square().mean() / 3  # to the cumulative sum
    torch.testing.assert_close(output.quantized, total)
    torch.testing.assert_close(output.losses["commitment"], commitment)
    torch.testing.assert_close(output.losses["codebook"], codebook)
    for name, loss in (("commitment", commitment), ("codebook", codebook)):
        sides = [z, *quantizer.parameters()]
        ours = torch.autograd.grad(output.losses[name], sides, retain_graph=True, allow_unused=True)
        theirs = torch.autograd.grad(loss, sides, retain_graph=True, allow_unused=True)
        for one, other in zip(ours, theirs, strict=True):
            zero = torch.zeros(())
            torch.testing.assert_close(
                one if one is not None else zero.expand_as(other) if other is not None else zero,
                other if other is not None else zero.expand_as(one) if one is not None else zero,
            )


def test_nsvq_on_the_stack_equals_its_closed_form():
    quantizer = residual(3, estimator=NSVQ())
    z = torch.randn(20, DIM, requires_grad=True)
    g = torch.randn(20, DIM)
    torch.manual_seed(3)
    output = quantizer(z)
    output.quantized.backward(g)
    assert output.losses == {}

    torch.manual_seed(3)
    unit = nn.functional.normalize(torch.randn(20, DIM), dim=-1)
    error = z.detach() - quantizer.decode(output.indices).detach()
    length, along = error.norm(dim=-1, keepdim=True), (g * unit).sum(-1, keepdim=True)
    torch.testing.assert_close(output.quantized, z + length * unit)
    torch.testing.assert_close(z.grad, g + along * error / length)
    for i, stage in enumerate(quantizer.stages):
        expected = torch.zeros(SIZE, DIM).index_add_(
            0, output.indices[:, i], -along * error / length
        )
        torch.testing.assert_close(stage.codebook.weight.grad, expected)


def test_a_stage_with_an_estimator_of_its_own_is_refused():
    for build in (
        lambda: ResidualQuantizer([vq(), vq(estimator=NSVQ())]),
        lambda: ResidualQuantizer([ProductQuantizer([vq(2), vq(2, estimator=NSVQ())])]),
        lambda: MultiScaleQuantizer(vq(estimator=NSVQ()), (1, 2)),
        lambda: ResidualQuantizer([ProjectedQuantizer(vq(estimator=NSVQ()), DIM)]),
    ):
        with pytest.raises(InputError, match="got one with NSVQ: give the NSVQ to the sum"):
            build()


def test_stages_that_learn_from_their_output_get_the_gradient_of_it():
    stages = [ProjectedQuantizer(vq(2), DIM) for _ in range(2)]
    quantizer = ResidualQuantizer(stages)
    z, g = torch.randn(20, DIM, requires_grad=True), torch.randn(20, DIM)
    output = quantizer(z)
    output.quantized.backward(g, retain_graph=True)
    r = z.detach()
    for i, stage in enumerate(stages):
        e = stage.inner.decode(output.indices[:, i]).detach()
        torch.testing.assert_close(stage.up.weight.grad, g.T @ e)
        torch.testing.assert_close(stage.down.weight.grad, (g @ stage.up.weight.detach()).T @ r)
        r = r - stage.decode(output.indices[:, i]).detach()
    z.grad = None
    output.losses["commitment"].backward()
    assert z.grad.abs().min() > 0


def test_bounded_stages_keep_their_input_near_what_they_can_say():
    """The gradient of the sum passes by the bound of FSQ; without commitment z grows for ever."""
    stages = [ScaledQuantizer(FiniteScalarQuantizer([4, 4]), scale) for scale in (1.0, 1 / 3)]
    quantizer = ResidualQuantizer(stages)
    z = torch.tensor([[5.0, -0.3]], requires_grad=True)
    output = quantizer(z)
    first = z - stages[0].decode(stages[0].encode(z))
    second = first - stages[1].decode(stages[1].encode(first))
    expected = (first.square().mean() + second.square().mean()) / 2
    torch.testing.assert_close(output.losses["commitment"], expected)
    (gradient,) = torch.autograd.grad(output.losses["commitment"], z)
    assert gradient[0, 0] > 1  # downhill is back to [-1, 1]


@pytest.mark.parametrize("codebook", [GradientCodebook, EMACodebook])
def test_a_shared_codebook_learns_from_all_stages(codebook):
    quantizer = shared(4, codebook, dropout=0.0)
    (stage,) = quantizer.stages
    assert {name.split(".")[1] for name in quantizer.state_dict()} == {"0"}
    z = torch.randn(300, DIM)
    output = quantizer(z)
    counts = torch.bincount(output.indices.flatten(), minlength=SIZE)
    assert torch.equal(stage._statistics.counts, counts.float())
    quantizer.update()
    assert int(stage.updates) == 1


def test_k_means_of_a_shared_codebook_sees_the_residuals_of_all_stages():
    quantizer = ResidualQuantizer([vq(codebook=EMACodebook)] * 4)
    z = torch.randn(3000, DIM)  # more than are kept for k-means
    quantizer(z)
    notes = quantizer.stages[0]._statistics
    assert [len(vectors) for vectors, _ in notes.vectors] == [750] * 4
    quantizer.update()
    assert len(quantizer.encode(z)[:, 0].unique()) > SIZE / 2


def test_the_error_falls_with_depth():
    quantizer = ResidualQuantizer([vq(codebook=EMACodebook) for _ in range(4)])
    z = torch.randn(2000, DIM)
    for _ in range(12):
        quantizer(z)
        quantizer.update()
    indices = quantizer.encode(z)
    errors = [(z - quantizer.decode(indices[:, :q])).square().mean().item() for q in range(5)]
    ratios = [fine / coarse for coarse, fine in zip(errors, errors[1:], strict=False)]
    assert max(ratios) < 0.7


# Dropout of depth


def test_dropout_drops_the_last_stages_of_whole_examples():
    quantizer = residual(4, dropout=1.0)
    z = torch.randn(400, 3, DIM)
    output = quantizer(z)
    depth = (output.indices >= 0).sum(-1)
    assert (depth == depth[:, :1]).all()
    shares = torch.bincount(depth[:, 0], minlength=5) / 400
    assert shares[0] == 0 and (shares[1:] - 0.25).abs().max() < 0.1
    dropped = output.indices == -1
    assert torch.equal(dropped, dropped.cummax(-1).values)  # only ever the last ones
    assert torch.equal(output.quantized, quantizer.decode(output.indices))
    for i, stage in enumerate(quantizer.stages):
        assert stage._statistics.counts.sum() == (depth > i).sum()
    assert (quantizer.eval()(z).indices >= 0).all()


@pytest.mark.parametrize(("dropout", "share"), [(0.0, 0.0), (0.5, 0.375), (1.0, 0.75)])
def test_dropout_is_a_probability(dropout, share):
    indices = residual(4, dropout=dropout)(torch.randn(1000, DIM)).indices
    assert abs((indices[:, -1] == -1).float().mean() - share) < 0.06


def test_dropped_vectors_count_in_no_loss():
    quantizer = residual(2, dropout=1.0)
    z = torch.randn(50, 3, DIM)
    mask = torch.rand(50, 3) < 0.7
    output = quantizer(z, mask)
    first, second = quantizer.stages
    kept = output.indices[..., 1] >= 0
    r = z - first.decode(output.indices[..., 0])
    e = second.decode(output.indices[..., 1])
    expected = (r[mask].square().mean() + (r - e)[kept].square().mean()) / 2
    torch.testing.assert_close(output.losses["commitment"], expected)


def test_a_product_drops_its_last_parts_and_learns_to_put_first_what_matters_most():
    quantizer = ProductQuantizer([vq(1, codebook=EMACodebook) for _ in range(DIM)], dropout=1.0)
    z = torch.randn(400, 3, DIM)
    output = quantizer(z)
    depth = (output.indices >= 0).sum(-1)
    assert (depth == depth[:, :1]).all() and depth.min() == 1 and depth.max() == DIM
    dropped = output.indices == -1
    assert torch.equal(dropped, dropped.cummax(-1).values)
    assert torch.equal(output.quantized, quantizer.decode(output.indices))
    assert bool((output.quantized[dropped] == 0).all())
    for i, part in enumerate(quantizer.parts):
        assert part._statistics.counts.sum() == (depth > i).sum()
    assert (quantizer.eval()(z).indices >= 0).all()
    assert quantizer.codes_refine and not ProductQuantizer([vq(1), vq(1)]).codes_refine


def left_by_the_first_part(dropout):
    """The share of the variance that the first of two parts leaves, behind a map that learns."""
    torch.manual_seed(0)
    turn, back = (torch.nn.Linear(2, 2, bias=False) for _ in range(2))
    for linear in (turn, back):
        torch.nn.init.eye_(linear.weight)
    quantizer = ProductQuantizer([FiniteScalarQuantizer([15])] * 2, dropout=dropout)
    optimizer = torch.optim.Adam([*turn.parameters(), *back.parameters()], lr=0.03)
    x = torch.randn(256, 1) + torch.randn(256, 2) / 10  # two values that are nearly one
    for _ in range(150):
        optimizer.zero_grad()
        (x - back(quantizer(turn(x)).quantized)).square().mean().backward()
        optimizer.step()
    first = quantizer.eval().encode(turn(x))[:, :1]
    return (x - back(quantizer.decode(first))).square().mean() / x.square().mean()


def test_dropout_of_parts_puts_first_what_matters_most():
    assert left_by_the_first_part(1.0) < 0.1 < 0.25 < left_by_the_first_part(0.0)


# Product, projection, scale


def test_a_product_is_its_parts():
    quantizer = product()
    z = torch.randn(20, DIM)
    output = quantizer(z)
    first, second = (part(z) for part, z in zip(quantizer.parts, z.split([1, 3], -1), strict=True))
    assert torch.equal(output.quantized, torch.cat([first.quantized, second.quantized], -1))
    assert torch.equal(output.indices, torch.stack([first.indices, second.indices], -1))
    for loss in output.losses.values():
        torch.testing.assert_close(loss, (z - output.quantized).square().mean())


def test_gradients_of_a_projection_go_through_both_maps():
    quantizer = ProjectedQuantizer(vq(2), DIM)
    z, g = torch.randn(20, DIM, requires_grad=True), torch.randn(20, DIM)
    output = quantizer(z)
    output.quantized.backward(g)
    e, up, down = quantizer.inner.decode(output.indices), quantizer.up, quantizer.down
    torch.testing.assert_close(up.weight.grad, g.T @ e)
    torch.testing.assert_close(down.weight.grad, (g @ up.weight).T @ z)
    torch.testing.assert_close(z.grad, g @ up.weight @ down.weight)


def test_a_scale_leaves_the_gradient_and_scales_the_loss():
    inner = vq()
    quantizer = ScaledQuantizer(inner, 0.1)
    z, g = torch.randn(20, DIM, requires_grad=True), torch.randn(20, DIM)
    output = quantizer(z)
    output.quantized.backward(g)
    torch.testing.assert_close(z.grad, g)
    torch.testing.assert_close(output.quantized, 0.1 * inner.decode(output.indices))
    for loss in output.losses.values():
        torch.testing.assert_close(loss, (z - output.quantized).square().mean())


# Multi-scale


def test_multi_scale_equals_its_definition():
    quantizer = MultiScaleQuantizer(vq(), SCALES, convolutions=2)
    z = torch.randn(3, 4, 6, DIM, requires_grad=True)
    output = quantizer(z)
    f = torch.zeros(3, DIM, 4, 6)
    x, indices, losses = z.detach().movedim(-1, 1), [], []
    for scale, phi in zip(SCALES, (0, 0, 1), strict=True):
        r = nn.functional.interpolate(x - f, size=scale, mode="area").movedim(1, -1)
        index = torch.cdist(r.reshape(-1, DIM), quantizer.quantizer.codebook.weight).argmin(1)
        e = quantizer.quantizer.codebook.weight[index].view(3, *scale, DIM).movedim(-1, 1)
        h = nn.functional.interpolate(e, size=SCALES[-1], mode="bicubic")
        f = f + 0.5 * h + 0.5 * quantizer.phi[phi](h)
        indices.append(index.view(3, -1))
        losses.append((x - f).square().mean())
    assert torch.equal(output.indices, torch.cat(indices, 1))
    assert output.indices.shape == (3, 1 + 6 + 24) == (3, len(quantizer.codebook_sizes))
    torch.testing.assert_close(output.quantized, f.movedim(1, -1))
    for name in ("commitment", "codebook"):
        torch.testing.assert_close(output.losses[name], torch.stack(losses).mean())
    parameters = list(quantizer.parameters())
    ours = torch.autograd.grad(output.losses["codebook"], parameters, retain_graph=True)
    theirs = torch.autograd.grad(torch.stack(losses).mean(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    upstream = torch.randn_like(z)
    assert torch.equal(torch.autograd.grad(output.quantized, z, upstream)[0], upstream)


def test_a_prefix_of_scales_is_a_coarser_grid():
    quantizer = MultiScaleQuantizer(vq(codebook=EMACodebook), (1, 2, 4, 8), convolutions=0)
    z = 2 * torch.randn(300, 1, DIM) + 0.5 * torch.randn(300, 8, DIM)
    for _ in range(8):
        quantizer(z)
        quantizer.update()
    indices = quantizer.eval().encode(z)
    errors = [(z - quantizer.decode(indices[:, :n])).square().mean() for n in (0, 1, 3, 7, 15)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.2 * errors[0]


def test_a_token_without_a_valid_position_is_none():
    quantizer = MultiScaleQuantizer(vq(), (1, 2, 4), convolutions=0)
    mask = torch.tensor([True, False, False, False])
    output = quantizer(torch.randn(4, DIM), mask)
    assert ((output.indices == -1).int().tolist()) == [0, 0, 1, 0, 1, 1, 1]


# Mistakes


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (lambda: ResidualQuantizer([]), "At least one of the stages"),
        (lambda: ProductQuantizer([]), "At least one of the parts"),
        (lambda: ResidualQuantizer([vq(2), vq(3)]), "got the dims 2, 3"),
        (lambda: residual(dropout=1.5), "dropout must lie in"),
        (lambda: ProjectedQuantizer(vq(), 0), "dim must be at least 1, got 0"),
        (lambda: ScaledQuantizer(vq(), 0.0), "scale must be above 0, got 0"),
        (lambda: MultiScaleQuantizer(vq(), ()), "one or two dimensions each, got"),
        (lambda: MultiScaleQuantizer(vq(), (4, 2)), "coarse to fine, from 1 on, got"),
        (lambda: MultiScaleQuantizer(vq(), (0, 2)), "coarse to fine, from 1 on, got"),
        (lambda: MultiScaleQuantizer(vq(), (1, 2), convolutions=-1), "0 or more, got -1"),
        (lambda: MultiScaleQuantizer(vq(), (1, 2))(torch.zeros(3, DIM)), "got the shape"),
        (
            lambda: ResidualQuantizer([MultiScaleQuantizer(vq(), (1, 2))]),
            "got a MultiScaleQuantizer, which quantizes whole grids",
        ),
    ],
)
def test_mistakes_are_told(mistake, line):
    with pytest.raises(InputError, match=line):
        mistake()
