"""k-means: it lowers the distortion, loses no centroid, and takes whatever it is given."""

import pytest
import torch

from smalti.errors import InputError
from smalti.quantizers import kmeans, nearest


def distortion(vectors: torch.Tensor, centroids: torch.Tensor) -> float:
    return float((vectors - centroids[nearest(vectors, centroids)]).square().sum(1).mean())


def test_it_finds_every_cluster():
    centres = 20 * torch.randn(12, 6)
    vectors = (centres[:, None] + 0.1 * torch.randn(12, 50, 6)).reshape(-1, 6)
    centroids = kmeans(vectors, 36, iterations=20)
    assert len(nearest(centres, centroids).unique()) == 12
    assert distortion(vectors, centroids) < 6 * 0.1**2


def test_it_ends_where_each_centroid_is_the_mean_of_its_vectors():
    vectors = torch.randn(300, 3)
    centroids = kmeans(vectors, 8, iterations=100)
    index = nearest(vectors, centroids)
    for k in range(8):
        torch.testing.assert_close(vectors[index == k].mean(0), centroids[k])


def test_iterations_lower_the_distortion():
    vectors = torch.randn(3000, 4)
    values = []
    for iterations in (0, 1, 3, 10):
        torch.manual_seed(1)
        values.append(distortion(vectors, kmeans(vectors, 64, iterations)))
    assert values == sorted(values, reverse=True) and values[-1] < 0.9 * values[0]


def test_no_centroid_stays_empty_when_most_vectors_are_the_same():
    vectors = torch.cat([torch.zeros(5000, 3), torch.randn(200, 3)])
    centroids = kmeans(vectors, 64)
    assert len(nearest(vectors, centroids).unique()) > 55


@pytest.mark.parametrize("n", [1, 5, 15])
def test_with_fewer_vectors_than_centroids_each_vector_is_one(n):
    vectors = torch.randn(n, 3)
    centroids = kmeans(vectors, 16)
    assert centroids.shape == (16, 3) and centroids.isfinite().all()
    assert distortion(vectors, centroids) == 0
    assert distortion(centroids, vectors) < 0.01


def test_as_many_vectors_as_centroids():
    vectors = torch.randn(16, 3)
    assert sorted(kmeans(vectors, 16).tolist()) == sorted(vectors.tolist())


def test_equal_vectors():
    centroids = kmeans(torch.full((100, 3), 2.5), 8)
    assert torch.equal(centroids, torch.full((8, 3), 2.5))


def test_a_generator_decides_everything():
    vectors = torch.randn(300, 3)
    before = torch.get_rng_state()
    one, other, third = (
        kmeans(vectors, 16, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    )
    assert torch.equal(one, other) and not torch.equal(one, third)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 2, 3)])
def test_no_vectors_are_told(shape):
    with pytest.raises(InputError, match="k-means takes vectors"):
        kmeans(torch.zeros(shape), 4)
