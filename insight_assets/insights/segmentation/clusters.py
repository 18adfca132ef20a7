"""K-means clusters of customers: scaling, choice of k, assignment.

The number of clusters is the one with the best silhouette among those that come out the same on
resampled customers. What sets a cluster apart in words belongs to `descriptions`, segments by rule
to `rfm`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

_NORMAL_IQR = 1.349
# Shares are mostly 0: their own spread would blow a return of 3 % up to a separate kind of customer.
# A quarter of the range as unit lets them count only where they are large.
_SHARE_UNIT = 0.25
_CLIP = 3.0
_FIT_SAMPLE = 20_000
_SILHOUETTE_SAMPLE = 2_000
_RESAMPLE = 5_000
_STARTS = 5
_RESAMPLE_STARTS = 2
_DISTANCE_DIGITS = 6


@dataclass(frozen=True)
class ClusterFeature:
    """A feature that the clustering reads.

    Attributes:
        name: column of `customer_features`.
        scale: `log` for amounts and counts with a long tail, `plain` for other quantities, `share`
            for shares from 0 to 1.
        high_en: what a cluster far above the mean is called, in English; `low_en` far below.
        low_en: see `high_en`.
        high_zh: the same in Chinese.
        low_zh: the same in Chinese.
        measure_en: what the feature measures, with its unit, in English.
        measure_zh: the same in Chinese.
    """

    name: str
    scale: Literal["log", "plain", "share"]
    high_en: str
    low_en: str
    high_zh: str
    low_zh: str
    measure_en: str
    measure_zh: str


CLUSTER_FEATURES = (
    ClusterFeature(
        "days_since_last_order",
        "log",
        "last bought long ago",
        "bought recently",
        "久未购买",
        "近期购买",
        "days since the last purchase",
        "距上次购买天数",
    ),
    ClusterFeature(
        "purchase_days_lifetime",
        "log",
        "buys often",
        "buys rarely",
        "购买频繁",
        "很少购买",
        "days with a purchase",
        "购买天数",
    ),
    ClusterFeature(
        "mean_purchase_value",
        "log",
        "large purchases",
        "small purchases",
        "单次金额高",
        "单次金额低",
        "mean value of a purchase day",
        "单日平均购买金额",
    ),
    ClusterFeature(
        "age_days",
        "plain",
        "old customers",
        "young customers",
        "老客户",
        "新近客户",
        "days since the first purchase",
        "距首次购买天数",
    ),
    ClusterFeature(
        "lines_per_order_365d",
        "log",
        "broad baskets",
        "narrow baskets",
        "购物篮丰富",
        "购物篮单一",
        "lines per purchase in a year",
        "一年内单笔行数",
    ),
    ClusterFeature(
        "active_days_90d",
        "log",
        "active in the last 90 days",
        "inactive in the last 90 days",
        "近90天活跃",
        "近90天不活跃",
        "active days in 90 days",
        "近90天活跃天数",
    ),
    ClusterFeature(
        "discount_share_365d",
        "share",
        "buys at a discount",
        "pays full price",
        "偏好折扣",
        "少用折扣",
        "discount share in a year",
        "一年内折扣占比",
    ),
    ClusterFeature(
        "refund_share_lifetime",
        "share",
        "returns much",
        "returns little",
        "退款多",
        "退款少",
        "refund share",
        "退款占比",
    ),
)
"""Features of the clustering; money so far is left out because it is frequency times value."""


MONEY = "net_lifetime"
"""Feature whose mean numbers the clusters."""


@dataclass(frozen=True)
class KTrial:
    """What one number of clusters gave.

    Attributes:
        k: number of clusters.
        silhouette: mean silhouette on a sample, -1 to 1.
        stability: mean adjusted Rand index over resamples, 1 is the same every time.
        smallest: customers in the smallest cluster of the fitted sample.
        eligible: whether no cluster is too small.
    """

    k: int
    silhouette: float
    stability: float
    smallest: int
    eligible: bool


@dataclass(frozen=True)
class Clustering:
    """Clusters of customers, rows ascending by key.

    Attributes:
        keys: customer keys, shape (n,).
        labels: cluster of each, 1 to k by falling mean money, shape (n,).
        distance: distance to the own centre in scaled features, shape (n,).
        scaled: scaled features, shape (n, d).
        features: names of the d features that vary.
        trials: what each tried number of clusters gave; empty when there were too few customers.
        chosen: trial of the chosen number; None for a single cluster.
    """

    keys: np.ndarray
    labels: np.ndarray
    distance: np.ndarray
    scaled: np.ndarray
    features: tuple[str, ...]
    trials: tuple[KTrial, ...]
    chosen: KTrial | None


def buyers(
    customer_features: pl.LazyFrame, *, features: Sequence[ClusterFeature] = CLUSTER_FEATURES
) -> pl.DataFrame:
    """Select what the clustering reads of customers with at least one purchase, ascending by key.

    Args:
        customer_features: rows of one as-of day, in any order.
        features: what to cluster on.
    """
    return (
        customer_features.filter(pl.col("purchase_days_lifetime") > 0)
        .select("customer_key", MONEY, *(feature.name for feature in features))
        .sort("customer_key")
        .collect()
    )


def scale_features(
    customers: pl.DataFrame, features: Sequence[ClusterFeature]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scale features robustly: log where told, median 0, interquartile range of a unit normal.

    Shares keep a fixed unit. Missing values become the median, values beyond three units are drawn
    in, and a feature that does not vary is left out.

    Args:
        customers: one row a customer with the features' columns.
        features: what to scale.

    Returns:
        Scaled values, shape (n, d), and the names of the d features kept.
    """
    columns, names = [], []
    for feature in features:
        values = customers[feature.name].cast(pl.Float64).to_numpy().astype(np.float64)
        known = np.isfinite(values)
        if not known.any():
            continue
        if feature.scale == "log":
            values = np.log1p(np.maximum(values, 0.0))
        if feature.scale == "share":
            values = np.clip(values, 0.0, 1.0)
        values = np.where(known, values, np.median(values[known])) - np.median(values[known])
        if np.ptp(values) == 0:
            continue
        columns.append(np.clip(values / _unit(values, feature.scale), -_CLIP, _CLIP))
        names.append(feature.name)
    if not columns:
        return np.zeros((customers.height, 0)), ()
    return np.column_stack(columns), tuple(names)


def cluster_customers(
    customers: pl.DataFrame,
    *,
    features: Sequence[ClusterFeature] = CLUSTER_FEATURES,
    money: str = MONEY,
    ks: Sequence[int] = range(2, 9),
    smallest_group: int = 10,
    smallest_share: float = 0.02,
    least_stability: float = 0.8,
    resamples: int = 10,
    seed: int,
) -> Clustering:
    """Cluster customers by k-means with the best silhouette among the stable numbers of clusters.

    A number of clusters is eligible when its smallest cluster holds `smallest_group` customers and
    `smallest_share` of all. Among the eligible ones whose stability reaches `least_stability` the
    best silhouette wins; when none is that stable, the most stable one.

    Args:
        customers: one row a customer with customer_key, `money` and the features, in any order.
        features: what to cluster on.
        money: column whose mean numbers the clusters.
        ks: numbers of clusters to try.
        smallest_group: see above; also k of k-anonymity.
        smallest_share: see above.
        least_stability: see above.
        resamples: bootstrap resamples for the stability.
        seed: seed of samples and starts.

    Returns:
        The clustering; one single cluster when no number is eligible. It does not depend on the
        order of rows, and single-threaded fitting keeps it equal on machines of any size.
    """
    customers = customers.sort("customer_key")
    scaled, names = scale_features(customers, features)
    size = customers.height
    sample = _sample(size, _FIT_SAMPLE, np.random.default_rng([seed, 0]))
    fits: dict[int, KMeans] = {}
    trials = []
    distinct = len(np.unique(scaled[sample], axis=0)) if names else 0
    tried = [k for k in ks if k * smallest_group <= size and k <= distinct]
    for k in tried:
        fits[k] = _fit(scaled[sample], k, starts=_STARTS, seed=seed)
        trials.append(
            _try(
                scaled[sample],
                fits[k],
                least_size=max(smallest_group * len(sample) / size, smallest_share * len(sample)),
                resamples=resamples,
                seed=seed,
            )
        )
    chosen = choose_k(trials, least_stability=least_stability)
    if chosen is None:
        return Clustering(
            keys=customers["customer_key"].to_numpy(),
            labels=np.ones(size, dtype=np.int32),
            distance=np.linalg.norm(scaled - scaled.mean(axis=0), axis=1).round(_DISTANCE_DIGITS)
            if size
            else np.zeros(0),
            scaled=scaled,
            features=names,
            trials=tuple(trials),
            chosen=None,
        )
    raw = _assign(fits[chosen.k], scaled)
    number = _numbers_by_money(raw, customers[money].to_numpy(), chosen.k)
    centres = fits[chosen.k].cluster_centers_[raw]
    return Clustering(
        keys=customers["customer_key"].to_numpy(),
        labels=number[raw],
        distance=np.linalg.norm(scaled - centres, axis=1).round(_DISTANCE_DIGITS),
        scaled=scaled,
        features=names,
        trials=tuple(trials),
        chosen=chosen,
    )


def choose_k(trials: Sequence[KTrial], *, least_stability: float) -> KTrial | None:
    """Choose among trials as `cluster_customers` says; the smaller k wins a tie.

    Returns:
        The chosen trial; None when no trial is eligible.
    """
    eligible = [trial for trial in trials if trial.eligible]
    if not eligible:
        return None
    stable = [trial for trial in eligible if trial.stability >= least_stability]
    if stable:
        return max(stable, key=lambda trial: (trial.silhouette, -trial.k))
    return max(eligible, key=lambda trial: (trial.stability, -trial.k))


def trials_table(clustering: Clustering) -> pl.DataFrame:
    """Return the trials as a table: k, silhouette, stability, smallest, eligible, chosen."""
    return pl.DataFrame(
        [
            {
                "k": trial.k,
                "silhouette": trial.silhouette,
                "stability": trial.stability,
                "smallest": trial.smallest,
                "eligible": trial.eligible,
                "chosen": trial is clustering.chosen,
            }
            for trial in clustering.trials
        ],
        schema={
            "k": pl.Int32,
            "silhouette": pl.Float64,
            "stability": pl.Float64,
            "smallest": pl.Int64,
            "eligible": pl.Boolean,
            "chosen": pl.Boolean,
        },
    )


def _unit(values: np.ndarray, scale: str) -> float:
    if scale == "share":
        return _SHARE_UNIT
    low, high = np.quantile(values, [0.25, 0.75])
    # Half the customers at one value can make the range 0; the standard deviation still tells.
    return float((high - low) / _NORMAL_IQR if high > low else values.std())


def _try(
    values: np.ndarray, fit: "KMeans", *, least_size: float, resamples: int, seed: int
) -> KTrial:
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    k = fit.n_clusters
    labels = _assign(fit, values)
    sizes = np.bincount(labels, minlength=k)
    shown = _sample(len(values), _SILHOUETTE_SAMPLE, np.random.default_rng([seed, 1]))
    agreements = []
    for number in range(resamples):
        generator = np.random.default_rng([seed, 2, k, number])
        drawn = generator.integers(0, len(values), min(len(values), _RESAMPLE))
        again = _fit(values[drawn], k, starts=_RESAMPLE_STARTS, seed=seed + 1 + number)
        agreements.append(adjusted_rand_score(labels, _assign(again, values)))
    several = len(np.unique(labels[shown])) > 1
    return KTrial(
        k=k,
        silhouette=round(float(silhouette_score(values[shown], labels[shown])), 6)
        if several
        else -1.0,
        stability=round(float(np.mean(agreements)), 6),
        smallest=int(sizes.min()),
        eligible=bool(several and sizes.min() >= least_size),
    )


def _fit(values: np.ndarray, k: int, *, starts: int, seed: int) -> "KMeans":
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # Threads of k-means add up centres in the order they finish; one thread gives the same bits
    # on every machine.
    with threadpool_limits(limits=1):
        return KMeans(n_clusters=k, n_init=starts, random_state=seed % 2**32).fit(values)


def _assign(fit: "KMeans", values: np.ndarray) -> np.ndarray:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return fit.predict(values)


def _sample(size: int, most: int, generator: np.random.Generator) -> np.ndarray:
    if size <= most:
        return np.arange(size)
    return np.sort(generator.choice(size, most, replace=False))


def _numbers_by_money(raw: np.ndarray, money: np.ndarray, k: int) -> np.ndarray:
    counts = np.maximum(np.bincount(raw, minlength=k), 1)
    means = np.bincount(raw, weights=money, minlength=k) / counts
    number = np.empty(k, dtype=np.int32)
    number[np.argsort(-means, kind="stable")] = np.arange(1, k + 1)
    return number
