"""The shop's ledger: amounts of order lines, and what follows from accepted rows of a day.

Settles lines (defaults, order-level amounts, currency), sums them to order documents, and tells the events that orders
imply and what was said of products. Pure functions over frames of one or several days; they never look at another day's
rows to make a day's. How amounts are spread and converted is in `order_totals.py`, `taxes.py` and `currencies.py`.
"""

from datetime import date

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.rules import judge
from insight_assets.contracts.types import RowRule
from insight_assets.validation.currencies import MONEY, Exchange, attach_rates, convert
from insight_assets.validation.order_totals import ORDER_AMOUNTS, contradicts_totals, spread_order_amounts
from insight_assets.validation.taxes import take_tax_out

AMOUNTS = ("gross", "discount", "tax", "shipping", "refunded", "cancelled", "net")
"""Money of a line in its own currency; `<name>_base` is the same in the base currency."""

IN_BASE = (*(f"{name}_base" for name in AMOUNTS), "base_currency", "exchange_rate")
"""What a line gets when it is settled, and is judged by then."""

OF_DOCUMENT = {
    "document": pl.String(),
    "unless_told": pl.String(),
    "not_paid": MONEY,
    **dict.fromkeys(ORDER_AMOUNTS, MONEY),
}
"""What mapped lines carry of their document and mapping, until the document is settled."""

DERIVED = "derived"
"""What stands for the file of events that follow from orders."""

_DAY_SOURCE = ["event_day", "source"]
_TOLD = {**dict.fromkeys(ORDER_AMOUNTS, MONEY), "tax_rate": pl.Decimal(18, 8)}


def complete_amounts(lines: pl.DataFrame, *, taxed: bool, nested: bool) -> pl.DataFrame:
    """Give mapped lines every amount that their source leaves out, in their own currency.

    Args:
        lines: typed lines with the canonical columns that the source maps.
        taxed: whether delivered prices include tax.
        nested: whether one delivered row holds whole documents, one a kind; else lines of one order and kind make one.

    Returns:
        The lines with all `AMOUNTS`, and the columns `OF_DOCUMENT`; base amounts are `settle_lines`' business.
    """
    missing = {name: pl.lit(None, dtype=kind) for name, kind in _TOLD.items() if name not in lines.columns}
    given = {name: pl.col(name) if name in lines.columns else pl.lit(None, dtype=MONEY) for name in AMOUNTS[1:-1]}
    # An order that holds its refunds makes a document of each kind.
    named = pl.concat_str(*(("file_hash", "line") if nested else ("order_id",)), "kind", separator=":")
    lines = lines.with_columns(
        **missing,
        **{name: value if taxed and name == "tax" else value.fill_null(0) for name, value in given.items()},
        document=named,
    )
    back = pl.col("refunded") + pl.col("cancelled")
    not_paid = pl.when(back > 0).then(pl.col("quantity").abs() * pl.col("unit_price") - back)
    lines = lines.with_columns(
        *(pl.col(name).cast(kind, strict=False) for name, kind in _TOLD.items()),
        not_paid=pl.max_horizontal(not_paid.cast(MONEY, strict=False), pl.lit(0, dtype=MONEY)),
    )
    if taxed:
        lines = take_tax_out(lines)
    if taxed or "net" not in lines.columns:
        lines = lines.with_columns(net=_net())
    return lines


def settle_lines(lines: pl.DataFrame, exchange: Exchange) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Finish the lines of one source and day: order-level amounts spread, totals compared, money in base currency.

    Args:
        lines: accepted lines as `complete_amounts` gives them.
        exchange: what money is converted with.

    Returns:
        The lines, and the verdicts on those that break a rule of money: file_hash, line, rule, column, rules.
    """
    agrees = pl.lit(value=True)
    if not lines.select(pl.all_horizontal(pl.col(ORDER_AMOUNTS).is_null().all())).item():
        lines = spread_order_amounts(lines).with_columns(net=_net())
        agrees = ~contradicts_totals()
    one_currency = (pl.col("currency").n_unique() == 1).over("document")
    lines = (
        _in_base(lines.lazy(), exchange)
        .with_columns(agrees.alias("agrees"), one_currency.alias("one_currency"))
        .collect()
    )
    own = (
        RowRule("currency.no_rate", "currency", "a rate is in force", pl.col("exchange_rate").is_not_null()),
        RowRule("order.one_currency", "currency", "an order is in one currency", pl.col("one_currency")),
        RowRule("order.total_differs", None, "lines add up to the delivered totals, within a cent", pl.col("agrees")),
    )
    settled = tuple(rule for rule in contract("order_lines").row_rules() if rule.column in {None, *AMOUNTS, *IN_BASE})
    # Without a rate there is nothing to hold the base amounts against.
    rated = pl.col("exchange_rate").is_not_null()
    judged = [judge(lines.filter(~rated).lazy(), own), judge(lines.filter(rated).lazy(), (*own, *settled))]
    broken = pl.concat(judged).filter(pl.col("rule").is_not_null())
    return lines, broken.select("file_hash", "line", "rule", "column", "rules").collect()


def _net(suffix: str = "") -> pl.Expr:
    gross, discount, refunded, cancelled = (
        pl.col(f"{n}{suffix}") for n in ("gross", "discount", "refunded", "cancelled")
    )
    return (gross - discount - refunded - cancelled).cast(MONEY, strict=False)


def _in_base(lines: pl.LazyFrame, exchange: Exchange) -> pl.LazyFrame:
    # Net is made of converted amounts, not converted itself, so that it adds up to the last digit in both currencies.
    rated = attach_rates(lines, exchange).with_columns(
        convert(pl.col(name), pl.col("exchange_rate")).alias(f"{name}_base") for name in AMOUNTS[:-1]
    )
    return rated.with_columns(net_base=_net("_base"))


def build_orders(order_lines: pl.LazyFrame) -> pl.LazyFrame:
    """Sum lines to one document per order, kind and day.

    Args:
        order_lines: canonical order lines.

    Returns:
        Rows of the contract `orders`; adjustments without money make no document.
    """
    goods = pl.col("is_product")
    return (
        order_lines.filter(pl.col("kind") != "adjustment")
        .with_columns(kind=pl.col("kind").replace("cancellation", "refund"))
        .group_by("order_id", "kind", *_DAY_SOURCE)
        .agg(
            pl.col("event_time").min(),
            pl.col("known_at").max(),
            *(
                pl.col(name).sort_by("event_time", name).drop_nulls().first()
                for name in (
                    "actor_key",
                    "customer_key",
                    "currency",
                    "base_currency",
                    "exchange_rate",
                    "channel",
                    "country",
                    "coupon",
                    "traffic",
                )
            ),
            lines=pl.len().cast(pl.Int64),
            products=pl.col("product_id").filter(goods).n_unique().cast(pl.Int64),
            units=pl.col("quantity").filter(goods).abs().sum(),
            **{name: pl.col(name).sum() for amount in AMOUNTS for name in (amount, f"{amount}_base")},
        )
    )


def derive_order_events(orders: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    """Make the events that order documents imply, for orders whose source delivered no such event.

    Args:
        orders: rows of `orders`.
        events: delivered rows of `events` of the same days.

    Returns:
        Rows with columns of the contract `events`: `order_completed` for a sale, `order_refunded` for a refund or
        cancellation, none for an exchange.
    """
    told = events.filter(pl.col("event").is_in(["order_completed", "order_refunded", "order_cancelled"])).select(
        "source",
        "event_day",
        "order_id",
        kind=pl.when(pl.col("event") == "order_completed").then(pl.lit("sale")).otherwise(pl.lit("refund")),
    )
    sale = pl.col("kind") == "sale"
    return (
        orders.filter(pl.col("kind") != "exchange")
        .join(told.unique(), on=["source", "event_day", "order_id", "kind"], how="anti")
        .with_columns(
            event_id=pl.format("{}:{}:{}", "kind", "order_id", "event_day"),
            event=pl.when(sale).then(pl.lit("order_completed")).otherwise(pl.lit("order_refunded")),
            value=pl.when(sale)
            .then(pl.col("gross") - pl.col("discount"))
            .otherwise(pl.col("refunded") + pl.col("cancelled")),
            file_hash=pl.lit(DERIVED),
            line=pl.lit(1, dtype=pl.Int64),
        )
        .drop("kind", "lines", "products", "units")
    )


def observe_products(events: pl.LazyFrame, order_lines: pl.LazyFrame) -> pl.LazyFrame:
    """Collect what a day's rows say about each product.

    Args:
        events: canonical events.
        order_lines: canonical order lines.

    Returns:
        Rows of the contract `product_history`: the last value of each attribute seen that day.
    """
    seen = pl.concat(
        [
            events.filter(pl.col("product_id").is_not_null()).select(
                "product_id",
                *_DAY_SOURCE,
                "event_time",
                pl.lit(None, dtype=pl.String).alias("product_name"),
                "category",
                "brand",
                "price",
                "currency",
            ),
            order_lines.filter(pl.col("is_product")).select(
                "product_id",
                *_DAY_SOURCE,
                "event_time",
                "product_name",
                "category",
                "brand",
                price="unit_price",
                currency="currency",
            ),
        ]
    )
    attributes = ("product_name", "category", "brand", "currency")
    return seen.group_by("product_id", *_DAY_SOURCE).agg(
        *(pl.col(name).sort_by("event_time", name).drop_nulls().last() for name in attributes),
        price=pl.col("price").sort_by("event_time", "currency", "price").replace(0, None).drop_nulls().last(),
        observed_at=pl.col("event_time").max(),
    )


def describe_products(history: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Give each product as last described on or before a day.

    Args:
        history: rows of `product_history`; later days are ignored.
        as_of: the as-of day.

    Returns:
        Rows of the contract `products`.
    """
    return (
        history.filter(pl.col("event_day") <= as_of)
        .group_by("product_id")
        .agg(
            *(
                pl.col(name).sort_by("observed_at", "source").drop_nulls().last()
                for name in ("product_name", "category", "brand", "price", "currency")
            ),
            first_seen=pl.col("event_day").min(),
            last_seen=pl.col("event_day").max(),
        )
        .with_columns(as_of=pl.lit(as_of))
    )
