"""The purchase model: likelihood, fit, probability alive, expected purchases."""

from datetime import date

import mpmath
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import beta, gamma

from insight_assets.insights.lifetime_value.bg_nbd import (
    BgNbd,
    _weighted_log_likelihood,
    expected_purchases,
    expected_repeats,
    fit_bg_nbd,
    log_likelihood,
    probability_alive,
    repeat_purchase_distribution,
)
from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories, distinct_states
from insight_assets_tests.insights.lifetime_value.cdnow import cdnow_file
from insight_assets_tests.insights.lifetime_value.simulated_customers import (
    PURCHASE,
    simulate_customers,
)

REFERENCE = BgNbd(r=0.2426, alpha=4.414, a=0.793, b=2.426)
POSITIVE = st.floats(0.05, 8.0)


def one(repeats: float, last: float, age: float) -> PurchaseHistories:
    return PurchaseHistories(np.array([repeats]), np.array([last]), np.array([age]))


def cdnow_histories() -> PurchaseHistories:
    frame = pl.read_csv(cdnow_file("cdnow_customers_summary.csv"))
    return PurchaseHistories(
        frame["frequency"].to_numpy(), frame["recency"].to_numpy(), frame["T"].to_numpy()
    )


@pytest.mark.real
def test_fit_reproduces_the_published_parameters_of_cdnow():
    fit = fit_bg_nbd(cdnow_histories())
    for name in ("r", "alpha", "a", "b"):
        assert getattr(fit.model, name) == pytest.approx(getattr(REFERENCE, name), rel=0.01)
    assert fit.log_likelihood == pytest.approx(-9582.43, abs=0.02)
    assert (fit.customers, fit.repeat_customers) == (2357, 946)


@pytest.mark.real
def test_cdnow_holdout_error_is_that_of_the_model():
    rows = [line.split() for line in cdnow_file("CDNOW_sample.txt").read_text().splitlines()]
    days = pl.DataFrame({"id": [r[1] for r in rows], "day": [r[2] for r in rows]}).with_columns(
        pl.col("day").str.to_date("%Y%m%d")
    )
    split = date(1997, 9, 30)
    seen = (
        days.filter(pl.col("day") <= split)
        .group_by("id")
        .agg(
            (pl.col("day").n_unique() - 1).alias("x"),
            ((pl.col("day").max() - pl.col("day").min()).dt.total_days() / 7).alias("t_x"),
            ((split - pl.col("day").min()).dt.total_days() / 7).alias("T"),
        )
    )
    later = days.filter(pl.col("day") > split).group_by("id").agg(pl.col("day").n_unique())
    table = seen.join(later, on="id", how="left").fill_null(0)
    histories = PurchaseHistories(*(table[name].to_numpy() for name in ("x", "t_x", "T")))
    expected = expected_purchases(fit_bg_nbd(histories).model, histories, ahead=39)
    error = np.abs(expected - table["day"].to_numpy()).mean()
    assert error == pytest.approx(0.7855, abs=0.001)


def test_log_likelihood_is_the_published_one():
    r, alpha, a, b = 0.7, 3.0, 0.8, 2.0
    x, last, age = 3.0, 5.0, 9.0
    first = beta(a, b + x) / beta(a, b) * gamma(r + x) * alpha**r / gamma(r)
    second = beta(a + 1, b + x - 1) / beta(a, b) * gamma(r + x) * alpha**r / gamma(r)
    direct = first / (alpha + age) ** (r + x) + second / (alpha + last) ** (r + x)
    value = log_likelihood(BgNbd(r, alpha, a, b), one(x, last, age))
    assert value[0] == pytest.approx(np.log(direct), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(r=POSITIVE, alpha=POSITIVE, a=POSITIVE, b=POSITIVE)
def test_gradient_is_that_of_the_likelihood(r, alpha, a, b):
    histories = PurchaseHistories(
        np.array([0, 0, 1, 2, 9, 30]), np.array([0, 0, 3, 4, 20, 29]), np.array([5, 9, 4, 30, 21, 30])
    )
    evaluate = _weighted_log_likelihood(*distinct_states(histories))
    theta = np.log([r, alpha, a, b])
    value, gradient = evaluate(theta)
    assert value == pytest.approx(log_likelihood(BgNbd(r, alpha, a, b), histories).sum(), rel=1e-10)
    for position in range(4):
        step = np.zeros(4)
        step[position] = 1e-5
        slope = (evaluate(theta + step)[0] - evaluate(theta - step)[0]) / 2e-5
        assert gradient[position] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def published_expectation(model: BgNbd, x: int, last: float, age: float, ahead: float) -> float:
    r, alpha, a, b = (mpmath.mpf(v) for v in (model.r, model.alpha, model.a, model.b))
    with mpmath.workdps(60):
        series = mpmath.hyp2f1(r + x, b + x, a + b + x - 1, ahead / (alpha + age + ahead))
        grown = ((alpha + age) / (alpha + age + ahead)) ** (r + x) * series
        left = a / (b + x - 1) * ((alpha + age) / (alpha + last)) ** (r + x) if x else 0
        return float((a + b + x - 1) / (a - 1) * (1 - grown) / (1 + left))


@pytest.mark.parametrize("model", [REFERENCE, BgNbd(0.7, 62.0, 0.025, 66.0), BgNbd(3, 9, 2.5, 0.4)])
@pytest.mark.parametrize(
    ("x", "last", "age"),
    [(0, 0, 0), (0, 0, 400), (1, 0, 30), (4, 90, 100), (60, 300, 301), (400, 990, 1000)],
)
@pytest.mark.parametrize("ahead", [1, 90, 365, 5000])
def test_expected_purchases_are_the_published_ones_to_nine_digits(model, x, last, age, ahead):
    value = expected_purchases(model, one(x, last, age), ahead=ahead)[0]
    assert value == pytest.approx(published_expectation(model, x, last, age, ahead), rel=1e-9)


@pytest.mark.parametrize("a", [1.0, 1 + 1e-9, 1 - 1e-7])
def test_expected_purchases_pass_the_removable_singularity_smoothly(a):
    histories = one(3, 20, 30)
    beside = [
        expected_purchases(BgNbd(0.5, 10, 1 + side, 2), histories, ahead=90)[0]
        for side in (-1e-4, 1e-4)
    ]
    value = expected_purchases(BgNbd(0.5, 10, a, 2), histories, ahead=90)[0]
    assert value == pytest.approx(np.mean(beside), rel=1e-6)


def test_expected_purchases_without_repeats_when_a_plus_b_is_one():
    histories = one(0, 0, 30)
    exact = expected_purchases(BgNbd(0.5, 10, 0.3, 0.7), histories, ahead=90)[0]
    beside = expected_purchases(BgNbd(0.5, 10, 0.3, 0.7001), histories, ahead=90)[0]
    assert exact == pytest.approx(beside, rel=1e-3)


def test_nothing_is_expected_in_no_time_and_more_in_more_time():
    histories = one(3, 20, 30)
    windows = [0.0, 1.0, 30.0, 90.0, 365.0, 3650.0]
    values = [expected_purchases(REFERENCE, histories, ahead=w)[0] for w in windows]
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert values == sorted(values)


def test_probability_alive_limits():
    def alive(repeats: float, last: float, age: float) -> float:
        return probability_alive(REFERENCE, one(repeats, last, age))[0]

    assert alive(0, 0, 1000) == 1
    a, b = REFERENCE.a, REFERENCE.b
    assert alive(5, 30, 30) == pytest.approx(1 / (1 + a / (b + 4)), rel=1e-12)
    assert alive(5, 30, 1e9) == pytest.approx(0, abs=1e-12)
    assert alive(1000, 10, 100_000) == 0
    gaps = [alive(5, 30, 30 + gap) for gap in range(0, 200, 10)]
    assert gaps == sorted(gaps, reverse=True)


def test_frequent_customers_fall_silent_faster():
    rare = probability_alive(REFERENCE, one(2, 30, 60))[0]
    frequent = probability_alive(REFERENCE, one(20, 30, 60))[0]
    assert frequent < rare


def test_fit_recovers_the_parameters_of_a_simulation():
    customers = simulate_customers(12_000, seed=7)
    fit = fit_bg_nbd(customers.histories)
    spread = np.sqrt(np.diag(fit.covariance))
    off = (fit.model.unbounded() - PURCHASE.unbounded()) / spread
    assert np.abs(off).max() < 3
    assert spread.max() < 0.35
    assert fit.model.a / (fit.model.a + fit.model.b) == pytest.approx(0.8 / 3.3, rel=0.15)


def test_prior_keeps_a_shop_whose_customers_never_leave_finite():
    customers = simulate_customers(1500, seed=3, purchase=BgNbd(0.7, 60.0, 0.01, 1000.0))
    model = fit_bg_nbd(customers.histories).model
    assert model.b < 1e5
    assert model.a / (model.a + model.b) < 0.03
    assert probability_alive(model, customers.histories).mean() > 0.97


def test_fit_without_customers_is_the_prior():
    empty = PurchaseHistories(np.zeros(0), np.zeros(0), np.zeros(0))
    fit = fit_bg_nbd(empty)
    assert fit.customers == 0
    assert np.allclose(np.sqrt(np.diag(fit.covariance)), 3.0, rtol=1e-3)


def test_fit_without_any_repeat_purchase_is_finite_and_expects_little():
    histories = PurchaseHistories(np.zeros(200), np.zeros(200), np.full(200, 300.0))
    model = fit_bg_nbd(histories).model
    assert np.isfinite(model.unbounded()).all()
    assert expected_purchases(model, one(0, 0, 300), ahead=90)[0] < 0.05


def test_fit_does_not_depend_on_the_order_of_customers():
    histories = simulate_customers(300, seed=1).histories
    order = np.random.default_rng(2).permutation(300)
    shuffled = PurchaseHistories(histories.repeats[order], histories.last[order], histories.age[order])
    one_way, other_way = fit_bg_nbd(histories), fit_bg_nbd(shuffled)
    assert one_way.model == other_way.model
    assert np.array_equal(one_way.covariance, other_way.covariance)


def test_fit_does_not_depend_on_the_unit_of_time():
    days = simulate_customers(400, seed=1).histories
    weeks = PurchaseHistories(days.repeats, days.last / 7, days.age / 7)
    in_days, in_weeks = fit_bg_nbd(days).model, fit_bg_nbd(weeks).model
    assert in_days.alpha / 7 == pytest.approx(in_weeks.alpha, rel=1e-6)
    assert in_days.b == pytest.approx(in_weeks.b, rel=1e-6)


def test_repeat_purchase_distribution_adds_up_and_has_the_expected_mean():
    ages = np.full(4000, 200.0)
    counts = repeat_purchase_distribution(PURCHASE, ages, most=200, seed=1)
    assert counts.sum() == pytest.approx(4000)
    mean = counts @ np.arange(201) / 4000
    assert mean == pytest.approx(expected_repeats(PURCHASE, ages[:1])[0], rel=0.03)


@pytest.mark.parametrize(("x", "last", "age"), [(-1, 0, 5), (1, 6, 5), (1, -1, 5), (1, np.nan, 5)])
def test_impossible_histories_are_refused(x, last, age):
    with pytest.raises(ValueError, match="impossible purchase history at position 0"):
        one(x, last, age)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="equal shapes"):
        PurchaseHistories(np.zeros(2), np.zeros(2), np.zeros(3))


def test_negative_window_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        expected_purchases(REFERENCE, one(1, 1, 2), ahead=-1)
