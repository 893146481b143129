"""The fields of a recipe, as typed dataclasses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import smalti.synthetic  # noqa: F401 - the sources that a recipe may name
from smalti.conditions import Condition
from smalti.counting import counted
from smalti.data import Source
from smalti.errors import InputError
from smalti.ids import Collisions
from smalti.losses import ReconstructionLoss
from smalti.losses.likelihoods import Likelihood
from smalti.networks import Decoder, Encoder
from smalti.priors import Prior
from smalti.quantizers import Quantizer
from smalti.quantizers.fitting import Fitting
from smalti.recipes.feature_fields import FeaturesRecipe
from smalti.signals import Signal
from smalti.training import Hardware, Objective, Training

__all__ = [
    "Amount",
    "AutoencoderRecipe",
    "Evaluation",
    "FeaturesRecipe",
    "FineLevel",
    "FinePrior",
    "IdsRecipe",
    "PriorRecipe",
    "Recipe",
    "RerankerRecipe",
    "TokenizerRecipe",
]


Amount = float | Literal["auto"]
"""A number, or that it is to be chosen by how much data there is (`smalti.automatic`)."""

# The fields that an objective takes the place of, by name, with what stands for "not given".
OF_A_TOKENIZER = {
    "reconstruction": None,
    "commitment_weight": 0.25,
    "commitment_warmup": 0,
    "loss_weights": None,
}
OF_AN_AUTOENCODER = {"reconstruction": None, "beta": 1.0, "beta_warmup": 0, "free_bits": 0.0}

# Of K and the shape of the indices; or of each codebook and, of several levels, of each level.
MakePrior = Callable[[Any, tuple[Any, ...], Condition | None], Prior]
MakeEncoder = Callable[[Signal, int], Encoder]
MakeDecoder = Callable[[Signal, int], Decoder]


@dataclass(frozen=True)
class FineLevel:
    """A finer level of a hierarchical tokenizer.

    Arguments:
        quantizer: Any quantizer.
        downsampling: Signal positions per token of this level, along each dimension; less than
            that of the coarser level, of which it is a part, as the encoder has it: a power of two,
            or the product of its first strides.
    """

    quantizer: Quantizer
    downsampling: int


@dataclass(frozen=True)
class TokenizerRecipe:
    """The tokenizer: encoder, quantizer, decoder, and how they are learned.

    Arguments:
        quantizer: Any quantizer; its `dim` is that of the encoder's output.
        training: Steps, batches, optimizer, schedule.
        encoder: Any encoder; ConvEncoder if not given. Signal and dim come from data and quantizer.
        decoder: Any decoder; the encoder's mirror if not given.
        reconstruction: MSE or L1; MSE if not given.
        commitment_weight: beta.
        commitment_warmup: Steps over which beta rises from 0.
        loss_weights: Weights of what further losses the quantizer has, by name, e.g.
            {sample_entropy: 0.1, entropy_deficit: 0.1}.
        likelihood: p(x | h) of the decoder's output h, in the place of a reconstruction loss, e.g.
            Categorical.
        fine_levels: Levels below this one, coarse to fine, of a hierarchical tokenizer (VQ-VAE-2):
            then `quantizer` and the encoder's downsampling are those of the coarsest.
        level_dropout: Probability that a signal in training has only its coarser levels, so that
            those decode by themselves.
        fitting: How codebooks are computed from all training examples without gradients, e.g.
            ResidualKMeans, where no network stands before them: in the place of `training`, or
            before it, which then starts from them.
        mixing: How much of another example each has in training, drawn anew from 0 to this: so
            there are more of them than the data hold. For signals without a grid.
        objective: The objective of training, in the place of reconstruction, commitment and
            loss_weights: any `Objective`, such as one with an adversary.
        features: The network whose features an objective compares and the report measures; where
            the objective needs one and this is not given, a small one is trained.
    """

    quantizer: Quantizer
    training: Training | None = None
    encoder: MakeEncoder | None = None
    decoder: MakeDecoder | None = None
    reconstruction: ReconstructionLoss | None = None
    commitment_weight: float = 0.25
    commitment_warmup: int = 0
    loss_weights: dict[str, float] | None = None
    likelihood: Likelihood | None = None
    fine_levels: list[FineLevel] | None = None
    level_dropout: float = 0.1
    fitting: Fitting | None = None
    mixing: float = 0.0
    objective: Objective | None = None
    features: FeaturesRecipe | None = None

    def __post_init__(self) -> None:
        _check_one_loss("A tokenizer", self.likelihood, self.reconstruction)
        if self.training is None and self.fitting is None:
            raise InputError(
                "A tokenizer has a training or a fitting, got neither: give tokenizer.training, or "
                "tokenizer.fitting for codebooks that are computed without gradients."
            )
        if self.fitting is not None and self.fine_levels:
            raise InputError(
                "A tokenizer that is fitted has one level, got fine_levels: leave them out, or "
                "give a training in the place of the fitting."
            )
        for name in ("reconstruction", "loss_weights", "objective", "mixing"):
            if self.training is None and getattr(self, name):
                raise InputError(
                    f"A tokenizer that is fitted alone has no losses and no batches, got {name}: "
                    f"leave it out, or give a training, too."
                )
        _check_objective(self, "A tokenizer", OF_A_TOKENIZER)


@dataclass(frozen=True)
class AutoencoderRecipe:
    """A continuous autoencoder, in the place of tokenizer and prior: a VAE, beta-VAE or plain one.

    Arguments:
        training: Steps, batches, optimizer, schedule.
        model: VariationalAutoencoder, or PlainAutoencoder for a plain one.
        dim: D, latent dimensions.
        encoder: Any encoder; ConvEncoder if not given. Its signal comes from the data.
        decoder: Any decoder; the encoder's mirror if not given.
        likelihood: p(x | z). If not given, a VAE's is Gaussian with a learned scale, and a plain
            autoencoder has none.
        reconstruction: Loss of a plain autoencoder without likelihood: MSE or L1; MSE if not given.
        beta: Weight of the KL: 1 for a VAE, above for a beta-VAE.
        beta_warmup: Steps over which beta rises from 0.
        free_bits: Bits of each latent dimension that cost nothing.
        objective: The objective of training, in the place of reconstruction, beta, beta_warmup and
            free_bits: any `Objective`, such as one with an adversary.
        features: As of `TokenizerRecipe`.
    """

    training: Training
    model: Literal["VariationalAutoencoder", "PlainAutoencoder"] = "VariationalAutoencoder"
    dim: int = 32
    encoder: MakeEncoder | None = None
    decoder: MakeDecoder | None = None
    likelihood: Likelihood | None = None
    reconstruction: ReconstructionLoss | None = None
    beta: float = 1.0
    beta_warmup: int = 0
    free_bits: float = 0.0
    objective: Objective | None = None
    features: FeaturesRecipe | None = None

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise InputError(f"An autoencoder needs a dim of at least 1, got {self.dim}.")
        _check_one_loss("An autoencoder", self.likelihood, self.reconstruction)
        _check_objective(self, "An autoencoder", OF_AN_AUTOENCODER)
        if self.reconstruction is not None and self.model != "PlainAutoencoder":
            raise InputError(
                f"A VAE has a likelihood in the place of a reconstruction loss, got "
                f"{type(self.reconstruction).__name__}: set likelihood, or model to "
                f"PlainAutoencoder."
            )


@dataclass(frozen=True)
class FinePrior:
    """The prior of a finer level of a hierarchical tokenizer, given the grids above it.

    Arguments:
        model: A prior that is trained, such as PixelCNN.
        training: Steps, batches, optimizer, schedule.
        token_noise: Probability that an index in the prior's input, not in its target, is replaced
            by a random one in training.
        weight_decay: Weight decay of all weights but biases; the optimizer's own if null.
    """

    model: MakePrior
    training: Training
    token_noise: Amount = 0.0
    weight_decay: Amount | None = None

    def __post_init__(self) -> None:
        _check_no_adversary("A prior", self.training)
        _check_amounts(self.token_noise, self.weight_decay)


@dataclass(frozen=True)
class PriorRecipe:
    """The prior over the tokens and its training.

    Arguments:
        model: A prior that is trained, such as PixelCNN or, with attention, PixelSNAIL; for several
            indices per position DepthPixelCNN or, also of codebooks that differ in size,
            TransformerPrior, MaskedPrior, AbsorbingDiffusion or LatentDiffusion. Codebook size,
            grid and condition come from the tokenizer and the data.
        training: Steps, batches, optimizer, schedule.
        conditional: Whether it is conditioned on the label or time, where the data have one.
        examples: How many training examples become tokens; all if not given. Endless data need it.
        views: How many times each is turned into tokens: first as it is, then randomly augmented.
        shift: Share of its size by which an example of those further views is moved at most.
        fine_levels: The priors of the finer levels of a hierarchical tokenizer, coarse to fine;
            none for one prior of all levels, a TransformerPrior.
        token_noise: Probability in training that an index which the prior sees, not one that it
            predicts, is replaced at random.
        weight_decay: AdamW's, on all weights but biases; the optimizer's own if not given.
        condition_dropout: Probability in training that the label or time is left out, so that
            samples can be guided (`smalti sample RUN --guidance 2`); 0.1 is usual. All levels.

    The dropout of the model, token_noise, weight_decay, views and shift can be "auto": a number is
    then chosen by how much data there is, and stands in the run's config.yaml.
    """

    model: MakePrior
    training: Training
    conditional: bool = True
    examples: int | None = None
    views: int | Literal["auto"] = 1
    fine_levels: list[FinePrior] | None = None
    token_noise: Amount = 0.0
    weight_decay: Amount | None = None
    shift: Amount = 0.0
    condition_dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_no_adversary("A prior", self.training)
        _check_amounts(self.token_noise, self.weight_decay)
        if self.shift != "auto" and not 0 <= self.shift < 1:
            raise InputError(
                f"shift is at least 0 and below 1, got {self.shift}: take 0.0625, or auto."
            )
        if not 0 <= self.condition_dropout < 1 or (self.condition_dropout and not self.conditional):
            raise InputError(
                f"condition_dropout is at least 0 and below 1, and 0 of a prior without a "
                f"condition, got {self.condition_dropout}: 0.1 is a good start."
            )
        if (self.views != "auto" and self.views < 1) or (
            self.examples is not None and self.examples < 1
        ):
            raise InputError(
                f"A prior needs at least one view and one example, got views={self.views} and "
                f"examples={self.examples}."
            )


@dataclass(frozen=True)
class IdsRecipe:
    """The semantic IDs that a run gives all examples, by a tokenizer with one row of codes each.

    Arguments:
        collisions: What to do if several examples have the same codes: index adds a further code,
            nearest takes the nearest free ID, none leaves them.
    """

    collisions: Collisions = "index"


@dataclass(frozen=True)
class RerankerRecipe:
    """The network that says how well a sample fits its caption, learned from the training pairs.

    `smalti sample RUN --text … --candidates 8` keeps the samples that it finds to fit best.

    Arguments:
        training: Steps, batches, optimizer, schedule.
        dim: Length of the vectors that signals and captions are mapped to.
        width: Channels of the first convolution.
    """

    training: Training
    dim: int = 128
    width: int = 32

    def __post_init__(self) -> None:
        _check_no_adversary("A reranker", self.training)
        if self.training.batch_size < 2:
            raise InputError(
                "The training of a reranker compares pairs with each other, got a batch_size of "
                "1: set it to 2 at least."
            )


@dataclass(frozen=True)
class Evaluation:
    """Sizes of the evaluation that makes the report.

    Arguments:
        samples: Samples of each prior for the Fréchet distance, precision, recall, density and
            coverage.
        classifier_steps: Training steps of the classifier whose features these use where there are
            labels; 0 for none of this.
        feature_steps: Training steps of the network whose features they use where there are none;
            0 for none of this.
        test: Test examples at most, drawn at random where there are more.
        judge_steps: Training steps of the network that judges whether samples show their captions;
            0 for none of this.
    """

    samples: int = 2000
    classifier_steps: int = 1500
    test: int = 10_000
    judge_steps: int = 600
    feature_steps: int = 100


@dataclass(frozen=True)
class Recipe:
    """A whole run: data, tokenizer, prior and report; or data, continuous autoencoder and report.

    Arguments:
        data: The source of the data.
        tokenizer: The tokenizer and its training.
        prior: The prior over its tokens and its training; none for a tokenizer alone.
        autoencoder: A continuous autoencoder and its training, in the place of tokenizer and prior.
        hardware: Devices, precision, loggers.
        evaluation: Sizes of the evaluation that makes the report.
        ids: Semantic IDs of the examples of all splits, in ids.parquet; none if not given.
        seed: Seed of all random draws.
        reranker: The network that chooses among candidates of a caption; none if not given.
    """

    data: Source
    tokenizer: TokenizerRecipe | None = None
    prior: PriorRecipe | None = None
    autoencoder: AutoencoderRecipe | None = None
    hardware: Hardware = field(default_factory=Hardware)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 0
    ids: IdsRecipe | None = None
    reranker: RerankerRecipe | None = None

    @property
    def stage(self) -> str:
        """Returns the name of the first stage, which is that of its folder."""
        return "autoencoder" if self.tokenizer is None else "tokenizer"

    @property
    def trained(self) -> TokenizerRecipe | AutoencoderRecipe:
        """Returns what is learned first."""
        trained = self.autoencoder if self.tokenizer is None else self.tokenizer
        assert trained is not None  # __post_init__ has checked
        return trained

    @property
    def features(self) -> FeaturesRecipe | None:
        """Returns the network of features of the run, given or needed; `None` for none."""
        objective = self.trained.objective
        needed = objective is not None and objective.needs_features
        return self.trained.features or (FeaturesRecipe() if needed else None)

    @property
    def priors(self) -> int:
        """Returns how many priors are learned: one of each level, or one of all; 0 of none."""
        return 0 if self.prior is None else 1 + len(self.prior.fine_levels or [])

    @property
    def levels(self) -> int:
        """Returns how many levels of tokens there are; 0 of a continuous autoencoder."""
        return 0 if self.tokenizer is None else 1 + len(self.tokenizer.fine_levels or [])

    def __post_init__(self) -> None:
        if (self.tokenizer is None) == (self.autoencoder is None):
            given = "neither" if self.tokenizer is None else "both"
            raise InputError(
                f"A recipe has a tokenizer or an autoencoder, got {given}: give one of the two."
            )
        if self.tokenizer is not None and self.prior is not None:
            levels, priors = (
                1 + len(part.fine_levels or []) for part in (self.tokenizer, self.prior)
            )
            if priors not in (1, levels):
                raise InputError(
                    f"Each level of a tokenizer has its prior, got "
                    f"{counted(levels, 'level')} and {counted(priors, 'prior')}: give as many "
                    "under prior.fine_levels as under tokenizer.fine_levels."
                )
        if self.autoencoder is not None and self.ids is not None:
            raise InputError(
                "IDs are made of tokens, got ids for a continuous autoencoder: leave them out, or "
                "give a tokenizer."
            )
        if self.reranker is not None and (self.prior is None or not self.prior.conditional):
            raise InputError(
                "A reranker chooses among samples of a prior that takes captions, got no such "
                "prior: give one, or set --reranker null."
            )
        if self.autoencoder is not None and self.prior is not None:
            raise InputError(
                "A prior is learned over tokens, got one for a continuous autoencoder: leave it "
                "out."
            )


def _check_amounts(noise: Amount, decay: Amount | None) -> None:
    """Raises `InputError` for a token_noise or weight_decay out of range."""
    if noise != "auto" and not 0 <= noise < 1:
        raise InputError(
            f"token_noise is at least 0 and below 1, got {noise}: 0.1 is a good start, or auto."
        )
    if decay is not None and decay != "auto" and not 0 <= decay < math.inf:
        raise InputError(
            f"weight_decay is at least 0 and finite, got {decay}: 0.1 is a good start, or auto."
        )


def _check_one_loss(
    what: str, likelihood: Likelihood | None, reconstruction: ReconstructionLoss | None
) -> None:
    if likelihood is not None and reconstruction is not None:
        raise InputError(
            f"{what} has a likelihood or a reconstruction loss, got {type(likelihood).__name__} "
            f"and {type(reconstruction).__name__}: leave one out, or set it to null."
        )


def _check_objective(
    recipe: TokenizerRecipe | AutoencoderRecipe, what: str, duplicates: Mapping[str, object]
) -> None:
    """Raises `InputError` for what an objective would leave without meaning."""
    if recipe.objective is None:
        _check_no_adversary(what, recipe.training)
        return
    name = type(recipe.objective).__name__
    given = [field for field, usual in duplicates.items() if getattr(recipe, field) != usual]
    if given:
        raise InputError(
            f"{what} with an objective has its losses and their weights from there, got "
            f"{' and '.join(given)} beside {name}: give them to the objective, or leave them out."
        )
    if not recipe.objective.has_adversary:
        _check_no_adversary(f"{what} whose objective is {name}", recipe.training)


def _check_no_adversary(what: str, training: Training | None) -> None:
    if training is not None and training.adversary_optimizer is not None:
        raise InputError(
            f"{what} has no adversary, got training.adversary_optimizer: leave it out, or set an "
            f"objective whose parameters are to learn."
        )
