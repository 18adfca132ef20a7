"""Clusters by density: HDBSCAN, which leaves customers who are like nobody else in no cluster.

Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density estimates", 2013.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from insight_assets.insights.segmentation.clusters import NOISE, ClusterMethod

_SAMPLE = 5_000
_RESAMPLE = 2_000
_NEIGHBOURS = 10
# Smallest cluster as a multiple of the smallest one allowed: a larger one looks for broader kinds of customers.
_SIZES = (1.0, 2.5)


@dataclass(frozen=True)
class DensityFit:
    """Clusters of a sample and how far each reaches; see `clusters.Fit`.

    Attributes:
        values: the sample, shape (m, d).
        labels: cluster of each, shape (m,).
        reach: by cluster, the longest way of a member to its nearest fellow, shape (k,).
        share: size of the smallest cluster allowed, as a share of the sample.
        score: left to the silhouette.
    """

    values: np.ndarray
    labels: np.ndarray
    reach: np.ndarray
    share: float
    score: float | None = None

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.reach)

    @property
    def shape(self) -> str:
        """What was tried."""
        return f"from {self.share:.3g} of all"

    def assign(self, values: np.ndarray) -> np.ndarray:
        """Give the cluster of the nearest sampled customer, `NOISE` beyond its reach."""
        from scipy.spatial import KDTree

        away, nearest = KDTree(self.values).query(values)
        labels = self.labels[nearest]
        inside = labels != NOISE
        labels[inside] = np.where(away[inside] <= self.reach[labels[inside]], labels[inside], NOISE)
        return labels

    def again(self, values: np.ndarray, *, seed: int) -> "DensityFit":
        """Look for clusters among other customers.

        A customer drawn twice is a distance of 0, which is density made up by drawing; everybody counts once.
        """
        values = np.unique(values, axis=0)
        if len(values) > _RESAMPLE:
            values = values[np.sort(np.random.default_rng([seed, 3]).choice(len(values), _RESAMPLE, replace=False))]
        return _fit(values, self.share)


def tried(values: np.ndarray, ks: Sequence[int], least_size: float, seed: int) -> list[DensityFit]:  # noqa: ARG001
    """Look for clusters of two smallest sizes; the number is found, not tried; see `clusters.ClusterMethod`."""
    shares = {min(size * least_size / len(values), 0.5) for size in _SIZES}
    return [_fit(values, share) for share in sorted(shares)]


def _fit(values: np.ndarray, share: float) -> DensityFit:
    from scipy.spatial import KDTree
    from sklearn.cluster import HDBSCAN

    smallest = max(2, int(np.ceil(share * len(values))))
    neighbours = min(_NEIGHBOURS, smallest, len(values))
    labels = HDBSCAN(min_cluster_size=smallest, min_samples=neighbours, copy=True).fit(values).labels_.astype(np.int64)
    labels[labels < 0] = NOISE
    reach = []
    for each in range(labels.max() + 1):
        members = values[labels == each]
        reach.append(KDTree(members).query(members, k=2)[0][:, 1].max())
    return DensityFit(values, labels, np.array(reach, dtype=np.float64), share)


DENSITY = ClusterMethod(name="density", complexity=3, sample=_SAMPLE, tried=tried)
