"""What the measurements share: test images, their tokens or latents, samples, the classifier.

Each is made once, and when first asked for; one that cannot be made tells whoever asks for it why
(see `Memo`), and hinders nothing else. Every draw is made from a generator of its own with
the same seed, so that leaving out one measurement changes no other.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from smalti.conditions import Label
from smalti.data import Batch, Examples, Splits
from smalti.errors import InputError
from smalti.evaluation.batches import batches, choose
from smalti.evaluation.classifier import Classifier, check_classes, train_classifier
from smalti.evaluation.samples import decoded, device_of, drawn, priors_by_name
from smalti.modalities.image.inception import Inception, load_inception
from smalti.modalities.image.metrics import ReconstructionQuality
from smalti.priors import Prior
from smalti.priors.base import evaluating
from smalti.reporting.figures import number
from smalti.signals import Signal

if TYPE_CHECKING:
    from smalti.generation import Model

__all__ = [
    "Encoded",
    "Limits",
    "EvaluationContext",
    "EncodedTestSet",
    "TokenEvaluationContext",
    "check_fits",
    "measuring",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much is measured.

    Arguments:
        test: Test examples at most; all where not given.
        samples: Samples of each prior for distances between sets.
        classifier_steps: Training steps of the classifier; 0 for no classifier and nothing that
            needs it.
        shown: Samples of each prior in the report.
        batch_size: Images at a time.
        inception: Whether FID and KID are computed where the weights of Inception are there.
        bounded: Test examples for the importance-weighted likelihood of a VAE.
        importance: Draws for each of them.
    """

    test: int | None = 10_000
    samples: int = 2000
    classifier_steps: int = 1500
    shown: int = 36
    batch_size: int = 250
    inception: bool = True
    bounded: int = 250
    importance: int = 100


@contextmanager
def measuring(seed: int, *models: nn.Module | None) -> Iterator[None]:
    """Without gradients, in evaluation mode, and with draws that depend on the seed alone.

    Arguments:
        seed: Of torch's global generator too: an autoregressive likelihood draws what it shows.
        models: Those that are measured.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(seed)
        for model in models:
            if model is not None:
                stack.enter_context(evaluating(model))
        yield


def check_fits(signal: Signal, splits: Splits) -> None:
    """Raises `InputError` unless the data are such signals as a model was trained on."""
    if len(splits.test):
        signal.check(splits.test.__getitems__([0]).x)


T = TypeVar("T")


class Memo:
    """Caches what several measurements need by name, or the error of the first try."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    def __call__(self, name: str, make: Callable[[], T]) -> T:
        """Returns what `make` gives at the first call of this name.

        Raises:
            Exception: What `make` raised at the first call, again at every later one.

        Example:
            >>> kept = Memo()
            >>> kept("three", lambda: 3), kept("three", lambda: 4)
            (3, 3)
        """
        if name in self._errors:
            raise self._errors[name]
        if name not in self._made:
            try:
                self._made[name] = make()
            except Exception as error:
                self._errors[name] = error
                raise
        made: T = self._made[name]
        return made


class EncodedTestSet(Protocol):
    """What every kind of subject knows of the test set after its way through the model."""

    @property
    def quality(self) -> ReconstructionQuality:
        """Of its reconstructions."""

    @property
    def conditions(self) -> Tensor | None:
        """(N,), on the CPU, or `None`."""


class EvaluationContext(ABC):
    """Abstract: a model, the data it was learned from, and what is made of both to be measured.

    Arguments:
        splits: The data.
        limits: How much is measured.
        seed: Of every draw.
        device: Where the model lies.
    """

    def __init__(self, splits: Splits, limits: Limits, seed: int, device: torch.device) -> None:
        self.splits, self.limits, self.seed, self.device = splits, limits, seed, device
        self.test = choose(splits.test, limits.test, seed)
        self.kept = Memo()

    @property
    @abstractmethod
    def encoded(self) -> EncodedTestSet:
        """Encodes and reconstructs the test set in one pass.

        Raises:
            InputError: If it is empty.
        """

    @abstractmethod
    def reconstructed(self, chosen: Tensor) -> Iterator[Tensor]:
        """Reconstructions, in batches, of the measured test examples of these numbers."""

    @abstractmethod
    def sampled_sets(self) -> dict[str, Callable[[], Iterator[Tensor]]]:
        """Maps each kind of samples to what gives `compared` of them, in batches."""

    @property
    @abstractmethod
    def conditional(self) -> list[str]:
        """The kinds of samples that were asked to show the first of `contexts`."""

    @property
    def test_set(self) -> str:
        """The test set in the words of a protocol."""
        whole = len(self.splits.test)
        drawn = f" of {number(whole)}, drawn at random" if len(self.test) < whole else ""
        return f"test set, N = {number(len(self.test))}{drawn}"

    def images(self, examples: Examples, chosen: Sequence[int]) -> Iterator[Batch]:
        """The chosen examples in batches, on the model's device."""
        return batches(examples, chosen, self.limits.batch_size, self.device)

    def test_images(self, chosen: Tensor) -> Tensor:
        """Those of the test examples that are measured with these numbers (n,): (n, C, H, W)."""
        self.check_test()
        numbers = [self.test[i] for i in chosen.tolist()]
        return torch.cat([batch.x for batch in self.images(self.splits.test, numbers)])

    def check_test(self) -> None:
        """Raises `InputError` if nothing is there to be measured."""
        if not len(self.test):
            raise InputError("The test set is empty: give test images to measure the model with.")

    @property
    def order(self) -> Tensor:
        """A random order of the test examples that are measured."""
        return torch.randperm(len(self.test), generator=torch.Generator().manual_seed(self.seed))

    @property
    def compared(self) -> int:
        """N of every set that is compared with the test set: the same for all of them."""
        return min(self.limits.samples, len(self.test), len(self.splits.train))

    @property
    def drawn_of_each(self) -> int:
        """Samples of each kind: to show, or to compare."""
        try:
            compares = self.classifier is not None or isinstance(self.inception, Inception)
        except Exception:  # said where the classifier is what is asked for
            compares = True
        return max(self.limits.shown, self.compared) if compares else self.limits.shown

    @property
    def contexts(self) -> Tensor | None:
        """Conditions for samples, as they occur in the test set."""
        if self.encoded.conditions is None:
            return None
        longest = max(self.limits.shown, self.compared)
        return self.encoded.conditions[self.order.repeat(math.ceil(longest / len(self.order)))]

    def sets(self) -> dict[str, Callable[[], Iterator[Tensor]]]:
        """Maps each set to compare with the test set to what gives `compared` images of it."""

        def train() -> Iterator[Tensor]:
            chosen = choose(self.splits.train, self.compared, self.seed)
            return (batch.x for batch in self.images(self.splits.train, chosen))

        return {
            "train": train,
            "reconstructions": lambda: self.reconstructed(self.order[: self.compared]),
            **self.sampled_sets(),
        }

    @property
    def classifier(self) -> Classifier | None:
        """A classifier of the data's labels; `None` without labels, or where none is wanted."""
        return self.kept("classifier", self._trained_classifier)

    def _trained_classifier(self) -> Classifier | None:
        if not isinstance(self.splits.condition, Label) or not self.limits.classifier_steps:
            return None
        check_classes(self.splits)
        logger.info("training a classifier for %d steps", self.limits.classifier_steps)
        with torch.enable_grad():
            return train_classifier(
                self.splits, self.limits.classifier_steps, self.seed, self.device
            )

    @property
    def inception(self) -> Inception | str:
        """The Inception network, or why it cannot be had."""
        return self.kept(
            "inception",
            lambda: (
                load_inception(self.device) if self.limits.inception else "it was switched off."
            ),
        )


class Encoded(NamedTuple):
    """The test set after its way through the tokenizer.

    Attributes:
        quality: Of its reconstructions.
        indices: (N, *grid), or rows (N, P) of a hierarchy, on the CPU.
        conditions: (N,), on the CPU, or `None`.
        nll: −log p(image | its tokens) in nats, (N,), where the tokenizer has a likelihood.
    """

    quality: ReconstructionQuality
    indices: Tensor
    conditions: Tensor | None
    nll: Tensor | None


class TokenEvaluationContext(EvaluationContext):
    """The subject of a model with tokens.

    Arguments:
        model: Its tokenizer and prior are expected in evaluation mode.
        splits: The data.
        histogram: A fitted histogram, or `None`.
        limits: How much is measured.
        seed: Of every draw.
    """

    def __init__(
        self, model: Model, splits: Splits, histogram: Prior | None, limits: Limits, seed: int
    ) -> None:
        super().__init__(splits, limits, seed, device_of(model.tokenizer))
        self.tokenizer, self.prior = model.tokenizer, model.prior
        self.priors = priors_by_name(model.prior, histogram)

    @property
    def conditional(self) -> list[str]:
        """See `EvaluationContext.conditional`."""
        return [name for name, prior in self.priors.items() if prior.condition]

    def reconstructed(self, chosen: Tensor) -> Iterator[Tensor]:
        """See `EvaluationContext.reconstructed`."""
        return self.decoded(self.encoded.indices[chosen])

    def sampled_sets(self) -> dict[str, Callable[[], Iterator[Tensor]]]:
        """Maps each kind of samples to what gives `compared` of them, in batches."""

        def of(name: str) -> Callable[[], Iterator[Tensor]]:
            return lambda: self.decoded(self.sampled(name)[: self.compared])

        return {name: of(name) for name in self.priors}

    def decoded(self, indices: Tensor) -> Iterator[Tensor]:
        """Images of token grids, in batches."""
        return decoded(self.tokenizer, indices, self.limits.batch_size)

    def drawn(
        self, prior: Prior, n: int, context: Tensor | None, top_p: float | None = None
    ) -> Tensor:
        """n grids of a prior, (n, *grid), for the first n of the context."""
        generator = torch.Generator().manual_seed(self.seed)
        context = context[:n] if context is not None else None
        return drawn(prior, n, context, generator, self.limits.batch_size, top_p)

    @property
    def encoded(self) -> Encoded:
        """Encodes and reconstructs the test set in one pass."""
        return self.kept("encoded", self._encoded)

    def _encoded(self) -> Encoded:
        self.check_test()
        logger.info("reconstructing %d test images", len(self.test))
        quality, indices, conditions, nll = ReconstructionQuality(), [], [], []
        for x, condition in self.images(self.splits.test, self.test):
            indices.append(self.tokenizer.encode_flat(x))
            quality.update(x, self.tokenizer.decode_flat(indices[-1]))
            conditions += [] if condition is None else [condition.cpu()]
            if self.tokenizer.likelihood is not None:
                nll.append(self.tokenizer.nll(x, indices[-1]).cpu())
        return Encoded(
            quality,
            torch.cat(indices).cpu(),
            torch.cat(conditions) if conditions else None,
            torch.cat(nll) if nll else None,
        )

    def sampled(self, name: str) -> Tensor:
        """Samples token grids from a prior, the same conditions for all: to show, or to compare."""

        def draw() -> Tensor:
            logger.info("drawing %d samples from the prior %s", self.drawn_of_each, name)
            return self.drawn(self.priors[name], self.drawn_of_each, self.contexts)

        return self.kept(f"sampled/{name}", draw)
