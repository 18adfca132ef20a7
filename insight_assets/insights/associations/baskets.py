"""Which products stood in one order: the ledger as baskets.

Holds the step from order lines to a sparse matrix of baskets and products. Counting what stands together is in
`counting`, judging it in `significance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.features.vocabulary import by_persons

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class Baskets:
    """The baskets of a window.

    Attributes:
        products: product ids, ascending.
        customers: whose each basket is, ascending, int64, shape (baskets,).
        contents: baskets x products, 1 where the product is in the basket, int32, sorted indices.
    """

    products: tuple[str, ...]
    customers: np.ndarray
    contents: sparse.csr_matrix

    def __len__(self) -> int:
        """Number of baskets."""
        return len(self.customers)


def basket_rows(order_lines: pl.LazyFrame, *, as_of: date, window_days: int) -> pl.LazyFrame:
    """List the products of every order that a person placed in a window.

    Args:
        order_lines: canonical ledger lines; sales of goods with a known customer are used.
        as_of: last day of the window.
        window_days: its length; the window is (`as_of` - `window_days`, `as_of`].

    Returns:
        Columns customer_key, source, order_id and product_id, one row per order and product. Unsorted.
    """
    after = as_of - timedelta(days=window_days)
    return (
        by_persons(order_lines)
        .filter(
            pl.col("event_day").is_between(after, as_of, closed="right")
            & (pl.col("kind") == "sale")
            & pl.col("is_product")
            & pl.col("customer_key").is_not_null()
        )
        .select("customer_key", "source", "order_id", "product_id")
        .unique()
    )


def baskets_of(rows: pl.DataFrame) -> Baskets:
    """Turn a table of orders and products into a matrix.

    Args:
        rows: table as `basket_rows` gives it, in any order.

    Returns:
        The baskets, sorted by customer, source and order.
    """
    from scipy import sparse

    products = rows["product_id"].unique().sort()
    orders = rows.select("customer_key", "source", "order_id").unique().sort("customer_key", "source", "order_id")
    placed = (
        rows.join(orders.with_row_index("basket"), on=["customer_key", "source", "order_id"], how="inner")
        .join(pl.DataFrame({"product_id": products}).with_row_index("column"), on="product_id", how="inner")
        .sort("basket", "column")
    )
    lengths = np.bincount(placed["basket"].to_numpy(), minlength=orders.height)
    return Baskets(
        products=tuple(products.to_list()),
        customers=orders["customer_key"].to_numpy().astype(np.int64),
        contents=sparse.csr_matrix(
            (
                np.ones(placed.height, dtype=np.int32),
                placed["column"].to_numpy().astype(np.int32),
                np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            ),
            shape=(orders.height, len(products)),
        ),
    )
