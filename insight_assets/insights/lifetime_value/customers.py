"""The customers that lifetime value is about, as the arrays that its methods read.

Holds the reading of `customer_features` into arrays and nothing that predicts. Value is net of
refunds: it is the customer's net value so far over the days with a purchase.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories

FEATURES_READ = (
    "customer_key",
    "x_repeat_purchases",
    "t_x_days",
    "age_days",
    "purchase_days_lifetime",
    "net_lifetime",
)


@dataclass(frozen=True)
class Buyers:
    """Customers with at least one purchase, ascending by key; arrays of shape (n,).

    Attributes:
        keys: customer keys.
        histories: repeat purchase days, day of the last one and age, in days since the first.
        purchase_days: days with a purchase, at least 1.
        net_value: net value so far in money; can be 0 or negative when goods came back.
        features: everything known of them, n rows in the same order; without columns where nothing more is known.
    """

    keys: np.ndarray
    histories: PurchaseHistories
    purchase_days: np.ndarray
    net_value: np.ndarray
    features: pl.DataFrame = field(default_factory=pl.DataFrame, compare=False)

    @property
    def mean_value(self) -> np.ndarray:
        """Net value of a purchase day in money, shape (n,)."""
        return self.net_value / self.purchase_days

    @property
    def days_since_last(self) -> np.ndarray:
        """Days from the last purchase to the as-of day, shape (n,)."""
        return self.histories.age - self.histories.last

    def with_history(
        self,
        *,
        repeats: np.ndarray | None = None,
        days_since_last: np.ndarray | None = None,
        age: np.ndarray | None = None,
        mean_value: np.ndarray | None = None,
    ) -> "Buyers":
        """Return the same customers with parts of their past replaced, kept possible.

        The last purchase is moved into the customer's life, and to its start when there is no
        repeat purchase; the net value follows the mean value and the number of purchases. Of the
        features those that say the same follow; the others are kept.
        """
        repeats = self.histories.repeats if repeats is None else repeats
        age = self.histories.age if age is None else age
        gap = self.days_since_last if days_since_last is None else days_since_last
        mean_value = self.mean_value if mean_value is None else mean_value
        last = np.where(repeats > 0, np.clip(age - gap, 0, age), 0.0)
        told = {
            "x_repeat_purchases": repeats,
            "t_x_days": last,
            "age_days": age,
            "purchase_days_lifetime": repeats + 1,
            "net_lifetime": mean_value * (repeats + 1),
            "days_since_last_order": age - last,
        }
        return replace(
            self,
            histories=PurchaseHistories(repeats=repeats, last=last, age=age),
            purchase_days=repeats + 1,
            net_value=mean_value * (repeats + 1),
            features=self.features.with_columns(
                pl.Series(name, values) for name, values in told.items() if name in self.features.columns
            ),
        )


def buyers(customer_features: pl.LazyFrame) -> Buyers:
    """Read the customers with at least one purchase from `customer_features` of one as-of day.

    Args:
        customer_features: rows of one as-of day, in any order; customers who never bought have
            nulls in the purchase columns and are left out.

    Returns:
        The buyers, ascending by key.
    """
    frame = (
        customer_features.filter(pl.col("x_repeat_purchases").is_not_null()).sort("customer_key").collect()
    )
    number = {name: frame[name].cast(pl.Float64).to_numpy() for name in FEATURES_READ[1:]}
    return Buyers(
        keys=frame["customer_key"].to_numpy(),
        histories=PurchaseHistories(
            repeats=number["x_repeat_purchases"],
            last=number["t_x_days"],
            age=number["age_days"],
        ),
        purchase_days=number["purchase_days_lifetime"],
        net_value=number["net_lifetime"],
        features=frame,
    )
