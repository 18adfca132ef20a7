"""Clusters of customers by any method: what is tried, how it is judged, which try is kept, how clusters are numbered.

A method (`k_means`, `gaussian_mixture`, `hierarchical`, `density`) only offers fitted divisions of scaled customers;
all else is the same for all of them and said here. Which method is published is decided in `grading`, what sets a
cluster apart in words in `descriptions`, segments by rule in `rfm`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from insight_assets.insights.segmentation.scaling import CLUSTER_FEATURES, MONEY, ClusterFeature, scale_features

NOISE = -1
"""What a fitted division answers for a customer who is like nobody else."""

NO_CLUSTER = 0
"""Number in tables of customers who are in no cluster."""

LEAST_STABILITY = 0.9
"""Mean adjusted Rand index over resamples from which on a division counts as found rather than made up."""

_SILHOUETTE_SAMPLE = 2_000
_RESAMPLE = 5_000
_DIGITS = 6


class Fit(Protocol):
    """A fitted division of customers.

    Attributes:
        shape: what was tried, in words, such as `k=3`.
        k: number of clusters found.
        score: what the method itself ranks its tries by, higher is better; None leaves it to the silhouette.
    """

    shape: str
    k: int
    score: float | None

    def assign(self, values: np.ndarray) -> np.ndarray:
        """Give the cluster of each of n customers, 0 to k - 1 or `NOISE`, shape (n,)."""
        ...

    def again(self, values: np.ndarray, *, seed: int) -> "Fit":
        """Fit the same shape to other customers, shape (n, d)."""
        ...


@dataclass(frozen=True)
class ClusterMethod:
    """A way to divide customers.

    Attributes:
        name: name in tables.
        complexity: order in which methods challenge one another; 0 is the simple rule.
        sample: customers that are fitted at most; all others are assigned.
        tried: gives the divisions to choose from. It is called with scaled customers, shape (n, d), the numbers of
            clusters to try, the smallest size of a cluster, and a seed.
    """

    name: str
    complexity: int
    sample: int
    tried: Callable[[np.ndarray, Sequence[int], float, int], Sequence[Fit]]


@dataclass(frozen=True)
class Trial:
    """What one division gave.

    Attributes:
        shape: what was tried.
        k: number of clusters.
        silhouette: mean silhouette of a sample of the clustered customers, -1 to 1; None where the method ranks its
            tries by another score and this one was not chosen.
        score: what tries are ranked by, higher is better: the method's own score, else the silhouette.
        stability: mean adjusted Rand index over resamples, 1 is the same every time; None where a better try had
            already proved stable.
        agreements: the adjusted Rand index of each resample; empty where there is no stability.
        smallest: customers in the smallest cluster of the fitted sample.
        noise: share of the fitted sample that is in no cluster.
        eligible: whether there are several clusters and none is too small.
    """

    shape: str
    k: int
    silhouette: float | None
    score: float
    stability: float | None
    agreements: tuple[float, ...]
    smallest: int
    noise: float
    eligible: bool


@dataclass(frozen=True)
class Clustering:
    """Clusters of customers, rows ascending by key.

    Attributes:
        method: name of the method.
        keys: customer keys, shape (n,).
        labels: cluster of each, 1 to k by falling mean money, `NO_CLUSTER` for who is in none, shape (n,).
        distance: distance to the centre of the own cluster in scaled features, for who is in none that to the nearest
            centre, shape (n,).
        scaled: scaled features, shape (n, d).
        features: names of the d features that vary.
        trials: what each try gave; empty when there were too few customers.
        chosen: the try that was kept; None for a single cluster.
    """

    method: str
    keys: np.ndarray
    labels: np.ndarray
    distance: np.ndarray
    scaled: np.ndarray
    features: tuple[str, ...]
    trials: tuple[Trial, ...]
    chosen: Trial | None


def cluster_customers(
    customers: pl.DataFrame,
    *,
    method: ClusterMethod,
    features: Sequence[ClusterFeature] = CLUSTER_FEATURES,
    money: str = MONEY,
    ks: Sequence[int] = range(2, 9),
    smallest_group: int = 10,
    smallest_share: float = 0.02,
    least_stability: float = LEAST_STABILITY,
    resamples: int = 10,
    seed: int,
) -> Clustering:
    """Divide customers by the best try of a method that comes out the same on resampled customers.

    A try is eligible when its smallest cluster holds `smallest_group` customers and `smallest_share` of all. Among the
    eligible ones whose stability reaches `least_stability` the one with the highest score wins; when none is that
    stable, the most stable one.

    Args:
        customers: one row a customer with customer_key, `money` and the features, in any order.
        method: how to divide them.
        features: what to cluster on.
        money: column whose mean numbers the clusters.
        ks: numbers of clusters to try.
        smallest_group: see above; also k of k-anonymity.
        smallest_share: see above.
        least_stability: see above.
        resamples: bootstrap resamples for the stability.
        seed: seed of samples and starts.

    Returns:
        The clustering; one single cluster when no try is eligible. It does not depend on the order of rows, and
        single-threaded fitting keeps it equal on machines of any size.
    """
    customers = customers.sort("customer_key")
    scaled, names = scale_features(customers, features)
    size = customers.height
    sample = scaled[_sample(size, method.sample, np.random.default_rng([seed, 0]))]
    distinct = len(np.unique(sample, axis=0)) if names else 0
    possible = [k for k in ks if k * smallest_group <= size and k <= distinct]
    least_size = max(smallest_group * len(sample) / max(size, 1), smallest_share * len(sample))
    fits = method.tried(sample, possible, least_size, seed) if possible else ()
    judged = [_judge(sample, fit, least_size=least_size, seed=seed) for fit in fits]
    trials, chosen = choose_trial(
        judged,
        lambda at: _agreements(sample, fits[at], resamples=resamples, seed=seed),
        least_stability=least_stability,
    )
    if chosen is None:
        raw, groups = np.zeros(size, dtype=np.int64), 1
    else:
        raw, groups = fits[chosen].assign(scaled), fits[chosen].k
        if 0 < (raw == NOISE).sum() < smallest_group:
            # What is told of so few would be told of single customers.
            raw = np.where(raw == NOISE, _nearest(scaled, raw, groups), raw)
        kept = replace(trials[chosen], silhouette=_mean_silhouette(sample, fits[chosen].assign(sample), seed=seed))
        trials = (*trials[:chosen], kept, *trials[chosen + 1 :])
    number = _numbers_by_money(raw, customers[money].to_numpy(), groups)
    return Clustering(
        method=method.name,
        keys=customers["customer_key"].to_numpy(),
        labels=np.where(raw == NOISE, NO_CLUSTER, number[raw]).astype(np.int32),
        distance=_distances(scaled, raw, groups).round(_DIGITS),
        scaled=scaled,
        features=names,
        trials=trials,
        chosen=None if chosen is None else trials[chosen],
    )


def choose_trial(
    trials: Sequence[Trial], agreements: Callable[[int], Sequence[float]], *, least_stability: float
) -> tuple[tuple[Trial, ...], int | None]:
    """Choose among tries as `cluster_customers` says; the fewer clusters win a tie.

    Args:
        trials: tries whose stability is not known yet.
        agreements: gives the adjusted Rand index of each resample of the try at a position. It is asked for the best
            try first, and for no other once one is stable enough.
        least_stability: stability from which on a try is stable.

    Returns:
        The tries with what is known of their stability, and the position of the chosen one; None when no try is
        eligible.
    """
    known = list(trials)
    ranked = sorted(
        (at for at, trial in enumerate(trials) if trial.eligible), key=lambda at: (-trials[at].score, trials[at].k)
    )
    for at in ranked:
        found = tuple(round(float(each), _DIGITS) for each in agreements(at))
        known[at] = replace(trials[at], agreements=found, stability=round(float(np.mean(found)), _DIGITS))
        if known[at].stability >= least_stability:
            return tuple(known), at
    best = max(ranked, key=lambda at: (known[at].stability, -known[at].k), default=None)
    return tuple(known), best


def trials_table(clustering: Clustering) -> pl.DataFrame:
    """Return the trials as a table: shape, k, silhouette, score, stability, smallest, noise, eligible, chosen."""
    shown = ("shape", "k", "silhouette", "score", "stability", "smallest", "noise", "eligible")
    return pl.DataFrame(
        [
            {name: getattr(trial, name) for name in shown} | {"chosen": trial is clustering.chosen}
            for trial in clustering.trials
        ],
        schema={
            "shape": pl.String,
            "k": pl.Int32,
            "silhouette": pl.Float64,
            "score": pl.Float64,
            "stability": pl.Float64,
            "smallest": pl.Int64,
            "noise": pl.Float64,
            "eligible": pl.Boolean,
            "chosen": pl.Boolean,
        },
    )


def silhouettes(values: np.ndarray, labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Give the silhouettes of a sample of the clustered customers, shape (m,); empty without two clusters.

    Args:
        values: scaled customers, shape (n, d).
        labels: cluster of each, shape (n,); who is in none is left out and must not be in `values`.
        seed: seed of the sample.
    """
    from sklearn.metrics import silhouette_samples

    shown = _sample(len(values), _SILHOUETTE_SAMPLE, np.random.default_rng([seed, 1]))
    groups = len(np.unique(labels[shown]))
    if not 1 < groups < len(shown):
        return np.zeros(0)
    return silhouette_samples(values[shown], labels[shown])


def _judge(values: np.ndarray, fit: Fit, *, least_size: float, seed: int) -> Trial:
    labels = fit.assign(values)
    inside = labels != NOISE
    sizes = np.bincount(labels[inside], minlength=fit.k)
    smallest = int(sizes.min()) if len(sizes) else 0
    silhouette = _mean_silhouette(values, labels, seed=seed) if fit.score is None else None
    return Trial(
        shape=fit.shape,
        k=fit.k,
        silhouette=silhouette,
        score=round(fit.score, _DIGITS) if silhouette is None else silhouette,
        stability=None,
        agreements=(),
        smallest=smallest,
        noise=round(1.0 - float(inside.mean()), _DIGITS),
        eligible=fit.k > 1 and smallest >= max(least_size, 1),
    )


def _mean_silhouette(values: np.ndarray, labels: np.ndarray, *, seed: int) -> float:
    inside = labels != NOISE
    found = silhouettes(values[inside], labels[inside], seed=seed)
    return round(float(found.mean()), _DIGITS) if len(found) else -1.0


def _agreements(values: np.ndarray, fit: Fit, *, resamples: int, seed: int) -> list[float]:
    from sklearn.metrics import adjusted_rand_score

    labels = fit.assign(values)
    found = []
    for number in range(resamples):
        generator = np.random.default_rng([seed, 2, fit.k, number])
        drawn = generator.integers(0, len(values), min(len(values), _RESAMPLE))
        again = fit.again(values[drawn], seed=seed + 1 + number)
        found.append(adjusted_rand_score(labels, again.assign(values)))
    return found


def _sample(size: int, most: int, generator: np.random.Generator) -> np.ndarray:
    if size <= most:
        return np.arange(size)
    return np.sort(generator.choice(size, most, replace=False))


def _nearest(scaled: np.ndarray, raw: np.ndarray, groups: int) -> np.ndarray:
    """Give the cluster whose centre is nearest to each customer, shape (n,)."""
    taken = [each for each in range(groups) if (raw == each).any()]
    away = np.stack([np.linalg.norm(scaled - scaled[raw == each].mean(axis=0), axis=1) for each in taken])
    return np.asarray(taken, dtype=raw.dtype)[away.argmin(axis=0)]


def _distances(scaled: np.ndarray, raw: np.ndarray, groups: int) -> np.ndarray:
    if not len(scaled):
        return np.zeros(0)
    centres = np.stack([scaled[raw == each].mean(axis=0) for each in range(groups) if (raw == each).any()])
    position = np.cumsum([(raw == each).any() for each in range(groups)]) - 1
    to_own = np.linalg.norm(scaled - centres[position[np.maximum(raw, 0)]], axis=1)
    alone = raw == NOISE
    if alone.any():
        nearest = np.full(int(alone.sum()), np.inf)
        for centre in centres:
            nearest = np.minimum(nearest, np.linalg.norm(scaled[alone] - centre, axis=1))
        to_own[alone] = nearest
    return to_own


def _numbers_by_money(raw: np.ndarray, money: np.ndarray, k: int) -> np.ndarray:
    inside = raw != NOISE
    counts = np.maximum(np.bincount(raw[inside], minlength=k), 1)
    means = np.bincount(raw[inside], weights=money[inside], minlength=k) / counts
    number = np.empty(k, dtype=np.int32)
    number[np.argsort(-means, kind="stable")] = np.arange(1, k + 1)
    return number
