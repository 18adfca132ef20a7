import json

import numpy as np
import pytest

from insight_assets.ml.blending import Blend, fit_blend
from insight_assets.ml.metrics import auc


def two_views(rows: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two models that each see another half of what decides, and one that sees nothing."""
    generator = np.random.default_rng(seed)
    one, other, noise = generator.normal(size=(3, rows))
    truth = (generator.random(rows) < 1 / (1 + np.exp(-one - other))).astype(float)
    return {"one": one, "other": other, "noise": noise}, truth


def test_a_blend_is_better_than_its_parts_and_ignores_noise():
    blend = fit_blend(*two_views(3_000))
    log_odds, truth = two_views(3_000, seed=1)
    assert auc(truth, blend(log_odds)) > max(auc(truth, part) for part in log_odds.values()) + 0.03
    assert blend.weights.get("noise", 0.0) < 0.1
    assert blend.weights["one"] == pytest.approx(1, abs=0.2)


def test_with_few_rows_weights_stay_near_equal_ones():
    few = fit_blend(*two_views(12))
    assert all(abs(weight - 1 / 3) < 0.25 for weight in few.weights.values())


def test_weights_are_never_negative():
    log_odds, truth = two_views(500)
    log_odds["against"] = -log_odds["one"]
    assert all(weight > 0 for weight in fit_blend(log_odds, truth).weights.values())


def test_with_one_outcome_weights_are_equal():
    log_odds, _ = two_views(50)
    assert set(fit_blend(log_odds, np.ones(50)).weights.values()) == {0.333}


def test_a_blend_survives_json_whatever_the_order():
    blend = fit_blend(*two_views(300))
    again = Blend.from_json(json.loads(json.dumps(blend.to_json(), sort_keys=True)))
    log_odds, _ = two_views(300, seed=2)
    assert np.array_equal(blend(log_odds), again(log_odds))
