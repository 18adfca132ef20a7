"""The methods that compete to recommend products, and how each is fitted.

Two popularity lists, the customer's own habit, item neighbours and the item-item ridge. Their
settings are chosen here too, on the newest horizon that is closed before the as-of day. Judging
the fitted methods against what customers then bought belongs to `grading`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.insights.recommendation.grading import Truth, hits, ndcg, truth_of
from insight_assets.insights.recommendation.interactions import (
    Catalogue,
    History,
    catalogue_of,
    history_of,
)
from insight_assets.insights.recommendation.neighbours import cosine_neighbours, ease_with_tail
from insight_assets.insights.recommendation.ranking import (
    Policy,
    Ranker,
    add_owned,
    neighbour_scores,
    top,
)
from insight_assets.ml.referee import Method

if TYPE_CHECKING:
    from scipy import sparse

METHODS = (
    Method("popularity_recent", kind="rule", complexity=0),
    Method("popularity_all", kind="rival", complexity=1),
    Method("bought_before", kind="rival", complexity=2),
    Method("item_knn", kind="model", complexity=3),
    Method("ease", kind="model", complexity=4),
)
"""Every method that is graded. `bought_before` is the one to fear where goods are used up: on UCI
Online Retail it triples the NDCG of popularity, and EASE without a weight for the customer's own
purchases loses to it clearly."""

NEIGHBOURS_KEPT = 200
"""Neighbours per product in `item_knn`."""

WEIGHTS_KEPT = 300
"""Weights per product in `ease`: on Amazon Beauty NDCG@10 is .0449 with 300 of 12,068 weights and
.0448 was published for all of them."""

DENSE_ITEMS = 4000
"""Products, by buyers, that go through the ridge: 0.1 GB and some 6 s on one core. Others
get cosine weights (see `ease_with_tail`)."""

TUNING_CUSTOMERS = 2000
TUNING_CELLS = 20_000_000
"""Bounds of the choice of settings: customers, and customers x products scored per setting."""

TAIL_SHRINK = 20.0
"""Shrinkage of the cosine weights that stand in for the ridge outside the dense products."""

FEWEST_TUNING_CUSTOMERS = 50
"""Below this many customers with a purchase in the closed horizon the default settings stand."""


@dataclass(frozen=True)
class Tuning:
    """Settings of an item-item method.

    Attributes:
        strength: Shrinkage of `item_knn` in customers; ridge of `ease`.
        decay: Loss of weight of a contact per later day of activity (see `Ranker`).
        repeat: Weight of the customer's own contacts with the very product (see `Ranker`).
        trend: Weight of the product's popularity in the last weeks, between 0 and 1 on a log scale.
    """

    strength: float
    decay: float
    repeat: float
    trend: float


DEFAULT_TUNINGS: Mapping[str, Tuning] = {
    "item_knn": Tuning(strength=20.0, decay=0.1, repeat=3.0, trend=1.0),
    "ease": Tuning(strength=200.0, decay=0.1, repeat=1.0, trend=0.3),
}

STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "item_knn": (5.0, 20.0, 100.0),
    "ease": (50.0, 200.0, 500.0, 2000.0),
}
REPEATS = (0.0, 0.3, 1.0, 3.0, 10.0)
TRENDS = (0.0, 0.1, 0.3, 1.0, 3.0)
DECAYS = (0.0, 0.1, 0.5)


@dataclass(frozen=True)
class Fitted:
    """All methods, fitted as of one day.

    Attributes:
        as_of: Last day that was read.
        catalogue: Products in the order that all arrays share.
        rankers: One per name in `METHODS`.
        tunings: Settings of the methods that have any.
    """

    as_of: date
    catalogue: Catalogue
    rankers: Mapping[str, Ranker]
    tunings: Mapping[str, Tuning]


def fit(
    contacts: pl.DataFrame,
    *,
    as_of: date,
    tunings: Mapping[str, Tuning] = DEFAULT_TUNINGS,
    dense_items: int = DENSE_ITEMS,
) -> Fitted:
    """Fit every method on what customers did up to a day.

    Args:
        contacts: Table as `interactions` gives it for `as_of`.
        as_of: Last day that counts.
        tunings: Settings for `item_knn` and `ease`.
        dense_items: Products that go through the ridge (see `DENSE_ITEMS`).

    Returns:
        The fitted methods; with an empty table, methods over no product.
    """
    catalogue = catalogue_of(contacts, as_of=as_of)
    history = history_of(contacts, catalogue)
    weights = _Weights(catalogue, history, dense_items=dense_items)
    rankers = {
        "popularity_recent": Ranker(base=catalogue.recent_buyers.astype(np.float32)),
        "popularity_all": Ranker(base=catalogue.buyers.astype(np.float32)),
        "bought_before": Ranker(base=np.zeros(len(catalogue), dtype=np.float32), repeat=1.0),
        **{name: weights.ranker(name, tuning) for name, tuning in tunings.items()},
    }
    return Fitted(as_of=as_of, catalogue=catalogue, rankers=rankers, tunings=dict(tunings))


def tune(
    earlier: pl.DataFrame,
    bought: pl.DataFrame,
    *,
    as_of: date,
    policy: Policy,
    dense_items: int = DENSE_ITEMS,
) -> dict[str, Tuning]:
    """Choose the settings of the item-item methods on a horizon that is closed.

    The weights of own contacts and of popularity trade off against each other and are chosen
    together from a grid; then the decay and the strength are moved, one after the other, to the
    value with the best mean NDCG. A tie keeps the earlier value.

    Args:
        earlier: Table as `interactions` gives it for `as_of`, the day before the horizon begins.
        bought: Customers and the products they bought in the horizon (see `purchases`).
        as_of: Day that `earlier` ends with.
        policy: The rules under which lists will be published.
        dense_items: See `fit`.

    Returns:
        Settings by method name; the defaults if fewer than `FEWEST_TUNING_CUSTOMERS` customers
        with a history bought in the horizon.
    """
    catalogue = catalogue_of(earlier, as_of=as_of)
    history = history_of(earlier, catalogue)
    truth = truth_of(bought, history, catalogue)
    limit = min(TUNING_CUSTOMERS, TUNING_CELLS // max(len(catalogue), 1))
    if min(len(truth), limit) < FEWEST_TUNING_CUSTOMERS:
        return dict(DEFAULT_TUNINGS)
    # Keys are keyed pseudonyms: the lowest are a random sample, and the same one on every machine.
    truth = truth.head(limit)
    served = history.take(truth.rows)
    available = available_products(catalogue, as_of=as_of, policy=policy)
    weights = _Weights(catalogue, history, dense_items=dense_items)

    trials = _Trials(weights, served, truth, available=available, policy=policy)
    return {name: trials.best(name, start=start) for name, start in DEFAULT_TUNINGS.items()}


def available_products(catalogue: Catalogue, *, as_of: date, policy: Policy) -> np.ndarray:
    """Whether each product may be offered: bool, shape (products,).

    A product that nobody bought or looked at for `policy.available_days` days is taken for gone.
    """
    since = np.datetime64(as_of - timedelta(days=policy.available_days), "D")
    return catalogue.last_day > since


class _Weights:
    """Item-item matrices of one history, computed once per strength."""

    def __init__(self, catalogue: Catalogue, history: History, *, dense_items: int) -> None:
        """Take the history; nothing is computed yet."""
        self._catalogue = catalogue
        self._contacts = history.matrix(history.weights, len(catalogue))
        order = np.lexsort((np.arange(len(catalogue)), -catalogue.buyers))
        self._dense = np.sort(order[:dense_items])
        self._made: dict[tuple[str, float], sparse.csr_matrix] = {}

    def ranker(self, name: str, tuning: Tuning) -> Ranker:
        """The method `name` with the given settings."""
        return Ranker(
            base=(tuning.trend * log_popularity(self._catalogue)).astype(np.float32),
            neighbours=self._matrix(name, tuning.strength),
            decay=tuning.decay,
            repeat=tuning.repeat,
        )

    def _matrix(self, name: str, strength: float) -> sparse.csr_matrix:
        if (name, strength) not in self._made:
            if name == "item_knn":
                made = cosine_neighbours(self._contacts, shrink=strength, keep=NEIGHBOURS_KEPT)
            else:
                whole = len(self._dense) == len(self._catalogue)
                tail = None if whole else self._matrix("item_knn", TAIL_SHRINK)
                made = ease_with_tail(
                    self._contacts,
                    tail,
                    ridge=strength,
                    keep=WEIGHTS_KEPT,
                    dense_items=self._dense,
                )
            self._made[name, strength] = made
        return self._made[name, strength]


def log_popularity(catalogue: Catalogue) -> np.ndarray:
    """Recent buyers on a log scale from 0, none, to 1, most popular: float64, shape (products,)."""
    logs = np.log1p(catalogue.recent_buyers.astype(np.float64))
    return logs / max(float(logs.max(initial=0.0)), 1.0)


class _Trials:
    """Mean NDCG of settings on one closed horizon."""

    def __init__(
        self,
        weights: _Weights,
        history: History,
        truth: Truth,
        *,
        available: np.ndarray,
        policy: Policy,
    ) -> None:
        """Take the history of exactly the customers of `truth`, and what they bought then."""
        self._weights = weights
        self._history = history
        self._truth = truth
        self._available = available
        self._policy = policy

    def best(self, name: str, *, start: Tuning) -> Tuning:
        """The settings of the method `name` that rank best, searched from `start`."""
        weighted = [
            replace(start, repeat=repeat, trend=trend)
            for repeat, trend in itertools.product(REPEATS, TRENDS)
        ]
        found = self._best_of(name, [start, *weighted])
        found = self._best_of(name, [found, *(replace(found, decay=value) for value in DECAYS)])
        strengths = [replace(found, strength=value) for value in STRENGTHS[name]]
        return self._best_of(name, [found, *strengths])

    def _best_of(self, name: str, tunings: Sequence[Tuning]) -> Tuning:
        """The first of the tunings with the highest mean NDCG, to six decimals."""
        quality = []
        scored_for, scores = None, None
        for tuning in tunings:
            ranker = self._weights.ranker(name, tuning)
            if scored_for != (tuning.strength, tuning.decay):
                scored_for = (tuning.strength, tuning.decay)
                scores = neighbour_scores(ranker, self._history)
            total = scores + ranker.base
            add_owned(total, ranker, self._history)
            lists = top(total, self._history, available=self._available, policy=self._policy)
            gained = ndcg(hits(lists, self._truth), self._truth.sizes)
            quality.append(round(float(gained.mean()), 6))
        return tunings[int(np.argmax(quality))]
