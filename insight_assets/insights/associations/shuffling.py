"""Baskets as chance would fill them, to see what the search for associations finds where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse


def same_products(contents: sparse.csr_matrix, generator: np.random.Generator) -> sparse.csr_matrix:
    """Put every product into as many baskets as before, drawn at random and independently of the other products.

    Args:
        contents: baskets x products.
        generator: source of randomness.

    Returns:
        A matrix of the same shape with the same column sums.
    """
    baskets, products = contents.shape
    counts = np.bincount(contents.indices, minlength=products)
    rows = np.concatenate([generator.choice(baskets, size=count, replace=False) for count in counts] or [[]])
    return _filled(rows, np.repeat(np.arange(products), counts), shape=contents.shape)


def same_sizes(contents: sparse.csr_matrix, generator: np.random.Generator, *, rounds: int = 10) -> sparse.csr_matrix:
    """Exchange products between baskets so that every product and every basket keeps its count.

    Each round pairs all entries at random and lets the two baskets of a pair exchange their products, unless one of
    them holds the other's already.

    Args:
        contents: baskets x products.
        generator: source of randomness.
        rounds: rounds of exchange.

    Returns:
        A matrix of the same shape with the same row and column sums.
    """
    entries = contents.tocoo()
    rows, columns = entries.row.astype(np.int64), entries.col.astype(np.int64)
    width = contents.shape[1]
    for _ in range(rounds):
        order = generator.permutation(len(rows))
        half = len(order) // 2
        one, other = order[:half], order[half : 2 * half]
        held = np.sort(rows * width + columns)
        moved = np.stack([rows[one] * width + columns[other], rows[other] * width + columns[one]])
        place = np.minimum(np.searchsorted(held, moved), len(held) - 1)
        free = ~(held[place] == moved).any(axis=0)
        # Of exchanges that would put the same product twice into a basket, all but one are left out.
        _, first, count = np.unique(moved, return_index=True, return_counts=True)
        clash = np.isin(moved, moved.ravel()[first[count > 1]]).any(axis=0)
        done = free & ~clash
        columns[one[done]], columns[other[done]] = columns[other[done]], columns[one[done]]
    return _filled(rows, columns, shape=contents.shape)


def _filled(rows: np.ndarray, columns: np.ndarray, *, shape: tuple[int, int]) -> sparse.csr_matrix:
    from scipy import sparse

    matrix = sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.int32), (np.asarray(rows, dtype=np.int64), columns)), shape=shape
    )
    matrix.sort_indices()
    return matrix
