"""Hierarchical clusters by Ward's rule, from one tree over a sample of the customers.

The tree takes memory with the square of the customers (100 MB for 5,000), so that it is grown on a sample; then
everybody, those of the sample included, goes to the nearest centre, and equal customers share a cluster (Ward,
"Hierarchical grouping to optimize an objective function", 1963).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from insight_assets.insights.segmentation.clusters import ClusterMethod

_SAMPLE = 5_000
# The stability needs ten further trees or more: on 1,000 customers each they cost a third of a second together.
_RESAMPLE = 1_000


@dataclass(frozen=True)
class WardFit:
    """One cut through Ward's tree; see `clusters.Fit`.

    Attributes:
        centres: mean of each cluster, shape (k, d).
        score: left to the silhouette.
    """

    centres: np.ndarray
    score: float | None = None

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centres)

    @property
    def shape(self) -> str:
        """What was tried."""
        return f"k={self.k}"

    def assign(self, values: np.ndarray) -> np.ndarray:
        """Give the cluster with the nearest centre."""
        nearest = np.full(len(values), np.inf)
        labels = np.zeros(len(values), dtype=np.int64)
        for number, centre in enumerate(self.centres):
            away = ((values - centre) ** 2).sum(axis=1)
            labels[away < nearest] = number
            nearest = np.minimum(nearest, away)
        return labels

    def again(self, values: np.ndarray, *, seed: int) -> "WardFit":
        """Grow a tree over other customers and cut it into as many clusters."""
        if len(values) > _RESAMPLE:
            values = values[np.random.default_rng([seed, 3]).choice(len(values), _RESAMPLE, replace=False)]
        return _cuts(values, [self.k])[0]


def tried(values: np.ndarray, ks: Sequence[int], least_size: float, seed: int) -> list[WardFit]:  # noqa: ARG001
    """Cut one tree into each number of clusters; see `clusters.ClusterMethod`."""
    return _cuts(values, ks)


def _cuts(values: np.ndarray, ks: Sequence[int]) -> list[WardFit]:
    # scikit-learn's AgglomerativeClustering grows this very tree, but anew for each number of clusters.
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(values, method="ward")
    cuts = [fcluster(tree, k, criterion="maxclust") for k in ks]
    return [WardFit(np.stack([values[cut == each].mean(axis=0) for each in np.unique(cut)])) for cut in cuts]


HIERARCHICAL = ClusterMethod(name="hierarchical", complexity=1, sample=_SAMPLE, tried=tried)
