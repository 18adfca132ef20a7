"""Makes probabilities of scores: a monotone map learnt on rows that the scoring model never saw.

Knows numbers only; which rows are kept for calibration is decided by the capability.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from insight_assets.ml.metrics import reliability

RAW_SHARE = 0.001
"""Share of the raw score in a calibrated probability.

Isotonic regression maps ranges of scores to one value; a trace of the score itself keeps their
order, so that calibration changes no ranking and costs no AUC.
"""

MIN_ROWS = 30
"""Fewer rows than this say too little about a curve."""

BAND_ROWS = 50
"""Fewest rows with like scores that tell how sure a probability is; of n rows it is n ** (2/3) if that is more, so that
with more rows the groups grow in number and in size."""

MOST_BANDS = 20

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Calibrator:
    """A strictly increasing map from raw scores in [0, 1] to probabilities.

    Attributes:
        scores: Knots of the raw score, increasing; empty leaves scores as they are.
        rates: Observed rate at each knot, never decreasing, inside (0, 1).
        bands: Score, lower and upper end of the 95 % interval of the rate, per group of rows with
            like scores; none when too few rows were seen to know.
    """

    scores: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    bands: tuple[tuple[float, float, float], ...] = ()

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

    def interval(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Say between which bounds the true rate of customers with such scores lies, at 95 %.

        The calibration rows are put into groups of at least `BAND_ROWS` with like scores. What a group shows of its
        rate is the posterior of a beta distribution that began at Jeffreys' prior (Brown, Cai and DasGupta, "Interval
        estimation for a binomial proportion", 2001); between groups the bounds are interpolated. The interval is about
        the rate among customers who score alike, not about the one customer, who churns or does not.

        Args:
            raw: Shape (n,), in [0, 1].

        Returns:
            Lower and upper bounds, each of shape (n,), around the probability of the same score; 0 and 1 where
            nothing is known.
        """
        raw = np.asarray(raw, dtype=np.float64)
        if not self.bands:
            return np.zeros(len(raw)), np.ones(len(raw))
        at, low, high = np.array(self.bands).T
        probability = self(raw)
        return np.minimum(np.interp(raw, at, low), probability), np.maximum(np.interp(raw, at, high), probability)

    def to_json(self) -> dict[str, Any]:
        """Give the calibrator as plain JSON values."""
        return {
            "scores": list(self.scores),
            "rates": list(self.rates),
            "bands": [list(band) for band in self.bands],
        }

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
            tuple((float(at), float(low), float(high)) for at, low, high in stored["bands"]),
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
        _bands(raw, truth),
    )


def _bands(raw: np.ndarray, truth: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    """Mean score and bounds of the rate in groups of rows with like scores; bounds never decrease with the score."""
    from scipy.stats import beta

    groups = min(MOST_BANDS, int(raw.size // max(BAND_ROWS, raw.size ** (2 / 3))))
    if groups == 0:
        return ()
    _, observed, scores, rows = reliability(truth, raw, bins=groups)
    hits, tail = observed * rows, (1 - CONFIDENCE) / 2
    low = beta.ppf(tail, hits + 0.5, rows - hits + 0.5)
    high = beta.ppf(1 - tail, hits + 0.5, rows - hits + 0.5)
    # The rate grows with the score: a group cannot be surer of a low rate than one that scores higher, and conversely.
    low = np.maximum.accumulate(low)
    high = np.minimum.accumulate(high[::-1])[::-1]
    low, high = np.minimum(low, high), np.maximum(low, high)
    return tuple(
        (float(at), float(lowest), float(highest))
        for at, lowest, highest in zip(scores, low.round(6), high.round(6), strict=True)
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
