"""Payments against order lines: the reasons, each at its edge."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.validation.settlement import settle_orders, summarise_settlement

DAY, LATER = date(2025, 1, 2), date(2025, 1, 3)
MONEY = pl.Decimal(18, 4)


def line(gross: str, *, shipping: str = "0", discount: str = "0", kind: str = "sale") -> dict[str, object]:
    amounts = {"gross": gross, "discount": discount, "tax": "0", "shipping": shipping}
    return {"kind": kind, "event_day": DAY} | {name: Decimal(amount) for name, amount in amounts.items()}


def payment(value: str, *, installments: int | None = 1, day: date = DAY) -> dict[str, object]:
    return {"value": Decimal(value), "installments": installments, "event_day": day}


def frames(lines: list[dict], payments: list[dict], source: str = "s") -> tuple[pl.LazyFrame, pl.LazyFrame]:
    usual = {"source": source, "order_id": "o", "currency": "BRL"}
    money = dict.fromkeys(("gross", "discount", "tax", "shipping"), MONEY)
    keys = {"source": pl.String, "order_id": pl.String, "currency": pl.String, "event_day": pl.Date}
    return (
        pl.LazyFrame([usual | each for each in lines], schema=keys | {"kind": pl.String} | money),
        pl.LazyFrame([usual | each for each in payments], schema=keys | {"value": MONEY, "installments": pl.Int64}),
    )


CASES = {
    "paid as ordered": ([line("10", shipping="2"), line("21", shipping="3")], [payment("6"), payment("30")], "agrees"),
    "after discount": ([line("10", discount="1")], [payment("9")], "agrees"),
    "a cent": ([line("10")], [payment("10.01")], "agrees"),
    "two cents on two lines": ([line("10"), line("10")], [payment("19.98")], "rounding"),
    "two cents on one line": ([line("10")], [payment("10.02")], "overpaid"),
    "more, in instalments": ([line("10")], [payment("11", installments=3)], "interest"),
    "more, of which one in instalments": ([line("10")], [payment("5"), payment("6", installments=2)], "interest"),
    "more at once": ([line("10")], [payment("11")], "overpaid"),
    "more, instalments untold": ([line("10")], [payment("11", installments=None)], "overpaid"),
    "less by a tenth of the goods": ([line("103.90", shipping="11.75")], [payment("105.26")], "discount"),
    "less by 5 %": ([line("299.00", shipping="34.92")], [payment("318.97")], "discount"),
    "less by no percentage": ([line("299.00", shipping="34.92")], [payment("320.00")], "underpaid"),
    "less than half a percent": ([line("299.00")], [payment("298.50")], "underpaid"),
    "not paid": ([line("10")], [], "no_payment"),
    "nothing sold": ([], [payment("10")], "no_goods"),
    "cancelled before it was paid": ([line("0", kind="cancellation")], [payment("10")], "no_goods"),
    "sold and given back": ([line("10"), line("0", kind="refund")], [payment("10")], "agrees"),
    "no price and no goods": ([line("0")], [payment("1")], "overpaid"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_reason_for_a_difference(case):
    lines, payments, reason = CASES[case]
    # Another order is paid, so that the source is known to deliver payments.
    other = [{"order_id": "other"} | payment("1")]
    found = settle_orders(*frames(lines, [*payments, *other])).filter(pl.col("order_id") == "o").collect()
    assert found["reason"].to_list() == [reason]
    assert found["difference"].item() == found["paid"].item() - found["due"].item()


def test_orders_of_a_source_without_payments_are_left_out():
    lines, _ = frames([line("10")], [], source="silent")
    _, payments = frames([], [payment("10")])
    assert settle_orders(lines, payments).collect()["source"].to_list() == ["s"]


def test_a_payment_that_comes_later_counts_from_its_day_on():
    lines, payments = frames([line("30")], [payment("10"), payment("20", day=LATER)])
    before, after = (summarise_settlement(lines, payments, as_of=day).collect() for day in (DAY, LATER))
    assert before.select("reason", "orders", "due", "paid", "difference").rows() == [
        ("underpaid", 1, Decimal(30), Decimal(10), Decimal(-20))
    ]
    assert after.select("reason", "difference").rows() == [("agrees", Decimal(0))]


def test_every_reason_is_in_the_contract():
    assert {reason for _, _, reason in CASES.values()} == set(contract("payment_settlement").column("reason").allowed)
