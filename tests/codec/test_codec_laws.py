"""The laws of coding: what was written is read again, in about as many bytes as −log p says."""

import math

import pytest
import torch

from smalti.codec import Codec, Coded, LearnedModel, UniformModel, UnigramModel, blocks
from smalti.conditions import CoarseTokens, Conditions, Label, OptionalCondition, TimeOfDay
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors import (
    AutoregressivePrior,
    Cascade,
    DepthPixelCNN,
    MaskedPrior,
    PixelCNN,
    PixelSNAIL,
    TransformerPrior,
    Uniform,
)
from walks import large

LABEL = Label(["cat", "dog"])
SEVERAL = Conditions([OptionalCondition(LABEL), TimeOfDay()])
SMALL = {"hidden": 8, "layers": 2, "heads": 2}


def transformer(size, grid, condition=None, **options):
    return TransformerPrior(size, grid, condition, **SMALL, **options)


def cascade(condition=None, fine=None):
    fine = fine or PixelCNN(5, (4, 4), CoarseTokens([9], [(2, 2)], condition), 8, 2)
    return Cascade([PixelCNN(9, (2, 2), condition, 8, 2), fine])


PRIORS = {
    "pixelcnn": lambda: PixelCNN(16, (4, 4), hidden=8, layers=2),
    "pixelcnn of several": lambda: PixelCNN(16, (4,), SEVERAL, hidden=8, layers=2),
    "pixelsnail": lambda: PixelSNAIL(16, (4, 4), LABEL, hidden=8, blocks=1, layers=1, heads=2),
    "depth": lambda: DepthPixelCNN(16, (2, 2, 3), LABEL, hidden=8, layers=2),
    "flattened": lambda: transformer([16, 5], (6, 2), SEVERAL),
    "parallel": lambda: transformer([16, 5], (6, 2), pattern="parallel"),
    "delayed": lambda: transformer([8] * 4, (6, 4), LABEL, pattern="delayed"),
    "levels": lambda: transformer([(16,), (4, 4)], [(2,), (4,)], pattern="delayed"),
    "cascade": lambda: cascade(LABEL),
    "cascade with a uniform level": lambda: cascade(fine=Uniform(5, (4, 4))),
    "of one codeword": lambda: transformer(1, (3, 3)),
}


@pytest.fixture(params=PRIORS)
def prior(request):
    torch.manual_seed(0)
    return large(PRIORS[request.param](), 0.5).float().requires_grad_(False)


def drawn(prior, n):
    """Draws n grids, and values of the condition for each."""
    generator = torch.Generator().manual_seed(1)
    given = None if prior.condition is None else prior.condition.draw(n, generator)
    return prior.sample(n, given, generator=generator), given


def test_every_class_that_walks_is_among_them():
    def all_of(cls):
        return {cls}.union(*map(all_of, cls.__subclasses__()))

    coded = {type(make()) for make in PRIORS.values()}
    own = {c for c in all_of(AutoregressivePrior) if c.__module__.startswith("smalti")}
    assert {c for c in own if not c.__abstractmethods__} <= coded


def test_tokens_come_back_in_as_many_bytes_as_they_are_worth(prior):
    tokens, given = drawn(prior, 60)
    codec = Codec(LearnedModel(prior))
    levels = prior.layout.unpack(tokens)
    content = codec.encode(levels, given)
    (found,) = codec.decode_all(content)
    assert all(map(torch.equal, found.levels, levels))
    assert given is None or torch.equal(found.context.expand_as(given).to(given), given)
    worth = -float(prior.log_prob(tokens, given).double().sum()) / math.log(2) / 8
    told = 0 if given is None else 4 * given.numel()
    assert len(content) <= 1.01 * worth + 64 + told
    assert torch.allclose(
        codec.bits(Coded(levels, context=given)).sum() / 8, torch.tensor(worth).double()
    )


def test_signals_of_any_size_come_back(prior):
    """Grids that are no multiples of the prior's, and smaller ones."""
    if len(prior.layout.grids[0]) != len(prior.layout.grids[-1]):
        pytest.skip("levels of different dimensions have no other size")
    codec = Codec(LearnedModel(prior))
    units = [max(1, grid[0] // prior.layout.grids[0][0]) for grid in prior.layout.grids]
    given = None if prior.condition is None else prior.condition.draw(1)
    for long, wide in ((9, 5), (1, 1), (2, 7)):
        levels = []
        for grid, sizes, unit in zip(
            prior.layout.grids, prior.layout.codebook_sizes, units, strict=True
        ):
            shape = (long * unit, wide * unit)[: len(grid)]
            each = [torch.randint(size, (1, *shape)) for size in sizes]
            levels.append(torch.stack(each, -1) if len(sizes) > 1 else each[0])
        content = codec.encode(levels, given)
        (found,) = codec.decode_all(content)
        assert all(map(torch.equal, found.levels, levels))


@pytest.mark.parametrize("together", [1, 2, 1000])
def test_it_does_not_matter_which_blocks_are_read_together(prior, together, monkeypatch):
    tokens, given = drawn(prior, 30)
    codec = Codec(LearnedModel(prior))
    monkeypatch.setattr("smalti.codec.codec.BLOCK", 200)
    content = codec.encode(prior.layout.unpack(tokens), given)
    monkeypatch.setattr(blocks, "TOGETHER", together)
    (found,) = codec.decode_all(content)
    assert torch.equal(prior.layout.pack(found.levels), tokens)


def test_blocks_are_read_alone():
    torch.manual_seed(0)
    prior = large(transformer([8] * 2, (6, 2), pattern="delayed"), 0.5)
    codec = Codec(LearnedModel(prior))
    tokens = torch.randint(8, (1, 30_000, 2))
    content = codec.encode(tokens, size=(299_995,))
    (entry,) = codec.open(content).entries
    assert len(entry.blocks) > 1
    (part,) = codec.decode_all(content, blocks=(1, 2))
    assert part.start > 0 and part.size == (299_995,)
    length = part.levels[0].shape[1]
    assert torch.equal(part.levels[0], tokens[:, part.start : part.start + length])
    with pytest.raises(InputError, match="has the blocks 0 to"):
        codec.decode_all(content, blocks=(0, 99))


def test_signals_of_a_table_are_read_alone():
    codec = Codec(UniformModel(Layout(((),), ((256,) * 8,))))
    tokens = torch.randint(256, (4000, 8))
    names = [f"wörd {n}" for n in range(4000)]
    content = codec.encode_all([Coded((tokens,), "table", names=names)])
    (part,) = codec.decode_all(content, blocks=(1, 3))
    assert torch.equal(part.levels[0], tokens[1024:3072]) and part.names == names[1024:3072]


def test_files_of_an_archive_are_read_alone():
    layout = Layout(((4, 4),), ((64,),))
    counts = torch.randint(1000, (64,), generator=torch.Generator().manual_seed(0)).numpy()
    codec = Codec(UnigramModel(layout, [counts]))
    files = [
        Coded((torch.randint(64, (1, n, 5)),), f"{n}.png", size=(4 * n, 18)) for n in range(1, 9)
    ]
    content = codec.encode_all(files)
    (found,) = codec.decode_all(content, ["5.png"])
    assert torch.equal(found.levels[0], files[4].levels[0]) and found.size == (20, 18)
    with pytest.raises(InputError, match="There is no '9.png'"):
        codec.decode_all(content, ["9.png"])
    with pytest.raises(InputError, match="different names"):
        codec.encode_all([files[0], files[0]])


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 2**20, 2**20 + 1, 2**40])
def test_uniform_codes_cost_log_k_for_any_codebook(size):
    codec = Codec(UniformModel(Layout(((8, 8),), ((size,),))))
    tokens = torch.randint(size, (20, 8, 8))
    tokens[0, 0, :2] = torch.tensor([0, size - 1])
    content = codec.encode(tokens)
    assert torch.equal(codec.decode(content), tokens)
    assert len(content) <= 1.01 * tokens.numel() * math.log2(size) / 8 + 64


def test_a_unigram_costs_its_cross_entropy():
    counts = torch.tensor([900, 90, 9, 0]).numpy()
    codec = Codec(UnigramModel(Layout(((4, 4),), ((4,),)), [counts]))
    p = (torch.from_numpy(counts).double() + 1) / 1003
    tokens = p.multinomial(3200, True, generator=torch.Generator().manual_seed(0)).view(-1, 4, 4)
    tokens[0, 0, 0] = 3
    content = codec.encode(tokens)
    assert torch.equal(codec.decode(content), tokens)
    assert len(content) <= 1.01 * float(-p.log2()[tokens].sum()) / 8 + 64


def test_what_cannot_walk_says_what_to_use_instead():
    with pytest.raises(InputError, match="MaskedPrior does not: code with --prior unigram"):
        LearnedModel(MaskedPrior(8, (2, 2), hidden=8, layers=1, heads=2))
