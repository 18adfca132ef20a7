"""Several methods as one: the weighted mean of how high each places a product.

Places can be averaged where scores cannot, being on no common scale. Which methods and weights is chosen on a horizon
that is closed, in `methods`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from insight_assets.insights.recommendation.interactions import History
from insight_assets.insights.recommendation.ranking import (
    NOBODY,
    Evidence,
    Ground,
    Lists,
    Policy,
    Scorer,
    allowed_items,
    best_columns,
)

DEPTH = 100
"""Places of each method that count."""

SOFTENING = 10.0
"""A place counts 1 / (softening + place): the larger, the less the first places stand out."""

CUSTOMERS_AT_ONCE = 1000
"""Customers whose reasons are sought in one step."""


@dataclass(frozen=True)
class Blend:
    """Scores products by the weighted sum, over methods, of 1 / (`SOFTENING` + place).

    Attributes:
        parts: the methods by name.
        weights: weight of each, above 0.
    """

    parts: Mapping[str, Scorer]
    weights: Mapping[str, float]
    minds_policy: bool = True

    def among(self, everybody: History) -> "Blend":
        """See `Scorer`."""
        return replace(self, parts={name: part.among(everybody) for name, part in self.parts.items()})

    def scores(self, history: History, policy: Policy) -> np.ndarray:
        """See `Scorer`."""
        total = None
        for name, weight in self.weights.items():
            worth = weight * place_worth(self.parts[name].scores(history, policy), history, policy=policy)
            total = worth if total is None else total + worth
        return total

    def reasons(self, history: History, lists: Lists) -> Evidence:
        """The reason of the method that placed a product highest, by its weight."""
        because = np.full(lists.items.shape, NOBODY, dtype=np.int32)
        ground = np.full(lists.items.shape, Ground.POPULAR, dtype=np.int8)
        for start in range(0, len(history), CUSTOMERS_AT_ONCE):
            rows = slice(start, start + CUSTOMERS_AT_ONCE)
            batch = history.slice(start, start + CUSTOMERS_AT_ONCE)
            because[rows], ground[rows] = self._loudest(batch, lists.items[rows])
        return Evidence(because, ground)

    def _loudest(self, history: History, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Whichever policy made the lists, its rule barred nothing that stands in them.
        open_to_all = Policy(length=items.shape[1])
        because = np.full(items.shape, NOBODY, dtype=np.int32)
        ground = np.full(items.shape, Ground.POPULAR, dtype=np.int8)
        most = np.zeros(items.shape, dtype=np.float32)
        rows, places = np.arange(len(history))[:, None], np.maximum(items, 0)
        for name, weight in self.weights.items():
            part = self.parts[name]
            scores = part.scores(history, open_to_all)
            worth = weight * place_worth(scores, history, policy=open_to_all)[rows, places]
            said = part.reasons(history, Lists(items, scores[rows, places]))
            louder = (worth > most) & (items != NOBODY)
            because[louder], ground[louder] = said.because[louder], said.ground[louder]
            most = np.maximum(worth, most)
        return because, ground


def place_worth(scores: np.ndarray, history: History, *, policy: Policy) -> np.ndarray:
    """1 / (`SOFTENING` + place) of the first `DEPTH` products of each row that the policy allows, else 0: float32."""
    everything = np.ones(scores.shape[1], dtype=bool)
    allowed = allowed_items(history, available=everything, policy=policy)
    best = best_columns(scores, allowed, length=DEPTH)
    worth = np.zeros_like(scores)
    rows, places = np.nonzero(best != NOBODY)
    worth[rows, best[rows, places]] = 1.0 / (SOFTENING + 1.0 + places)
    return worth
