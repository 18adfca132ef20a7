"""What lists are like beside being right: how much of the shop they show, and how new and varied it is.

Told on the scorecard and never deciding: a list of random products would be first in all of it.
"""

import numpy as np

from insight_assets.insights.recommendation.attributes import UNKNOWN
from insight_assets.insights.recommendation.ranking import NOBODY, Lists

SHOP_WIDE = ("coverage", "exposure_gini")
"""Measures of the whole shop, which are no means over customers."""


def coverage(lists: Lists, available: np.ndarray) -> float:
    """Share of the products that may be offered which stand in at least one list."""
    offered = np.unique(lists.items[lists.items != NOBODY])
    return len(offered) / max(int(available.sum()), 1)


def exposure_gini(lists: Lists, available: np.ndarray) -> float:
    """Inequality of the places that products on offer get: 0 when all get as many, near 1 when few get all."""
    places = np.bincount(lists.items[lists.items != NOBODY], minlength=len(available))[available]
    total = places.sum()
    if not total:
        return 0.0
    ascending, count = np.sort(places).astype(np.float64), len(places)
    return float((2 * np.arange(1, count + 1) - count - 1) @ ascending / (count * total))


def novelty(lists: Lists, buyers: np.ndarray, *, customers: int) -> np.ndarray:
    """How little known the products of each list are.

    The mean information that somebody bought the product, -log(buyers / customers), as a share of that of a product
    with one buyer; a product that nobody bought counts as one with one.

    Args:
        lists: the lists.
        buyers: customers who ever bought each product.
        customers: customers of the shop, at least as many.

    Returns:
        Float64 in [0, 1], per customer; 0 for an empty list.
    """
    customers = max(customers, 2)
    information = -np.log(np.clip(buyers, 1, customers) / customers) / np.log(customers)
    return _mean_of_places(lists, information)


def popularity(lists: Lists, buyers: np.ndarray, available: np.ndarray) -> np.ndarray:
    """Mean rank of the products of each list by buyers among those on offer: 1 the most bought, 0 the least.

    Products with as many buyers share the middle of their ranks; drawn at random, products would give one half.
    """
    from scipy.stats import rankdata

    ranks = np.zeros(len(buyers))
    if available.sum() > 1:
        ranks[available] = (rankdata(buyers[available]) - 1) / (available.sum() - 1)
    return _mean_of_places(lists, ranks)


def diversity(lists: Lists, category: np.ndarray) -> np.ndarray:
    """Share of the pairs of products in each list that are of different categories.

    Args:
        lists: the lists.
        category: code of each product; one that is not told differs from every other.

    Returns:
        Float64 in [0, 1], per customer; 0 for a list of fewer than two products.
    """
    codes = np.where(lists.items == NOBODY, UNKNOWN, category[np.maximum(lists.items, 0)])
    told = codes != UNKNOWN
    alike = (codes[:, :, None] == codes[:, None, :]) & told[:, :, None] & told[:, None, :]
    same = (alike.sum(axis=(1, 2)) - told.sum(axis=1)) / 2
    length = (lists.items != NOBODY).sum(axis=1)
    pairs = length * (length - 1) / 2
    return np.where(pairs > 0, 1.0 - same / np.maximum(pairs, 1), 0.0)


def _mean_of_places(lists: Lists, values: np.ndarray) -> np.ndarray:
    there = lists.items != NOBODY
    total = (
        np.where(there, values[np.maximum(lists.items, 0)], 0.0).sum(axis=1) if len(values) else np.zeros(len(there))
    )
    return total / np.maximum(there.sum(axis=1), 1)
