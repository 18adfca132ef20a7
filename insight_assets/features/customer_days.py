"""What one actor did on one day: the partial sums that every longer window is added up from.

An actor is a signed-in customer, or a visitor while nobody is signed in; which customer a visitor is gets known later
and is no business of a day. Holds sums, extremes and short lists only, so that days and actors can be merged without
going back to events. Windows, rates and ages belong to `customer_features`.
"""

import polars as pl

from insight_assets.features.money import MONEY, in_base_currency
from insight_assets.features.sessions import CAMPAIGN
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

ENDS = ("first", "last")
NAMED = (CAMPAIGN, ("device",), ("country",))
"""What the first and the last visit of a day name: columns that come from one visit, the leading one tells which."""

FIRST_NAMED = {f"first_{name}": tuple(f"first_{each}" for each in group) for group in NAMED for name in group}
LAST_NAMED = {f"last_{name}": tuple(f"last_{each}" for each in group) for group in NAMED for name in group}

BESIDE = {
    "bought_categories": ("bought_category_units", "bought_category_gross"),
    "bought_brands": ("bought_brand_gross",),
}
"""List to the lists that hold a number for each of its items, in its order."""


def build_customer_days(
    events: pl.LazyFrame,
    orders: pl.LazyFrame,
    order_lines: pl.LazyFrame,
    sessions: pl.LazyFrame,
    payments: pl.LazyFrame | None = None,
    *,
    timezone: str,
    base_currency: str | None = None,
) -> pl.LazyFrame:
    """Sum up what every actor did on each day.

    Purchases and refunds come from the ledger (`orders`, `order_lines`), all else from events and
    visits: some sources deliver nothing but the ledger.

    Args:
        events: rows of the contract `events`, of any days; rows without an actor are ignored.
        orders: rows of the contract `orders` of the same days.
        order_lines: rows of the contract `order_lines` of the same days.
        sessions: rows of the contract `sessions` of the same days.
        payments: rows of the contract `payments` of the same days; None where no source delivers any. A payment makes
            no row: its method counts on days on which the actor did something or has a document.
        timezone: the shop's time zone, for the parts of the day.
        base_currency: prices of carts in other currencies are left out of a cart's value; None when there are none.

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
        *_baskets(_of_actors(by_persons(in_base_currency(order_lines)))),
        _carts(acted, documents, base_currency),
        *(() if payments is None else (_methods(_of_actors(payments)),)),
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
                if isinstance(kind, pl.List)
            ),
            *(() if "payment_methods" in schema else (pl.lit([], pl.List(pl.String)).alias("payment_methods"),)),
            *(pl.coalesce(f"{end}_country", f"{end}_document_country").alias(f"{end}_country") for end in ENDS),
        )
        .drop("first_document_at", *(f"{end}_document_country" for end in ENDS))
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
        if name in FIRST_NAMED:
            value = _ordered(value, "first_event_at", FIRST_NAMED[name]).first()
        elif name in LAST_NAMED:
            value = _ordered(value, "last_event_at", LAST_NAMED[name]).last()
        elif any(name in beside for beside in BESIDE.values()):
            continue
        elif isinstance(kind, pl.List):
            items = value.explode().drop_nulls()
            merged.append((items if name == "order_values" else items.unique()).sort())
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
    together = more.group_by(day).agg(merged)
    for items, beside in BESIDE.items():
        if set(beside) <= schema.keys():
            together = together.join(_added_up(more, items, beside), on=day, how="left")
    return pl.concat([one, together.with_columns(pl.col(pl.List).fill_null([])).select(schema.names())])


def _added_up(rows: pl.LazyFrame, items: str, beside: tuple[str, ...]) -> pl.LazyFrame:
    """Add the lists beside a list of items up, over the rows of one customer and day."""
    day = ["customer_key", "event_day"]
    exploded = rows.filter(pl.col(items).list.len() > 0).select(*day, items, *beside).explode(items, *beside)
    return (
        exploded.group_by(*day, items)
        .agg(pl.col(beside).sum())
        .group_by(day)
        .agg(pl.col(beside).sort_by(items))
    )


def _ordered(value: pl.Expr, at: str, named: tuple[str, ...]) -> pl.Expr:
    """Put the values of the rows that name something in order of time, and at one time by what they name."""
    kept = pl.col(named[0]).is_not_null()
    return value.filter(kept).sort_by(pl.col(each).filter(kept) for each in (at, *named))


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
    value = pl.col("gross") - pl.col("discount")
    at_place = pl.when(pl.col("country").is_not_null()).then("event_time")
    coupon = pl.col("coupon").is_not_null()
    return in_base_currency(orders).group_by(KEYS).agg(
        sale.sum().alias("orders"),
        pl.when(sale).then("lines").sum().alias("order_lines"),
        pl.when(sale).then("units").sum().alias("units"),
        *(pl.col(name).sum() for name in MONEY),
        pl.when(sale).then(value).max().alias("max_order_value"),
        pl.when(sale).then(value).drop_nulls().sort().alias("order_values"),
        refund.sum().alias("refunds"),
        (sale & coupon).sum().alias("coupon_orders"),
        (sale & (pl.col("discount") > 0)).sum().alias("discounted_orders"),
        pl.col("currency").unique().sort().alias("currencies"),
        pl.col("event_time").min().alias("first_document_at"),
        pl.when(sale).then("event_time").max().alias("last_order_at"),
        pl.when(refund).then("event_time").max().alias("last_refund_at"),
        # Two documents of one moment may name two places: the place itself decides between them.
        pl.col("country").filter(at_place == at_place.min()).min().alias("first_document_country"),
        pl.col("country").filter(at_place == at_place.max()).max().alias("last_document_country"),
    )


def _visits(sessions: pl.LazyFrame) -> pl.LazyFrame:
    """Add up visits; those of one customer never overlap, so first and last are unambiguous."""
    cart = pl.col("adds") > 0
    return sessions.group_by(KEYS).agg(
        (~pl.col("continued")).sum().alias("sessions"),
        pl.col("duration_seconds").sum().alias("session_seconds"),
        pl.col("bounced").sum().alias("bounced_sessions"),
        cart.sum().alias("cart_sessions"),
        (cart & (pl.col("orders") == 0)).sum().alias("abandoned_sessions"),
        *(
            extreme(pl.col(name), pl.when(pl.col(group[0]).is_not_null()).then("first_event_at")).alias(f"{end}_{name}")
            for end, extreme in zip(ENDS, (pl.Expr.min_by, pl.Expr.max_by), strict=True)
            for group in NAMED
            for name in group
        ),
    )


def _carts(acted: pl.LazyFrame, documents: pl.LazyFrame, base_currency: str | None) -> pl.LazyFrame:
    """Add up what was put into the cart and taken out again after the day's last purchase."""
    moment, added = pl.col("event_time"), pl.col("event") == "product_added"
    bought = documents.filter(pl.col("kind") == "sale").group_by(KEYS).agg(bought_at=moment.max())
    sign = pl.when(added).then(1).otherwise(-1)
    units = sign * pl.col("quantity").fill_null(1)
    priced = pl.col("currency").fill_null(base_currency) == base_currency if base_currency else pl.lit(value=True)
    price = pl.when(priced).then("price").otherwise(pl.lit(0).cast(pl.Decimal(18, 4))).fill_null(0)
    return (
        acted.filter(pl.col("event").is_in(["product_added", "product_removed"]))
        .select(*KEYS, "event_time", units=units, value=(units * price).cast(pl.Decimal(38, 4)))
        .join(bought, on=KEYS, how="left")
        .filter(pl.col("bought_at").is_null() | (moment > pl.col("bought_at")))
        .group_by(KEYS)
        .agg(
            cart_units_left=pl.col("units").sum(),
            cart_value_left=pl.col("value").sum().cast(pl.Decimal(18, 4)),
            last_cart_at=moment.max(),
        )
    )


def _methods(payments: pl.LazyFrame) -> pl.LazyFrame:
    return _each_once(payments, "method").rename({"method": "payment_methods"})


def _baskets(order_lines: pl.LazyFrame) -> tuple[pl.LazyFrame, ...]:
    """List the goods bought, with their categories and brands and what these came to."""
    goods = order_lines.filter((pl.col("kind") == "sale") & pl.col("is_product"))
    return (
        _each_once(goods, "product_id").rename({"product_id": "bought_products"}),
        _added_by(goods, "category", bought_category_units="quantity", bought_category_gross="gross").rename(
            {"category": "bought_categories"}
        ),
        _added_by(goods, "brand", bought_brand_gross="gross").rename({"brand": "bought_brands"}),
    )


def _added_by(rows: pl.LazyFrame, column: str, **sums: str) -> pl.LazyFrame:
    """List a column's distinct values per customer and day, sorted, and what other columns come to for each."""
    return (
        rows.filter(pl.col(column).is_not_null())
        .group_by(*KEYS, column)
        .agg(pl.col(summed).sum().alias(name) for name, summed in sums.items())
        .group_by(KEYS)
        .agg(pl.col(column).sort(), *(pl.col(name).sort_by(column) for name in sums))
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
