"""Puts the classifiers' log odds and what the behaviour encoder says together, by a small logistic regression.

Learnt on customers that taught no classifier, one horizon ago, with vectors of that day: the encoder had seen nothing
of what came. Files and calibration belong to `models`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from insight_assets.insights.propensity.nearness import NEAR

MIN_OF_A_CLASS = 50
"""Pairs of either answer with a vector below which nothing is learnt: there are six numbers to learn."""

_DIGITS = 6


@dataclass(frozen=True)
class Stack:
    """A weighted sum of log odds and of what the encoder says.

    Attributes:
        weights: Name of a classifier or column of `NEAR` to its weight.
        intercept: What is added.
        typical: Column of `NEAR` to what stands for it where nothing is said: its mean on the rows learnt from.
    """

    weights: Mapping[str, float]
    intercept: float
    typical: Mapping[str, float]

    def __call__(self, log_odds: Mapping[str, np.ndarray], pairs: pl.DataFrame) -> np.ndarray:
        """Give the log odds.

        Args:
            log_odds: Log odds of the classifiers, each of shape (n,).
            pairs: n rows with the columns `NEAR`.

        Returns:
            Shape (n,).
        """
        columns = log_odds | {name: self.filled(pairs, name) for name in NEAR}
        parts = [weight * columns[name] for name, weight in sorted(self.weights.items())]
        return np.sum(parts, axis=0) + self.intercept

    def by_encoder(self, pairs: pl.DataFrame) -> np.ndarray:
        """Give what the encoder adds to the log odds, beside typical pairs; shape (n,)."""
        return np.sum([self.weights[name] * (self.filled(pairs, name) - self.typical[name]) for name in NEAR], axis=0)

    def filled(self, pairs: pl.DataFrame, name: str) -> np.ndarray:
        """Give a column of `NEAR` without gaps, shape (n,)."""
        return pairs[name].fill_null(self.typical[name]).to_numpy()

    def to_json(self) -> dict[str, Any]:
        """Give the stack as plain JSON values."""
        return {"weights": dict(self.weights), "intercept": self.intercept, "typical": dict(self.typical)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Stack":
        """Make a stack from what `to_json` gave."""
        return cls(stored["weights"], stored["intercept"], stored["typical"])


def fit_stack(log_odds: Mapping[str, np.ndarray], pairs: pl.DataFrame, truth: np.ndarray) -> Stack | None:
    """Learn the weights.

    Args:
        log_odds: Log odds of the classifiers on n rows that taught none of them.
        pairs: The rows, with the columns `NEAR`.
        truth: Shape (n,), 0 or 1.

    Returns:
        The stack; None where too few rows have something said by the encoder.
    """
    from sklearn.linear_model import LogisticRegression

    said = pairs.select(pl.all_horizontal(pl.col(NEAR).is_not_null())).to_series().to_numpy()
    ones = int(truth[said].sum())
    if min(ones, int(said.sum()) - ones) < MIN_OF_A_CLASS:
        return None
    near = pairs.filter(pl.Series(said)).select(NEAR)
    names: Sequence[str] = [*log_odds, *NEAR]
    columns = np.column_stack([*(each[said] for each in log_odds.values()), near.to_numpy()])
    fitted = LogisticRegression(max_iter=1_000).fit(columns, truth[said])
    weights = {name: round(float(weight), _DIGITS) for name, weight in zip(names, fitted.coef_[0], strict=True)}
    typical = {name: round(float(near[name].mean()), _DIGITS) for name in NEAR}
    return Stack(weights, round(float(fitted.intercept_[0]), _DIGITS), typical)
