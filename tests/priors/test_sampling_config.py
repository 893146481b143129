"""Temperature, top-k and top-p."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.errors import InputError
from smalti.priors import sample_from_logits

P = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])


def shares(n=40_000, logits=None, **options):
    """How often each index is drawn."""
    logits = P.log() if logits is None else logits
    generator = torch.Generator().manual_seed(0)
    drawn = sample_from_logits(logits.expand(n, -1), generator=generator, **options)
    return torch.bincount(drawn, minlength=len(logits)) / n


def test_without_options_the_distribution_is_drawn_from_as_it_is():
    torch.testing.assert_close(shares(), P, atol=0.01, rtol=0)


def test_a_constant_added_to_the_logits_changes_nothing():
    assert torch.equal(shares(), shares(logits=P.log() + 100))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_a_power_of_the_probabilities(temperature):
    expected = P ** (1 / temperature)
    expected /= expected.sum()
    torch.testing.assert_close(shares(temperature=temperature), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-3])
def test_towards_temperature_zero_the_most_likely_is_left(temperature):
    assert shares(100, temperature=temperature).tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("k", range(1, 8))
def test_top_k_keeps_the_k_most_likely_in_proportion(k):
    kept = P.argsort(descending=True)[:k]
    expected = torch.zeros(5).index_put((kept,), P[kept] / P[kept].sum())
    torch.testing.assert_close(shares(top_k=k), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("p", "kept"),
    [(0.01, [1]), (0.39, [1]), (0.41, [1, 3]), (0.64, [1, 3]), (0.66, [1, 3, 4]), (1.0, range(5))],
)
def test_top_p_keeps_the_fewest_whose_mass_reaches_p(p, kept):
    kept = torch.tensor(list(kept))
    expected = torch.zeros(5).index_put((kept,), P[kept] / P[kept].sum())
    torch.testing.assert_close(shares(top_p=p), expected, atol=0.01, rtol=0)


def test_of_equally_likely_ones_the_first_are_kept():
    assert set(sample_from_logits(torch.zeros(500, 6), top_k=2).tolist()) == {0, 1}
    assert set(sample_from_logits(torch.zeros(500, 6), top_p=0.5).tolist()) == {0, 1, 2}


def test_top_p_acts_on_what_temperature_and_top_k_left():
    # Of the two most likely, 0.4 and 0.25, the first alone has a mass of 0.615.
    assert shares(100, top_k=2, top_p=0.6)[1] == 1
    assert (shares(1000, top_k=2, top_p=0.63)[[1, 3]] > 0).all()
    assert shares(100, temperature=0.1, top_p=0.9)[1] == 1


@given(
    seed=st.integers(0, 1000),
    k=st.none() | st.integers(1, 9),
    p=st.none() | st.floats(0.01, 1),
    temperature=st.floats(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_what_has_no_probability_is_never_drawn(seed, k, p, temperature):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 50, 8, generator=generator) * 3
    logits[..., ::2] = -torch.inf
    drawn = sample_from_logits(
        logits, temperature=temperature, top_k=k, top_p=p, generator=generator
    )
    assert drawn.shape == (2, 50) and drawn.dtype == torch.int64
    assert (drawn % 2 == 1).all()


def test_half_precision_logits_are_drawn_from_in_double():
    logits = P.log().bfloat16()
    expected = logits.double().softmax(-1).float()
    torch.testing.assert_close(shares(logits=logits), expected, atol=0.01, rtol=0)


def test_a_temperature_beyond_int64_is_taken_and_beyond_float64_refused():
    generator = torch.Generator().manual_seed(0)
    drawn = sample_from_logits(torch.zeros(50, 4), temperature=2**64, generator=generator)
    assert set(drawn.tolist()) == {0, 1, 2, 3}
    with pytest.raises(InputError, match="finite"):
        sample_from_logits(torch.zeros(1, 4), temperature=10**400)
