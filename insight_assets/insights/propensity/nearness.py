"""What the behaviour encoder says of a customer and a target: how near they lie, and how likely an order is at all.

The encoder and its training belong to `insights.behaviour`. Its vectors differ from one as-of day to the next, but how
near a product lies to a customer means the same, so that what is learnt of one day holds for another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from insight_assets.insights.behaviour.orders import ORDER_CHANCE
from insight_assets.insights.behaviour.product_vectors import ProductVectors
from insight_assets.ml.calibration import logit

ORDER = "order_log_odds"
NEAR = ("near_mean", "near_best", ORDER)
"""Cosines of what a customer's vector asks for with the products of a target, their mean and the highest one, and the
log odds of an order within the horizon."""

CUSTOMERS_AT_ONCE = 1_024
_DIGITS = 6


@dataclass(frozen=True)
class Nearness:
    """Products and customers of one as-of day in the space of the encoder.

    Attributes:
        products: Product to its row in `vectors`.
        vectors: Shape (products, width), float32, of length 1.
        customers: Shape (n,), keys, ascending.
        asked: Shape (n, width), float32, of length 1: what is compared with products.
        order_log_odds: Shape (n,), float64.
    """

    products: Mapping[str, int]
    vectors: np.ndarray
    customers: np.ndarray
    asked: np.ndarray
    order_log_odds: np.ndarray

    @classmethod
    def of(cls, products: ProductVectors, vectors: pl.DataFrame, *, horizon_days: int) -> "Nearness | None":
        """Put together what the encoder of a day says.

        Args:
            products: What it says of products.
            vectors: Rows of the contract `behaviour_vectors` of that day, in any order.
            horizon_days: The shop's horizon.

        Returns:
            None where no customer has a vector of that encoder and a chance within that horizon.
        """
        same = (pl.col("model_version") == products.version) & (pl.col("horizon_days") == horizon_days)
        told = vectors.filter(same).sort("customer_key")
        if told.is_empty():
            return None
        asked = np.array(told["vector"].to_list(), dtype=np.float32) + products.question
        asked /= np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), 1e-12)
        place = {product: row for row, product in enumerate(products.products)}
        keys = told["customer_key"].to_numpy().astype(np.int64)
        return cls(place, products.vectors, keys, asked, logit(told[ORDER_CHANCE].to_numpy()))

    def describe(self, pairs: pl.DataFrame, products_of: Mapping[str, Sequence[str]]) -> pl.DataFrame:
        """Describe pairs of customers and targets.

        Args:
            pairs: Columns customer_key and target.
            products_of: Target to its products.

        Returns:
            Columns `NEAR`, in the order of the rows; null where the encoder knows the customer, or every product of
            the target, not.
        """
        found_of = {
            target: [self.products[name] for name in of if name in self.products] for target, of in products_of.items()
        }
        rows = {target: known for target, known in found_of.items() if known}
        targets = list(rows)
        keys = pairs["customer_key"].to_numpy()
        place = np.searchsorted(self.customers, keys).clip(max=len(self.customers) - 1)
        customer = np.where(self.customers[place] == keys, place, -1)
        number = {target: place for place, target in enumerate(targets)}
        column = np.array([number.get(target, -1) for target in pairs["target"]], dtype=np.int64)
        found = np.full((pairs.height, len(NEAR)), np.nan)
        met = np.flatnonzero((customer >= 0) & (column >= 0))
        if len(met):
            starts = np.cumsum([0, *(len(rows[target]) for target in targets[:-1])])
            counts = np.array([len(rows[target]) for target in targets])
            vectors = self.vectors[np.concatenate([rows[target] for target in targets])]
            who, at = np.unique(customer[met], return_inverse=True)
            for start in range(0, len(who), CUSTOMERS_AT_ONCE):
                cosines = self.asked[who[start : start + CUSTOMERS_AT_ONCE]] @ vectors.T
                here = np.flatnonzero((at >= start) & (at < start + CUSTOMERS_AT_ONCE))
                cell = (at[here] - start, column[met[here]])
                found[met[here], 0] = (np.add.reduceat(cosines, starts, axis=1) / counts)[cell]
                found[met[here], 1] = np.maximum.reduceat(cosines, starts, axis=1)[cell]
        found[customer >= 0, 2] = self.order_log_odds[customer[customer >= 0]]
        told = {name: pl.Series(found[:, place].round(_DIGITS), nan_to_null=True) for place, name in enumerate(NEAR)}
        return pl.DataFrame(told, schema=dict.fromkeys(NEAR, pl.Float64))


def nothing_near(rows: int) -> pl.DataFrame:
    """Give the columns of pairs of which no encoder says anything."""
    return pl.DataFrame({name: pl.Series([None] * rows, dtype=pl.Float64) for name in NEAR})
