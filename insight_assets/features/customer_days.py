"""What one actor did on one day: the partial sums that every longer window is added up from.

An actor is a signed-in customer, or a visitor while nobody is signed in; which customer a visitor is gets known later
and is no business of a day. Holds sums, extremes and short lists only, so that days and actors can be merged without
going back to events. Windows, rates and ages belong to `customer_features`.
"""

import polars as pl

from insight_assets.features.money import in_base_currency
from insight_assets.features.vocabulary import CHANNELS, DAY_PARTS, SHOP_EVENTS, by_persons, event_kinds

KEYS = ("actor_key", "event_day")
COUNTED = {
    "page_views": "page_viewed",
    "searches": "products_searched",
    "list_views": "product_list_viewed",
    "product_clicks": "product_clicked",
    "product_views": "product_viewed",
    "adds": "product_added",
    "removes": "product_removed",
    "cart_views": "cart_viewed",
    "checkouts": "checkout_started",
    "payments_entered": "payment_info_entered",
    "payment_failures": "payment_failed",
    "coupons_applied": "coupon_applied",
    "coupons_denied": "coupon_denied",
    "promotions_viewed": "promotion_viewed",
    "promotions_clicked": "promotion_clicked",
    "wishlists": "product_added_to_wishlist",
    "shares": "product_shared",
    "reviews": "product_reviewed",
    "tickets": "support_ticket_opened",
    "signups": "signed_up",
}
"""Column to the kind of event that it counts."""

TIMED = {
    "view": "product_viewed",
    "search": "products_searched",
    "add": "product_added",
    "review": "product_reviewed",
    "ticket": "support_ticket_opened",
}
"""Name in `last_<name>_at` to the kind of event whose last time it holds."""


def build_customer_days(
    events: pl.LazyFrame,
    orders: pl.LazyFrame,
    order_lines: pl.LazyFrame,
    sessions: pl.LazyFrame,
    *,
    timezone: str,
) -> pl.LazyFrame:
    """Sum up what every actor did on each day.

    Purchases and refunds come from the ledger (`orders`, `order_lines`), all else from events and
    visits: some sources deliver nothing but the ledger.

    Args:
        events: rows of the contract `events`, of any days; rows without an actor are ignored.
        orders: rows of the contract `orders` of the same days.
        order_lines: rows of the contract `order_lines` of the same days.
        sessions: rows of the contract `sessions` of the same days.
        timezone: the shop's time zone, for the parts of the day.

    Returns:
        One row an actor and day with the columns of the contract `customer_days`, sorted by key.
    """
    acted = _of_actors(by_persons(events))
    documents = _of_actors(by_persons(orders))
    who = [*KEYS, "customer_key"]
    known = pl.concat([acted.select(who), documents.select(who)]).unique()
    parts = (
        _activity(acted, timezone),
        _ledger(documents),
        _visits(_of_actors(sessions)),
        *_baskets(_of_actors(by_persons(order_lines))),
        _each_once(acted.filter(pl.col("event") == "product_viewed"), "category").rename(
            {"category": "viewed_categories"}
        ),
    )
    joined = known
    for part in parts:
        joined = joined.join(part, on=KEYS, how="left")
    schema = joined.collect_schema()
    return (
        joined.with_columns(
            pl.min_horizontal("first_event_at", "first_document_at").alias("first_event_at"),
            pl.max_horizontal("last_event_at", "last_order_at", "last_refund_at").alias(
                "last_event_at"
            ),
            *(
                pl.col(name).fill_null(0)
                for name, kind in schema.items()
                if kind.is_numeric() and name not in {"max_order_value", "customer_key"}
            ),
            *(
                pl.col(name).fill_null([])
                for name, kind in schema.items()
                if kind == pl.List(pl.String)
            ),
        )
        .drop("first_document_at")
        .sort(KEYS)
    )


def merge_actors(customer_days: pl.LazyFrame) -> pl.LazyFrame:
    """Put the rows of several actors of one customer and day together, as if one actor had done it all.

    Args:
        customer_days: rows of the contract, `customer_key` being the person (see `purposes.as_people`).

    Returns:
        One row a customer and day.
    """
    merged_people = customer_days.filter(pl.col("actor_key") != pl.col("customer_key"))
    several = merged_people.select("customer_key").unique().collect()
    if several.is_empty():
        return customer_days
    rows, schema = customer_days, customer_days.collect_schema()
    day = ("customer_key", "event_day")
    merged = []
    for name, kind in schema.items():
        value = pl.col(name)
        if name in day:
            continue
        if name == "first_campaign_source":
            value = value.sort_by("first_event_at", name).drop_nulls().first()
        elif name == "last_campaign_source":
            value = value.sort_by("last_event_at", name).drop_nulls().last()
        elif isinstance(kind, pl.List):
            merged.append(value.explode().drop_nulls().unique().sort())
            continue
        elif name.startswith("first_") or not kind.is_numeric():
            value = value.min() if name.startswith("first_") else value.max()
        elif name in {"actor_key", "account_key"}:
            value = pl.col("customer_key").first()
        else:
            value = value.max() if name.startswith("max_") else value.sum()
        merged.append(value.cast(kind).alias(name))
    one = rows.join(several.lazy(), on="customer_key", how="anti", maintain_order="none")
    more = rows.join(several.lazy(), on="customer_key", how="semi", maintain_order="none")
    return pl.concat([one, more.group_by(day).agg(merged).select(schema.names())])


def _of_actors(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("actor_key").is_not_null())


def _activity(events: pl.LazyFrame, timezone: str) -> pl.LazyFrame:
    """Count events by kind, part of the day and channel."""
    # Enum codes halve the time of comparing text some thirty times.
    coded = events.select(
        *KEYS,
        "event_time",
        "results",
        "rating",
        kind=pl.col("event").cast(pl.Enum(event_kinds())),
        channel=pl.col("channel").cast(pl.Enum(CHANNELS)),
        own=~pl.col("event").is_in(SHOP_EVENTS),
        part=pl.col("event_time").dt.convert_time_zone(timezone).dt.hour() // 6,
    )
    kind, own, moment = pl.col("kind"), pl.col("own"), pl.col("event_time")
    return coded.group_by(KEYS).agg(
        own.sum().alias("events"),
        (~own).sum().alias("shop_events"),
        *((kind == event).sum().alias(name) for name, event in COUNTED.items()),
        ((kind == "products_searched") & (pl.col("results") == 0))
        .sum()
        .alias("zero_result_searches"),
        pl.when(kind == "product_reviewed").then("rating").sum().alias("rating_sum"),
        *(
            (own & (pl.col("part") == number)).sum().alias(f"events_{name}")
            for number, name in enumerate(DAY_PARTS)
        ),
        *((own & (pl.col("channel") == name)).sum().alias(f"events_{name}") for name in CHANNELS),
        moment.min().alias("first_event_at"),
        moment.max().alias("last_event_at"),
        *(
            pl.when(kind == event).then(moment).max().alias(f"last_{name}_at")
            for name, event in TIMED.items()
        ),
    )


def _ledger(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Add up purchases and refunds."""
    sale, refund = (pl.col("kind") == kind for kind in ("sale", "refund"))
    coupon = pl.col("coupon").is_not_null()
    return in_base_currency(orders).group_by(KEYS).agg(
        sale.sum().alias("orders"),
        pl.when(sale).then("lines").sum().alias("order_lines"),
        pl.when(sale).then("units").sum().alias("units"),
        *(pl.col(name).sum() for name in ("gross", "discount", "refunded", "net")),
        pl.when(sale).then(pl.col("gross") - pl.col("discount")).max().alias("max_order_value"),
        refund.sum().alias("refunds"),
        (sale & coupon).sum().alias("coupon_orders"),
        (sale & (pl.col("discount") > 0)).sum().alias("discounted_orders"),
        pl.col("currency").unique().sort().alias("currencies"),
        pl.col("event_time").min().alias("first_document_at"),
        pl.when(sale).then("event_time").max().alias("last_order_at"),
        pl.when(refund).then("event_time").max().alias("last_refund_at"),
    )


def _visits(sessions: pl.LazyFrame) -> pl.LazyFrame:
    """Add up visits; those of one customer never overlap, so first and last are unambiguous."""
    cart = pl.col("adds") > 0
    named_at = pl.when(pl.col("campaign_source").is_not_null()).then("first_event_at")
    return sessions.group_by(KEYS).agg(
        (~pl.col("continued")).sum().alias("sessions"),
        pl.col("duration_seconds").sum().alias("session_seconds"),
        pl.col("bounced").sum().alias("bounced_sessions"),
        cart.sum().alias("cart_sessions"),
        (cart & (pl.col("orders") == 0)).sum().alias("abandoned_sessions"),
        pl.col("campaign_source").min_by(named_at).alias("first_campaign_source"),
        pl.col("campaign_source").max_by(named_at).alias("last_campaign_source"),
    )


def _baskets(order_lines: pl.LazyFrame) -> tuple[pl.LazyFrame, ...]:
    """List the goods bought, with their categories and brands."""
    goods = order_lines.filter((pl.col("kind") == "sale") & pl.col("is_product"))
    return tuple(
        _each_once(goods, column).rename({column: name})
        for column, name in (
            ("product_id", "bought_products"),
            ("category", "bought_categories"),
            ("brand", "bought_brands"),
        )
    )


def _each_once(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """List a column's distinct values per customer and day, sorted."""
    return (
        rows.filter(pl.col(column).is_not_null())
        .select(*KEYS, column)
        .unique()
        .group_by(KEYS)
        .agg(pl.col(column).sort())
    )
