"""What is unusual is found, by name; what is usual is left alone; and both whatever the order of rows and runs."""

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import violations_of
from insight_assets.monitoring.drift import (
    FEWEST_DAYS,
    LOOKBACK_DAYS,
    WINDOW_DAYS,
    DayVerdict,
    Figure,
    judge_days,
)  # fmt: skip
from insight_assets.monitoring.partition_profiles import PROFILED, QUARANTINE
from insight_assets.monitoring.suites import hold_profile
from insight_assets_tests.monitoring import simulated_shop as faults

TABLES = (*PROFILED, QUARANTINE)
MONDAY = date(2024, 1, 1)

FAULTS = [
    (faults.prices_in_cents, "order_lines", "median of unit_price"),
    (faults.prices_in_cents, "events", "median of price"),
    (faults.channel_gone_silent, "events", "share of channel = app"),
    (faults.events_doubled, "events", "repeated_share"),
    (faults.event_missing, "events", "share of event = product_added"),
    (faults.currency_switched, "order_lines", "share of currency = CNY"),
    (faults.nulls_in_category, "events", "null_share of category"),
    (faults.pieces_for_dozens, "order_lines", "median of quantity"),
    (faults.clock_standing_still, "events", "busiest_hour_share of event_time"),
    (faults.category_renamed, "events", "share of category = clothing"),
    (faults.many_quarantined, "quarantine", "quarantined_share = any rule"),
    (faults.flood_of_views, "events", "rows"),
    (faults.last_file_missing, "events", "last_hour of event_time"),
]


@pytest.mark.parametrize(("fault", "table", "figure"), FAULTS, ids=[f"{f.__name__}-{t}" for f, t, _ in FAULTS])
def test_a_fault_that_keeps_every_row_rule_is_caught_by_name(shop, fault: Callable, table: str, figure: str) -> None:
    day = shop.days[180]
    bad, profiles = shop.with_fault(day, fault)
    for name in TABLES:
        assert violations_of(contract(name), bad[name].select(contract(name).polars_schema().names())) == ()
    (before,) = judge_days(shop.profiles, table, [day])
    assert before.learned
    assert before.findings == ()
    (verdict,) = judge_days(profiles, table, [day])
    found = {band.figure.name: band for band in verdict.findings}
    assert figure in found
    assert found[figure].since == day
    # Great Expectations judges the same one row by the same bands.
    report = hold_profile(verdict, profiles)
    assert {one.name for one in report.outcomes if not one.success} == set(found)
    assert next(one for one in report.outcomes if one.name == figure).column == (found[figure].figure.column or None)


def test_of_two_hundred_clean_days_fewer_than_one_in_a_hundred_alarms(shop) -> None:
    judged = shop.days[-200:]
    alarms = {v.day: v.findings for table in TABLES for v in judge_days(shop.profiles, table, judged) if v.findings}
    assert all(judge_days(shop.profiles, table, judged)[0].learned for table in TABLES)
    assert len(alarms) / len(judged) < 0.01, {str(day): [b.figure.name for b in bands] for day, bands in alarms.items()}
    assert all(band.severity == "WARN" for bands in alarms.values() for band in bands)


def test_a_verdict_depends_on_no_order_no_later_day_and_nothing_before_its_look_back(shop) -> None:
    day = shop.days[100]
    (whole,) = judge_days(shop.profiles, "events", [day])
    needed = shop.profiles.filter(pl.col("event_day").is_between(day - timedelta(days=LOOKBACK_DAYS), day))
    (alone,) = judge_days(needed.reverse(), "events", [day])
    among = judge_days(shop.profiles.sample(fraction=1, shuffle=True, seed=1), "events", shop.days[60:120])
    assert alone == whole
    assert next(v for v in among if v.day == day) == whole


def test_a_drifted_day_is_not_learned_from(shop) -> None:
    day = shop.days[100]
    _, profiles = shop.with_fault(day, faults.prices_in_cents)
    (clean,) = judge_days(shop.profiles, "order_lines", [day + timedelta(days=1)])
    (after,) = judge_days(profiles, "order_lines", [day + timedelta(days=1)])
    assert after.history == clean.history - 1
    assert after.findings == ()


def shop_of(values: list[float], *, metric: str = "median", column: str = "unit_price") -> pl.DataFrame:
    """Profiles of `order_lines` with 500 rows a day and one more figure."""
    days = [MONDAY + timedelta(days=n) for n in range(len(values))]
    rows = [(day, "order_lines", "rows", "", "", 500.0) for day in days]
    rows += [(day, "order_lines", metric, column, "", value) for day, value in zip(days, values, strict=True)]
    of = contract("partition_profiles")
    return of.conform(
        pl.DataFrame(rows, orient="row", schema=["event_day", "table_name", "metric", "column_name", "item", "value"])
    ).collect()


def verdict_of(values: list[float], figure: Figure | None = None, **changes: object) -> DayVerdict:
    (verdict,) = judge_days(shop_of(values), "order_lines", [MONDAY + timedelta(days=len(values) - 1)], **changes)
    return verdict


def test_nothing_is_expected_before_enough_days_are_known() -> None:
    early = verdict_of([10.0] * (FEWEST_DAYS - 1) + [1_000.0])
    assert (early.learned, early.history, early.bands, early.severity) == (False, FEWEST_DAYS - 1, (), None)
    known = verdict_of([10.0] * FEWEST_DAYS + [1_000.0])
    assert known.learned
    assert [(band.figure.name, band.severity) for band in known.findings] == [("median of unit_price", "ERROR")]


def test_the_rhythm_of_the_week_is_expected() -> None:
    week = [10.0, 10.0, 10.0, 10.0, 10.0, 40.0, 40.0]
    saturday = verdict_of(week * 4 + week[:6])
    assert saturday.findings == ()
    assert next(b for b in saturday.bands if b.figure.metric == "median").expected == pytest.approx(40, rel=0.05)
    monday_like_saturday = verdict_of(week * 4 + [40.0])
    assert [band.figure.name for band in monday_like_saturday.findings] == ["median of unit_price"]


def test_a_change_alarms_until_it_is_said_to_stay() -> None:
    changed = [10.0] * WINDOW_DAYS + [1_000.0] * 20
    alarmed = verdict_of(changed[: WINDOW_DAYS + 10])
    assert alarmed.findings[0].since == MONDAY + timedelta(days=WINDOW_DAYS)
    first = MONDAY + timedelta(days=WINDOW_DAYS)
    assert not verdict_of(changed[: WINDOW_DAYS + 10], relearn_from=first).learned
    relearned = verdict_of(changed, relearn_from=first)
    assert relearned.learned
    assert relearned.findings == ()


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=FEWEST_DAYS, max_size=WINDOW_DAYS), st.floats(0, 1))
def test_a_band_of_a_share_is_a_band_of_a_share(past: list[float], found: float) -> None:
    profiles = shop_of([*past, found], metric="null_share", column="coupon")
    (verdict,) = judge_days(profiles, "order_lines", [MONDAY + timedelta(days=len(past))])
    for band in verdict.bands:
        if band.figure.metric == "null_share":
            assert 0 <= band.lower <= band.expected <= band.upper <= 1
            assert band.outside == (not band.lower - 1e-9 <= band.found <= band.upper + 1e-9)
