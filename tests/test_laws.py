"""The laws that every quantizer keeps. A new quantizer joins by a line in CASES."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from smalti.artifacts import load_model, save_model
from smalti.errors import InputError
from smalti.quantizers import (
    NSVQ,
    Annealing,
    BinarySphericalQuantizer,
    Cosine,
    DeadCodeReset,
    DiVeQ,
    EMACodebook,
    Entropy,
    FiniteScalarQuantizer,
    GradientCodebook,
    GumbelQuantizer,
    ImplicitResidualQuantizer,
    IndexBackpropagation,
    LookupFreeQuantizer,
    Orthogonality,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    RotatedQuantizer,
    Rotation,
    ScaledQuantizer,
    Sinkhorn,
    Spherical,
    Stochastic,
    StraightThrough,
    SymmetricBound,
    TransformedCodebook,
    VectorQuantizer,
)

SIZE, DIM = 24, 5
ENTROPIES = {"sample_entropy", "entropy_deficit"}  # their values: quantizers/test_lookup_free.py


@dataclass
class Case:
    """A quantizer of vectors of DIM dimensions, and what is to be expected of it.

    Arguments:
        build: Makes one, untrained.
        losses: The names of its losses.
        identity: Whether the gradient from output to input is the identity.
        noisy: Whether its forward pass in training is random.
        drawn: Whether vectors need not go to their nearest codewords in training.
        together: Whether vectors of a batch are assigned together, each as the others allow.
        plain: Whether it has a single codebook, and commitment and codebook loss are its only
            losses, mean squared distances of the vectors and the codewords as they are.
        other_aim: Whether it does not aim at small distances of these vectors: on the sphere, or
            where a regulariser pulls at the codewords.
        fixed: Whether its codewords never move.
        idempotent: Whether codewords are their own quantization.
        searching: Whether it searches further in evaluation than in training.
        latent: What it makes of z before it compares it with codewords.
    """

    build: Callable[[], Quantizer]
    losses: set[str]
    identity: bool = True
    noisy: bool = False
    drawn: bool = False
    together: bool = False
    plain: bool = True
    other_aim: bool = False
    fixed: bool = False
    idempotent: bool = True
    searching: bool = False
    latent: Callable[[Tensor], Tensor] = lambda z: z


def often() -> DeadCodeReset:
    return DeadCodeReset(threshold=0.3, every=2, decay=0.5)


def gradient(dim: int = DIM) -> VectorQuantizer:
    return VectorQuantizer(GradientCodebook(codebook_size=SIZE, dim=dim), dead_code_reset=often())


def rotated(inner: Quantizer) -> RotatedQuantizer:
    quantizer = RotatedQuantizer(inner)
    draw = torch.Generator().manual_seed(0)
    quantizer.rotate_by(torch.linalg.qr(torch.randn(DIM, DIM, generator=draw)).Q)
    return quantizer


def ema_without_draws() -> VectorQuantizer:
    return VectorQuantizer(
        EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9),
        dead_code_reset=None,
        kmeans_iterations=0,
    )


def no_indices(quantizer: Quantizer) -> Tensor:
    """Two vectors' indices, all -1."""
    q = len(quantizer.codebook_sizes)
    return torch.full((2, q) if q > 1 else (2,), -1)


CASES = {
    "gradient, straight-through": Case(
        lambda: VectorQuantizer(
            GradientCodebook(codebook_size=SIZE, dim=DIM),
            StraightThrough(),
            dead_code_reset=often(),
        ),
        losses={"commitment", "codebook"},
    ),
    "gradient, NSVQ": Case(
        lambda: VectorQuantizer(
            GradientCodebook(codebook_size=SIZE, dim=DIM), NSVQ(), dead_code_reset=often()
        ),
        losses=set(),
        identity=False,
        noisy=True,
    ),
    "EMA, straight-through": Case(
        lambda: VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9),
            StraightThrough(),
            dead_code_reset=often(),
        ),
        losses={"commitment"},
    ),
    "EMA, NSVQ": Case(
        lambda: VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9), NSVQ(), dead_code_reset=often()
        ),
        losses=set(),
        identity=False,
        noisy=True,
    ),
    "gradient, rotation": Case(
        lambda: VectorQuantizer(
            GradientCodebook(codebook_size=SIZE, dim=DIM), Rotation(), dead_code_reset=often()
        ),
        losses={"commitment", "codebook"},
        identity=False,
    ),
    "gradient, DiVeQ": Case(
        lambda: VectorQuantizer(
            GradientCodebook(codebook_size=SIZE, dim=DIM), DiVeQ(), dead_code_reset=often()
        ),
        losses=set(),
        identity=False,
        noisy=True,
    ),
    "gradient, IBQ": Case(
        lambda: VectorQuantizer(
            GradientCodebook(codebook_size=SIZE, dim=DIM),
            IndexBackpropagation(),
            dead_code_reset=often(),
        ),
        losses={"commitment", "codebook"},
        identity=False,
    ),
    "transformed": Case(
        lambda: VectorQuantizer(
            TransformedCodebook(codebook_size=SIZE, dim=DIM), dead_code_reset=often()
        ),
        losses={"commitment", "codebook"},
        plain=False,
    ),
    "EMA, cosine": Case(
        lambda: VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9),
            geometry=Cosine(),
            dead_code_reset=often(),
        ),
        losses={"commitment"},
    ),
    "EMA, spherical": Case(
        lambda: VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9),
            geometry=Spherical(),
            dead_code_reset=often(),
        ),
        losses={"commitment"},
        identity=False,
        plain=False,
        other_aim=True,
    ),
    "gradient, spherical": Case(
        lambda: VectorQuantizer(
            GradientCodebook(codebook_size=SIZE, dim=DIM),
            geometry=Spherical(),
            dead_code_reset=often(),
        ),
        losses={"commitment", "codebook"},
        identity=False,
        plain=False,
        other_aim=True,
    ),
    "EMA, stochastic": Case(
        lambda: VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9),
            assignment=Stochastic(0.05),
            dead_code_reset=often(),
        ),
        losses={"commitment"},
        noisy=True,
        drawn=True,
    ),
    "EMA, Sinkhorn": Case(
        lambda: VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.9),
            assignment=Sinkhorn(),
            dead_code_reset=often(),
        ),
        losses={"commitment"},
        drawn=True,
        together=True,
    ),
    "gradient, regularised": Case(
        lambda: VectorQuantizer(
            GradientCodebook(codebook_size=SIZE, dim=DIM),
            regularisers=[Orthogonality(), Entropy(diversity=0)],
            dead_code_reset=often(),
        ),
        losses={"commitment", "codebook", "orthogonality", "entropy"},
        plain=False,
        other_aim=True,
    ),
    "no k-means, no resets": Case(
        lambda: VectorQuantizer(
            EMACodebook(codebook_size=SIZE, dim=DIM), dead_code_reset=None, kmeans_iterations=0
        ),
        losses={"commitment"},
    ),
    "residual": Case(
        lambda: ResidualQuantizer([gradient(), gradient(), gradient()]),
        losses={"commitment", "codebook"},
        plain=False,
    ),
    "residual, beam": Case(
        lambda: ResidualQuantizer([gradient(), gradient(), gradient()], beam=4),
        losses={"commitment", "codebook"},
        plain=False,
        searching=True,
    ),
    "residual, shared": Case(
        # Draws go by the order of the stages' vectors, which differs when a batch is split.
        lambda: ResidualQuantizer([ema_without_draws()] * 3),
        losses={"commitment"},
        plain=False,
    ),
    "residual, NSVQ": Case(
        lambda: ResidualQuantizer([gradient(), gradient()], NSVQ()),
        losses=set(),
        identity=False,
        noisy=True,
        plain=False,
    ),
    "implicit": Case(
        lambda: ImplicitResidualQuantizer([gradient(), gradient(), gradient()], hidden=16),
        losses={"commitment", "codebook"},
        plain=False,
    ),
    "implicit, beam": Case(
        lambda: ImplicitResidualQuantizer(
            [gradient(), ema_without_draws()], hidden=16, layers=1, beam=4, candidates=None
        ),
        losses={"commitment", "codebook"},
        plain=False,
        searching=True,
    ),
    "implicit, NSVQ": Case(
        lambda: ImplicitResidualQuantizer([gradient(), gradient()], NSVQ(), hidden=16),
        losses=set(),
        identity=False,
        noisy=True,
        plain=False,
    ),
    "product of residuals": Case(
        lambda: ProductQuantizer([gradient(2), ResidualQuantizer([gradient(3), gradient(3)])]),
        losses={"commitment", "codebook"},
        plain=False,
    ),
    "projected product": Case(
        lambda: ProjectedQuantizer(ProductQuantizer([gradient(2), gradient(1)]), DIM),
        losses={"commitment", "codebook"},
        identity=False,
        plain=False,
    ),
    "rotated product": Case(
        lambda: rotated(ProductQuantizer([gradient(2), gradient(3)])),
        losses={"commitment", "codebook"},
        identity=False,
        plain=False,
    ),
    "residual, FSQ": Case(
        lambda: ResidualQuantizer(
            [ScaledQuantizer(FiniteScalarQuantizer([5] * DIM), scale) for scale in (1.0, 0.25)]
        ),
        losses={"commitment"},
        plain=False,
        fixed=True,
    ),
    "residual of projected": Case(
        lambda: ResidualQuantizer([ProjectedQuantizer(gradient(3), DIM), gradient()]),
        losses={"commitment", "codebook"},
        plain=False,
    ),
    "Gumbel": Case(
        lambda: GumbelQuantizer(
            codebook_size=SIZE, dim=DIM, temperature=Annealing(1.0, 0.1, updates=50)
        ),
        losses={"kl"},
        identity=False,
        noisy=True,
        drawn=True,
        plain=False,
    ),
    "FSQ": Case(
        lambda: FiniteScalarQuantizer([8, 5, 4, 3, 7]),
        losses=set(),
        identity=False,
        fixed=True,
        idempotent=False,
    ),
    "symmetric FSQ": Case(
        lambda: FiniteScalarQuantizer([8, 2, 4, 3, 7], SymmetricBound()),
        losses=set(),
        identity=False,
        fixed=True,
        idempotent=False,
    ),
    "LFQ": Case(
        lambda: LookupFreeQuantizer(DIM, group=2),
        losses={"commitment", *ENTROPIES},
        fixed=True,
    ),
    "BSQ": Case(
        lambda: BinarySphericalQuantizer(DIM),
        losses={"commitment", *ENTROPIES},
        identity=False,
        fixed=True,
        latent=lambda z: z / z.norm(dim=-1, keepdim=True),
    ),
}


@pytest.fixture(params=CASES, autouse=True)
def case(request: pytest.FixtureRequest) -> Case:
    torch.manual_seed(0)
    return CASES[request.param]


def needs(condition: bool, why: str) -> None:
    """Leaves out a law that does not apply."""
    if not condition:
        pytest.skip(why)


def some_vectors(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, DIM, generator=generator)


def train(quantizer: Quantizer, batches: list[list[Tensor]], seed: int = 5) -> None:
    """A step on each list of batches, over which gradients are accumulated."""
    quantizer.train()
    parameters = list(quantizer.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.5) if parameters else None
    for number, parts in enumerate(batches):
        torch.manual_seed(seed + number)
        for z in parts:
            output = quantizer(z)
            loss = (output.quantized - 1).square().mean() + sum(output.losses.values())
            if optimizer is not None:
                (loss / len(parts)).backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        quantizer.update()


def trained(case: Case) -> Quantizer:
    quantizer = case.build()
    train(quantizer, [[some_vectors(100, seed=seed)] for seed in range(5)])
    return quantizer


def state(quantizer: Quantizer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}


def numbers(quantizer: Quantizer) -> dict[str, Tensor]:
    """Its state without digests, which any rounding changes."""
    return {name: tensor for name, tensor in state(quantizer).items() if "digest" not in name}


def assert_equal_states(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


# Vectors and indices


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(shape=st.lists(st.integers(0, 4), max_size=3), seed=st.integers(0, 99))
def test_decoding_the_encoding_is_the_evaluation_output(case, shape, seed):
    quantizer = case.build().eval()
    z = some_vectors(*shape, seed=seed)
    output = quantizer(z)
    indices = quantizer.encode(z)
    assert output.quantized.shape == z.shape
    assert indices.shape[: len(shape)] == z.shape[:-1]
    assert indices.dtype == output.indices.dtype == torch.int64
    assert torch.equal(output.indices, indices)
    assert torch.equal(output.quantized, quantizer.decode(indices))


def test_codewords_are_their_own_quantization(case):
    needs(case.plain and case.idempotent, "moves codewords, or sums or draws them")
    quantizer = trained(case).eval()
    z_q = quantizer(some_vectors(50)).quantized
    assert torch.equal(quantizer(z_q).quantized, z_q)


def test_codewords_are_found_again_from_what_they_decode_to(case):
    quantizer = trained(case).eval()
    indices = quantizer.encode(some_vectors(50))
    decoded = quantizer.decode(indices)
    again = quantizer.encode_decoded(decoded)
    assert again.shape == indices.shape
    assert (quantizer.encode_decoded(torch.full((3, quantizer.dim), torch.nan)) == -1).all()
    others = (ResidualQuantizer, ImplicitResidualQuantizer, ProjectedQuantizer)
    plain = not any(isinstance(part, others) for part in quantizer.modules())
    needs(plain, "has several sums as near, or maps vectors of another space")
    torch.testing.assert_close(quantizer.decode(again), decoded)


def test_a_vector_is_quantized_alike_in_any_company(case):
    quantizer = trained(case).eval()
    z = some_vectors(3, 40)
    assert torch.equal(quantizer.encode(z)[1, 7], quantizer.encode(z[1, 7]))
    assert torch.equal(quantizer.encode(z), quantizer.encode(z.flip(0)).flip(0))


def test_training_gives_the_indices_of_evaluation(case):
    needs(not case.drawn, "draws its codewords in training")
    needs(not case.searching, "searches further in evaluation")
    quantizer = trained(case)
    z = some_vectors(50)
    assert torch.equal(quantizer(z).indices, quantizer.eval()(z).indices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_no_index(case, dtype):
    quantizer = trained(case)
    z = 3 + some_vectors(500)
    expected = quantizer.eval()(z)
    with torch.autocast("cpu", dtype):
        output, indices = quantizer(z), quantizer.encode(z)
        indices_in_training = quantizer.train()(z).indices
    assert torch.equal(indices, expected.indices)
    chosen_otherwise = case.drawn or case.searching
    assert torch.equal(indices_in_training, expected.indices) or chosen_otherwise
    assert torch.equal(output.quantized, expected.quantized)
    assert all(torch.equal(output.losses[name], expected.losses[name]) for name in case.losses)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_output_has_the_dtype_of_the_input(case, dtype):
    quantizer = trained(case)
    z = some_vectors(50).to(dtype).requires_grad_()
    output = quantizer(z)
    assert output.quantized.dtype == dtype
    output.quantized.sum().backward()
    assert z.grad.dtype == dtype and z.grad.isfinite().all()
    quantizer.train(not case.searching)
    output = quantizer(z)
    assert torch.equal(output.indices, quantizer.encode(z.detach().float())) or case.drawn


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_learns_whatever_it_is_cast_to(case, dtype, tmp_path):
    quantizer = trained(case).to(dtype)
    optimizer = torch.optim.SGD([*quantizer.parameters(), torch.zeros(1)], lr=0.1)
    for seed in range(3):
        z = some_vectors(100, seed=seed).to(dtype).requires_grad_()
        output = quantizer(z)
        assert output.quantized.dtype == dtype
        (output.quantized.float().square().mean() + sum(output.losses.values())).backward()
        assert z.grad.isfinite().all()
        optimizer.step()
        quantizer.update()
    assert quantizer.decode(quantizer.encode(z)).isfinite().all()
    assert quantizer.decode(no_indices(quantizer)).isfinite().all()
    for name, buffer in quantizer.named_buffers():
        assert buffer.dtype in (torch.float32, torch.int64), name
    assert all(parameter.dtype == dtype for parameter in quantizer.parameters())

    before = state(quantizer)
    save_model(quantizer, tmp_path / "quantizer")
    for name, tensor in state(load_model(tmp_path / "quantizer")).items():
        torch.testing.assert_close(tensor.to(dtype), before[name].to(dtype), rtol=1e-6, atol=0)
    # A state that was saved with everything in this dtype still loads, in either way.
    cast = {name: t.to(dtype) if t.is_floating_point() else t for name, t in before.items()}
    for assign in (False, True):
        other = case.build().to(dtype)
        other.load_state_dict(cast, assign=assign)
        other(z.detach()), other.update()
        assert [b.dtype for b in other.buffers()] == [b.dtype for b in quantizer.buffers()]


# Gradients and losses


def test_no_vector_is_too_short_or_too_long_for_its_gradient(case):
    quantizer = trained(case)
    upstream = some_vectors(50, seed=2)
    for scale in (0.0, 1e-30, 1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e6):
        z = (scale * some_vectors(50)).requires_grad_()
        output = quantizer(z)
        (gradient,) = torch.autograd.grad(output.quantized, z, upstream, retain_graph=True)
        assert (gradient.norm(dim=1) <= 110 * upstream.norm(dim=1)).all(), scale
        for loss in output.losses.values():
            if not loss.requires_grad:
                continue
            of_z, *others = torch.autograd.grad(
                loss, [z, *quantizer.parameters()], retain_graph=True, allow_unused=True
            )
            # Losses are squares, so their gradients grow with the vectors.
            assert of_z is None or of_z.norm() <= 110 * max(scale, 1), scale
            assert all(part is None or part.isfinite().all() for part in others), scale


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_a_finite_vector_however_large_has_its_codeword_and_no_gradient_of_nan(case, mode):
    quantizer = trained(case).train(mode == "training")
    for large in (1e19, 1e38):
        z = some_vectors(20)
        z[7], z[8], z[9, 1], z[10, 2] = large, -large, large, -large
        output, indices = quantizer(z.requires_grad_()), quantizer.encode(z)
        assert (output.indices >= 0).all() and (indices >= 0).all(), large
        assert output.quantized.isfinite().all(), large
        for value in (output.quantized.sum(), *output.losses.values()):
            if value.requires_grad:
                to = [z, *quantizer.parameters()]
                found = torch.autograd.grad(value, to, retain_graph=True, allow_unused=True)
                assert all(part is None or not part.isnan().any() for part in found), large
            assert not value.isnan(), large  # the squares of a loss may be infinite


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_what_is_not_finite_is_never_passed_off_as_a_codeword(case, mode):
    quantizer = trained(case).train(mode == "training")
    for bad in (torch.nan, torch.inf, -torch.inf):
        check_not_finite(case, copy.deepcopy(quantizer), bad)


def check_not_finite(case: Case, quantizer: Quantizer, bad: float) -> None:
    z = some_vectors(40)
    expected = copy.deepcopy(quantizer).eval()(z)
    z[7, 2] = bad
    output, indices = quantizer(z), quantizer.encode(z)
    others = torch.arange(40) != 7
    for found in (output.indices, indices):
        assert (found[7] == -1).any()
        chosen_otherwise = (case.drawn or case.searching) and quantizer.training
        if not (chosen_otherwise and found is output.indices):
            assert torch.equal(found[others], expected.indices[others])
    assert output.quantized[7].isnan().any() and output.quantized[others].isfinite().all()
    if not quantizer.training:
        assert torch.equal(output.quantized[others], expected.quantized[others])
    told = [not loss.isfinite() for name, loss in output.losses.items() if name != "orthogonality"]
    assert all(told) if bad != bad else any(told) or not told  # an infinite bit is a sure one
    quantizer.update()
    assert all(tensor.isfinite().all() for tensor in state(quantizer).values())


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_changes_nothing(case, reentrant):
    results = []
    whole = trained(case)
    for checkpointed in (False, True):
        quantizer, z = copy.deepcopy(whole), some_vectors(60).requires_grad_()

        def forward(z: Tensor, quantizer: Quantizer = quantizer) -> tuple[Tensor, Tensor]:
            output = quantizer(z)
            return output.quantized, sum(output.losses.values(), torch.zeros(()))

        torch.manual_seed(3)
        for part in z.split(20):  # accumulated
            y, losses = (
                checkpoint(forward, part, use_reentrant=reentrant)
                if checkpointed
                else forward(part)
            )
            (y.square().sum() + losses).backward()
        torch.manual_seed(4)
        quantizer.update()
        results.append((z.grad, [p.grad for p in quantizer.parameters()], state(quantizer)))
    (a_grad, a_parameters, a_state), (b_grad, b_parameters, b_state) = results
    assert torch.equal(a_grad, b_grad)
    assert all(map(torch.equal, a_parameters, b_parameters))
    assert_equal_states(a_state, b_state)


def test_the_losses_are_those_expected(case):
    quantizer = trained(case)
    z = some_vectors(50)
    for mode in (True, False):
        losses = quantizer.train(mode)(z).losses
        assert set(losses) == case.losses
        z_q = quantizer.decode(quantizer.encode(z))
        for name in case.losses - ENTROPIES if case.plain and not case.drawn else ():
            torch.testing.assert_close(losses[name], (case.latent(z) - z_q).square().mean())


def test_each_loss_reaches_one_side_only(case):
    needs(case.plain, "has losses of other forms")
    quantizer = trained(case)
    z = some_vectors(50).requires_grad_()
    output = quantizer(z)
    z_q = quantizer.decode(output.indices).detach()
    distance = (case.latent(z) - z_q).square().mean()
    for name, loss in output.losses.items():
        sides = [z, *quantizer.parameters()]
        encoder, *codebook = torch.autograd.grad(loss, sides, retain_graph=True, allow_unused=True)
        if name in {"commitment", *ENTROPIES}:
            assert all(gradient is None or not gradient.any() for gradient in codebook)
            if name == "commitment":
                (expected,) = torch.autograd.grad(distance, z)
                torch.testing.assert_close(encoder, expected)
        else:
            assert encoder is None or not encoder.any()
            error = 2 * (z.detach() - z_q) / z.numel()
            expected = torch.zeros(SIZE, DIM).index_add_(0, output.indices, -error)
            torch.testing.assert_close(codebook[0], expected)


def test_the_gradient_of_straight_through_is_the_identity(case):
    quantizer = trained(case)
    z = some_vectors(50).requires_grad_()
    upstream = some_vectors(50, seed=2)
    quantizer(z).quantized.backward(upstream)
    assert torch.equal(z.grad, upstream) == case.identity
    assert z.grad.isfinite().all()


def test_its_output_may_be_changed_in_place(case):
    gradients = []
    for change in (lambda y: y * 2, lambda y: y.mul_(2)):
        torch.manual_seed(0)
        quantizer, z = trained(case), some_vectors(50).requires_grad_()
        y, _, losses = quantizer(z)
        loss = change(y).square().mean() + sum(losses.values())
        gradients.append(torch.autograd.grad(loss, [z, *quantizer.parameters()], allow_unused=True))
    for apart, in_place in zip(*gradients, strict=True):
        assert (apart is None) == (in_place is None)
        assert apart is None or torch.equal(apart, in_place)


def test_a_forward_pass_changes_nothing_that_is_kept(case):
    quantizer = trained(case)
    for mode in (True, False):
        before = state(quantizer)
        quantizer.train(mode)(some_vectors(50)).quantized.sum()
        quantizer.encode(some_vectors(50))
        assert_equal_states(before, state(quantizer))


def test_evaluation_leaves_nothing_for_an_update(case):
    quantizer = trained(case).eval()
    other = copy.deepcopy(quantizer)
    quantizer(some_vectors(50) + 9)
    torch.manual_seed(0)
    quantizer.update()
    torch.manual_seed(0)
    other.update()
    assert_equal_states(state(quantizer), state(other))


def test_losses_do_not_depend_on_the_size_of_the_batch(case):
    needs(not case.drawn, "draws its codewords in training")
    quantizer = trained(case)
    z = some_vectors(64)
    whole = quantizer(z).losses
    parts = [quantizer(part).losses for part in z.split(16)]
    doubled = quantizer(torch.cat([z, z])).losses
    for name, loss in whole.items():
        torch.testing.assert_close(doubled[name], loss)
        mean = sum(part[name] for part in parts) / len(parts)
        if name == "entropy_deficit":  # convex in the distribution over the batch
            assert mean > loss
        else:
            torch.testing.assert_close(mean, loss)


def test_accumulating_equals_the_joined_batch(case):
    joined, split = case.build(), case.build()
    split.load_state_dict(joined.state_dict())
    batches = [some_vectors(128, seed=seed) for seed in range(6)]
    if case.noisy or case.together:  # they are assigned otherwise, and gradients differ, too
        batches = batches[:1]
    train(joined, [[z] for z in batches])
    train(split, [list(z.split(32)) for z in batches])
    torch.testing.assert_close(numbers(split), numbers(joined))


# Masks


def test_masked_equals_truncated(case):
    quantizer = trained(case)
    z = some_vectors(80)
    mask = torch.arange(80) < 48  # noise is drawn in blocks of 16: so it is that of the first 48
    masked, truncated = z.clone(), z[:48].clone()
    masked[48:] = torch.nan
    results = []
    for vectors, valid in ((masked, mask), (truncated, None)):
        vectors.requires_grad_()
        one = copy.deepcopy(quantizer)
        torch.manual_seed(3)
        output = one(vectors, valid)
        loss = output.quantized.square().sum() + 10 * sum(output.losses.values())
        loss.backward()
        torch.manual_seed(4)
        one.update()
        results.append((output, vectors.grad, list(one.parameters()), numbers(one)))

    (a, a_grad, a_parameters, a_state), (b, b_grad, b_parameters, b_state) = results
    assert torch.equal(a.quantized[:48], b.quantized) and not a.quantized[48:].any()
    assert torch.equal(a.indices[:48], b.indices) and (a.indices[48:] == -1).all()
    torch.testing.assert_close(a.losses, b.losses)
    torch.testing.assert_close(a_grad[:48], b_grad)
    assert not a_grad[48:].any()
    for one, other in zip(a_parameters, b_parameters, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(a_state, b_state)


def test_a_full_mask_equals_none(case):
    quantizer = trained(case)
    z = some_vectors(6, 8)
    torch.manual_seed(3)
    masked = quantizer(z, torch.ones(6, 8, dtype=torch.bool))
    torch.manual_seed(3)
    plain = quantizer(z)
    assert torch.equal(masked.quantized, plain.quantized)
    assert torch.equal(masked.indices, plain.indices)
    torch.testing.assert_close(masked.losses, plain.losses)


@pytest.mark.parametrize("start", ["fresh", "trained"])
@pytest.mark.parametrize("nothing", ["empty", "masked"])
def test_a_batch_of_nothing_gives_zeros_and_changes_nothing(case, start, nothing):
    quantizer = trained(case) if start == "trained" else case.build()
    z, mask = some_vectors(0, 3), None
    if nothing == "masked":
        z, mask = torch.full((2, 3, DIM), torch.nan), torch.zeros(2, 3, dtype=torch.bool)
    before = state(quantizer)
    for mode in (True, False):
        z = z.detach().requires_grad_()
        quantizer.train(mode)
        output = quantizer(z, mask)
        assert output.quantized.shape == z.shape and not output.quantized.any()
        assert (output.indices == -1).all()
        output.losses.pop("orthogonality", None)  # of the codewords alone
        assert all(loss == 0 for loss in output.losses.values())
        (output.quantized.sum() + sum(output.losses.values())).backward()
        assert not z.grad.any()
        assert all(not p.grad.any() for p in quantizer.parameters() if p.grad is not None)
        quantizer.update()
    after = state(quantizer)
    for name in [name for name in before if name.endswith("updates")]:
        before.pop(name), after.pop(name)
    assert_equal_states(before, after)


def test_an_index_of_minus_one_decodes_to_zero(case):
    quantizer = trained(case)
    assert not quantizer.decode(no_indices(quantizer)).any()


# Learning


def test_training_uses_and_improves_the_codebook(case):
    needs(not case.other_aim, "aims at something else than the distance")
    needs(not case.fixed, "has no codebook to learn")
    quantizer = case.build()
    z = 4 + 0.5 * some_vectors(400)
    parameters = list(quantizer.parameters())
    kind, rate = (torch.optim.SGD, 5.0) if case.plain else (torch.optim.Adam, 0.1)
    optimizer = kind(parameters, rate) if parameters else None
    before = (z - quantizer.eval()(z).quantized).square().mean()
    for number in range(60):
        torch.manual_seed(number)
        output = quantizer.train()(z)
        distortion = (z - output.quantized).square().mean() + sum(output.losses.values())
        if optimizer is not None:
            optimizer.zero_grad()
            distortion.backward()
            optimizer.step()
        quantizer.update()
    indices = quantizer.encode(z)
    after = (z - quantizer.decode(indices)).square().mean()
    assert after < before / 10
    if case.plain and quantizer.dead_code_reset is not None:
        assert len(indices.unique()) == SIZE


@pytest.fixture(params=["usual sums", "deterministic sums"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param == "deterministic sums")
    yield
    torch.use_deterministic_algorithms(False)


def test_it_is_deterministic_under_a_seed(case, deterministic):
    runs = []
    for _ in range(2):
        torch.manual_seed(11)
        quantizer = trained(case)
        torch.manual_seed(12)
        runs.append((quantizer(some_vectors(50)).quantized, state(quantizer)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert_equal_states(runs[0][1], runs[1][1])


def test_saving_and_loading_goes_on_identically(case, tmp_path):
    quantizer = trained(case)
    save_model(quantizer, tmp_path / "quantizer")
    loaded = load_model(tmp_path / "quantizer")
    assert_equal_states(state(quantizer), state(loaded))
    for one in (quantizer, loaded):
        train(one, [[some_vectors(100, seed=seed)] for seed in range(20, 26)])
    assert_equal_states(state(quantizer), state(loaded))


def test_a_state_loaded_into_a_used_quantizer_goes_on_identically(case):
    quantizer, other = trained(case), case.build()
    fresh = state(other)
    train(other, [[some_vectors(100, seed=9)]])
    other.load_state_dict(fresh)
    expected = case.build()
    expected.load_state_dict(fresh)
    for one in (other, expected):
        train(one, [[some_vectors(100, seed=seed)] for seed in range(3)])
    assert_equal_states(state(other), state(expected))
    assert state(quantizer).keys() == fresh.keys()


def test_a_copy_is_equal_and_apart(case):
    quantizer = trained(case)
    quantizer.train()(some_vectors(50))
    copied = copy.deepcopy(quantizer)
    before = state(quantizer)
    train(copied, [[some_vectors(100, seed=seed)] for seed in range(3)])
    assert_equal_states(before, state(quantizer))
    train(quantizer, [[some_vectors(100, seed=seed)] for seed in range(3)])
    assert_equal_states(state(copied), state(quantizer))


# Compiling


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_it_compiles_in_one_graph(case, mode):
    quantizer = trained(case).train(mode == "training")
    z, mask = some_vectors(6, 8), torch.arange(48).reshape(6, 8) < 40
    results = []
    for compiles in (False, True):
        one = copy.deepcopy(quantizer)
        vectors = z.clone().requires_grad_()
        torch._dynamo.reset()
        called = torch.compile(one, fullgraph=True, backend="aot_eager") if compiles else one
        torch.manual_seed(3)
        output = called(vectors, mask)
        (output.quantized.square().sum() + sum(output.losses.values())).backward()
        torch.manual_seed(4)
        one.update()
        results.append((tuple(output), vectors.grad, numbers(one)))
    if case.noisy and mode == "training":  # a compiled graph draws other noise
        assert results[1][0][0].isfinite().all() and results[1][1].isfinite().all()
    else:
        torch.testing.assert_close(results[1], results[0])


def test_it_exports(case):
    quantizer = trained(case).eval()
    z = some_vectors(6, 8)
    length = torch.export.Dim("length", min=2)
    exported = torch.export.export(quantizer, (z,), dynamic_shapes=({1: length},)).module()
    for part in (z, z[:, :5]):
        torch.testing.assert_close(tuple(exported(part)), tuple(quantizer(part)))


# Mistakes


def test_mistakes_are_told_in_one_line(case):
    quantizer = case.build()
    z = some_vectors(4)
    mistakes = [
        lambda: quantizer(torch.zeros(4, DIM + 1)),
        lambda: quantizer(torch.tensor(1.0)),
        lambda: quantizer(z.long()),
        lambda: quantizer(z, torch.ones(4)),
        lambda: quantizer(z, torch.ones(5, dtype=torch.bool)),
        lambda: quantizer.encode(torch.zeros(DIM, 4)),
        lambda: quantizer.decode(torch.tensor([0, quantizer.codebook_sizes[0]])),
        lambda: quantizer.decode(torch.tensor([-2])),
        lambda: quantizer.decode(torch.tensor([0.5])),
    ]
    for mistake in mistakes:
        with pytest.raises(InputError) as error:
            mistake()
        assert "\n" not in str(error.value)
        assert "got" in str(error.value) and ":" in str(error.value)
