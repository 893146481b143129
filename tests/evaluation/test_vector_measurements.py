"""What is measured of vectors: neighbours from codes, agreement with categories, tree and map."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smalti.data.items import Category, Items
from smalti.data.manifest import Manifest, manifest_columns
from smalti.data.source import Splits
from smalti.data.tensors import TensorExamples
from smalti.modalities.vector import Vector
from smalti.modalities.vector.agreement import (
    adjusted_mutual_information,
    agreement,
    agreement_by_chance,
)
from smalti.modalities.vector.category_agreement import CategoryAgreement
from smalti.modalities.vector.code_tree import CodeTree
from smalti.modalities.vector.metrics import VectorError
from smalti.modalities.vector.neighbours import NeighbourRecall, true_neighbours
from smalti.modalities.vector.prefixes import groups_by_prefix
from smalti.modalities.vector.vector_map import VectorMap

D = 3


def subject(x, codes, decode, categories=None, unit=False, test=10):
    """What a measurement sees of N items with these vectors (N, D) and codes (N, Q).

    `decode` maps rows of the first q codes (n, q) to vectors (n, D).
    """
    n = len(x)
    parts = [TensorExamples(part) for part in (x[: n - test - 2], x[n - test - 2 : n - test])]
    names = [f"item {i}" for i in range(n)]
    splits = np.repeat([0, 1, 2], [n - test - 2, 2, test])
    manifest = Manifest(**manifest_columns(bytes(16 * n), splits, np.full(n, -1), splits, names))
    shuffled = np.random.default_rng(1).permutation(n)  # the source knows them in another order
    known = {
        name: Category(values[shuffled].astype(np.int32), tuple(f"{name} {i}" for i in range(99)))
        for name, values in (categories or {}).items()
    }
    return SimpleNamespace(
        splits=Splits(
            *parts,
            TensorExamples(x[n - test :]),
            signal=Vector(D, unit=unit),
            condition=None,
            augment=None,
            manifest=manifest,
            items=Items([names[i] for i in shuffled], known),
        ),
        seed=0,
        codes=torch.as_tensor(codes, dtype=torch.int32),
        without_codes=None,
        without_tree=None,
        from_codes=lambda given: (decode(part) for part in given.split(7)),
    )


def grid(n=60, seed=0):
    """Vectors near the corners of a grid, and codes that say their corner, then their place."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 4, (n, 2), generator=draw)
    x = torch.cat([10.0 * corner, torch.zeros(n, 1)], 1)
    x = x + torch.randn(n, D, generator=draw)
    return x, corner


def corners(codes):
    """Decodes one or both codes of a corner; of a code that is not known the middle."""
    second = codes[:, 1:2] if codes.shape[1] > 1 else torch.full_like(codes[:, :1], 1)
    return torch.cat([10.0 * codes[:, :1], 10.0 * second, 0 * second], 1).float()


def brute_force_recall(x, codes, decode, test, within, q, unit):
    """Recall@R with the rank of the neighbour among items in random order where they are equal."""
    x, made = x.double(), decode(codes[:, :q]).double()
    x = x / x.norm(dim=1, keepdim=True) if unit else x
    made = made / made.norm(dim=1, keepdim=True).clamp(min=1e-12) if unit else made
    found = []
    for query in range(len(x) - test, len(x)):
        others = [i for i in range(len(x)) if i != query]
        neighbour = min(others, key=lambda i: (x[query] - x[i]).square().sum().item())
        away = torch.tensor([(x[query] - made[i]).square().sum().item() for i in others])
        mine = away[others.index(neighbour)]
        before, equal = (away < mine - 1e-6).sum(), ((away - mine).abs() <= 1e-6).sum()
        found.append([min(1.0, max(0.0, float((r - before) / equal))) for r in within])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("unit", [False, True])
def test_errors_are_those_of_numpy(unit):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(50, D)) + [5, 0, -2]
    x_hat = x + 0.3 * draw.normal(size=x.shape)
    error = VectorError(unit)
    for part in np.array_split(np.arange(50), 7):
        error.update(torch.from_numpy(x[part]), torch.from_numpy(x_hat[part]))
    figures = error.figures("test set, N = 50")
    x = x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x
    mse = ((x - x_hat) ** 2).mean()
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(x_hat, axis=1)
    for name, wanted in {
        "mse": mse,
        "mse_over_variance": mse / x.var(),
        "spread_lost": mse / x.var(axis=0).mean(),
        "cosine": ((x * x_hat).sum(1) / lengths).mean(),
    }.items():
        assert figures[name]["value"] == pytest.approx(wanted), name
    same = VectorError()
    same.update(torch.full((4, D), 0.3), torch.zeros(4, D))
    assert np.isnan(same.figures("")["spread_lost"]["value"])


@pytest.mark.parametrize("unit", [False, True])
def test_recall_is_that_of_a_ranking_by_hand(unit):
    x, codes = grid()
    section = NeighbourRecall().run(subject(x + 0.1, codes, corners, unit=unit))
    for q in (1, 2):
        wanted = brute_force_recall(x + 0.1, codes, corners, 10, (1, 10), q, unit)
        found = [section.figures[str(q)][f"recall_at_{r}"]["value"] for r in (1, 10)]
        assert found == pytest.approx(wanted, abs=1e-6)
    assert "recall_at_100" not in section.figures["1"]  # there are not so many items
    assert section.figures["2"]["recall_at_10"]["value"] > 0.5


def test_codes_that_say_all_find_every_neighbour_and_those_that_say_nothing_none():
    x, _ = grid(150)
    own = torch.arange(150)[:, None]
    section = NeighbourRecall().run(subject(x, own, lambda codes: x[codes[:, 0].long()]))
    assert [figure["value"] for figure in section.figures["1"].values()] == [1.0, 1.0, 1.0]
    nothing = subject(x, torch.zeros(150, 1), lambda codes: torch.zeros(len(codes), D))
    values = [f["value"] for f in NeighbourRecall().run(nothing).figures["1"].values()]
    assert values == pytest.approx([1 / 149, 10 / 149, 100 / 149])


def test_true_neighbours_are_those_of_a_search_in_double_precision():
    draw = torch.Generator().manual_seed(0)
    x = 1000 + torch.randn(500, 8, generator=draw)  # far from 0, where products cancel
    queries = np.arange(0, 500, 7)
    found = true_neighbours(x[queries], queries, x.split(60))
    away = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    away.fill_diagonal_(torch.inf)
    assert found.tolist() == away.argmin(1)[queries].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_purity_and_nmi_are_those_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(seed)
    groups, categories = draw.integers(0, 30, 500), draw.integers(0, 6, 500)
    categories[:200] = groups[:200] % 6
    found = agreement(groups, categories)
    assert found.nmi == pytest.approx(
        metrics.normalized_mutual_info_score(categories, groups), abs=1e-12
    )
    table = metrics.cluster.contingency_matrix(categories, groups)
    assert found.purity == pytest.approx(table.max(0).sum() / 500)


def test_pairs_are_counted_alike_in_a_table_and_by_sorting(monkeypatch):
    draw = np.random.default_rng(0)
    groups, categories = draw.integers(0, 300, 2000), draw.integers(0, 9, 2000)
    found = agreement(groups, categories)
    monkeypatch.setattr("smalti.modalities.vector.agreement.LARGEST", 10)
    assert agreement(groups, categories) == pytest.approx(found)


def test_shuffled_groups_say_what_groups_of_their_sizes_say_by_chance():
    groups, categories = np.arange(1000) % 50, np.arange(1000) % 5
    assert agreement(groups, categories) == (1.0, pytest.approx(2 * np.log(5) / np.log(250)))
    mean, spread = agreement_by_chance(groups, categories, 10, seed=0)
    assert 0.25 < mean.purity < 0.45 and 0 < spread.purity < 0.02
    assert 0 < mean.nmi < 0.2 and 0 < spread.nmi < 0.02


def test_agreement_adjusted_for_shuffled_groups_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    groups, categories = draw.integers(0, 40, 1500), draw.integers(0, 8, 1500)
    categories[:500] = groups[:500] % 8
    found = agreement(groups, categories)
    mean, _ = agreement_by_chance(groups, categories, 20, seed=0)
    wanted = metrics.adjusted_mutual_info_score(categories, groups)
    assert (
        adjusted_mutual_information(found, mean) == pytest.approx(wanted, abs=3e-3)
        and 0.05 < wanted < 0.5
    )
    alone = np.arange(50)  # groups of one item say all of any category, and so do shuffled ones
    ones = agreement(alone, alone)
    assert adjusted_mutual_information(ones, agreement_by_chance(alone, alone, 5, seed=0)[0]) == 0.0


def test_the_report_says_whether_codes_say_more_of_a_category_than_chance():
    x, codes = grid(300)
    draw = np.random.default_rng(5)
    first = codes[:, 0].numpy()
    given = {"corner": first, "nothing": draw.integers(0, 4, 300)}
    section = CategoryAgreement().run(subject(x, codes, corners, given))
    said = {name: section.blocks[f"{name}-said"].text for name in given}
    assert said["corner"].startswith("Codes say more of corner than chance at every depth: NMI of ")
    assert said["corner"].endswith("the first code says most of it, AMI 1.000.")
    assert said["nothing"].startswith("Codes say no more of nothing than chance, at any depth")
    for name, above in ("corner", True), ("nothing", False):
        for measured in section.figures[name].values():
            limits = [
                measured[f"{key}_shuffled"]["value"]
                + 3 * measured[f"{key}_shuffled_spread"]["value"]
                for key in ("purity", "nmi")
            ]
            assert (measured["purity"]["value"] > limits[0]) == above
            assert (measured["nmi"]["value"] > limits[1]) == above
            assert "shuffled among the items 20 times" in measured["ami"]["protocol"]
    assert section.figures["corner"]["1"]["ami"]["value"] == pytest.approx(1.0)
    assert abs(section.figures["nothing"]["1"]["ami"]["value"]) < 0.03


def test_of_many_items_the_ids_are_shuffled_less_often(monkeypatch):
    monkeypatch.setattr("smalti.modalities.vector.category_agreement.MANY", 100)
    x, codes = grid(300)
    section = CategoryAgreement().run(subject(x, codes, corners, {"corner": codes[:, 0].numpy()}))
    assert "shuffled among the items 5 times" in str(section.figures["corner"])


def test_categories_are_those_of_the_items_whatever_the_order():
    x, codes = grid(300)
    first = codes[:, 0].numpy()
    unknown = np.where(np.arange(300) % 3 == 0, -1, first)
    given = {"corner": first, "partly": unknown, "never": np.full(300, -1)}
    section = CategoryAgreement().run(subject(x, codes, corners, given))
    for name in ("corner", "partly"):
        figures = section.figures[name]["1"]
        assert figures["purity"]["value"] == 1.0
        assert figures["nmi"]["value"] == pytest.approx(1.0)
        assert figures["purity_shuffled"]["value"] < 0.5
        assert figures["purity_shuffled_spread"]["value"] > 0
    assert "N = 300 " in section.figures["corner"]["1"]["purity"]["protocol"]
    assert "N = 200 " in section.figures["partly"]["1"]["purity"]["protocol"]
    assert section.missing == {"never": "the never of no item is known."}
    assert "± " in section.blocks["corner"].to_html()


def test_groups_of_prefixes_are_those_of_rows():
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 5, (200, 3))
    for q, groups in enumerate(groups_by_prefix(torch.from_numpy(codes)), start=1):
        rows, inverse, counts = np.unique(
            codes[:, :q], axis=0, return_inverse=True, return_counts=True
        )
        assert groups.group_of.tolist() == inverse.reshape(-1).tolist()
        assert groups.sizes.tolist() == counts.tolist()
        assert (codes[groups.first, :q] == rows).all()


def test_the_tree_shows_typical_items_of_the_largest_prefixes():
    x, codes = grid(400)
    given = {"corner": codes[:, 0].numpy()}
    section = CodeTree().run(subject(x, codes, corners, given))
    tree = section.blocks["tree"]
    assert [branch.count for branch in tree.branches] == sorted(
        np.bincount(codes[:, 0]).tolist(), reverse=True
    )
    for branch in tree.branches:
        code = int(branch.name.removeprefix("a_"))
        inside = x[codes[:, 0] == code]
        nearest = (inside - inside.mean(0)).square().sum(1).argmin()
        (row,) = (x == inside[nearest]).all(1).nonzero()[:, 0].tolist()
        assert branch.examples[0] == f"item {row}"
        assert branch.note.startswith(f"corner {code}: 100")
        assert sum(child.count for child in branch.children) == branch.count
        assert branch.hidden == 0
        assert all(child.name.startswith(f"a_{code} b_") for child in branch.children)
    html = tree.to_html()
    assert html.count("<details") == 4 and "<script" not in html


def test_the_tree_names_the_category_that_codes_say_most_of_beyond_chance():
    """Numbers that hardly repeat have the higher NMI, by chance alone."""
    x, codes = grid(90)
    corner = codes[:, 0].numpy()
    draw = np.random.default_rng(0)
    nearly = np.where(draw.random(90) < 0.3, draw.integers(4, size=90), corner)
    tree = CodeTree().run(subject(x, codes, corners, {"many": np.arange(90), "corner": nearly}))
    assert all(branch.note.startswith("corner ") for branch in tree.blocks["tree"].branches)


def test_a_category_of_numbers_is_named_beside_them():
    x, codes = grid(60)
    given = subject(x, codes, corners)
    rating = Category(codes[:, 0].numpy().astype(np.int32), tuple("1234"))
    items = Items([f"item {i}" for i in range(60)], {"rating": rating})
    given.splits = given.splits._replace(items=items)
    for branch in CodeTree().run(given).blocks["tree"].branches:
        assert branch.note.startswith(f"rating {int(branch.name.removeprefix('a_')) + 1}: 100")


def test_of_many_prefixes_the_largest_are_shown_and_the_others_counted(monkeypatch):
    monkeypatch.setattr("smalti.modalities.vector.code_tree.SHOWN", (2, 1))
    x, codes = grid(400)
    tree = CodeTree().run(subject(x, codes, corners)).blocks["tree"]
    counts = np.bincount(codes[:, 0]).tolist()
    assert [branch.count for branch in tree.branches] == sorted(counts)[:1:-1]
    assert all(len(branch.children) == 1 and branch.hidden == 3 for branch in tree.branches)
    assert "the 2 largest of 4" in tree.to_html()


def test_the_map_is_drawn_for_the_first_code_and_each_category():
    x, codes = grid(100)
    section = VectorMap().run(subject(x, codes, corners, {"corner": codes[:, 0].numpy()}))
    assert sorted(section.files()) == ["map-category0.png", "map-code.png"]
    assert section.facts["Map"].startswith("all items in the plane of their largest variance")
    sizes = {file[16:24] for file in section.files().values()}  # width and height of a PNG
    assert len(sizes) == 1
