"""Gaussian mixtures: clusters of unlike size and direction, as many as the Bayesian information criterion affords.

Tried with full and with diagonal covariances (Schwarz, "Estimating the dimension of a model", 1978; lower is better).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.segmentation.clusters import ClusterMethod
from insight_assets.ml.cores import one_core

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

COVARIANCES = ("full", "diag")

_SAMPLE = 5_000
# Counts and shares pile up on single values. Without a floor of a tenth of a unit under the spread, a component that
# sits on one of them has a likelihood without bound, and the criterion counts spikes instead of kinds of customers.
_LEAST_VARIANCE = 0.01
# Beyond these the likelihood still creeps upwards, but customers no longer change their component.
_STEPS = 50
_LEAST_GAIN = 0.01
# The stability needs ten further mixtures or more: on 1,000 customers each they cost a second together.
_RESAMPLE = 1_000


@dataclass(frozen=True)
class MixtureFit:
    """A fitted Gaussian mixture; see `clusters.Fit`."""

    model: "GaussianMixture"
    score: float

    @property
    def k(self) -> int:
        """Number of components."""
        return self.model.n_components

    @property
    def shape(self) -> str:
        """What was tried."""
        return f"k={self.k} {self.model.covariance_type}"

    def assign(self, values: np.ndarray) -> np.ndarray:
        """Give the likeliest component."""
        with one_core():
            return self.model.predict(values)

    def again(self, values: np.ndarray, *, seed: int) -> "MixtureFit":
        """Fit a mixture of the same shape to other customers."""
        if len(values) > _RESAMPLE:
            values = values[np.random.default_rng([seed, 3]).choice(len(values), _RESAMPLE, replace=False)]
        return _fit(values, self.k, self.model.covariance_type, seed=seed)


def tried(values: np.ndarray, ks: Sequence[int], least_size: float, seed: int) -> list[MixtureFit]:  # noqa: ARG001
    """Fit each number of components and keep the better kind of covariance; see `clusters.ClusterMethod`."""
    return [
        max((_fit(values, k, covariance, seed=seed) for covariance in COVARIANCES), key=lambda fit: fit.score)
        for k in ks
    ]


def _fit(values: np.ndarray, k: int, covariance: str, *, seed: int) -> MixtureFit:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        k, covariance_type=covariance, reg_covar=_LEAST_VARIANCE, max_iter=_STEPS, tol=_LEAST_GAIN,
        random_state=seed % 2**32,
    )
    with one_core(), warnings.catch_warnings():
        # A mixture that still moves after so many steps is judged as it stands.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values)
        return MixtureFit(mixture, score=-float(mixture.bic(values)))


GAUSSIAN_MIXTURE = ClusterMethod(name="gaussian_mixture", complexity=2, sample=_SAMPLE, tried=tried)
