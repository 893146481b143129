"""Autoregressive priors with large weights, and laws of seeing and stepping that they keep."""

import torch


def large(prior, scale=0.3):
    """In float64 and evaluation mode, with weights so large that every path leaves its mark."""
    for name, parameter in prior.double().eval().named_parameters():
        torch.nn.init.normal_(parameter, 0, 1.0 if "embedding" in name else scale)
    return prior


def context_for(prior, batch):
    """Some values of its condition, if it has one."""
    return None if prior.condition is None else prior.condition.draw(batch)


def sees_the_past_and_nothing_else(prior):
    """An index is felt at all that follow it in reading order, and neither before nor at it."""
    k, first = prior.codebook_size, torch.randint(prior.codebook_size, (1, *prior.grid))
    before = prior.logits(first).detach().flatten(1, -2)
    # A ReLU may hide one change: an index is seen if any of the others in its place is felt.
    for changed in range(prior.positions):
        others = first.flatten().repeat(k - 1, 1)
        others[:, changed] = (others[:, changed] + torch.arange(1, k)) % k
        after = prior.logits(others.view(-1, *prior.grid)).detach().flatten(1, -2)
        moved = ((after - before).abs().amax((0, 2)) > 1e-12).tolist()
        assert moved == [i > changed for i in range(prior.positions)]


def follows_the_full_pass(prior, context=None, *, single=1e-4, tokens=None):
    """Step by step the logits are those of the full pass: in double precision, and in single."""
    for dtype, atol in ((torch.float64, 1e-11), (torch.float32, single)):
        prior.to(dtype)
        indices = torch.randint(prior.codebook_size, (3, *prior.grid)) if tokens is None else tokens
        expected = prior.logits(indices, context).detach()
        assert expected.shape == (*indices.shape, prior.codebook_size)
        assert expected.std() > 0.1
        stepper, expected = prior.start(3, context), expected.flatten(1, -2)
        for i in prior.order.tolist():
            torch.testing.assert_close(stepper.logits(), expected[:, i], atol=atol, rtol=1e-5)
            stepper.push(indices.flatten(1)[:, i])


def walks_apart(prior):
    """Two walks do not disturb each other, nor what the first gave before."""
    indices = torch.randint(prior.codebook_size, (2, *prior.grid))
    expected = prior.logits(indices).detach().flatten(1, -2)
    first, second = prior.start(2), prior.start(2)
    for i in prior.order.tolist():
        kept = first.logits()
        second.push(indices.flatten(1)[:, -1 - i])
        torch.testing.assert_close(first.logits(), expected[:, i])
        first.push(indices.flatten(1)[:, i])
        torch.testing.assert_close(kept, expected[:, i])
