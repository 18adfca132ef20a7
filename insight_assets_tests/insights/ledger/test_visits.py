"""Chances of running visits are put down as they were told and graded a day later by how the visits ended."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.ledger import assets
from insight_assets.insights.ledger.grades import EVERYBODY, broken_promises
from insight_assets.insights.ledger.visits import SIGNED_IN, TASKS, VISITOR, grade_recorded_visits, record_visits
from insight_assets.ml.metrics import auc, lift_at_top_decile
from insight_assets_tests.features.shop import table
from insight_assets_tests.insights.ledger.test_ledger import graded_by
from insight_assets_tests.insights.ledger.told import ORIGIN, card

AFTER = ORIGIN + timedelta(days=1)
LEARNT = ORIGIN - timedelta(days=8)
TASK = "order_after_3_events"
START = datetime(2025, 3, 31, 9, tzinfo=UTC)


def visits(count: int, *, actors: int | None = None, seed: int = 1) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Scores of visits after three events, by an own chance each, and whether an order followed.

    Returns:
        Rows of `session_intent_scores`, the chances, and the outcomes.
    """
    drawn = np.random.default_rng(seed)
    chance = np.round(drawn.uniform(0.02, 0.9, count), 6)
    rows = [
        {
            "as_of": ORIGIN, "session_id": f"{number:05d}", "events_seen": 3, "actor_key": number % (actors or count),
            "customer_key": number % (actors or count) if number % 2 else None, "started_at": START,
            "purchase_probability": each,
            "purchase_probability_low": max(each - 0.1, 0), "purchase_probability_high": min(each + 0.1, 1),
            "rule_probability": 0.4, "method": "boosting", "model_version": "0123456789ab", "grade": "A",
            "graded_origin": LEARNT, "purchase_decile": 5,
        }
        for number, each in enumerate(chance)
    ]  # fmt: skip
    return table("session_intent_scores", rows).collect(), chance, drawn.random(count) < chance


def examples(scores: pl.DataFrame, bought: np.ndarray) -> pl.DataFrame:
    """Rows of `session_intent_examples` as of the day after, which know how the visits ended."""
    rows = [
        {
            "as_of": AFTER, "session_id": session, "events_seen": 3, "actor_key": actor, "session_day": ORIGIN,
            "ended_day": ORIGIN, "started_at": START, "bought_later": bool(ended),
        }
        for session, actor, ended in zip(scores["session_id"], scores["actor_key"], bought, strict=True)
    ]  # fmt: skip
    return table("session_intent_examples", rows).collect()


def promise(value: float) -> pl.DataFrame:
    return card(TASK, "boosting", "auc", value, origin=LEARNT)


def graded(scores: pl.DataFrame, outcomes: pl.DataFrame, promises: pl.DataFrame | None = None) -> pl.DataFrame:
    ledger = record_visits(scores.lazy()).collect()
    promises = promise(0.8) if promises is None else promises
    return grade_recorded_visits(ledger, outcomes, promises, as_of=AFTER, smallest_group=10, seed=3, resamples=60)


def row(grades: pl.DataFrame, metric: str = "auc", segment: str = EVERYBODY) -> dict:
    return grades.filter(pl.col("task") == TASK, pl.col("metric") == metric, pl.col("segment") == segment).row(
        0, named=True
    )


def test_every_published_chance_is_put_down_with_the_rule_beside_it():
    scores, chance, _ = visits(30)
    ledger = record_visits(scores.sample(fraction=1, shuffle=True, seed=2).lazy()).collect()
    validate_frame(contract("session_intent_ledger"), ledger)
    assert np.allclose(ledger["prediction"], chance)
    assert set(ledger["rule_prediction"]) == {0.4}
    assert ledger["segment"].to_list() == [VISITOR, SIGNED_IN] * 15
    assert set(ledger["closes"]) == {AFTER}


def test_a_grade_is_that_of_the_visits_outcomes():
    scores, chance, bought = visits(600)
    grades = graded(scores, examples(scores, bought))
    validate_frame(contract("session_intent_grades"), contract("session_intent_grades").conform(grades).collect())
    found = row(grades)
    assert (found["customers"], found["rule_value"], found["promised"], found["kept"]) == (600, 0.5, 0.8, True)
    assert found["value"] == pytest.approx(auc(bought, chance), abs=1e-6)
    assert found["gain_low"] > 0
    assert row(grades, "total_ratio")["value"] == pytest.approx(chance.sum() / bought.sum(), abs=1e-6)
    assert row(grades, "total_ratio")["rule_value"] == pytest.approx(240 / bought.sum(), abs=1e-6)
    assert row(grades, "lift_at_top_decile")["value"] == pytest.approx(lift_at_top_decile(bought, chance), abs=1e-6)
    assert row(grades, segment=VISITOR)["value"] == pytest.approx(auc(bought[::2], chance[::2]), abs=1e-6)
    assert row(grades, segment=SIGNED_IN)["customers"] == 300
    assert broken_promises(grades).is_empty()
    assert set(grades["task"]) == {TASK} < set(TASKS)


def test_a_broken_promise_names_the_job_that_trains_anew():
    scores, chance, _ = visits(600)
    bought = np.random.default_rng(9).permutation(chance) > 0.5
    frames = {
        "session_intent_ledger": record_visits(scores.lazy()),
        "session_intent_examples": examples(scores, bought).lazy(),
        "session_intent_scorecard": promise(0.8).with_columns(as_of=pl.lit(ORIGIN), origin=pl.lit(LEARNT)).lazy(),
    }  # fmt: skip
    grades, check = graded_by(assets.session_intent_grades, frames, AFTER)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["next"].value.startswith("run the job retrain_intent as of the newest day")
    found = row(grades)
    assert (found["value"], found["kept"]) == (pytest.approx(auc(bought, chance), abs=1e-6), False)


def test_visits_of_few_people_are_not_spoken_of():
    scores, _, bought = visits(600, actors=9)
    assert graded(scores, examples(scores, bought)).is_empty()
    scores, _, bought = visits(600, actors=18)
    # Of eighteen people nine each are signed in and are not.
    assert set(graded(scores, examples(scores, bought))["segment"]) == {EVERYBODY}


def test_only_visits_that_were_told_and_have_ended_are_graded():
    scores, _, bought = visits(200)
    outcomes = examples(scores, bought)
    still_open = outcomes.with_columns(bought_later=pl.when(pl.col("session_id") >= "00100").then("bought_later"))
    assert row(graded(scores, still_open))["customers"] == 100
    assert row(graded(scores.head(50), outcomes))["customers"] == 50
    assert graded(scores.clear(), outcomes).is_empty()


def test_neither_the_order_of_rows_nor_visits_of_later_days_change_a_grade():
    scores, _, bought = visits(200)
    outcomes = examples(scores, bought)
    later = outcomes.with_columns(
        session_id=pl.format("later-{}", "session_id"), session_day=pl.lit(AFTER), bought_later=None
    )
    mixed = pl.concat([later.cast(outcomes.schema), outcomes]).sample(fraction=1, shuffle=True, seed=1)
    assert graded(scores.sample(fraction=1, shuffle=True, seed=4), mixed).equals(graded(scores, outcomes))
