"""Measures are means over customers of numbers whose spread is that of the measure."""

import numpy as np
import pytest

from insight_assets.insights.propensity.measures import (
    customer_aucs,
    customer_briers,
    likeliest_bought,
    mean_auc,
)


def drawn(customers: int, targets: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    taste = chance.normal(size=(customers, 1)) + chance.normal(size=(customers, targets))
    score = np.round(taste + chance.normal(size=(customers, targets)), 1)
    return chance.random((customers, targets)) < 1 / (1 + np.exp(2 - taste)), score


def test_the_mean_over_customers_is_the_mean_over_targets():
    truth, score = drawn(300, 6, seed=1)
    truth[:, 5] = False
    target = np.tile(np.arange(6), 300)
    assert customer_aucs(truth, score).mean() == pytest.approx(mean_auc(truth.ravel(), score.ravel(), target))
    ranked = customer_aucs(truth, np.arange(300)[:, None] * np.ones((1, 6)))
    assert not np.allclose(ranked.mean(), customer_aucs(truth, score).mean())


def test_a_constant_score_is_worth_one_half_and_its_customers_do_not_differ():
    truth, score = drawn(100, 3, seed=2)
    assert np.allclose(customer_aucs(truth, np.zeros_like(score)), 0.5)


def test_spread_over_customers_is_that_of_drawing_customers_anew():
    truth, score = drawn(400, 5, seed=3)
    chance, target = np.random.default_rng(4), np.tile(np.arange(5), 400)
    again = []
    for _ in range(150):
        rows = chance.integers(0, 400, size=400)
        again.append(mean_auc(truth[rows].ravel(), score[rows].ravel(), target))
    told = customer_aucs(truth, score).std() / np.sqrt(400)
    assert told == pytest.approx(np.std(again), rel=0.2)


def test_where_hardly_anybody_bought_there_is_no_order():
    truth = np.zeros((50, 2), dtype=bool)
    truth[:4] = True
    assert np.isnan(customer_aucs(truth, np.ones((50, 2)))).all()
    assert np.isnan(mean_auc(truth.ravel(), np.ones(100), np.tile([0, 1], 50)))


def test_errors_and_hits_are_each_customers_own():
    truth = np.array([[1, 0], [0, 0], [0, 1]], dtype=bool)
    told = np.array([[0.5, 0.5], [0.0, 0.0], [0.8, 0.2]])
    assert customer_briers(truth, told).tolist() == pytest.approx([0.25, 0.0, 0.64])
    assert likeliest_bought(truth, told).tolist() == [1.0, 0.0]
