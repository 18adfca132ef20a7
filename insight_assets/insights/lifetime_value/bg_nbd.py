"""The BG/NBD model of repeat purchases: likelihood, fit, probability alive, expected purchases.

A customer buys at a Poisson rate that varies over customers as Gamma(r, alpha), and after each
purchase leaves for good with a probability that varies as Beta(a, b). A customer is described by
the number of repeat purchases x, the time of the last one t_x and the time observed T, both counted
from the first purchase. Time has one unit throughout (days in the product, weeks in the literature)
and alpha is in that unit. Money belongs to `gamma_gamma`, intervals to `intervals`.

Source: Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science
24(2), equations 6, 10 and the alive probability of their technical note.
"""

from dataclasses import dataclass

import numpy as np

from insight_assets.insights.lifetime_value.posterior_mode import (
    LogLikelihood,
    NormalPrior,
    find_posterior_mode,
)
from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories, distinct_states

# Centres are near published fits of consumer shops; a spread of 3 on the log scale lets each
# parameter move by a factor 20 within one standard deviation. Without a prior, b runs off to
# infinity on shops whose customers hardly ever leave (2.7e8 on the UCI Online Retail data).
_PRIOR_CENTRES = {"r": 0.5, "a": 1.0, "b": 2.5}
_PRIOR_SPREAD = 3.0
_START_SCALES = ((0.0, 0.0, 0.0, 0.0), (-0.7, -1.5, -0.7, 0.7), (0.7, 0.0, -2.0, 1.0))
_DEFAULT_TIME_SCALE = 100.0
_REMOVABLE = 1e-6


@dataclass(frozen=True)
class BgNbd:
    """Parameters of a BG/NBD model; `alpha` in the unit of time of the data."""

    r: float
    alpha: float
    a: float
    b: float

    def unbounded(self) -> np.ndarray:
        """Return the logarithms of (r, alpha, a, b), shape (4,)."""
        return np.log([self.r, self.alpha, self.a, self.b])

    @classmethod
    def from_unbounded(cls, theta: np.ndarray) -> "BgNbd":
        """Build from the logarithms of (r, alpha, a, b), shape (4,)."""
        return cls(*(float(value) for value in np.exp(theta)))


@dataclass(frozen=True)
class BgNbdFit:
    """A fitted model.

    Attributes:
        model: parameters at the posterior mode.
        covariance: Laplace covariance of the logarithms of (r, alpha, a, b), shape (4, 4).
        log_likelihood: log-likelihood at the mode, without the prior.
        customers: number of customers fitted.
        repeat_customers: number of them with at least one repeat purchase.
    """

    model: BgNbd
    covariance: np.ndarray
    log_likelihood: float
    customers: int
    repeat_customers: int


def log_likelihood(model: BgNbd, histories: PurchaseHistories) -> np.ndarray:
    """Return the log-likelihood of each customer, shape (n,)."""
    from scipy.special import betaln, gammaln

    x, last, age = histories.repeats, histories.last, histories.age
    stays = -(model.r + x) * np.log(model.alpha + age)
    return (
        gammaln(model.r + x)
        - gammaln(model.r)
        + model.r * np.log(model.alpha)
        + betaln(model.a, model.b + x)
        - betaln(model.a, model.b)
        + np.logaddexp(stays, _log_left(model, x, last))
    )


def probability_alive(model: BgNbd, histories: PurchaseHistories) -> np.ndarray:
    """Return the probability that each customer has not left by its age, shape (n,).

    It is 1 for customers without a repeat purchase: the model lets nobody leave before the first
    repeat purchase.
    """
    from scipy.special import expit

    x, last, age = histories.repeats, histories.last, histories.age
    log_odds_left = _log_left(model, x, last) + (model.r + x) * np.log(model.alpha + age)
    return expit(-log_odds_left)


def expected_purchases(
    model: BgNbd, histories: PurchaseHistories, *, ahead: float | np.ndarray
) -> np.ndarray:
    """Return the expected number of purchases in (T, T + ahead] of each customer, shape (n,).

    Euler's transformation of the published formula moves x out of the first two arguments of the
    hypergeometric function, which then neither overflows nor loses digits for frequent customers.

    Args:
        model: fitted parameters.
        histories: customers.
        ahead: length of the window in the model's unit of time, at least 0; one for all, or one
            for each customer, shape (n,).

    Raises:
        ValueError: `ahead` is negative.
    """
    if np.min(ahead, initial=0) < 0:
        message = f"ahead must be at least 0, got {ahead}"
        raise ValueError(message)
    x, age = histories.repeats, histories.age
    survived = (model.alpha + age) / (model.alpha + age + ahead)
    alive = _expected_while_alive(model, x, survived)
    return np.clip(alive, 0.0, None) * probability_alive(model, histories)


def fit_bg_nbd(histories: PurchaseHistories, *, time_scale: float | None = None) -> BgNbdFit:
    """Fit the parameters by maximum a posteriori with weak log-normal priors.

    Args:
        histories: customers; an empty set gives the prior itself.
        time_scale: centre of the prior of alpha; the mean age when not given, so that the fit does
            not depend on the unit of time.

    Returns:
        The fit. It does not depend on the order of customers.

    Raises:
        FitFailedError: the optimiser found no finite mode.
    """
    states, counts = distinct_states(histories)
    if time_scale is None:
        mean_age = float(counts @ states[:, 2] / counts.sum()) if len(counts) else 0.0
        time_scale = mean_age if mean_age > 0 else _DEFAULT_TIME_SCALE
    centre = np.log(
        [_PRIOR_CENTRES["r"], time_scale, _PRIOR_CENTRES["a"], _PRIOR_CENTRES["b"]],
    )
    prior = NormalPrior(centre=centre, spread=np.full(4, _PRIOR_SPREAD))
    mode = find_posterior_mode(
        _weighted_log_likelihood(states, counts),
        prior,
        starts=centre + np.array(_START_SCALES),
    )
    return BgNbdFit(
        model=BgNbd.from_unbounded(mode.theta),
        covariance=mode.covariance,
        log_likelihood=mode.log_likelihood,
        customers=int(counts.sum()),
        repeat_customers=int(counts[states[:, 0] > 0].sum()),
    )


def expected_repeats(model: BgNbd, ages: np.ndarray) -> np.ndarray:
    """Return how many repeat purchases the model expects by each age before any is seen, (n,)."""
    nothing = np.zeros_like(ages, dtype=np.float64)
    newcomers = PurchaseHistories(repeats=nothing, last=nothing, age=nothing)
    return expected_purchases(model, newcomers, ahead=ages)


def repeat_purchase_distribution(
    model: BgNbd,
    ages: np.ndarray,
    *,
    most: int,
    seed: int,
    draws: int = 20,
) -> np.ndarray:
    """Return the expected number of customers with 0, 1, ..., `most` or more repeat purchases.

    Simulated, `draws` lives for each observed age, because the closed form of the counting
    distribution needs one hypergeometric call for each age and count.

    Args:
        model: fitted parameters.
        ages: time observed of each customer, shape (n,).
        most: last class, which holds everything from it upwards.
        seed: seed of the simulation.
        draws: simulated lives for each customer.

    Returns:
        Expected counts, shape (most + 1,), that add up to n.
    """
    generator = np.random.default_rng(seed)
    ages = np.sort(np.asarray(ages, dtype=np.float64))
    totals = np.zeros(most + 1)
    for _ in range(draws):
        rate = generator.gamma(model.r, 1 / model.alpha, ages.size)
        leave = np.clip(generator.beta(model.a, model.b, ages.size), 1e-12, 1.0)
        lived = np.minimum(generator.poisson(rate * ages), generator.geometric(leave))
        totals += np.bincount(np.minimum(lived, most), minlength=most + 1)
    return totals / draws


def _log_left(model: BgNbd, x: np.ndarray, last: np.ndarray) -> np.ndarray:
    # The term of the likelihood in which the customer left right after the purchase at t_x; it does
    # not exist without a repeat purchase.
    safe = np.where(x > 0, model.b + x - 1, 1.0)
    left = np.log(model.a) - np.log(safe) - (model.r + x) * np.log(model.alpha + last)
    return np.where(x > 0, left, -np.inf)


def _expected_while_alive(model: BgNbd, x: np.ndarray, survived: np.ndarray) -> np.ndarray:
    # a = 1, and a + b + x = 1, are removable singularities: the mean of two points beside them is
    # exact to the square of the distance.
    near_pole = np.abs(model.a + model.b + x - 1) < _REMOVABLE
    if abs(model.a - 1) < _REMOVABLE:
        sides = (1 - _REMOVABLE, 1 + _REMOVABLE)
    elif near_pole.any():
        sides = (model.a - 2 * _REMOVABLE, model.a + 2 * _REMOVABLE)
    else:
        return _euler_form(model, model.a, x, survived)
    return np.mean([_euler_form(model, a, x, survived) for a in sides], axis=0)


def _euler_form(model: BgNbd, a: float, x: np.ndarray, survived: np.ndarray) -> np.ndarray:
    from scipy.special import hyp2f1

    series = hyp2f1(a + model.b - 1 - model.r, a - 1, a + model.b + x - 1, 1 - survived)
    return (a + model.b + x - 1) / (a - 1) * (1 - survived ** (a - 1) * series)


def _weighted_log_likelihood(states: np.ndarray, counts: np.ndarray) -> LogLikelihood:
    from scipy.special import betaln, digamma, gammaln

    # Gamma functions depend on x alone, which takes few values: evaluating them once a value, and
    # the logarithms once a state, keeps a fit of a million customers in seconds.
    x, last, age = states.T
    values, position = np.unique(x, return_inverse=True)
    value_counts = np.bincount(position, weights=counts, minlength=len(values))
    total = counts.sum()
    repeated = x > 0

    def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
        if np.abs(theta).max() > 60:
            return -np.inf, np.zeros(4)
        model = BgNbd.from_unbounded(theta)
        r, alpha, a, b = model.r, model.alpha, model.a, model.b
        log_age, log_last = np.log(alpha + age), np.log(alpha + last)
        stays = -(r + x) * log_age
        left = _log_left(model, x, last)
        both = np.logaddexp(stays, left)
        share_left = np.exp(left - both)
        value = (
            value_counts @ (gammaln(r + values) + betaln(a, b + values))
            + total * (r * np.log(alpha) - gammaln(r) - betaln(a, b))
            + counts @ both
        )
        by_r = (
            value_counts @ digamma(r + values)
            + total * (np.log(alpha) - digamma(r))
            - counts @ ((1 - share_left) * log_age + share_left * log_last)
        )
        by_alpha = total * r / alpha - counts @ (
            (r + x) * ((1 - share_left) / (alpha + age) + share_left / (alpha + last))
        )
        weight_left = counts * share_left
        # digamma differences as one sum each: for large a + b the four terms nearly cancel.
        by_a = value_counts @ (digamma(a + b) - digamma(a + b + values)) + weight_left.sum() / a
        by_b = (
            value_counts
            @ (digamma(a + b) - digamma(a + b + values) + digamma(b + values) - digamma(b))
            - (weight_left[repeated] / (b + x[repeated] - 1)).sum()
        )
        gradient = np.array([by_r * r, by_alpha * alpha, by_a * a, by_b * b])
        return float(value), gradient

    return evaluate
