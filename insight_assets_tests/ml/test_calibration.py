import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.ml.calibration import Calibrator, fit_calibrator, logistic, logit
from insight_assets.ml.metrics import auc, expected_calibration_error


def overconfident(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    chance = generator.uniform(0.2, 0.8, rows)
    return chance**2, (generator.random(rows) < chance).astype(float)


def test_calibrated_rates_hold_on_other_rows():
    calibrator = fit_calibrator(*overconfident(20_000))
    raw, truth = overconfident(20_000, seed=1)
    assert expected_calibration_error(truth, raw) > 0.15
    assert expected_calibration_error(truth, calibrator(raw)) < 0.02


def test_calibration_costs_no_auc():
    raw, truth = overconfident(500)
    calibrator = fit_calibrator(raw, truth)
    assert auc(truth, calibrator(raw)) == auc(truth, raw)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=30, max_size=80),
    st.lists(st.integers(0, 1000), min_size=2, max_size=20, unique=True),
)
def test_the_map_is_strictly_increasing_and_stays_inside(rows, scores):
    raw, truth = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    probability = fit_calibrator(raw, truth)(np.sort(scores) / 1000)
    assert (np.diff(probability) > 0).all()
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_intervals_hold_the_true_rate_and_shrink_with_rows():
    held, widths = [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        chance = generator.beta(2, 3, 1_000)
        calibrator = fit_calibrator(chance**2, (generator.random(1_000) < chance).astype(float))
        asked = generator.beta(2, 3, 400)
        low, high = calibrator.interval(asked**2)
        probability = calibrator(asked**2)
        assert (low <= probability).all()
        assert (probability <= high).all()
        held.append(np.mean((low <= asked) & (asked <= high)))
        widths.append(np.mean(high - low))
    assert np.mean(held) > 0.9
    few = fit_calibrator(chance[:200] ** 2, (generator.random(200) < chance[:200]).astype(float))
    assert np.mean(np.subtract(*few.interval(asked**2)[::-1])) > 1.2 * np.mean(widths)


def test_where_nothing_is_known_an_interval_says_so():
    low, high = Calibrator().interval(np.array([0.2, 0.9]))
    assert (low == 0).all()
    assert (high == 1).all()


def test_a_calibrator_survives_json():
    calibrator = fit_calibrator(*overconfident(200))
    again = Calibrator.from_json(json.loads(json.dumps(calibrator.to_json())))
    assert again == calibrator


@pytest.mark.parametrize("truth", [np.zeros(100), np.ones(100)])
def test_one_outcome_or_few_rows_change_nothing(truth):
    raw = np.linspace(0, 1, 100)
    assert (fit_calibrator(raw, truth)(raw) == raw).all()
    assert fit_calibrator(raw[:20], np.arange(20) % 2) == Calibrator()


def test_scores_outside_0_to_1_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fit_calibrator(np.array([0.5, 1.2]), np.array([0, 1]))


def test_logit_and_logistic_undo_each_other_and_never_overflow():
    probability = np.linspace(0.001, 0.999, 50)
    assert np.allclose(logistic(logit(probability)), probability)
    with np.errstate(all="raise"):
        assert logistic(np.array([-1e6, 1e6])) == pytest.approx([0, 1])
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
