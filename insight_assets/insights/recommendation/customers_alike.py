"""Neighbours among customers: what those bought who had to do with the same products.

Needs the contacts of other customers at the time of ranking and keeps none in a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.recommendation.interactions import History
from insight_assets.insights.recommendation.neighbours import strongest
from insight_assets.insights.recommendation.ranking import Ground

if TYPE_CHECKING:
    from scipy import sparse

NEIGHBOURS = 100
"""Customers that speak for a product at most."""

MOST_CUSTOMERS = 20_000
"""Customers among whom neighbours are sought. Keys are keyed pseudonyms: the lowest are a random sample."""

CELLS_AT_ONCE = 4_000_000
"""Customers x customers compared in one step: 32 MB."""


@dataclass(frozen=True)
class _Community:
    """Other customers: their keys, contacts (customers x products) and the lengths of these rows."""

    customers: np.ndarray
    contacts: sparse.csr_matrix
    norms: np.ndarray


@dataclass(frozen=True)
class CustomersAlike:
    """Scores products by the mean contact of the customers most alike, cosine with shrinkage.

    Attributes:
        products: products of the catalogue.
        shrink: added to the denominator of the cosine; holds back those who share one product.
        keep: neighbours of a customer, the most alike, and those level with the last.
        community: the customers sought among; None until `among` was called.
    """

    products: int
    shrink: float
    keep: int = NEIGHBOURS
    community: _Community | None = field(default=None, repr=False)

    def among(self, everybody: History) -> "CustomersAlike":
        """Seek neighbours among these customers."""
        some = everybody.take(np.arange(min(len(everybody), MOST_CUSTOMERS)))
        contacts = some.matrix(some.weights.astype(np.float32), self.products)
        norms = np.sqrt(np.asarray(contacts.multiply(contacts).sum(axis=1), dtype=np.float64)).ravel()
        return replace(self, community=_Community(some.customers, contacts, norms))

    def scores(self, history: History, recent: np.ndarray) -> np.ndarray:
        """Mean contact of the neighbours with every product: float32, customers x products."""
        if self.community is None:
            message = "neighbours are sought among customers: call `among` first"
            raise ValueError(message)
        alike = self._alike(history, recent)
        return np.asarray((alike @ self.community.contacts).toarray(), dtype=np.float32)

    def worth(
        self, history: History, recent: np.ndarray, customer: np.ndarray, contact: np.ndarray, target: np.ndarray
    ) -> np.ndarray:
        """How alike those neighbours are who had to do with both the target and the product of the contact."""
        contacts = self.community.contacts
        pairs, position = np.unique(customer.astype(np.int64) * self.products + target, return_inverse=True)
        had = (contacts.T.tocsr() > 0).astype(np.float32)[pairs % self.products]
        speaking = self._alike(history, recent)[pairs // self.products].multiply(had).tocsr()
        shared = (speaking @ (contacts > 0).astype(np.float32)).tocsr()
        return np.asarray(shared[position, history.items[contact]], dtype=np.float64).ravel()

    def ground(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Other customers speak for the product."""
        return np.full(len(source), Ground.ALIKE, dtype=np.int8)

    def _alike(self, history: History, recent: np.ndarray) -> sparse.csr_matrix:
        """Weights of the neighbours of each customer, summing to 1: customers x community, sparse."""
        from scipy import sparse

        known, columns = self.community, self.community.contacts.T.tocsr()
        mine = history.matrix(recent.astype(np.float32), self.products)
        norms = np.sqrt(np.asarray(mine.multiply(mine).sum(axis=1), dtype=np.float64)).ravel()
        place = np.minimum(np.searchsorted(known.customers, history.customers), max(len(known.customers) - 1, 0))
        myself = known.customers[place] == history.customers if len(known.customers) else np.zeros(len(history), bool)
        parts = [sparse.csr_matrix((0, len(known.customers)), dtype=np.float32)]
        step = max(1, CELLS_AT_ONCE // max(len(known.customers), 1))
        for start in range(0, len(history), step):
            rows = np.arange(start, min(start + step, len(history)))
            similar = (mine[rows] @ columns).toarray().astype(np.float64)
            similar /= norms[rows, None] * known.norms[None, :] + self.shrink + 1e-12
            here = np.flatnonzero(myself[rows])
            similar[here, place[rows][here]] = 0.0
            parts.append(strongest(similar, keep=self.keep))
        alike = sparse.vstack(parts, format="csr")
        total = np.asarray(alike.sum(axis=1), dtype=np.float64).ravel()
        return sparse.diags(1.0 / np.maximum(total, 1e-12)).dot(alike).tocsr().astype(np.float32)
