"""The hidden truth of a simulated shop, for tests to compare with what the graph recovers.

It is written apart from the landing files and no asset reads it. Values that follow from the plan
alone are worked out here without simulating a day.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.simulator.catalogue import CATEGORIES, STYLES, Shelf, fill_shelf
from insight_assets.simulator.customers import (
    FIRST_CUSTOMER_NUMBER,
    expected_order_days,
    price_sensitivity,
)
from insight_assets.simulator.delivery import PLANTED
from insight_assets.simulator.fulfilment import CANCELLED, PART_OF_UNITS, return_chances
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.sessions import LINE_COMPLEMENT, SECOND_UNIT, Shop
from insight_assets.simulator.simulation import open_shop

HORIZONS = (30, 90, 365)
USUAL_COUPON = 0.09


def write_truth(
    plan: SimulationPlan, folder: Path, *, planted: pl.DataFrame | None = None
) -> Mapping[str, Path]:
    """Write the hidden truth as Parquet: `customers`, `products` and `planted`.

    Args:
        plan: The shop.
        folder: Where the files go; made when missing. Keep it away from the landing folder.
        planted: What `write_landing` planted.

    Returns:
        The files by name.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shop = open_shop(plan)
    tables = {
        "customers": customer_truth(shop),
        "products": shop.catalogue.truth(),
        "planted": pl.DataFrame(schema=PLANTED) if planted is None else planted,
    }
    paths = {name: folder / f"{name}.parquet" for name in tables}
    for name, table in tables.items():
        table.write_parquet(paths[name], statistics=False)
    return paths


def customer_truth(shop: Shop) -> pl.DataFrame:
    """Give what is hidden about each customer, one row a customer.

    Args:
        shop: The shop.

    Returns:
        `customer_id` (the delivered userId), `type`, `acquired_day` (null for customers from
        before the start), `dropout_day` (last day of any activity of the customer's own; null
        when it lies beyond the span), `order_rate` and `visit_rate` (a day, while alive, on a day
        of factor 1), `dropout_hazard` (a day), `fade_days` (length of the fading before dropout, 0
        for none), `price_sensitivity` (0 to 1), `campaign_pull`
        (0 to 1), `language`, `style`, `expected_order_net` (money an order), `expected_orders_H`
        and `expected_value_H` (after the last day, over H days, averaged over the future dropout;
        0 once dropped out), `taste_<category>` (sums to 1).
    """
    plan, customers = shop.plan, shop.customers
    net = expected_order_net(shop)
    columns: dict[str, object] = {
        "customer_id": "c"
        + pl.Series(np.arange(len(customers)) + FIRST_CUSTOMER_NUMBER).cast(pl.String),
        "type": pl.Series([each.name for each in customers.types]).gather(customers.type),
        "acquired_day": _days(plan, customers.acquired, known=customers.acquired >= 0),
        "dropout_day": _days(plan, customers.dropout, known=customers.dropout < plan.days),
        "order_rate": customers.order_rate,
        "visit_rate": customers.visit_rate,
        "dropout_hazard": customers.hazard,
        "fade_days": customers.fade_days,
        "price_sensitivity": price_sensitivity(customers),
        "campaign_pull": customers.campaign,
        "language": pl.Series(["en", "zh"]).gather(customers.language),
        "style": pl.Series([english for english, _ in STYLES]).gather(
            customers.group % len(STYLES)
        ),
        "expected_order_net": net,
    }
    for horizon in HORIZONS:
        orders = customers.order_rate * expected_order_days(plan, customers, horizon=horizon)
        columns[f"expected_orders_{horizon}"] = orders
        columns[f"expected_value_{horizon}"] = orders * net
    taste = np.diff(customers.taste, axis=1, prepend=np.float32(0))
    for place, category in enumerate(CATEGORIES):
        columns[f"taste_{category.slug}"] = taste[:, place]
    return pl.DataFrame(columns)


def _days(plan: SimulationPlan, indices: np.ndarray, *, known: np.ndarray) -> pl.Series:
    """Turn day indices into dates, null where not known."""
    dates = np.datetime64(plan.start) + np.where(known, indices, 0).astype("timedelta64[D]")
    return pl.Series(np.where(known, dates, np.datetime64("NaT")))


def expected_order_net(shop: Shop) -> np.ndarray:
    """Give the expected net value of an order of each customer, shape (N,).

    Net is goods after discount, less what is cancelled or sent back. The mean of the model is
    worked out; the cap on lines and doubled products are left out (below 2 % together), prices
    are the usual ones.

    Args:
        shop: The shop.

    Returns:
        Money an order.
    """
    catalogue, customers = shop.catalogue, shop.customers
    shelf = fill_shelf(catalogue, catalogue.price)
    kept = _kept_value(shop)
    first = _means(shelf, kept)
    beside = _means(shelf, kept[catalogue.complements].mean(axis=1))
    taste = np.diff(customers.taste, axis=1, prepend=np.float32(0))

    def of_customer(table: np.ndarray) -> np.ndarray:
        return np.einsum("nc,nc->n", taste, table[customers.group])

    alone = of_customer(first)
    further = LINE_COMPLEMENT * of_customer(beside) + (1 - LINE_COMPLEMENT) * alone
    paid = 1.0 - customers.coupon * USUAL_COUPON
    return (alone + customers.extra_lines * further) * paid * (1.0 - CANCELLED)


def _kept_value(shop: Shop) -> np.ndarray:
    """Give the expected money that one line of each product brings and keeps, shape (P,)."""
    catalogue = shop.catalogue
    units = 1.0 + SECOND_UNIT + 0.03
    # Half of the returns give back a part of the units; with one unit that is still all of it.
    lost = return_chances(catalogue) * (1.0 - PART_OF_UNITS * 0.1)
    return catalogue.price / 100.0 * units * (1.0 - lost)


def _means(shelf: Shelf, values: np.ndarray) -> np.ndarray:
    """Average values over the choices of each shopper group in each category, (groups, C)."""
    weighted = shelf.weights * values
    return np.add.reduceat(weighted, shelf.catalogue.starts[:-1], axis=1)
