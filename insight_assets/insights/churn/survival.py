"""When customers return, and not only whether: curves over the days of the horizon, for all horizons at once.

One model of the time to the next order gives the probability of no order within 30, 60 or any other number of days up
to the horizon, so that no horizon needs a training of its own. Two rivals are fitted: one curve for everybody (Kaplan
and Meier, "Nonparametric estimation from incomplete observations", 1958) and proportional hazards (Cox, "Regression
models and life-tables", 1972) with a ridge penalty. Times of customers who have not returned are censored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HORIZONS = (30, 60, 90)
"""Days that people ask about; those up to the label window are answered."""

PENALTY = 30.0
"""Ridge penalty on coefficients of standardised features: a prior of deviation 0.18, as strong as the weakest of the
logistic regression's that cross-validation takes on shops."""

STEPS = 30
CLOSE_ENOUGH = 1e-8
MOST_RISK = 10.0
"""Log hazards beyond this, either way, are those of no customer of any shop."""

RISK_LEVELS = 256


@dataclass(frozen=True)
class Curve:
    """Share of customers that has not returned, by day.

    Attributes:
        hazards: Cumulative hazard at the end of day 1, 2, ..., never decreasing.
    """

    hazards: tuple[float, ...]

    def at(self, day: int) -> float:
        """Give the cumulative hazard by the end of a day."""
        return self.hazards[min(day, len(self.hazards)) - 1]


@dataclass(frozen=True)
class ReturnModel:
    """Time to the next order by proportional hazards.

    Attributes:
        everybody: Curve of all customers together.
        baseline: Curve of a customer whose features are all typical.
        coefficients: Log hazard per deviation of each scaled feature.
    """

    everybody: Curve
    baseline: Curve
    coefficients: tuple[float, ...]

    def away(self, scaled: np.ndarray, day: int) -> np.ndarray:
        """Give the probability of no order by the end of a day.

        Args:
            scaled: Shape (n, f), scaled features.
            day: Days after the origin, from 1 to the horizon.

        Returns:
            Shape (n,).
        """
        risk = np.clip(scaled @ np.asarray(self.coefficients), -MOST_RISK, MOST_RISK)
        return np.exp(-self.baseline.at(day) * np.exp(risk))

    def away_on_average(self, rows: int, day: int) -> np.ndarray:
        """Give the same for everybody alike: shape (rows,)."""
        return np.full(rows, np.exp(-self.everybody.at(day)))

    def away_given(self, probability: np.ndarray, scaled: np.ndarray, day: int, *, horizon_days: int) -> np.ndarray:
        """Give the probability of no order by a day that agrees with one for the whole horizon.

        Of those who return within the horizon, the model says which share has returned by the day; how many return is
        said by the given probability. So the horizons never contradict each other, nor the published method.

        Args:
            probability: Shape (n,), probability of no order within the horizon, by any method.
            scaled: Shape (n, f), scaled features.
            day: Days after the origin, from 1 to the horizon.
            horizon_days: The horizon.

        Returns:
            Shape (n,), at least `probability`.
        """
        by_day, by_end = 1 - self.away(scaled, day), 1 - self.away(scaled, horizon_days)
        share = np.divide(by_day, by_end, out=np.ones_like(by_day), where=by_end > 0)
        return 1 - (1 - probability) * np.clip(share, 0, 1)

    def to_json(self) -> dict[str, Any]:
        """Give the model as plain JSON values."""
        return {
            "everybody": list(self.everybody.hazards),
            "baseline": list(self.baseline.hazards),
            "coefficients": list(self.coefficients),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ReturnModel":
        """Make a model from what `to_json` gave."""
        everybody, baseline, coefficients = (
            tuple(float(value) for value in stored[name]) for name in ("everybody", "baseline", "coefficients")
        )
        return cls(Curve(everybody), Curve(baseline), coefficients)


def asked_horizons(horizon_days: int) -> tuple[int, ...]:
    """Give the horizons that models of a label window answer, the window itself last."""
    return tuple(sorted({*(day for day in HORIZONS if day < horizon_days), horizon_days}))


def fit_returns(
    scaled: np.ndarray, return_days: np.ndarray, *, horizon_days: int, penalty: float = PENALTY
) -> ReturnModel:
    """Fit both curves and the coefficients.

    Ties within a day are handled after Breslow, "Covariance analysis of censored survival data", 1974. Newton's method
    with halved steps; the penalised likelihood is concave, so that it ends at the one best fit.

    Args:
        scaled: Shape (n, f), scaled features without gaps.
        return_days: Shape (n,), days to the first order, from 1; NaN for those who did not return within the horizon.
        horizon_days: Days for which everybody was watched.
        penalty: Ridge penalty on the coefficients.

    Returns:
        The model.
    """
    returned = ~np.isnan(return_days)
    day = np.where(returned, return_days, horizon_days + 1).astype(np.int64)
    order = np.argsort(day, kind="stable")
    values, day = scaled[order], day[order]
    starts = np.searchsorted(day, np.arange(1, horizon_days + 2))
    events = np.diff(starts).astype(np.float64)
    sums = _sums_by_day(values, starts)
    beta = np.zeros(values.shape[1])
    loss, gradient, hessian = _likelihood(beta, values, events, sums, starts, penalty)
    for _ in range(STEPS):
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-4:
            tried = _likelihood(beta - size * step, values, events, sums, starts, penalty)
            if tried[0] <= loss:
                break
            size /= 2
        else:
            break
        beta, better = beta - size * step, loss - tried[0]
        loss, gradient, hessian = tried
        if better < CLOSE_ENOUGH * max(1.0, abs(loss)):
            break
    coefficients = beta.round(6)
    return ReturnModel(
        _curve(events, len(day) - starts[:-1]),
        _curve(events, _at_risk(_risk(values, coefficients), starts)),
        tuple(float(value) for value in coefficients),
    )


def concordance(signed_days: np.ndarray, away: np.ndarray) -> float:
    """Chance that of two customers the one who returned first had the lower probability of staying away (C-index).

    Pairs are those whose order is known: one returned on a day, the other later or never within the horizon (Harrell et
    al., "Evaluating the yield of medical tests", 1982). Predictions are compared in `RISK_LEVELS` levels of equal
    numbers of customers; within a level a pair counts one half.

    Args:
        signed_days: Shape (n,), days to the first order; minus the horizon for those who did not return.
        away: Shape (n,), probability of no order.

    Returns:
        A number from 0 to 1; NaN when no pair is known.
    """
    from insight_assets.ml.metrics import average_ranks

    if len(away) == 0:
        return float("nan")
    level = ((average_ranks(np.asarray(away, dtype=np.float64)) - 0.5) * RISK_LEVELS / len(away)).astype(np.int64)
    day = np.where(signed_days > 0, signed_days, -signed_days + 1).astype(np.int64)
    counts = np.bincount(day * RISK_LEVELS + level, minlength=(int(day.max()) + 1) * RISK_LEVELS)
    table = counts.reshape(-1, RISK_LEVELS).astype(np.float64)
    later = np.cumsum(table[::-1], axis=0)[::-1] - table
    cases = table.copy()
    if (signed_days <= 0).any():
        cases[int(-signed_days.min()) + 1] = 0.0
    above = later.sum(axis=1, keepdims=True) - np.cumsum(later, axis=1)
    pairs = float((cases.sum(axis=1) * later.sum(axis=1)).sum())
    return float((cases * (above + later / 2)).sum() / pairs) if pairs else float("nan")


def _likelihood(
    beta: np.ndarray,
    values: np.ndarray,
    events: np.ndarray,
    sums: np.ndarray,
    starts: np.ndarray,
    penalty: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Negative penalised log partial likelihood with its first and second derivatives."""
    risk = _risk(values, beta)
    at_risk = _at_risk(risk, starts)
    weighted = values * risk[:, None]
    moments = _tail_sums(weighted, starts)
    means = moments / at_risk[:, None]
    loss = float((events * np.log(at_risk)).sum() - sums.sum(axis=0) @ beta) + penalty / 2 * float(beta @ beta)
    gradient = (events[:, None] * means).sum(axis=0) - sums.sum(axis=0) + penalty * beta
    # Each row is at risk on all days up to its own: it counts with the sum of their weights.
    share = np.cumsum(events / at_risk)
    of_row = np.repeat(np.append(share, share[-1]), np.diff(np.append(starts, len(values))))
    hessian = (weighted * of_row[:, None]).T @ values - (means * events[:, None]).T @ means
    return loss, gradient, hessian + penalty * np.eye(len(beta))


def _risk(values: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(values @ beta, -MOST_RISK, MOST_RISK))


def _at_risk(risk: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Summed risk of those who had not returned before each day."""
    return _tail_sums(risk[:, None], starts)[:, 0]


def _tail_sums(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    by_day = _sums_by_day(rows, np.append(starts, len(rows)))
    return np.cumsum(by_day[::-1], axis=0)[::-1][: len(starts) - 1]


def _sums_by_day(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums of the rows from each start to the next."""
    total = np.vstack([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    return np.diff(total[starts], axis=0)


def _curve(events: np.ndarray, at_risk: np.ndarray) -> Curve:
    hazard = np.divide(events, at_risk, out=np.zeros_like(events), where=at_risk > 0)
    return Curve(tuple(float(value) for value in np.cumsum(hazard).round(8)))


def signed(return_days: Sequence[float | None] | np.ndarray, horizon_days: int) -> np.ndarray:
    """Write times and who has not returned into one array, as `concordance` reads it.

    Args:
        return_days: Days to the first order; None or NaN for those who did not return.
        horizon_days: The horizon.

    Returns:
        Shape (n,), float64.
    """
    days = np.asarray(return_days, dtype=np.float64)
    return np.where(np.isnan(days), -float(horizon_days), days)
