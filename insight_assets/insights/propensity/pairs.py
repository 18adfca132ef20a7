"""What is known of a customer and a target together: own purchases and looks, popularity, activity.

One row is a pair of a customer and a target, so that one model of a kind speaks of all its targets, and of one that
came into the shop last week. Everything is counted up to the as-of day. Labels and models are elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from insight_assets.features.taste import HALF_LIFE_DAYS, RECENCY_SCALE
from insight_assets.insights.propensity.nearness import Nearness, nothing_near
from insight_assets.insights.propensity.targets import (
    CATEGORY,
    DAYS,
    KINDS,
    PRICE_BAND,
    PRODUCT,
    Contacts,
    contacts_until,
    describe_targets,
)

ACTIVITY = (
    "active_days_30d", "active_days_90d", "events_30d", "product_views_30d", "adds_30d", "checkouts_30d",
    "open_cart_units", "orders_90d", "orders_365d", "purchase_days_365d", "purchase_days_lifetime",
    "days_since_last_order", "days_since_last_event", "days_since_last_session", "days_since_last_add", "tenure_days",
    "age_days", "mean_gap_days", "expected_gap_ratio", "net_365d", "mean_order_value_365d", "lines_per_order_365d",
    "categories_bought_90d", "products_bought_90d", "repeat_product_share_90d", "discount_share_365d",
    "refund_share_365d", "price_band_365d",
)  # fmt: skip
"""Features of the customer that speak of every target."""

OWN = (
    "own_days_30d", "own_days_90d", "own_days_365d", "own_share_365d", "own_recent_share", "days_since_own",
    "own_gap_days", "own_due", "habit_rate",
)  # fmt: skip
LOOKED = ("looked_days_7d", "looked_days_30d", "looked_days_90d", "looked_share_90d", "days_since_look")
GROUP = ("group_days_365d", "group_share_365d", "days_since_group", "group_looked_days_90d")
"""The same of the category of a product."""

PRICE = ("band_distance",)
POPULAR = (
    "target_rate", "target_rate_30d", "target_rate_365d", "target_trend_90d", "target_repeat_share",
    "target_days_since_sale",
)  # fmt: skip

FEATURES = (*OWN, *LOOKED, *GROUP, *PRICE, *POPULAR, *ACTIVITY)

HABIT_DAYS = 2.0
"""Purchase days of the whole shop that are added to the customer's own share of a target."""

HABIT_PURCHASES = 1.0
"""Purchase days at the shop's pace that are added to the customer's own."""


@dataclass(frozen=True)
class Known:
    """What is known up to a day, put together so that pairs of some customers can be described.

    Attributes:
        as_of: the day.
        horizon_days: length H of the horizon.
        cuts: bounds of the bands of price.
        customers: `customer_key`, the features of `ACTIVITY` and `exposed_days`, by key.
        targets: by kind, as `describe_targets` gives them.
        own: by kind, one row a customer and target that had to do with each other.
        totals: by kind, one row a customer with purchases or looks of that kind.
        groups: `target`, a product, to `group`, its category.
        nearness: what the behaviour encoder says; None where it says nothing.
    """

    as_of: date
    horizon_days: int
    cuts: pl.DataFrame
    customers: pl.DataFrame
    targets: Mapping[str, pl.DataFrame]
    own: Mapping[str, pl.DataFrame]
    totals: Mapping[str, pl.DataFrame]
    groups: pl.DataFrame
    nearness: Nearness | None = None

    def products_of(self, kind: str) -> dict[str, list[str]]:
        """Give the products of each target; of a band of price none, which is no set of products."""
        if kind == PRICE_BAND:
            return {}
        targets = self.targets[kind]["target"]
        if kind == PRODUCT:
            return {target: [target] for target in targets}
        of = self.groups.group_by("group", maintain_order=True).agg("target")
        return dict(of.filter(pl.col("group").is_in(targets.implode())).iter_rows())


def know(
    customer_days: pl.LazyFrame,
    events: pl.LazyFrame,
    customer_features: pl.LazyFrame,
    products: pl.LazyFrame,
    *,
    as_of: date,
    horizon_days: int,
    nearness: Nearness | None = None,
) -> Known:
    """Put together what is known up to a day.

    Args:
        customer_days: rows of the contract `customer_days`, `customer_key` being the person; the last year is read.
        events: rows of the contract `events`, `customer_key` being the person.
        customer_features: rows of the contract `customer_features` as of the day: the known customers.
        products: columns product_id and category.
        as_of: the day; what came later is ignored.
        horizon_days: length H of the horizon.
        nearness: what the behaviour encoder of the day says, if anything.
    """
    contacts = contacts_until(customer_days, events, as_of=as_of)
    exposed = pl.min_horizontal(pl.col("tenure_days"), DAYS - 1).cast(pl.Int64) + 1
    customers = (
        customer_features.select(pl.col("customer_key").cast(pl.Int64), *ACTIVITY, exposed_days=exposed)
        .sort("customer_key")
        .collect()
    )
    totalled = int(customers["exposed_days"].sum())
    return Known(
        as_of=as_of,
        horizon_days=horizon_days,
        cuts=contacts.cuts,
        customers=customers,
        targets={
            kind: describe_targets(
                contacts, kind, customers=customers.height, exposed_days=totalled, horizon_days=horizon_days
            )
            for kind in KINDS
        },
        own={kind: _own(contacts, kind) for kind in KINDS},
        totals={kind: _totals(contacts, kind) for kind in KINDS},
        groups=products.select(target="product_id", group="category").drop_nulls().unique().sort("target").collect(),
        nearness=nearness,
    )


def all_pairs(known: Known, kind: str, customers: pl.Series | None = None) -> pl.DataFrame:
    """Pair customers with every target of a kind.

    Args:
        known: what is known up to the day.
        kind: the kind.
        customers: keys of known customers; None pairs all.

    Returns:
        Columns customer_key and target, by customer and then by target, the most bought first.
    """
    keys = known.customers.select("customer_key")
    if customers is not None:
        keys = keys.filter(pl.col("customer_key").is_in(customers.implode()))
    return keys.join(known.targets[kind].select("target"), how="cross", maintain_order="left_right")


def describe_pairs(known: Known, kind: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """Describe pairs of known customers and targets.

    Args:
        known: what is known up to the day.
        kind: the kind.
        pairs: columns customer_key and target, and any others.

    Returns:
        The rows in their order with the columns of `FEATURES` and `NEAR`; null where there is nothing to tell.
    """
    own, totals = known.own[kind], known.totals[kind]
    wide = (
        pairs.join(known.customers, on="customer_key", how="left", maintain_order="left")
        .join(known.targets[kind], on="target", how="left", maintain_order="left")
        .join(totals, on="customer_key", how="left", maintain_order="left")
        .join(own, on=["customer_key", "target"], how="left", maintain_order="left")
    )
    if kind == PRODUCT:
        of_group = known.own[CATEGORY].select(
            "customer_key", group="target", group_days="days_365", days_since_group="last",
            group_looked_days_90d="looked_90",
        )  # fmt: skip
        all_groups = known.totals[CATEGORY].select("customer_key", group_all="all_days")
        wide = (
            wide.join(known.groups, on="target", how="left", maintain_order="left")
            .join(of_group, on=["customer_key", "group"], how="left", maintain_order="left")
            .join(all_groups, on="customer_key", how="left", maintain_order="left")
        )
    else:
        nothing = ("group_days", "days_since_group", "group_looked_days_90d", "group_all")
        wide = wide.with_columns(pl.lit(None, pl.Int64).alias(name) for name in nothing)
    band = pl.col("target").cast(pl.Int64, strict=False) if kind == PRICE_BAND else pl.lit(None, pl.Int64)
    gap = pl.when(pl.col("days_365") > 1).then((pl.col("first") - pl.col("last")) / (pl.col("days_365") - 1))
    shown = wide.with_columns(
        own_days_30d=_count("days_30"),
        own_days_90d=_count("days_90"),
        own_days_365d=_count("days_365"),
        own_share_365d=_part("days_365", "all_days"),
        own_recent_share=_part("faded", "all_faded"),
        days_since_own=pl.col("last"),
        own_gap_days=gap,
        own_due=pl.when(gap > 0).then(pl.col("last") / gap),
        looked_days_7d=_count("looked_7"),
        looked_days_30d=_count("looked_30"),
        looked_days_90d=_count("looked_90"),
        looked_share_90d=_part("looked_90", "all_looked"),
        days_since_look=pl.col("last_look"),
        group_days_365d=_count("group_days"),
        group_share_365d=_part("group_days", "group_all"),
        group_looked_days_90d=_count("group_looked_days_90d"),
        band_distance=(pl.col("price_band_365d") - band).abs(),
        habit_rate=_habit_rate(known.horizon_days),
    )
    near = (
        nothing_near(pairs.height)
        if known.nearness is None
        else known.nearness.describe(pairs, known.products_of(kind))
    )
    return shown.select(*pairs.columns, *FEATURES).hstack(near)


def _habit_rate(horizon_days: int) -> pl.Expr:
    """The customer's own share of a target times their own pace: the chance of at least one such purchase.

    Purchases are taken to come at a constant rate. Where little is known of a customer, the shop's share and pace
    speak.
    """
    days = _count("all_days")
    share = (_count("days_365") + HABIT_DAYS * pl.col("day_share")) / (days + HABIT_DAYS)
    pace = (days + HABIT_PURCHASES) / (pl.col("exposed_days") + HABIT_PURCHASES * pl.col("shop_gap_days"))
    return (1 - (-horizon_days * pace * share).exp()).round(9)


def _count(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64).fill_null(0)


def _part(part: str, whole: str) -> pl.Expr:
    return pl.when(_count(whole) > 0).then(_count(part) / pl.col(whole))


def _own(contacts: Contacts, kind: str) -> pl.DataFrame:
    age = pl.col("age")
    bought = (
        contacts.bought[kind]
        .join(_fading(), on="age", how="left")
        .group_by("customer_key", "target")
        .agg(
            days_30=(age < 30).sum(),
            days_90=(age < 90).sum(),
            days_365=pl.len(),
            last=age.min(),
            first=age.max(),
            faded=pl.col("weight").sum(),
        )
    )
    looked = (
        contacts.looked[kind]
        .group_by("customer_key", "target")
        .agg(looked_7=(age < 7).sum(), looked_30=(age < 30).sum(), looked_90=pl.len(), last_look=age.min())
    )
    return bought.join(looked, on=["customer_key", "target"], how="full", coalesce=True).sort("customer_key", "target")


def _totals(contacts: Contacts, kind: str) -> pl.DataFrame:
    """Count a customer's days with any purchase, and with any look, of a kind."""
    bought, looked = (rows[kind].select("customer_key", "age").unique() for rows in (contacts.bought, contacts.looked))
    of_bought = (
        bought.join(_fading(), on="age", how="left")
        .group_by("customer_key")
        .agg(all_days=pl.len(), all_faded=pl.col("weight").sum())
    )
    of_looked = looked.group_by("customer_key").agg(all_looked=pl.len())
    return of_bought.join(of_looked, on="customer_key", how="full", coalesce=True).sort("customer_key")


def _fading() -> pl.DataFrame:
    """Weight of a purchase by its age, in whole numbers, which add up to the same sum in any order."""
    weights = [round(RECENCY_SCALE * 0.5 ** (age / HALF_LIFE_DAYS)) for age in range(DAYS)]
    return pl.DataFrame({"age": pl.Series(range(DAYS), dtype=pl.Int32), "weight": pl.Series(weights, dtype=pl.Int64)})
