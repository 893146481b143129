"""Beside vector-quantize-pytorch, with copied weights, wherever both define the same thing.

Where they differ on purpose, docs/quantizers.md says what, why, and which test of ours shows it.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from smalti.quantizers import (
    BinarySphericalQuantizer,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    LookupFreeQuantizer,
    Orthogonality,
    ResidualQuantizer,
    Rotation,
    Spherical,
    SymmetricBound,
    VectorQuantizer,
)

peers = pytest.importorskip("vector_quantize_pytorch")

SIZE, DIM = 32, 6


def batches(n: int, *, length: int = 50) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, length, DIM, generator=generator) for _ in range(n)]


def pair(codebook, *, ours: dict | None = None, **theirs):
    """One of ours and one of theirs with the same codewords."""
    mine = VectorQuantizer(
        codebook, **{"dead_code_reset": None, "kmeans_iterations": 0, **(ours or {})}
    )
    by_ema = isinstance(codebook, EMACodebook)
    options = {
        "rotation_trick": False,
        "learnable_codebook": not by_ema,
        "ema_update": by_ema,
        "commitment_weight": 1.0,
        **theirs,
    }
    peer = peers.VectorQuantize(DIM, SIZE, **options)
    if by_ema:
        options["decay"] = codebook.decay
        peer = peers.VectorQuantize(DIM, SIZE, **options)
    with torch.no_grad():
        peer._codebook.embed.copy_(mine.codewords()[None])
        if by_ema:
            codebook.weight.copy_(mine.codewords())
            codebook.sums.copy_(codebook.weight)
            peer._codebook.embed_avg.copy_(codebook.weight[None])
            peer._codebook.cluster_size.fill_(1)
    return mine, peer


def assert_alike(mine, peer, z: Tensor) -> None:
    """Indices, outputs, the commitment loss and the gradient of the input."""
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    output = mine(a)
    quantized, indices, loss = peer(b)
    assert torch.equal(output.indices, indices)
    torch.testing.assert_close(output.quantized, quantized)
    torch.testing.assert_close(output.losses["commitment"], loss.squeeze())
    upstream = torch.linspace(-1, 1, z.numel()).view(z.shape)
    for result, loss_of_it in ((output.quantized, output.losses["commitment"]), (quantized, loss)):
        ((result * upstream).sum() + 0.25 * loss_of_it.sum()).backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_ema_over_twenty_steps():
    mine, peer = pair(EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.8))
    for z in batches(20):
        assert_alike(mine, peer, z)
        mine.update()
        torch.testing.assert_close(mine.codebook.weight, peer._codebook.embed[0])
        torch.testing.assert_close(mine.codebook.counts, peer._codebook.cluster_size[0])


def test_ema_on_the_sphere_over_twenty_steps():
    mine, peer = pair(
        EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.8),
        ours={"geometry": Spherical()},
        use_cosine_sim=True,
    )
    for z in batches(20):
        output, (quantized, indices, _) = mine(z), peer(z)
        assert torch.equal(output.indices, indices)
        torch.testing.assert_close(output.quantized, quantized)
        mine.update()
        torch.testing.assert_close(mine.codewords(), peer._codebook.embed[0])


def test_a_codebook_that_gradients_train():
    mine, peer = pair(GradientCodebook(codebook_size=SIZE, dim=DIM))
    for z in batches(3):
        assert_alike(mine, peer, z)


def test_the_rotation_trick():
    mine, peer = pair(
        GradientCodebook(codebook_size=SIZE, dim=DIM),
        ours={"estimator": Rotation()},
        rotation_trick=True,
    )
    for z in batches(3):
        assert_alike(mine, peer, z)


def test_evaluation():
    mine, peer = pair(EMACodebook(codebook_size=SIZE, dim=DIM))
    mine.eval(), peer.eval()
    for z in batches(3):
        output, (quantized, indices, _) = mine(z), peer(z)
        assert torch.equal(output.indices, indices)
        torch.testing.assert_close(output.quantized, quantized)
        torch.testing.assert_close(mine.decode(indices), peer.get_output_from_indices(indices))


def test_masked_positions_move_no_codeword():
    mine, peer = pair(EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.8))
    mask = torch.arange(50) < torch.tensor([[50], [20]])
    for z in batches(5):
        output, (_, indices, loss) = mine(z, mask), peer(z, mask=mask)
        assert torch.equal(output.indices[mask], indices[mask])
        torch.testing.assert_close(output.losses["commitment"], loss.squeeze())
        mine.update()
        torch.testing.assert_close(mine.codebook.weight, peer._codebook.embed[0])


def test_orthogonality():
    mine, peer = pair(
        GradientCodebook(codebook_size=SIZE, dim=DIM),
        ours={"regularisers": [Orthogonality()]},
        orthogonal_reg_weight=1.0,
        commitment_weight=0.0,
    )
    (z,) = batches(1)
    _, _, loss = peer(z)
    torch.testing.assert_close(mine(z).losses["orthogonality"], loss.squeeze())


@pytest.mark.parametrize("shared", [False, True])
def test_residual(shared):
    codebooks = [
        EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.8) for _ in range(1 if shared else 3)
    ]
    stages = [VectorQuantizer(c, dead_code_reset=None, kmeans_iterations=0) for c in codebooks]
    mine = ResidualQuantizer(stages * 3 if shared else stages)
    peer = peers.ResidualVQ(
        dim=DIM, codebook_size=SIZE, num_quantizers=3, decay=0.8, rotation_trick=False
    )
    with torch.no_grad():
        for place, layer in enumerate(peer.layers):
            layer._codebook.embed.copy_(codebooks[0 if shared else place].weight[None])
    mine.eval(), peer.eval()
    for z in batches(3):
        quantized, indices, _ = peer(z)
        assert torch.equal(mine.encode(z), indices)
        torch.testing.assert_close(mine(z).quantized, quantized)
        torch.testing.assert_close(mine.decode(indices), peer.get_output_from_indices(indices))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("num_values", [[8, 5, 4, 3, 7, 6], [3, 3, 3, 3, 3, 3]])
def test_finite_scalars(num_values, symmetric):
    mine = FiniteScalarQuantizer(num_values, SymmetricBound() if symmetric else None)
    peer = peers.FSQ(num_values, preserve_symmetry=symmetric)
    for z in batches(3):
        a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
        output, (quantized, indices) = mine(a), peer(b)
        assert torch.equal(output.indices, indices.long())
        torch.testing.assert_close(output.quantized, quantized)
        torch.testing.assert_close(mine.decode(indices.long()), peer.indices_to_codes(indices))
        upstream = torch.linspace(-1, 1, z.numel()).view(z.shape)
        (output.quantized * upstream).sum().backward()
        (quantized * upstream).sum().backward()
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("spherical", [False, True])
def test_bits(spherical):
    tau = 0.7
    if spherical:
        mine = BinarySphericalQuantizer(DIM, inverse_temperature=tau)
    else:
        mine = LookupFreeQuantizer(DIM, inverse_temperature=tau)
    peer = peers.LFQ(dim=DIM, spherical=spherical, commitment_loss_weight=1.0)
    for z in batches(3):
        output = mine(z)
        returned, breakdown = peer(z, inv_temperature=tau, return_loss_breakdown=True)
        torch.testing.assert_close(output.quantized, returned.quantized)
        # Theirs has the first dimension as the most significant bit.
        weights = 2 ** torch.arange(DIM)
        bits = (output.quantized.detach() > 0).long()
        assert torch.equal(output.indices, (bits * weights).sum(-1))
        assert torch.equal(returned.indices, (bits * weights.flip(0)).sum(-1))

        sample = output.losses["sample_entropy"]
        torch.testing.assert_close(sample, breakdown.per_sample_entropy, atol=1e-4, rtol=1e-4)
        deficit = DIM * math.log(2) - breakdown.batch_entropy
        torch.testing.assert_close(output.losses["entropy_deficit"], deficit, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(output.losses["commitment"], breakdown.commitment)


# Where they differ on purpose (docs/quantizers.md)


def test_the_gradient_past_a_residual_stack_is_one_identity_not_four():
    peer = peers.ResidualVQ(dim=DIM, codebook_size=SIZE, num_quantizers=4, rotation_trick=False)
    mine = ResidualQuantizer(
        [VectorQuantizer(EMACodebook(codebook_size=SIZE, dim=DIM)) for _ in range(4)]
    )
    for quantizer, expected in ((mine, 1.0), (peer, 4.0)):
        z = batches(1)[0].requires_grad_()
        quantizer(z)[0].sum().backward()
        torch.testing.assert_close(z.grad, torch.full_like(z, expected))


def test_a_mask_of_all_positions_changes_no_commitment():
    mine, peer = pair(
        EMACodebook(codebook_size=SIZE, dim=DIM),
        ours={"geometry": Spherical()},
        use_cosine_sim=True,
    )
    mine.eval()
    (z,) = batches(1)
    everything = torch.ones(z.shape[:-1], dtype=torch.bool)
    plain, masked = (mine(z, mask).losses["commitment"] for mask in (None, everything))
    torch.testing.assert_close(plain, masked)
    # On the sphere the mean over the elements of a squared distance cannot be above 4/D.
    assert plain < 4 / DIM
    embed = peer._codebook.embed.clone()
    theirs = peer(z)[2].item()
    peer._codebook.embed.copy_(embed)
    assert peer(z, mask=everything)[2].item() > 2 * theirs


def test_a_batch_without_a_valid_position_has_a_loss_of_zero():
    mine, peer = pair(EMACodebook(codebook_size=SIZE, dim=DIM))
    (z,) = batches(1)
    nothing = torch.zeros(z.shape[:-1], dtype=torch.bool)
    assert mine(z, nothing).losses["commitment"] == 0
    assert peer(z, mask=nothing)[2].isnan().all()
    losses = LookupFreeQuantizer(DIM)(z, nothing).losses
    assert all(loss == 0 for loss in losses.values())
    assert peers.LFQ(dim=DIM)(z, mask=nothing).entropy_aux_loss.isnan()


def test_autocast_on_the_cpu_flips_no_index():
    mine, peer = pair(EMACodebook(codebook_size=SIZE, dim=DIM))
    mine.eval(), peer.eval()
    z = 3 + torch.cat(batches(10, length=200))
    expected = mine.encode(z), peer(z)[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mine.encode(z), expected[0])
        assert not torch.equal(peer(z)[1], expected[1])


def test_a_small_first_batch_kills_no_codeword_that_is_used():
    """A count of 2 is what a codeword must have there; here it is a share of uniform usage."""
    (z,) = batches(1)
    peer = peers.VectorQuantize(
        DIM, SIZE, threshold_ema_dead_code=2, decay=0.8, rotation_trick=False
    )
    before = peer._codebook.embed.clone()
    used = peer(z)[1].unique()
    gone = (before[0, used, None] != z.reshape(-1, DIM)).any(-1)
    assert gone.all() and (peer._codebook.embed != before).any(-1).float().mean() > 0.9

    mine = VectorQuantizer(EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.8), kmeans_iterations=0)
    for _ in range(10):
        mine(z)
        mine.update()
    assert mine.dead_code_reset.dead(mine.shares).numel() < SIZE / 2


def test_the_rotation_of_a_vector_of_no_length_has_a_small_gradient():
    mine, peer = pair(
        GradientCodebook(codebook_size=SIZE, dim=DIM),
        ours={"estimator": Rotation()},
        rotation_trick=True,
    )
    for quantizer in (mine, peer):
        z = torch.zeros(1, 3, DIM, requires_grad=True)
        quantizer(z)[0].sum().backward()
        assert (z.grad.abs().max() == 1) == (quantizer is mine)
        assert (z.grad.abs().max() > 1e3) == (quantizer is peer)
