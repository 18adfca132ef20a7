"""Cohorts: months, exact money, and what stays hidden."""

from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation.cohorts import follow_cohorts, retention_rows
from insight_assets.insights.segmentation.pictures import retention_chart
from insight_assets_tests.profiles.people import days

AS_OF = date(2025, 4, 15)


def purchase(customer: int, day: date, net: str = "10.00", orders: int = 1) -> dict[str, object]:
    return {"customer_key": customer, "event_day": day, "orders": orders, "net": Decimal(net)}


def followed(*given: dict[str, object], as_of: date = AS_OF) -> pl.DataFrame:
    return follow_cohorts(days(*given), as_of=as_of)


def test_a_cohort_is_followed_month_by_month():
    table = followed(
        purchase(1, date(2025, 1, 31), "0.1000"),
        purchase(1, date(2025, 2, 1), "0.2000", orders=2),
        purchase(2, date(2025, 1, 1), "5.0000"),
        purchase(2, date(2025, 3, 1), "-5.0000", orders=0),  # money back, nothing bought
        purchase(3, date(2025, 2, 28), "7.0000"),
        purchase(4, date(2024, 12, 1), "0", orders=0),  # a visit
    )
    told = table.select("cohort_month", "months_since", "customers", "retained", "concerned", "orders", "net").rows()
    january, february = date(2025, 1, 1), date(2025, 2, 1)
    assert told == [
        (january, 0, 2, 2, 2, 2, Decimal("5.1000")),
        (january, 1, 2, 1, 1, 2, Decimal("0.2000")),
        (january, 2, 2, 0, 1, 0, Decimal("-5.0000")),
        (january, 3, 2, 0, 0, 0, Decimal("0.0000")),
        (february, 0, 1, 1, 1, 1, Decimal("7.0000")),
        (february, 1, 1, 0, 0, 0, Decimal("0.0000")),
        (february, 2, 1, 0, 0, 0, Decimal("0.0000")),
    ]


def test_nobody_bought():
    assert retention_rows(followed(), as_of=AS_OF, smallest_group=10).is_empty()


rows_of_days = st.lists(
    st.builds(
        purchase,
        st.integers(1, 30),
        st.integers(0, 200).map(lambda back: AS_OF - timedelta(days=back)),
        st.integers(-999_999, 999_999).map(lambda cents: f"{cents / 10_000:.4f}"),
        st.integers(0, 2),
    ),
    max_size=80,
    unique_by=lambda row: (row["customer_key"], row["event_day"]),
)


@given(rows_of_days, st.randoms())
@settings(max_examples=20)
def test_money_and_orders_of_buyers_add_up_in_any_order_and_later_days_change_nothing(given_days, random):
    table = followed(*given_days)
    first = {}
    for row in sorted(given_days, key=lambda row: row["event_day"]):
        if row["orders"]:
            first.setdefault(row["customer_key"], row["event_day"].replace(day=1))
    theirs = [row for row in given_days if row["event_day"] >= first.get(row["customer_key"], date.max)]
    assert table["orders"].sum() == sum(row["orders"] for row in theirs)
    assert (table["net"].sum() or 0) == sum((row["net"] for row in theirs), Decimal(0))
    assert table.filter(pl.col("months_since") == 0)["customers"].sum() == len(first)
    mixed = list(given_days)
    random.shuffle(mixed)
    later = [purchase(customer, AS_OF + timedelta(days=3)) for customer in (1, 77)]
    assert followed(*mixed, *later).equals(table)
    shown = retention_rows(table, as_of=AS_OF, smallest_group=4)
    _no_small_number(table, shown, smallest=4)


def _no_small_number(table: pl.DataFrame, shown: pl.DataFrame, *, smallest: int) -> None:
    assert shown.filter(pl.col("customers") < smallest).is_empty()
    told = shown.drop_nulls("retained")
    for who in (pl.col("retained"), pl.col("customers") - pl.col("retained")):
        assert told.filter(who.is_between(1, smallest - 1)).is_empty()
    absent = table["customers"].filter(table["months_since"] == 0).sum() - (
        shown.filter(pl.col("months_since") == 0)["customers"].sum()
    )
    assert absent == 0 or absent >= smallest or shown.is_empty()
    # What all cohorts did in a month, less what is told, is nobody's or that of enough customers.
    keys = ["cohort_month", "months_since"]
    rest = table.join(told, on=keys, how="anti").group_by("month").agg(pl.col("concerned").sum())
    few = rest.filter(pl.col("concerned").is_between(1, smallest - 1))["month"].to_list()
    anything = told.join(table.select(*keys, "concerned"), on=keys).filter(pl.col("concerned") > 0)["month"]
    assert not set(few) & set(anything)


@pytest.fixture(scope="module")
def retention() -> pl.DataFrame:
    given = []
    for customer in range(60):
        start = date(2025, 1, 5) if customer < 35 else date(2025, 2, 5) if customer < 57 else date(2025, 3, 5)
        given.append(purchase(customer, start))
        if customer % 3 == 0:
            given.append(purchase(customer, start + timedelta(days=31)))
    return retention_rows(followed(*given), as_of=AS_OF, smallest_group=10)


def test_retention_keeps_its_contract(retention):
    of = contract("cohort_retention")
    assert set(retention.columns) == set(of.polars_schema())
    frame = of.conform(retention.lazy()).collect()
    validate_frame(of, frame)
    for rule in of.row_rules():
        assert frame.select(rule.passes.all()).item(), rule.name


def test_small_cohorts_are_left_out_with_another_that_hides_them(retention):
    # Three customers of March; the twenty-two of February go with them.
    assert retention["cohort_month"].unique().to_list() == [date(2025, 1, 1)]
    assert retention.filter(pl.col("months_since") == 1).select("retained", "retention").row(0) == (12, 0.342857)


def test_the_month_that_is_not_over_says_so(retention):
    assert retention["complete"].to_list() == [True, True, True, False]


def test_retention_becomes_a_picture(retention):
    assert chart_markdown(retention_chart(retention)).startswith("![chart](data:image/png")
