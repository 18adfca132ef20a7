"""What a partition looks like in figures: literal rows in, figures out."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.monitoring.partition_profiles import (
    FEWEST_ROWS,
    MOST_ITEMS,
    PROFILED,
    profile_days,
    profile_quarantine,
    quality_rules,
)  # fmt: skip
from insight_assets_tests.features.shop import FIRST_DAY, ZONE, event, table

NEXT_DAY = date(2025, 3, 2)


def figures(profile: pl.DataFrame, day: date = FIRST_DAY) -> dict[tuple[str, str, str], float]:
    rows = profile.filter(pl.col("event_day") == day)
    return {tuple(key): value for *key, value in rows.select("metric", "column_name", "item", "value").iter_rows()}


def views(count: int, **columns: object) -> list[dict]:
    return [
        event("product_viewed", f"2025-03-01 {n % 24:02}:30", n % 7, product_id=f"p{n}", event_id=str(n), **columns)
        for n in range(count)
    ]


def test_figures_say_what_the_rows_are() -> None:
    rows = views(30, price=Decimal("9.9"), category="shoes")
    sold = {"value": Decimal(80), "currency": "EUR", "order_id": "1", "event_id": "o"}
    order = event("order_completed", "2025-03-01 09:10", 1, **sold)
    rows += [order, order]
    found = figures(profile_days("events", table("events", rows), [FIRST_DAY], timezone=ZONE))
    assert found["rows", "", ""] == 32
    assert found["null_share", "price", ""] == pytest.approx(2 / 32)
    assert found["share", "event", "product_viewed"] == pytest.approx(30 / 32)
    assert found["share", "currency", "EUR"] == pytest.approx(2 / 32)
    assert found["median", "price", ""] == 9.9
    assert found["distinct", "customer_key", ""] == 7
    assert found["hours_covered", "event_time", ""] == 24
    assert (found["first_hour", "event_time", ""], found["last_hour", "event_time", ""]) == (0.5, 23.5)
    assert found["busiest_hour_share", "event_time", ""] == pytest.approx(3 / 32)
    # The second order_completed repeats the first in everything.
    assert found["repeated_share", "", ""] == pytest.approx(1 / 32)
    assert found["broken", "", "primary_key"] == 1


def test_rules_of_the_quality_section_are_counted() -> None:
    rows = [event("product_viewed", "2025-03-01 10:00", 1), event("product_viewed", "2025-03-01 10:01", None)]
    found = figures(profile_days("events", table("events", rows), [FIRST_DAY], timezone=ZONE))
    assert found["broken", "", "product_is_named"] == 2
    assert found["broken", "", "actor_known"] == 1
    assert found["broken", "event", "event.enum"] == 0
    assert all(("broken", rule.column or "", rule.name) in found for rule in quality_rules(contract("events")))


def test_a_day_without_rows_has_one_figure() -> None:
    profile = profile_days("events", table("events", views(3)), [FIRST_DAY, NEXT_DAY], timezone=ZONE)
    assert figures(profile, NEXT_DAY) == {("rows", "", ""): 0.0}


def test_few_rows_have_no_quantiles_and_no_items() -> None:
    profile = profile_days(
        "events", table("events", views(FEWEST_ROWS - 1, price=Decimal(5))), [FIRST_DAY], timezone=ZONE
    )
    assert {metric for metric, _, _ in figures(profile)} & {"share", "median", "quantile_90"} == set()


def test_no_figure_names_a_person_a_text_or_an_identifier() -> None:
    planted = dict.fromkeys(("query", "review_text", "delivered_session", "coupon"), "CANARY")
    rows = views(40, category="shoes", **planted)
    profile = profile_days("events", table("events", rows), [FIRST_DAY], timezone=ZONE)
    assert "CANARY" not in profile["item"].to_list()
    assert set(profile.filter(metric="share")["column_name"]) <= {
        *(c.name for c in contract("events").columns if c.allowed or c.dtype == pl.Boolean),
        *("category", "source", "currency"),
    }


def test_a_column_of_many_values_is_no_category() -> None:
    rows = [{**row, "brand": f"b{n}", "category": f"c{n % 3}"} for n, row in enumerate(views(MOST_ITEMS + 1))]
    found = figures(profile_days("events", table("events", rows), [FIRST_DAY], timezone=ZONE))
    assert {column for metric, column, _ in found if metric == "share"} >= {"category", "event"}
    assert not [item for metric, column, item in found if (metric, column) == ("share", "brand")]


@settings(max_examples=15)
@given(st.permutations(range(12)))
def test_figures_depend_on_no_order_and_no_split_of_days(order: list[int]) -> None:
    rows = [*views(12, price=Decimal("1.2345")), event("page_viewed", "2025-03-02 08:00", 1, event_id="next")]
    whole = table("events", rows)
    shuffled = whole.collect()[[*order, 12]].lazy()
    together = profile_days("events", shuffled, [FIRST_DAY, NEXT_DAY], timezone=ZONE)
    days = {day: whole.filter(pl.col("event_day") == day) for day in (FIRST_DAY, NEXT_DAY)}
    apart = pl.concat(profile_days("events", rows, [day], timezone=ZONE) for day, rows in days.items())
    assert together.sort(together.columns).equals(apart.sort(apart.columns))


def test_the_quarantined_share_is_of_the_rows_that_were_read() -> None:
    rows = [event("page_viewed", "2025-03-01 10:00", 1, event_id=str(n), file_hash="a", line=n + 1) for n in range(8)]
    rejected = [
        {"source": "segment", "file_hash": "a", "line": 9 + n, "event_day": FIRST_DAY, "rule": rule, "file_name": "f"}
        for n, rule in enumerate(("price.minimum", "event.enum"))
    ]
    profile = profile_quarantine(table("quarantine", rejected), [table("events", rows)], [FIRST_DAY, NEXT_DAY])
    assert figures(profile) == {
        ("rows", "", ""): 10.0,
        ("quarantined_share", "", "any rule"): 0.2,
        ("quarantined_share", "", "price.minimum"): 0.1,
        ("quarantined_share", "", "event.enum"): 0.1,
    }
    assert figures(profile, NEXT_DAY) == {("rows", "", ""): 0.0}


@pytest.mark.parametrize("name", PROFILED)
def test_profiles_obey_their_contract(name: str) -> None:
    from insight_assets.contracts.pandera_schemas import validate_frame

    profile = profile_days(name, contract(name).empty().lazy(), [FIRST_DAY], timezone=ZONE)
    assert validate_frame(contract("partition_profiles"), profile).height == 1
