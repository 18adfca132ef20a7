"""The Pareto/NBD model of repeat purchases: likelihood, fit, probability alive, expected purchases.

A customer buys at a Poisson rate that varies over customers as Gamma(r, alpha) and leaves at an exponential rate that
varies as Gamma(s, beta), at any time and not only after a purchase: that is what sets it apart from `bg_nbd`. Customers
are described as there. Alpha and beta are in the unit of time of the data.

Source: Schmittlein, Morrison and Colombo (1987), Counting Your Customers, Management Science 33(1); the fit that tests
compare with is of Fader, Hardie and Lee (2005), Marketing Science 24(2), table 2. The published likelihood is a
difference of two hypergeometric functions that cancel for frequent customers. Here the integral that they stand for,
over the moment at which a customer may have left, is worked out by quadrature instead: it has no difference, the
gradient comes with it, and whole columns of customers are done at once.
"""

from dataclasses import dataclass

import numpy as np

from insight_assets.insights.lifetime_value.posterior_mode import LogLikelihood, NormalPrior, find_posterior_mode
from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories, distinct_states

# As for BG/NBD: near published fits, and wide.
_PRIOR_CENTRES = {"r": 0.5, "s": 0.5}
# Twice that of BG/NBD: the data say less about s and beta, which a spread of 3 moves by 2.7 % on the CDNOW sample.
_PRIOR_SPREAD = 6.0
_START_SHIFTS = ((0.0, -1.0, 0.0, -1.0), (0.7, 0.0, -1.5, 1.0))
_DEFAULT_TIME_SCALE = 100.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_ROOT = 4.0
_STATES_AT_ONCE = 4_000
_STATES_TO_START = 3_000
_SMALL = 1e-9


@dataclass(frozen=True)
class ParetoNbd:
    """Parameters of a Pareto/NBD model; `alpha` and `beta` in the unit of time of the data."""

    r: float
    alpha: float
    s: float
    beta: float

    def unbounded(self) -> np.ndarray:
        """Return the logarithms of (r, alpha, s, beta), shape (4,)."""
        return np.log([self.r, self.alpha, self.s, self.beta])

    @classmethod
    def from_unbounded(cls, theta: np.ndarray) -> "ParetoNbd":
        """Build from the logarithms of (r, alpha, s, beta), shape (4,)."""
        return cls(*(float(value) for value in np.exp(theta)))


@dataclass(frozen=True)
class ParetoNbdFit:
    """A fitted model.

    Attributes:
        model: parameters at the posterior mode.
        covariance: Laplace covariance of the logarithms of (r, alpha, s, beta), shape (4, 4).
        log_likelihood: log-likelihood at the mode, without the prior.
        customers: number of customers fitted.
    """

    model: ParetoNbd
    covariance: np.ndarray
    log_likelihood: float
    customers: int


def log_likelihood(model: ParetoNbd, histories: PurchaseHistories) -> np.ndarray:
    """Return the log-likelihood of each customer, shape (n,)."""
    from scipy.special import gammaln

    x = histories.repeats
    stays = _log_stays(model, x, histories.age)
    return (
        gammaln(model.r + x)
        - gammaln(model.r)
        + model.r * np.log(model.alpha)
        + model.s * np.log(model.beta)
        + np.logaddexp(stays, _log_left(model, histories))
    )


def probability_alive(model: ParetoNbd, histories: PurchaseHistories) -> np.ndarray:
    """Return the probability that each customer has not left by its age, shape (n,)."""
    from scipy.special import expit

    return expit(_log_stays(model, histories.repeats, histories.age) - _log_left(model, histories))


def expected_purchases(model: ParetoNbd, histories: PurchaseHistories, *, ahead: float | np.ndarray) -> np.ndarray:
    """Return the expected number of purchases in (T, T + ahead] of each customer, shape (n,).

    Args:
        model: fitted parameters.
        histories: customers.
        ahead: length of the window in the model's unit of time, at least 0; one for all, or one for each customer.

    Raises:
        ValueError: `ahead` is negative.
    """
    if np.min(ahead, initial=0) < 0:
        message = f"ahead must be at least 0, got {ahead}"
        raise ValueError(message)
    x, age = histories.repeats, histories.age
    rate = (model.r + x) / (model.alpha + age)
    growth = np.log1p(ahead / (model.beta + age))
    # (1 - e^(-(s - 1) growth)) / (s - 1), which is `growth` where s is 1.
    power = model.s - 1
    lived = growth if abs(power) < _SMALL else -np.expm1(-power * growth) / power
    return rate * (model.beta + age) * lived * probability_alive(model, histories)


def fit_pareto_nbd(histories: PurchaseHistories, *, time_scale: float | None = None) -> ParetoNbdFit:
    """Fit the parameters by maximum a posteriori with weak log-normal priors.

    Args:
        histories: customers; an empty set gives the prior itself.
        time_scale: centre of the priors of alpha and beta; the mean age when not given, so that the fit does not depend
            on the unit of time.

    Returns:
        The fit. It does not depend on the order of customers.

    Raises:
        FitFailedError: the optimiser found no finite mode.
    """
    states, counts = distinct_states(histories)
    if time_scale is None:
        mean_age = float(counts @ states[:, 2] / counts.sum()) if len(counts) else 0.0
        time_scale = mean_age if mean_age > 0 else _DEFAULT_TIME_SCALE
    centre = np.log([_PRIOR_CENTRES["r"], time_scale, _PRIOR_CENTRES["s"], time_scale])
    prior, starts = NormalPrior(centre=centre, spread=np.full(4, _PRIOR_SPREAD)), centre + np.array(_START_SHIFTS)
    if len(states) > 2 * _STATES_TO_START:
        # The long way to the mode is gone with evenly spaced states; only its end needs all of them.
        some = slice(None, None, len(states) // _STATES_TO_START)
        starts = find_posterior_mode(_weighted_log_likelihood(states[some], counts[some]), prior, starts=starts).theta
    mode = find_posterior_mode(_weighted_log_likelihood(states, counts), prior, starts=np.atleast_2d(starts))
    return ParetoNbdFit(
        model=ParetoNbd.from_unbounded(mode.theta),
        covariance=mode.covariance,
        log_likelihood=mode.log_likelihood,
        customers=int(counts.sum()),
    )


def _log_stays(model: ParetoNbd, x: np.ndarray, age: np.ndarray) -> np.ndarray:
    return -(model.r + x) * np.log(model.alpha + age) - model.s * np.log(model.beta + age)


def _log_left(model: ParetoNbd, histories: PurchaseHistories) -> np.ndarray:
    parts = [
        _left(model, *part)[0]
        for part in _pieces(np.column_stack([histories.repeats, histories.last, histories.age]))
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _pieces(states: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    starts = range(0, len(states), _STATES_AT_ONCE)
    return [tuple(states[start : start + _STATES_AT_ONCE].T) for start in starts]


def _left(model: ParetoNbd, x: np.ndarray, last: np.ndarray, age: np.ndarray) -> tuple[np.ndarray, ...]:
    """Integrate over the moment t in (t_x, T] at which the customer left.

    The integrand s (alpha + t)^-(r + x) (beta + t)^-(s + 1) falls like a power of t. In the variable
    z = ((m + t) / (m + t_x))^-k, with k its power less one and m such that both fall alike at t_x, it is nearly flat.
    A root of z, which puts more nodes where t is late, makes 24 nodes good to nine digits over 400 shops.

    Returns:
        The logarithm of the integral, shape (n,), and under the integrand, as a density of t, the means of
        log(alpha + t), 1 / (alpha + t), log(beta + t) and 1 / (beta + t), each of shape (n,).
    """
    fall = (model.r + x) / (model.alpha + last) + (model.s + 1) / (model.beta + last)
    shift = (model.r + x + model.s + 1) / fall
    power = (model.r + x + model.s) / _ROOT
    # z runs from `lowest` to 1; nodes on columns. The width 1 - lowest is taken before it loses digits.
    log_lowest = -power * np.log1p((age - last) / shift)
    width = -np.expm1(log_lowest)
    z = 1 - width[:, None] * (1 - _NODES) / 2
    log_z = np.log(np.maximum(z, 1e-300))
    t = last[:, None] + shift[:, None] * np.expm1(-log_z / power[:, None])
    log_alpha, log_beta = np.log(model.alpha + t), np.log(model.beta + t)
    log_terms = (
        -(model.r + x)[:, None] * log_alpha
        - (model.s + 1) * log_beta
        - (1 / power + 1)[:, None] * log_z
        + np.log(_WEIGHTS / 2)
    )
    highest = log_terms.max(axis=1)
    terms = np.exp(log_terms - highest[:, None])
    sums = terms.sum(axis=1)
    with np.errstate(divide="ignore"):
        log_integral = np.log(model.s) + np.log(shift / power) + np.log(width) + highest + np.log(sums)
    means = (
        np.einsum("ij,ij->i", terms, of) / sums
        for of in (log_alpha, 1 / (model.alpha + t), log_beta, 1 / (model.beta + t))
    )
    return (log_integral, *means)


def _weighted_log_likelihood(states: np.ndarray, counts: np.ndarray) -> LogLikelihood:
    values, position = np.unique(states[:, 0], return_inverse=True)
    value_counts = np.bincount(position, weights=counts, minlength=len(values))
    total = counts.sum()
    weights = np.split(counts, range(_STATES_AT_ONCE, len(counts), _STATES_AT_ONCE))
    pieces = list(zip(_pieces(states), weights, strict=False))

    def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
        from scipy.special import digamma, gammaln

        if np.abs(theta).max() > 40:
            return -np.inf, np.zeros(4)
        model = ParetoNbd.from_unbounded(theta)
        r, alpha, s, beta = model.r, model.alpha, model.s, model.beta
        value = (
            value_counts @ gammaln(r + values)
            + total * (r * np.log(alpha) + s * np.log(beta) - gammaln(r))
        )
        by_r = value_counts @ digamma(r + values) + total * (np.log(alpha) - digamma(r))
        by_alpha, by_s, by_beta = total * r / alpha, total * np.log(beta), total * s / beta
        for (x, last, age), weight in pieces:
            stays = _log_stays(model, x, age)
            left, log_alpha, per_alpha, log_beta, per_beta = _left(model, x, last, age)
            both = np.logaddexp(stays, left)
            stayed, gone = weight * np.exp(stays - both), weight * np.exp(left - both)
            value += weight @ both
            by_r -= stayed @ np.log(alpha + age) + gone @ log_alpha
            by_alpha -= stayed @ ((r + x) / (alpha + age)) + gone @ ((r + x) * per_alpha)
            by_s += gone.sum() / s - stayed @ np.log(beta + age) - gone @ log_beta
            by_beta -= stayed @ (s / (beta + age)) + gone @ ((s + 1) * per_beta)
        return float(value), np.array([by_r * r, by_alpha * alpha, by_s * s, by_beta * beta])

    return evaluate
