"""Draws samples conditioned on captions for measurements, reranked if there are candidates."""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.evaluation.batches import split_in_pieces
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.generation.candidates import best_of
from smalti.priors import SamplingConfig

__all__ = ["sample_from_captions"]


def sample_from_captions(
    subject: EvaluationContext, values: Tensor, guidance: float = 1.0, candidates: int = 1
) -> Tensor:
    """Draws the tokens of one sample for each caption, (n, *shape) on the CPU.

    Arguments:
        subject: The model and data under evaluation.
        values: (n, L), the captions.
        guidance: The scale of classifier-free guidance; 1 for none.
        candidates: How many are drawn for each sample that the reranker keeps.
    """
    assert subject.prior is not None
    config = SamplingConfig(guidance=guidance)
    generator = torch.Generator().manual_seed(subject.seed)
    repeated = values.repeat_interleave(candidates, 0)
    tokens, scores = [], []
    numbers = torch.arange(len(repeated))
    for piece, context in split_in_pieces(numbers, repeated, size=subject.limits.batch_size):
        assert piece is not None and context is not None
        drawn = subject.prior.sample(len(piece), context, config=config, generator=generator)
        tokens.append(drawn.cpu())
        if candidates > 1:
            assert subject.reranker is not None
            x = subject.decode(drawn)
            scores.append(subject.reranker.scores(x, context.to(x.device)).cpu())
    made = torch.cat(tokens)
    if candidates == 1:
        return made
    return made[best_of(torch.cat(scores), repeated, candidates)]
