"""The scorecard of clusterings: which way of dividing customers says most about what they will spend.

Every method divides the customers of an origin, and what they spent in the horizon after it says how much the division
was worth. Chooses methods and measures and hands them to the referee, which decides. How customers are divided is in
`clusters`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.segmentation.clusters import (
    LEAST_STABILITY,
    NO_CLUSTER,
    Clustering,
    ClusterMethod,
    cluster_customers,
    silhouettes,
)
from insight_assets.insights.segmentation.density import DENSITY
from insight_assets.insights.segmentation.gaussian_mixture import GAUSSIAN_MIXTURE
from insight_assets.insights.segmentation.hierarchical import HIERARCHICAL
from insight_assets.insights.segmentation.k_means import K_MEANS
from insight_assets.ml.referee import CONFIDENCE_TAILS, SCORECARD_SCHEMA, Method, champion, grade_methods

TASK = "clustering"
PRIMARY = "explained_spend"
METHODS = (K_MEANS, HIERARCHICAL, GAUSSIAN_MIXTURE, DENSITY)
"""All ways to divide customers, the simple rule first."""

MOST_NOISE = 0.2
"""Share of the customers that a published division may leave in no cluster."""

MOST_GRADED = 20_000
"""Customers that are graded; of more, a part is drawn, so that the cost does not grow with the shop."""

_FOLDS = 5
_RESAMPLES = 400
_DIGITS = 6


@dataclass(frozen=True)
class GradedClusterings:
    """A scorecard with the divisions behind it.

    Attributes:
        scorecard: rows of the contract `clustering_scorecard`; empty when there was nobody to grade.
        clusterings: by method, the division of the graded customers.
    """

    scorecard: pl.DataFrame
    clusterings: Mapping[str, Clustering]


@dataclass(frozen=True)
class Publication:
    """What may be published.

    Attributes:
        method: how customers are divided.
        origin: origin of the scorecard that said so; None when no horizon has closed yet.
    """

    method: ClusterMethod
    origin: date | None


def grade_clusterings(
    customers: pl.DataFrame,
    customer_labels: pl.DataFrame,
    *,
    origin: date,
    smallest_group: int,
    seed: int,
    methods: Sequence[ClusterMethod] = METHODS,
) -> GradedClusterings:
    """Divide the customers of an origin by every method and grade what the divisions say of the horizon.

    The primary metric is the share of the variance of log spend in the horizon, log(1 + net value), that the cluster
    explains. A customer is foretold the mean of the cluster's other customers (five folds), so that dividing into more
    clusters explains nothing by itself, and the share of a worthless division is about 0 or below.

    A method challenges only when its division has several clusters, is stable (`LEAST_STABILITY`) and leaves few
    customers out (`MOST_NOISE`); then the referee's rule holds: it becomes champion if its gain over the champion so
    far lies wholly above 0, in the order of complexity. K-means is the simple rule and needs no leave.

    Args:
        customers: rows of `scaling.buyers` as of the origin, in any order.
        customer_labels: rows of the contract `customer_labels` of the origin, in any order.
        origin: as-of day that is graded.
        smallest_group: smallest number of customers in a cluster.
        seed: seed of samples, starts and resamples.
        methods: ways to divide customers, one of them of complexity 0.
    """
    graded = _part(customers.join(customer_labels.select("customer_key", "net"), on="customer_key"), seed=seed)
    if graded.height < 2 * _FOLDS:
        return GradedClusterings(pl.DataFrame(schema=SCORECARD_SCHEMA), {})
    spend = np.log1p(np.maximum(graded["net"].to_numpy(), 0.0))
    found = {
        method.name: cluster_customers(
            graded.drop("net"), method=method, smallest_group=smallest_group, seed=seed
        )
        for method in methods
    }
    foretold = {name: foretell(each.labels, spend, seed=seed) for name, each in found.items()}
    graders = {
        method.name: Method(method.name, "rival" if method.complexity else "rule", method.complexity)
        for method in methods
    }
    rule = next(each for each in graders.values() if each.kind == "rule")
    challengers = [
        each for each in graders.values() if each is rule or may_challenge(found[each.name])
    ]
    primary = _verdict(challengers, spend, foretold, origin=origin, seed=seed)
    for other in graders.values():
        if other not in challengers:
            row = _verdict([rule, other], spend, foretold, origin=origin, seed=seed)
            primary = primary.vstack(
                row.filter(pl.col("method") == other.name).with_columns(is_champion=pl.lit(False))
            )
    described = [
        _described(each, primary.row(by_predicate=pl.col("method") == name, named=True), seed=seed)
        for name, each in found.items()
    ]
    scorecard = pl.concat([primary, *described]).sort("complexity", "method", "metric")
    return GradedClusterings(scorecard, found)


def may_challenge(clustering: Clustering) -> bool:
    """Tell whether a division is sound enough to be published in place of the simple rule's."""
    chosen = clustering.chosen
    return (
        chosen is not None
        and (chosen.stability or 0.0) >= LEAST_STABILITY
        and float(np.mean(clustering.labels == NO_CLUSTER)) <= MOST_NOISE
    )


def foretell(groups: np.ndarray, truth: np.ndarray, *, seed: int) -> np.ndarray:
    """Foretell each customer the mean of the other customers of the group.

    Args:
        groups: group of each customer, shape (n,), in a fixed order.
        truth: what is to be foretold, shape (n,).
        seed: seed of the folds.

    Returns:
        Means over the group's customers of the other folds, shape (n,); of a group with nobody there, the mean of all
        other folds.
    """
    folds = np.random.default_rng([seed, 4]).permutation(len(groups)) % _FOLDS
    foretold = np.empty(len(groups))
    _, codes = np.unique(groups, return_inverse=True)
    for fold in range(_FOLDS):
        known = folds != fold
        counts = np.bincount(codes[known], minlength=codes.max() + 1)
        sums = np.bincount(codes[known], weights=truth[known], minlength=codes.max() + 1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), truth[known].mean())
        foretold[~known] = means[codes[~known]]
    return foretold


def explained(truth: np.ndarray, foretold: np.ndarray) -> float:
    """Give the share of the variance that was foretold; NaN where nothing varies."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1.0 - float(((truth - foretold) ** 2).sum()) / spread if spread > 0 else float("nan")


def publication(scorecard: pl.DataFrame) -> Publication:
    """Say how customers may be divided.

    Args:
        scorecard: scorecard of the origin one horizon before, empty when there is none.
    """
    if scorecard.is_empty():
        return Publication(K_MEANS, None)
    name = champion(scorecard)
    return Publication(next(each for each in METHODS if each.name == name), scorecard["as_of"][0])


def _part(graded: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    graded = graded.sort("customer_key")
    if graded.height <= MOST_GRADED:
        return graded
    drawn = np.random.default_rng([seed, 5]).choice(graded.height, MOST_GRADED, replace=False)
    return graded[np.sort(drawn)]


def _verdict(
    methods: Sequence[Method], spend: np.ndarray, foretold: Mapping[str, np.ndarray], *, origin: date, seed: int
) -> pl.DataFrame:
    return grade_methods(
        task=TASK,
        origin=origin,
        methods=methods,
        truth=spend,
        predictions={each.name: foretold[each.name] for each in methods},
        metrics={PRIMARY: explained},
        primary=PRIMARY,
        higher_is_better={PRIMARY: True},
        resamples=_RESAMPLES,
        seed=seed,
    )


def _described(clustering: Clustering, verdict: Mapping[str, object], *, seed: int) -> pl.DataFrame:
    """Give the rows of a method on what its division looks like, which decide nothing but the right to challenge."""
    from sklearn.metrics import davies_bouldin_score

    inside = clustering.labels != NO_CLUSTER
    values, labels = clustering.scaled[inside], clustering.labels[inside]
    sizes = np.unique(labels, return_counts=True)[1]
    several = len(sizes) > 1
    found = silhouettes(values, labels, seed=seed) if several else np.zeros(0)
    shares = sizes / max(sizes.sum(), 1)
    measured: dict[str, tuple[float | None, float | None, float | None]] = {
        "clusters": (float(len(sizes)), None, None),
        "no_cluster_share": (1.0 - float(inside.mean()), None, None),
        "largest_share": (float(shares.max()) if len(shares) else None, None, None),
        # 1 when all clusters are of one size, towards 0 the more one of them holds nearly everybody.
        "size_balance": (_evenness(shares) if several else None, None, None),
        "davies_bouldin": (float(davies_bouldin_score(values, labels)) if several else None, None, None),
        "silhouette": _with_interval(found, seed=seed),
        "stability": _with_interval(np.array(clustering.chosen.agreements if clustering.chosen else ()), seed=seed),
    }
    same = {name: verdict[name] for name in SCORECARD_SCHEMA.names()}
    nothing = dict.fromkeys(("gain", "gain_low", "gain_high"))
    return pl.DataFrame(
        [
            same | nothing | {"metric": metric} | dict(zip(("value", "low", "high"), map(_stored, bounds), strict=True))
            for metric, bounds in measured.items()
        ],
        schema=SCORECARD_SCHEMA,
    )


def _evenness(shares: np.ndarray) -> float:
    return float(-(shares * np.log(shares)).sum() / np.log(len(shares)))


def _stored(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _with_interval(values: np.ndarray, *, seed: int) -> tuple[float | None, float | None, float | None]:
    """Give a mean and the middle 95 % of its bootstrap."""
    if not len(values):
        return None, None, None
    drawn = np.random.default_rng([seed, 6]).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), CONFIDENCE_TAILS)
    return float(values.mean()), float(low), float(high)
