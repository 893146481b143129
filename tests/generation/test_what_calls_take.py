"""Whatever is given to a model is taken right, or is one line: what, got what, how to mend it."""

from __future__ import annotations

import itertools
import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small_autoencoders import assemble
from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.conditions import CoarseTokens, Label
from smalti.errors import InputError
from smalti.generation import Model
from smalti.generation.traversal import traverse
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.priors import Cascade, Histogram, PixelCNN, PixelSNAIL, SamplingConfig, TransformerPrior
from smalti.quantizers import (
    EMACodebook,
    LookupFreeQuantizer,
    MultiScaleQuantizer,
    ProductQuantizer,
    VectorQuantizer,
)

SIGNAL = Image(1, (16, 16))
LABELS = Label(["cat", "dog", "7"])
K = 8


def coded(size=K):
    return VectorQuantizer(EMACodebook(codebook_size=size, dim=4))


def network(signal=SIGNAL):
    sizes = {"hidden": 8, "residual_hidden": 4}
    return ConvEncoder(signal, 4, **sizes), ConvDecoder(signal, 4, **sizes)


def flat(quantizer=None, signal=SIGNAL):
    encoder, decoder = network(signal)
    return DiscreteAutoencoder(encoder, quantizer or coded(), decoder, signal).eval()


@pytest.fixture(scope="module")
def model():
    """One grid, and a prior on a label."""
    torch.manual_seed(0)
    tokenizer = flat()
    prior = PixelCNN(K, tokenizer.grid, LABELS, hidden=8, layers=2, dropout=0.5)
    return Model(tokenizer, prior.train())  # in the mode that training left it in


@pytest.fixture(scope="module")
def levels():
    """Two grids, and a prior for each."""
    torch.manual_seed(0)
    tokenizer = HierarchicalAutoencoder(
        [
            ConvEncoder(Features(8), 4, hidden=8, downsampling=2),
            ConvEncoder(Features(1), 8, hidden=8),
        ],
        [coded(), coded(16)],
        [
            ConvDecoder(Features(8), 4, hidden=8, downsampling=2),
            ConvDecoder(Features(1), 12, hidden=8),
        ],
        SIGNAL,
    ).eval()
    above = CoarseTokens([K], [(2, 2)])
    priors = [PixelCNN(K, (2, 2), hidden=8, layers=1)]
    priors += [PixelCNN(16, (4, 4), above, hidden=8, layers=1)]
    return Model(tokenizer, Cascade(priors))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return Model(assemble(SIGNAL))


def pixels(n=3):
    return torch.linspace(-1, 1, n * 256).view(n, 1, 16, 16)


def line(call):
    """The line of an InputError: one line, of a reason and a way to mend it."""
    with pytest.raises(InputError) as raised:
        call()
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert 30 < len(text) < 400
    assert ": " in text
    return text


X = pixels()
RIGHT_SIGNALS = {
    "float64": X.double(),
    "numpy": X.numpy(),
    "numpy of float64": X.double().numpy(),
    "big-endian": X.numpy().astype(">f4"),
    "longdouble": X.numpy().astype(np.longdouble),
    "read-only": np.lib.stride_tricks.as_strided(X.numpy(), writeable=False),
    "backwards": np.ascontiguousarray(X.numpy()[::-1])[::-1],
    "nested lists": X.tolist(),
    "list of tensors": list(X),
    "tuple of arrays": tuple(X.numpy()),
    "not contiguous": X.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
    "with a gradient": X.clone().requires_grad_(),
    "expanded": X[:1].expand(3, -1, -1, -1),
}
WRONG_SIGNALS = {
    "none": None,
    "a text": "image.png",
    "a dict": {"x": X},
    "no numbers": [],
    "an empty tuple": (),
    "ragged": [[1.0], [1.0, 2.0]],
    "objects": np.array([None, X], dtype=object),
    "words": np.array(["a"]),
    "tensors of two sizes": [X[0], X[0, :, :8]],
    "masked": np.ma.masked_array(X.numpy(), X.numpy() > 0),
    "a number": 0.5,
    "0-d": torch.tensor(0.5),
    "bytes": ((X + 1) * 127.5).to(torch.uint8),
    "numpy bytes": ((X + 1) * 127.5).to(torch.uint8).numpy(),
    "int64": X.long(),
    "bool": X > 0,
    "complex": X.to(torch.complex64),
    "sparse": X.to_sparse(),
    "meta": X.to("meta"),
    "without a batch": X[0],
    "two batches": X[None],
    "channels last": X.permute(0, 2, 3, 1),
    "colour": X.expand(-1, 3, -1, -1),
    "another size": X[..., :12],
    "no values": X[..., :0],
    "NaN": torch.where(X > 0.9, math.nan, X),
    "infinite": torch.where(X > 0.9, math.inf, X),
    "0 to 255": (X + 1) * 127.5,
    "just outside": X * 1.1,
    "1e300": X.double() * 1e300,
}


@pytest.mark.parametrize("kind", ["model", "levels", "vae"])
def test_signals(kind, request):
    a = request.getfixturevalue(kind)
    inner = getattr(a, "tokenizer", None) or a.autoencoder

    def together(y):
        return torch.cat([g.flatten(1) for g in y], 1) if isinstance(y, tuple) else y

    wanted, one = together(a.encode(X)), together(a.encode(X[:1]))
    for name, x in RIGHT_SIGNALS.items():
        want = one.expand_as(wanted) if name == "expanded" else wanted
        for encode in (a.encode, inner.encode):
            got = together(encode(x))
            assert got.dtype == want.dtype, name
            assert torch.allclose(got, want, atol=1e-5), name
            assert not got.requires_grad
    for name, x in WRONG_SIGNALS.items():
        for encode in (a.encode, inner.encode):
            assert line(lambda e=encode, x=x: e(x)), name
    for kind in (torch.float16, torch.bfloat16):  # rounded, as is whatever is given in it
        assert torch.allclose(
            together(a.encode(X.to(kind))), together(a.encode(X.to(kind).float()))
        )
    empty = a.encode(X[:0])
    for y in empty if isinstance(empty, tuple) else (empty,):
        assert len(y) == 0
    assert together(empty).shape[1:] == wanted.shape[1:]
    assert a.decode(empty).shape == (0, 1, 16, 16)
    assert "x.float()" in line(lambda: a.encode(WRONG_SIGNALS["bytes"]))
    assert "x[None]" in line(lambda: a.encode(X[0]))
    assert "got NaN" in line(lambda: a.encode(WRONG_SIGNALS["NaN"]))


INTEGERS = [
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip


def right_indices(q):
    yield from (q.to(dtype) for dtype in INTEGERS)
    for kind in "u1 i1 u2 i2 u4 i4 u8 i8 >u2 >i8".split():
        yield q.numpy().astype(kind)
    yield q.tolist()
    yield q.numpy()[::-1][::-1]
    yield q.flip(1).flip(1)


def wrong_indices(q):
    yield from (q.float(), q.double().numpy(), q.bool(), q.to(torch.complex64), q.half())
    yield from (None, "tokens", [], {}, (), 3, [[1.5]], [["a"]], q.to_sparse(), q.to("meta"))
    yield from (torch.full_like(q, K), torch.full_like(q, -2), torch.full_like(q, 2**62))
    yield np.full(q.shape, 2**64 - 1, dtype=np.uint64)
    yield from (q[0], q[None], q[:, :0], (q, q), q.flatten(), q.flatten(1))


def test_indices_of_one_grid(model):
    q = model.encode(X)
    wanted = model.decode(q)
    for decode in (model.decode, model.autoencoder.decode):
        for given_indices in right_indices(q):
            assert torch.equal(decode(given_indices), wanted)
        for wrong in wrong_indices(q):
            assert line(lambda d=decode, w=wrong: d(w))
        assert decode(q[:0]).shape == (0, 1, 16, 16)
        assert torch.equal(decode(torch.full_like(q, -1)), decode(-torch.ones_like(q)))  # none
        assert decode(q[:, :2, :3]).shape == (3, 1, 8, 12)  # convolutions decode any grid
    for size in [(17, 16), (16,), (0, 4), "16", (3.5, 4), 4]:
        assert line(lambda s=size: model.autoencoder.decode(q, size=s))
    assert model.autoencoder.decode(q, size=(9, 16)).shape == (3, 1, 9, 16)


def test_indices_of_a_hierarchy(levels):
    top, bottom = levels.encode(X)
    wanted = levels.decode((top, bottom))
    for decode in (levels.decode, levels.autoencoder.decode):
        for pair in zip(right_indices(top), right_indices(bottom), strict=True):
            assert torch.equal(decode(pair), wanted)
            assert torch.equal(decode(list(pair)), wanted)
        assert decode((top,)).shape == wanted.shape
        for wrong in (
            *((), [], None, top, top.numpy(), "ab", 3, (top, None), (None,), (top, bottom.float())),
            *((bottom, top), (top, bottom, bottom), (top[0], bottom), (top, bottom[0])),
            *((top, bottom[:2]), (top[:2], bottom), (top[:0], bottom), (top[:, :1], bottom)),
            *((top, torch.full_like(bottom, 16)), (torch.full_like(top, K), bottom)),
            *((torch.tensor(1), bottom), (torch.tensor(1),), (top[:, :0], bottom[:, :0])),
        ):
            assert line(lambda d=decode, w=wrong: d(w))
    rows = levels.encode_flat(X)
    assert torch.equal(levels.decode(levels.unpack(rows)), wanted)
    for wrong in (rows[:, :-1], rows[0], rows[None]):
        assert line(lambda w=wrong: levels.unpack(w))


def test_latents(vae):
    z = vae.encode(X)
    wanted = vae.decode(z)
    for right in (z, z.double(), z.numpy(), z.numpy().astype(">f8"), z.tolist(), list(z)):
        for decode in (vae.decode, vae.autoencoder.decode):
            assert torch.allclose(decode(right), wanted, atol=1e-5)
    nan = torch.where(z > z.median(), math.nan, z)
    for wrong in (
        *(None, "z", [], (), z[0], z[:, :2], z[None], z.long(), z > 0, nan, z / 0, 3.0),
        *(z.to(torch.complex64), z.to_sparse(), [[1.0], [2.0, 3.0]]),
    ):
        for decode in (vae.decode, vae.autoencoder.decode):
            assert line(lambda d=decode, w=wrong: d(w))


@pytest.mark.parametrize("kind", ["model", "levels", "vae"])
def test_ways(kind, request):
    a = request.getfixturevalue(kind)
    x_a, x_b = X[0], X[2]
    wanted = a.interpolate(x_a, x_b, 4)
    for ends in (
        (x_a.double(), x_b.numpy()),
        (x_a.tolist(), x_b),
        (x_a, x_b.clone().requires_grad_()),
    ):
        assert torch.allclose(a.interpolate(*ends, 4), wanted, atol=1e-5)
    assert torch.equal(a.interpolate(x_a, x_b, np.int64(4)), wanted)
    for steps in (1, 0, -3, 2.0, "4", None, True, 10**9, 10**30, math.nan, torch.ones(2)):
        assert line(lambda s=steps: a.interpolate(x_a, x_b, s))
    for other in (None, "x", X, x_b[0], x_b[:, :8], x_b * 9, x_b.long(), x_b * math.nan, []):
        assert line(lambda o=other: a.interpolate(x_a, o, 4))
        assert line(lambda o=other: a.interpolate(o, x_a, 4))


def test_traversals(vae):
    assert vae.traverse(X[0], 2, 3).shape == (2, 3, 1, 16, 16)
    assert torch.equal(vae.traverse(X[0].numpy(), 2, 3), vae.traverse(X[0], np.int8(2), 3))
    for rows in (0, -1, 6, 1.0, "2", True):
        assert line(lambda r=rows: vae.traverse(X[0], r, 3))
    for reach in (0, -1, math.inf, math.nan, "3", None, [3]):
        assert line(lambda r=reach: vae.traverse(X[0], 1, 3, r))
    for steps in (1, 2.5, None, 10**12):
        assert line(lambda s=steps: vae.traverse(X[0], 1, s))
    for dims in ([5], [-1], [[0]], [0.5], 3, None):
        assert line(lambda d=dims: traverse(vae.autoencoder, vae.prior, X[0], d, 3))


def test_numbers_of_samples_seeds_and_ways_to_draw(model, levels, vae):
    for a in (model, levels, vae):
        wanted = a.sample(2, seed=3)
        assert torch.equal(a.sample(np.int64(2), seed=np.uint8(3)), wanted)
        assert torch.equal(a.sample(torch.tensor(2), seed=torch.tensor(3)), wanted)
        for n in (0, -1, 2.0, "2", None, True, [2], math.nan, 10**13, 10**30, torch.ones(2)):
            assert line(lambda n=n, a=a: a.sample(n, seed=0))
        for seed in (-1, 2**63, 1.0, "1", True, [1], math.nan):
            assert line(lambda s=seed, a=a: a.sample(2, seed=s))
        for temperature in (-1, math.nan, math.inf, "1", None, True, [1], 1j, torch.ones(2)):
            assert line(lambda t=temperature, a=a: a.sample(2, seed=0, temperature=t))
        assert torch.equal(a.sample(2, seed=3, temperature=np.float32(1)), wanted)
    for a in (model, levels):
        wanted = a.sample_latents(2, seed=3, top_k=2, top_p=0.5)
        for top_k, top_p in ((np.int32(2), np.float64(0.5)), (2.0, torch.tensor(0.5))):
            again = a.sample_latents(2, seed=3, top_k=top_k, top_p=top_p)
            for one, other in zip(wanted, again, strict=True):
                assert torch.equal(one, other)
        for top_k in (0, -1, 1.5, "2", True, math.inf, math.nan, [2]):
            assert line(lambda k=top_k, a=a: a.sample(2, top_k=k))
        for top_p in (0, -0.5, 1.5, "0.5", True, math.nan, math.inf, [0.5]):
            assert line(lambda p=top_p, a=a: a.sample(2, top_p=p))
        for prior in ("none", None, 3, ["learned"], b"learned", ""):
            assert line(lambda s=prior, a=a: a.sample(2, prior=s))


def test_conditions(model, levels):
    wanted = model.sample(2, "dog", seed=0)
    for right in (
        *(["dog", "dog"], ("dog", 1), 1, [1, 1], np.array([1, 1]), torch.tensor([1, 1])),
        *(np.int64(1), torch.tensor(1), iter(["dog", "dog"]), np.array(["dog", "dog"]), " dog "),
        np.array([1, 1], dtype=np.uint16),
    ):
        assert torch.equal(model.sample(2, right, seed=0), wanted)
    for wrong in (
        *("bird", "", 3, -1, 1.0, True, [1.0, 1.0], [True, True], b"dog", [b"dog"] * 2, [None] * 2),
        *([], ["dog"], ["dog"] * 3, itertools.repeat("dog"), {"dog": 1}, [["dog"]] * 2, object()),
        *(torch.ones(2), torch.ones(2, 1, dtype=torch.int64), np.array([[1, 1]]), [math.nan] * 2),
    ):
        assert line(lambda w=wrong: model.sample(2, w, seed=0))
    assert line(lambda: model.sample(2, "dog", prior="uniform"))
    assert line(lambda: levels.sample(2, "dog"))
    assert line(lambda: Model(assemble(SIGNAL)).sample(2, seed="dog"))


def test_known_tokens(model, levels):
    q = model.encode(X[:2])
    q[:, 2:] = -1
    wanted = model.sample_latents(2, "cat", known=q, seed=0)
    assert torch.equal(wanted[:, :2], q[:, :2])
    for right in (q.numpy(), q.tolist(), q.to(torch.int8), q.int(), list(q)):
        assert torch.equal(model.sample_latents(2, "cat", known=right, seed=0), wanted)
    for wrong in (
        *(q[:0], q.repeat(2, 1, 1)[:3], q[0], q[:, :2], q[None], q.float(), q.bool(), [], (), "q"),
        *((q, q), q.clamp(min=K), q - 1, q + K, {}, 3, q.flatten(1), np.array(["a"])),
    ):
        assert line(lambda w=wrong: model.sample(2, "cat", known=w))
    one = model.sample_latents(2, "cat", known=q[:1], seed=0)
    assert torch.equal(one[:, :2], q[:1, :2].expand(2, -1, -1))
    for k in (q[:1], q):  # of more samples than rows, and fewer
        assert len(k) == 1 or line(lambda k=k: model.sample(3, "cat", known=k))

    top, bottom = levels.encode(X[:2])
    bottom[:, 1:] = -1
    rows = levels.layout.pack((top, bottom))
    wanted = levels.sample_latents(2, known=rows, seed=0)
    again = levels.sample_latents(2, known=(top.numpy(), bottom), seed=0)
    for one, other in zip(wanted, again, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(wanted[0], top)
    for wrong in (top, (top,), (bottom, top), (top, bottom[:1]), rows[:, :-1], (), rows + 16):
        assert line(lambda w=wrong: levels.sample(2, known=w))
    mask = torch.ones(2, 16, 16, dtype=torch.bool)
    assert torch.equal(model.known_tokens(X[:2], mask), model.encode(X[:2]))
    for wrong in (mask[:1], mask.float(), mask[0], mask[..., :8], None, "m", mask[:, None]):
        assert line(lambda w=wrong: model.known_tokens(X[:2], w))


def test_the_sampling_of_priors_themselves(model, levels):
    prior = model.prior

    def draw(n=2, context=(0, 1), **options):
        generator = torch.Generator().manual_seed(0)
        return prior.sample(n, context, **{"generator": generator, **options})

    wanted = draw()
    for context in (torch.tensor([0, 1]), np.array([0, 1]), [0, 1], torch.tensor([0, 1]).byte()):
        assert torch.equal(draw(context=context), wanted)
    assert draw(0, torch.zeros(0, dtype=torch.int64)).shape == (0, 4, 4)
    assert torch.equal(draw(np.int32(2)), wanted)
    for n in ((), None, 3, (2, 4, 4), -1, 2.0, "2", [2], True, math.nan):
        assert line(lambda n=n: draw(n))
    for config in ({"temperature": 1}, 0.5, SamplingConfig):
        assert line(lambda c=config: draw(config=c))
    for context in (None, [0], [0, 3], [-1, 0], [0.0, 1.0], "01", [[0], [1]], [math.nan, 0.0]):
        assert line(lambda c=context: draw(context=c))
    for generator in (0, "g", np.random.default_rng(0)):
        assert line(lambda g=generator: draw(generator=g))
    q = model.encode(X)
    labels = torch.zeros(3, dtype=torch.int64)
    with torch.no_grad():
        for right in right_indices(q):
            assert torch.isfinite(prior.log_prob(right, labels)).all()
    for wrong in wrong_indices(q):
        assert line(lambda w=wrong: prior.log_prob(w, labels))
    assert levels.prior.sample(0).shape == (0, 20)


def broken(module):
    with torch.no_grad():
        next(module.parameters()).fill_(math.nan)
    return module


def test_a_model_of_nan_does_not_answer(vae):
    torch.manual_seed(0)
    z = vae.encode(X)
    tokenizer = flat()
    q = tokenizer.encode(X)
    broken(tokenizer.encoder)
    assert "diverged" in line(lambda: tokenizer.encode(X))
    assert "diverged" in line(lambda: tokenizer.interpolate(X[0], X[1], 3))
    broken(tokenizer.decoder)
    assert "diverged" in line(lambda: Model(tokenizer).decode(q))
    assert "diverged" in line(lambda: Model(tokenizer).sample(2, prior="uniform"))
    other = assemble(SIGNAL, variational=False)
    other.latent_covariance.fill_(math.nan)
    assert "diverged" in line(lambda: Model(other).sample(2))
    broken(other.decoder)
    assert "diverged" in line(lambda: other.decode(z))
    broken(other.encoder)
    assert "diverged" in line(lambda: other.encode(X))
    for kind in (PixelCNN, PixelSNAIL, TransformerPrior):
        prior = kind(K, (4, 4), hidden=8, layers=1)
        broken(prior.head if kind is TransformerPrior else prior.second)
        for temperature in (0, 1):
            assert "diverged" in line(
                lambda p=prior, t=temperature: p.sample(2, config=SamplingConfig(t))
            )


@pytest.mark.parametrize("kind", ["model", "levels"])
def test_threads_share_a_prior(kind, request):
    """Eight threads, each with a seed: as one after another; and the mode stays what it was."""
    a = request.getfixturevalue(kind)
    modes = [module.training for module in a.prior.modules()]
    assert any(modes)

    def draw(seed):
        return a.layout.pack(_grids(a.sample_latents(3, seed=seed)))

    wanted = [draw(seed) for seed in range(8)]
    got: dict[int, torch.Tensor] = {}
    seen: list[list[bool]] = []

    def work(seed):
        for _ in range(3):
            got[seed] = draw(seed)
            seen.append([module.training for module in a.prior.modules()])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(got[seed], wanted[seed]) for seed in range(8))
    assert all(mode == modes for mode in seen)
    assert [module.training for module in a.prior.modules()] == modes


def _grids(indices):
    return indices if isinstance(indices, tuple) else (indices,)


def test_training_and_sampling_draw_alike(model):
    """A prior in training mode samples as the same one in evaluation mode, and trains on."""
    wanted = model.sample(2, "cat", seed=1)
    model.prior.eval()
    assert torch.equal(model.sample(2, "cat", seed=1), wanted)
    model.prior.train()
    q, labels = model.encode(X), torch.zeros(3, dtype=torch.int64)
    with torch.no_grad():
        losses = {model.prior.loss(q, labels).item() for _ in range(3)}
    assert len(losses) == 3  # dropout is still on


def test_a_histogram_keeps_what_it_found_of_its_grids():
    histogram = Histogram(K, (2,)).train()
    histogram.fit(torch.tensor([[0, 1], [0, 1], [2, 3]]))
    histogram.sample(4, config=SamplingConfig(top_k=1))
    found = histogram._seen
    histogram.sample(4, config=SamplingConfig(top_k=1))
    assert found
    assert histogram._seen is found


def test_a_histogram_of_a_huge_codebook_tells_its_grids_apart():
    histogram = Histogram(2**36, (2,))
    grids = torch.tensor([[1, 2], [1 + 2**33, 2]])
    histogram.fit(grids)
    assert histogram.has_seen(torch.tensor([[1, 2], [1 + 2**33, 2], [1 + 2**32, 2]])).tolist() == [
        True,
        True,
        False,
    ]
    drawn = histogram.sample(50)
    assert set(map(tuple, drawn.tolist())) == set(map(tuple, grids.tolist()))


@pytest.mark.parametrize(
    "quantizer",
    [
        lambda: LookupFreeQuantizer(bits=40),
        lambda: ProductQuantizer([coded(), coded()]),
        lambda: MultiScaleQuantizer(coded(), [(2, 2), (4, 4)]),
    ],
)
def test_tokenizers_of_other_quantizers_go_there_and_back(quantizer):
    made = quantizer()
    encoder = ConvEncoder(Features(1), made.dim, hidden=8, residual_hidden=4)
    decoder = ConvDecoder(Features(1), made.dim, hidden=8, residual_hidden=4)
    model = Model(DiscreteAutoencoder(encoder, made, decoder, SIGNAL).eval())
    indices = model.encode(X)
    assert tuple(indices.shape[1:]) == model.layout.shape
    assert model.decode(indices).shape == X.shape
    assert model.decode(indices[:0]).shape == (0, 1, 16, 16)
    assert model.sample(2, prior="uniform").shape == (2, 1, 16, 16)
    assert line(lambda: model.decode(indices[0]))


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.lists(
        st.one_of(st.integers(-9, 9), st.floats(), st.none(), st.text(max_size=2)), max_size=4
    ),
    st.tuples(st.integers(-3, 9), st.integers(-3, 9)),
    st.builds(
        lambda shape, kind, low: torch.full(shape, low).to(kind),
        st.lists(st.integers(0, 5), max_size=5),
        st.sampled_from([*INTEGERS, torch.float32, torch.float16, torch.bool, torch.complex64]),
        st.integers(-3, 20),
    ),
    st.builds(
        lambda shape, kind, low: np.full(shape, low).astype(kind),
        st.lists(st.integers(0, 5), max_size=5),
        st.sampled_from("u1 i2 >i4 u8 f2 >f8 ? O U2 c8".split()),
        st.integers(0, 20),
    ),
)


@settings(max_examples=120, deadline=None)
@given(ANYTHING)
def test_anything_at_all_is_taken_or_one_line(value):
    model, levels, vae = (_models(name) for name in ("flat", "levels", "vae"))
    calls = [
        lambda: model.decode(value),
        lambda: model.encode(value),
        lambda: levels.decode(value),
        lambda: levels.decode((value, value)),
        lambda: vae.decode(value),
        lambda: model.sample(1, value),
        lambda: model.sample(1, known=value),
        lambda: model.sample(1, temperature=value, seed=0),
        lambda: model.sample(1, top_k=value, top_p=value),
        lambda: vae.sample(1, seed=value),
        lambda: model.prior.sample(value, [0]),
    ]
    if not (isinstance(value, int | torch.Tensor | np.ndarray) and np.size(value) == 1):
        calls.append(lambda: model.sample(value))
    for call in calls:
        try:
            result = call()
        except InputError as error:
            assert "\n" not in str(error)
        else:
            parts = result if isinstance(result, tuple) else (result,)
            assert all(bool(part.isfinite().all()) for part in parts)


_kept: dict[str, Model] = {}


def _models(name):
    if not _kept:
        torch.manual_seed(0)
        tokenizer = flat()
        _kept["flat"] = Model(tokenizer, PixelCNN(K, (4, 4), LABELS, hidden=4, layers=1))
        _kept["vae"] = Model(assemble(SIGNAL))
        _kept["levels"] = Model(
            HierarchicalAutoencoder(
                [
                    ConvEncoder(Features(8), 4, hidden=8, downsampling=2),
                    ConvEncoder(Features(1), 8, hidden=8),
                ],
                [coded(), coded()],
                [
                    ConvDecoder(Features(8), 4, hidden=8, downsampling=2),
                    ConvDecoder(Features(1), 12, hidden=8),
                ],
                SIGNAL,
            ).eval()
        )
    return _kept[name]
