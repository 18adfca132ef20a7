"""Which product comes next: what the encoder learns from, and what it then says of customers and products.

Holds training and prediction on tokens. Whose tokens these are, and what is published, belongs to the
capability. Imports torch at module level: import it only inside functions that train or predict.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from insight_assets.ml.behaviour.encoder import BehaviourEncoder, EncoderSettings
from insight_assets.ml.behaviour.learning import LearningSettings, PackedBatches, last_hidden, learn, read_batch
from insight_assets.ml.behaviour.softmax import chunked_softmax_loss, sampled_softmax_loss
from insight_assets.ml.behaviour.tokens import ITEM, Tokens
from insight_assets.ml.training import Epoch, name_training

TARGETS = "targets"
RANKED_AT_ONCE = 256
"""Customers for whom all products are ranked at once."""


def train_next_product(
    tokens: Tokens,
    *,
    settings: EncoderSettings,
    learning: LearningSettings,
    max_epochs: int,
    seed: int,
    work_directory: Path,
    traits: Mapping[str, np.ndarray] | None = None,
    stop: Tokens | None = None,
    log: Callable[[str], None],
) -> tuple[BehaviourEncoder, list[Epoch]]:
    """Train an encoder to foretell the product of each next token.

    Args:
        tokens: Sequences that are learnt from; the last `settings.positions` + 1 tokens of each are looked at, and
            those of one token teach nothing.
        settings: Size of the encoder.
        learning: How it learns.
        max_epochs: Most passes over the sequences, and all of them where nothing says when to stop.
        seed: Seed of first weights, order, dropout and draws.
        work_directory: Folder for checkpoints. Those of a training with other tokens or settings lie in another
            subfolder and are not touched.
        traits: Traits of products, as `Vocabulary.traits` gives them.
        stop: Sequences whose last product, foretold from the tokens before it, says when to stop.
        log: Takes lines of progress.

    Returns:
        The encoder in evaluation mode on the CPU: at its best where `stop` tells, else as it was at the end. And the
        losses of all epochs, those of `stop` 1 less the NDCG of whole lists.

    Raises:
        TrainingDivergedError: If a loss is not finite.
        ValueError: If no sequence has two tokens.
    """
    taught = next_products(tokens, settings.positions)
    if not len(taught):
        message = "no sequence has two tokens: there is nothing to learn from"
        raise ValueError(message)
    kept = None if stop is None else next_products(stop, settings.positions, only_last=True)
    given = asdict(settings) | asdict(learning)
    arrays = [tokens.offsets, *tokens.fields.values(), *(traits or {}).values()]
    arrays += [] if stop is None else [stop.offsets, *stop.fields.values()]
    folder = work_directory / name_training(given, arrays, max_epochs=max_epochs, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = BehaviourEncoder(settings, {name: torch.from_numpy(of) for name, of in (traits or {}).items()})

    loss = partial(next_product_loss, encoder, learning)
    epochs = learn(
        encoder, loss, taught, kept, counted_by=TARGETS, learning=learning, max_epochs=max_epochs, seed=seed,
        work_directory=folder, log=log,
    )  # fmt: skip
    return encoder, epochs


def read_customers(encoder: BehaviourEncoder, tokens: Tokens) -> np.ndarray:
    """Say in one vector what each customer's events tell.

    Args:
        encoder: A trained encoder.
        tokens: Events of n customers; the last `positions` of each are read.

    Returns:
        Shape (n, width), float32, of length 1; zeros for customers without events. A customer's vector does not depend
        on who else is read.
    """
    with torch.inference_mode():
        return F.normalize(last_hidden(encoder, tokens), dim=1).numpy()


def product_vectors(encoder: BehaviourEncoder) -> np.ndarray:
    """Give the vector of every product code, shape (codes of `item`, width), float32, of length 1.

    The product of a customer's vector and a product's ranks products for the customer.
    """
    with torch.inference_mode():
        return F.normalize(encoder.products(), dim=1).numpy()


def next_products(tokens: Tokens, positions: int, *, only_last: bool = False) -> PackedBatches:
    """Ask for the product after each token, or after the last but one alone.

    Args:
        tokens: Sequences; those of one token ask for nothing and are left out.
        positions: Most tokens of a sequence that are given: the last ones.
        only_last: Whether the last product alone is asked for.
    """
    long_enough = np.flatnonzero(tokens.lengths > 1)
    asked = tokens.take(long_enough).last(positions + 1)
    # What comes after the last token is not known, and the encoder is always asked after the last one it sees.
    given = asked.without_last()
    targets = np.roll(asked.fields[ITEM], -1)[np.delete(np.arange(asked.offsets[-1]), asked.offsets[1:] - 1)]
    if only_last:
        last = np.zeros(len(targets), dtype=bool)
        last[given.offsets[1:] - 1] = True
        targets = np.where(last, targets, 0)
    return PackedBatches(given, {TARGETS: targets})


def next_product_loss(
    encoder: BehaviourEncoder, learning: LearningSettings, batch: Mapping[str, object]
) -> torch.Tensor:
    """Give the mean loss of a batch: cross-entropy while the encoder learns, else what its ranking lacks.

    Args:
        encoder: In training mode where it is to learn.
        learning: How.
        batch: As `PackedBatches` gives it.
    """
    asked = batch[TARGETS].nonzero()[:, 0]
    targets = batch[TARGETS][asked]
    hidden = F.normalize(read_batch(encoder, batch)[asked], dim=1)
    return product_loss(encoder, learning.sharpness * hidden, targets, negatives=learning.negatives)


def product_loss(
    encoder: BehaviourEncoder, asked: torch.Tensor, targets: torch.Tensor, *, negatives: int
) -> torch.Tensor:
    """Give the mean loss of products: cross-entropy while the encoder learns, else what its ranking lacks.

    Args:
        encoder: Has the vectors of products; in training mode where it is to learn.
        asked: Shape (t, width): what products' vectors of length 1 are compared with.
        targets: Shape (t,), int64: codes of the products that came.
        negatives: Products drawn to compare with; 0 compares with all.
    """
    if not encoder.training:
        return lost_places(asked, F.normalize(encoder.products(), dim=1), targets)
    if not negatives:
        return chunked_softmax_loss(asked, F.normalize(encoder.products(), dim=1), targets)
    drawn = torch.randint(1, encoder.settings.fields[ITEM], (negatives,), device=asked.device)
    right, others = (F.normalize(encoder.products(of), dim=1) for of in (targets, drawn))
    return sampled_softmax_loss(asked, right, others, targets, drawn)


def lost_places(hidden: torch.Tensor, products: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give 1 less the mean NDCG of whole lists, each with one product that came.

    Ranking goes on to get better when the cross-entropy on rows kept apart has long been growing: on Amazon Beauty at
    size XS that was best after 6 epochs, the NDCG after more than 20.
    """
    lost = []
    for part, wanted in zip(hidden.split(RANKED_AT_ONCE), targets.split(RANKED_AT_ONCE), strict=True):
        scores = part @ products.T
        place = (scores > scores.gather(1, wanted[:, None])).sum(dim=1)
        lost.append(1 - 1 / torch.log2(place + 2.0))
    return torch.cat(lost).mean()
