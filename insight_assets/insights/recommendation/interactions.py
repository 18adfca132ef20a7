"""What each customer did with each product up to a day, as a table and as arrays.

Holds the step from the ledger and the events to one row per customer and product, and from there
to the jagged arrays that the methods read. Choosing, fitting and grading methods is not done here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.features.vocabulary import by_persons
from insight_assets.insights.recommendation.attributes import Attributes, attributes_of

if TYPE_CHECKING:
    from scipy import sparse

BOUGHT_WEIGHT = 1.0
ADDED_WEIGHT = 0.3
VIEWED_WEIGHT = 0.1
"""How strongly a kind of contact ties a customer to a product; a purchase is the unit.

The strongest contact counts, not their sum, so that a robot that opens a page a thousand times
ties itself to it no more than a person who opens it once.
"""

INTEREST_DAYS = 90
"""Views and cart additions older than this are left out: interest fades, purchases stay."""

POPULARITY_DAYS = 28
"""Length in days of the window behind "popular now": four whole weeks, so weekdays weigh alike."""


NEW_PRODUCTS = 2000
"""Products without any contact that a catalogue takes in, the newest first."""

LOOKING, FIRST_DAY, CAME_BACK = range(3)
"""Customers who have not bought, who bought on one day alone, and who came back to buy."""


@dataclass(frozen=True)
class Catalogue:
    """Products seen up to a day, most popular first.

    The order is the one in which products are offered to somebody about whom nothing else is
    known, so a lower position also breaks every tie.

    Attributes:
        products: Product ids, by recent buyers, then all buyers (both descending), then id.
        recent_buyers: Distinct customers that bought in the last `POPULARITY_DAYS` days, int64.
        buyers: Distinct customers that ever bought, int64.
        last_day: Last day of any contact with the product, datetime64[D]; of one without any, the
            last day on which the shop showed it.
        attributes: What the products are like.
        cold: Number of products, at the end, with which nobody had to do yet.
    """

    products: tuple[str, ...]
    recent_buyers: np.ndarray
    buyers: np.ndarray
    last_day: np.ndarray
    attributes: Attributes
    cold: int = 0

    def __len__(self) -> int:
        """Number of products."""
        return len(self.products)

    def positions(self) -> pl.DataFrame:
        """Product ids with their positions: columns `product_id` and `item` (Int32)."""
        return pl.DataFrame(
            {
                "product_id": pl.Series(self.products, dtype=pl.String),
                "item": pl.Series(np.arange(len(self)), dtype=pl.Int32),
            }
        )


@dataclass(frozen=True)
class History:
    """Contacts of every customer, grouped by customer, as parallel arrays.

    Customer `c` owns the slice `offsets[c]:offsets[c + 1]` of the four arrays below; within a
    customer the items ascend.

    Attributes:
        customers: Customer keys, ascending, int64, shape (customers,).
        offsets: Start of each customer's slice, int64, shape (customers + 1,).
        items: Positions in the catalogue, int32, shape (contacts,).
        weights: Strength of the strongest contact, float32, in (0, 1].
        ages: Number of later days on which the customer had to do with other products, int32.
        purchase_days: Days on which the customer bought the product, int32; 0 if only looked at.
        stages: How far each customer has come, int8, shape (customers,): `LOOKING`, `FIRST_DAY` or
            `CAME_BACK`.
    """

    customers: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    ages: np.ndarray
    purchase_days: np.ndarray
    stages: np.ndarray

    def __len__(self) -> int:
        """Number of customers."""
        return len(self.customers)

    def slice(self, start: int, stop: int) -> History:
        """The customers at positions `start` up to, not including, `stop`."""
        return self.take(np.arange(start, min(stop, len(self))))

    def take(self, rows: np.ndarray) -> History:
        """The customers at the ascending positions `rows`."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picked = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return History(
            customers=self.customers[rows],
            offsets=offsets,
            items=self.items[picked],
            weights=self.weights[picked],
            ages=self.ages[picked],
            purchase_days=self.purchase_days[picked],
            stages=self.stages[rows],
        )

    def owners(self) -> np.ndarray:
        """Position of the customer of every contact, int64, shape (contacts,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def matrix(self, values: np.ndarray, items: int) -> sparse.csr_matrix:
        """A customers x items matrix that holds `values`, one for every contact."""
        from scipy import sparse

        return sparse.csr_matrix(
            (values, self.items, self.offsets), shape=(len(self), items), copy=False
        )


def interactions(
    order_lines: pl.LazyFrame, events: pl.LazyFrame | None = None, *, as_of: date
) -> pl.LazyFrame:
    """One row per customer and product that had to do with each other up to a day.

    Args:
        order_lines: Canonical ledger lines; sales of goods with a known customer are used.
        events: Canonical events, or None where the shop records none; views and cart additions
            of signed-in customers within `INTEREST_DAYS` are used.
        as_of: Last day that counts.

    Returns:
        Columns customer_key, product_id, last_day (Date, last contact), last_bought (Date, null
        if never bought), purchase_days (UInt32, distinct days), weight (Float32, see
        `BOUGHT_WEIGHT`). Unsorted.
    """
    contacts = [
        by_persons(order_lines).filter(
            (pl.col("event_day") <= as_of)
            & (pl.col("kind") == "sale")
            & pl.col("is_product")
            & pl.col("customer_key").is_not_null()
        ).select(
            "customer_key",
            "product_id",
            day="event_day",
            bought="event_day",
            weight=pl.lit(BOUGHT_WEIGHT, pl.Float32),
        )
    ]
    if events is not None:
        contacts.append(
            by_persons(events).filter(
                pl.col("event_day").is_between(
                    as_of - timedelta(days=INTEREST_DAYS), as_of, closed="right"
                )
                & pl.col("event").is_in(["product_viewed", "product_added"])
                & pl.col("customer_key").is_not_null()
                & pl.col("product_id").is_not_null()
            ).select(
                "customer_key",
                "product_id",
                day="event_day",
                bought=pl.lit(None, pl.Date),
                weight=pl.when(pl.col("event") == "product_added")
                .then(pl.lit(ADDED_WEIGHT, pl.Float32))
                .otherwise(pl.lit(VIEWED_WEIGHT, pl.Float32)),
            )
        )
    return (
        pl.concat(contacts)
        .group_by("customer_key", "product_id")
        .agg(
            last_day=pl.col("day").max(),
            last_bought=pl.col("bought").max(),
            purchase_days=pl.col("bought").drop_nulls().n_unique(),
            weight=pl.col("weight").max(),
        )
    )


def purchases(order_lines: pl.LazyFrame, *, after: date, until: date) -> pl.LazyFrame:
    """Distinct products that each customer bought on the days in (`after`, `until`].

    Returns:
        Columns customer_key and product_id, one row per pair. Unsorted.
    """
    return (
        by_persons(order_lines).filter(
            pl.col("event_day").is_between(after, until, closed="right")
            & (pl.col("kind") == "sale")
            & pl.col("is_product")
            & pl.col("customer_key").is_not_null()
        )
        .select("customer_key", "product_id")
        .unique()
    )


def catalogue_of(contacts: pl.DataFrame, *, as_of: date, products: pl.DataFrame | None = None) -> Catalogue:
    """Order the products of an interactions table by how many customers buy them now.

    Args:
        contacts: Table as `interactions` gives it.
        as_of: Last day of the popularity window.
        products: What the shop says of its products as of the day: columns product_id, category, brand, price,
            currency, first_seen and last_seen. Those that nobody had to do with yet come last, the newest first, no
            more than `NEW_PRODUCTS`. None where nothing is told.

    Returns:
        The catalogue; empty if there is no contact and no product.
    """
    since = as_of - timedelta(days=POPULARITY_DAYS)
    table = (
        contacts.group_by("product_id")
        .agg(
            recent=(pl.col("last_bought") > since).sum(),
            buyers=pl.col("last_bought").is_not_null().sum(),
            last_day=pl.col("last_day").max(),
        )
        .sort("recent", "buyers", "product_id", descending=[True, True, False])
        .with_columns(pl.col("recent", "buyers").cast(pl.Int64))
    )
    met = table.height
    if products is not None:
        cold = (
            products.filter(pl.col("first_seen") <= as_of)
            .join(table, on="product_id", how="anti")
            .sort("first_seen", "product_id", descending=[True, False])
            .head(NEW_PRODUCTS)
        )
        zero = pl.lit(0, pl.Int64)
        table = pl.concat([table, cold.select("product_id", recent=zero, buyers=zero, last_day="last_seen")])
    ids = tuple(table["product_id"].to_list())
    return Catalogue(
        products=ids,
        recent_buyers=table["recent"].to_numpy(),
        buyers=table["buyers"].to_numpy(),
        last_day=table["last_day"].to_numpy().astype("datetime64[D]"),
        attributes=attributes_of(products, ids),
        cold=table.height - met,
    )


def without_contacts(customers: np.ndarray) -> History:
    """The empty history of customers who had to do with no product.

    Args:
        customers: Customer keys, ascending.
    """
    nothing = np.empty(0, dtype=np.int32)
    return History(
        customers=customers.astype(np.int64),
        offsets=np.zeros(len(customers) + 1, dtype=np.int64),
        items=nothing,
        weights=nothing.astype(np.float32),
        ages=nothing,
        purchase_days=nothing,
        stages=np.full(len(customers), LOOKING, dtype=np.int8),
    )


def history_of(contacts: pl.DataFrame, catalogue: Catalogue, *, longest: int = 500) -> History:
    """Turn an interactions table into arrays over a catalogue.

    Args:
        contacts: Table as `interactions` gives it; products outside the catalogue are left out.
        catalogue: Fixes the position of each product.
        longest: Contacts kept per customer: the most recent, then the strongest, then the most
            popular. Bounds the work that one wholesaler or one robot can cause.

    Returns:
        The history of every customer that has at least one contact.
    """
    table = (
        contacts.join(catalogue.positions(), on="product_id", how="inner")
        .with_columns(
            age=pl.col("last_day").rank("dense", descending=True).over("customer_key") - 1
        )
        .sort("customer_key", "age", "weight", "item", descending=[False, False, True, False])
        .filter(pl.int_range(pl.len()).over("customer_key") < longest)
        .sort("customer_key", "item")
    )
    stages = (
        contacts.group_by("customer_key")
        .agg(days=pl.col("last_bought").drop_nulls().n_unique(), most=pl.col("purchase_days").max())
        .select(
            pl.col("customer_key").cast(pl.Int64),
            stage=pl.when(pl.col("days") == 0)
            .then(LOOKING)
            .when((pl.col("days") == 1) & (pl.col("most") <= 1))
            .then(FIRST_DAY)
            .otherwise(CAME_BACK),
        )
    )
    customers, lengths = np.unique(
        table["customer_key"].to_numpy().astype(np.int64), return_counts=True
    )
    return History(
        customers=customers,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=table["item"].to_numpy().astype(np.int32),
        weights=table["weight"].to_numpy().astype(np.float32),
        ages=table["age"].to_numpy().astype(np.int32),
        purchase_days=table["purchase_days"].to_numpy().astype(np.int32),
        stages=pl.DataFrame({"customer_key": customers})
        .join(stages, on="customer_key", how="left", maintain_order="left")["stage"]
        .to_numpy()
        .astype(np.int8),
    )
