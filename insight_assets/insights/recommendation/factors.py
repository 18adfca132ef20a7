"""Factors of products by alternating least squares on who had to do with what.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008), with the regularisation
scaled by the number of contacts (Rendle, Krichene, Zhang and Koren, "Revisiting the performance of iALS on item
recommendation benchmarks", RecSys 2022). A model keeps products' factors alone: those of a customer follow from the
customer's history in one step of the same solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from insight_assets.insights.recommendation.interactions import History
from insight_assets.insights.recommendation.ranking import Ground

if TYPE_CHECKING:
    from scipy import sparse

FACTORS = 32
"""Length of a product's factors where a shop does not say otherwise."""

SWEEPS = 5
"""Times that customers and products are solved for in turn."""

UNSEEN = 0.1
"""Weight of a product that a customer had nothing to do with, a purchase being 1."""

SCALING = 1.0
"""Power of the number of contacts by which the regularisation grows."""

MOST_CUSTOMERS = 50_000
"""Customers that factors are learned from. Keys are keyed pseudonyms: the lowest are a random sample."""

CELLS_AT_ONCE = 4_000_000
"""Numbers gathered in one step of the solver: 32 MB."""

_DECIMALS = 6


@dataclass(frozen=True)
class Factors:
    """Scores products by the product of their factors and the customer's.

    Attributes:
        products: float32, shape (products, factors).
        ridge: strength of the regularisation.
        unseen: see `UNSEEN`.
        scaling: see `SCALING`.
    """

    products: np.ndarray
    ridge: float
    unseen: float = UNSEEN
    scaling: float = SCALING

    def among(self, everybody: History) -> "Factors":  # noqa: ARG002
        """Products' factors need no other customers."""
        return self

    @cached_property
    def _gram(self) -> np.ndarray:
        exact = self.products.astype(np.float64)
        return self.unseen * (exact.T @ exact)

    def scores(self, history: History, recent: np.ndarray) -> np.ndarray:
        """Scores of every product: float32, customers x products, near 1 for what the customer had to do with."""
        from threadpoolctl import threadpool_limits

        contacts = history.matrix(recent.astype(np.float64), len(self.products))
        exact = self.products.astype(np.float64)
        with threadpool_limits(limits=1, user_api="blas"):
            customers = solve_rows(contacts, exact, unseen=self.unseen, ridge=self.ridge, scaling=self.scaling)
            return (customers @ exact.T).astype(np.float32)

    def worth(
        self,
        history: History,
        recent: np.ndarray,
        customer: np.ndarray,  # noqa: ARG002
        contact: np.ndarray,
        target: np.ndarray,
    ) -> np.ndarray:
        """What each contact adds to the score of a target: the score is their sum (section 5 of Hu et al.)."""
        exact, width = self.products.astype(np.float64), self.products.shape[1]
        said = np.zeros((len(history.items), width))
        strength = _ridges(np.diff(history.offsets), len(exact), self)
        for row in range(len(history)):
            mine = slice(history.offsets[row], history.offsets[row + 1])
            known, weights = exact[history.items[mine]], recent[mine].astype(np.float64)
            system = self._gram + (known * weights[:, None]).T @ known + strength[row] * np.eye(width)
            said[mine] = np.linalg.solve(system, (known * weights[:, None]).T).T
        worth = np.empty(len(contact))
        step = max(1, CELLS_AT_ONCE // width)
        for start in range(0, len(contact), step):
            part = slice(start, start + step)
            worth[part] = np.einsum("ij,ij->i", said[contact[part]], exact[target[part]])
        return worth

    def ground(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """The customer's taste speaks for the product."""
        return np.full(len(source), Ground.TASTE, dtype=np.int8)


def learn_factors(
    contacts: sparse.csr_matrix,
    *,
    ridge: float,
    factors: int = FACTORS,
    unseen: float = UNSEEN,
    scaling: float = SCALING,
    sweeps: int = SWEEPS,
    seed: int = 1,
) -> Factors:
    """Learn factors of products from a matrix of contacts.

    Minimises the sum over contacts of weight * (1 - score)^2, plus `unseen` times the squares of all scores, plus the
    regularisation. Runs on one thread, so that the result does not depend on their number.

    Args:
        contacts: customers x products, weights of contacts in (0, 1].
        ridge: strength of the regularisation, above 0.
        factors: length of the factors.
        unseen: see `UNSEEN`.
        scaling: see `SCALING`.
        sweeps: see `SWEEPS`.
        seed: seed of the start.

    Returns:
        The factors.
    """
    from threadpoolctl import threadpool_limits

    rows = contacts[:MOST_CUSTOMERS].astype(np.float64).tocsr()
    columns = rows.T.tocsr()
    products = np.random.default_rng(seed).normal(0.0, 1.0 / np.sqrt(factors), (rows.shape[1], factors))
    products *= (np.diff(columns.indptr) > 0)[:, None]
    with threadpool_limits(limits=1, user_api="blas"):
        for _ in range(sweeps if rows.nnz else 0):
            customers = solve_rows(rows, products, unseen=unseen, ridge=ridge, scaling=scaling)
            products = solve_rows(columns, customers, unseen=unseen, ridge=ridge, scaling=scaling)
    return Factors(np.round(products, _DECIMALS).astype(np.float32), ridge=ridge, unseen=unseen, scaling=scaling)


def solve_rows(
    contacts: sparse.csr_matrix, others: np.ndarray, *, unseen: float, ridge: float, scaling: float
) -> np.ndarray:
    """Solve for the factors of every row given those of the columns.

    Rows of about the same length are solved together in blocks of dense systems.

    Args:
        contacts: rows x columns.
        others: factors of the columns, float64, shape (columns, factors).
        unseen: see `UNSEEN`.
        ridge: see `learn_factors`.
        scaling: see `SCALING`.

    Returns:
        Float64, shape (rows, factors); 0 for a row without contacts.
    """
    width = others.shape[1]
    gram = unseen * (others.T @ others)
    lengths = np.diff(contacts.indptr)
    ridges = ridge * (lengths + unseen * others.shape[0]) ** scaling
    solved = np.zeros((contacts.shape[0], width))
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        # Lengths ascend, so the last row of a block decides how wide all of it is; it is at most a half wider.
        shortest = lengths[order[start]]
        stop = start + np.searchsorted(lengths[order[start:]], shortest * 3 // 2, side="right")
        longest = lengths[order[stop - 1]]
        stop = min(stop, start + max(1, CELLS_AT_ONCE // (width * max(longest, width))))
        block = order[start:stop]
        longest = lengths[block[-1]]
        place = contacts.indptr[block][:, None] + np.arange(longest)[None, :]
        there = np.arange(longest)[None, :] < lengths[block][:, None]
        place = np.where(there, place, 0)
        weights = np.where(there, contacts.data[place], 0.0)
        known = others[contacts.indices[place]]
        weighted = known * weights[:, :, None]
        systems = gram + weighted.transpose(0, 2, 1) @ known
        systems[:, np.arange(width), np.arange(width)] += ridges[block, None]
        solved[block] = np.linalg.solve(systems, weighted.sum(axis=1)[:, :, None])[:, :, 0]
        start = stop
    return solved


def _ridges(lengths: np.ndarray, products: int, factors: Factors) -> np.ndarray:
    return factors.ridge * (lengths + factors.unseen * products) ** factors.scaling
