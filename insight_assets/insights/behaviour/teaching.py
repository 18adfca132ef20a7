"""The behaviour encoder of a shop: what it is taught by, and what it says of customers and products.

Here events become tokens and a trained network; files belong to `model_files`, the network itself to `ml.behaviour`.
Torch is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from insight_assets.features.sequences import BOUGHT, DEFAULT_LENGTH
from insight_assets.ml.behaviour.tokens import Vocabulary

if TYPE_CHECKING:
    from insight_assets.ml.behaviour.encoder import EncoderSettings
    from insight_assets.ml.behaviour.learning import LearningSettings
    from insight_assets.ml.behaviour.pretraining import PretrainedEncoder, Taught
    from insight_assets.ml.progress import Watch

CODE_OF_BOUGHT = BOUGHT + 1
"""Code of the kind that stands for a product of an order; 0 stands for nothing known."""

DROPOUT = 0.1
PATIENCE = 2
BATCH_SETTING = "INSIGHT_ENCODER_BATCH"


@dataclass(frozen=True)
class Behaviour:
    """An encoder and what its tokens are made with.

    Attributes:
        vocabulary: Products, traits and prices of the training origin.
        settings: Size of the encoder.
        learning: How it learnt.
        network: The encoder and its heads, in evaluation mode on the CPU.
        taught: How the training went.
        customers: Customers that it learnt from.
        events: Tokens that it learnt from.
    """

    vocabulary: Vocabulary
    settings: EncoderSettings
    learning: LearningSettings
    network: PretrainedEncoder
    taught: Taught
    customers: int
    events: int


def end_of_day(day: date, timezone: str) -> int:
    """Give the last second of a shop's day, in epoch seconds."""
    begins = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return int((begins + timedelta(days=1)).timestamp()) - 1


def teach(
    sequences: pl.DataFrame,
    described: pl.DataFrame,
    *,
    as_of: date,
    horizon_days: int,
    timezone: str,
    size: str,
    most_tokens: int,
    batch_tokens: int,
    max_epochs: int,
    seed: int,
    work_directory: Path,
    log: Callable[[str], None],
    watch: Watch | None = None,
) -> Behaviour:
    """Teach an encoder by what customers did up to a day.

    Args:
        sequences: Rows of `with_bought_products` as of the day.
        described: Products that were described by then: `product_id`, `category`, `brand` and `price`.
        as_of: Last day that counts; nothing after it is read.
        horizon_days: Days before it that say when to stop.
        timezone: The shop's.
        size: Name in `SIZES`.
        most_tokens: Tokens that one pass reads at most: of more, those of the customers with the lowest keys, which are
            keyed pseudonyms and so a random sample.
        batch_tokens: Tokens of a training batch; fewer where the memory of the device holds no more, down to those of
            the longest sequence, which is always one batch.
        max_epochs: Most passes before the window, see `pretrain`.
        seed: Seed of everything random.
        work_directory: Folder for checkpoints.
        log: Takes lines of progress.
        watch: Is told how far training is, see `pretrain`.

    Returns:
        The encoder; `learning` says how large the batches were in the end.

    Raises:
        TrainingDivergedError: If a loss is not finite.
        DeviceTooSmallError: If not even the smallest batch fits in the memory of the device.
    """
    from insight_assets.ml.behaviour.encoder import SIZES, EncoderSettings
    from insight_assets.ml.behaviour.learning import LearningSettings
    from insight_assets.ml.behaviour.pretraining import pretrain
    from insight_assets.ml.training import train_within_memory

    vocabulary = Vocabulary.fit(sequences, kinds=CODE_OF_BOUGHT, described=described)
    settings = EncoderSettings(
        fields=vocabulary.sizes, positions=DEFAULT_LENGTH, dropout=DROPOUT, rotary=True, **SIZES[size]
    )
    learning = LearningSettings(patience=PATIENCE)
    tokens = vocabulary.tokens(sequences.sort("customer_key")).last(settings.positions)
    some = max(1, int(np.searchsorted(tokens.offsets, most_tokens, side="right")) - 1)
    tokens = tokens.take(np.arange(min(some, len(tokens.lengths))))

    def train(batch: int) -> tuple[PretrainedEncoder, Taught]:
        return pretrain(
            tokens,
            settings=settings,
            learning=replace(learning, tokens=batch),
            traits=vocabulary.traits_of_codes(),
            bought=CODE_OF_BOUGHT,
            calibrate_from=end_of_day(as_of - timedelta(days=horizon_days), timezone),
            until=end_of_day(as_of, timezone),
            max_epochs=max_epochs,
            seed=seed,
            work_directory=work_directory,
            log=log,
            watch=watch,
        )

    (network, taught), batch = train_within_memory(
        train, batch=batch_tokens, least=min(batch_tokens, settings.positions), told_as="events",
        setting=BATCH_SETTING, log=log,
    )  # fmt: skip
    learning = replace(learning, tokens=batch)
    return Behaviour(vocabulary, settings, learning, network, taught, len(tokens.lengths), int(tokens.offsets[-1]))


def read_behaviour(behaviour: Behaviour, sequences: pl.DataFrame) -> np.ndarray:
    """Say in one vector what each customer's events tell.

    Args:
        behaviour: A taught encoder.
        sequences: Rows of `with_bought_products`.

    Returns:
        Shape (rows, width), float32, in the order of the rows. A customer's vector does not depend on who else is read.
    """
    from insight_assets.ml.behaviour.learning import last_hidden

    return last_hidden(behaviour.network.encoder, behaviour.vocabulary.tokens(sequences)).numpy()


def vectors_of_products(behaviour: Behaviour) -> np.ndarray:
    """Give the vectors of the vocabulary's products, shape (products, width), float32, of length 1."""
    from insight_assets.ml.behaviour.next_product import product_vectors

    # Code 0 is nothing known, and hashed rows lie behind the products.
    return product_vectors(behaviour.network.encoder)[1 : len(behaviour.vocabulary.products) + 1]
