"""Literal rows and random small shops for the tests of features.

Rows are written with the few columns that matter; the rest is filled with what the contract allows.
Local times are those of the shop's zone, eight hours ahead of UTC, so that a mistake of zone shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.types import Contract
from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.sessions import build_sessions
from insight_assets.purposes import as_people

ZONE = "Asia/Shanghai"
FIRST_DAY = date(2025, 3, 1)
KINDS = (
    "page_viewed",
    "products_searched",
    "product_viewed",
    "product_added",
    "checkout_started",
    "payment_failed",
    "product_reviewed",
    "support_ticket_opened",
    "order_shipped",
    "order_completed",
    "order_refunded",
)


def at(text: str) -> datetime:
    """Read a local time of the shop, e.g. '2025-03-01 23:50'."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE))


def table(name: str, rows: list[dict[str, Any]]) -> pl.LazyFrame:
    """Make a table of a contract from rows that may leave columns out."""
    of = contract(name)
    money = ("gross", "discount", "refunded", "net", "tax", "shipping")
    rows = [
        row | {f"{name}_base": row[name] for name in money if f"{name}_base" not in row and name in row} for row in rows
    ]
    full = [
        {column.name: row.get(column.name, _default(column, number)) for column in of.columns}
        for number, row in enumerate(rows)
    ]
    return pl.DataFrame(full, schema=of.polars_schema(), orient="row").lazy()


def _default(column: Any, number: int) -> Any:
    if not column.required:
        return None
    if column.name in {"event_id", "order_line_id"}:
        return f"{number:06}"
    if isinstance(column.dtype, pl.List):
        return []
    plain = {pl.String: "web", pl.Boolean: True, pl.Datetime: datetime(2025, 1, 1, tzinfo=UTC)}
    given = {"source": "segment", "traffic": "person", "currency": "CNY", "kind": "sale", "line": 1, "lines": 1}
    given |= {"base_currency": "CNY", "exchange_rate": 1}
    return given.get(column.name, plain.get(column.dtype.base_type(), 0))


def event(
    kind: str, when: datetime | str, customer: int | None = 1, **columns: Any
) -> dict[str, Any]:
    """Write one event; `visitor_key` names who acted when there is no customer."""
    moment = at(when) if isinstance(when, str) else when
    actor = customer if customer is not None else columns.get("visitor_key")
    return {
        "event": kind,
        "event_time": moment.astimezone(UTC),
        "event_day": moment.astimezone(ZoneInfo(ZONE)).date(),
        "customer_key": customer,
        "actor_key": actor,
        **columns,
    }


def document(
    kind: str,
    order_id: str,
    when: datetime | str,
    customer: int | None,
    *goods: tuple[str, int, str],
    **columns: Any,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write one order or refund: its row and its lines, each of (product, units, unit price).

    The category of a product is its first letter, its brand the letter doubled. `discount` is that
    of every line.
    """
    moment = at(when) if isinstance(when, str) else when
    sale = kind == "sale"
    off = Decimal(columns.pop("discount", "0")) if sale else Decimal(0)
    shared = {
        "order_id": order_id,
        "kind": kind,
        "event_time": moment.astimezone(UTC),
        "event_day": moment.astimezone(ZoneInfo(ZONE)).date(),
        "customer_key": customer,
        "actor_key": customer,
        **columns,
    }
    lines = []
    for number, (product, units, price) in enumerate(goods):
        money = units * Decimal(price)
        gross, refunded = (money, Decimal(0)) if sale else (Decimal(0), money)
        lines.append(
            {
                **shared,
                "order_line_id": f"{order_id}-{kind}-{number}",
                "product_id": product,
                "category": product[0],
                "brand": product[0] * 2,
                "quantity": units if sale else -units,
                "unit_price": Decimal(price),
                "gross": gross,
                "discount": off,
                "refunded": refunded,
                "net": gross - off - refunded,
            }
        )
    totals = {
        name: sum((line[name] for line in lines), Decimal(0))
        for name in ("gross", "discount", "refunded", "net")
    }
    units = sum(abs(line["quantity"]) for line in lines)
    return {
        **shared,
        **totals,
        "units": units,
        "lines": len(lines),
        "products": len({g[0] for g in goods}),
    }, lines


TABLES = ("events", "orders", "order_lines", "payments")


@dataclass(frozen=True)
class Shop:
    """Validated rows of a small shop, as dictionaries."""

    events: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    order_lines: list[dict[str, Any]]
    payments: list[dict[str, Any]] = field(default_factory=list)

    def tables(self) -> dict[str, pl.LazyFrame]:
        """Give the validated tables."""
        return {name: table(name, getattr(self, name)) for name in TABLES}

    def days(self) -> list[date]:
        """Give the days with any row, in order."""
        return sorted({row["event_day"] for row in [*self.events, *self.orders]})

    def until(self, day: date) -> "Shop":
        """Leave out all rows after a day."""
        return Shop(
            *(
                [row for row in rows if row["event_day"] <= day]
                for rows in (self.events, self.orders, self.order_lines, self.payments)
            )
        )


ORDER_OF_PAYMENT = ("order_id", "event_day", "event_time", "customer_key", "actor_key")


def visits(shop: Shop) -> pl.LazyFrame:
    """Build the visits of every day, each day on its own, newest first."""
    of = contract("sessions")
    events = table("events", shop.events)
    parts = [
        of.conform(build_sessions(events, first=day, last=day)).collect()
        for day in reversed(shop.days())
    ]
    return pl.concat([of.empty(), *parts]).lazy()


def customer_days(shop: Shop) -> pl.LazyFrame:
    """Build the days of all customers at once, nobody being known to be somebody else."""
    return as_people(actor_days(shop), table("identities", [])).drop("account_key")


def actor_days(shop: Shop) -> pl.LazyFrame:
    """Build the days of customers and visitors at once."""
    built = build_customer_days(**shop.tables(), sessions=visits(shop), timezone=ZONE)
    return contract("customer_days").conform(built).collect().lazy()


def content(name: str, frame: pl.LazyFrame) -> str:
    """Write the rows as text in the order of their key: equal text, equal content."""
    of = contract(name)
    return of.conform(frame).collect().sort(of.primary_key).write_ndjson()


def broken_rules(name: str, frame: pl.LazyFrame) -> list[str]:
    """Name the rules of the contract that some row breaks; also keys that repeat."""
    of: Contract = contract(name)
    rows = of.conform(frame).collect()
    verdicts = rows.select(rule.passes.all().alias(rule.name) for rule in of.row_rules()).row(
        0, named=True
    )
    repeated = ["primary_key"] if rows.select(of.primary_key).is_duplicated().any() else []
    return [rule for rule, passed in verdicts.items() if not passed] + repeated


@st.composite
def shops(draw: st.DrawFn, *, on: Sequence[int], rows: int = 40) -> Shop:
    """Draw a shop: a few customers and visitors, clustered times with ties, sales and refunds.

    Args:
        draw: given by hypothesis.
        on: days on which something may happen, counted from `FIRST_DAY`.
        rows: most events.
    """
    who = st.sampled_from([(1, None), (2, None), (2**62 + 3, None), (None, 77), (None, None)])
    start = at(f"{FIRST_DAY} 00:00")
    moments = st.builds(
        lambda day, quarter, second: (
            start + timedelta(days=day, minutes=15 * quarter, seconds=second)
        ),
        st.sampled_from(on),
        st.sampled_from([0, 1, 2, 30, 40, 94, 95]),
        st.sampled_from([0, 1, 840]),
    )
    products = st.sampled_from(["a1", "a2", "b1", "c1"])
    events, orders, order_lines, payments = [], [], [], []
    drawn = draw(
        st.lists(
            st.tuples(st.sampled_from(KINDS), moments, who, products, st.integers(1, 5)),
            max_size=rows,
        )
    )
    for number, (kind, moment, (customer, visitor), product, amount) in enumerate(drawn):
        if (
            customer is None
            and visitor is None
            and kind not in {"order_completed", "order_refunded"}
        ):
            continue
        columns: dict[str, Any] = {
            "visitor_key": visitor,
            "event_id": f"{(number * 7919) % 1000:03}",
        }
        columns["channel"] = ["web", "app", "store"][amount % 3]
        columns["device"] = [None, "mobile", "desktop"][amount % 3]
        columns["campaign_source"] = [None, "ads", "mail", None, None][amount - 1]
        columns["campaign_medium"] = [None, "cpc", None, "email", None][amount - 1]
        columns["country"] = [None, "CN", "SG", None, "CN"][amount - 1]
        columns["quantity"], columns["price"] = amount, Decimal(f"{amount}.10")
        if kind.startswith("order_") and kind != "order_shipped":
            document_kind = "sale" if kind == "order_completed" else "refund"
            order, lines = document(
                document_kind, f"o{number:03}", moment, customer,
                (product, amount, f"{amount}.10"), ("b1", 1, "0.0007"),
                discount="0.0003" if amount == 2 else "0", coupon="SAVE" if amount == 3 else None,
                tax=Decimal(amount) / 8 * (1 if document_kind == "sale" else -1), shipping=Decimal(amount % 3),
                country=["CN", None, "SE"][amount % 3],
            )  # fmt: skip
            orders.append(order)
            order_lines.extend(lines)
            if document_kind == "sale":
                method = ["credit_card", "wallet", "credit_card"][amount % 3]
                payments.append({name: order[name] for name in ORDER_OF_PAYMENT} | {"method": method, "sequence": 1})
            columns |= {
                "order_id": order["order_id"],
                "value": order["gross"] + order["refunded"],
                "currency": "CNY",
            }
        elif kind.startswith("product_"):
            columns |= {
                "product_id": product,
                "category": product[0],
                "rating": amount if kind == "product_reviewed" else None,
            }
        elif kind == "products_searched":
            columns |= {"query": "tea", "results": amount - 1}
        events.append(event(kind, moment, customer, **columns))
    return Shop(events, orders, order_lines, payments)
