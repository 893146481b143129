"""The feature spaces in which sets of signals are compared, with labels or without.

Distances between raw values say little about what is seen: if a signal moves a little, nearly all
of its values change. So sets are compared in features:

    of a classifier       where the data have labels (`smalti.evaluation.classifier`)
    of the run's network  without labels, where the run has one: its folder `features`
    of a small network    without labels: trained here, self-supervised, on the training examples
                          alone (VICReg)
    vectors               each value standardised: a vector has no views to learn from

A network without labels gives the means of each of its layers over the halves of the grid (its
quarters, in two dimensions), so that it counts what is where. They are whitened on training
examples: at most 64 principal directions of equal variance, so that channels that repeat each
other count once. They tell such signals apart, and know nothing of what people see in them.
Figures in the features of two networks, and so of two reports, cannot be compared.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import load_model
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation.batches import batches, choose_examples
from smalti.evaluation.short_training import check_weights, minimize
from smalti.modalities.base import Classifier
from smalti.networks import Affine, ConvFeatures, FeatureNetwork, Features, Normalization, Whitening
from smalti.networks.normalization import network_input, normalized_channels
from smalti.recipes.feature_fields import FEATURE_STEPS
from smalti.reporting.figures import number
from smalti.run_directory import Run
from smalti.training.vicreg import FeaturePretraining, random_views, vicreg

__all__ = [
    "FeatureSpace",
    "PooledFeatures",
    "classifier_space",
    "describe_network",
    "halve_grid",
    "train_features",
    "unlabelled_space",
]

logger = logging.getLogger(__name__)

BATCH = 64
POSITIONS = 1024  # longer grids are halved until they have no more: 32 × 32
EXAMPLES, VALUES = 4096, 2**24  # at most, that the network is trained on; 64 MB of values
WHITENED = 2048  # at most, examples that the whitening is learned from
PARTS = 2  # along each dimension of the grid
PER_DIRECTION = 8  # examples at least for each direction, so that it holds for others, too
DIRECTIONS, SMALLEST = 64, 0.01  # most directions; smallest deviation, of the largest
HIDDEN, LAYERS = 16, 4
RATE = 1e-3


@dataclass(frozen=True)
class FeatureSpace:
    """A space of features in which sets of signals are compared.

    Attributes:
        features: Maps signals (B, C, *size) to features (B, F), on their device.
        words: Their name in protocols: "features of the classifier".
        place: Their name in sentences, with what they were learned from: "the features of …".
    """

    features: Callable[[Tensor], Tensor]
    words: str
    place: str


class PooledFeatures(nn.Module):
    """Pools all layers of a network over halves of the grid: signals (B, C, *size) → (B, F).

    Arguments:
        network: The network.
        normalization: Maps signals to what the network sees; see `Splits.normalization`.
        positions: The largest number of positions; longer grids are halved until they have no
            more. None for no limit.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        normalization: Normalization | None,
        positions: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.normalization, self.positions = network, normalization, positions
        self.whitening: Whitening | None = None

    def normalize(self, x: Tensor) -> Tensor:
        """Returns what the network sees of signals, 0 where a value is missing."""
        y = network_input(x, self.normalization)
        return y if self.positions is None else halve_grid(y, self.positions)

    def forward(self, x: Tensor) -> Tensor:
        """Maps signals (B, C, *size) to features (B, F)."""
        y = self.normalize(x)
        pool = F.adaptive_avg_pool1d if y.ndim == 3 else F.adaptive_avg_pool2d
        f = torch.cat([pool(maps, PARTS).flatten(1) for maps in self.network(y)], 1)
        return f if self.whitening is None else self.whitening(f)

    @torch.no_grad()
    def whiten(self, parts: Iterator[Tensor]) -> None:
        """Learns to whiten features, from batches of signals: their principal directions.

        Raises:
            InputError: If all signals have the same features.
        """
        self.whitening = None
        features = torch.cat([self(x).cpu() for x in parts])
        whole = Whitening.learned([features])
        large = int((whole.scale >= SMALLEST * whole.scale[0]).sum())
        kept = slice(min(large, DIRECTIONS, max(1, len(features) // PER_DIRECTION)))
        found = Whitening.of(whole.mean, whole.rotation[kept], whole.scale[kept])
        self.whitening = found.to(next(self.network.parameters()).device)

    @property
    def words(self) -> str:
        """Returns how the features are made, as a part of a protocol."""
        assert self.whitening is not None
        return (
            f"means of each layer over {PARTS} parts along each dimension, "
            f"{len(self.whitening.scale)} whitened directions"
        )


def halve_grid(x: Tensor, positions: int) -> Tensor:
    """Halves the grid of signals (B, C, *size) until it has at most so many positions.

    Example:
        >>> halve_grid(torch.zeros(1, 3, 128, 96), 1024).shape
        torch.Size([1, 3, 32, 24])
    """
    pool = F.avg_pool1d if x.ndim == 3 else F.avg_pool2d
    while x[0, 0].numel() > positions:
        x = pool(x, 2, ceil_mode=True)
    return x


def classifier_space(classifier: Classifier) -> FeatureSpace:
    """Returns the features of a classifier of the labels."""
    return FeatureSpace(
        classifier.features,
        f"the {classifier.head.in_features} features of the classifier",
        "the features of a small classifier that was trained on the labels of these data",
    )


def unlabelled_space(
    splits: Splits, run: Run | None, steps: int, seed: int, device: torch.device
) -> FeatureSpace:
    """Returns a feature space that is learned without labels, from training examples alone.

    Arguments:
        splits: The data.
        run: The run, if it has a network of features; it is then used.
        steps: Steps to train a small network for, if the run has none; 0 for no features.
        seed: Seed of every draw.
        device: The device to compute on.

    Raises:
        InputError: If none are wanted, or the network diverges.
    """
    plural = splits.signal.plural
    if not steps:
        raise InputError("features without labels were switched off.")
    if not splits.signal.spatial_dims:
        standardised = Affine.learned([x.cpu() for x in _training(splits, EXAMPLES, seed, device)])
        words = f"values of {plural}, each standardised by training {plural}"
        return FeatureSpace(standardised.to(device), words, f"the {words}")
    if run is None:
        logger.info("training a network of features for %d steps", steps)
        return train_features(splits, steps, seed, device)
    network = load_model(run.features)
    pooled = PooledFeatures(network, splits.normalization).to(device).eval()
    pooled.whiten(_training(splits, WHITENED, seed, device))
    return FeatureSpace(
        pooled,
        f"features of the run's own network ({pooled.words})",
        f"the features of the network that this run's training compares {plural} in, too: "
        f"{describe_network(network, run.read_config(), plural)}",
    )


def train_features(splits: Splits, steps: int, seed: int, device: torch.device) -> FeatureSpace:
    """Trains a small network of features on training examples, without their labels (VICReg).

    Adam with a rate that rises to 1e-3 and falls to 0, in batches of 64 drawn with replacement from
    at most 4,096 examples, halved to at most 1,024 positions. The same seed on the same machine
    gives the same network; torch's global generators are left as they were.

    Raises:
        InputError: If its weights do not stay finite.
    """
    signal, plural = splits.signal, splits.signal.plural
    normalization = copy.deepcopy(splits.normalization)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)  # all that is drawn is drawn on the CPU
        channels = normalized_channels(signal.channels, normalization)
        network = ConvFeatures(
            Features(channels, (), signal.spatial_dims), hidden=HIDDEN, layers=LAYERS
        )
        pooled = PooledFeatures(network, normalization, POSITIONS)
        few = max(2, min(EXAMPLES, VALUES // (channels * POSITIONS)))
        with torch.no_grad():
            x = torch.cat([pooled.normalize(x) for x in _training(splits, few, seed, "cpu")])
        learner = FeaturePretraining(network, None, x[:2]).to(device).train()
        optimizer = torch.optim.Adam(learner.parameters(), lr=RATE)

        def loss() -> Tensor:
            batch = x[torch.randint(len(x), (BATCH,))]
            a, b = (learner(random_views(batch).to(device)) for _ in range(2))
            return vicreg(a, b)["loss"]

        minimize(loss, optimizer, steps)
    check_weights(
        network, "The network of features of the evaluation", plural, "evaluation.feature_steps"
    )
    pooled = pooled.to(device).eval()
    pooled.whiten(_training(splits, WHITENED, seed, device))
    return FeatureSpace(
        pooled,
        f"features of a small network, learned without labels ({pooled.words})",
        f"the features of a small ConvFeatures, trained for {number(steps)} steps on "
        f"{number(len(x))} training {plural} of this run alone, without labels (VICReg)",
    )


def describe_network(network: FeatureNetwork, config: dict[str, Any], plural: str) -> str:
    """Describes a run's network of features, and what it was learned from.

    Arguments:
        network: The network.
        config: The config of the run.
        plural: What its signals are called.
    """
    chosen = (config.get("tokenizer") or config.get("autoencoder") or {}).get("features") or {}
    name = type(network).__name__
    if chosen.get("folder"):
        return f"{name}, taken as it was saved in {chosen['folder']}"
    if chosen.get("network") and not chosen.get("training"):
        return f"{name}, with the weights that it brought along"
    steps = (chosen.get("training") or {}).get("steps", FEATURE_STEPS)
    return (
        f"a small {name}, trained for {number(steps)} steps on the training {plural} of this run "
        f"alone, without labels (VICReg)"
    )


def _training(splits: Splits, most: int, seed: int, device: torch.device | str) -> Iterator[Tensor]:
    """Returns batches of at most `most` training signals, drawn at random if there are more."""
    chosen = choose_examples(splits.train, most, seed)
    return (batch.x for batch in batches(splits.train, chosen, 250, device))
