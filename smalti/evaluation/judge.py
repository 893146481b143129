"""Trains the judge of captions: a contrastive network that took no part in making the samples.

It is trained on the training pairs, as a reranker is, but independently: from another seed, on
batches drawn with replacement, with other augmentation. It sees no sample before it judges. A
report also says how well it finds the captions of real signals.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.data import Splits
from smalti.evaluation.short_training import check_weights, minimize
from smalti.networks import ContrastiveNetwork
from smalti.training.contrastive import augmented_contrastive_loss

__all__ = ["train_judge"]

BATCH = 128
SEED = 7919  # added to that of the evaluation, which may be that of the run


def train_judge(
    splits: Splits, steps: int, seed: int, device: torch.device | str = "cpu"
) -> ContrastiveNetwork:
    """Trains a judge on the pairs of the training split.

    AdamW with a rate that rises to 3e-3 and falls to 0, in batches of 128. The same seed on the
    same machine gives the same judge; torch's global generators are left as they were.

    Raises:
        InputError: If signals have no grid, or the weights do not stay finite.
    """
    assert splits.condition is not None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed + SEED)  # all that is drawn is drawn on the CPU
        made = ContrastiveNetwork(
            splits.signal, splits.condition, normalization=splits.normalization
        )
        judge = made.to(device).train()
        optimizer = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=0.1)

        def loss() -> Tensor:
            rows = torch.randint(len(splits.train), (BATCH,)).tolist()
            batch = splits.train.__getitems__(rows)
            return augmented_contrastive_loss(judge, batch, splits.shift, device)

        minimize(loss, optimizer, steps)
    check_weights(judge, "The judge of captions", splits.signal.plural, "evaluation.judge_steps")
    return judge.eval()
