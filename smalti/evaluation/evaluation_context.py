"""What all measurements share: the test set, its latents, samples and a classifier.

Each is made once, and when first asked for; one that cannot be made tells whoever asks for it why
(see `Memo`), and hinders nothing else. Every draw is made from a generator of its own with
the same seed, so that leaving out one measurement changes no other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.autoencoders import (
    Autoencoder,
    ContinuousAutoencoder,
    Tokenizer,
)
from smalti.autoencoders.inputs import device_of
from smalti.conditions import Caption, Label
from smalti.data import Batch, Examples, Splits
from smalti.errors import InputError
from smalti.evaluation.batches import batches, choose_examples, split_in_pieces
from smalti.evaluation.classifier import check_classes, train_classifier
from smalti.evaluation.encoded_test_set import EncodedTestSet, encode_test_set
from smalti.evaluation.features import FeatureSpace, classifier_space, unlabelled_space
from smalti.evaluation.judge import train_judge
from smalti.evaluation.limits import Limits
from smalti.evaluation.memo import Memo, measurement_mode
from smalti.evaluation.sample_sets import priors_by_name, set_titles, set_words
from smalti.evaluation.token_nats import mean_nats
from smalti.item_ids import check_items, encode_items, why_no_items
from smalti.modalities.base import Classifier, modality_of
from smalti.networks import ContrastiveNetwork
from smalti.priors import (
    BoundedPrior,
    GaussianPrior,
    Prior,
    SamplingConfig,
    TokenPrior,
    TractablePrior,
)
from smalti.reporting import Measurement, SampleComparison
from smalti.reporting.figures import number
from smalti.signals import Signal

if TYPE_CHECKING:
    from smalti.generation import Model

__all__ = ["EncodedTestSet", "EvaluationContext", "check_same_signal"]

logger = logging.getLogger(__name__)

IN_A_ROW = {0: 8, 1: 5}  # samples, by the dimensions of the grid; of others 10

T = TypeVar("T")


def check_same_signal(signal: Signal, splits: Splits) -> None:
    """Raises `InputError` unless the data have the signal (kind, shape, range) of a model."""
    if len(splits.test):
        signal.check(splits.test.__getitems__([0]).x)


class EvaluationContext:
    """What measurements are taken of: a model, its data, and latents and samples made of both.

    Whatever several measurements need, such as the encoded test set, is made once.

    Arguments:
        model: The model, in evaluation mode.
        splits: The data that the model was learned from.
        histogram: A fitted histogram of tokens, or `None`.
        limits: The numbers of examples, samples and steps.
        seed: Seed of every draw.
        measurements: All measurements that will be taken; they decide how many samples are drawn.

    Attributes:
        autoencoder: The model's autoencoder.
        tokenizer: The autoencoder if its latents are tokens, else `None`.
        prior: The learned prior over tokens, if there is one.
        priors: All priors over tokens, by name; empty without a learned one.
        words: What sentences call each set of signals, such as "samples of the prior".
        titles: What tables and pictures call each set of signals.
        run: The run directory that the model comes from, or `None`.
        reranker: What chooses among candidates of a caption, or `None`.
    """

    def __init__(
        self,
        model: Model,
        splits: Splits,
        histogram: TokenPrior | None,
        limits: Limits,
        seed: int,
        measurements: Sequence[Measurement] = (),
    ) -> None:
        self.autoencoder: Autoencoder = model.autoencoder
        self.tokenizer = model.autoencoder if isinstance(model.autoencoder, Tokenizer) else None
        self.prior: Prior | None = model.prior if self.tokenizer else None
        self.splits, self.limits, self.seed = splits, limits, seed
        self.run = getattr(model, "run", None)
        self.reranker: ContrastiveNetwork | None = getattr(model, "reranker", None)
        self.measurements = measurements
        self.modality = modality_of(splits.signal)
        self.device = device_of(self.autoencoder)
        self.priors = priors_by_name(self.prior, histogram)
        self.test = choose_examples(splits.test, limits.test, seed)
        self.words, self.titles = set_words(splits.signal), set_titles(splits.signal)
        if self.tokenizer is None:
            self.titles["prior"] = "Samples"
        self._memo = Memo()

    @property
    def tokens(self) -> Tokenizer:
        """Returns the model of tokens.

        Raises:
            InputError: If its latents are vectors.
        """
        if self.tokenizer is None:
            raise InputError("the latents of this model are no tokens.")
        return self.tokenizer

    @property
    def vectors(self) -> ContinuousAutoencoder:
        """Returns the model of latent vectors.

        Raises:
            InputError: If its latents are tokens.
        """
        if not isinstance(self.autoencoder, ContinuousAutoencoder):
            raise InputError("the latents of this model are tokens.")
        return self.autoencoder

    @property
    def gaussian(self) -> GaussianPrior:
        """Returns the distribution that latent vectors are drawn from."""
        return GaussianPrior.of(*self.vectors.latent_distribution)

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """Makes what several measurements need once, with draws that depend on the seed alone.

        Raises:
            Exception: What `make` raised, again for each that asks.
        """

        def seeded() -> T:
            with measurement_mode(self.seed):
                return make()

        return self._memo(name, seeded)

    @property
    def test_set(self) -> str:
        """Returns the test set in the words of a protocol."""
        whole = len(self.splits.test)
        drawn = f" of {number(whole)}, drawn at random" if len(self.test) < whole else ""
        return f"test set, N = {number(len(self.test))}{drawn}"

    def batches(self, examples: Examples, chosen: Sequence[int]) -> Iterator[Batch]:
        """Yields the chosen examples in batches, on the model's device."""
        return batches(examples, chosen, self.limits.batch_size, self.device)

    def test_examples(self, chosen: Tensor) -> Tensor:
        """Returns those of the test examples that are measured with these indices (n,): (n, C,
        *size).
        """
        self.check_test()
        numbers = [self.test[i] for i in chosen.tolist()]
        return torch.cat([batch.x for batch in self.batches(self.splits.test, numbers)])

    def test_batches(self) -> Iterator[Tensor]:
        """Yields all test examples that are measured, batch by batch."""
        return (batch.x for batch in self.batches(self.splits.test, self.test))

    def check_test(self) -> None:
        """Raises `InputError` if nothing is there to be measured."""
        if not len(self.test):
            raise InputError(
                f"The test set is empty: give test {self.splits.signal.plural} to measure the "
                f"model with."
            )

    @property
    def order(self) -> Tensor:
        """Returns a random order of the test examples that are measured."""
        return torch.randperm(len(self.test), generator=torch.Generator().manual_seed(self.seed))

    @property
    def compared(self) -> int:
        """Returns N of every set that is compared with the test set: the same for all of them."""
        return min(self.limits.samples, len(self.test), len(self.splits.train))

    @property
    def drawn_of_each(self) -> int:
        """Samples of each kind: to show, or to compare."""
        compares = (m.compares(self) for m in self.measurements if isinstance(m, SampleComparison))
        return max(self.limits.shown, self.compared) if any(compares) else self.limits.shown

    @property
    def conditions(self) -> Tensor | None:
        """Returns the conditions of the test examples that are measured, (N,), on the CPU."""
        return self.encoded.conditions

    @property
    def contexts(self) -> Tensor | None:
        """Conditions for samples, as they occur in the test set."""
        if self.conditions is None:
            return None
        longest = max(self.limits.shown, self.compared)
        return self.conditions[self.order.repeat(math.ceil(longest / len(self.order)))]

    @property
    def encoded(self) -> EncodedTestSet:
        """Encodes and reconstructs the test set in one pass.

        Raises:
            InputError: If it is empty.
        """

        def encoded() -> EncodedTestSet:
            self.check_test()
            logger.info("reconstructing %d test %s", len(self.test), self.splits.signal.plural)
            return encode_test_set(
                self.autoencoder,
                self.batches(self.splits.test, self.test),
                self.modality.metrics(self.splits.signal),
                torch.Generator().manual_seed(self.seed),
            )

        return self.kept("encoded", encoded)

    def mean_nats(self, name: str) -> float | None:
        """Returns the mean nats per signal of the test set's tokens under the prior of a name.

        Of a prior with a bound it is that; `None` for one without a likelihood.
        """
        prior, size = self.priors[name], self.limits.batch_size
        if not isinstance(prior, TractablePrior | BoundedPrior):
            return None
        tokens = (self.encoded.latents, self.encoded.conditions)
        return self.kept(f"nats/{name}", lambda: mean_nats(prior, *tokens, size))

    def encode(self, x: Tensor) -> Tensor:
        """Encodes signals (B, C, *size) to latents, as they stand in `encoded`."""
        return self.autoencoder.encode_flat(x)

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes the latents of a batch to signals (B, C, *size)."""
        return self.autoencoder.decode_flat(latents)

    @property
    def without_codes(self) -> str | None:
        """Returns why examples are not rows of codes, an ID each; `None` if they are."""
        if self.tokenizer is None:
            return "the latents of this model are no tokens."
        if any(part.endless for part in self.splits[:3]):
            return f"the training {self.splits.signal.plural} have no end."
        why = why_no_items(self.tokenizer)
        return None if why is None else f"{why}."

    @property
    def without_tree(self) -> str | None:
        """Returns why the codes of examples make no tree; `None` if each refines those before."""
        if self.without_codes is not None or check_items(self.tokens).quantizer.codes_refine:
            return self.without_codes
        return "each code of a product is of a part of the vector of its own, and refines no other."

    @property
    def codes(self) -> Tensor:
        """Encodes all examples of all splits, training first: (N, Q), int32, on the CPU.

        Raises:
            InputError: If they are no rows of codes, see `without_codes`.
        """

        def encoded() -> Tensor:
            parts: Sequence[Examples] = self.splits[:3]
            logger.info("encoding %d %s", sum(map(len, parts)), self.splits.signal.plural)
            return torch.from_numpy(encode_items(self.tokens, parts))

        return self.kept("codes", encoded)

    def from_codes(self, codes: Tensor) -> Iterator[Tensor]:
        """Yields the signals of rows of the first q codes (n, q) alone, in batches."""
        layout = self.tokens.layout
        whole = F.pad(codes.long(), (0, len(layout.sizes) - codes.shape[1]), value=-1)
        return self.decoded(whole.view(-1, *layout.shape))

    def decoded(self, latents: Tensor) -> Iterator[Tensor]:
        """Yields the signals of latents (N, …), in batches."""
        for part in latents.split(self.limits.batch_size):
            yield self.decode(part.to(self.device))

    def reconstructed(self, chosen: Tensor) -> Iterator[Tensor]:
        """Yields reconstructions of the test examples with these indices (n,), batch by batch."""
        return self.decoded(self.encoded.latents[chosen])

    @property
    def kinds(self) -> list[str]:
        """Returns the kinds of samples: by prior, or those of a model of vectors, which draws by
        itself.
        """
        return ["prior"] if self.tokenizer is None else list(self.priors)

    @property
    def in_a_row(self) -> int:
        """Returns how many samples a row of a picture shows, so that each can be seen."""
        return min(IN_A_ROW.get(self.splits.signal.spatial_dims, 10), self.limits.shown)

    @property
    def sampler(self) -> Prior:
        """Returns the learned prior, or the distribution that vectors are drawn from."""
        return self.gaussian if self.prior is None else self.prior

    @property
    def conditional(self) -> list[str]:
        """Returns the kinds of samples that were asked to show the first of `contexts`."""
        return [name for name, prior in self.priors.items() if prior.condition]

    def sampled(self, kind: str) -> Tensor:
        """Returns the latents of samples, the same conditions for all kinds: to show, or to
        compare.
        """

        def draw() -> Tensor:
            logger.info("drawing %d samples of the kind %s", self.drawn_of_each, kind)
            if self.tokenizer is None:
                generator = torch.Generator().manual_seed(self.seed)
                return self.gaussian.sample(self.drawn_of_each, generator=generator).cpu()
            return self.drawn(self.priors[kind], self.drawn_of_each, self.contexts)

        return self.kept(f"sampled/{kind}", draw)

    def drawn(
        self,
        prior: Prior,
        n: int,
        context: Tensor | None,
        config: SamplingConfig | None = None,
    ) -> Tensor:
        """Draws latents of n samples from a prior, (n, *shape) on the CPU.

        Arguments:
            prior: The context is passed to it if it is conditional.
            n: The number of samples.
            context: (n,) or more, or `None`.
            config: Temperature, truncation and guidance; those of the learned prior if None.
        """
        generator = torch.Generator().manual_seed(self.seed)
        context = None if context is None or prior.condition is None else context[:n]
        grids = []
        for numbers, condition in split_in_pieces(
            torch.arange(n), context, size=self.limits.batch_size
        ):
            assert numbers is not None
            drawn = prior.sample(len(numbers), condition, config=config, generator=generator)
            grids.append(drawn.cpu())
        return torch.cat(grids)

    def sets(self) -> dict[str, Callable[[], Iterator[Tensor]]]:
        """Maps each set to compare with the test set to what gives `compared` signals of it."""

        def train() -> Iterator[Tensor]:
            chosen = choose_examples(self.splits.train, self.compared, self.seed)
            return (batch.x for batch in self.batches(self.splits.train, chosen))

        def samples(kind: str) -> Callable[[], Iterator[Tensor]]:
            return lambda: self.decoded(self.sampled(kind)[: self.compared])

        return {
            "train": train,
            "reconstructions": lambda: self.reconstructed(self.order[: self.compared]),
            **{kind: samples(kind) for kind in self.kinds},
        }

    @property
    def classifier(self) -> Classifier:
        """Returns a classifier of the data's labels, trained when first asked for.

        Raises:
            InputError: If the data have no labels, or too few examples, or none is wanted.
        """
        return self.kept("classifier", self._trained_classifier)

    def _trained_classifier(self) -> Classifier:
        """Trains a classifier of the labels; raises `InputError` if there can be none."""
        steps = self.limits.classifier_steps
        if not isinstance(self.splits.condition, Label):
            raise InputError("the data have no labels to train a classifier on.")
        self._check_enough()
        if not steps:
            raise InputError("the classifier was switched off.")
        check_classes(self.splits)
        logger.info("training a classifier for %d steps", steps)
        with torch.enable_grad():
            return train_classifier(self.splits, steps, self.seed, self.device)

    @property
    def without_captions(self) -> str | None:
        """Returns why there are no samples of captions; `None` if there are."""
        conditional = self.prior is not None and self.prior.condition is not None
        if not conditional or not isinstance(self.splits.condition, Caption):
            return "there is no prior that takes captions."
        return None

    @property
    def judge(self) -> ContrastiveNetwork:
        """Returns the judge of captions, trained when first asked for."""

        def trained() -> ContrastiveNetwork:
            with torch.enable_grad():
                return train_judge(self.splits, self.limits.judge_steps, self.seed, self.device)

        return self.kept("judge", trained)

    def _check_enough(self) -> None:
        """Raises `InputError` if the sets are too small to be compared."""
        if self.compared < 2:
            plural = self.splits.signal.plural
            raise InputError(f"it takes at least two {plural} of each kind to compare.")

    @property
    def has_labels(self) -> bool:
        """Returns whether examples have labels that tell them apart: two at least."""
        return isinstance(self.splits.condition, Label) and self.splits.condition.dim > 1

    @property
    def feature_space(self) -> FeatureSpace:
        """Returns the features that sets are compared in, learned when first asked for.

        Those of the classifier where examples have labels; else see `smalti.evaluation.features`.

        Raises:
            InputError: If there are too few examples, or nothing is wanted that learns features.
        """

        def learned() -> FeatureSpace:
            if self.has_labels:
                return classifier_space(self.classifier)
            self._check_enough()
            own = None if self.run is None or not self.run.features.exists() else self.run
            return unlabelled_space(
                self.splits, own, self.limits.feature_steps, self.seed, self.device
            )

        return self.kept("feature space", learned)

    @property
    def can_compare(self) -> bool:
        """Returns whether there are sets to compare, and features to compare them in."""
        try:
            return self.without_samples is None and self.feature_space is not None
        except Exception:  # said where it is what is asked for
            return False

    def features(self, name: str, batches: Callable[[], Iterator[Tensor]]) -> Tensor:
        """Returns the features of a set of signals, (N, F) on the CPU; see `feature_space`.

        Arguments:
            name: Name of the set, one of `sets` or "test".
            batches: Gives it.
        """
        space = self.feature_space
        return self.kept(
            f"features/{name}",
            lambda: torch.cat([space.features(batch).cpu() for batch in batches()]),
        )

    @property
    def test_features(self) -> Tensor:
        """Returns the features of the test examples that are measured, (N, F) on the CPU."""
        return self.features("test", self.test_batches)

    @property
    def without_samples(self) -> str | None:
        """Returns why no sets are compared: nothing is drawn, and no label is to be seen."""
        return None if self.kinds or self.has_labels else "no prior was learned."
