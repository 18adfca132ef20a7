"""Ranking products for customers, and naming the evidence behind each place in a list.

Holds the scoring rule that the methods share, the deterministic top of a list, and the search for
the product in the customer's own history that spoke most for a recommendation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

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


class Ground(IntEnum):
    """What kind of evidence put a product into a list; how it is said in words is in `publishing`."""

    POPULAR = 0
    CONTACT = 1
    """Customers who had to do with a product of the customer's had to do with this one."""
    SEGMENT = 2
    """Customers of the same segment buy it."""
    CATEGORY = 3
    BRAND = 4
    PRICE = 5
    ORDER = 6
    """It stands in one order with a product of the customer's more often than by chance."""
    ALIKE = 7
    """Customers with a similar history had to do with it and with a product of the customer's."""
    TASTE = 8
    """It lies near a product of the customer's among the factors learned from everybody."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for each place in lists.

    Attributes:
        because: positions of products of the customer's own history, `NOBODY` where none speaks for it, int32.
        ground: values of `Ground`, int8, of the same shape.
    """

    because: np.ndarray
    ground: np.ndarray


class Scorer(Protocol):
    """A fitted method.

    Attributes:
        minds_policy: whether scores depend on what may stand in a list.
    """

    minds_policy: bool

    def among(self, everybody: History) -> "Scorer":
        """Give the method all customers known on the day, where it compares customers."""

    def scores(self, history: History, policy: "Policy") -> np.ndarray:
        """Scores of all products: float32, customers x items."""

    def reasons(self, history: History, lists: "Lists") -> Evidence:
        """What spoke for each place of lists made from its scores."""


class Taste(Protocol):
    """A way to score products by a customer's history that is no matrix of weights between products."""

    def among(self, everybody: History) -> "Taste":
        """See `Scorer.among`."""

    def scores(self, history: History, recent: np.ndarray) -> np.ndarray:
        """Scores of all products, given the faded weight of every contact: float32, customers x items."""

    def worth(
        self, history: History, recent: np.ndarray, customer: np.ndarray, contact: np.ndarray, target: np.ndarray
    ) -> np.ndarray:
        """What a contact adds to the score of a target, element by element; above 0 where it speaks for it."""

    def ground(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Why a product speaks for a target, element by element: values of `Ground`."""


@dataclass(frozen=True)
class Ranker:
    """One fitted method: scores are `x @ neighbours + taste(x) + repeat * owned + base`.

    `x` is a customer's history with `weight * exp(-decay * age)` per product: with decay 0.5 that
    made EASE the best linear model on Amazon Beauty. `owned` is log2(1 + purchase days) for a
    product that the customer bought, however long ago (fading it as well costs NDCG on UCI Online
    Retail), and `x` itself for one only looked at.

    Attributes:
        base: Score that a product has for everybody, float32, shape (items,).
        neighbours: Item-item weights, sparse, items x items; None for methods without them.
        decay: Loss of weight per later day of activity, at least 0.
        repeat: Weight of a customer's own contacts with the very product.
        taste: What scores by the history in another way than weights between items, if anything.
        ground: What a weight between two items says.
    """

    base: np.ndarray
    neighbours: sparse.csr_matrix | None = None
    decay: float = 0.0
    repeat: float = 0.0
    taste: Taste | None = None
    ground: Ground = Ground.CONTACT
    minds_policy: bool = False

    def among(self, everybody: History) -> "Ranker":
        """See `Scorer`."""
        return self if self.taste is None else replace(self, taste=self.taste.among(everybody))

    def scores(self, history: History, policy: "Policy") -> np.ndarray:  # noqa: ARG002
        """See `Scorer`."""
        total = neighbour_scores(self, history) + self.base
        add_owned(total, self, history)
        return total

    def reasons(self, history: History, lists: "Lists") -> Evidence:
        """See `Scorer`."""
        because = evidence(self, history, lists)
        ground = np.where(because == NOBODY, Ground.POPULAR, self.ground).astype(np.int8)
        if self.taste is not None:
            named = because != NOBODY
            ground[named] = self.taste.ground(because[named], lists.items[named])
        return Evidence(because, ground)


@dataclass(frozen=True)
class Policy:
    """What may stand in a list, decided by the shop and not by a model.

    Attributes:
        repeat_purchases: Whether products that the customer already bought may be recommended.
            True suits shops whose goods are used up; False suits durable goods.
        seen: Whether products that the customer looked at lately and did not buy may be
            recommended. True reminds; False leaves room for what the customer has not seen.
        length: Places in a list.
        available_days: Days without any contact after which a product is taken for gone.
    """

    repeat_purchases: bool = True
    seen: bool = True
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


    def take(self, rows: np.ndarray) -> "Lists":
        """The lists of the customers at these positions."""
        return Lists(self.items[rows], self.scores[rows])


def rank(ranker: Scorer, history: History, *, available: np.ndarray, policy: Policy) -> Lists:
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
    return rank_each(ranker, history, available=available, policies=[policy])[0]


def rank_each(
    ranker: Scorer, history: History, *, available: np.ndarray, policies: Sequence[Policy]
) -> list[Lists]:
    """Rank as `rank` does under several policies, scoring once where they do not change scores."""
    items = len(available)
    made = [
        Lists(
            items=np.full((len(history), policy.length), NOBODY, dtype=np.int32),
            scores=np.full((len(history), policy.length), np.nan, dtype=np.float32),
        )
        for policy in policies
    ]
    step = max(1, BATCH_CELLS // max(items, 1))
    for start in range(0, len(history) if items else 0, step):
        batch = history.slice(start, start + step)
        rows = slice(start, start + len(batch))
        scores = None
        for policy, lists in zip(policies, made, strict=True):
            if scores is None or ranker.minds_policy:
                scores = ranker.scores(batch, policy)
            best = top(scores, batch, available=available, policy=policy)
            lists.items[rows], lists.scores[rows] = best.items, best.scores
    return made


def neighbour_scores(ranker: Ranker, history: History) -> np.ndarray:
    """What the neighbours of each customer's products speak for: float32, customers x items."""
    items = len(ranker.base)
    recent = (history.weights * _freshness(ranker, history)).astype(np.float32)
    scores = np.zeros((len(history), items), dtype=np.float32)
    if ranker.neighbours is not None:
        scores = (history.matrix(recent, items) @ ranker.neighbours).toarray()
    if ranker.taste is not None:
        scores = scores + ranker.taste.scores(history, recent)
    return scores


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
    return _best(scores, allowed_items(history, available=available, policy=policy), length=policy.length)


def allowed_items(history: History, *, available: np.ndarray, policy: Policy) -> np.ndarray:
    """Whether the policy lets a product stand in a customer's list: bool, customers x items."""
    allowed = np.broadcast_to(available, (len(history), len(available)))
    bought = history.purchase_days > 0
    barred = (bought & (not policy.repeat_purchases)) | (~bought & (not policy.seen))
    if barred.any():
        allowed = allowed.copy()
        allowed[history.owners()[barred], history.items[barred]] = False
    return allowed


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
    if ranker.neighbours is None and ranker.taste is None and ranker.repeat == 0.0:
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
    best = best_columns(scores, allowed, length=length)
    present = best != NOBODY
    found = np.take_along_axis(scores, np.maximum(best, 0), axis=1)
    return Lists(items=best, scores=np.where(present, found, np.float32(np.nan)))


def best_columns(scores: np.ndarray, allowed: np.ndarray, *, length: int) -> np.ndarray:
    """The columns of `_best`: int32, customers x length, `NOBODY` where fewer are allowed."""
    columns = scores.shape[1]
    bits = (scores + np.float32(0.0)).view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32
    keys |= np.arange(columns - 1, -1, -1, dtype=np.int64)
    barred = np.iinfo(np.int64).min
    keys[~allowed] = barred
    depth = min(length, columns)
    best = np.sort(np.partition(keys, columns - depth, axis=1)[:, columns - depth :], axis=1)[:, ::-1]
    found = np.full((len(scores), length), NOBODY, dtype=np.int32)
    # The low half of a key says the column.
    found[:, :depth] = np.where(best != barred, columns - 1 - (best & 0xFFFFFFFF), NOBODY)
    return found


def _strongest_contact(ranker: Ranker, history: History, lists: Lists) -> np.ndarray:
    items, places = lists.items, lists.items.shape[1]
    lengths = np.diff(history.offsets)
    # One row per (customer, place, contact of that customer), customers and places in order.
    pair = np.repeat(np.arange(len(history) * places), np.repeat(lengths, places))
    starts = np.concatenate([[0], np.cumsum(np.repeat(lengths, places))])[:-1]
    contact = np.arange(len(pair)) - starts[pair] + history.offsets[:-1][pair // places]
    source, target = history.items[contact], items.ravel()[pair]
    worth = np.zeros(len(pair))
    real = target != NOBODY
    recent = history.weights * _freshness(ranker, history)
    if ranker.neighbours is not None and real.any():
        links = np.asarray(ranker.neighbours[source[real], target[real]]).ravel()
        worth[real] = links * recent[contact[real]]
    if ranker.taste is not None and real.any():
        customer = pair[real] // places
        worth[real] += ranker.taste.worth(
            history, recent.astype(np.float32), customer, contact[real], target[real]
        )
    own = source == target
    worth[own] += ranker.repeat * _owned(ranker, history)[contact[own]]
    # Contacts ascend by item, so the first of several equal ones is the most popular product.
    level = np.flatnonzero(worth == np.maximum.reduceat(worth, starts)[pair])
    first = level[np.searchsorted(pair[level], np.arange(len(starts)))]
    personal = np.add.reduceat(np.maximum(worth, 0.0), starts)
    enough = NAMED_SHARE * np.nan_to_num(lists.scores.ravel())
    because = np.where((personal >= enough) & (worth[first] > 0), source[first], NOBODY)
    return because.reshape(items.shape).astype(np.int32)
