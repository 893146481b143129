"""Updates that an optimizer makes, and the reminder where nobody makes any."""

import copy
import gc
import warnings
import weakref

import pytest
import torch
from torch import nn

from smalti.autoencoders import DiscreteAutoencoder
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import (
    Annealing,
    BinarySphericalQuantizer,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    GumbelQuantizer,
    IndexBackpropagation,
    LookupFreeQuantizer,
    MultiScaleQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    ScaledQuantizer,
    TransformedCodebook,
    VectorQuantizer,
)
from smalti.quantizers.attachment import FORGOTTEN

DIM = 4


def ema():
    return VectorQuantizer(EMACodebook(codebook_size=8, dim=DIM))


def by_gradient(**options):
    codebook = GradientCodebook(codebook_size=8, dim=DIM)
    return VectorQuantizer(codebook, **{"dead_code_reset": None, "kmeans_iterations": 0, **options})


LEARNERS = {
    "EMA": ema,
    "EMA, nothing else": lambda: VectorQuantizer(
        EMACodebook(codebook_size=8, dim=DIM), dead_code_reset=None, kmeans_iterations=0
    ),
    "gradient, k-means": lambda: by_gradient(kmeans_iterations=5),
    "gradient, reset": lambda: VectorQuantizer(
        GradientCodebook(codebook_size=8, dim=DIM), kmeans_iterations=0
    ),
    "IBQ": lambda: by_gradient(estimator=IndexBackpropagation(), kmeans_iterations=5),
    "transformed": lambda: VectorQuantizer(TransformedCodebook(codebook_size=8, dim=DIM)),
    "Gumbel": lambda: GumbelQuantizer(codebook_size=8, dim=DIM),
    "product": lambda: ProductQuantizer(
        [VectorQuantizer(EMACodebook(codebook_size=8, dim=2)) for _ in range(2)]
    ),
    "residual, shared": lambda: ResidualQuantizer([ema()] * 4),
    "residual of one that needs none and one that does": lambda: ResidualQuantizer(
        [by_gradient(), ema()]
    ),
    "projected": lambda: ProjectedQuantizer(ema(), DIM),
    "scaled": lambda: ScaledQuantizer(ema(), 2.0),
    "multi-scale": lambda: MultiScaleQuantizer(ema(), (1, 2, 5)),
    "residual of projected": lambda: ResidualQuantizer([ProjectedQuantizer(ema(), DIM)] * 3),
}
OTHERS = {
    "gradient": by_gradient,
    "IBQ alone": lambda: by_gradient(estimator=IndexBackpropagation()),
    "Gumbel at one temperature": lambda: GumbelQuantizer(
        codebook_size=8, dim=DIM, temperature=Annealing(1.0, 1.0)
    ),
    "FSQ": lambda: FiniteScalarQuantizer([3] * DIM),
    "LFQ": lambda: LookupFreeQuantizer(DIM),
    "BSQ": lambda: BinarySphericalQuantizer(DIM),
    "residual": lambda: ResidualQuantizer([by_gradient()] * 3),
}


def learners():
    return pytest.mark.parametrize("build", LEARNERS.values(), ids=LEARNERS.keys())


def vectors():
    return torch.randn(20, 5, DIM)


def nothing():
    """An optimizer of something else."""
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


def states(quantizer):
    return {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}


@learners()
def test_an_attached_quantizer_learns_as_one_that_is_updated(build):
    updated = build()
    attached = copy.deepcopy(updated)
    optimizer = nothing()
    first = attached.attach(optimizer)
    again = attached.attach(optimizer)  # not twice
    before = states(updated)
    for seed in range(4):
        torch.manual_seed(seed)
        z = vectors()
        for quantizer, learn in ((updated, updated.update), (attached, optimizer.step)):
            torch.manual_seed(seed)
            quantizer(z)
            learn()
    assert any(not torch.equal(before[name], tensor) for name, tensor in states(updated).items())
    for name, tensor in states(updated).items():
        assert torch.equal(states(attached)[name], tensor), name

    again.detach()
    first.detach()
    learned = states(attached)
    attached(vectors())
    optimizer.step()
    for name, tensor in states(attached).items():
        assert torch.equal(learned[name], tensor), name


def test_a_stage_that_is_attached_itself_is_updated_once():
    inner, optimizer = ema(), nothing()
    whole = ResidualQuantizer([inner, ema()])
    inner.attach(optimizer)
    whole.attach(optimizer)
    whole(vectors())
    optimizer.step()
    assert [int(stage.updates) for stage in whole.stages] == [1, 1]


def test_another_optimizer_takes_the_place_of_the_first():
    quantizer, first, second = ema(), nothing(), nothing()
    quantizer.attach(first)
    quantizer.attach(second)
    quantizer(vectors())
    first.step()
    assert quantizer.updates == 0
    second.step()
    assert quantizer.updates == 1


def test_a_copy_is_not_attached_and_nothing_is_kept_alive():
    quantizer, optimizer = ema(), nothing()
    quantizer.attach(optimizer)
    copied = copy.deepcopy(quantizer)
    copied(vectors())
    optimizer.step()
    assert copied.updates == 0
    gone = weakref.ref(quantizer)
    del quantizer, optimizer
    gc.collect()
    assert gone() is None


def test_an_autoencoder_attaches_its_quantizers():
    networks = [net(Features(1), DIM, hidden=8) for net in (ConvEncoder, ConvDecoder)]
    model = DiscreteAutoencoder(networks[0], ema(), networks[1], Image(1, (8, 8)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.attach(optimizer)
    model(torch.rand(6, 1, 8, 8) * 2 - 1)
    optimizer.step()
    assert model.quantizer.updates == 1


@learners()
def test_forgetting_the_update_is_said_once_after_ten_passes(build):
    quantizer = build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(FORGOTTEN - 1):
            quantizer(vectors())
        quantizer.eval()
        quantizer(vectors())
        quantizer.train()
    with pytest.warns(UserWarning, match=r"quantizer\.attach\(optimizer\) once") as said:
        for _ in range(3 * FORGOTTEN):
            quantizer(vectors())
    assert FORGOTTEN == 10 and len(said) == 1


@pytest.mark.parametrize("cared", ["attached", "updated", "in evaluation"])
@learners()
def test_nothing_is_said_where_updates_come(build, cared):
    quantizer = build()
    if cared == "attached":
        quantizer.attach(nothing())
    elif cared == "updated":
        quantizer(vectors())
        quantizer.update()
    else:
        quantizer.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2 * FORGOTTEN):
            quantizer(vectors())


@pytest.mark.parametrize("build", OTHERS.values(), ids=OTHERS.keys())
def test_nothing_is_said_of_quantizers_that_need_no_update(build):
    quantizer = build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2 * FORGOTTEN):
            quantizer(vectors())
