"""Puts the log odds of several models together, by weights learnt on rows that none of them was fitted on.

Knows numbers only; which rows those are is decided by the capability.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PRIOR_ROWS = 20.0
"""How strongly weights are held to equal ones: few rows say little about which model is better."""

WEIGHT_DIGITS = 3
"""Weights are kept with few digits, so that the last bits of a machine do not show in a model."""

FARTHEST = 12.0
"""Log odds beyond this say nothing more: one sure mistake of one model must not outweigh the others."""


@dataclass(frozen=True)
class Blend:
    """A weighted sum of log odds.

    Attributes:
        weights: Name of a model to its weight, never below 0; models of weight 0 are left out.
        intercept: What is added.
    """

    weights: Mapping[str, float]
    intercept: float

    def __call__(self, log_odds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Give the log odds of the blend.

        Args:
            log_odds: At least the models of the blend, each of shape (n,).

        Returns:
            Shape (n,).
        """
        # In alphabetical order: sums in another order differ in their last bits, and files keep no order.
        parts = [weight * np.clip(log_odds[name], -FARTHEST, FARTHEST) for name, weight in sorted(self.weights.items())]
        return np.sum(parts, axis=0) + self.intercept

    def to_json(self) -> dict[str, Any]:
        """Give the blend as plain JSON values."""
        return {"weights": dict(self.weights), "intercept": self.intercept}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Blend":
        """Make a blend from what `to_json` gave."""
        return cls({name: float(weight) for name, weight in stored["weights"].items()}, float(stored["intercept"]))


def fit_blend(log_odds: Mapping[str, np.ndarray], truth: np.ndarray) -> Blend:
    """Learn weights by log loss: none below 0, held to equal ones by `PRIOR_ROWS`.

    Args:
        log_odds: Name of each model to its log odds, shape (n,), on rows that it was not fitted on.
        truth: Shape (n,), 0 or 1.

    Returns:
        The blend; equal weights when there is only one outcome.
    """
    from scipy.optimize import minimize

    names = list(log_odds)
    equal = np.full(len(names), 1 / len(names))
    if np.unique(truth).size < 2:
        return Blend(dict(zip(names, equal.round(WEIGHT_DIGITS).tolist(), strict=True)), 0.0)
    values = np.clip(np.column_stack([log_odds[name] for name in names]), -FARTHEST, FARTHEST)
    signs = np.where(truth > 0, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, apart = parameters[:-1], parameters[:-1] - equal
        margin = signs * (values @ weights + parameters[-1])
        slope = -signs * 0.5 * (1 - np.tanh(margin / 2))
        penalty = PRIOR_ROWS * float(apart @ apart)
        gradient = np.append(values.T @ slope + 2 * PRIOR_ROWS * apart, slope.sum())
        return float(np.logaddexp(0, -margin).sum()) + penalty, gradient

    found = minimize(
        loss, np.append(equal, 0.0), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(names) + [(None, None)]
    )
    weights = found.x[:-1].round(WEIGHT_DIGITS)
    kept = {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}
    # Nothing that the models say helps: the blend still needs an order.
    return Blend(kept or dict.fromkeys(names, 10.0**-WEIGHT_DIGITS), float(round(found.x[-1], WEIGHT_DIGITS)))
