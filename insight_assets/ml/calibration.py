"""Makes probabilities of scores: a monotone map learnt on rows that the scoring model never saw.

Knows numbers only; which rows are kept for calibration is decided by the capability.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

RAW_SHARE = 0.001
"""Share of the raw score in a calibrated probability.

Isotonic regression maps ranges of scores to one value; a trace of the score itself keeps their
order, so that calibration changes no ranking and costs no AUC.
"""

MIN_ROWS = 30
"""Fewer rows than this say too little about a curve."""


@dataclass(frozen=True)
class Calibrator:
    """A strictly increasing map from raw scores in [0, 1] to probabilities.

    Attributes:
        scores: Knots of the raw score, increasing; empty leaves scores as they are.
        rates: Observed rate at each knot, never decreasing, inside (0, 1).
    """

    scores: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Turn raw scores into probabilities.

        Args:
            raw: Shape (n,), in [0, 1].

        Returns:
            Float64 probabilities of shape (n,), in the order of the raw scores.
        """
        raw = np.asarray(raw, dtype=np.float64)
        if not self.scores:
            return raw
        curve = np.interp(raw, self.scores, self.rates)
        return (1 - RAW_SHARE) * curve + RAW_SHARE * raw

    def to_json(self) -> dict[str, Any]:
        """Give the calibrator as plain JSON values."""
        return {"scores": list(self.scores), "rates": list(self.rates)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Calibrator":
        """Make a calibrator from what `to_json` gave.

        Args:
            stored: Plain JSON values.

        Returns:
            An equal calibrator.
        """
        return cls(
            tuple(float(score) for score in stored["scores"]),
            tuple(float(rate) for rate in stored["rates"]),
        )


def fit_calibrator(raw: np.ndarray, truth: np.ndarray) -> Calibrator:
    """Learn the map from raw scores to observed rates by isotonic regression.

    Rates are kept 1 / (n + 2) away from 0 and 1: n rows cannot show that something never happens.

    Args:
        raw: Shape (n,), raw scores in [0, 1] of rows the model was not fitted on.
        truth: Shape (n,), 0 or 1.

    Returns:
        The calibrator; one that changes nothing when there are fewer than `MIN_ROWS` rows or only
        one class.

    Raises:
        ValueError: If a raw score is outside [0, 1].
    """
    from sklearn.isotonic import IsotonicRegression

    raw = np.asarray(raw, dtype=np.float64)
    truth = np.asarray(truth, dtype=np.float64)
    if raw.size and not (raw.min() >= 0 and raw.max() <= 1):
        raise ValueError("raw scores must lie in [0, 1]")
    if raw.size < MIN_ROWS or np.unique(truth).size < 2:
        return Calibrator()
    least = 1 / (raw.size + 2)
    curve = IsotonicRegression(y_min=least, y_max=1 - least).fit(raw, truth)
    return Calibrator(
        tuple(float(score) for score in curve.X_thresholds_),
        tuple(float(rate) for rate in curve.y_thresholds_),
    )


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds of probabilities, bounded at 1e-7 from 0 and 1.

    Args:
        probability: Any shape, in [0, 1].

    Returns:
        Float64 of the same shape.
    """
    bounded = np.clip(np.asarray(probability, dtype=np.float64), 1e-7, 1 - 1e-7)
    return np.log(bounded / (1 - bounded))


def logistic(log_odds: np.ndarray) -> np.ndarray:
    """Probability of log odds.

    Args:
        log_odds: Any shape.

    Returns:
        Float64 of the same shape, in [0, 1].
    """
    return 1 / (1 + np.exp(-np.clip(np.asarray(log_odds, dtype=np.float64), -500, 500)))
