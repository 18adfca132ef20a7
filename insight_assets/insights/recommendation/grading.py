"""Judging ranked lists by what customers bought after the origin.

Full ranking over the catalogue, no sampled negatives. Metrics per customer and the scorecard that
the referee makes of them; which methods exist and how they are fitted is said in `methods`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.insights.recommendation.interactions import Catalogue, History
from insight_assets.insights.recommendation.listing import (
    SHOP_WIDE,
    coverage,
    diversity,
    exposure_gini,
    novelty,
    popularity,
)
from insight_assets.insights.recommendation.ranking import NOBODY, Lists, Policy, Scorer, rank_each
from insight_assets.ml.referee import SCORECARD_SCHEMA, Method, grade_methods

if TYPE_CHECKING:
    from scipy import sparse

TASK = "recommendation"
DIGITS = 6
"""Decimals of a stored share, as the referee stores its values."""


@dataclass(frozen=True)
class Truth:
    """What customers with a history bought in a horizon.

    Attributes:
        rows: Positions of these customers in the history, ascending, int64, shape (customers,).
        bought: Customers x products of the catalogue, true where bought; sparse.
        sizes: Distinct products bought, those outside the catalogue included, int64; at least 1.
    """

    rows: np.ndarray
    bought: sparse.csr_matrix
    sizes: np.ndarray

    def __len__(self) -> int:
        """Number of customers."""
        return len(self.rows)

    def head(self, limit: int) -> Truth:
        """The first `limit` customers."""
        return Truth(self.rows[:limit], self.bought[:limit], self.sizes[:limit])


def truth_of(bought: pl.DataFrame, history: History, catalogue: Catalogue) -> Truth:
    """Line up purchases of the horizon with the customers and products known before it.

    Products that nobody could recommend because they appeared later stay in `sizes`: they make
    recall smaller, equally for all methods.

    Args:
        bought: One row per customer and product bought (see `purchases`).
        history: Customers known at the origin.
        catalogue: Products known at the origin.

    Returns:
        Purchases of the customers that have a history, in the order of the history.
    """
    from scipy import sparse

    rows = pl.DataFrame(
        {"customer_key": history.customers, "row": np.arange(len(history))},
        schema={"customer_key": pl.Int64, "row": pl.Int64},
    )
    pairs = (
        bought.join(rows, on="customer_key", how="inner")
        .join(catalogue.positions(), on="product_id", how="left")
        .select("row", "item")
    )
    present, sizes = np.unique(pairs["row"].to_numpy(), return_counts=True)
    known = pairs.drop_nulls("item")
    matrix = sparse.csr_matrix(
        (
            np.ones(known.height, dtype=bool),
            (np.searchsorted(present, known["row"].to_numpy()), known["item"].to_numpy()),
        ),
        shape=(len(present), len(catalogue)),
    )
    return Truth(rows=present.astype(np.int64), bought=matrix, sizes=sizes.astype(np.int64))


def without_repeats(truth: Truth, history: History) -> Truth:
    """Leave only products that the customer had not bought by the origin.

    Args:
        truth: Purchases of the horizon.
        history: The history that `truth` was lined up with.

    Returns:
        The same for the customers that bought at least one product that was new to them.
    """
    served = history.take(truth.rows)
    owned = served.matrix((served.purchase_days > 0).astype(np.int8), truth.bought.shape[1])
    repeated = truth.bought.multiply(owned > 0)
    left = truth.sizes - np.asarray(repeated.sum(axis=1)).ravel().astype(np.int64)
    fresh = (truth.bought.astype(np.int8) - repeated.astype(np.int8)).tocsr()
    fresh.eliminate_zeros()
    kept = left > 0
    return Truth(truth.rows[kept], fresh[kept].astype(bool), left[kept])


def hits(lists: Lists, truth: Truth) -> np.ndarray:
    """Whether the product in each place was bought: bool, shape (customers, length)."""
    if not lists.items.size or not truth.bought.shape[1]:
        return np.zeros(lists.items.shape, dtype=bool)
    customers = np.repeat(np.arange(len(truth)), lists.items.shape[1])
    places = np.maximum(lists.items, 0).ravel()
    found = np.asarray(truth.bought[customers, places]).reshape(lists.items.shape)
    return found.astype(bool) & (lists.items != NOBODY)


def ndcg(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain of each list, binary relevance.

    Args:
        found: Result of `hits`, shape (customers, length).
        sizes: Products that would have been right, at least 1, shape (customers,).

    Returns:
        Float64 in [0, 1]: the sum of 1 / log2(1 + place) over the hits, divided by what the best
        possible list of this length would have got.
    """
    length = found.shape[1]
    discount = 1.0 / np.log2(np.arange(2, length + 2))
    best = np.cumsum(discount)[np.minimum(sizes, length) - 1]
    return (found @ discount) / best


def recall(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Share of the products bought that stand in the list: float64 in [0, 1], per customer."""
    return found.sum(axis=1) / sizes


def known_share(truth: Truth) -> float:
    """Share of the purchases of the horizon that name a product known at the origin."""
    return round(truth.bought.nnz / max(int(truth.sizes.sum()), 1), DIGITS)


def primary_metric(policy: Policy) -> str:
    """Name of the metric that decides under the shop's rule for repeat purchases."""
    return f"{'' if policy.repeat_purchases else 'new_'}ndcg_at_{policy.length}"


def grade_lists(
    rankers: Mapping[str, Scorer],
    methods: Sequence[Method],
    history: History,
    truth: Truth,
    *,
    catalogue: Catalogue,
    available: np.ndarray,
    policy: Policy,
    origin: date,
    seed: int,
    model_version: str | None,
) -> pl.DataFrame:
    """Grade every method on the customers who bought in the horizon.

    Metrics, with `n` the length of the lists: `ndcg_at_n` and `recall_at_n` over all products,
    where buying again counts; `new_ndcg_at_n` and `new_recall_at_n` with lists and truth confined
    to products new to the customer. The metric under the shop's own rule decides: `ndcg_at_n`
    where repeat purchases may be recommended, `new_ndcg_at_n` otherwise. What lists under that rule
    are like beside being right is told and does not decide (see `listing`).

    Coverage and the inequality of exposure are numbers of the whole shop and no means over
    customers, so a bootstrap over customers says nothing about them (a resample repeats customers
    and can only cover less): their intervals are null.

    Args:
        rankers: Fitted methods by name.
        methods: Methods to grade, all with a ranker.
        history: Every customer known at the origin.
        truth: What the customers among them bought in the horizon (see `truth_of`).
        catalogue: The products.
        available: See `rank`.
        policy: The shop's rules for lists.
        origin: As-of day of the lists.
        seed: Seed of the bootstrap.
        model_version: Version of the fitted models.

    Returns:
        A scorecard as `grade_methods` makes it, sorted by complexity, method and metric; empty if
        nobody with a history bought in the horizon.
    """
    if not len(truth):
        return SCORECARD_SCHEMA.to_frame()
    measures: dict[str, dict[str, np.ndarray]] = {}
    offered: dict[str, dict[str, float]] = {name: {} for name in SHOP_WIDE}
    fresh = without_repeats(truth, history)
    rules = {
        "": (truth, replace(policy, repeat_purchases=True)),
        "new_": (fresh, replace(policy, repeat_purchases=False)),
    }
    served = history.take(truth.rows)
    of_fresh = np.searchsorted(truth.rows, fresh.rows)
    for method in methods:
        ranker = rankers[method.name].among(history)
        made = rank_each(ranker, served, available=available, policies=[rule for _, rule in rules.values()])
        for (prefix, (expected, rule)), every in zip(rules.items(), made, strict=True):
            if not len(expected):
                continue
            lists = every.take(of_fresh) if prefix else every
            found = hits(lists, expected)
            name = f"at_{policy.length}"
            found_by = {f"{prefix}ndcg_{name}": ndcg(found, expected.sizes)}
            found_by[f"{prefix}recall_{name}"] = recall(found, expected.sizes)
            if rule.repeat_purchases == policy.repeat_purchases:
                found_by |= {
                    "novelty": novelty(lists, catalogue.buyers, customers=len(history)),
                    "popularity": popularity(lists, catalogue.buyers, available),
                }
                if catalogue.attributes.categories:
                    found_by["diversity"] = diversity(lists, catalogue.attributes.category)
                offered["coverage"][method.name] = coverage(lists, available)
                offered["exposure_gini"][method.name] = exposure_gini(lists, available)
            for metric, values in found_by.items():
                measures.setdefault(metric, {})[method.name] = values
    primary = primary_metric(policy)
    if primary not in measures:
        return SCORECARD_SCHEMA.to_frame()

    cards = {
        metric: _card(
            metric, values, methods=methods, origin=origin, seed=seed, model_version=model_version
        )
        for metric, values in measures.items()
    }
    verdicts = cards[primary].select("method", "is_champion", "grade")
    shop_wide = [
        cards[primary].with_columns(
            metric=pl.lit(name),
            value=pl.col("method").replace_strict(values, return_dtype=pl.Float64).round(DIGITS),
            low=pl.lit(None, pl.Float64),
            high=pl.lit(None, pl.Float64),
        )
        for name, values in offered.items()
    ]
    others = pl.concat([*shop_wide, *(card for name, card in cards.items() if name != primary)])
    others = (
        others.drop("is_champion", "grade")
        .join(verdicts, on="method")
        .with_columns(
            pl.lit(None, pl.Float64).alias(name) for name in ("gain", "gain_low", "gain_high")
        )
    )
    return pl.concat([cards[primary], others.select(SCORECARD_SCHEMA.names())]).sort(
        "complexity", "method", "metric"
    )


def accuracy(scorecard: pl.DataFrame) -> pl.DataFrame:
    """The rows of a scorecard that say how right lists are."""
    return scorecard.filter(pl.col("metric").str.contains("_at_"))


def beside_accuracy(scorecard: pl.DataFrame) -> pl.DataFrame:
    """What lists are like beside being right: one row a method, one column a measure."""
    rows = scorecard.filter(~pl.col("metric").str.contains("_at_"))
    return rows.pivot("metric", index="method", values="value", sort_columns=True)


def _card(
    metric: str,
    values: Mapping[str, np.ndarray],
    *,
    methods: Sequence[Method],
    origin: date,
    seed: int,
    model_version: str | None,
) -> pl.DataFrame:
    any_values = next(iter(values.values()))
    return grade_methods(
        task=TASK,
        origin=origin,
        methods=methods,
        truth=np.ones_like(any_values),
        predictions=values,
        metrics={metric: lambda _, prediction: float(prediction.mean())},
        primary=metric,
        higher_is_better={metric: True},
        seed=seed,
        model_version=model_version,
    )
