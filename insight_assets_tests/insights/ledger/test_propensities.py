"""The likeliest targets are put down as they were told, and graded by counted purchases, the rule's beside them."""

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.ledger.grades import EVERYBODY, broken_promises
from insight_assets.insights.ledger.predictions import NO_SEGMENT
from insight_assets.insights.ledger.propensities import grade_recorded_propensities, record_propensities
from insight_assets.insights.propensity.targets import CATEGORY, KINDS
from insight_assets.ml.metrics import expected_calibration_error
from insight_assets_tests.insights.ledger.told import BEFORE, CLOSED, HORIZON, ORIGIN, card

TASK, METRIC = "category_propensity", "likeliest_bought"
TARGETS = ("tea", "mugs", "rugs", "lamps")


def told(count: int, *, hit: float, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two targets a customer, and what was bought: by two in three customers, the likeliest of theirs at some chance.

    The rule would have told everybody of tea, which half of those who do not buy their likeliest buy.

    Returns:
        Rows of `propensity_scores` of categories, and customers with the target that they bought.
    """
    drawn, rows, bought = np.random.default_rng(seed), [], []
    for customer in range(count):
        likeliest = TARGETS[1 + customer % 3]
        for rank, (target, rule) in enumerate(((likeliest, "tea"), ("tea", "mugs")), start=1):
            rows.append(
                {
                    "customer_key": customer, "kind": CATEGORY, "rank": rank, "target": target, "rule_target": rule,
                    "probability": 0.6 / rank, "rule_probability": 0.3,
                }
            )  # fmt: skip
        if customer % 3:
            bought.append((customer, likeliest if drawn.random() < hit else ("tea", "mugs")[int(drawn.random() < 0.5)]))
    nothing = {name: pl.lit("why") for name in ("evidence", "reason_en", "reason_zh")}
    scores = pl.DataFrame(rows).with_columns(
        as_of=pl.lit(ORIGIN), probability_low=pl.col("probability") - 0.1, probability_high=pl.col("probability") + 0.1,
        method=pl.lit("logistic"), model_version=pl.lit("0123456789ab"), horizon_days=HORIZON, grade=pl.lit("A"),
        graded_origin=pl.lit(BEFORE), target_name=pl.lit(None, pl.String), **nothing,
    )  # fmt: skip
    return (
        contract("propensity_scores").conform(scores).collect(),
        pl.DataFrame(bought, schema={"customer_key": pl.Int64, "target": pl.String}, orient="row"),
    )


def segments_of(scores: pl.DataFrame) -> pl.LazyFrame:
    segment = pl.when(pl.col("customer_key") < 150).then(pl.lit("champions")).otherwise(pl.lit("hibernating"))
    return scores.select(pl.col("customer_key").unique(maintain_order=True)).with_columns(segment=segment).lazy()


def graded(
    scores: pl.DataFrame, bought: pl.DataFrame, *, promises=None, targets=TARGETS, smallest_group=10
) -> pl.DataFrame:
    ledger = record_propensities(scores.lazy(), segments_of(scores)).collect()
    nothing = {kind: bought.clear() for kind in KINDS}
    return grade_recorded_propensities(
        ledger, nothing | {CATEGORY: bought}, dict.fromkeys(KINDS, pl.Series(targets)),
        card(TASK, "logistic", METRIC, 0.5) if promises is None else promises, as_of=CLOSED,
        smallest_group=smallest_group,
        seed=3, resamples=60,
    )  # fmt: skip


def row(grades: pl.DataFrame, metric: str = METRIC, segment: str = EVERYBODY) -> dict:
    return grades.filter(pl.col("task") == TASK, pl.col("metric") == metric, pl.col("segment") == segment).row(
        0, named=True
    )


def test_targets_are_put_down_as_they_were_told_with_the_rules_beside_them():
    scores, _ = told(9, hit=1.0)
    ledger = record_propensities(
        scores.sample(fraction=1, shuffle=True, seed=2).lazy(), segments_of(scores).head(5)
    ).collect()
    validate_frame(contract("propensity_ledger"), ledger)
    assert ledger.height == scores.height
    of_four = ledger.filter(customer_key=4)
    assert of_four.select("rank", "target", "rule_target", "prediction", "rule_prediction").rows() == [
        (1, "rugs", "tea", 0.6, 0.3), (2, "tea", "mugs", 0.3, 0.3),
    ]  # fmt: skip
    assert set(ledger["closes"]) == {CLOSED}
    assert ledger.filter(rank=1)["segment"].to_list()[4:6] == ["champions", NO_SEGMENT]


def test_grades_are_those_counted_by_hand():
    scores, bought = told(300, hit=0.6)
    grades = graded(scores, bought)
    validate_frame(contract("ledger_grades"), grades)
    likeliest = dict(scores.filter(rank=1).select("customer_key", "target").rows())
    hits = [target == likeliest[customer] for customer, target in bought.rows()]
    tea = [target == "tea" for target in bought["target"]]
    found = row(grades)
    assert (found["customers"], found["value"]) == (200, pytest.approx(np.mean(hits)))
    assert (found["rule_value"], found["promised"], found["kept"]) == (pytest.approx(np.mean(tea)), 0.5, True)
    assert found["gain_low"] > 0
    assert broken_promises(grades).is_empty()
    # On all pairs that were told: 300 of the likeliest, at 0.6, and 300 of tea, at 0.3.
    right = np.array([sum(hits), sum(tea)])
    of_kind = np.array([0.6, 0.3])
    squared = (right * (1 - of_kind) ** 2 + (300 - right) * of_kind**2).sum() / 600
    assert row(grades, "brier")["value"] == pytest.approx(squared, abs=1e-6)
    of_rule = (right.sum() * 0.7**2 + (600 - right.sum()) * 0.3**2) / 600
    assert row(grades, "brier")["rule_value"] == pytest.approx(of_rule, abs=1e-6)
    assert row(grades, "total_ratio")["value"] == pytest.approx(270 / right.sum(), abs=1e-6)
    assert row(grades, "total_ratio")["customers"] == 300
    truth = np.concatenate([np.arange(300) < right[0], np.arange(300) < right[1]]).astype(float)
    error = expected_calibration_error(truth, np.repeat(of_kind, 300))
    assert row(grades, "calibration_error")["value"] == pytest.approx(error, abs=1e-6)
    assert row(grades, "calibration_error")["low"] is None
    assert row(grades, "brier")["gain"] is None


def test_segments_have_figures_of_their_own_unless_they_are_small():
    grades = graded(*told(190, hit=0.6))
    assert row(grades, segment="champions")["customers"] == 100
    assert row(grades, "brier", "champions")["customers"] == 150
    assert row(grades, "calibration_error", "champions")["value"] is not None
    assert set(grades["segment"]) == {EVERYBODY, "champions"}, (
        "forty customers are too few to speak of, with their eighty pairs"
    )
    assert graded(*told(9, hit=0.6)).is_empty()


def test_targets_that_missed_break_their_promise_and_worse_than_the_rule_is_named():
    scores, bought = told(300, hit=0.3)
    assert broken_promises(graded(scores, bought)).select("task", "metric", "kept").rows() == [(TASK, METRIC, False)]
    scores, bought = told(300, hit=0.1)
    worse = graded(scores, bought, promises=card("churn", "logistic", METRIC, 0.5))
    assert broken_promises(worse).select("task", "metric", "kept").rows() == [(TASK, METRIC, None)]


def test_who_bought_only_what_nobody_was_told_of_does_not_count():
    scores, bought = told(300, hit=0.6)
    without = graded(scores, bought, targets=("tea", "rugs", "lamps"))
    assert row(without)["customers"] == bought.filter(pl.col("target") != "mugs").height


def test_neither_the_order_of_rows_nor_strangers_change_a_grade():
    scores, bought = told(150, hit=0.5)
    strangers = bought.with_columns(pl.col("customer_key") + 10**6)
    mixed = pl.concat([strangers, bought]).sample(fraction=1, shuffle=True, seed=1)
    assert graded(scores.sample(fraction=1, shuffle=True, seed=4), mixed).equals(graded(scores, bought))


def test_nothing_is_graded_before_it_was_told():
    scores, bought = told(30, hit=1.0)
    assert graded(scores.clear(), bought).is_empty()
    assert METRIC not in set(graded(scores, bought.clear())["metric"])
