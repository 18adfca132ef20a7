"""The rival purchase model: likelihood, fit, probability alive, expected purchases."""

import numpy as np
import polars as pl
import pytest
from scipy.special import hyp2f1

from insight_assets.insights.lifetime_value.pareto_nbd import (
    ParetoNbd,
    _weighted_log_likelihood,
    expected_purchases,
    fit_pareto_nbd,
    log_likelihood,
    probability_alive,
)
from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories, distinct_states
from insight_assets_tests.insights.lifetime_value.cdnow import cdnow_file

PUBLISHED = ParetoNbd(r=0.553, alpha=10.578, s=0.606, beta=11.669)


def drawn_shops(size: int) -> list[tuple[ParetoNbd, PurchaseHistories]]:
    draw = np.random.default_rng(4)
    shops = []
    for _ in range(size):
        age = draw.uniform(5, 100, 20)
        repeats = draw.integers(0, 12, 20).astype(float)
        last = np.where(repeats > 0, draw.uniform(0, age), 0.0)
        model = ParetoNbd(*np.exp(draw.normal(np.log([0.5, 10, 0.6, 10]), 0.7)))
        shops.append((model, PurchaseHistories(repeats, last, age)))
    return shops


def published_log_likelihood(model: ParetoNbd, seen: PurchaseHistories) -> np.ndarray:
    """The formula with two hypergeometric functions, of Fader and Hardie's note of 2005."""
    r, alpha, s, beta = model.r, model.alpha, model.s, model.beta
    x, k = seen.repeats, model.r + model.s + seen.repeats
    large, apart = max(alpha, beta), abs(alpha - beta)
    second = s + 1 if alpha >= beta else r + x

    def term(t: np.ndarray) -> np.ndarray:
        return hyp2f1(k, second, k + 1, apart / (large + t)) / (large + t) ** k

    inside = (alpha + seen.age) ** -(r + x) * (beta + seen.age) ** -s + s / k * (term(seen.last) - term(seen.age))
    rising = np.array([np.prod(r + np.arange(count)) for count in x])
    return np.log(rising * alpha**r * beta**s * inside)


@pytest.mark.real
def test_fit_reproduces_the_published_parameters_of_cdnow():
    frame = pl.read_csv(cdnow_file("cdnow_customers_summary.csv"))
    fit = fit_pareto_nbd(
        PurchaseHistories(frame["frequency"].to_numpy(), frame["recency"].to_numpy(), frame["T"].to_numpy())
    )
    for name in ("r", "alpha", "s", "beta"):
        assert getattr(fit.model, name) == pytest.approx(getattr(PUBLISHED, name), rel=0.01)
    assert fit.log_likelihood == pytest.approx(-9594.97, abs=0.02)


def test_likelihood_is_the_published_formula():
    for model, seen in drawn_shops(30):
        assert log_likelihood(model, seen) == pytest.approx(published_log_likelihood(model, seen), rel=1e-7)


def test_frequent_customers_of_long_ago_have_a_finite_likelihood():
    seen = PurchaseHistories([400.0, 2_000.0], [300.0, 3_650.0], [3_650.0, 3_650.0])
    assert np.isfinite(log_likelihood(PUBLISHED, seen)).all()
    gone, here = probability_alive(PUBLISHED, seen)
    assert gone < 1e-6
    assert here > 0.99


def test_gradient_is_that_of_the_likelihood():
    for model, seen in drawn_shops(5):
        evaluate = _weighted_log_likelihood(*distinct_states(seen))
        theta = model.unbounded()
        value, gradient = evaluate(theta)
        assert value == pytest.approx(log_likelihood(model, seen).sum(), rel=1e-9)
        for place in range(4):
            step = 1e-5 * np.eye(4)[place]
            slope = (evaluate(theta + step)[0] - evaluate(theta - step)[0]) / 2e-5
            assert gradient[place] == pytest.approx(slope, rel=1e-4, abs=1e-4)


@pytest.fixture(scope="module")
def lives():
    """8,000 customers seen for 100 days and the next 100, lived under known parameters."""
    truth, draw, size = ParetoNbd(r=0.8, alpha=20.0, s=0.9, beta=60.0), np.random.default_rng(8), 8_000
    rate, age = draw.gamma(truth.r, 1 / truth.alpha, size), 100.0
    left = draw.exponential(1 / draw.gamma(truth.s, 1 / truth.beta, size))
    until = np.minimum(left, age)
    repeats = draw.poisson(rate * until).astype(float)
    # The last of n uniform moments is the n-th root of a uniform one.
    last = np.where(repeats > 0, until * draw.random(size) ** (1 / np.maximum(repeats, 1)), 0.0)
    later = draw.poisson(rate * np.clip(left - age, 0, 100))
    return truth, PurchaseHistories(repeats, last, np.full(size, age)), left > age, later


def test_fit_recovers_what_customers_were_simulated_from(lives):
    truth, seen, _, _ = lives
    fit = fit_pareto_nbd(seen)
    errors = (fit.model.unbounded() - truth.unbounded()) / np.sqrt(np.diag(fit.covariance))
    assert np.abs(errors).max() < 3
    assert fit.customers == seen.age.size


def test_expectations_are_what_happens(lives):
    truth, seen, alive, later = lives
    assert probability_alive(truth, seen).mean() == pytest.approx(alive.mean(), abs=0.015)
    expected = expected_purchases(truth, seen, ahead=100.0)
    assert expected.sum() == pytest.approx(later.sum(), rel=0.05)
    frequent = seen.repeats >= 4
    assert expected[frequent].mean() == pytest.approx(later[frequent].mean(), rel=0.07)


def test_expectation_has_no_hole_where_s_is_one():
    seen = PurchaseHistories([3.0], [50.0], [80.0])
    at, beside = (expected_purchases(ParetoNbd(0.5, 10, s, 12), seen, ahead=30)[0] for s in (1.0, 1.0 + 1e-7))
    assert at == pytest.approx(beside, rel=1e-6)
    with pytest.raises(ValueError, match="at least 0"):
        expected_purchases(PUBLISHED, seen, ahead=-1)


def test_nobody_and_any_order_are_fitted():
    nobody = PurchaseHistories(np.zeros(0), np.zeros(0), np.zeros(0))
    assert fit_pareto_nbd(nobody).customers == 0
    assert log_likelihood(PUBLISHED, nobody).size == 0
    _, seen = drawn_shops(1)[0]
    order = np.random.default_rng(1).permutation(20)
    mixed = PurchaseHistories(seen.repeats[order], seen.last[order], seen.age[order])
    assert fit_pareto_nbd(mixed).model == fit_pareto_nbd(seen).model
