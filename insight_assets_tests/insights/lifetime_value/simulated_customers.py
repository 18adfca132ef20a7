"""Customers simulated from known BG/NBD and Gamma-Gamma parameters, with their future."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from insight_assets.insights.lifetime_value.bg_nbd import BgNbd
from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.gamma_gamma import GammaGamma
from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories

PURCHASE = BgNbd(r=0.6, alpha=40.0, a=0.8, b=2.5)
VALUE = GammaGamma(p=6.0, q=4.0, v=60.0)


@dataclass(frozen=True)
class SimulatedCustomers:
    """What was seen up to the as-of day and what came after; arrays of shape (n,)."""

    histories: PurchaseHistories
    purchases: np.ndarray
    mean_value: np.ndarray
    future_orders: np.ndarray
    future_value: np.ndarray

    def buyers(self) -> Buyers:
        """Return the customers with keys 1 to n."""
        return Buyers(
            keys=np.arange(1, self.purchases.size + 1),
            histories=self.histories,
            purchase_days=self.purchases,
            net_value=self.mean_value * self.purchases,
        )

    def features(self) -> pl.LazyFrame:
        """Return the columns of customer_features that lifetime value reads."""
        return pl.LazyFrame(
            {
                "customer_key": np.arange(1, self.purchases.size + 1),
                "x_repeat_purchases": self.histories.repeats.astype(np.int32),
                "t_x_days": self.histories.last.astype(np.int32),
                "age_days": self.histories.age.astype(np.int32),
                "purchase_days_lifetime": self.purchases.astype(np.int32),
                "net_lifetime": self.mean_value * self.purchases,
            }
        )

    def labels(self) -> pl.LazyFrame:
        """Return the columns of customer_labels that lifetime value reads."""
        return pl.LazyFrame(
            {
                "customer_key": np.arange(1, self.purchases.size + 1),
                "purchase_days": self.future_orders.astype(np.int32),
                "net": self.future_value,
            }
        )


def simulate_customers(
    size: int,
    *,
    seed: int,
    ahead: float = 90.0,
    longest_age: float = 365.0,
    purchase: BgNbd = PURCHASE,
    value: GammaGamma = VALUE,
) -> SimulatedCustomers:
    """Live customers one by one, purchase by purchase, independently of the code under test."""
    generator = np.random.default_rng(seed)
    ages = np.floor(generator.uniform(20, longest_age, size))
    repeats, last, future = np.zeros(size), np.zeros(size), np.zeros(size)
    for customer in range(size):
        rate = generator.gamma(purchase.r, 1 / purchase.alpha)
        leave = generator.beta(purchase.a, purchase.b)
        clock = 0.0
        while True:
            clock += generator.exponential(1 / rate) if rate > 1e-9 else np.inf
            if clock > ages[customer] + ahead:
                break
            if clock <= ages[customer]:
                repeats[customer] += 1
                last[customer] = clock
            else:
                future[customer] += 1
            if generator.random() < leave:
                break
    scale = generator.gamma(value.q, 1 / value.v, size)
    purchases = repeats + 1
    total = generator.gamma(value.p * purchases) / scale
    worth = np.where(future > 0, generator.gamma(np.maximum(value.p * future, 1e-9)) / scale, 0.0)
    return SimulatedCustomers(
        histories=PurchaseHistories(repeats=repeats, last=last, age=ages),
        purchases=purchases,
        mean_value=total / purchases,
        future_orders=future,
        future_value=worth,
    )
