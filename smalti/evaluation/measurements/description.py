"""Describes in words what was measured: the data, the model, the seed."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from smalti.conditions import Label
from smalti.counting import counted
from smalti.data import Splits
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.priors import LevelPriors
from smalti.reporting import Measurement, Section
from smalti.reporting.figures import number
from smalti.signals import Bounded

__all__ = ["Description"]

NAMED = 50  # labels listed at most


class Description(Measurement[EvaluationContext]):
    """Describes data and model in words."""

    key: ClassVar[str] = "description"
    title: ClassVar[str] = "Description"
    chapter: ClassVar[str] = "Data and model"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, signal = self.section(), subject.splits.signal
        described = subject.modality.describe(signal)
        section.facts |= _data(subject.splits)
        if subject.tokenizer is not None:
            section.lead = f"{described}, become {_tokens(subject)}"
            section.facts["Tokenizer"] = _tokenizer(subject)
        else:
            model = subject.vectors
            section.lead = f"{described}, become {counted(model.dim, 'real number')}."
            likelihood = model.likelihood
            given = (
                "" if likelihood is None else f" with the likelihood {type(likelihood).__name__}"
            )
            section.facts["Autoencoder"] = f"{type(model).__name__}{given}, {_parameters(model)}"
        if (prior := subject.prior) is not None:
            given = f", conditional on the {prior.condition.name}" if prior.condition else ""
            priors = prior.levels if isinstance(prior, LevelPriors) else (prior,)
            kinds = ", then ".join(type(one_level).__name__ for one_level in priors)
            section.facts["Prior"] = f"{kinds}, {_parameters(prior)}{given}"
        section.facts["Seed of the evaluation"] = str(subject.seed)
        return section


def _data(splits: Splits) -> dict[str, str]:
    """Returns the data, in words."""
    signal = splits.signal
    values = ""
    if isinstance(signal, Bounded):
        values = f", values in [{signal.low:g}, {signal.high:g}]"
    facts = {
        "Data": (
            f"{'endless' if splits.train.endless else number(len(splits.train))} training, "
            f"{number(len(splits.validation))} validation and {number(len(splits.test))} test "
            f"{signal.noun if len(splits.test) == 1 else signal.plural}{values}"
        )
    }
    if isinstance(splits.condition, Label):
        names = list(splits.condition.names)
        more = f", … ({number(len(names))} in all)" if len(names) > NAMED else ""
        facts["Labels"] = ", ".join(names[:NAMED]) + more
    return facts


def _tokens(subject: EvaluationContext) -> str:
    """Says in words what a signal becomes: the grids of its tokens, and how many codewords they are
    out of.
    """
    layout = subject.tokens.layout
    grids = " + ".join("×".join(map(str, shape)) for shape in layout.shapes)
    sizes = set(layout.sizes)
    out_of = "." if len(sizes) > 1 else f" out of {counted(sizes.pop(), 'codeword')}."
    tokens = counted(layout.positions, "token")
    plain = grids == str(layout.positions)  # one row of them
    return f"{tokens if plain else f'{grids} = {tokens}'}{out_of}"


def _tokenizer(subject: EvaluationContext) -> str:
    """Describes the tokenizer in words: its parameters, quantizers and codebooks."""
    quantizers = [
        f"{type(quantizer).__name__} with codebooks of "
        f"{', '.join(map(str, quantizer.codebook_sizes))} × {quantizer.dim}"
        for quantizer in subject.tokens.levels
    ]
    return f"{_parameters(subject.tokens)}; {', then '.join(quantizers)}"


def _parameters(module: nn.Module) -> str:
    """Says in words how many parameters there are."""
    return f"{number(sum(parameter.numel() for parameter in module.parameters()))} parameters"
