"""Chooses how strongly a prior is regularised, so that it does not memorise its training set.

Three means, none of which a sampled prior sees:

    dropout        outputs of gates are dropped
    token noise    indices that the network sees, not those it predicts, are replaced at random; as
                   samples have mistakes too, it learns to go on well after one
    weight decay   of all weights that are no biases

How much of them is good depends on how often the training goes over the data and on how many
weights it has for each token,

    risk = passes · parameters / tokens

which is in the hundreds where a prior that is not held back is best after a third of its steps, and
below ten where it could be trained for longer. `advise_regularisation` is a rule that was found on
sets of 500 to 50,000 examples; see docs/figures.md.

Where a training goes over so few examples so often that all of this does not hold a prior back,
more views of each are what helps: `advise_views`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["SHIFT", "Regularisation", "advise_regularisation", "advise_views"]


class Regularisation(NamedTuple):
    """The strengths of a prior's dropout, token noise and weight decay.

    Attributes:
        dropout: Probability that an output of a gate is dropped.
        token_noise: Probability that an index in the input is replaced by a random one.
        weight_decay: Weight decay of AdamW.
    """

    dropout: float
    token_noise: float
    weight_decay: float


SAFE, FULL = 1.0, 200.0  # the risk up to which nothing is needed, and from which on all is
MOST = Regularisation(0.5, 0.1, 0.1)


OFTEN, A_VIEW, MOST_VIEWS = 60, 10, 32  # passes that need no other view; that each further asks for
SHIFT = 1 / 16  # share of its size by which an example of a further view is moved at most


def advise_views(passes: float) -> int:
    """Advises into how many shifted views each training example should be augmented for a prior.

    With few examples a prior memorises the grids; a slightly shifted example has other tokens, and
    so is a further example.

    Arguments:
        passes: How often the training goes over the examples, of one view each.

    Example:
        >>> [advise_views(passes) for passes in (20, 60, 100, 300, 3000)]
        [1, 1, 5, 25, 32]
    """
    return min(1 + int(max(passes - OFTEN, 0) / A_VIEW), MOST_VIEWS)


def advise_regularisation(parameters: int, tokens: int, passes: float) -> Regularisation:
    """Advises the regularisation of a prior, by its number of parameters and its training set.

    Arguments:
        parameters: Number of parameters of the prior.
        tokens: Number of tokens in the training set.
        passes: How often the training goes over it.

    Example:
        >>> advise_regularisation(parameters=1_000_000, tokens=10_000_000, passes=3)
        Regularisation(dropout=0.0, token_noise=0.0, weight_decay=0.0)
        >>> advise_regularisation(parameters=2_600_000, tokens=500_000, passes=16)
        Regularisation(dropout=0.42, token_noise=0.08, weight_decay=0.08)
    """
    risk = passes * parameters / max(tokens, 1)
    if risk <= SAFE:
        return Regularisation(0.0, 0.0, 0.0)
    share = min(math.log(risk / SAFE) / math.log(FULL / SAFE), 1.0)
    return Regularisation(
        *(round(share * most, 2) for most in (MOST.dropout, MOST.token_noise, MOST.weight_decay))
    )
