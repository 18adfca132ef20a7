"""Maximum a posteriori fits of small parametric models, with the Laplace approximation at the mode.

Holds the optimiser shared by the purchase and the value model: parameters live on an unbounded
(log) scale, priors are independent normals on that scale. Likelihoods themselves belong to the
module of their model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

LogLikelihood = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""From an unbounded parameter vector to the log-likelihood and its gradient, shapes () and (k,)."""

_HESSIAN_STEP = 1e-5
_NOWHERE = 1e300
_NEWTON_STEPS = 12
_NEWTON_TOLERANCE = 1e-9


class FitFailedError(RuntimeError):
    """The optimiser found no finite posterior mode."""


@dataclass(frozen=True)
class NormalPrior:
    """Independent normal priors on the unbounded scale.

    Attributes:
        centre: prior means, shape (k,).
        spread: prior standard deviations, shape (k,).
    """

    centre: np.ndarray
    spread: np.ndarray

    def log_density(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log density up to a constant, and its gradient, at `theta` of shape (k,)."""
        z = (theta - self.centre) / self.spread
        return float(-0.5 * z @ z), -z / self.spread


@dataclass(frozen=True)
class PosteriorMode:
    """A posterior mode and its curvature.

    Attributes:
        theta: mode on the unbounded scale, shape (k,).
        covariance: inverse of the negative Hessian of the log posterior there, shape (k, k).
        log_likelihood: log-likelihood at the mode, without the prior.
    """

    theta: np.ndarray
    covariance: np.ndarray
    log_likelihood: float


def find_posterior_mode(
    log_likelihood: LogLikelihood, prior: NormalPrior, *, starts: np.ndarray
) -> PosteriorMode:
    """Climb to the highest posterior mode reachable from any start.

    Args:
        log_likelihood: log-likelihood with gradient on the unbounded scale.
        prior: priors on the same scale.
        starts: starting points, shape (m, k).

    Returns:
        The mode with its Laplace covariance. Newton steps polish the quasi-Newton optimum, so that
        the result depends on the data and not on the path that the optimiser took.

    Raises:
        FitFailedError: no start led to a finite optimum.
    """

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        likelihood, likelihood_gradient = log_likelihood(theta)
        density, density_gradient = prior.log_density(theta)
        value = -(likelihood + density)
        if not np.isfinite(value):
            return _NOWHERE, np.zeros_like(theta)
        return value, -(likelihood_gradient + density_gradient)

    # Matrices of a handful of parameters: waking BLAS threads for each step costs 20 times the
    # arithmetic on a busy machine.
    with threadpool_limits(limits=1, user_api="blas"):
        theta = _polish(objective, _best_of(objective, starts))
        covariance = np.linalg.inv(_positive_definite(_hessian(objective, theta)))
    return PosteriorMode(
        theta=theta,
        covariance=(covariance + covariance.T) / 2,
        log_likelihood=log_likelihood(theta)[0],
    )


def draw_parameters(
    mode: np.ndarray, covariance: np.ndarray, *, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw from the Laplace approximation on the unbounded scale; returns shape (draws, k)."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    return mode + generator.standard_normal((draws, mode.size)) @ root.T


def _best_of(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]], starts: np.ndarray
) -> np.ndarray:
    from scipy.optimize import minimize

    best: tuple[float, np.ndarray] | None = None
    for start in np.atleast_2d(starts):
        found = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-7},
        )
        if found.fun < _NOWHERE and (best is None or found.fun < best[0] - 1e-6):
            best = (float(found.fun), found.x)
    if best is None:
        message = "no start led to a finite posterior mode"
        raise FitFailedError(message)
    return best[1]


def _hessian(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]], theta: np.ndarray
) -> np.ndarray:
    steps = _HESSIAN_STEP * np.eye(theta.size)
    rows = [
        (objective(theta + step)[1] - objective(theta - step)[1]) / (2 * _HESSIAN_STEP)
        for step in steps
    ]
    hessian = np.array(rows)
    return (hessian + hessian.T) / 2


def _positive_definite(hessian: np.ndarray) -> np.ndarray:
    # At a mode that the optimiser reached along a flat ridge, rounding can leave an eigenvalue a
    # hair below zero; a floor keeps the covariance finite and as wide as a very weak prior.
    values, vectors = np.linalg.eigh(hessian)
    return (vectors * np.clip(values, 1e-3, None)) @ vectors.T


def _polish(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]], theta: np.ndarray
) -> np.ndarray:
    value, gradient = objective(theta)
    for _ in range(_NEWTON_STEPS):
        step = np.linalg.solve(_positive_definite(_hessian(objective, theta)), gradient)
        step *= min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-300))
        candidate = theta - step
        candidate_value, candidate_gradient = objective(candidate)
        if candidate_value > value + 1e-9 * abs(value):
            break
        theta, value, gradient = candidate, candidate_value, candidate_gradient
        if np.abs(step).max() < _NEWTON_TOLERANCE:
            break
    return theta
