"""Ranking products for customers, and naming the evidence behind each place in a list.

Holds the one scoring rule that every method shares, the deterministic top of a list, and the
search for the product in the customer's own history that spoke most for a recommendation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.recommendation.interactions import History

if TYPE_CHECKING:
    from scipy import sparse

BATCH_CELLS = 8_000_000
"""Customers x items scored at once: 32 MB of scores and 64 MB of sort keys."""

NAMED_SHARE = 0.1
"""Where a customer's contacts together make up less of a score, popularity is its reason."""

NOBODY = -1
"""Stands for "no product" in arrays of positions."""


@dataclass(frozen=True)
class Ranker:
    """One fitted method: scores are `x @ neighbours + repeat * owned + base`.

    `x` is a customer's history with `weight * exp(-decay * age)` per product: with decay 0.5 that
    made EASE the best linear model on Amazon Beauty. `owned` is log2(1 + purchase days) for a
    product that the customer bought, however long ago (fading it as well costs NDCG on UCI Online
    Retail), and `x` itself for one only looked at.

    Attributes:
        base: Score that a product has for everybody, float32, shape (items,).
        neighbours: Item-item weights, sparse, items x items; None for methods without them.
        decay: Loss of weight per later day of activity, at least 0.
        repeat: Weight of a customer's own contacts with the very product.
    """

    base: np.ndarray
    neighbours: sparse.csr_matrix | None = None
    decay: float = 0.0
    repeat: float = 0.0


@dataclass(frozen=True)
class Policy:
    """What may stand in a list, decided by the shop and not by a model.

    Attributes:
        repeat_purchases: Whether products that the customer already bought may be recommended.
            True suits shops whose goods are used up; False suits durable goods.
        length: Places in a list.
        available_days: Days without any contact after which a product is taken for gone.
    """

    repeat_purchases: bool = True
    length: int = 10
    available_days: int = 180


@dataclass(frozen=True)
class Lists:
    """Ranked products of customers, best first.

    Attributes:
        items: Positions in the catalogue, int32, shape (customers, length); `NOBODY` where fewer
            products may be offered than there are places.
        scores: Scores of these products, float32, same shape; NaN where there is none.
    """

    items: np.ndarray
    scores: np.ndarray


def rank(ranker: Ranker, history: History, *, available: np.ndarray, policy: Policy) -> Lists:
    """Rank all products for every customer and keep the top of each list.

    Products with the same score stand in the order of the catalogue, that is by popularity.

    Args:
        ranker: Fitted method over `len(available)` items.
        history: Customers to serve.
        available: Whether a product may be offered at all, bool, shape (items,).
        policy: Length of the lists and the rule for products already bought.

    Returns:
        One list per customer of `history`, in its order.
    """
    items = len(available)
    lists = Lists(
        items=np.full((len(history), policy.length), NOBODY, dtype=np.int32),
        scores=np.full((len(history), policy.length), np.nan, dtype=np.float32),
    )
    step = max(1, BATCH_CELLS // max(items, 1))
    for start in range(0, len(history) if items else 0, step):
        batch = history.slice(start, start + step)
        scores = neighbour_scores(ranker, batch) + ranker.base
        add_owned(scores, ranker, batch)
        best = top(scores, batch, available=available, policy=policy)
        rows = slice(start, start + len(batch))
        lists.items[rows], lists.scores[rows] = best.items, best.scores
    return lists


def neighbour_scores(ranker: Ranker, history: History) -> np.ndarray:
    """What the neighbours of each customer's products speak for: float32, customers x items."""
    items = len(ranker.base)
    if ranker.neighbours is None:
        return np.zeros((len(history), items), dtype=np.float32)
    recent = (history.weights * _freshness(ranker, history)).astype(np.float32)
    return (history.matrix(recent, items) @ ranker.neighbours).toarray()


def add_owned(scores: np.ndarray, ranker: Ranker, history: History) -> None:
    """Add in place what each customer's own contacts with a product speak for that product."""
    if ranker.repeat:
        owned = (ranker.repeat * _owned(ranker, history)).astype(np.float32)
        scores[history.owners(), history.items] += owned


def top(scores: np.ndarray, history: History, *, available: np.ndarray, policy: Policy) -> Lists:
    """Keep the best products of each row that the policy allows.

    Args:
        scores: Float32, customers x items.
        history: The customers of the rows.
        available: See `rank`.
        policy: See `rank`.

    Returns:
        One list per row; equal scores stand in the order of the items.
    """
    allowed = np.broadcast_to(available, scores.shape)
    if not policy.repeat_purchases:
        allowed = allowed.copy()
        bought = history.purchase_days > 0
        allowed[history.owners()[bought], history.items[bought]] = False
    return _best(scores, allowed, length=policy.length)


def evidence(ranker: Ranker, history: History, lists: Lists) -> np.ndarray:
    """Find the product in each customer's history that spoke most for each recommendation.

    Args:
        ranker: The method that made the lists.
        history: The customers the lists were made for.
        lists: Result of `rank`.

    Returns:
        Positions in the catalogue, int32, shape of `lists.items`: the recommended product itself
        where the customer's own contact with it weighed most, `NOBODY` where the contacts together
        made up less than `NAMED_SHARE` of the score: popularity put the product there.
    """
    because = np.full(lists.items.shape, NOBODY, dtype=np.int32)
    if ranker.neighbours is None and ranker.repeat == 0.0:
        return because
    step = max(1, BATCH_CELLS // (lists.items.shape[1] * max(1, _longest(history))))
    for start in range(0, len(history), step):
        batch = history.slice(start, start + step)
        rows = slice(start, start + len(batch))
        because[rows] = _strongest_contact(
            ranker, batch, Lists(lists.items[rows], lists.scores[rows])
        )
    return because


def _longest(history: History) -> int:
    return int(np.diff(history.offsets).max()) if len(history) else 0


def _freshness(ranker: Ranker, history: History) -> np.ndarray:
    return np.exp(-ranker.decay * history.ages.astype(np.float64))


def _owned(ranker: Ranker, history: History) -> np.ndarray:
    return np.where(
        history.purchase_days > 0,
        np.log2(1.0 + history.purchase_days),
        history.weights * _freshness(ranker, history),
    )


def _best(scores: np.ndarray, allowed: np.ndarray, *, length: int) -> Lists:
    """The best `length` columns of each row, ties to the lower column, whatever the sort does.

    A score and its column are packed into one integer key: floats of one sign sort like their
    bits, so after flipping the bits below the sign of negative ones the high half of the key is
    the score's rank and the low half prefers the lower column. All keys of a row differ.
    """
    columns = scores.shape[1]
    bits = (scores + np.float32(0.0)).view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32
    keys |= np.arange(columns - 1, -1, -1, dtype=np.int64)
    keys[~allowed] = np.iinfo(np.int64).min
    depth = min(length, columns)
    best = np.argpartition(keys, columns - depth, axis=1)[:, columns - depth :]
    order = np.argsort(np.take_along_axis(keys, best, axis=1), axis=1)[:, ::-1]
    best = np.take_along_axis(best, order, axis=1)
    present = np.take_along_axis(allowed, best, axis=1)
    lists = Lists(
        items=np.full((len(scores), length), NOBODY, dtype=np.int32),
        scores=np.full((len(scores), length), np.nan, dtype=np.float32),
    )
    lists.items[:, :depth] = np.where(present, best, NOBODY)
    lists.scores[:, :depth] = np.where(present, np.take_along_axis(scores, best, axis=1), np.nan)
    return lists


def _strongest_contact(ranker: Ranker, history: History, lists: Lists) -> np.ndarray:
    items, places = lists.items, lists.items.shape[1]
    lengths = np.diff(history.offsets)
    # One row per (customer, place, contact of that customer), customers and places in order.
    pair = np.repeat(np.arange(len(history) * places), np.repeat(lengths, places))
    starts = np.concatenate([[0], np.cumsum(np.repeat(lengths, places))])[:-1]
    contact = np.arange(len(pair)) - starts[pair] + history.offsets[:-1][pair // places]
    source, target = history.items[contact], items.ravel()[pair]
    worth = np.zeros(len(pair))
    if ranker.neighbours is not None:
        real = target != NOBODY
        links = np.asarray(ranker.neighbours[source[real], target[real]]).ravel()
        recent = history.weights * _freshness(ranker, history)
        worth[real] = links * recent[contact[real]]
    own = source == target
    worth[own] += ranker.repeat * _owned(ranker, history)[contact[own]]
    # Contacts ascend by item, so the first of several equal ones is the most popular product.
    level = np.flatnonzero(worth == np.maximum.reduceat(worth, starts)[pair])
    first = level[np.searchsorted(pair[level], np.arange(len(starts)))]
    personal = np.add.reduceat(np.maximum(worth, 0.0), starts)
    enough = NAMED_SHARE * np.nan_to_num(lists.scores.ravel())
    because = np.where((personal >= enough) & (worth[first] > 0), source[first], NOBODY)
    return because.reshape(items.shape).astype(np.int32)
