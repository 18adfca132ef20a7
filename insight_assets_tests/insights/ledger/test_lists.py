"""Lists are put down with the rule's beside them, and graded as the scorecard grades them, by what was then bought."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.ledger.grades import EVERYBODY, broken_promises
from insight_assets.insights.ledger.lists import NEWCOMERS, RECOMMENDATION, grade_recorded_lists, record_lists
from insight_assets.insights.ledger.predictions import NO_SEGMENT
from insight_assets.insights.recommendation.grading import accuracy, grade_lists, truth_of
from insight_assets.insights.recommendation.interactions import catalogue_of, history_of, interactions, purchases
from insight_assets.insights.recommendation.methods import METHODS, available_products, fit
from insight_assets.insights.recommendation.publishing import FOR_NEWCOMERS, Publication, recommend
from insight_assets.insights.recommendation.ranking import Policy
from insight_assets_tests.insights.ledger.told import BEFORE, CLOSED, HORIZON, ORIGIN, card
from insight_assets_tests.insights.recommendation.shops import DAY, paired_shop, sales

NEW = Policy(repeat_purchases=False)
METRIC = "new_ndcg_at_10"
VERSION = "0123456789ab"


def recommended(count: int, *, hit: float, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lists of customers who each buy one new product, which stands in their list at some chance, never in the rule's.

    Returns:
        Rows of `recommendations`, and what was bought.
    """
    drawn = np.random.default_rng(seed)
    rows, bought = [], []
    for customer in range(count):
        right = f"wanted-{customer % 7}"
        listed = [right if place == 0 and drawn.random() < hit else f"other-{place}" for place in range(10)]
        bought.append((customer, right))
        rows += [
            {"customer_key": customer, "rank": place + 1, "product_id": each, "rule_product_id": f"rule-{place}"}
            for place, each in enumerate(listed)
        ]
    told = pl.DataFrame(rows).with_columns(
        as_of=pl.lit(ORIGIN), score=1.0, reason=pl.lit("why"), reason_zh=pl.lit("为何"), method=pl.lit("ease"),
        model_version=pl.lit(VERSION), horizon_days=HORIZON, grade=pl.lit("A"), graded_origin=pl.lit(BEFORE),
    )  # fmt: skip
    of = contract("recommendations")
    return of.conform(told.lazy()).collect(), pl.DataFrame(bought, schema=["customer_key", "product_id"], orient="row")


def segments_of(lists: pl.DataFrame) -> pl.LazyFrame:
    keys = lists.select(pl.col("customer_key").unique(maintain_order=True))
    segment = pl.when(pl.col("customer_key") % 3 == 0).then(pl.lit("champions")).otherwise(pl.lit("hibernating"))
    return keys.with_columns(segment=segment).lazy()


def graded(
    lists: pl.DataFrame, bought: pl.DataFrame, *, owned=None, promises=None, policy: Policy = NEW
) -> pl.DataFrame:
    ledger = record_lists(lists.lazy(), segments_of(lists)).collect()
    owned = bought.clear() if owned is None else owned
    promises = card(RECOMMENDATION, "ease", METRIC, 0.5) if promises is None else promises
    return grade_recorded_lists(
        ledger, bought, owned, promises, policy=policy, as_of=CLOSED, smallest_group=10, seed=3, resamples=60
    )


def row(grades: pl.DataFrame, metric: str = METRIC, segment: str = EVERYBODY, task: str = RECOMMENDATION) -> dict:
    found = grades.filter(pl.col("task") == task, pl.col("metric") == metric, pl.col("segment") == segment)
    return found.row(0, named=True)


def test_a_list_is_put_down_as_it_was_with_the_rules_beside_it():
    lists, _ = recommended(20, hit=1.0)
    ledger = record_lists(lists.sample(fraction=1, shuffle=True, seed=2).lazy(), segments_of(lists).head(5)).collect()
    validate_frame(contract("recommendation_ledger"), ledger)
    assert ledger["product_ids"][3].to_list() == ["wanted-3", *(f"other-{place}" for place in range(1, 10))]
    assert ledger["rule_product_ids"][3].to_list() == [f"rule-{place}" for place in range(10)]
    assert set(ledger["closes"]) == {CLOSED}
    assert ledger["segment"].to_list()[4:6] == ["hibernating", NO_SEGMENT]


def test_lists_that_held_what_was_bought_keep_their_promise():
    grades = graded(*recommended(300, hit=0.6))
    validate_frame(contract("ledger_grades"), grades)
    found = row(grades)
    assert found["value"] == pytest.approx(0.6, abs=0.08)
    assert (found["rule_value"], found["promised"], found["kept"]) == (0.0, 0.5, True)
    assert found["gain_low"] > 0
    recall = row(grades, "new_recall_at_10")
    assert recall["value"] == pytest.approx(found["value"])
    assert (recall["gain"], recall["promised"]) == (None, None)
    assert {"champions", "hibernating"} < set(grades["segment"])
    assert row(grades, segment="champions")["customers"] == 100
    assert broken_promises(grades).is_empty()


def test_lists_that_missed_break_their_promise_and_worse_than_the_rule_is_named():
    grades = graded(*recommended(300, hit=0.1))
    assert broken_promises(grades).select("task", "metric", "kept").rows() == [(RECOMMENDATION, METRIC, False)]
    lists, bought = recommended(300, hit=0.1)
    swapped = lists.rename({"product_id": "rule_product_id", "rule_product_id": "product_id"})
    nothing_promised = card("churn", "ease", METRIC, 0.5)
    worse = graded(contract("recommendations").conform(swapped.lazy()).collect(), bought, promises=nothing_promised)
    assert broken_promises(worse).select("task", "metric", "kept").rows() == [(RECOMMENDATION, METRIC, None)]


def test_only_what_is_new_counts_where_lists_hold_only_that():
    lists, bought = recommended(200, hit=1.0)
    owned = bought.filter(pl.col("customer_key") < 150)
    assert row(graded(lists, bought, owned=owned))["customers"] == 50
    again = card(RECOMMENDATION, "ease", "ndcg_at_10", 0.5)
    everything = graded(lists, bought, owned=owned, promises=again, policy=replace(NEW, repeat_purchases=True))
    assert row(everything, "ndcg_at_10")["customers"] == 200
    assert row(everything, "ndcg_at_10")["kept"]


def test_lists_of_newcomers_are_graded_apart_and_promise_nothing():
    lists, bought = recommended(200, hit=0.6)
    new = pl.col("customer_key") >= 120
    told = lists.with_columns(
        method=pl.when(new).then(pl.lit(FOR_NEWCOMERS)).otherwise("method"),
        grade=pl.when(new).then(pl.lit("ungraded")).otherwise("grade"),
        graded_origin=pl.when(~new).then("graded_origin"),
    )
    grades = graded(told, bought)
    assert row(grades)["customers"] == 120
    found = row(grades, task=NEWCOMERS)
    assert (found["customers"], found["method"], found["kept"]) == (80, FOR_NEWCOMERS, None)
    assert found["gain_low"] > 0
    few = graded(told.filter(~new | (pl.col("customer_key") < 129)), bought)
    assert set(few["task"]) == {RECOMMENDATION}, "nine newcomers are too few to speak of"


def test_neither_the_order_of_rows_nor_strangers_change_a_grade():
    lists, bought = recommended(150, hit=0.5)
    strangers = bought.with_columns(pl.col("customer_key") + 10**6)
    mixed = pl.concat([strangers, bought]).sample(fraction=1, shuffle=True, seed=1)
    assert graded(lists.sample(fraction=1, shuffle=True, seed=4), mixed).equals(graded(lists, bought))


def test_nothing_is_graded_before_something_was_bought():
    lists, bought = recommended(20, hit=1.0)
    assert graded(lists, bought.clear()).is_empty()
    assert graded(lists.clear(), bought).is_empty()


def test_grades_are_those_of_the_scorecard_of_the_same_lists():
    """The same lists and purchases, by way of the ledger and by way of the referee's scorecard."""
    lines = paired_shop(customers=120)
    contacts = interactions(lines, as_of=DAY).collect()
    later = sales([(key, f"{'ab'[key % 2]}{key % 5}", -2) for key in range(1, 121)] + [(7, "unheard of", -1)])
    fitted = fit(contacts, as_of=DAY)
    history = history_of(contacts, fitted.catalogue)
    bought = purchases(later, after=DAY, until=later.select(pl.col("event_day").max()).collect().item()).collect()
    for policy in (NEW, Policy()):
        told = recommend(
            fitted, history, pl.DataFrame(schema={"product_id": pl.String, "product_name": pl.String}),
            publish=Publication("ease", "A", BEFORE), policy=policy, horizon_days=HORIZON, model_version=VERSION,
        )  # fmt: skip
        expected = accuracy(
            grade_lists(
                fitted.rankers, fitted.methods, history, truth_of(bought, history, fitted.catalogue),
                catalogue=fitted.catalogue, available=available_products(fitted.catalogue, as_of=DAY, policy=policy),
                policy=policy, origin=DAY, seed=3, model_version=VERSION,
            )
        )  # fmt: skip
        owned = purchases(lines, after=DAY.replace(year=2000), until=DAY).collect()
        found = graded(told, bought, owned=owned, policy=policy)
        prefix = "" if policy.repeat_purchases else "new_"
        assert set(found.filter(segment=EVERYBODY)["metric"]) == {f"{prefix}ndcg_at_10", f"{prefix}recall_at_10"}
        for each in found.filter(segment=EVERYBODY).iter_rows(named=True):
            for method, column in (("ease", "value"), (METHODS[0].name, "rule_value")):
                same = expected.filter(method=method, metric=each["metric"]).row(0, named=True)
                assert each[column] == pytest.approx(same["value"], abs=1e-6)
                assert each["customers"] == same["customers"]


def test_the_rules_list_is_as_long_as_the_published_one():
    contacts = interactions(paired_shop(customers=60), as_of=DAY).collect()
    fitted = fit(contacts, as_of=DAY)
    names = pl.DataFrame(schema={"product_id": pl.String, "product_name": pl.String})
    for method in ("ease", METHODS[0].name):
        told = recommend(
            fitted, history_of(contacts, catalogue_of(contacts, as_of=DAY)), names,
            publish=Publication(method, "A", BEFORE), policy=NEW, horizon_days=HORIZON, model_version=VERSION,
            newcomers=np.array([10**6]),
        )  # fmt: skip
        assert told["rule_product_id"].null_count() == 0
        if method == METHODS[0].name:
            served = told.filter(method=method)
            assert served["rule_product_id"].equals(served["product_id"].rename("rule_product_id"))
