"""Money of whole orders: spread to the cent, held against what was delivered, and tax taken out of prices."""

import json
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.sources import TableMapping, source_contracts
from insight_assets.validation.currencies import MONEY
from insight_assets.validation.order_totals import spread
from insight_assets_tests.deliveries import ORDERS_HEADER, call, lines, order, orders_row, product
from insight_assets_tests.validation.judging import validate, verdicts

ORDERS, SEGMENT = (source_contracts()[name] for name in ("generic_orders_csv", "segment"))
TIME = "2025-01-04T02:00:00Z"
CENT = Decimal("0.01")
cents = st.decimals(min_value=0, max_value=10_000, places=2)


def shares(amount: Decimal, weights: list[Decimal]) -> list[Decimal]:
    frame = pl.DataFrame(
        {"weight": weights, "place": range(len(weights)), "group": 0}, schema_overrides={"weight": MONEY}
    )
    amount_of = pl.lit(amount, dtype=MONEY)
    return frame.select(spread(amount_of, pl.col("weight"), over="group", ties=("place",))).to_series().to_list()


@given(
    amount=st.decimals(min_value=-10_000, max_value=10_000, places=4), weights=st.lists(cents, min_size=1, max_size=9)
)
def test_spreading_conserves_the_amount(amount, weights):
    assert sum(shares(amount, weights)) == amount


@given(amount=st.decimals(min_value=-100, max_value=100, places=2), weights=st.lists(cents, min_size=1, max_size=9))
def test_shares_of_whole_cents_are_whole_cents_and_fair(amount, weights):
    found = shares(amount, weights)
    assert all(share % CENT == 0 for share in found)
    whole = sum(weights)
    fair = [amount * weight / whole if whole else amount / len(weights) for weight in weights]
    assert all(abs(share - wanted) < CENT for share, wanted in zip(found, fair, strict=True))


def test_ten_is_spread_over_three_equal_lines():
    assert shares(Decimal(10), [Decimal(1)] * 3) == [Decimal("3.34"), Decimal("3.33"), Decimal("3.33")]


def completed(*products: dict, **properties: object) -> str:
    return lines(
        json.dumps(call("before", TIME)),
        json.dumps(order("m", TIME, *products, properties=properties)),
        json.dumps(call("after", TIME)),
    )


def book(text: str, source=SEGMENT, **more) -> pl.DataFrame:
    return pl.concat([day.tables["order_lines"] for day in validate(source, text, **more).values()])


def test_discount_tax_and_shipping_of_an_order_are_its_lines():
    found = book(
        completed(
            product("a", 2, 10),
            product("b", 1, 5, discount=1),
            discount=4,
            tax=2.2,
            shipping=5,
            revenue=21,
            total=28.2,
        )
    ).sort("product_id")
    # Of the discount of 4 the second line names 1; the rest follows the goods, 20 to 4.
    assert found["discount"].to_list() == [Decimal("2.5"), Decimal("1.5")]
    assert found["net"].to_list() == [Decimal("17.5"), Decimal("3.5")]
    assert found["tax"].sum() == Decimal("2.2")
    assert found["shipping"].sum() == 5


@settings(max_examples=20)
@given(order_of=st.permutations(range(4)))
def test_the_order_of_lines_does_not_matter(order_of):
    goods = [product("a", 1, 3.33), product("b", 1, 3.33), product("a", 1, 3.33), product("c", 3, 1.11)]
    found = book(completed(*(goods[place] for place in order_of), discount=1, revenue=12.32, total=12.32))
    assert sorted(found.select("product_id", "discount").rows()) == [
        ("a", Decimal("0.25")), ("a", Decimal("0.25")), ("b", Decimal("0.25")), ("c", Decimal("0.25")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "good"),
    [
        ({"revenue": 25}, True),
        ({"revenue": 25.01}, True),
        ({"revenue": 25.02}, False),
        ({"revenue": 25, "total": 25}, True),
        ({"revenue": 25, "total": 30, "shipping": 5}, True),
        ({"revenue": 25, "total": 30}, False),
        ({"revenue": 23, "total": 23, "discount": 2}, True),
        ({"revenue": 25, "total": 25, "discount": 2}, False),
    ],
)
def test_an_order_whose_lines_contradict_its_totals_is_quarantined(told, good):
    text = completed(product("a", 2, 10), product("b", 1, 5), **told)
    assert verdicts(validate(SEGMENT, text)) == ({} if good else {("file 0", 2): "order.total_differs"})


def test_totals_of_an_order_of_several_rows_are_told_on_each_or_on_one():
    header = f"{ORDERS_HEADER},order_discount,order_total"
    a, b, c = (orders_row("o1", "2025-01-04 10:00", product_id=name) for name in "abc")
    for tail in (("3,27", "3,27", "3,27"), ("3,27", ",", ",")):
        found = book(lines(header, *(f"{row},{end}" for row, end in zip((a, b, c), tail, strict=True))), ORDERS)
        assert found["net"].to_list() == [9, 9, 9]
    contradiction = lines(header, f"{a},3,27", f"{b},3,26", f"{c},,")
    assert set(verdicts(validate(ORDERS, contradiction)).values()) == {"order.total_differs"}
    # A line that did not come leaves an order that does not add up.
    assert set(verdicts(validate(ORDERS, lines(header, f"{a},3,27", f"{b},3,27"))).values()) == {"order.total_differs"}


@settings(max_examples=20)
@given(
    goods=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 10_000), st.integers(0, 100)), min_size=1, max_size=5),
    kind=st.sampled_from(["Order Refunded", "Order Cancelled"]),
)
def test_giving_everything_back_leaves_nothing(goods, kind):
    items = [
        product(f"p{number}", units, price / 100, discount=min(off, units * price) / 100)
        for number, (units, price, off) in enumerate(goods)
    ]
    exact = sum(Decimal(units * price - min(off, units * price)) / 100 for units, price, off in goods)
    text = lines(
        json.dumps(order("sale", TIME, *items, properties={"revenue": float(exact)})),
        json.dumps(order("back", "2025-01-09T02:00:00Z", *items, event=kind, properties={"total": float(exact)})),
    )
    found = pl.concat([day.tables["orders"] for day in validate(SEGMENT, text).values()])
    assert found.height == 2
    assert (found["net"].sum(), found["net_base"].sum()) == (0, 0)
    # Booked on its own day, in a column of its own.
    column = "refunded" if kind == "Order Refunded" else "cancelled"
    assert found.sort("event_day")[column].to_list() == [0, exact]


def test_a_refund_without_an_order_is_kept():
    text = lines(json.dumps(order("r", TIME, product(price=3), event="Order Refunded")))
    found = book(text)
    assert found.select("kind", "refunded", "net").rows() == [("refund", 3, -3)]


def test_a_gift_is_a_sale_without_money_and_a_negative_price_is_none():
    assert book(completed(product(price=0), product("b", 1, 5)))["net"].sort().to_list() == [0, 5]
    assert "price_not_negative" in verdicts(validate(SEGMENT, completed(product(price=-1), revenue=-1)))["file 0", 2]


def taxed(**expressions: str) -> object:
    """The generic orders, with prices that include tax."""
    mapping = ORDERS.mappings[0]
    kept = {name: sql for name, sql in mapping.expressions.items() if name != "tax"}
    return replace(
        ORDERS,
        prices_include_tax=True,
        mappings=(TableMapping(mapping.table, mapping.where, mapping.rows, kept | expressions),),
    )


@settings(max_examples=20)
@given(price=st.decimals(min_value=0, max_value=1000, places=2), off=st.integers(0, 100), back=st.booleans())
def test_tax_is_taken_out_of_prices_to_the_last_digit(price, off, back):
    discount = (price * off / 100).quantize(CENT)
    row = orders_row(
        "o1", "2025-01-04 10:00", unit_price=str(price), discount=str(discount), status="refunded" if back else "paid"
    )
    found = book(lines(ORDERS_HEADER, row), taxed(tax_rate="0.19")).row(0, named=True)
    paid = price - discount
    sign = -1 if back else 1
    assert found["net"] + found["tax"] == sign * paid
    assert abs(found["net"] * Decimal("1.19") - sign * paid) <= Decimal("0.0001")
    assert found["net"] == found["gross"] - found["discount"] - found["refunded"]


def test_a_delivered_tax_is_believed_before_a_rate():
    row = orders_row("o1", "2025-01-04 10:00", unit_price="119", quantity="2")
    text = lines(f"{ORDERS_HEADER},tax", f"{row},38")
    found = book(text, taxed(tax="TRY_CAST(tax AS DECIMAL(18,4))", tax_rate="0.5")).row(0, named=True)
    assert (found["gross"], found["tax"], found["net"]) == (200, 38, 200)
