"""Caption retrieval: can the caption of a signal be told from the signal?

A judge, which took no part in making the samples, compares a signal with 100 captions of the test
set: its own, and 99 others drawn at random (R-precision). With r the rank of its own caption,

    top 1 = share of signals with r = 1        chance: 1 / 100

Samples are conditioned on captions of the test set; no training example has these if the data hold
out whole concepts. Real signals show what the judge can see, and reconstructions how much of that
the tokens keep. Equal scores count against a signal.

References:
    Learning Transferable Visual Models From Natural Language Supervision, A. Radford et al., 2021,
    arXiv 2103.00020.
    Zero-Shot Text-to-Image Generation, A. Ramesh et al., 2021, arXiv 2102.12092, section 2.6 on
    candidates that a contrastive network reranks.
    AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative Adversarial Networks,
    T. Xu et al., 2018, arXiv 1711.10485 (R-precision).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from smalti.evaluation.caption_samples import sample_from_captions
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.reporting import Card, Measurement, Section, Table, Text, display, figure
from smalti.reporting.figures import number, protocols

__all__ = ["CaptionRetrieval", "draw_distractors", "own_caption_ranks"]

logger = logging.getLogger(__name__)

RETRIEVED = 300  # most signals of each set
AMONG = 100  # captions, one of which is right
CANDIDATES = 8
GUIDANCE = 2.0


class CaptionRetrieval(Measurement[EvaluationContext]):
    """Measures the rank of a signal's own caption among 100, of samples and of real signals."""

    key: ClassVar[str] = "caption_retrieval"
    title: ClassVar[str] = "Caption retrieval"
    chapter: ClassVar[str] = "Samples"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        if (why := subject.without_captions) is not None:
            return why
        if not subject.limits.judge_steps:
            return "the judge of captions was switched off."
        if subject.conditions is None or len(subject.conditions.unique(dim=0)) < 2:
            return "it takes at least two captions to tell apart."
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        logger.info("training a judge of captions for %d steps", subject.limits.judge_steps)
        section, sets = self.section(), self._sets(subject)
        assert subject.conditions is not None
        captions, caption_of = subject.conditions.unique(dim=0, return_inverse=True)
        chosen = subject.order[:RETRIEVED]
        among = draw_distractors(caption_of[chosen], len(captions), subject.seed)
        with torch.no_grad():
            judge = subject.judge
            parts = captions.to(subject.device).split(subject.limits.batch_size)
            texts = torch.cat([judge.encode_captions(part) for part in parts])
        for name, (title, signals) in sets.items():
            with section.attempt(f"Caption retrieval of {title}", name), torch.no_grad():
                vectors = torch.cat([judge.encode_signals(x) for x in signals(chosen)])
                ranks = own_caption_ranks(vectors, texts, among)
                section.figures[name] = _figures(ranks, among.shape[1], self._protocol(subject))
        _show(section, {name: title for name, (title, _) in sets.items()}, among.shape[1])
        return section

    def _sets(self, subject: EvaluationContext) -> dict[str, tuple[str, Any]]:
        """Returns the title of each set, and what gives the signals of chosen test examples."""
        assert subject.prior is not None and subject.prior.condition is not None
        values = subject.conditions
        assert values is not None
        guided = subject.prior.condition.optional

        def drawn(guidance: float, candidates: int) -> Any:
            def signals(chosen: Tensor) -> Iterable[Tensor]:
                tokens = sample_from_captions(subject, values[chosen], guidance, candidates)
                return subject.decoded(tokens)

            return signals

        plural, best = subject.splits.signal.plural, f"best of {CANDIDATES}"
        guiding = f"guidance {GUIDANCE:g}"
        sets: dict[str, tuple[str, Any]] = {
            "test": (f"Test {plural}", lambda chosen: [subject.test_examples(chosen)]),
            "reconstructions": ("Reconstructions", subject.reconstructed),
            "prior": ("Samples", drawn(1.0, 1)),
        }
        if guided:
            sets["guided"] = (f"Samples, {guiding}", drawn(GUIDANCE, 1))
        if subject.reranker is not None:
            sets["reranked"] = (f"Samples, {best}", drawn(1.0, CANDIDATES))
        if guided and subject.reranker is not None:
            sets["guided_reranked"] = (f"Samples, {guiding}, {best}", drawn(GUIDANCE, CANDIDATES))
        return sets

    def _protocol(self, subject: EvaluationContext) -> str:
        """Says how the ranks were found."""
        n = min(RETRIEVED, len(subject.order))
        return (
            f"N = {number(n)} of the {subject.test_set}, or samples of their captions; rank of the "
            f"own caption among {{}} different ones of this set by a contrastive network trained "
            f"apart on the training pairs for {number(subject.limits.judge_steps)} steps, equal "
            f"scores count against it; candidates are chosen by another such network"
        )


def draw_distractors(own: Tensor, captions: int, seed: int, among: int = AMONG) -> Tensor:
    """Draws the captions that each signal's own is compared with, all of them different.

    Arguments:
        own: (N,), the number of each signal's caption.
        captions: K, how many different captions there are.
        seed: Of the draws.
        among: How many captions there are with the own; all K if that is less.

    Returns:
        (N, among) numbers of captions, the own first.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for caption in own.tolist():
        order = torch.randperm(captions, generator=generator)
        others = order[order != caption][: among - 1]
        rows.append(torch.cat([torch.tensor([caption]), others]))
    return torch.stack(rows)


def own_caption_ranks(vectors: Tensor, texts: Tensor, among: Tensor) -> Tensor:
    """Returns the rank of the own caption of each signal, (N,), from 1.

    Arguments:
        vectors: (N, D), of signals.
        texts: (K, D), of captions.
        among: (N, M), the captions that each is compared with, its own first.

    Example:
        >>> x = torch.eye(3)
        >>> own_caption_ranks(x, x, torch.tensor([[0, 1, 2], [1, 0, 2], [0, 1, 2]]))
        tensor([1, 1, 3])
    """
    scores = (vectors[:, None] * texts[among.to(texts.device)]).sum(2).cpu()  # (N, M)
    return 1 + (scores[:, 1:] >= scores[:, :1]).sum(1)


def _figures(ranks: Tensor, among: int, protocol: str) -> dict[str, Any]:
    """Returns the figures of ranks (N,)."""
    told = protocol.format(among)
    top = (ranks == 1).double().mean().item()
    return {
        "top_1": figure(top, "share", told),
        "times_chance": figure(top * among, "", told),
        "median_rank": figure(ranks.double().median().item(), "", told),
    }


def _show(section: Section, titles: dict[str, str], among: int) -> None:
    """Adds the table, and the figure at the top of the page."""
    found = section.figures
    section.blocks["introduction"] = Text(
        f"A network that took no part in making the samples is to find the caption of each among "
        f"{among}. By chance it finds {1 / among:.1%}, at a median rank of {(among + 1) / 2:g}."
    )
    section.blocks["table"] = Table(
        ("", "Own caption first", "Times chance", "Median rank"),
        {titles[name]: list(measured.values()) for name, measured in found.items()},
        notes=protocols(found),
    )
    best = "reranked" if "reranked" in found else "prior"
    if best in found and "test" in found:
        hint = f"chance {1 / among:.0%}; real ones: {display(found['test']['top_1'])}"
        section.cards.append(
            Card(found[best]["top_1"], f"of samples lead back to their caption among {among}", hint)
        )
