"""What customers can buy something of: categories, bands of price and products, and who had to do with them.

A kind is a way to cut up what a shop sells; a target is one piece of it. Reads daily sums of one year and what was
looked at in the last three months. What follows from it for one customer and one target is in `pairs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from insight_assets.features import taste
from insight_assets.features.vocabulary import by_persons
from insight_assets.ml.origins import Origin

CATEGORY, PRICE_BAND, PRODUCT = "category", "price_band", "product"
KINDS = (CATEGORY, PRICE_BAND, PRODUCT)

MOST: Mapping[str, int] = {CATEGORY: 30, PRICE_BAND: taste.BANDS, PRODUCT: 50}
"""Targets of each kind: those with most buyers within the year before the day."""

FEWEST_BUYERS = 10
"""Buyers within a year below which there is too little to tell who buys a target."""

DAYS = taste.DAYS
LOOK_DAYS = 90
"""Days for which a look says something of what is bought next."""

LOOKS = ("product_viewed", "product_added")

CONTACT_SCHEMA = pl.Schema({"customer_key": pl.Int64, "age": pl.Int32, "target": pl.String})


@dataclass(frozen=True)
class Contacts:
    """Who had to do with which target, by kind: frames of `CONTACT_SCHEMA`, each row once.

    Attributes:
        as_of: the day; ages are days before it.
        cuts: bounds of the bands of price, as `taste.price_cuts` gives them.
        bought: what was bought within `DAYS`.
        looked: what was looked at within `LOOK_DAYS`; a price band is never looked at.
    """

    as_of: date
    cuts: pl.DataFrame
    bought: Mapping[str, pl.DataFrame]
    looked: Mapping[str, pl.DataFrame]


def contacts_until(customer_days: pl.LazyFrame, events: pl.LazyFrame, *, as_of: date) -> Contacts:
    """List who bought and looked at what up to a day.

    What was bought counts, also where it was given back later.

    Args:
        customer_days: rows of the contract `customer_days`, `customer_key` being the person; days after `as_of` are
            ignored, and so are those more than a year before it.
        events: rows of the contract `events`, `customer_key` being the person; days after `as_of` are ignored.
        as_of: the day.
    """
    days = _of_the_year(customer_days, as_of)
    cuts = taste.price_cuts(days)
    looks = (
        _aged(by_persons(events), as_of)
        .filter(
            pl.col("age").is_between(0, LOOK_DAYS - 1),
            pl.col("event").is_in(LOOKS),
            pl.col("customer_key").is_not_null(),
            pl.col("product_id").is_not_null(),
        )
        .select("customer_key", "age", target="product_id")
    )
    looked = {
        CATEGORY: _listed(days.filter(pl.col("age") < LOOK_DAYS), "viewed_categories"),
        PRICE_BAND: CONTACT_SCHEMA.to_frame().lazy(),
        PRODUCT: looks,
    }
    return Contacts(
        as_of=as_of,
        cuts=cuts,
        bought={kind: _each_once(rows) for kind, rows in _bought(days, cuts).items()},
        looked={kind: _each_once(rows) for kind, rows in looked.items()},
    )


def targets_sold(
    customer_days: pl.LazyFrame, *, as_of: date
) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Say which targets were told of as of a day, so that what was told can be held against purchases later.

    Args:
        customer_days: rows of the contract `customer_days`, `customer_key` being the person; days after `as_of` are
            ignored, and so are those more than a year before it.
        as_of: the day.

    Returns:
        Bounds of the bands of price, and by kind the targets, the most bought first: those of `describe_targets`.
    """
    days = _of_the_year(customer_days, as_of)
    cuts = taste.price_cuts(days)
    buyers = {
        kind: rows.group_by("target").agg(buyers=pl.col("customer_key").n_unique()).collect()
        for kind, rows in _bought(days, cuts).items()
    }
    return cuts, {kind: _most_bought(each, kind)["target"] for kind, each in buyers.items()}


def bought_within(
    customer_days: pl.LazyFrame, cuts: pl.DataFrame, *, origin: date, horizon_days: int
) -> dict[str, pl.DataFrame]:
    """List what was bought within a horizon.

    Args:
        customer_days: rows of the contract `customer_days`, told of the people of the origin (see
            `features.labels.label_view`); days outside (origin, origin + horizon_days] are ignored.
        cuts: bounds of the bands as of the origin, so that a band means then what it meant when it was foretold.
        origin: as-of day O.
        horizon_days: length H of the horizon.

    Returns:
        By kind, distinct rows of customer_key and target.
    """
    closes = Origin(origin, horizon_days).closes
    later = _aged(customer_days.filter(pl.col("event_day").is_between(origin, closes, closed="right")), origin)
    return {
        kind: rows.select("customer_key", "target").unique().sort("customer_key", "target").collect()
        for kind, rows in _bought(later, cuts).items()
    }


def describe_targets(
    contacts: Contacts, kind: str, *, customers: int, exposed_days: int, horizon_days: int
) -> pl.DataFrame:
    """Choose the targets of a kind and say how popular each is, and whether that rises.

    Args:
        contacts: who had to do with what up to the day.
        kind: the kind.
        customers: number of known customers.
        exposed_days: days within the year for which these customers are known, added up.
        horizon_days: length H of the horizon.

    Returns:
        One row a target, the most bought first: `target`; `target_rate`, `target_rate_30d` and `target_rate_365d`, the
        share of customers who bought it in the H days, 30 days and year up to the day; `target_trend_90d`, from -1 to
        1; `target_repeat_share`, of its buyers those who bought it on several days; `target_days_since_sale`; and
        `day_share`, its share of the shop's purchase days, and `shop_gap_days`, days for one of them.
    """
    bought, age = contacts.bought[kind], pl.col("age")
    shop_days = bought.select("customer_key", "age").n_unique()
    by_customer = bought.group_by("target", "customer_key").agg(days=pl.len(), last=age.min(), first=age.max())
    buyers = by_customer.group_by("target").agg(
        buyers=pl.len(),
        in_horizon=(pl.col("last") < min(horizon_days, DAYS)).sum(),
        in_month=(pl.col("last") < 30).sum(),
        repeated=(pl.col("days") > 1).sum(),
        days=pl.col("days").sum(),
        target_days_since_sale=pl.col("last").min(),
    )
    lately = bought.group_by("target").agg(now=(age < 90).sum(), before=age.is_between(90, 179).sum())
    moved = pl.col("now").cast(pl.Int64) + pl.col("before").cast(pl.Int64)
    return (
        _most_bought(buyers, kind)
        .join(lately, on="target", maintain_order="left")
        .select(
            "target",
            target_rate=pl.col("in_horizon") / max(customers, 1),
            target_rate_30d=pl.col("in_month") / max(customers, 1),
            target_rate_365d=pl.col("buyers") / max(customers, 1),
            target_trend_90d=pl.when(moved > 0).then((2 * pl.col("now").cast(pl.Int64) - moved) / moved),
            target_repeat_share=pl.col("repeated") / pl.col("buyers"),
            target_days_since_sale="target_days_since_sale",
            day_share=pl.col("days") / max(shop_days, 1),
            shop_gap_days=pl.lit(exposed_days / max(shop_days, 1)),
        )
    )


def _most_bought(buyers: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Keep the targets that are told of, the most bought first: rows with `target` and `buyers`."""
    enough = buyers.filter(pl.col("buyers") >= FEWEST_BUYERS)
    return enough.sort("buyers", "target", descending=[True, False]).head(MOST[kind])


def _of_the_year(customer_days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    return _aged(customer_days, as_of).filter(pl.col("age").is_between(0, DAYS - 1))


def _bought(days: pl.LazyFrame, cuts: pl.DataFrame) -> dict[str, pl.LazyFrame]:
    bands = taste.banded(days, cuts).select("customer_key", "age", target=pl.col("band").cast(pl.String))
    return {
        CATEGORY: _listed(days, "bought_categories"),
        PRICE_BAND: bands,
        PRODUCT: _listed(days, "bought_products"),
    }


def _listed(days: pl.LazyFrame, items: str) -> pl.LazyFrame:
    return (
        days.filter(pl.col(items).list.len() > 0)
        .select("customer_key", "age", target=items)
        .explode("target")
        .drop_nulls("target")
    )


def _aged(rows: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Add the days before a day: below 0 for what came after it."""
    return rows.with_columns(age=(pl.lit(as_of) - pl.col("event_day")).dt.total_days().cast(pl.Int32))


def _each_once(rows: pl.LazyFrame) -> pl.DataFrame:
    typed = rows.select(pl.col(name).cast(kind) for name, kind in CONTACT_SCHEMA.items())
    return typed.unique().sort(pl.all()).collect()
