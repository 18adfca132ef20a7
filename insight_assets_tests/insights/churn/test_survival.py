import json

import numpy as np
import pytest

from insight_assets.insights.churn.survival import (
    ReturnModel,
    asked_horizons,
    concordance,
    fit_returns,
    signed,
)

HORIZON = 60


def customers(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled features, days to return (NaN beyond the horizon) and the true log hazard."""
    generator = np.random.default_rng(seed)
    scaled = generator.normal(size=(rows, 3))
    log_hazard = 0.8 * scaled[:, 0] - 0.4 * scaled[:, 1] - 4.5
    day = np.ceil(generator.exponential(np.exp(-log_hazard)))
    return scaled, np.where(day <= HORIZON, day, np.nan), log_hazard


@pytest.fixture(scope="module")
def model() -> ReturnModel:
    scaled, days, _ = customers(4_000)
    return fit_returns(scaled, days, horizon_days=HORIZON)


def test_coefficients_and_curve_are_those_that_made_the_days(model):
    assert model.coefficients == pytest.approx((0.8, -0.4, 0.0), abs=0.06)
    assert model.baseline.at(HORIZON) == pytest.approx(HORIZON * np.exp(-4.5), rel=0.08)
    scaled, _, log_hazard = customers(4_000, seed=1)
    for day in (15, 30, HORIZON):
        truth = np.exp(-day * np.exp(log_hazard))
        assert np.abs(model.away(scaled, day) - truth).mean() < 0.02


def test_everybody_together_stay_away_as_often_as_they_did(model):
    _, days, _ = customers(4_000)
    for day in (1, 20, HORIZON):
        stayed = 1 - np.mean(np.nan_to_num(days, nan=np.inf) <= day)
        # The exponential of a summed hazard lies a little above the product of Kaplan and Meier.
        assert model.away_on_average(1, day)[0] == pytest.approx(stayed, abs=0.01)


def test_the_fit_is_the_best_one():
    scaled, days, _ = customers(300, seed=2)
    best = fit_returns(scaled, days, horizon_days=HORIZON, penalty=1.0)

    def likelihood(beta: np.ndarray) -> float:
        """The penalised partial likelihood, customer by customer."""
        risk, told = np.exp(scaled @ beta), 0.0
        for row in np.flatnonzero(~np.isnan(days)):
            still = np.isnan(days) | (days >= days[row])
            told += scaled[row] @ beta - np.log(risk[still].sum())
        return told - 0.5 * float(beta @ beta)

    top = likelihood(np.array(best.coefficients))
    for place in range(3):
        for step in (-0.02, 0.02):
            moved = np.array(best.coefficients)
            moved[place] += step
            assert likelihood(moved) < top


def test_horizons_agree_with_each_other_and_with_the_published_probability(model):
    scaled, _, _ = customers(200, seed=3)
    probability = np.random.default_rng(0).random(200)
    told = [model.away_given(probability, scaled, day, horizon_days=HORIZON) for day in (10, 30, HORIZON)]
    assert (told[0] >= told[1]).all()
    assert (told[1] >= told[2]).all()
    assert np.allclose(told[2], probability)


def test_concordance_counts_known_pairs():
    days = np.array([5.0, np.nan, 10, 20, np.nan, 5])
    away = np.array([0.1, 0.9, 0.5, 0.4, 0.2, 0.3])
    right = known = 0.0
    for i in range(6):
        for j in range(6):
            if not np.isnan(days[i]) and (np.isnan(days[j]) or days[j] > days[i]):
                known += 1
                right += away[i] < away[j]
    assert concordance(signed(days, HORIZON), away) == pytest.approx(right / known)
    assert concordance(signed(days, HORIZON), np.zeros(6)) == pytest.approx(0.5)
    assert np.isnan(concordance(signed([None, None], HORIZON), np.zeros(2)))


def test_the_model_orders_customers_nearly_as_well_as_the_truth(model):
    scaled, days, log_hazard = customers(4_000, seed=4)
    reached = concordance(signed(days, HORIZON), model.away(scaled, HORIZON))
    assert reached > concordance(signed(days, HORIZON), -log_hazard) - 0.005


def test_a_model_survives_json(model):
    assert ReturnModel.from_json(json.loads(json.dumps(model.to_json()))) == model


def test_horizons_up_to_the_window_are_answered():
    assert asked_horizons(90) == (30, 60, 90)
    assert asked_horizons(45) == (30, 45)
    assert asked_horizons(7) == (7,)
