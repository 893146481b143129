"""`SemanticIDs`: an estimator as scikit-learn wants them, and IDs as smalti gives them."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import smalti
from smalti import SemanticIDs
from smalti.errors import InputError
from smalti.ids import IdTable

DRAW = np.random.default_rng(0)
CENTRES = DRAW.normal(size=(20, 8))
X = (CENTRES[DRAW.integers(20, size=600)] + 0.2 * DRAW.normal(size=(600, 8))).astype(np.float32)


@parametrize_with_checks(
    [
        SemanticIDs(codebook_sizes=(4, 3), iterations=2),
        SemanticIDs(codebook_sizes=(4, 3), iterations=2, method="product"),
        SemanticIDs(codebook_sizes=(4, 3), iterations=2, method="optimized-product"),
    ]
)
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def lost(ids, x):
    """Squared error of reconstructions, of the spread."""
    error = ((x - ids.inverse_transform(ids.transform(x))) ** 2).sum()
    return error / ((x - x.mean(0)) ** 2).sum()


def test_it_comes_with_the_package():
    assert smalti.SemanticIDs is SemanticIDs


def test_one_level_is_kmeans():
    ids = SemanticIDs((20,), random_state=0).fit(X)
    theirs = KMeans(20, n_init=1, random_state=0).fit(X)
    assert lost(ids, X) < 1.1 * theirs.inertia_ / ((X - X.mean(0)) ** 2).sum()
    nearest = ((X[:, None] - ids.codebooks_[0]) ** 2).sum(2).argmin(1)
    assert ids.transform(X).tolist() == nearest[:, None].tolist()


def test_each_level_comes_closer():
    ids = SemanticIDs((16, 16, 16), random_state=0).fit(X)
    codes = ids.transform(X)
    assert codes.dtype == np.int64 and codes.shape == (600, 3)
    errors = [((X - ids.inverse_transform(codes[:, :q])) ** 2).sum() for q in (1, 2, 3)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]
    books = ids.codebooks_
    whole = sum(book[codes[:, level]] for level, book in enumerate(books))
    assert np.allclose(ids.inverse_transform(codes), whole, atol=1e-5)


@pytest.mark.parametrize("method", ["product", "optimized-product"])
@pytest.mark.parametrize("normalize", ["none", "whiten"])
def test_codes_of_a_product_are_each_of_a_part(method, normalize):
    def fitted(random_state=0):
        ids = SemanticIDs(
            (16, 4, 16), method=method, normalize=normalize, random_state=random_state
        )
        return ids.fit(X)

    ids = fitted()
    codes, books = ids.transform(X), ids.codebooks_
    assert [book.shape for book in books] == [(16, 3), (4, 3), (16, 2)]
    whole = np.concatenate([book[codes[:, part]] for part, book in enumerate(books)], 1)
    if method == "optimized-product":
        whole = whole @ ids.quantizer_.rotation.numpy()
    if normalize == "whiten":
        whole = ids.normalization_.inverse(torch.from_numpy(whole)).numpy()
    assert np.allclose(ids.inverse_transform(codes), whole, atol=1e-5)
    assert 0.01 < lost(ids, X) < 0.5
    with pytest.raises(InputError, match="of its own, got 2 of 3: give all columns"):
        ids.inverse_transform(codes[:, :2])
    # Their IDs are told from those of others, and resolved without a change of those given.
    table = ids.id_table(range(300), X[:300], "nearest")
    assert len(table.tree.keys[-1]) == 300
    more = pickle.loads(pickle.dumps(ids)).id_table(range(600), X, against=table)
    assert np.array_equal(more.codes[:300], table.codes) and len(more.tree.keys[-1]) == 600
    with pytest.raises(InputError, match="another estimator"):
        fitted(random_state=1).id_table(range(600), X, against=table)


def test_a_product_that_is_optimized_loses_less():
    plain, turned = (
        SemanticIDs((16, 16), method=method, random_state=0).fit(X)
        for method in ("product", "optimized-product")
    )
    assert lost(turned, X) < 0.9 * lost(plain, X)


def test_a_wider_beam_comes_closer():
    one, five = (
        SemanticIDs((8, 8, 8), beam=beam, refine=0, random_state=0).fit(X) for beam in (1, 5)
    )
    assert lost(five, X) < lost(one, X)
    assert all(np.array_equal(a, b) for a, b in zip(one.codebooks_, five.codebooks_, strict=True))


def test_levels_refined_together_serve_other_rows_better():
    x, other = (np.random.default_rng(seed).normal(size=(300, 8)) for seed in (0, 1))
    plain, refined = (
        SemanticIDs((32, 32, 32), refine=refine, random_state=0).fit(x) for refine in (0, None)
    )
    assert lost(refined, other) < 0.97 * lost(plain, other)


@pytest.mark.parametrize("normalize", ["center", "standardize", "whiten"])
def test_a_normalization_is_undone(normalize):
    scaled = X * np.array([1, 100, 1, 1, 1, 1, 1, 0.01], np.float32) + 7
    ids = SemanticIDs((32, 32), normalize=normalize, random_state=0).fit(scaled)
    back = ids.inverse_transform(ids.transform(scaled))
    spread = scaled.std(0)
    worst = (np.sqrt(((scaled - back) ** 2).mean(0)) / spread).max()
    assert worst < (1.2 if normalize == "center" else 0.6)
    assert abs((back - scaled).mean(0) / spread).max() < 0.1


def test_of_unit_length_the_direction_comes_back_alone():
    ids = SemanticIDs((32, 32), normalize="unit", random_state=0).fit(X)
    assert ids.transform(X).tolist() == ids.transform(3 * X).tolist()
    back = ids.inverse_transform(ids.transform(X))
    cosine = (back * X).sum(1) / np.linalg.norm(back, axis=1) / np.linalg.norm(X, axis=1)
    assert cosine.mean() > 0.95 and np.linalg.norm(back, axis=1).max() < 1.2


def test_seeds_repeat_it_and_pickles_keep_it():
    a, b = (SemanticIDs((8, 8), random_state=3).fit(X).transform(X) for _ in range(2))
    ids = SemanticIDs((8, 8), random_state=4).fit(X)
    assert np.array_equal(a, b) and not np.array_equal(a, ids.transform(X))
    again = pickle.loads(pickle.dumps(ids))
    assert np.array_equal(again.transform(X), ids.transform(X))
    assert clone(ids).get_params() == ids.get_params()


def test_it_stands_in_a_pipeline_and_takes_data_frames():
    frame = pd.DataFrame(X, columns=[f"d{n}" for n in range(8)])
    ids = make_pipeline(StandardScaler(), SemanticIDs((8, 8), random_state=0))
    codes = ids.set_output(transform="pandas").fit_transform(frame)
    assert list(codes.columns) == ["semanticids0", "semanticids1"]
    assert ids.inverse_transform(codes.to_numpy()).shape == X.shape


def test_a_mapped_file_is_read_in_pieces(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.float16))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    ids = SemanticIDs((8, 8), random_state=0).fit(mapped)
    assert np.array_equal(ids.transform(mapped), ids.transform(np.array(mapped)))


@pytest.mark.parametrize("collisions", ["index", "nearest"])
def test_items_get_ids_of_their_own_which_stay(tmp_path, collisions):
    ids = SemanticIDs((16, 64), random_state=0).fit(X)
    names = [f"item-{n}" for n in range(600)]
    table = ids.id_table(names[:500], X[:500], collisions)
    assert len(table.tree.keys[-1]) == 500
    assert np.array_equal(table.own, ids.transform(X[:500]))
    table.write(tmp_path / "ids.parquet")
    more = ids.id_table(names, pd.DataFrame(X), against=IdTable.read(tmp_path / "ids.parquet"))
    assert len(more.tree.keys[-1]) == 600
    assert np.array_equal(more.codes[:500], table.codes)
    other = SemanticIDs((16, 64), random_state=1).fit(X)
    with pytest.raises(InputError, match="are of another estimator than this one"):
        other.id_table(names, X, against=table)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"codebook_sizes": (8, 0)}, r"each 1 or more, got \(8, 0\)"),
        ({"codebook_sizes": 8}, "is a list of sizes, got 8"),
        ({"codebook_sizes": ()}, "at least one"),
        ({"codebook_sizes": (8, 601)}, "a row for each of 601 codes, got n_samples=600"),
        ({"method": "magic"}, "method is one of kmeans, product, .* got 'magic'"),
        ({"method": "product", "beam": 2}, "no sums to search by a beam, got beam=2"),
        ({"method": "product", "codebook_sizes": (2,) * 9}, "9 codebook_sizes, got n_features=8"),
        ({"method": "optimized-product", "iterations": -1}, "iterations"),
        ({"normalize": "l2"}, "normalize is one of none, center, .* got 'l2'"),
        ({"beam": 0}, "beam"),
        ({"iterations": -1}, "iterations"),
        ({"refine": -1}, "refine"),
        ({"refine": 5, "method": "product"}, "not refined together, got refine=5"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, words):
    with pytest.raises(InputError, match=words):
        SemanticIDs(**{"codebook_sizes": (4, 4), **parameters}).fit(X)


def test_codes_that_are_none_are_refused():
    ids = SemanticIDs((4, 4), iterations=1).fit(X)
    for codes, words in (
        ([[0, 4]], "0 and 3"),
        ([[0, 0, 0]], r"a table \(N, 1 to 2\), got the shape \(1, 3\)"),
        ([0, 0], "got the shape"),
        ([[0.5, 0.0]], "are integers, got float64"),
    ):
        with pytest.raises(InputError, match=words):
            ids.inverse_transform(codes)
    with pytest.raises(NotFittedError):
        SemanticIDs().transform(X)
    with pytest.raises(ValueError, match="infinity|NaN"):
        ids.transform(np.full((1, 8), np.nan))
    with pytest.raises(ValueError, match="7 features, but SemanticIDs is expecting 8"):
        ids.transform(X[:, :7])
    torch.manual_seed(0)
