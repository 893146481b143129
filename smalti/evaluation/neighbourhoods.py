"""Precision, recall, density and coverage of samples, by k nearest neighbours in features.

Around each point x of a set lies the ball whose radius r_k(x) is the distance to the k-th nearest
of the other points of that set. With N reference points X_i and M samples Y_j,

    precision  share of Y_j that lie in the ball of any X_i           are samples like real ones?
    recall     share of X_i that lie in the ball of any Y_j           is every kind of them there?
    density    Σ_j Σ_i [Y_j in the ball of X_i] / (k M)               precision that is robust to
                                                                      outliers among the X_i
    coverage   share of balls of X_i with any Y_j in them             recall that is robust to
                                                                      outliers among the Y_j

Balls are closed. Density is 1 on average for two sets of one distribution, and above 1 where
samples crowd among real examples; the other three are shares. All depend on k, N and M: compare
only figures for which these are equal.

References:
    Improved Precision and Recall Metric for Assessing Generative Models, T. Kynkäänniemi, T.
    Karras, S. Laine, J. Lehtinen and T. Aila, 2019, arXiv 1904.06991, equations 1 and 2.
    Reliable Fidelity and Diversity Metrics for Generative Models, M. F. Naeem, S. J. Oh, Y. Uh, Y.
    Choi and J. Yoo, 2020, arXiv 2002.09797, equations 4 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from smalti.counting import counted
from smalti.errors import InputError

__all__ = ["Neighbourhoods", "compare_neighbourhoods", "find_nearest", "neighbour_radii"]

PAIRS = 2**22  # distances held at a time: 32 MB
EXACTLY = "donot_use_mm_for_euclid_dist"  # so that equal points have the distance 0


class Neighbourhoods(NamedTuple):
    """Precision, recall, density and coverage of samples; see the module.

    Attributes:
        precision: In [0, 1].
        recall: In [0, 1].
        density: At least 0; may be above 1.
        coverage: In [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbour_radii(points: Tensor, k: int) -> Tensor:
    """Returns the distance of each point (N, F) to its k-th nearest neighbour: (N,), float64.

    Raises:
        InputError: If k is below 1, or there are no k other points.

    Example:
        >>> neighbour_radii(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
        tensor([1., 1., 2.], dtype=torch.float64)
    """
    if k < 1:
        raise InputError(f"The number of neighbours is at least 1, got {k}: 5 is usual.")
    if len(points) <= k:
        raise InputError(
            f"It takes {k + 1} of each set at least, for {k} neighbours of each, got "
            f"{len(points)}: give more examples."
        )
    # The first of the k + 1 nearest is the point itself, or one at the same place.
    found = [near.topk(k + 1, largest=False).values[:, k] for _, near in _distances(points, points)]
    return torch.cat(found)


def compare_neighbourhoods(
    reference: Tensor, samples: Tensor, k: int, radii: Tensor | None = None
) -> Neighbourhoods:
    """Computes precision, recall, density and coverage of samples.

    Arguments:
        reference: X (N, F).
        samples: Y (M, F).
        k: The number of neighbours, below N and M.
        radii: (N,), the `neighbour_radii` of the reference; computed if None.

    Raises:
        InputError: If features are not finite, or there are too few points.

    Example:
        >>> x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [0.6], [9.0]])
        >>> [round(value, 3) for value in compare_neighbourhoods(x, y, k=1)]
        [0.667, 0.667, 1.333, 0.667]
    """
    for name, points in (("reference", reference), ("sample", samples)):
        if not bool(points.isfinite().all()):
            bad = int((~points.isfinite().all(1)).sum())
            raise InputError(
                f"The features are not finite of {counted(bad, name)}, so that there is no "
                f"distance: correct what they were made from."
            )
    radii = neighbour_radii(reference, k) if radii is None else radii
    own = neighbour_radii(samples, k)
    inside, precise = 0, 0
    recalled, covered = torch.zeros(2, len(reference), dtype=torch.bool)
    for rows, distances in _distances(samples, reference):
        within = distances <= radii
        inside += int(within.sum())
        precise += int(within.any(1).sum())
        covered |= within.any(0)
        recalled |= (distances <= own[rows, None]).any(0)
    return Neighbourhoods(
        precision=precise / len(samples),
        recall=recalled.double().mean().item(),
        density=inside / (k * len(samples)),
        coverage=covered.double().mean().item(),
    )


def find_nearest(points: Tensor, others: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Finds the nearest neighbour of each point among others, holding one part of them at a time.

    Arguments:
        points: (n, F).
        others: Parts (m, F), one after another.

    Returns:
        The number of the nearest neighbour, the first of equals, (n,), int64, and its distance,
        (n,), float64; -1 and infinity if there are no others.

    Example:
        >>> number, distance = find_nearest(torch.tensor([[2.0]]), [torch.tensor([[9.0], [3.0]])])
        >>> number, distance
        (tensor([1]), tensor([1.], dtype=torch.float64))
    """
    best = torch.full((len(points),), torch.inf, dtype=torch.float64)
    which = torch.full((len(points),), -1)
    start = 0
    for part in others:
        for rows, distances in _distances(points, part):
            nearest, place = distances.min(1)
            nearer = nearest < best[rows]
            best[rows] = torch.where(nearer, nearest, best[rows])
            which[rows] = torch.where(nearer, place + start, which[rows])
        start += len(part)
    return which, best


def _distances(points: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yields rows of the points (n, F), and their distances to all others (rows, m), float64."""
    points, others = points.double(), others.double()
    step = max(PAIRS // max(len(others), 1), 1)
    for start in range(0, len(points), step):
        rows = slice(start, min(start + step, len(points)))
        yield rows, torch.cdist(points[rows], others, compute_mode=EXACTLY)
