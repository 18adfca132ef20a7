"""What was told is put down as it was, graded once it can be, and a broken promise is named with what to do."""

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.ledger import assets
from insight_assets.insights.ledger.grades import EVERYBODY, LEAST_SEGMENT, broken_promises, grade_ledger, promises_of
from insight_assets.insights.ledger.history import champion_history, changes_of_champion, history_chart
from insight_assets.insights.ledger.predictions import NO_SEGMENT, record_predictions
from insight_assets.insights.propensity.grading import TASKS
from insight_assets.insights.recommendation.assets import POLICY
from insight_assets.insights.recommendation.grading import primary_metric
from insight_assets.ml.metrics import auc
from insight_assets.partitions import DAYS
from insight_assets.settings import settings as shop
from insight_assets_tests.insights.ledger.told import (
    BEFORE,
    CLOSED,
    HORIZON,
    ORIGIN,
    SEGMENTS,
    card,
    days_of,
    labels,
    lines_of,
    lists_of,
    people,
    scores,
)

CUSTOMERS = people(600)
PROPENSITIES = set(TASKS.values())
CHANCE = CUSTOMERS["chance"].to_numpy()
NOBODY_KNOWS = np.full(len(CHANCE), 0.5)


def ledger_of(churn: np.ndarray, rule: np.ndarray = NOBODY_KNOWS, customers: pl.DataFrame = CUSTOMERS) -> pl.DataFrame:
    return record_predictions(*scores(customers, churn, rule), customers.lazy()).collect()


def graded(ledger: pl.DataFrame, promises: pl.DataFrame | None = None, truth: pl.DataFrame | None = None) -> pl.DataFrame:
    promises = card("churn", "boosting", "auc", 0.8) if promises is None else promises
    truth = labels(CUSTOMERS) if truth is None else truth
    return grade_ledger(
        ledger, truth, promises, bought={"purchase_7d": truth}, as_of=CLOSED, smallest_group=10, seed=3, resamples=60
    )


def row(grades: pl.DataFrame, task: str, metric: str, segment: str = EVERYBODY) -> dict:
    found = grades.filter(pl.col("task") == task, pl.col("metric") == metric, pl.col("segment") == segment)
    return found.row(0, named=True)


def test_every_published_number_is_put_down_with_the_rule_beside_it():
    ledger = ledger_of(CHANCE, rule=CHANCE / 2)
    validate_frame(contract("prediction_ledger"), ledger)
    assert ledger.height == 4 * CUSTOMERS.height
    closes = dict(ledger.select("task", "closes").unique().rows())
    assert closes == dict.fromkeys(("churn", "value", "orders"), CLOSED) | {"purchase_7d": ORIGIN + timedelta(days=7)}
    churn = ledger.filter(pl.col("task") == "churn")
    assert np.allclose(churn["prediction"], CHANCE)
    assert np.allclose(churn["rule_prediction"], CHANCE / 2)
    assert churn["segment"].to_list() == CUSTOMERS["segment"].to_list()


def test_who_has_no_segment_is_put_down_all_the_same():
    few = CUSTOMERS.head(3)
    ledger = record_predictions(*scores(few, CHANCE[:3], NOBODY_KNOWS[:3]), few.head(1).lazy()).collect()
    assert ledger.filter(pl.col("task") == "churn")["segment"].to_list() == [few["segment"][0], NO_SEGMENT, NO_SEGMENT]


def test_true_chances_keep_their_promise_and_beat_a_rule_that_knows_nothing():
    grades = graded(ledger_of(CHANCE))
    validate_frame(contract("ledger_grades"), grades)
    found = row(grades, "churn", "auc")
    assert found["value"] > 0.75
    assert found["rule_value"] == 0.5
    assert found["gain_low"] > 0
    assert (found["promised"], found["kept"]) == (0.8, True)
    assert row(grades, "churn", "total_ratio")["value"] == pytest.approx(1, abs=0.1)
    assert row(grades, "churn", "brier")["value"] < row(grades, "churn", "brier")["rule_value"]
    assert broken_promises(grades).is_empty()


def test_numbers_that_turned_out_to_be_noise_break_their_promise():
    noise = np.random.default_rng(5).permutation(CHANCE)
    broken = broken_promises(graded(ledger_of(noise)))
    # Nothing was promised of orders, but a rule that knows nothing errs less than noise.
    assert broken.select("task", "metric", "kept").rows() == [("churn", "auc", False), ("orders", "mae", None)]


def test_a_method_that_is_surely_worse_than_the_rule_is_named_though_nothing_was_promised():
    grades = graded(ledger_of(1 - CHANCE, rule=CHANCE), card("churn", "another", "auc", 0.8))
    assert {"churn", "value", "orders", "purchase_7d"} == set(broken_promises(grades)["task"])
    assert grades["kept"].null_count() == grades.height


def test_segments_have_figures_of_their_own_unless_they_are_small():
    grades = graded(ledger_of(CHANCE))
    for segment in SEGMENTS:
        size = CUSTOMERS.filter(pl.col("segment") == segment).height
        assert row(grades, "churn", "brier", segment)["customers"] == size
    few = CUSTOMERS.head(LEAST_SEGMENT - 1)
    small = graded(ledger_of(CHANCE[: few.height], NOBODY_KNOWS[: few.height], few), truth=labels(few))
    assert set(small["segment"]) == {EVERYBODY}


def test_the_share_of_outcomes_inside_their_intervals_is_told():
    found = row(graded(ledger_of(CHANCE)), "orders", "interval_coverage")
    inside = (CUSTOMERS["purchase_days"] - (1 - CHANCE) * 3).abs() <= 2
    assert found["value"] == pytest.approx(inside.mean(), abs=1e-6)


@settings(max_examples=10)
@given(seed=st.integers(0, 100))
def test_neither_the_order_of_rows_nor_strangers_change_a_grade(seed):
    ledger, truth = ledger_of(CHANCE), labels(CUSTOMERS)
    strangers = labels(people(40, seed=9).with_columns(pl.col("customer_key") + 10**9))
    again = graded(
        ledger.sample(fraction=1, shuffle=True, seed=seed), truth=pl.concat([strangers, truth]).sample(fraction=1, shuffle=True, seed=seed)
    )
    assert again.equals(graded(ledger))


def test_nothing_is_graded_before_it_can_be():
    assert graded(ledger_of(CHANCE), truth=labels(CUSTOMERS.clear())).is_empty()
    assert graded(ledger_of(CHANCE).clear()).is_empty()


def test_history_shows_only_verdicts_known_by_the_day_and_when_the_champion_changed():
    cards = [
        card("churn", method, "auc", 0.7, origin=ORIGIN + timedelta(days=7 * week))
        for week, method in enumerate(["recency", "recency", "boosting", "boosting"])
    ]
    cards.append(card("churn", "recency", "brier", 0.2))
    history = champion_history(
        pl.concat(cards).lazy(), deciding={"churn": "auc"}, as_of=CLOSED + timedelta(days=14), horizon_days=HORIZON
    )
    validate_frame(contract("champion_history"), history)
    assert history["origin"].to_list() == [ORIGIN + timedelta(days=7 * week) for week in range(3)]
    changes = changes_of_champion(history).select("origin", "champion", "before").rows()
    assert changes == [(ORIGIN, "recency", None), (ORIGIN + timedelta(days=14), "boosting", "recency")]
    assert history_chart(history).to_dict()["facet"]["row"]["field"] == "task"


def test_a_year_of_champions_of_every_task_makes_a_small_picture():
    drawn = np.random.default_rng(2)
    cards = [
        card(task, f"{task}_{week // 4 % 5}", metric, float(drawn.random()), origin=ORIGIN - timedelta(days=7 * week))
        for task, metric in assets.DECIDING.items()
        for week in range(5, 52)
    ]
    history = champion_history(pl.concat(cards).lazy(), deciding=assets.DECIDING, as_of=CLOSED, horizon_days=HORIZON)
    assert history.height == 47 * len(assets.DECIDING)
    assert chart_markdown(history_chart(history)).startswith("![chart](data:image/png;base64,")


@pytest.mark.parametrize(("repeats", "metric"), [(False, "new_ndcg_at_10"), (True, "ndcg_at_10")])
def test_the_metric_that_decides_is_the_one_that_decided(repeats, metric):
    policy = replace(POLICY, repeat_purchases=repeats)
    cards = [card("recommendation", "ease", name, 0.1) for name in ("ndcg_at_10", "new_ndcg_at_10")]
    history = champion_history(
        pl.concat(cards).lazy(), deciding={"recommendation": primary_metric(policy)}, as_of=CLOSED, horizon_days=HORIZON
    )
    assert history["metric"].to_list() == [metric]
    assert set(assets.DECIDING) == {"churn", "lifetime_value", "recommendation", *PROPENSITIES}


def test_a_promise_is_broken_only_beyond_its_own_interval():
    found = row(graded(ledger_of(CHANCE)), "churn", "auc")
    # Promised surely more than came, but not more than the promise itself was sure of.
    near = card("churn", "boosting", "auc", found["high"] + 0.01)
    assert row(graded(ledger_of(CHANCE), near), "churn", "auc")["kept"]
    far = card("churn", "boosting", "auc", found["high"] + 0.03)
    assert not row(graded(ledger_of(CHANCE), far), "churn", "auc")["kept"]


def test_less_promised_of_an_error_is_more():
    told = ledger_of(CHANCE)
    found = row(graded(told), "orders", "mae")
    for value, kept in ((found["low"] - 0.03, False), (found["low"] - 0.01, True)):
        promise = card("lifetime_value", "ziln", "mae_orders", value)
        assert row(graded(told, promise), "orders", "mae")["kept"] is kept


class Frames(dg.InMemoryIOManager):
    """Gives inputs by name."""

    def __init__(self, frames: dict[str, pl.LazyFrame]) -> None:
        super().__init__()
        self.frames, self.written = frames, {}

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        self.written[context.asset_key.path[-1]] = obj

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        return self.frames[context.asset_key.path[-1]]


def test_a_broken_promise_names_the_job_that_trains_anew():
    noise, few = np.random.default_rng(5).permutation(CHANCE), CUSTOMERS.head(60)
    value_card = card("lifetime_value", "ziln", "normalised_gini", 0.9)
    frames = {
        "prediction_ledger": ledger_of(noise).lazy(), "customer_labels": labels(CUSTOMERS).lazy(),
        "churn_scorecard": card("churn", "boosting", "auc", 0.8).lazy(), "lifetime_value_scorecard": value_card.lazy(),
        "recommendation_scorecard": card("recommendation", "ease", "new_ndcg_at_10", 0.5).lazy(),
        "recommendation_ledger": lists_of(few).lazy(), "order_lines": lines_of(few).lazy(),
        "identity_links": contract("identity_links").empty().lazy(), "orders": contract("orders").empty().lazy(),
        "customer_days": days_of(CUSTOMERS),
        "intent_scorecard": card("purchase_7d", "boosting", "auc", 0.8, origin=ORIGIN).with_columns(origin=BEFORE).lazy(),
    }  # fmt: skip
    lake = Frames(frames)
    specs = [dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake") for name in (*frames, "identities", "consents")]
    result = dg.materialize(
        [assets.ledger_grades, *specs], partition_key=str(ORIGIN + timedelta(days=shop().horizon_days)), resources={"lake": lake},
        selection=[assets.ledger_grades],
    )  # fmt: skip
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["next"].value.startswith(
        "run the job retrain_churn and retrain_intent and retrain_lifetime_value and retrain_recommendation"
    )
    found = row(lake.written["ledger_grades"], "recommendation", "new_ndcg_at_10")
    assert (found["customers"], found["value"], found["kept"]) == (few.height, 0.0, False)
    soon = row(lake.written["ledger_grades"], "purchase_7d", "auc")
    assert (soon["customers"], soon["promised"], soon["kept"]) == (CUSTOMERS.height, 0.8, False)
    told = 1 - noise
    assert soon["value"] == pytest.approx(auc((CUSTOMERS["purchase_days"] > 0).to_numpy(), told), abs=1e-6)
    assert {job.name for job in assets.jobs} == {*assets.RETRAIN.values(), "retrain_propensity"}


def test_promises_come_from_any_scorecard():
    cards = [card("churn", "boosting", "auc", 0.8), card("lifetime_value", "ziln", "mae", 3.0)]
    found = promises_of([each.lazy() for each in cards])
    assert found.select("as_of", "task", "value").rows() == [(BEFORE, "churn", 0.8), (BEFORE, "lifetime_value", 3.0)]
