"""Rules as tables: rows fall into a few named cells, and each cell foretells the rate that was observed in it.

What makes the cells of a task is said by the task; only counting and looking up belong here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

PRIOR_ROWS = 20.0
"""Rows of the overall rate that each cell is mixed with, so that a cell of few rows is not sure of anything."""

_DIGITS = 6


@dataclass(frozen=True)
class RateTable:
    """Rates by cell.

    Attributes:
        overall: Rate of all rows, given for cells that were never seen.
        rates: Rate by cell, inside (0, 1) wherever the overall rate is.
    """

    overall: float
    rates: Mapping[str, float]

    def __call__(self, cells: pl.Series) -> np.ndarray:
        """Give the rate of each row's cell.

        Args:
            cells: n names of cells.

        Returns:
            Float64 of shape (n,).
        """
        known = cells.cast(pl.String)
        return known.replace_strict(dict(self.rates), default=self.overall, return_dtype=pl.Float64).to_numpy()

    def to_json(self) -> dict[str, Any]:
        """Give the table as plain JSON values."""
        return {"overall": self.overall, "rates": dict(self.rates)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "RateTable":
        """Make a table from what `to_json` gave."""
        return cls(float(stored["overall"]), {name: float(rate) for name, rate in stored["rates"].items()})


def fit_rate_table(cells: pl.Series, truth: np.ndarray) -> RateTable:
    """Count the rate of each cell.

    Args:
        cells: n names of cells, n > 0.
        truth: Shape (n,), 0 or 1.

    Returns:
        The table, cells in alphabetical order.
    """
    overall = float(np.mean(truth))
    counted = (
        pl.DataFrame({"cell": cells.cast(pl.String), "hit": truth})
        .group_by("cell")
        .agg(rows=pl.len(), hits=pl.col("hit").sum())
        .sort("cell")
    )
    rates = {
        cell: round((hits + PRIOR_ROWS * overall) / (rows + PRIOR_ROWS), _DIGITS)
        for cell, rows, hits in counted.iter_rows()
    }
    return RateTable(round(overall, _DIGITS), rates)
