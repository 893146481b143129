"""The sets of samples that are compared: the priors they are drawn from, and their names."""

from __future__ import annotations

from smalti.priors import Prior, TokenPrior, uniform_prior_like
from smalti.signals import Signal

__all__ = ["priors_by_name", "set_titles", "set_words"]


def priors_by_name(prior: Prior | None, histogram: TokenPrior | None) -> dict[str, TokenPrior]:
    """Returns the priors over tokens by name; empty if there is no learned one to compare with.

    All go through the same decoder, so what differs in the samples is the prior alone.

        uniform      every index drawn evenly, apart from the others: what comes of noise
        histogram    a whole grid seen in training: the best that the tokenizer can do, nothing new
        prior        the learned prior: new grids
    """
    if prior is None:
        return {}
    assert isinstance(prior, TokenPrior)
    found: dict[str, TokenPrior] = {"uniform": uniform_prior_like(prior)}
    if histogram is not None:
        found["histogram"] = histogram
    return {**found, "prior": prior}


def set_words(signal: Signal) -> dict[str, str]:
    """Returns the name of each set of signals for sentences: "samples of the prior"."""
    return {
        "train": f"training {signal.plural}",
        "test": f"test {signal.plural}",
        "reconstructions": "reconstructions",
        "uniform": "samples of the uniform prior",
        "histogram": "samples of the histogram",
        "prior": "samples of the learned prior",
    }


def set_titles(signal: Signal) -> dict[str, str]:
    """Returns the name of each set of signals for tables and pictures."""
    return {
        "train": f"Training {signal.plural}",
        "test": f"Test {signal.plural}",
        "reconstructions": "Reconstructions",
        "uniform": "Uniform",
        "histogram": "Histogram",
        "prior": "Learned prior",
    }
