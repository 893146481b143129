"""Precision, recall, density and coverage by hand, and the laws that they keep."""

from __future__ import annotations

import pytest
import torch

from smalti.errors import InputError
from smalti.evaluation import neighbourhoods
from smalti.evaluation.neighbourhoods import (
    compare_neighbourhoods,
    find_nearest,
    neighbour_radii,
)


def points(*values):
    return torch.tensor(values)[:, None]


def test_a_case_by_hand():
    # On a line, k = 2: the second nearest other point, and what lies within.
    real, made = points(0.0, 1.0, 3.0, 7.0), points(0.5, 2.0, 30.0)
    assert neighbour_radii(real, 2).tolist() == [3, 2, 3, 6]
    # 0.5 lies in the balls of 0, 1 and 3; 2.0 in those of all four; 30 in none.
    # Balls of made points: 0.5 ± 29.5 and 2 ± 28 hold every real one, 30 ± 29.5 all but 0.
    found = compare_neighbourhoods(real, made, 2)
    assert found == (2 / 3, 1, (3 + 4 + 0) / (2 * 3), 1)
    near = compare_neighbourhoods(real, points(0.9, 1.0, 1.1), 1)
    # k = 1: radii 1, 1, 2, 4. 0.9 lies in the balls of 0 and 1, 1.1 in those of 1 and 3, and 1.0
    # in all three, of 0 and 3 on the edge.
    assert near == (1, 1 / 4, 7 / 3, 3 / 4)


def test_another_k_gives_other_figures():
    real, made = points(0.0, 1.0, 3.0, 7.0), points(0.5, 2.0, 30.0)
    assert compare_neighbourhoods(real, made, 1) == (2 / 3, 1, (2 + 2) / 3, 3 / 4)
    assert neighbour_radii(real, 1).tolist() == [1, 1, 2, 4]


@pytest.fixture
def clouds():
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(200, 6, generator=draw) for _ in range(2)]


def test_a_set_with_itself_and_one_far_away(clouds):
    x, y = clouds
    same = compare_neighbourhoods(x, x, 5)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density == 6 / 5  # each lies in its own ball as well
    assert compare_neighbourhoods(x, y + 1e4, 5) == (0, 0, 0, 0)


def test_samples_of_the_same_distribution_have_a_density_of_about_1(clouds):
    found = compare_neighbourhoods(*clouds, 5)
    assert found.density == pytest.approx(1, abs=0.15)
    assert found.coverage > 0.9


def test_density_passes_1_where_samples_crowd_and_coverage_falls(clouds):
    x, _ = clouds
    crowd = 0.05 * x
    found = compare_neighbourhoods(x, crowd, 5)
    assert found.precision == 1
    assert found.density > 1.5
    assert found.recall < 0.1 and found.coverage < 0.9


def test_order_and_distance_preserving_maps_change_nothing(clouds):
    x, y = clouds
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
    turned = compare_neighbourhoods(3 * x.flip(0) @ turn - 7, 3 * y.roll(9, 0) @ turn - 7, 5)
    assert turned == compare_neighbourhoods(x, y, 5)


def test_precision_and_recall_are_each_other_with_the_sets_swapped(clouds):
    x, y = clouds[0], 0.5 * clouds[1]
    there, back = compare_neighbourhoods(x, y, 3), compare_neighbourhoods(y, x, 3)
    assert there.precision == back.recall
    assert there.recall == back.precision


def test_equal_points_are_covered():
    x = points(*[2.0] * 8)
    assert compare_neighbourhoods(x, x, 5)[:2] == (1, 1)
    assert neighbour_radii(x, 5).tolist() == [0] * 8


def test_parts_are_not_seen(clouds, monkeypatch):
    whole = compare_neighbourhoods(*clouds, 5)
    monkeypatch.setattr(neighbourhoods, "PAIRS", 777)
    assert compare_neighbourhoods(*clouds, 5) == whole


def test_the_nearest_of_all_parts(clouds):
    x, y = clouds
    number, distance = find_nearest(x, iter(y.split(33)))
    wanted = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(number, wanted.argmin(1))
    assert torch.equal(distance, wanted.min(1).values)
    first, _ = find_nearest(x[:1], [torch.cat([x, x]), x])
    assert first.tolist() == [0]
    assert find_nearest(x[:1], [])[0].tolist() == [-1]


@pytest.mark.parametrize(("n", "k", "reason"), [(5, 5, "6 of each set at least"), (3, 0, "1, got")])
def test_too_few_points_are_refused(n, k, reason):
    with pytest.raises(InputError, match=reason):
        compare_neighbourhoods(torch.zeros(9, 2), torch.zeros(n, 2), k)


def test_features_that_are_not_finite_are_refused(clouds):
    x, y = clouds
    y[3, 1] = torch.nan
    with pytest.raises(InputError, match="not finite of 1 sample,"):
        compare_neighbourhoods(x, y, 5)
