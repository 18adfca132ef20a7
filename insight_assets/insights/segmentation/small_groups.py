"""Which numbers of a table of counts must stay hidden so that nobody can speak of a small group of customers.

Hiding the small cells is not enough: whoever knows the sums of a table's lines computes a cell that is hidden alone.
So further cells are hidden until every line hides nobody or enough people, and no small cell follows from all the sums
together. A line is any set of cells whose sum may be known: a matrix and a table of months follow the same rule.
"""

from collections.abc import Sequence

import numpy as np

_SURELY = 1e-9


def hidden_cells(
    counts: Sequence[int],
    lines: Sequence[Sequence[int]],
    *,
    smallest_group: int,
    also: Sequence[bool] | None = None,
) -> np.ndarray:
    """Choose the cells to hide.

    Args:
        counts: customers of each cell, at least 0, shape (n,). An empty cell speaks of nobody and may be shown.
        lines: for each sum that may be known, the positions of its cells.
        smallest_group: smallest number of customers that may be spoken of.
        also: cells that are hidden for a reason of their own, shape (n,).

    Returns:
        Whether each cell is hidden, shape (n,). Of the cells that could be hidden beside another, the smallest is, the
        first one on a tie.
    """
    sizes = np.asarray(counts, dtype=np.int64)
    hidden = (sizes > 0) & (sizes < smallest_group)
    if also is not None:
        hidden |= np.asarray(also, dtype=bool)
    members = [np.asarray(line, dtype=np.int64) for line in lines]
    while True:
        beside = _beside(sizes, hidden, members, smallest_group)
        if beside is None:
            return hidden
        hidden[beside] = True


def _beside(sizes: np.ndarray, hidden: np.ndarray, lines: Sequence[np.ndarray], smallest_group: int) -> int | None:
    """Choose one further cell to hide; None when nothing small can be computed or nothing is left to hide."""
    for line in lines:
        together = sizes[line][hidden[line]].sum()
        if 0 < together < smallest_group and (found := _smallest_shown(sizes, hidden, line)) is not None:
            return found
    for cell in _computable(sizes, hidden, lines, smallest_group):
        for line in lines:
            if cell in line and (found := _smallest_shown(sizes, hidden, line)) is not None:
                return found
    return None


def _smallest_shown(sizes: np.ndarray, hidden: np.ndarray, line: np.ndarray) -> int | None:
    shown = line[~hidden[line] & (sizes[line] > 0)]
    return int(shown[np.argmin(sizes[shown])]) if len(shown) else None


def _computable(
    sizes: np.ndarray, hidden: np.ndarray, lines: Sequence[np.ndarray], smallest_group: int
) -> list[int]:
    """List the small hidden cells that follow from the sums of all lines together."""
    cells = np.flatnonzero(hidden)
    sums = np.array([np.isin(cells, line) for line in lines], dtype=np.float64).reshape(len(lines), len(cells))
    if not sums.any():
        return []
    # A cell follows from the sums exactly when its unit vector lies in the space that they span.
    _, strength, directions = np.linalg.svd(sums, full_matrices=False)
    spanned = (directions[strength > _SURELY] ** 2).sum(axis=0)
    return [
        int(cell)
        for cell, share in zip(cells, spanned, strict=True)
        if share > 1.0 - _SURELY and 0 < sizes[cell] < smallest_group
    ]
