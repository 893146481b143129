"""Laws of stepping that every autoregressive prior keeps."""

import torch


def follows_the_full_pass(prior, context=None, *, single=1e-4):
    """Step by step the logits are those of the full pass: in double precision, and in single."""
    for dtype, atol in ((torch.float64, 1e-11), (torch.float32, single)):
        prior.to(dtype)
        indices = torch.randint(prior.codebook_size, (3, *prior.grid))
        expected = prior.logits(indices, context).detach()
        assert expected.shape == (*indices.shape, prior.codebook_size)
        assert expected.std() > 0.1
        stepper, expected = prior.start(3, context), expected.flatten(1, -2)
        for i, column in enumerate(indices.flatten(1).unbind(1)):
            torch.testing.assert_close(stepper.logits(), expected[:, i], atol=atol, rtol=1e-5)
            stepper.push(column)


def walks_apart(prior):
    """Two walks do not disturb each other, nor what the first gave before."""
    indices = torch.randint(prior.codebook_size, (2, *prior.grid))
    expected = prior.logits(indices).detach().flatten(1, -2)
    first, second = prior.start(2), prior.start(2)
    for i, column in enumerate(indices.flatten(1).unbind(1)):
        kept = first.logits()
        second.push(indices.flatten(1)[:, -1 - i])
        torch.testing.assert_close(first.logits(), expected[:, i])
        first.push(column)
        torch.testing.assert_close(kept, expected[:, i])
