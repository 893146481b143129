"""Embeddings of a layout tell apart what a token is, whose codebook it is of, and where it lies."""

import pytest
import torch

from smalti.layout import Layout
from smalti.nn.token_embedding import TokenEmbedding, TokenLogits

LAYOUT = Layout(((1, 2), (2, 2)), ((3,), (4, 2)))  # 2 tokens, then 4 positions of 2 each


def test_codebooks_places_and_symbols_are_all_told_apart():
    torch.manual_seed(0)
    embedding = TokenEmbedding(LAYOUT, 16, specials=2)
    rows = torch.arange(-2, 2)[:, None].expand(4, LAYOUT.positions)
    e = embedding(rows).flatten(0, 1)  # each symbol at each place
    assert torch.cdist(e, e).fill_diagonal_(1).min() > 0.1
    # The mask is the same everywhere, a token is that of its codebook.
    what = e.view(4, -1, 16) - embedding.positions()
    assert (what[1] - what[1, :1]).abs().max() < 1e-5
    assert (what[2, 2] - what[2, 4]).abs().max() < 1e-5  # both of the first codebook of level 1
    assert (what[2, 2] - what[2, 3]).abs().max() > 0.1


def test_each_token_is_predicted_by_its_codebook_and_within_its_size():
    torch.manual_seed(0)
    heads = TokenLogits(LAYOUT, 16)
    logits = heads(torch.randn(3, LAYOUT.positions, 16, requires_grad=True))
    sizes = torch.tensor([LAYOUT.size_at(i) for i in range(LAYOUT.positions)])
    assert logits.shape == (3, LAYOUT.positions, 4)
    assert torch.equal(logits.softmax(-1)[0] > 0, torch.arange(4) < sizes[:, None])
    assert (logits - logits).isfinite().all()  # as guidance takes it
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.ones(30).long())
    nats.backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in heads.parameters())


@pytest.mark.parametrize("layout", [LAYOUT, Layout(((3, 3),), ((7,),))])
@pytest.mark.parametrize("share", [0, 0.04, 0.5, 1])
def test_logits_of_some_tokens_are_those_of_all(layout, share):
    torch.manual_seed(0)
    heads, features = TokenLogits(layout, 16), torch.randn(3, layout.positions, 16)
    where = torch.rand(3, layout.positions) < share
    torch.testing.assert_close(heads.at(features, where), heads(features)[where])


def test_the_embeddings_have_a_variance_of_about_one():
    torch.manual_seed(0)
    e = TokenEmbedding(Layout(((8, 8),), ((512,),)), 64)(torch.randint(512, (20, 64)))
    torch.testing.assert_close(e.var(), torch.tensor(1.0), atol=0.2, rtol=0)
