"""The Gamma-Gamma model of the value of a purchase: likelihood, fit, expected value.

A customer's purchases are worth Gamma(p, nu) each, and nu varies over customers as Gamma(q, v), so
that few purchases are shrunk towards the shop's mean. Values are positive; how often customers buy
belongs to `bg_nbd`.

Source: Fader and Hardie (2013), The Gamma-Gamma Model of Monetary Value, equations 1a and 5.
"""

from dataclasses import dataclass

import numpy as np

from insight_assets.insights.lifetime_value.posterior_mode import (
    LogLikelihood,
    NormalPrior,
    find_posterior_mode,
)

# Weak priors on log p, log(q - 1) and log(v / median value). q above 1 is built in: below it the
# shop's mean value would be infinite.
_PRIOR_CENTRES = {"p": 3.0, "q_less_one": 2.0, "v": 1.0}
_PRIOR_SPREAD = 3.0
_START_SHIFTS = ((0.0, 0.0, 0.0), (1.0, 0.5, -1.0), (-1.0, -0.5, 1.0))
_DEFAULT_VALUE_SCALE = 1.0


@dataclass(frozen=True)
class GammaGamma:
    """Parameters of a Gamma-Gamma model; `v` in the unit of money."""

    p: float
    q: float
    v: float

    @property
    def population_mean(self) -> float:
        """Mean value of a purchase over all customers, in money."""
        return self.p * self.v / (self.q - 1)

    def unbounded(self) -> np.ndarray:
        """Return log p, log(q - 1), log v, shape (3,)."""
        return np.log([self.p, self.q - 1, self.v])

    @classmethod
    def from_unbounded(cls, theta: np.ndarray) -> "GammaGamma":
        """Build from log p, log(q - 1), log v, shape (3,)."""
        p, q_less_one, v = (float(value) for value in np.exp(theta))
        return cls(p=p, q=1 + q_less_one, v=v)


@dataclass(frozen=True)
class GammaGammaFit:
    """A fitted model.

    Attributes:
        model: parameters at the posterior mode.
        covariance: Laplace covariance of log p, log(q - 1), log v, shape (3, 3).
        log_likelihood: log-likelihood at the mode, without the prior.
        customers: number of customers fitted.
    """

    model: GammaGamma
    covariance: np.ndarray
    log_likelihood: float
    customers: int


def log_likelihood(model: GammaGamma, purchases: np.ndarray, mean_value: np.ndarray) -> np.ndarray:
    """Return the log-likelihood of each customer's mean value, shape (n,).

    Args:
        model: parameters.
        purchases: number of purchases behind each mean, at least 1, shape (n,).
        mean_value: mean value of them, above 0, shape (n,).
    """
    from scipy.special import gammaln

    shape = model.p * purchases
    return (
        gammaln(shape + model.q)
        - gammaln(shape)
        - gammaln(model.q)
        + model.q * np.log(model.v)
        + (shape - 1) * np.log(mean_value)
        + shape * np.log(purchases)
        - (shape + model.q) * np.log(model.v + purchases * mean_value)
    )


def usable(purchases: np.ndarray, mean_value: np.ndarray) -> np.ndarray:
    """Return which customers carry information on value: at least one purchase, mean above 0."""
    purchases = np.asarray(purchases, dtype=np.float64)
    mean_value = np.asarray(mean_value, dtype=np.float64)
    return (purchases >= 1) & np.isfinite(mean_value) & (mean_value > 0)


def expected_value(
    model: GammaGamma, purchases: np.ndarray, mean_value: np.ndarray
) -> np.ndarray:
    """Return the expected value of a customer's next purchase, in money, shape (n,).

    Customers whose mean is not positive, for instance because everything was refunded, get the
    population mean: the model has no word for them.

    Args:
        model: parameters.
        purchases: number of purchases behind each mean, shape (n,).
        mean_value: mean value of them, shape (n,).
    """
    shape, rate = value_posterior(model, purchases, mean_value)
    return model.p * rate / (shape - 1)


def value_posterior(
    model: GammaGamma, purchases: np.ndarray, mean_value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return shape and rate of the gamma posterior of each customer's nu, each of shape (n,)."""
    known = usable(purchases, mean_value)
    count = np.where(known, purchases, 0.0)
    total = count * np.where(known, mean_value, 0.0)
    return model.p * count + model.q, model.v + total


def fit_gamma_gamma(
    purchases: np.ndarray, mean_value: np.ndarray, *, value_scale: float | None = None
) -> GammaGammaFit:
    """Fit the parameters by maximum a posteriori with weak log-normal priors.

    Args:
        purchases: number of purchases behind each mean, shape (n,); customers that `usable` rejects
            are left out, and an empty set gives the prior itself.
        mean_value: mean value of them in money, shape (n,).
        value_scale: centre of the prior of v; the median of `mean_value` when not given, so that
            the fit does not depend on the currency.

    Returns:
        The fit. It does not depend on the order of customers.

    Raises:
        FitFailedError: the optimiser found no finite mode.
    """
    known = usable(purchases, mean_value)
    purchases = np.asarray(purchases, dtype=np.float64)[known]
    mean_value = np.asarray(mean_value, dtype=np.float64)[known]
    order = np.lexsort((mean_value, purchases))
    purchases, mean_value = purchases[order], mean_value[order]
    if value_scale is None:
        value_scale = float(np.median(mean_value)) if mean_value.size else _DEFAULT_VALUE_SCALE
    centre = np.log(
        [
            _PRIOR_CENTRES["p"],
            _PRIOR_CENTRES["q_less_one"],
            _PRIOR_CENTRES["v"] * value_scale,
        ]
    )
    mode = find_posterior_mode(
        _log_likelihood_with_gradient(purchases, mean_value),
        NormalPrior(centre=centre, spread=np.full(3, _PRIOR_SPREAD)),
        starts=centre + np.array(_START_SHIFTS),
    )
    return GammaGammaFit(
        model=GammaGamma.from_unbounded(mode.theta),
        covariance=mode.covariance,
        log_likelihood=mode.log_likelihood,
        customers=int(purchases.size),
    )


def _log_likelihood_with_gradient(purchases: np.ndarray, mean_value: np.ndarray) -> LogLikelihood:
    from scipy.special import digamma

    log_value = np.log(mean_value)
    log_total = log_value + np.log(purchases)
    total = purchases * mean_value

    def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
        if np.abs(theta).max() > 60:
            return -np.inf, np.zeros(3)
        model = GammaGamma.from_unbounded(theta)
        p, q, v = model.p, model.q, model.v
        shape = p * purchases
        log_rate = np.log(v + total)
        by_shape = digamma(shape + q) - digamma(shape) + log_total - log_rate
        gradient = np.array(
            [
                (purchases * by_shape).sum() * p,
                (digamma(shape + q) - digamma(q) + np.log(v) - log_rate).sum() * (q - 1),
                (q / v - (shape + q) / (v + total)).sum() * v,
            ]
        )
        return float(log_likelihood(model, purchases, mean_value).sum()), gradient

    return evaluate
