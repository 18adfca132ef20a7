"""The value model: fit, expected value, customers that it cannot read."""

import numpy as np
import polars as pl
import pytest

from insight_assets.insights.lifetime_value.gamma_gamma import (
    GammaGamma,
    expected_value,
    fit_gamma_gamma,
    log_likelihood,
    usable,
    value_posterior,
)
from insight_assets_tests.insights.lifetime_value.cdnow import cdnow_file
from insight_assets_tests.insights.lifetime_value.simulated_customers import (
    VALUE,
    simulate_customers,
)


@pytest.mark.real
def test_fit_reproduces_the_published_parameters_of_cdnow():
    frame = pl.read_csv(cdnow_file("cdnow_customers_summary_with_transactions.csv"))
    fit = fit_gamma_gamma(frame["x"].to_numpy(), frame["zbar"].to_numpy())
    assert fit.customers == 946
    assert fit.model.p == pytest.approx(6.25, rel=0.01)
    assert fit.model.q == pytest.approx(3.74, rel=0.01)
    assert fit.model.v == pytest.approx(15.45, rel=0.01)


def test_fit_recovers_the_parameters_of_a_simulation():
    customers = simulate_customers(8000, seed=11)
    repeat = customers.histories.repeats > 0
    fit = fit_gamma_gamma(customers.purchases[repeat], customers.mean_value[repeat])
    off = (fit.model.unbounded() - VALUE.unbounded()) / np.sqrt(np.diag(fit.covariance))
    assert np.abs(off).max() < 3
    assert fit.model.population_mean == pytest.approx(VALUE.population_mean, rel=0.03)


def test_log_likelihood_is_a_density_of_the_mean():
    grid = np.linspace(1e-3, 4000, 400_000)
    density = np.exp(log_likelihood(VALUE, np.full_like(grid, 3.0), grid))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=2e-3)


def test_expected_value_moves_from_the_population_to_the_customer():
    own = 500.0
    values = expected_value(VALUE, np.array([0, 1, 5, 100, 10_000]), np.full(5, own))
    assert values[0] == pytest.approx(VALUE.population_mean)
    assert (np.diff(values) > 0).all()
    assert values[-1] == pytest.approx(own, rel=1e-3)


@pytest.mark.parametrize("mean", [0.0, -12.5, np.nan, np.inf])
def test_customers_without_a_positive_mean_get_the_population_mean(mean):
    value = expected_value(VALUE, np.array([4.0]), np.array([mean]))
    assert value[0] == pytest.approx(VALUE.population_mean)
    assert not usable(np.array([4.0]), np.array([mean]))[0]


def test_fit_leaves_out_what_is_not_usable():
    purchases = np.array([3.0, 2.0, 5.0, 4.0])
    means = np.array([20.0, 30.0, 25.0, 28.0])
    clean = fit_gamma_gamma(purchases, means)
    mixed = fit_gamma_gamma(np.append(purchases, [0, 3, 2]), np.append(means, [9.0, -5.0, np.nan]))
    assert mixed.customers == 4
    assert mixed.model == clean.model


def test_fit_follows_the_currency():
    customers = simulate_customers(500, seed=4)
    euro = fit_gamma_gamma(customers.purchases, customers.mean_value).model
    cent = fit_gamma_gamma(customers.purchases, customers.mean_value * 100).model
    assert cent.p == pytest.approx(euro.p, rel=1e-6)
    assert cent.q == pytest.approx(euro.q, rel=1e-6)
    assert cent.v == pytest.approx(euro.v * 100, rel=1e-6)


def test_fit_does_not_depend_on_the_order_of_customers():
    customers = simulate_customers(200, seed=4)
    order = np.random.default_rng(1).permutation(200)
    one_way = fit_gamma_gamma(customers.purchases, customers.mean_value)
    other_way = fit_gamma_gamma(customers.purchases[order], customers.mean_value[order])
    assert one_way.model == other_way.model


@pytest.mark.parametrize("size", [0, 1])
def test_fit_of_hardly_anybody_is_the_prior_and_finite(size):
    model = fit_gamma_gamma(np.full(size, 2.0), np.full(size, 30.0)).model
    assert np.isfinite(model.unbounded()).all()
    assert model.q > 1


def test_posterior_is_conjugate():
    shape, rate = value_posterior(GammaGamma(2, 3, 10), np.array([4.0]), np.array([5.0]))
    assert (shape[0], rate[0]) == (2 * 4 + 3, 10 + 20)
