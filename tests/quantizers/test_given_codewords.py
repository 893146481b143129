"""Codewords that somebody gave: k-means leaves them, and freezing keeps them. For all codebooks."""

import copy

import pytest
import torch
from torch import nn

from smalti.autoencoders import DiscreteAutoencoder
from smalti.errors import InputError
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import (
    DeadCodeReset,
    EMACodebook,
    GradientCodebook,
    GumbelQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    TransformedCodebook,
    VectorQuantizer,
    freeze_codebooks,
)

SIZE, DIM = 12, 3
CODEBOOKS = [EMACodebook, GradientCodebook, TransformedCodebook]


@pytest.fixture(params=CODEBOOKS, ids=lambda codebook: codebook.__name__)
def build(request):
    def made(**options):
        options = {"dead_code_reset": None, **options}
        return VectorQuantizer(request.param(codebook_size=SIZE, dim=DIM), **options)

    return made


def vectors(seed=0):
    return 50 + torch.randn(200, DIM, generator=torch.Generator().manual_seed(seed))


def train(quantizer, steps, learn=0.0, start=0):
    """Trains for so many steps from a step on, of which everything drawn depends."""
    parameters = [*quantizer.parameters(), nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(parameters, lr=learn)
    for step in range(start, start + steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        losses = quantizer.train()(vectors(step)).losses
        if learn and any(loss.requires_grad for loss in losses.values()):
            sum(losses.values()).backward()
        optimizer.step()
        quantizer.update()


def codewords(quantizer):
    return quantizer.codewords().detach().clone()


GIVEN = torch.arange(SIZE * DIM, dtype=torch.float32).reshape(SIZE, DIM) / 10


def by_initialize(quantizer, build):
    quantizer.codebook.initialize(GIVEN)


def by_list(quantizer, build):
    quantizer.codebook.initialize(GIVEN.tolist())


@torch.no_grad()
def by_copy(quantizer, build):
    target = quantizer.codebook.sources()[0]  # the table of a transformed one, whose map is 1
    target.copy_(GIVEN)


def by_state_of_the_codebook(quantizer, build):
    other = build()
    other.codebook.initialize(GIVEN)
    quantizer.codebook.load_state_dict(other.codebook.state_dict())


def by_state_of_a_given_one(quantizer, build):
    other = build()
    other.codebook.initialize(GIVEN)
    quantizer.load_state_dict(other.state_dict())


def by_part_of_a_state(quantizer, build):
    name = "table" if isinstance(quantizer.codebook, TransformedCodebook) else "weight"
    quantizer.load_state_dict({f"codebook.{name}": GIVEN}, strict=False)


WAYS = [
    by_initialize,
    by_list,
    by_copy,
    by_state_of_the_codebook,
    by_state_of_a_given_one,
    by_part_of_a_state,
]


@pytest.mark.parametrize(
    "way, before",
    [(way, 0) for way in WAYS]
    # A whole state goes on where it was saved.
    + [(way, 3) for way in WAYS if way is not by_state_of_a_given_one],
)
def test_k_means_never_replaces_codewords_that_somebody_gave(build, way, before):
    quantizer = build()
    train(quantizer, before)
    way(quantizer, build)
    given = codewords(quantizer)
    torch.testing.assert_close(given, GIVEN, atol=1e-4, rtol=0)
    train(quantizer, 9)  # over the updates 1, 2, 4 and 8, or 4 and 8
    if quantizer.codebook.trainable:
        assert torch.equal(codewords(quantizer), given)
    else:  # all vectors fall on the last, which follows them slowly from where it was
        untouched = codewords(quantizer)[:-1]
        assert torch.equal(untouched, given[:-1])
        assert not torch.equal(codewords(quantizer)[-1], given[-1])


def test_an_ema_codebook_starts_its_means_from_what_was_copied():
    quantizer = VectorQuantizer(
        EMACodebook(codebook_size=SIZE, dim=DIM, decay=0.99), dead_code_reset=None
    )
    with torch.no_grad():
        quantizer.codebook.weight.copy_(GIVEN + 50)
    quantizer(GIVEN + 50)  # exactly where they are
    quantizer.update()
    torch.testing.assert_close(codewords(quantizer), GIVEN + 50)


def test_random_codewords_are_replaced_whatever_they_are_cast_to_or_saved_in(build):
    for change in (
        lambda q: q,
        lambda q: q.to(torch.bfloat16),
        lambda q: q.double(),
        copy.deepcopy,
        lambda q: build().load_state_dict(q.state_dict()) and q,
    ):
        quantizer = change(build())
        train(quantizer, 1)
        assert (codewords(quantizer) - 50).abs().max() < 10
    whole, fresh = build(), build()
    fresh.load_state_dict(whole.state_dict())  # of a quantizer that has learned nothing yet
    train(fresh, 1)
    assert (codewords(fresh) - 50).abs().max() < 10


def test_a_state_goes_on_over_the_starts_to_come(build):
    straight, first = build(), build()
    first.load_state_dict(straight.state_dict())
    train(straight, 9, learn=0.1)
    train(first, 3, learn=0.1)
    resumed = build()
    resumed.load_state_dict(first.state_dict())
    train(resumed, 6, learn=0.1, start=3)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_the_schedule_of_the_start_is_a_parameter(build, monkeypatch):
    for updates in ((), (1,), (3, 5)):
        quantizer, starts = build(kmeans_updates=updates), []
        start = quantizer.geometry.kmeans_init

        def noted(*args, quantizer=quantizer, starts=starts, start=start):
            starts.append(int(quantizer.updates))
            return start(*args)

        monkeypatch.setattr(quantizer.geometry, "kmeans_init", noted)
        train(quantizer, 6, learn=0.1)
        assert tuple(starts) == updates
    with pytest.raises(InputError, match=r"whole numbers from 1 on, got \[0\]"):
        build(kmeans_updates=[0])


# Freezing


def autoencoder(quantizer):
    networks = [net(Features(1), quantizer.dim, hidden=8) for net in (ConvEncoder, ConvDecoder)]
    return DiscreteAutoencoder(networks[0], quantizer, networks[1], Image(1, (8, 8)))


FREEZE = {
    "the quantizer": lambda q: q.requires_grad_(False),
    "the codebook": lambda q: q.codebook.requires_grad_(False),
    "a residual quantizer around it": lambda q: ResidualQuantizer([q, q]).requires_grad_(False),
    "a product around it": lambda q: ProductQuantizer([q, q]).requires_grad_(False),
    "an autoencoder around it": lambda q: autoencoder(q).requires_grad_(False),
    "any module around it": lambda q: freeze_codebooks(nn.Sequential(q)),
}


@pytest.mark.parametrize("freeze", FREEZE.values(), ids=FREEZE.keys())
def test_frozen_codewords_stay_and_the_encoder_still_learns(build, freeze):
    quantizer = build(dead_code_reset=DeadCodeReset(every=1, decay=0.5))
    freeze(quantizer)
    before = copy.deepcopy(quantizer.state_dict())
    train(quantizer, 12, learn=0.1)
    for name, tensor in quantizer.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    z = vectors().requires_grad_()
    output = quantizer(z)
    (output.quantized.sum() + output.losses["commitment"]).backward()
    assert z.grad.any()

    quantizer.requires_grad_(True)  # and learns again, from k-means where nobody gave codewords
    train(quantizer, 1)
    assert (codewords(quantizer) - 50).abs().max() < 10


def test_starting_from_given_codewords_and_freezing_them(build):
    quantizer = build()
    quantizer.codebook.initialize(GIVEN)
    given = codewords(quantizer)
    quantizer.requires_grad_(False)
    train(quantizer, 3, learn=0.1)
    quantizer.requires_grad_(True)
    train(quantizer, 1)
    assert torch.equal(codewords(quantizer)[:-1], given[:-1])


def test_a_frozen_gumbel_quantizer_stays_at_its_temperature():
    quantizer = GumbelQuantizer(codebook_size=8, dim=DIM).requires_grad_(False)
    quantizer.update()
    assert quantizer.updates == 0


@pytest.mark.parametrize(
    "mistake", [torch.zeros(SIZE, DIM + 1), torch.full((SIZE, DIM), torch.nan)]
)
def test_codewords_that_do_not_fit_are_refused(build, mistake):
    with pytest.raises(InputError, match=r"takes finite codewords \(12, 3\), got the shape"):
        build().codebook.initialize(mistake)
