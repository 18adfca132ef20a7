from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.ml import referee
from insight_assets.ml.metrics import auc, brier, captured_at_top_decile
from insight_assets.ml.referee import (
    SCORECARD_SCHEMA,
    Method,
    champion,
    champion_grade,
    grade_methods,
    scorecard_markdown,
)

RULE = Method("rule", "rule", 0)
RIVAL = Method("rival", "rival", 1)
NETWORK = Method("network", "model", 2)


def churn_like(customers: int = 800, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    signal = generator.normal(size=customers)
    truth = (generator.random(customers) < 1 / (1 + np.exp(-signal))).astype(float)
    return truth, signal


def squashed(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def grade(truth: np.ndarray, predictions: dict[str, np.ndarray], **options) -> pl.DataFrame:
    methods = [m for m in (NETWORK, RULE, RIVAL) if m.name in predictions]
    return grade_methods(
        **{
            "task": "churn",
            "origin": date(2024, 3, 1),
            "methods": methods,
            "truth": truth,
            "predictions": predictions,
            "metrics": {"auc": auc, "brier": brier},
            "primary": "auc",
            "higher_is_better": {"auc": True, "brier": False},
            "resamples": 200,
            "seed": 3,
        }
        | options
    )


def test_an_equal_challenger_never_wins():
    for seed in range(20):
        truth, signal = churn_like(200, seed)
        noise = np.random.default_rng(seed).normal(size=200)
        scorecard = grade(
            truth, {"rule": squashed(signal + noise), "rival": squashed(signal + noise)}
        )
        assert champion(scorecard) == "rule"


def test_a_clearly_better_challenger_wins_and_is_graded_a():
    truth, signal = churn_like()
    noise = np.random.default_rng(2).normal(size=len(truth))
    scorecard = grade(truth, {"rule": squashed(signal + 3 * noise), "rival": squashed(signal)})
    assert champion(scorecard) == "rival"
    assert champion_grade(scorecard) == "A"


def test_a_model_that_only_ties_with_the_rival_does_not_replace_it():
    truth, signal = churn_like()
    generator = np.random.default_rng(2)
    rule = squashed(signal + 3 * generator.normal(size=len(truth)))
    network = squashed(signal + 0.05 * generator.normal(size=len(truth)))
    scorecard = grade(truth, {"rule": rule, "rival": squashed(signal), "network": network})
    assert champion(scorecard) == "rival"
    grades = dict(scorecard.select("method", "grade").unique().iter_rows())
    assert grades == {"rule": "C", "rival": "A", "network": "A"}


def test_a_gain_within_noise_is_graded_b_and_a_loss_c():
    truth, signal = churn_like(150, seed=8)
    slightly_better = squashed(signal)
    rule = squashed(signal + 0.3 * np.random.default_rng(0).normal(size=150))
    gain = auc(truth, slightly_better) - auc(truth, rule)
    better, worse = (slightly_better, rule) if gain > 0 else (rule, slightly_better)
    graded = grade(truth, {"rule": worse, "rival": better, "network": 1 - better})
    grades = dict(graded.select("method", "grade").unique().iter_rows())
    assert grades == {"rule": "C", "rival": "B", "network": "C"}


def test_lower_is_better_metrics_decide_in_their_own_direction():
    truth, signal = churn_like()
    options = {"primary": "brier"}
    scorecard = grade(
        truth, {"rule": np.full(len(truth), 0.5), "rival": squashed(signal)}, **options
    )
    assert champion(scorecard) == "rival"
    gain = scorecard.filter(method="rival", metric="brier")["gain"].item()
    assert gain == pytest.approx(
        brier(truth, np.full(len(truth), 0.5)) - brier(truth, squashed(signal)), abs=1e-6
    )


def test_the_interval_covers_the_true_value_about_95_times_in_100():
    # The true AUC of this population, from one sample large enough to make its own error small.
    truth, signal = churn_like(400_000, seed=99)
    expected = auc(truth, signal)
    covered = 0
    for seed in range(200):
        truth, signal = churn_like(300, seed)
        row = grade(
            truth, {"rule": squashed(signal)}, metrics={"auc": auc}, seed=seed, resamples=120
        ).row(0, named=True)
        covered += row["low"] <= expected <= row["high"]
    # 200 draws of a 95 % event: fewer than 180 or all 200 happen by chance less than once in 500.
    assert 180 <= covered < 200


def test_gain_intervals_are_paired():
    truth, signal = churn_like()
    better = squashed(signal + 0.02 * np.random.default_rng(0).normal(size=len(truth)))
    row = (
        grade(truth, {"rule": squashed(signal), "rival": better})
        .filter(method="rival", metric="auc")
        .row(0, named=True)
    )
    assert row["gain_high"] - row["gain_low"] < 0.2 * (row["high"] - row["low"])


def test_the_scorecard_has_the_contracted_columns_and_repeats_exactly():
    truth, signal = churn_like(100)
    predictions = {"rule": np.full(100, 0.5), "network": squashed(signal)}
    first = grade(truth, predictions, model_version="0123456789ab")
    assert first.schema == SCORECARD_SCHEMA
    assert first.equals(grade(truth, predictions, model_version="0123456789ab"))
    assert dict(first.select("method", "model_version").unique().iter_rows()) == {
        "rule": None,
        "network": "0123456789ab",
    }
    assert first.filter(pl.col("gain").is_not_null()).select("method", "metric").rows() == [
        ("network", "auc")
    ]


def test_a_truth_of_one_class_leaves_the_rule_in_place():
    scorecard = grade(np.ones(50), {"rule": np.full(50, 0.5), "rival": np.linspace(0, 1, 50)})
    assert champion(scorecard) == "rule"
    assert scorecard.filter(metric="auc")["value"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": {"rule": np.ones(3)}}, "shape"),
        ({"predictions": {}}, "no predictions"),
        ({"predictions": {"rule": np.array([0.1, np.nan, 0.2, 0.3])}}, "finite"),
        ({"primary": "ndcg"}, "primary"),
        ({"methods": []}, "at least one method"),
        ({"methods": [RULE, RULE]}, "differ"),
        ({"higher_is_better": {"auc": True}}, "brier"),
        ({"truth": np.empty(0), "predictions": {"rule": np.empty(0)}}, "at least one customer"),
    ],
)
def test_bad_input_is_refused_with_the_reason(change, message):
    options = {"methods": [RULE]} | change
    predictions = options.pop("predictions", {"rule": np.full(4, 0.5)})
    truth = options.pop("truth", np.array([0, 1, 0, 1.0]))
    with pytest.raises(ValueError, match=message):
        grade(truth, predictions, **options)


def test_the_markdown_shows_champion_intervals_and_customers():
    truth, signal = churn_like()
    text = scorecard_markdown(
        grade(truth, {"rule": np.full(len(truth), 0.5), "rival": squashed(signal)})
    )
    assert "**rival** (champion)" in text
    assert "800 customers as of 2024-03-01" in text
    assert scorecard_markdown(pl.DataFrame(schema=SCORECARD_SCHEMA)).startswith("Nothing graded")


def test_a_scorecard_without_one_champion_is_refused():
    with pytest.raises(ValueError, match="exactly one champion"):
        champion(pl.DataFrame(schema=SCORECARD_SCHEMA))


def test_many_customers_are_graded_on_a_part_with_the_same_interval(monkeypatch):
    truth, signal = churn_like(6_000)
    predictions = {
        "rule": squashed(signal + np.random.default_rng(0).normal(size=6_000)),
        "rival": squashed(signal),
    }
    whole = grade(truth, predictions).filter(pl.col("metric") == "auc")
    monkeypatch.setattr(referee, "MOST_RESAMPLED", 1_500)
    part = grade(truth, predictions).filter(pl.col("metric") == "auc")
    assert part["value"].equals(whole["value"])
    for low, high in (("low", "high"), ("gain_low", "gain_high")):
        width, expected = part[high] - part[low], whole[high] - whole[low]
        assert np.allclose(width.drop_nulls(), expected.drop_nulls(), rtol=0.25)
    assert champion(part) == champion(whole) == "rival"


def test_weighted_metrics_are_graded_with_intervals_of_their_own():
    truth, signal = churn_like()
    weights = np.exp(np.random.default_rng(5).normal(size=len(truth)))
    options = {
        "weights": weights,
        "weighted_metrics": {"money": captured_at_top_decile},
        "higher_is_better": {"auc": True, "brier": False, "money": True},
    }
    predictions = {"rule": np.full(len(truth), 0.5), "rival": squashed(signal)}
    scorecard = grade(truth, predictions, **options)
    money = {row["method"]: row for row in scorecard.filter(metric="money").iter_rows(named=True)}
    assert money["rule"]["value"] == pytest.approx(0.1)
    assert money["rival"]["value"] == pytest.approx(captured_at_top_decile(truth, squashed(signal), weights), abs=1e-6)
    assert money["rival"]["low"] < money["rival"]["value"] < money["rival"]["high"]
    plain = grade(truth, predictions)
    assert scorecard.filter(pl.col("metric") != "money").equals(plain)


@pytest.mark.parametrize("weights", [None, np.ones(3), np.full(800, -1.0), np.full(800, np.nan)])
def test_weights_that_say_nothing_are_refused(weights):
    truth, signal = churn_like()
    with pytest.raises(ValueError, match="weight"):
        grade(
            truth, {"rule": squashed(signal)}, weights=weights, weighted_metrics={"money": captured_at_top_decile},
            higher_is_better={"auc": True, "brier": False, "money": True},
        )  # fmt: skip
