"""The average of the weights is that of all steps alike but for their age."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from smalti.training.averaging import weight_averaging


def test_it_is_the_weighted_mean_of_the_weights_of_all_steps():
    decay, model = 0.9, nn.Linear(3, 2)
    averaged = AveragedModel(model, **weight_averaging(decay)._kwargs)
    history = []
    for _ in range(12):
        nn.init.normal_(model.weight)
        history.append(model.weight.detach().double())
        averaged.update_parameters(model)
    ages = torch.arange(11, -1, -1, dtype=torch.float64)
    shares = decay**ages / (decay**ages).sum()
    expected = torch.einsum("n,nij->ij", shares, torch.stack(history))
    torch.testing.assert_close(averaged.module.weight.double(), expected, rtol=1e-5, atol=1e-6)
