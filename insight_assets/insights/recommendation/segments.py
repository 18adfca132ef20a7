"""Popularity within a segment: what customers buy who are as far, and like the same category.

The segment of a customer follows from the customer's own contacts up to the day: whether one has bought, once or again,
and the category one had most to do with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.recommendation.attributes import UNKNOWN, Attributes
from insight_assets.insights.recommendation.interactions import FIRST_DAY, Catalogue, History
from insight_assets.insights.recommendation.ranking import NOBODY, Evidence, Ground, Lists, Policy

if TYPE_CHECKING:
    from scipy import sparse

SMALLEST_SEGMENT = 10
"""Customers below which a segment is no segment: its stage alone counts, then everybody."""

MOST_SEGMENTS = 200
"""Segments with a list of their own, the largest."""

SHRINK = 20.0
"""Customers of everybody's taste that are added to each segment."""

FEWEST_BUYERS = 3
"""Buyers of a segment below which it is not said that the segment buys a product."""


@dataclass(frozen=True)
class SegmentPopularity:
    """Scores products by the share of a segment's customers who bought them lately.

    Attributes:
        attributes: what the products are like.
        keys: segments with a list of their own, ascending, int64 (see `segments_of`).
        shares: float32, shape (segments + 1, products), everybody last.
        speaks: whether a segment speaks for a product, bool, of the same shape; never for everybody.
    """

    attributes: Attributes
    keys: np.ndarray
    shares: np.ndarray
    speaks: np.ndarray
    minds_policy: bool = False

    def among(self, everybody: History) -> "SegmentPopularity":  # noqa: ARG002
        """See `Scorer`."""
        return self

    def scores(self, history: History, policy: Policy) -> np.ndarray:  # noqa: ARG002
        """See `Scorer`."""
        return self.shares[self.rows(history)]

    def reasons(self, history: History, lists: Lists) -> Evidence:
        """See `Scorer`."""
        speaks = self.speaks[self.rows(history)[:, None], np.maximum(lists.items, 0)] & (lists.items != NOBODY)
        ground = np.where(speaks, Ground.SEGMENT, Ground.POPULAR).astype(np.int8)
        return Evidence(np.full(lists.items.shape, NOBODY, dtype=np.int32), ground)

    def rows(self, history: History) -> np.ndarray:
        """Which row of `shares` holds for each customer: the segment's, its stage's, or everybody's."""
        chosen = np.full(len(history), len(self.keys), dtype=np.int64)
        if not len(self.keys):
            return chosen
        stage, category = stages_of(history), favourites(history, self.attributes)
        for key in (segment_key(stage, UNKNOWN), segment_key(stage, category)):
            place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
            chosen = np.where(self.keys[place] == key, place, chosen)
        return chosen

    def named(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        """Stage and category that stand for each customer's segment, `UNKNOWN` where it has none."""
        keys = np.append(self.keys, -1)[self.rows(history)]
        return np.where(keys < 0, UNKNOWN, keys % _STAGES), np.where(keys < 0, UNKNOWN, keys // _STAGES - 1)


_STAGES = 4


def segment_key(stage: np.ndarray, category: np.ndarray | int) -> np.ndarray:
    """Number a segment: its category (from 1; 0 where all categories count) and its stage."""
    return (np.asarray(category, dtype=np.int64) + 1) * _STAGES + stage


def stages_of(history: History) -> np.ndarray:
    """Stage of each customer; who has not bought yet goes with those who bought on one day, being next to."""
    return np.maximum(history.stages, FIRST_DAY).astype(np.int64)


def favourites(history: History, attributes: Attributes) -> np.ndarray:
    """Category that each customer had most to do with, the first of equal ones; `UNKNOWN` where none is told."""
    from scipy import sparse

    if not attributes.categories:
        return np.full(len(history), UNKNOWN, dtype=np.int64)
    codes = attributes.category[history.items]
    told = codes != UNKNOWN
    weights = sparse.csr_matrix(
        (history.weights[told].astype(np.float64), (history.owners()[told], codes[told])),
        shape=(len(history), len(attributes.categories)),
    )
    weights.sum_duplicates()
    found = np.full(len(history), UNKNOWN, dtype=np.int64)
    row = np.repeat(np.arange(len(history)), np.diff(weights.indptr))
    # By customer, then the heaviest, then the lower code; the first of each customer counts.
    order = np.lexsort((weights.indices, -np.round(weights.data, 6), row))
    first = np.unique(row[order], return_index=True)[1]
    found[row[order][first]] = weights.indices[order][first]
    return found


def segment_popularity(
    history: History, bought_lately: sparse.csr_matrix, catalogue: Catalogue, *, smallest: int = SMALLEST_SEGMENT
) -> SegmentPopularity:
    """Count what the customers of each segment bought lately.

    Args:
        history: all customers.
        bought_lately: customers x products, 1 where bought within the popularity window.
        catalogue: the products.
        smallest: see `SMALLEST_SEGMENT`.

    Returns:
        The method. Shares are those of the segment with `SHRINK` customers of everybody's taste added.
    """
    attributes = catalogue.attributes
    stage, category = stages_of(history), favourites(history, attributes)
    whole, narrow = segment_key(stage, UNKNOWN), segment_key(stage, category)
    keys, sizes = np.unique(np.concatenate([whole, narrow[category != UNKNOWN]]), return_counts=True)
    kept = np.flatnonzero(sizes >= smallest)
    kept = np.sort(kept[np.argsort(-sizes[kept], kind="stable")[:MOST_SEGMENTS]])
    keys, sizes = keys[kept], sizes[kept]
    everybody = np.asarray(bought_lately.sum(axis=0), dtype=np.float64).ravel()
    share = everybody / max(len(history), 1)
    counts = np.zeros((len(keys), len(catalogue)))
    for number, key in enumerate(keys):
        members = np.flatnonzero((whole if key < _STAGES else narrow) == key)
        counts[number] = np.asarray(bought_lately[members].sum(axis=0)).ravel()
    shares = (counts + SHRINK * share) / (sizes[:, None] + SHRINK)
    speaks = (counts >= FEWEST_BUYERS) & (counts >= share * sizes[:, None])
    return SegmentPopularity(
        attributes=attributes,
        keys=keys,
        shares=np.round(np.vstack([shares, share]), 6).astype(np.float32),
        speaks=np.vstack([speaks, np.zeros((1, len(catalogue)), dtype=bool)]),
    )
