"""Whole models in float16, bfloat16 and float64: they learn, encode, decode, and are saved."""

import pytest
import torch

from small_autoencoders import assemble
from smalti.artifacts import load_model, save_model
from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder, Tokenizer
from smalti.conditions import TimeOfDay
from smalti.generation.traversal import traverse
from smalti.losses.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    LogisticMixture,
    PixelCNNLikelihood,
)
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.priors import (
    DepthPixelCNN,
    GaussianPrior,
    Histogram,
    PixelCNN,
    PixelSNAIL,
    TransformerPrior,
)
from smalti.quantizers import (
    NSVQ,
    BinarySphericalQuantizer,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    GumbelQuantizer,
    MultiScaleQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
SIGNAL = Image(channels=3, size=(16, 16))
SMALL = Image(channels=3, size=(8, 8))
SCALES = ((1, 1), (2, 2), (4, 4))


def encoder(channels: int, dim: int, downsampling: int = 4) -> ConvEncoder:
    return ConvEncoder(
        Features(channels), dim, hidden=8, residual_hidden=4, downsampling=downsampling
    )


def decoder(channels: int, dim: int, downsampling: int = 4) -> ConvDecoder:
    return ConvDecoder(
        Features(channels), dim, hidden=8, residual_hidden=4, downsampling=downsampling
    )


def discrete(quantizer, likelihood=None) -> Tokenizer:
    outputs = 3 if likelihood is None else likelihood.channels(3)
    parts = encoder(3, quantizer.dim), quantizer, decoder(outputs, quantizer.dim)
    return DiscreteAutoencoder(*parts, SIGNAL, likelihood)


def vq(codebook=EMACodebook, dim: int = 8) -> VectorQuantizer:
    return VectorQuantizer(codebook(codebook_size=16, dim=dim))


MODELS = {
    "EMA": lambda: discrete(vq()),
    "gradient": lambda: discrete(vq(GradientCodebook)),
    "residual": lambda: discrete(ResidualQuantizer([vq(), vq()])),
    "multi-scale": lambda: discrete(MultiScaleQuantizer(vq(), SCALES)),
    "multi-scale, NSVQ": lambda: discrete(
        MultiScaleQuantizer(vq(GradientCodebook), SCALES, NSVQ())
    ),
    "projected": lambda: discrete(ProjectedQuantizer(vq(dim=4), 8)),
    "FSQ": lambda: discrete(FiniteScalarQuantizer([5, 5, 5])),
    "BSQ": lambda: discrete(BinarySphericalQuantizer(8)),
    "Gumbel": lambda: discrete(GumbelQuantizer(codebook_size=16, dim=8)),
    "hierarchical": lambda: HierarchicalAutoencoder(
        [encoder(8, 8, 2), encoder(3, 8, 2)],
        [vq(), vq()],
        [decoder(8, 8, 2), decoder(3, 16, 2)],
        SIGNAL,
    ),
    "Gaussian": lambda: discrete(vq(), Gaussian()),
    "Bernoulli": lambda: discrete(vq(), Bernoulli()),
    "Categorical": lambda: discrete(vq(), Categorical()),
    "mixture": lambda: discrete(vq(), LogisticMixture()),
}


@DTYPES
@pytest.mark.parametrize("name", MODELS)
def test_tokenizers_in_any_precision(name, dtype, tmp_path):
    model = MODELS[name]().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        x = (2 * torch.rand(4, 3, 16, 16) - 1).to(dtype)
        x_hat, _, losses = model(x)[:3]
        if model.likelihood is None:
            losses["reconstruction"] = (x_hat - x).square().mean()
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.update()
    model.eval()
    # A likelihood is computed, and shown, in float32.
    expected = dtype if model.likelihood is None else torch.float32
    for decoded in (model.decode(model.encode(x)), model.interpolate(x[0], x[1], 3)):
        assert decoded.dtype == expected and decoded.isfinite().all()
    if model.likelihood is not None:
        assert model.nll(x).isfinite().all()
    if name == "hierarchical":
        assert model.decode(model.encode(x)[:1]).isfinite().all()
    for buffer in (buffer for level in model.levels for buffer in level.buffers()):
        assert buffer.dtype in (torch.float32, torch.int64)
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").encode_flat(x.float()).shape == model.encode_flat(x).shape


@DTYPES
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("likelihood", [None, Gaussian, Categorical, PixelCNNLikelihood])
def test_continuous_autoencoders_in_any_precision(variational, likelihood, dtype):
    arguments = (3,) if likelihood is PixelCNNLikelihood else ()
    made = likelihood(*arguments) if likelihood else None
    model = assemble(SMALL, likelihood=made, variational=variational).to(dtype).train()
    x = (2 * torch.rand(4, 3, 8, 8) - 1).to(dtype)
    output = model(x)
    losses = output.losses or {"reconstruction": (output.x_hat - x).square().mean()}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.eval()
    z = model.encode(x)
    model.summarise(z, None)
    assert model.latent_covariance.dtype == torch.float32
    torch.testing.assert_close(model.latent_mean, z.float().mean(0))
    prior = GaussianPrior.of(*model.latent_distribution)
    drawn = prior.sample(2)
    results = [model.decode(z), model.decode(drawn), model.interpolate(x[0], x[1], 3)]
    results.append(traverse(model, prior, x[0], torch.tensor([0, 1]), 3))
    if variational:
        results += [model.elbo(x), model.log_likelihood(x, 2)]
    assert all(result.isfinite().all() for result in results)


@DTYPES
def test_priors_in_any_precision(dtype):
    at = torch.tensor([613.0, 7.0])
    time, sizes = TimeOfDay(), {"hidden": 8, "layers": 2}
    for prior in (
        PixelCNN(16, (4, 4), time, **sizes),
        PixelSNAIL(16, (4, 4), time, blocks=1, **sizes),
        DepthPixelCNN(16, (4, 4, 2), time, **sizes),
        TransformerPrior(16, (4, 4), time, heads=2, **sizes),
        Histogram(16, (4, 4), time),
    ):
        prior.to(dtype)
        indices = torch.randint(16, (2, *prior.grid))
        if isinstance(prior, Histogram):
            prior.fit(indices, at)
            # Minutes are kept as they are: 613 is no number in bfloat16.
            assert torch.equal(prior.sample(2, at), indices)
        else:
            prior.loss(indices, at).backward()
            assert all(p.grad.isfinite().all() for p in prior.parameters() if p.grad is not None)
        prior.eval().sample(2, at)
        assert prior.log_prob(indices, at).isfinite().all()
