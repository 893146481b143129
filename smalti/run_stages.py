"""The stages of a run: each makes its result, unless it is there already.

In which order they are made is in `smalti.runs`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from smalti import item_ids
from smalti.artifacts import checksum, load_model, save_model
from smalti.autoencoders import (
    ContinuousAutoencoder,
    DiscreteAutoencoder,
    Tokenizer,
)
from smalti.autoencoders.inputs import device_of
from smalti.building import (
    build_autoencoder,
    build_features,
    build_objective,
    build_prior,
    build_reranker,
    level_config,
)
from smalti.checksums import check_made_from, current_checksums
from smalti.conditions import CoarseTokens
from smalti.data import Examples, Splits
from smalti.data.source import Version
from smalti.ids import IdTable
from smalti.model_folder import check_model
from smalti.provenance import ExpectedChecksums
from smalti.recipes.schema import AutoencoderRecipe, Recipe, TokenizerRecipe
from smalti.run_directory import Run
from smalti.token_cache import cache_made_from, cached_tokenizer, read_cache, write_cache
from smalti.tokens import TokenGrids, kept_dtype
from smalti.training import fit_quantizer
from smalti.training.batch_order import evaluation_loader
from smalti.training.mixing import mix_examples
from smalti.training.processes import is_first, wait_for_all

__all__ = [
    "cache_tokens",
    "encode_examples",
    "fit_autoencoder",
    "fit_features",
    "fit_prior",
    "fit_reranker",
    "give_ids",
]

logger = logging.getLogger(__name__)

PREPARED = 256  # training examples of which first weights are made, where networks do so
SUMMARISED = 10_000  # training examples whose latents are summarised


def fit_features(run: Run, recipe: Recipe, splits: Splits, expected: ExpectedChecksums) -> None:
    """Trains without labels, or takes as it is, and saves the network of features of a run.

    Nothing is done where the recipe needs none, or it is there.
    """
    chosen, folder, accepted = recipe.features, run.features, expected.model("features")
    if chosen is None:
        return
    if folder.exists():
        check_model(folder, accepted, f" and {run.folder / recipe.stage}")
        return
    torch.manual_seed(recipe.seed)
    network = build_features(chosen, splits.signal, splits.normalization)
    if chosen.taught is not None:
        from smalti.training import FeaturePretraining, FeatureStage, train

        x = splits.train.__getitems__([0]).x
        stage = FeatureStage(
            FeaturePretraining(network, copy.deepcopy(splits.normalization), x),
            chosen.taught,
            splits.train,
            splits.validation,
            seed=recipe.seed,
            workers=recipe.hardware.workers,
        )
        stage.made_from = accepted
        train(stage, "features", run.folder, recipe.hardware)
        network = stage.model.network
    if is_first():
        save_model(network.cpu(), folder, made_from=current_checksums(accepted))
    wait_for_all()


def fit_autoencoder(run: Run, recipe: Recipe, splits: Splits, expected: ExpectedChecksums) -> None:
    """Trains and saves the tokenizer or continuous autoencoder of a run, unless it is there."""
    name, chosen = recipe.stage, recipe.trained
    folder, accepted = run.folder / name, expected.model(name)
    if recipe.features is not None:
        accepted["features"] = (checksum(run.features),)
    if folder.exists():
        after = f", {run.tokens} and {run.prior}" if run.prior.exists() else ""
        check_model(folder, accepted, after)
        return
    torch.manual_seed(recipe.seed)
    model = build_autoencoder(chosen, splits.signal, splits.normalization)
    if model.starts_from_signals:
        few = splits.train.drawn(PREPARED, recipe.seed)
        model.prepare(torch.cat([batch.x for batch in evaluation_loader(few, PREPARED)]))
    fitting = chosen.fitting if isinstance(chosen, TokenizerRecipe) else None
    if fitting is not None:
        assert isinstance(model, DiscreteAutoencoder)
        fit_quantizer(
            model,
            fitting,
            splits.train,
            run.folder,
            name=name if chosen.training is None else "fitting",
            seed=recipe.seed,
            hardware=recipe.hardware,
            made_from=accepted,
        )
    if chosen.training is None:
        if is_first():
            save_model(model.cpu(), folder, made_from=current_checksums(accepted))
        wait_for_all()
        return
    from smalti.training import AutoencoderStage, train

    model.train()
    features = None if recipe.features is None else load_model(run.features)
    stage = AutoencoderStage(
        model,
        chosen.training,
        splits.train,
        splits.validation,
        seed=recipe.seed,
        objective=build_objective(chosen, splits.signal, splits.normalization, features),
        augment=_augmentation(splits, chosen),
        workers=recipe.hardware.workers,
    )
    stage.made_from = accepted
    train(stage, name, run.folder, recipe.hardware)
    if is_first():
        if isinstance(stage.model, ContinuousAutoencoder):
            model = stage.model.to(recipe.hardware.device())
            record_latent_statistics(model, splits.train.drawn(SUMMARISED, recipe.seed))
        save_model(stage.model.cpu(), folder, made_from=current_checksums(stage.made_from))
    wait_for_all()


def _augmentation(
    splits: Splits, chosen: TokenizerRecipe | AutoencoderRecipe
) -> Callable[[Tensor], Tensor] | None:
    """Returns the random changes of a training batch: the data's own, and then mixing."""
    share, augment = getattr(chosen, "mixing", 0.0), splits.augment
    if not share:
        return augment
    return lambda x: mix_examples(x if augment is None else augment(x), share)


@torch.no_grad()
def record_latent_statistics(autoencoder: ContinuousAutoencoder, examples: Examples) -> None:
    """Computes mean, covariance and KL of the latents of examples, and stores them in the model.

    The distribution of samples, and the order of dimensions in traversals, follow from them.
    """
    latents: list[Tensor] = []
    kl: list[Tensor] = []
    for batch in evaluation_loader(examples, 256):
        x = batch.x.to(autoencoder.latent_mean.device)
        z, of_each = autoencoder.describe(x)
        latents.append(z)
        kl += [] if of_each is None else [of_each]
    autoencoder.summarise(torch.cat(latents), torch.cat(kl).mean(0) if kl else None)


def give_ids(run: Run, recipe: Recipe, splits: Splits, expected: ExpectedChecksums) -> None:
    """Makes and saves the IDs of all examples, unless they are there; new examples are added."""
    assert recipe.ids is not None
    accepted, given = expected.ids(checksum(run.tokenizer)), None
    if run.ids.exists():
        given = IdTable.read(run.ids)
        mend = f"copy the right one back, or delete {run.ids} and fit again to give IDs anew."
        check_made_from(str(run.ids), given.made_from, accepted, mend)
        if given.made_from.get("data") == accepted["data"][0]:
            return
    tokenizer = load_model(run.tokenizer).to(recipe.hardware.device())
    table = item_ids.make_ids(
        tokenizer, splits, recipe.ids.collisions, current_checksums(accepted), given
    )
    table.write(run.ids)


def fit_reranker(run: Run, recipe: Recipe, splits: Splits, expected: ExpectedChecksums) -> None:
    """Trains and saves the network that compares samples with captions, unless it is there."""
    chosen, folder, accepted = recipe.reranker, run.reranker, expected.model("reranker")
    if chosen is None:
        return
    if folder.exists():
        check_model(folder, accepted)
        return
    from smalti.training import ContrastiveStage, train

    torch.manual_seed(recipe.seed)
    stage = ContrastiveStage(
        build_reranker(chosen, splits).train(),
        chosen.training,
        splits.train,
        splits.validation,
        seed=recipe.seed,
        workers=recipe.hardware.workers,
        shift=splits.shift,
    )
    stage.made_from = accepted
    train(stage, "reranker", run.folder, recipe.hardware)
    if is_first():
        save_model(stage.model.cpu(), folder, made_from=current_checksums(accepted))
    wait_for_all()


def cache_tokens(run: Run, recipe: Recipe, splits: Splits, expected: ExpectedChecksums) -> None:
    """Encodes the examples of every split to tokens and saves them, unless they are there."""
    prior, made_by, others = recipe.prior, checksum(run.tokenizer), expected.tokens()
    assert prior is not None
    if cached_tokenizer(run.tokens) == made_by:
        found = cache_made_from(run.tokens)
        if not found or found == others:
            return
    if run.tokens.exists():
        logger.info("%s is of another tokenizer, of other data or damaged: made anew", run.tokens)
    tokenizer = load_model(run.tokenizer).to(recipe.hardware.device())
    train_set = splits.train
    if prior.examples is not None:
        train_set = train_set.drawn(prior.examples, recipe.seed)

    def augment(x: Tensor) -> Tensor:
        x = x if splits.augment is None else splits.augment(x)
        return x if splits.shift is None or not prior.shift else splits.shift(x, float(prior.shift))

    def grids() -> Iterator[tuple[str, TokenGrids]]:
        torch.manual_seed(recipe.seed)
        views = [encode_examples(tokenizer, train_set)]
        for number in range(1, int(prior.views)):
            version = Version(train_set, recipe.seed * 1_000_003 + number)
            seen = version if train_set.varies else train_set
            views.append(encode_examples(tokenizer, seen, augment))
        contexts = [view.context for view in views if view.context is not None]
        yield (
            "train",
            TokenGrids(
                tuple(torch.cat(grids) for grids in zip(*(v.levels for v in views), strict=True)),
                torch.cat(contexts) if contexts else None,
            ),
        )
        yield "validation", encode_examples(tokenizer, splits.validation)
        yield "test", encode_examples(tokenizer, splits.test)

    write_cache(run.tokens, grids(), tokenizer.layout, made_by, others)


def encode_examples(tokenizer: Tokenizer, examples: Examples, augment: Any = None) -> TokenGrids:
    """Encodes all examples in order to their tokens, on the CPU, with their conditions."""
    device, kept = device_of(tokenizer), kept_dtype(tokenizer.layout.largest)
    tokens: list[Tensor] = []
    for batch in evaluation_loader(examples, 256):
        x = augment(batch.x) if augment else batch.x
        tokens.append(tokenizer.encode_flat(x.to(device)).to("cpu", kept))
    return TokenGrids(tokenizer.layout.unpack(torch.cat(tokens)), examples.conditions)


def fit_prior(
    run: Run, recipe: Recipe, splits: Splits, level: int, expected: ExpectedChecksums
) -> None:
    """Trains the prior of a level over the cached tokens, and saves it."""
    from smalti.training import PriorStage, Tokens, train

    chosen = recipe.prior
    assert chosen is not None
    torch.manual_seed(recipe.seed)
    tokenizer = load_model(run.tokenizer)
    prior = build_prior(chosen, tokenizer, splits, level)

    def tokens(split: str) -> Tokens:
        cached = read_cache(run.tokens, split)
        context = cached.context if chosen.conditional else None
        if isinstance(prior.condition, CoarseTokens):
            context = prior.condition.pack(cached.levels[:level], context)
        grids = cached.levels[level]
        if recipe.priors == 1:
            grids = tokenizer.layout.pack(cached.levels)
        indices = grids.to(kept_dtype(tokenizer.layout.largest))
        return Tokens(indices, None if prior.condition is None else context)

    this_level = level_config(chosen, level)
    decay, train_tokens = this_level.weight_decay, tokens("train")
    prior.prepare(train_tokens.indices)
    stage = PriorStage(
        prior,
        this_level.training,
        train_tokens,
        tokens("validation"),
        seed=recipe.seed,
        workers=recipe.hardware.workers,
        token_noise=float(this_level.token_noise),
        weight_decay=None if decay is None else float(decay),
    )
    priors = recipe.priors
    name = "prior" if priors == 1 else f"prior-{level}"
    stage.made_from = expected.prior(checksum(run.tokenizer))
    train(stage, name, run.folder, recipe.hardware)
    if is_first():
        save_model(
            stage.model, run.priors(priors)[level], made_from=current_checksums(stage.made_from)
        )
    wait_for_all()
