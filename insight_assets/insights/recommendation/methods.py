"""The methods that compete to recommend products, and how each is fitted.

Popularity with everybody and within segments, the customer's own habit, likeness of products, rules
from orders, neighbours among products and among customers, the item-item ridge, factors, and a
blend of them. Their settings are chosen here too, on the newest horizon that is closed before the
as-of day. Judging the fitted methods against what customers then bought belongs to `grading`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.insights.associations.baskets import Baskets, baskets_of
from insight_assets.insights.behaviour.product_vectors import ProductVectors
from insight_assets.insights.recommendation.blend import Blend, place_worth
from insight_assets.insights.recommendation.content import Content
from insight_assets.insights.recommendation.customers_alike import CustomersAlike
from insight_assets.insights.recommendation.encoded import Encoded
from insight_assets.insights.recommendation.factors import FACTORS, Factors, learn_factors
from insight_assets.insights.recommendation.grading import Truth, hits, ndcg, truth_of
from insight_assets.insights.recommendation.interactions import (
    POPULARITY_DAYS,
    Catalogue,
    History,
    catalogue_of,
    history_of,
)
from insight_assets.insights.recommendation.neighbours import cosine_neighbours, ease_with_tail
from insight_assets.insights.recommendation.order_rules import rule_weights
from insight_assets.insights.recommendation.ranking import (
    Ground,
    Policy,
    Ranker,
    Scorer,
    add_owned,
    neighbour_scores,
    top,
)
from insight_assets.insights.recommendation.segments import segment_popularity
from insight_assets.ml.referee import Method

if TYPE_CHECKING:
    from scipy import sparse

METHODS = (
    Method("popularity_recent", kind="rule", complexity=0),
    Method("popularity_all", kind="rival", complexity=1),
    Method("popularity_segment", kind="rival", complexity=2),
    Method("bought_before", kind="rival", complexity=3),
    Method("content", kind="rival", complexity=4),
    Method("order_rules", kind="rival", complexity=5),
    Method("item_knn", kind="model", complexity=6),
    Method("user_knn", kind="model", complexity=7),
    Method("ease", kind="model", complexity=8),
    Method("als", kind="model", complexity=9),
    Method("encoder", kind="model", complexity=10),
    Method("blend", kind="model", complexity=11),
)
"""Every method that may be graded; `encoder` is there where the behaviour encoder's vectors are. `bought_before` is the
one to fear where goods are used up: on UCI Online Retail it triples the NDCG of popularity, and EASE without a weight
for the customer's own purchases loses to it clearly."""

ENCODER = "encoder"

NEIGHBOURS_KEPT = 200
"""Neighbours per product in `item_knn`."""

WEIGHTS_KEPT = 300
"""Weights per product in `ease`: on Amazon Beauty NDCG@10 is .0449 with 300 of 12,068 weights and
.0448 was published for all of them."""

DENSE_ITEMS = 4000
"""Products, by buyers, that go through the ridge: 0.1 GB and some 6 s on one core. Others
get cosine weights (see `ease_with_tail`)."""

TUNING_CUSTOMERS = 2000
COARSE_CUSTOMERS = 1000
TUNING_CELLS = 20_000_000
"""Bounds of the choice of settings: customers, those of the coarse search and of the blend, and
customers x products scored per setting."""

TAIL_SHRINK = 20.0
"""Shrinkage of the cosine weights that stand in for the ridge outside the dense products."""

FEWEST_TUNING_CUSTOMERS = 50
"""Below this many customers with a purchase in the closed horizon the default settings stand."""


@dataclass(frozen=True)
class Tuning:
    """Settings of a method that reads the customer's history.

    Attributes:
        strength: Shrinkage of `item_knn` and `user_knn`; ridge of `ease` and `als`; what cosines are multiplied by in
            `encoder`; the weight of the history in `content` and `order_rules`, which have no other.
        decay: Loss of weight of a contact per later day of activity (see `Ranker`).
        repeat: Weight of the customer's own contacts with the very product (see `Ranker`).
        trend: Weight of the product's popularity in the last weeks, between 0 and 1 on a log scale.
    """

    strength: float
    decay: float
    repeat: float
    trend: float


@dataclass(frozen=True)
class Tunings:
    """Settings of all methods that have any.

    Attributes:
        methods: By name of the method.
        blend: Weight of every method in the blend, above 0.
    """

    methods: Mapping[str, Tuning]
    blend: Mapping[str, float]


DEFAULT_TUNINGS = Tunings(
    methods={
        "content": Tuning(strength=1.0, decay=0.1, repeat=1.0, trend=0.3),
        "order_rules": Tuning(strength=1.0, decay=0.1, repeat=1.0, trend=0.3),
        "item_knn": Tuning(strength=20.0, decay=0.1, repeat=3.0, trend=1.0),
        "user_knn": Tuning(strength=1.0, decay=0.1, repeat=0.3, trend=0.1),
        "ease": Tuning(strength=200.0, decay=0.1, repeat=1.0, trend=0.3),
        "als": Tuning(strength=0.1, decay=0.1, repeat=0.3, trend=0.1),
        "encoder": Tuning(strength=12.0, decay=0.1, repeat=0.0, trend=0.1),
    },
    blend={"ease": 1.0, "item_knn": 1.0, "popularity_segment": 1.0},
)

STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "content": (1.0,),
    "order_rules": (1.0,),
    "item_knn": (5.0, 20.0, 100.0),
    "user_knn": (0.3, 1.0, 5.0),
    "ease": (50.0, 200.0, 500.0, 2000.0),
    "als": (0.03, 0.1),
    "encoder": (4.0, 12.0),
}
SEARCHED_FINELY = frozenset({"item_knn", "ease"})
REPEATS = (0.0, 0.3, 1.0, 3.0, 10.0)
TRENDS = (0.0, 0.1, 0.3, 1.0, 3.0)
DECAYS = (0.0, 0.1, 0.5)
COARSE_REPEATS = (0.0, 1.0, 10.0)
COARSE_TRENDS = (0.0, 0.1, 1.0)
"""Values tried: the coarse ones, on fewer customers, for methods that add to the blend or win where
little is known."""

BLENDED = (
    "popularity_segment", "bought_before", "content", "order_rules", "item_knn", "user_knn", "ease", "als",
    "encoder",
)
"""Methods that the blend may use."""

BLEND_CELLS = 1_500_000
"""Customers x products looked at per method when the weights of the blend are chosen."""

BLEND_STEPS = 8
BLEND_GAIN = 0.005
"""Steps in which a method is added to the blend, each for at least this relative gain in NDCG: less
is more often chance on the horizon than a better blend."""


@dataclass(frozen=True)
class Fitted:
    """All methods, fitted as of one day.

    Attributes:
        as_of: Last day that was read.
        catalogue: Products in the order that all arrays share.
        rankers: One per method.
        tunings: Settings of the methods that have any.
    """

    as_of: date
    catalogue: Catalogue
    rankers: Mapping[str, Scorer]
    tunings: Tunings

    @property
    def methods(self) -> tuple[Method, ...]:
        """Those of `METHODS` that were fitted."""
        return tuple(method for method in METHODS if method.name in self.rankers)

    def knowing(self, vectors: pl.DataFrame) -> "Fitted":
        """Give the encoder customers: rows of the contract `behaviour_vectors` as of the day of the lists."""
        if ENCODER not in self.rankers:
            return self
        encoder = self.rankers[ENCODER]
        rankers = dict(self.rankers) | {ENCODER: replace(encoder, taste=encoder.taste.knowing(vectors))}
        return replace(self, rankers=rankers | {"blend": blended(rankers, self.tunings)})


@dataclass(frozen=True)
class Vectors:
    """What the behaviour encoder of a day says of products and customers.

    Attributes:
        products: What it says of products.
        customers: Rows of the contract `behaviour_vectors` as of that day.
    """

    products: ProductVectors
    customers: pl.DataFrame


def blended(rankers: Mapping[str, Scorer], tunings: Tunings) -> Blend:
    """Put the methods together that a blend is made of."""
    return Blend({name: rankers[name] for name in tunings.blend}, dict(tunings.blend))


def fit(
    contacts: pl.DataFrame,
    *,
    as_of: date,
    tunings: Tunings = DEFAULT_TUNINGS,
    products: pl.DataFrame | None = None,
    orders: pl.DataFrame | None = None,
    vectors: Vectors | None = None,
    dense_items: int = DENSE_ITEMS,
    factors: int = FACTORS,
) -> Fitted:
    """Fit every method on what customers did up to a day.

    Args:
        contacts: Table as `interactions` gives it for `as_of`.
        as_of: Last day that counts.
        tunings: Settings.
        products: What the shop says of its products (see `catalogue_of`); None where nothing is told.
        orders: Table as `basket_rows` gives it for `as_of`; None takes all that a customer bought for
            one order.
        vectors: Those of the behaviour encoder as of the same day; None leaves `encoder` out.
        dense_items: Products that go through the ridge (see `DENSE_ITEMS`).
        factors: Length of the products' factors in `als`.

    Returns:
        The fitted methods; with an empty table, methods over no product.
    """
    weights = _Weights(
        contacts, as_of=as_of, products=products, orders=orders, vectors=vectors, dense_items=dense_items,
        factors=factors,
    )  # fmt: skip
    # Where it was not there when settings were chosen, the usual ones do, and it is in no blend.
    tunings = replace(tunings, methods=weights.tunings(DEFAULT_TUNINGS.methods) | weights.tunings(tunings.methods))
    rankers = weights.untuned() | {name: weights.ranker(name, tuning) for name, tuning in tunings.methods.items()}
    rankers["blend"] = blended(rankers, tunings)
    return Fitted(as_of=as_of, catalogue=weights.catalogue, rankers=rankers, tunings=tunings)


def tune(
    earlier: pl.DataFrame,
    bought: pl.DataFrame,
    *,
    as_of: date,
    policy: Policy,
    products: pl.DataFrame | None = None,
    orders: pl.DataFrame | None = None,
    vectors: Vectors | None = None,
    dense_items: int = DENSE_ITEMS,
    factors: int = FACTORS,
) -> Tunings:
    """Choose the settings of the methods on a horizon that is closed.

    The weights of own contacts and of popularity trade off against each other and are chosen
    together from a grid; then the decay and the strength are moved, one after the other, to the
    value with the best mean NDCG. A tie keeps the earlier value. Last, methods are added to the
    blend one by one, each with a weight of 1 more, as long as that gains `BLEND_GAIN`.

    Args:
        earlier: Table as `interactions` gives it for `as_of`, the day before the horizon begins.
        bought: Customers and the products they bought in the horizon (see `purchases`).
        as_of: Day that `earlier` ends with.
        policy: The rules under which lists will be published.
        products: As in `fit`, as of that day.
        orders: As in `fit`, as of that day.
        vectors: As in `fit`, as of that day.
        dense_items: See `fit`.
        factors: See `fit`.

    Returns:
        The settings; the defaults if fewer than `FEWEST_TUNING_CUSTOMERS` customers with a history
        bought in the horizon.
    """
    weights = _Weights(
        earlier, as_of=as_of, products=products, orders=orders, vectors=vectors, dense_items=dense_items,
        factors=factors,
    )  # fmt: skip
    catalogue, history = weights.catalogue, weights.history
    truth = truth_of(bought, history, catalogue)
    limit = min(TUNING_CUSTOMERS, TUNING_CELLS // max(len(catalogue), 1))
    if min(len(truth), limit) < FEWEST_TUNING_CUSTOMERS:
        return DEFAULT_TUNINGS
    # Keys are keyed pseudonyms: the lowest are a random sample, and the same one on every machine.
    truth = truth.head(limit)
    available = available_products(catalogue, as_of=as_of, policy=policy)
    fine, coarse = (
        _Trials(weights, history.take(some.rows), some, available=available, policy=policy)
        for some in (truth, truth.head(COARSE_CUSTOMERS))
    )
    found = {
        name: (fine if name in SEARCHED_FINELY else coarse).best(name, start=start)
        for name, start in weights.tunings(DEFAULT_TUNINGS.methods).items()
    }
    rankers = weights.untuned() | {name: weights.ranker(name, tuning) for name, tuning in found.items()}
    cells = max(FEWEST_TUNING_CUSTOMERS, BLEND_CELLS // max(len(catalogue), 1))
    few = truth.head(min(COARSE_CUSTOMERS, cells))
    mixed = choose_blend(
        {name: rankers[name].among(history) for name in BLENDED if name in rankers},
        history.take(few.rows),
        few,
        available=available,
        policy=policy,
    )
    return Tunings(methods=found, blend=mixed)


def choose_blend(
    rankers: Mapping[str, Scorer], served: History, truth: Truth, *, available: np.ndarray, policy: Policy
) -> dict[str, float]:
    """Add methods one by one to a blend, each with a weight of 1 more, as long as that gains `BLEND_GAIN`.

    Args:
        rankers: Methods that may take part, among all customers.
        served: The customers of `truth`.
        truth: What they bought in a horizon that is closed.
        available: See `rank`.
        policy: The rules under which lists will be published.

    Returns:
        Weight of each method that takes part; at least one does.
    """
    worth = {
        name: place_worth(ranker.scores(served, policy), served, policy=policy) for name, ranker in rankers.items()
    }

    def quality(total: np.ndarray) -> float:
        lists = top(total, served, available=available, policy=policy)
        return float(ndcg(hits(lists, truth), truth.sizes).mean())

    chosen: dict[str, float] = {}
    total = np.zeros((len(served), len(available)), dtype=np.float32)
    reached = 0.0
    for _ in range(BLEND_STEPS):
        gained = {name: quality(total + part) for name, part in worth.items()}
        name = max(gained, key=lambda each: round(gained[each], 6))
        if chosen and gained[name] < reached * (1 + BLEND_GAIN):
            break
        chosen[name] = chosen.get(name, 0.0) + 1.0
        total += worth[name]
        reached = gained[name]
    return {name: chosen[name] for name in rankers if name in chosen}


def available_products(catalogue: Catalogue, *, as_of: date, policy: Policy) -> np.ndarray:
    """Whether each product may be offered: bool, shape (products,).

    A product that nobody bought or looked at for `policy.available_days` days is taken for gone.
    """
    since = np.datetime64(as_of - timedelta(days=policy.available_days), "D")
    return catalogue.last_day > since


class _Weights:
    """The fitted parts of one history, computed once per strength."""

    def __init__(
        self,
        contacts: pl.DataFrame,
        *,
        as_of: date,
        products: pl.DataFrame | None,
        orders: pl.DataFrame | None,
        vectors: Vectors | None,
        dense_items: int,
        factors: int,
    ) -> None:
        """Take the contacts; nothing is fitted yet."""
        self.catalogue = catalogue_of(contacts, as_of=as_of, products=products)
        self.history = history_of(contacts, self.catalogue)
        self._table, self._orders, self._vectors, self._factors = contacts, orders, vectors, factors
        self._since = as_of - timedelta(days=POPULARITY_DAYS)
        self._contacts = self.history.matrix(self.history.weights, len(self.catalogue))
        order = np.lexsort((np.arange(len(self.catalogue)), -self.catalogue.buyers))
        self._dense = np.sort(order[:dense_items])
        self._made: dict[tuple[str, float], sparse.csr_matrix | Factors] = {}

    def tunings(self, methods: Mapping[str, Tuning]) -> dict[str, Tuning]:
        """Those of the methods that can be fitted."""
        return {name: tuning for name, tuning in methods.items() if name != ENCODER or self._vectors is not None}

    def untuned(self) -> dict[str, Scorer]:
        """The methods without settings."""
        nothing = np.zeros(len(self.catalogue), dtype=np.float32)
        return {
            "popularity_recent": Ranker(base=self.catalogue.recent_buyers.astype(np.float32)),
            "popularity_all": Ranker(base=self.catalogue.buyers.astype(np.float32)),
            "popularity_segment": segment_popularity(self.history, self._bought_lately(), self.catalogue),
            "bought_before": Ranker(base=nothing, repeat=1.0),
        }

    def ranker(self, name: str, tuning: Tuning) -> Ranker:
        """The method `name` with the given settings."""
        taste, matrix, ground = None, None, Ground.CONTACT
        if name == "content":
            taste = Content(self.catalogue.attributes)
        elif name == "user_knn":
            taste = CustomersAlike(products=len(self.catalogue), shrink=tuning.strength)
        elif name == ENCODER:
            taste = self._encoded(tuning.strength)
        elif name == "als":
            if (name, tuning.strength) not in self._made:
                self._made[name, tuning.strength] = learn_factors(
                    self._contacts, ridge=tuning.strength, factors=self._factors
                )
            taste = self._made[name, tuning.strength]
        else:
            matrix = self._matrix(name, tuning.strength)
            ground = Ground.ORDER if name == "order_rules" else Ground.CONTACT
        return Ranker(
            base=(tuning.trend * log_popularity(self.catalogue)).astype(np.float32),
            neighbours=matrix,
            decay=tuning.decay,
            repeat=tuning.repeat,
            taste=taste,
            ground=ground,
        )

    def _encoded(self, sharpness: float) -> Encoded:
        encoded = Encoded.over(self.catalogue, self._vectors.products, sharpness=sharpness)
        return encoded.knowing(self._vectors.customers)

    def _bought_lately(self) -> sparse.csr_matrix:
        """Customers x products, 1 where bought within the popularity window."""
        rows = pl.DataFrame({"customer_key": self.history.customers}).with_row_index("row")
        lately = (
            self._table.filter(pl.col("last_bought") > self._since)
            .select(pl.col("customer_key").cast(pl.Int64), "product_id")
            .join(rows, on="customer_key", how="inner")
            .join(self.catalogue.positions(), on="product_id", how="inner")
        )
        from scipy import sparse

        return sparse.csr_matrix(
            (np.ones(lately.height), (lately["row"].to_numpy(), lately["item"].to_numpy())),
            shape=(len(self.history), len(self.catalogue)),
        )

    def _baskets(self) -> Baskets:
        if self._orders is not None:
            return baskets_of(self._orders)
        bought = self._table.filter(pl.col("last_bought").is_not_null()).select("customer_key", "product_id")
        return baskets_of(bought.with_columns(source=pl.lit(""), order_id=pl.lit("")))

    def _matrix(self, name: str, strength: float) -> sparse.csr_matrix:
        if (name, strength) not in self._made:
            if name == "item_knn":
                made = cosine_neighbours(self._contacts, shrink=strength, keep=NEIGHBOURS_KEPT)
            elif name == "order_rules":
                made = rule_weights(self._baskets(), self.catalogue)
            else:
                whole = len(self._dense) == len(self.catalogue)
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
            for repeat, trend in itertools.product(
                *((REPEATS, TRENDS) if name in SEARCHED_FINELY else (COARSE_REPEATS, COARSE_TRENDS))
            )
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
            ranker = self._weights.ranker(name, tuning).among(self._weights.history)
            if scored_for != (tuning.strength, tuning.decay):
                scored_for = (tuning.strength, tuning.decay)
                scores = neighbour_scores(ranker, self._history)
            total = scores + ranker.base
            add_owned(total, ranker, self._history)
            lists = top(total, self._history, available=self._available, policy=self._policy)
            gained = ndcg(hits(lists, self._truth), self._truth.sizes)
            quality.append(round(float(gained.mean()), 6))
        return tunings[int(np.argmax(quality))]
