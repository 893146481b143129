"""Measures how well groups of items agree with categories: purity and NMI.

Of N items in groups g with categories c, n_gc of them in both,

    purity = Σ_g max_c n_gc / N
    NMI    = I(g; c) / ((H(g) + H(c)) / 2),   I = Σ n_gc/N log(N n_gc / (n_g n_c))

Purity is the share of items that have the category most frequent in their group; NMI is 0 for
groups that say nothing of the category and 1 for those that are the categories. Both rise with the
number of groups even where these are drawn by lot, so they stand beside the same groups with their
items shuffled. Shuffling changes no entropy, so that the mutual information adjusted for chance is

    AMI = (NMI − E[NMI]) / (1 − E[NMI]),   E[NMI] that of shuffled groups

0 for what is as good as chance, whatever the number of groups.

References:
    Introduction to Information Retrieval, C. D. Manning, P. Raghavan and H. Schütze, 2008, 16.3.
    Information Theoretic Measures for Clusterings Comparison, N. X. Vinh, J. Epps and J. Bailey,
    2010, JMLR 11.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = [
    "Agreement",
    "adjusted_mutual_information",
    "agreement",
    "agreement_by_chance",
    "is_above",
]

LARGEST = 1 << 24  # pairs of group and category that are counted in a table
DEVIATIONS = 3.0  # standard deviations above the mean of shuffled groups that are no chance


class Agreement(NamedTuple):
    """How well groups agree with categories.

    Attributes:
        purity: The share of items that have the most frequent category of their group.
        nmi: The normalised mutual information of group and category, in [0, 1].
    """

    purity: float
    nmi: float


def agreement(groups: np.ndarray, categories: np.ndarray) -> Agreement:
    """Computes purity and NMI of groups of items with respect to categories.

    Arguments:
        groups: The group of each item (N,), whole numbers from 0 on.
        categories: The category of each item (N,), whole numbers from 0 on.

    Example:
        >>> agreement(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
        Agreement(purity=1.0, nmi=1.0)
        >>> agreement(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
        Agreement(purity=0.5, nmi=0.0)
    """
    n, width = len(groups), int(categories.max()) + 1
    in_group, in_category = np.bincount(groups), np.bincount(categories)
    group, category, both = _pairs(groups, categories, len(in_group), width)
    most = np.zeros(len(in_group), dtype=np.int64)
    np.maximum.at(most, group, both)
    expected = in_group[group].astype(float) * in_category[category]
    information = float((both / n * np.log(n * both / expected)).sum())
    entropies = _entropy(in_group) + _entropy(in_category)
    nmi = 2 * max(0.0, information) / entropies if entropies > 0 else 1.0
    return Agreement(float(most.sum()) / n, nmi)


def agreement_by_chance(
    groups: np.ndarray, categories: np.ndarray, times: int, seed: int
) -> tuple[Agreement, Agreement]:
    """Computes purity and NMI of shuffled groups: their mean and standard deviation.

    Arguments:
        groups: (N,), the group of each item as a number from 0 on.
        categories: (N,), the category of each item likewise.
        times: The number of shuffles.
        seed: Seed of the shuffles.
    """
    draw = np.random.default_rng(seed)
    found = np.array([agreement(draw.permutation(groups), categories) for _ in range(times)])
    spread = found.std(0, ddof=1) if times > 1 else np.zeros(2)
    return Agreement(*map(float, found.mean(0))), Agreement(*map(float, spread))


def adjusted_mutual_information(found: Agreement, chance: Agreement) -> float:
    """Returns the adjusted mutual information (AMI): (NMI − chance) / (1 − chance).

    It is 1 where the groups are the categories, and about 0 where they tell no more of them than
    chance does; 0 where NMI by chance is 1 already.

    Arguments:
        found: The agreement of groups with categories.
        chance: The mean agreement of the same groups shuffled.
    """
    return (found.nmi - chance.nmi) / (1 - chance.nmi) if chance.nmi < 1 - 1e-9 else 0.0


def is_above(value: float, mean: float, spread: float) -> bool:
    """Returns whether a measure is above that of shuffled groups by more than chance explains.

    Example:
        >>> is_above(0.455, 0.444, 0.001), is_above(0.446, 0.444, 0.001), is_above(1.0, 1.0, 0.0)
        (True, False, False)
    """
    return value > mean + max(DEVIATIONS * spread, 1e-9)


def _pairs(
    groups: np.ndarray, categories: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pairs of group and category that occur, and how often each does."""
    keys = groups.astype(np.int64) * width + categories
    if height * width <= LARGEST:
        counts = np.bincount(keys, minlength=height * width)
        pairs = np.flatnonzero(counts)
        counts = counts[pairs]
    else:
        pairs, counts = np.unique(keys, return_counts=True)
    return pairs // width, pairs % width, counts


def _entropy(counts: np.ndarray) -> float:
    """Returns the entropy of counts, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
