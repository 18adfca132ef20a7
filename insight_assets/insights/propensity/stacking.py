"""Puts the classifiers' log odds and what the behaviour encoder says together, by a blend of few weights.

Learnt on customers that taught no classifier, one horizon ago, with vectors of that day: the encoder had seen nothing
of what came. Files and calibration belong to `models`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from insight_assets.insights.propensity.nearness import NEAR, ORDER
from insight_assets.ml.blending import Blend, fit_blend

MIN_OF_A_CLASS = 50
"""Pairs of either answer with a vector below which nothing is learnt: there are six numbers to learn."""

SCALE = {"near_mean": 10.0, "near_best": 10.0, ORDER: 1.0}
"""What columns of `NEAR` are multiplied by, so that they differ between pairs about as much as log odds do: a blend
holds its weights to equal ones."""

_DIGITS = 6


@dataclass(frozen=True)
class Stack:
    """A blend of log odds and of what the encoder says.

    Attributes:
        blend: Of the classifiers and the columns of `NEAR`; none of them speaks against what it says.
        typical: Column of `NEAR` to what stands for it where nothing is said: its mean on the rows learnt from, not
            scaled.
    """

    blend: Blend
    typical: Mapping[str, float]

    def __call__(self, log_odds: Mapping[str, np.ndarray], pairs: pl.DataFrame) -> np.ndarray:
        """Give the log odds.

        Args:
            log_odds: Log odds of the classifiers, each of shape (n,).
            pairs: n rows with the columns `NEAR`.

        Returns:
            Shape (n,).
        """
        return self.blend(log_odds | {name: self._filled(pairs, name) for name in NEAR})

    def by_nearness(self, pairs: pl.DataFrame) -> np.ndarray:
        """Give what lying near adds to the log odds, beside typical pairs; shape (n,)."""
        return np.sum([self._beside_typical(pairs, name) for name in NEAR if name != ORDER], axis=0)

    def by_order(self, pairs: pl.DataFrame) -> np.ndarray:
        """Give what the chance of any order adds, beside typical customers; shape (n,)."""
        return self._beside_typical(pairs, ORDER)

    def _beside_typical(self, pairs: pl.DataFrame, name: str) -> np.ndarray:
        typical = SCALE[name] * self.typical[name]
        return self.blend.weights.get(name, 0.0) * (self._filled(pairs, name) - typical)

    def _filled(self, pairs: pl.DataFrame, name: str) -> np.ndarray:
        return SCALE[name] * pairs[name].fill_null(self.typical[name]).to_numpy()

    def to_json(self) -> dict[str, Any]:
        """Give the stack as plain JSON values."""
        return {"blend": self.blend.to_json(), "typical": dict(self.typical)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Stack":
        """Make a stack from what `to_json` gave."""
        return cls(Blend.from_json(stored["blend"]), stored["typical"])


def fit_stack(log_odds: Mapping[str, np.ndarray], pairs: pl.DataFrame, truth: np.ndarray) -> Stack | None:
    """Learn the weights.

    Args:
        log_odds: Log odds of the classifiers on n rows that taught none of them.
        pairs: The rows, with the columns `NEAR`.
        truth: Shape (n,), 0 or 1.

    Returns:
        The stack; None where too few rows have something said by the encoder.
    """
    said = pairs.select(pl.all_horizontal(pl.col(NEAR).is_not_null())).to_series().to_numpy()
    ones = int(truth[said].sum())
    if min(ones, int(said.sum()) - ones) < MIN_OF_A_CLASS:
        return None
    near = pairs.filter(pl.Series(said)).select(NEAR)
    columns = {name: each[said] for name, each in log_odds.items()}
    columns |= {name: SCALE[name] * near[name].to_numpy() for name in NEAR}
    typical = {name: round(float(near[name].mean()), _DIGITS) for name in NEAR}
    return Stack(fit_blend(columns, truth[said]), typical)
