"""K-means: the simple rule among the clusterings.

The number of clusters is left to the silhouette (see `clusters`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.segmentation.clusters import ClusterMethod

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

_SAMPLE = 20_000
_STARTS = 5
_RESAMPLE_STARTS = 2


@dataclass(frozen=True)
class KMeansFit:
    """A fitted k-means; see `clusters.Fit`."""

    model: "KMeans"
    score: float | None = None

    @property
    def k(self) -> int:
        """Number of clusters."""
        return self.model.n_clusters

    @property
    def shape(self) -> str:
        """What was tried."""
        return f"k={self.k}"

    def assign(self, values: np.ndarray) -> np.ndarray:
        """Give the cluster with the nearest centre."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1):
            return self.model.predict(values)

    def again(self, values: np.ndarray, *, seed: int) -> "KMeansFit":
        """Fit as many clusters to other customers, with fewer starts."""
        return _fit(values, self.k, starts=_RESAMPLE_STARTS, seed=seed)


def tried(values: np.ndarray, ks: Sequence[int], least_size: float, seed: int) -> list[KMeansFit]:  # noqa: ARG001
    """Fit k-means with each number of clusters; see `clusters.ClusterMethod`."""
    return [_fit(values, k, starts=_STARTS, seed=seed) for k in ks]


def _fit(values: np.ndarray, k: int, *, starts: int, seed: int) -> KMeansFit:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # Threads of k-means add up centres in the order they finish; one thread gives the same bits
    # on every machine.
    with threadpool_limits(limits=1):
        return KMeansFit(KMeans(n_clusters=k, n_init=starts, random_state=seed % 2**32).fit(values))


K_MEANS = ClusterMethod(name="k_means", complexity=0, sample=_SAMPLE, tried=tried)
"""The simple rule: what every other method must surely beat."""
