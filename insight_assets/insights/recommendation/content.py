"""Likeness of products by what they are: the way into lists for products that nobody has bought yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.recommendation.attributes import UNKNOWN, Attributes
from insight_assets.insights.recommendation.interactions import History
from insight_assets.insights.recommendation.ranking import Ground

if TYPE_CHECKING:
    from scipy import sparse

KIND_WEIGHTS = (1.0, 1.0, 0.5)
"""How much a shared category, brand and price band count, before rarity."""


@dataclass(frozen=True)
class Content:
    """Scores products by the mean likeness to what the customer had to do with.

    Two products are alike by the categories, brands and price bands that they share, rare ones counting more (inverse
    document frequency), as the cosine of the angle between them.

    Attributes:
        attributes: what the products are like.
    """

    attributes: Attributes

    def among(self, everybody: History) -> "Content":  # noqa: ARG002
        """Likeness of products needs no other customers."""
        return self

    @cached_property
    def _shares(self) -> tuple[np.ndarray, ...]:
        """Per kind, the part of its unit vector that each product has there: float64, shape (products,)."""
        parts = []
        for codes, weight in zip(self.attributes.kinds, KIND_WEIGHTS, strict=True):
            counts = np.bincount(codes[codes != UNKNOWN], minlength=1)
            rarity = np.log1p(len(codes) / np.maximum(counts, 1))
            parts.append(np.where(codes != UNKNOWN, weight * rarity[np.maximum(codes, 0)], 0.0))
        norm = np.sqrt(sum(part**2 for part in parts))
        return tuple(part / np.maximum(norm, 1e-12) for part in parts)

    @cached_property
    def _vectors(self) -> sparse.csr_matrix:
        from scipy import sparse

        blocks = []
        for codes, share in zip(self.attributes.kinds, self._shares, strict=True):
            known = np.flatnonzero(codes != UNKNOWN)
            width = int(codes.max(initial=0)) + 1
            blocks.append(
                sparse.csr_matrix((share[known].astype(np.float32), (known, codes[known])), shape=(len(codes), width))
            )
        return sparse.hstack(blocks, format="csr", dtype=np.float32)

    def scores(self, history: History, recent: np.ndarray) -> np.ndarray:
        """Mean likeness of every product to a customer's: float32, customers x products, in [0, 1]."""
        likings = history.matrix(self._weighted(history, recent), len(self.attributes.category)) @ self._vectors
        return np.asarray((likings @ self._vectors.T).toarray(), dtype=np.float32)

    def worth(
        self,
        history: History,
        recent: np.ndarray,
        customer: np.ndarray,  # noqa: ARG002
        contact: np.ndarray,
        target: np.ndarray,
    ) -> np.ndarray:
        """What each contact adds to the score of a target."""
        alike = sum(self._kinds_shared(history.items[contact], target))
        return self._weighted(history, recent)[contact] * alike

    def ground(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """What two products share that counts most."""
        most = np.argmax(np.stack(self._kinds_shared(source, target)), axis=0)
        return np.array([Ground.CATEGORY, Ground.BRAND, Ground.PRICE], dtype=np.int8)[most]

    def _kinds_shared(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(
            np.where((codes[source] == codes[target]) & (codes[source] != UNKNOWN), share[source] * share[target], 0.0)
            for codes, share in zip(self.attributes.kinds, self._shares, strict=True)
        )

    @staticmethod
    def _weighted(history: History, recent: np.ndarray) -> np.ndarray:
        owners = history.owners()
        total = np.bincount(owners, weights=recent, minlength=len(history))
        return (recent / np.maximum(total[owners], 1e-12)).astype(np.float32)
