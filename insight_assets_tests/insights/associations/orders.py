"""Small shops with and without associations, as order lines."""

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import polars as pl

DAY = date(2025, 3, 1)


def order_lines(rows: Iterable[tuple[int | None, str, str, int]]) -> pl.DataFrame:
    """Ledger lines of sales from (customer, order, product, days before `DAY`)."""
    return pl.DataFrame(
        [(customer, order, product, DAY - timedelta(days=ago)) for customer, order, product, ago in rows],
        schema={"customer_key": pl.Int64, "order_id": pl.String, "product_id": pl.String, "event_day": pl.Date},
        orient="row",
    ).with_columns(source=pl.lit("shop"), kind=pl.lit("sale"), is_product=pl.lit(True), traffic=pl.lit("person"))


def planted_orders(*, orders: int = 1500, customers: int = 400, planted: bool = True, seed: int = 3) -> pl.DataFrame:
    """Orders of very different sizes over 40 products of unequal popularity.

    Where planted, bread brings butter in half of the orders with it, and gin with tonic brings lemon, which neither
    brings alone.
    """
    generator = np.random.default_rng(seed)
    popular = 1.0 / np.arange(1, 41) ** 0.7
    rows = []
    for number in range(orders):
        size = min(40, int(generator.geometric(0.25)) + 1)
        basket = {
            f"p{product:02d}" for product in generator.choice(40, size=size, replace=False, p=popular / popular.sum())
        }
        if planted:
            bread, gin, tonic, lemon = generator.random(4) < (0.1, 0.12, 0.12, 0.02)
            basket |= {"bread"} if bread else set()
            basket |= {"butter"} if (bread and generator.random() < 0.5) or generator.random() < 0.05 else set()
            basket |= ({"gin"} if gin else set()) | ({"tonic"} if tonic else set())
            basket |= {"lemon"} if lemon or (gin and tonic) else set()
        owner = int(generator.integers(customers))
        rows += [(owner, f"o{number}", product, number % 150) for product in sorted(basket)]
    return order_lines(rows)
