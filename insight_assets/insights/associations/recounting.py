"""Whether published associations are what they say: counted again in another way, and searched for where none is."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.associations.baskets import Baskets
from insight_assets.insights.associations.rules import FALSE_DISCOVERIES, associate
from insight_assets.insights.associations.shuffling import same_sizes

RECOUNTED = 20
"""Published rows, evenly spread over the ranks, that are counted again."""

SHUFFLES = 5
SHUFFLED_BASKETS = 2000
"""Baskets of which chance is asked: enough for hundreds of frequent pairs, and a fraction of a second."""

FINDINGS_ALLOWED = 1
"""Shuffles that may find something: each may by chance in 5 of 100 cases, two of five in 2 of 100."""


@dataclass(frozen=True)
class Recount:
    """Published rows counted again from the orders.

    Attributes:
        rows: rows counted.
        wrong: those whose baskets or customers differ.
        fewest: customers that the smallest of them was found to speak of; None without rows.
    """

    rows: int
    wrong: int
    fewest: int | None


def recount(associations: pl.DataFrame, orders: pl.DataFrame, *, rows: int = RECOUNTED) -> Recount:
    """Count baskets and customers of published rows order by order.

    Args:
        associations: rows of the contract `product_associations` of one day.
        orders: table as `basket_rows` gives it.
        rows: how many are counted.
    """
    picked: list[int] = []
    if associations.height:
        # The row that speaks of the fewest customers is always among them.
        spread = np.linspace(0, associations.height - 1, rows).astype(int)
        picked = np.unique([*spread, associations["customers"].arg_min()]).tolist()
    order = ["customer_key", "source", "order_id"]
    wrong, counted = 0, []
    for row in associations[picked].iter_rows(named=True) if picked else ():
        wanted = [row[f"{role}_id"] for role in ("product", "with_product", "then_product")]
        wanted = [product for product in wanted if product is not None]
        whole = (
            orders.filter(pl.col("product_id").is_in(wanted))
            .group_by(order)
            .agg(pl.len())
            .filter(pl.col("len") == len(wanted))
        )
        customers = whole["customer_key"].n_unique()
        counted.append(customers)
        wrong += (whole.height, customers) != (row["baskets_together"], row["customers"])
    return Recount(rows=len(picked), wrong=wrong, fewest=min(counted, default=None))


def findings_by_chance(
    baskets: Baskets, *, seed: int, shuffles: int = SHUFFLES, false_discoveries: float = FALSE_DISCOVERIES
) -> int:
    """Count the shuffles in which something is found although products were exchanged at random between baskets.

    Args:
        baskets: baskets of the window; a part of them, evenly spread, is shuffled.
        seed: seed of the shuffles.
        shuffles: how many.
        false_discoveries: see `associate`.
    """
    generator = np.random.default_rng(seed)
    part = np.unique(np.linspace(0, len(baskets) - 1, SHUFFLED_BASKETS).astype(int)) if len(baskets) else []
    contents = baskets.contents[part]
    found = 0
    for _ in range(shuffles):
        mixed = Baskets(baskets.products, baskets.customers[part], same_sizes(contents, generator, rounds=4))
        # What few customers bought is left out of what is published, but is no less of a finding.
        found += associate(mixed, as_of=date.min, smallest_group=1, false_discoveries=false_discoveries).significant > 0
    return found
