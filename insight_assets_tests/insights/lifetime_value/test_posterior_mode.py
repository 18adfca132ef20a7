"""The optimiser of the fits and its Laplace approximation."""

import numpy as np
import pytest

from insight_assets.insights.lifetime_value.posterior_mode import (
    FitFailedError,
    NormalPrior,
    draw_parameters,
    find_posterior_mode,
)

PRECISION = np.array([[4.0, 1.0], [1.0, 2.0]])
PEAK = np.array([1.5, -2.0])


def gaussian(theta: np.ndarray) -> tuple[float, np.ndarray]:
    off = theta - PEAK
    return float(-0.5 * off @ PRECISION @ off), -PRECISION @ off


def test_mode_and_covariance_of_a_gaussian_are_exact():
    prior = NormalPrior(centre=np.zeros(2), spread=np.array([1.0, 2.0]))
    found = find_posterior_mode(gaussian, prior, starts=np.array([[5.0, 5.0], [-5.0, 0.0]]))
    total = PRECISION + np.diag([1.0, 0.25])
    assert found.theta == pytest.approx(np.linalg.solve(total, PRECISION @ PEAK), abs=1e-8)
    assert found.covariance == pytest.approx(np.linalg.inv(total), rel=1e-6)


def test_result_does_not_depend_on_the_start():
    prior = NormalPrior(centre=np.zeros(2), spread=np.full(2, 3.0))
    here = find_posterior_mode(gaussian, prior, starts=np.array([[9.0, 9.0]]))
    there = find_posterior_mode(gaussian, prior, starts=np.array([[-9.0, 3.0]]))
    assert here.theta == pytest.approx(there.theta, abs=1e-9)


def test_no_finite_likelihood_is_an_error():
    prior = NormalPrior(centre=np.zeros(2), spread=np.ones(2))

    def nowhere(theta: np.ndarray) -> tuple[float, np.ndarray]:
        return -np.inf, np.zeros_like(theta)

    with pytest.raises(FitFailedError, match="no start"):
        find_posterior_mode(nowhere, prior, starts=np.zeros((1, 2)))


def test_draws_have_the_covariance_asked_for():
    covariance = np.linalg.inv(PRECISION)
    drawn = draw_parameters(PEAK, covariance, draws=40_000, generator=np.random.default_rng(1))
    assert drawn.mean(axis=0) == pytest.approx(PEAK, abs=0.02)
    assert np.cov(drawn.T) == pytest.approx(covariance, abs=0.02)
