"""Association rules as a recommender: what stands in one order with the customer's products beyond chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.insights.associations.baskets import Baskets
from insight_assets.insights.associations.rules import FALSE_DISCOVERIES, FEWEST_BASKETS, pair_rules
from insight_assets.insights.recommendation.interactions import Catalogue

if TYPE_CHECKING:
    from scipy import sparse

ORDER_DAYS = 365
"""Days of orders that rules are learned from: a year holds every season once."""

RULES_KEPT = 200
"""Rules kept for each product that leads to others."""

_DIGITS = 6


def rule_weights(baskets: Baskets, catalogue: Catalogue) -> sparse.csr_matrix:
    """Weights between products from the rules that chance does not explain.

    A weight is how much more often the second product stands in orders with the first than chance, large orders
    holding much of everything, would put it there: the confidence less the confidence by chance.

    Args:
        baskets: orders.
        catalogue: fixes the position of each product.

    Returns:
        Float32, products x products, row leads to column; sorted indices.
    """
    from scipy import sparse

    rules = pair_rules(baskets, min_baskets=FEWEST_BASKETS).filter(pl.col("q_value") <= FALSE_DISCOVERIES)
    place = {product: position for position, product in enumerate(catalogue.products)}
    position = np.array([place.get(product, -1) for product in baskets.products], dtype=np.int64)
    strength = rules.with_columns(
        weight=((pl.col("together") - pl.col("expected")) / pl.col("together") * pl.col("confidence")).round(_DIGITS)
    )
    kept = strength.sort("product", "weight", "then_product", descending=[False, True, False]).filter(
        pl.int_range(pl.len()).over("product") < RULES_KEPT
    )
    start, end = (position[kept[name].to_numpy()] for name in ("product", "then_product"))
    known = (start >= 0) & (end >= 0)
    weights = sparse.csr_matrix(
        (kept["weight"].to_numpy()[known].astype(np.float32), (start[known], end[known])),
        shape=(len(catalogue), len(catalogue)),
    )
    weights.sort_indices()
    return weights
