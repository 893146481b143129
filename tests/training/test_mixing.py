"""Mixtures of two examples: what they keep of the data, and where they make no sense."""

import pytest
import torch

from mistakes import mistake
from smalti.training.mixing import mix_examples
from tiny import clocks_recipe, write_recipe


def test_mixtures_keep_mean_and_covariance_and_are_no_examples():
    torch.manual_seed(0)
    turn = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    x = torch.randn(50_000, 3).exp() @ turn + 10  # neither Gaussian nor centred
    y = mix_examples(x, 0.4)
    torch.testing.assert_close(y.mean(0), x.mean(0), rtol=0.01, atol=0)
    torch.testing.assert_close(y.T.cov(), x.T.cov(), rtol=0.05, atol=0.3)
    assert (torch.cdist(y[:500], x[:500]).amin(1) > 0).all()
    # Each stays nearer to its own example than to the other.
    assert ((y - x).norm(dim=1) < (y - x.roll(1, 0)).norm(dim=1)).float().mean() > 0.75


def test_a_share_of_nothing_and_a_batch_of_one_change_nothing():
    x = torch.randn(7, 3)
    torch.testing.assert_close(mix_examples(x, 0.0), x)
    torch.testing.assert_close(mix_examples(x[:1], 0.5), x[:1])
    assert mix_examples(x.half(), 0.3).dtype == torch.float16


@pytest.mark.parametrize(("share", "said"), [("0.2", "have no grid, got mixing 0.2"), ("2", "0.5")])
def test_it_is_refused_in_one_line(tmp_path, capsys, share, said):
    file = write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    words = ["--tokenizer.mixing", share]
    assert said in mistake(capsys, "fit", str(file), "--out", str(tmp_path / "run"), *words)
