"""Losses between a signal and its reconstruction, and likelihoods of the signal."""

from smalti.losses.reconstruction import L1, MSE, ObservedValues, ReconstructionLoss

__all__ = ["L1", "MSE", "ObservedValues", "ReconstructionLoss"]
