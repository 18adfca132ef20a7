"""Item-item matrices: cosine neighbours with shrinkage, and the EASE ridge in closed form.

Both read a customers x items matrix and give a sparse items x items matrix `B` so that a
customer's scores are `x @ B`. Weighting a history and ranking the scores is done elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

DECIMALS = 6
"""Decimals that weights keep: finer than any difference that matters."""

BLOCK_CELLS = 4_000_000
"""Cells of an items x items matrix held as a dense block at once: 32 MB in double precision."""


def cosine_neighbours(
    contacts: sparse.csr_matrix, *, shrink: float, keep: int
) -> sparse.csr_matrix:
    """Cosine similarity of items with shrinkage towards 0 for pairs seen seldom.

    `b_ij = g_ij / (sqrt(g_ii * g_jj) + shrink)` with `g = X'X`, and `b_ii = 0`.

    Args:
        contacts: `X`, customers x items.
        shrink: Added to the denominator, in units of customers; 0 gives the plain cosine.
        keep: Neighbours kept per item (row), the most similar, and those level with the last.

    Returns:
        `B`, float32, items x items, sorted indices.
    """
    columns = contacts.tocsc().astype(np.float64)
    rows = columns.T.tocsr()
    items = contacts.shape[1]
    norms = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())
    block = max(1, BLOCK_CELLS // max(items, 1))
    parts = []
    for start in range(0, items, block):
        similar = (rows[start : start + block] @ columns).toarray()
        here = np.arange(start, start + len(similar))
        # An item without any contact has norm 0 and only zeros to divide.
        similar /= np.maximum(norms[here, None] * norms[None, :] + shrink, np.finfo(float).tiny)
        similar[here - start, here] = 0.0
        parts.append(strongest(similar, keep=keep))
    return _stack(parts, items=items)


def ease(contacts: sparse.csr_matrix, *, ridge: float, keep: int) -> sparse.csr_matrix:
    """Item-item ridge regression without self-weights, solved in closed form.

    With `P = (X'X + ridge * I)^-1`, `B = I - P / diag(P)` column by column and a zero diagonal:
    the `B` that minimises `|X - XB|^2 + ridge * |B|^2` subject to `diag(B) = 0`
    (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019). The inverse is
    LAPACK's Cholesky route in double precision on one thread: n^3 operations and 8 n^2 bytes.

    Args:
        contacts: `X`, customers x items.
        ridge: Strength of the penalty, above 0.
        keep: Weights kept per item (row), the largest by magnitude, and those level with the last.

    Returns:
        `B`, float32, items x items, sorted indices.

    Raises:
        ValueError: If `ridge` is not above 0.
    """
    if ridge <= 0:
        message = f"ridge must be above 0, not {ridge}"
        raise ValueError(message)
    if contacts.shape[1] == 0:
        return _stack([], items=0)
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    columns = contacts.tocsc().astype(np.float64)
    gram = np.asfortranarray((columns.T @ columns).toarray())
    gram[np.diag_indices_from(gram)] += ridge
    # On several threads the last bits depend on their number, and some weight always lies so near
    # the edge between two roundings that its last decimal would too.
    with threadpool_limits(limits=1, user_api="blas"):
        factor, failed = lapack.dpotrf(gram, lower=0, overwrite_a=1, clean=0)
        if failed:
            message = f"X'X + {ridge} I is not positive definite (dpotrf {failed})"
            raise ValueError(message)
        precision, _ = lapack.dpotri(factor, lower=0, overwrite_c=1)
    diagonal = np.diag(precision).copy()
    parts = []
    block = max(1, BLOCK_CELLS // len(diagonal))
    for start in range(0, len(diagonal), block):
        stop = min(start + block, len(diagonal))
        # LAPACK fills the upper triangle only: the rest of a row is the transposed column.
        rows = np.empty((stop - start, len(diagonal)))
        rows[:, stop:] = precision[start:stop, stop:]
        rows[:, :start] = precision[:start, start:stop].T
        corner = np.triu(precision[start:stop, start:stop])
        rows[:, start:stop] = corner + np.triu(corner, 1).T
        rows /= -diagonal
        rows[np.arange(stop - start), np.arange(start, stop)] = 0.0
        parts.append(strongest(rows, keep=keep))
    return _stack(parts, items=len(diagonal))


def ease_with_tail(
    contacts: sparse.csr_matrix,
    neighbours: sparse.csr_matrix | None,
    *,
    ridge: float,
    keep: int,
    dense_items: np.ndarray,
) -> sparse.csr_matrix:
    """EASE between the items in `dense_items`, cosine neighbours wherever another is involved.

    The ridge needs memory that grows with the square of the items, so a long tail gets the
    weights of `neighbours`, scaled so that the median strongest weight is that of the ridge.

    Args:
        contacts: `X`, customers x items.
        neighbours: Matrix of `cosine_neighbours` over all items; None if every item is dense.
        ridge: As in `ease`.
        keep: As in `ease`.
        dense_items: Ascending positions of the items that go through the ridge.

    Returns:
        `B`, float32, items x items, sorted indices.
    """
    from scipy import sparse

    items = contacts.shape[1]
    core = ease(contacts[:, dense_items].tocsr(), ridge=ridge, keep=keep)
    if neighbours is None:
        return core
    in_core = np.zeros(items, dtype=bool)
    in_core[dense_items] = True
    tail = neighbours.tocoo()
    outside = ~(in_core[tail.row] & in_core[tail.col])
    scale = _median_strongest(core) / max(_median_strongest(neighbours[dense_items]), 1e-12)
    core = core.tocoo()
    whole = sparse.csr_matrix(
        (
            np.concatenate([core.data, tail.data[outside] * np.float32(scale)]),
            (
                np.concatenate([dense_items[core.row], tail.row[outside]]),
                np.concatenate([dense_items[core.col], tail.col[outside]]),
            ),
        ),
        shape=(items, items),
        dtype=np.float32,
    )
    whole.sort_indices()
    return whole


def _median_strongest(matrix: sparse.csr_matrix) -> float:
    strongest = matrix.max(axis=1).toarray().ravel()
    positive = strongest[strongest > 0]
    return float(np.median(positive)) if len(positive) else 0.0


def strongest(rows: np.ndarray, *, keep: int) -> sparse.csr_matrix:
    """Keep the `keep` entries of largest magnitude in each row, and those level with the last."""
    from scipy import sparse

    rows = np.round(rows, DECIMALS).astype(np.float32)
    if keep < rows.shape[1]:
        size = np.abs(rows)
        rows[size < np.partition(size, -keep, axis=1)[:, -keep, None]] = 0.0
    return sparse.csr_matrix(rows)


def _stack(parts: list[sparse.csr_matrix], *, items: int) -> sparse.csr_matrix:
    from scipy import sparse

    if not parts:
        return sparse.csr_matrix((items, items), dtype=np.float32)
    whole = sparse.vstack(parts, format="csr").astype(np.float32)
    whole.indices, whole.indptr = whole.indices.astype(np.int32), whole.indptr.astype(np.int32)
    return whole
