"""Prediction intervals learnt from what happened: bounds around a forecast, by how large the forecast is.

Knows numbers only: which rows are kept for calibration is decided by the capability. For outcomes of at least 0 of
which many are exactly 0, such as what a customer spends next.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from insight_assets.ml.metrics import average_ranks

MIN_ROWS = 50
"""Rows that a group of like forecasts needs at least; with fewer there is nothing to calibrate on."""

MOST_GROUPS = 10


@dataclass(frozen=True)
class ConformalBounds:
    """Bounds of the outcome as multiples of the forecast, in groups of like forecasts.

    Attributes:
        edges: Forecasts at which the next group begins, ascending, one fewer than groups.
        low: Lower multiple of each group.
        high: Upper multiple of each group.
    """

    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def multiples(self, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the multiples between which the outcome is expected.

        Args:
            forecast: Shape (n,), of the kind that the bounds were learnt from.

        Returns:
            Lower and upper multiple of each forecast, each of shape (n,); the upper is at least 1, so that an interval
            holds its forecast.
        """
        group = np.searchsorted(np.asarray(self.edges), forecast, side="right")
        low, high = np.asarray(self.low)[group], np.asarray(self.high)[group]
        return np.minimum(low, 1.0), np.maximum(high, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Give the bounds as plain JSON values."""
        return {"edges": list(self.edges), "low": list(self.low), "high": list(self.high)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ConformalBounds":
        """Make bounds from what `to_json` gave."""
        return cls(*(tuple(float(value) for value in stored[name]) for name in ("edges", "low", "high")))


def fit_conformal_bounds(forecast: np.ndarray, outcome: np.ndarray, *, level: float) -> ConformalBounds | None:
    """Learn how far outcomes lie from forecasts, separately for small and large forecasts.

    Split conformal prediction with groups (Mondrian; Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
    World, 2005, section 4.5): in each group of like forecasts the bounds are order statistics of outcome / forecast, at
    the places that hold a new row of the group with a chance of at least `level`, if it is exchangeable with the
    others. Where 0 is itself likelier than the lower tail, all that may be missed lies above: the interval starts at 0. A
    forecast of 0 has no multiples: such rows teach nothing, and their interval is 0.

    Args:
        forecast: Shape (n,), forecasts of rows that the forecasting model did not learn from.
        outcome: Shape (n,), what happened; below 0 counts as 0.
        level: Share of outcomes inside.

    Returns:
        The bounds; None when there are fewer than `MIN_ROWS` rows with a forecast above 0.
    """
    told = np.asarray(forecast) > 0
    forecast = np.asarray(forecast, dtype=np.float64)[told]
    outcome = np.maximum(np.asarray(outcome, dtype=np.float64), 0.0)[told]
    if forecast.size < MIN_ROWS:
        return None
    groups = min(MOST_GROUPS, forecast.size // MIN_ROWS)
    # Equal forecasts share a group, so that nothing depends on the order of rows.
    place = (average_ranks(forecast) - 0.5) / forecast.size
    group = np.minimum((place * groups).astype(np.int64), groups - 1)
    edges, low, high = [], [], []
    for number in np.unique(group):
        members = group == number
        ratio = np.sort(outcome[members] / forecast[members])
        if edges or low:
            edges.append(float(forecast[members].min()))
        below, above = _places(ratio, level)
        low.append(0.0 if below is None else float(ratio[below]))
        high.append(float(ratio[above]))
    return ConformalBounds(tuple(edges), tuple(low), tuple(high))


def _places(ratio: np.ndarray, level: float) -> tuple[int | None, int]:
    """Say which order statistics bound the interval; None where it starts at 0."""
    rows, tail = ratio.size, (1 - level) / 2
    if (ratio <= 0).mean() >= tail:
        return None, min(rows, math.ceil(level * (rows + 1))) - 1
    below = math.floor(tail * (rows + 1)) - 1
    return (None if below < 0 else below), min(rows, math.ceil((1 - tail) * (rows + 1))) - 1
