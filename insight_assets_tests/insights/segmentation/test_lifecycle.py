"""Lifecycle states: the machine's rules, its dates and its moves."""

from datetime import date, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.charts import chart_markdown
from insight_assets.checks import Unmatched, unmatched_customers
from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation import lifecycle
from insight_assets.insights.segmentation.pictures import state_chart

START = date(2025, 1, 1)
USUAL = 20.0
SCHEMA = {
    "customer_key": pl.Int64,
    "first_seen_day": pl.Date,
    "days_since_last_order": pl.Int32,
    "purchase_days_lifetime": pl.Int32,
    "x_repeat_purchases": pl.Int32,
    "t_x_days": pl.Int32,
    "last_gap_days": pl.Int32,
    "age_days": pl.Int32,
}


def features(histories: list[list[int]], today: int) -> pl.LazyFrame:
    """What `customer_features` says on a day of customers who bought on the given days, later ones ignored."""
    return pl.DataFrame([row(key, days, today) for key, days in enumerate(histories)], schema=SCHEMA).lazy()


def row(key: int, history: list[int], today: int) -> dict[str, object]:
    past = [day for day in history if day <= today]
    return {
        "customer_key": key,
        "first_seen_day": START,
        "days_since_last_order": today - past[-1] if past else None,
        "purchase_days_lifetime": len(past),
        "x_repeat_purchases": len(past) - 1 if past else None,
        "t_x_days": past[-1] - past[0] if past else None,
        "last_gap_days": past[-1] - past[-2] if len(past) > 1 else None,
        "age_days": today - past[0] if past else None,
    }


def states(histories: list[list[int]], today: int, usual: float | None = USUAL) -> pl.DataFrame:
    as_of = START + timedelta(days=today)
    return lifecycle.lifecycle_states(features(histories, today), as_of=as_of, usual_rhythm=usual).collect()


def state(history: list[int], today: int) -> str:
    return states([history], today)["state"].item()


@pytest.mark.parametrize(
    ("history", "today", "expected"),
    [
        ([], 50, "prospect"),
        ([10], 40, "new"),  # one usual pause of 20 days: not overdue for 30
        ([10], 41, "cooling"),
        ([10], 61, "at_risk"),
        ([10], 91, "lapsed"),
        ([0, 20], 25, "active"),
        ([0, 20, 40], 45, "active"),
        ([0, 20, 40, 60], 65, "loyal"),
        ([0, 20, 40, 60, 142], 145, "reactivated"),
        ([0, 20, 40, 60, 141], 145, "loyal"),  # had been at risk on the day before, no more
        ([0, 20, 40, 60, 142, 150], 151, "loyal"),
        ([0, 82], 85, "reactivated"),
    ],
)
def test_states_follow_from_rhythm_and_purchases(history, today, expected):
    assert state(history, today) == expected


def test_a_customer_is_judged_by_their_own_rhythm():
    weekly, quarterly = [0, 7, 14, 21, 28, 35, 42], [0, 90, 180, 270]
    assert state(weekly, 42 + 30) == "at_risk"
    assert state(quarterly, 270 + 30) == "loyal"


def test_the_shop_has_a_rhythm_of_those_who_came_back():
    assert lifecycle.shop_rhythm(features([[0], [0, 10], [0, 40, 60], []], 70)) == 20.0
    assert lifecycle.shop_rhythm(features([[0], []], 70)) == lifecycle.USUAL_RHYTHM


def test_rows_keep_their_contract():
    frame = states([[], [10], [0, 20, 40, 60], [5, 200]], 210, usual=None)
    of = contract("lifecycle_states")
    assert set(frame.columns) == set(of.polars_schema())
    conformed = of.conform(frame.lazy()).collect()
    validate_frame(of, conformed)
    for rule in of.row_rules():
        assert conformed.select(rule.passes.all()).item(), rule.name
    assert frame["cohort_month"].to_list() == [None, START, START, START]


histories = st.lists(st.integers(0, 300), max_size=8, unique=True).map(sorted)


@given(histories)
@settings(max_examples=40)
def test_day_by_day_only_documented_moves_happen(history):
    # One customer on many days is the same to the rules as many customers on one.
    known = pl.DataFrame([row(today, history, today) for today in range(320)], schema=SCHEMA).lazy()
    told = lifecycle.lifecycle_states(known, as_of=START, usual_rhythm=USUAL).collect()["state"].to_list()
    for today, (before, after) in enumerate(pairwise(told), start=1):
        what = "purchase" if today in history else "day"
        assert after in lifecycle.MOVES[what][before], (today, before, after)


@given(histories, st.integers(0, 320))
@settings(max_examples=25)
def test_dates_say_when_a_state_began_and_when_it_will_end(history, today):
    told = states([history], today).row(0, named=True)
    if told["state"] == "prospect":
        return
    past = [day for day in history if day <= today]
    began = (told["since"] - START).days
    assert state(past, began) == told["state"]
    if told["state"] in {"cooling", "at_risk", "lapsed"}:
        assert state(past, began - 1) != told["state"]
    else:
        assert began == past[-1]
    if told["moves_on"] is not None:
        ends = (told["moves_on"] - START).days
        assert state(past, ends - 1) == told["state"]
        assert state(past, ends) in lifecycle.MOVES["day"][told["state"]] - {told["state"]}


@given(st.lists(histories, min_size=1, max_size=12), st.integers(0, 300), st.randoms())
@settings(max_examples=25)
def test_everybody_is_in_one_state_whatever_the_order_of_rows(all_histories, today, random):
    known = features(all_histories, today).collect()
    as_of = START + timedelta(days=today)
    found = lifecycle.lifecycle_states(known.lazy(), as_of=as_of).collect()
    assert not any(vars(unmatched_customers(known.lazy(), found)).values())
    assert set(found["state"]) <= {each.code for each in lifecycle.STATES}
    mixed = known.sample(fraction=1.0, shuffle=True, seed=random.randrange(1000))
    assert lifecycle.lifecycle_states(mixed.lazy(), as_of=as_of).collect().equals(found)


def test_who_lacks_a_state_or_has_two_is_counted():
    known = features([[1], [2], [3]], 9)
    found = states([[1], [2], [3]], 9)
    wrong = pl.concat([found.head(2), found.head(1), found.tail(1).with_columns(customer_key=pl.lit(99, pl.Int64))])
    assert unmatched_customers(known, wrong) == Unmatched(missing=1, unknown=1, repeated=1)


def test_small_states_are_shown_without_numbers_and_cannot_be_computed():
    found = states([[10]] * 30 + [[0, 15]] * 12 + [[]] * 4, 20)
    sizes = lifecycle.state_sizes(found, smallest_group=10)
    assert sizes.height == len(lifecycle.STATES)
    shown = dict(sizes.select("state_en", "customers").rows())
    assert (shown["New"], shown["Prospect"], shown["Active"], shown["Lapsed"]) == (30, None, None, 0)
    assert chart_markdown(state_chart(sizes)).startswith("![chart](data:image/png")
