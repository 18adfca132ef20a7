import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.insights.churn.rivals import (
    LEAVES,
    MOST_TREES,
    boosting_log_odds,
    fit_boosting,
    fit_logistic,
    recency_score,
)
from insight_assets.ml.metrics import auc


def labelled(rows: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 4))
    chance = 1 / (1 + np.exp(-2 * features[:, 0] * (features[:, 1] > 0)))
    return features, (generator.random(rows) < chance).astype(float)


@given(st.lists(st.integers(0, 3_000), min_size=2, unique=True), st.integers(1, 400))
def test_recency_only_grows(days, horizon):
    score = recency_score(np.sort(days), horizon_days=horizon)
    assert (np.diff(score) >= 0).all()
    assert 0 <= score.min() <= score.max() <= 1


def test_who_never_bought_is_gone():
    assert recency_score(np.array([np.nan, 5.0]), horizon_days=30)[0] == 1


def test_rivals_find_the_signal():
    features, churned = labelled(2_000)
    others, truth = labelled(2_000, seed=1)
    linear = fit_logistic(features, churned).decision_function(others)
    model = fit_boosting(features, churned, stop=np.arange(2_000) % 5 == 0, seed=1)
    boosted = boosting_log_odds(model, others)
    assert 0.6 < auc(truth, linear) < auc(truth, boosted)


def test_boosting_takes_gaps_and_stops_growing_on_noise():
    features, churned = labelled(800)
    features[::3, 0] = np.nan
    noise = np.random.default_rng(1).permutation(churned)
    model = fit_boosting(features, noise, stop=np.arange(800) % 4 == 0, seed=1)
    assert model.n_iter_ < 60
    assert np.isfinite(boosting_log_odds(model, features)).all()


def test_without_both_outcomes_to_stop_by_a_fixed_size_is_grown():
    features, churned = labelled(300)
    model = fit_boosting(features, churned, stop=np.zeros(300, dtype=bool), seed=1)
    assert (model.n_iter_, model.max_leaf_nodes) == (MOST_TREES // 3, LEAVES[0])
