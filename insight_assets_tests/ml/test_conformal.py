"""Conformal bounds: coverage on new rows, zeros, order, storage."""

import numpy as np
import pytest

from insight_assets.ml.conformal import MIN_ROWS, ConformalBounds, fit_conformal_bounds


def spending(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts over four orders of magnitude, and outcomes that are often 0 and spread more where small."""
    draw = np.random.default_rng(seed)
    forecast = np.exp(draw.normal(3, 2, size))
    buys = draw.random(size) < 0.3 + 0.7 * forecast / (forecast + 20)
    return forecast, np.where(buys, forecast * np.exp(draw.normal(0, 20 / (forecast + 20), size)), 0.0)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_new_rows_fall_inside_as_often_as_said_whatever_their_size(level):
    bounds = fit_conformal_bounds(*spending(3_000, 1), level=level)
    forecast, outcome = spending(20_000, 2)
    low, high = bounds.multiples(forecast)
    inside = (outcome >= low * forecast) & (outcome <= high * forecast)
    assert inside.mean() == pytest.approx(level, abs=0.025)
    for part in np.array_split(np.argsort(forecast), 5):
        assert inside[part].mean() == pytest.approx(level, abs=0.07)


def test_small_forecasts_start_at_nothing_and_large_ones_do_not():
    bounds = fit_conformal_bounds(*spending(3_000, 1), level=0.9)
    assert bounds.low[0] == 0
    assert bounds.low[-1] > 0.3
    low, high = bounds.multiples(np.array([0.0, 1e9]))
    assert (low <= 1).all()
    assert (high >= 1).all()


def test_order_of_rows_changes_nothing_and_equal_forecasts_are_together():
    forecast, outcome = spending(500, 3)
    forecast = forecast.round()
    order = np.random.default_rng(1).permutation(500)
    assert fit_conformal_bounds(forecast[order], outcome[order], level=0.9) == fit_conformal_bounds(
        forecast, outcome, level=0.9
    )
    alike = fit_conformal_bounds(np.ones(200), outcome[:200], level=0.9)
    assert alike.edges == ()


def test_too_few_rows_bound_nothing_and_stored_bounds_are_the_same():
    assert fit_conformal_bounds(*spending(MIN_ROWS - 1, 1), level=0.9) is None
    bounds = fit_conformal_bounds(*spending(300, 1), level=0.9)
    assert ConformalBounds.from_json(bounds.to_json()) == bounds


def test_forecasts_of_nothing_teach_nothing():
    forecast, outcome = spending(600, 2)
    with_nothing = np.r_[forecast, np.zeros(60)], np.r_[outcome, np.full(60, 50.0)]
    assert fit_conformal_bounds(*with_nothing, level=0.9) == fit_conformal_bounds(forecast, outcome, level=0.9)
