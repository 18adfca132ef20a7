"""Prediction intervals of orders and net value by simulation.

Each draw takes parameters from the Laplace approximation of both fits (parameter uncertainty) and
then lives one future of every customer under them (outcome uncertainty), so an interval says where
the outcome of one customer falls and not where a mean lies. Point forecasts belong to `bg_nbd` and
`gamma_gamma`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from insight_assets.insights.lifetime_value.bg_nbd import (
    BgNbd,
    BgNbdFit,
    probability_alive,
)
from insight_assets.insights.lifetime_value.gamma_gamma import (
    GammaGamma,
    GammaGammaFit,
    value_posterior,
)
from insight_assets.insights.lifetime_value.posterior_mode import draw_parameters
from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories

_CELLS_IN_MEMORY = 1_000_000
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Interval:
    """Lower and upper ends, arrays of shape (n,)."""

    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class OutcomeIntervals:
    """Intervals for one window.

    Attributes:
        orders: interval of the number of purchase days.
        value: interval of the net value, in money.
    """

    orders: Interval
    value: Interval


@dataclass(frozen=True)
class Futures:
    """Simulated outcomes.

    Attributes:
        orders: purchases in each window, shape (windows, draws, n).
        value: their value in money, shape (windows, draws, n).
    """

    orders: np.ndarray
    value: np.ndarray


def simulate_futures(
    purchase_fit: BgNbdFit,
    value_fit: GammaGammaFit,
    histories: PurchaseHistories,
    purchases: np.ndarray,
    mean_value: np.ndarray,
    *,
    windows: Sequence[float],
    draws: int,
    generator: np.random.Generator,
) -> Futures:
    """Simulate what customers do in (T, T + window] for several windows of the same lives.

    Args:
        purchase_fit: fit of repeat purchases.
        value_fit: fit of the value of a purchase.
        histories: customers, n of them.
        purchases: number of purchases behind each mean value, shape (n,).
        mean_value: mean value of them, shape (n,).
        windows: lengths of the windows in the unit of time of the purchase fit, ascending.
        draws: number of simulated futures for each customer.
        generator: source of randomness.

    Returns:
        The outcomes; a longer window of the same draw holds at least the outcome of a shorter one.

    Raises:
        ValueError: `windows` is not ascending from above 0.
    """
    lengths = np.diff(np.asarray(windows, dtype=np.float64), prepend=0.0)
    if not len(lengths) or (lengths <= 0).any():
        message = f"windows must be ascending and above 0, got {list(windows)}"
        raise ValueError(message)
    size = histories.repeats.size
    purchase_draws = draw_parameters(
        purchase_fit.model.unbounded(), purchase_fit.covariance, draws=draws, generator=generator
    )
    value_draws = draw_parameters(
        value_fit.model.unbounded(), value_fit.covariance, draws=draws, generator=generator
    )
    orders = np.zeros((len(lengths), draws, size), dtype=np.int64)
    value = np.zeros((len(lengths), draws, size))
    for draw in range(draws):
        model = BgNbd.from_unbounded(purchase_draws[draw])
        worth = GammaGamma.from_unbounded(value_draws[draw])
        alive = generator.random(size) < probability_alive(model, histories)
        rate = generator.gamma(model.r + histories.repeats, 1 / (model.alpha + histories.age))
        leave = generator.beta(model.a, model.b + histories.repeats)
        # A living customer leaves with its k-th further purchase, k geometric: purchases in a
        # window are the smaller of k and of what the Poisson process offers.
        most = np.where(alive, generator.geometric(np.clip(leave, _SMALLEST, 1.0)), 0)
        shape, inverse_scale = value_posterior(worth, purchases, mean_value)
        spread = generator.gamma(shape, 1 / inverse_scale)
        offered = np.zeros(size, dtype=np.int64)
        before = np.zeros(size, dtype=np.int64)
        worth_so_far = np.zeros(size)
        for window, length in enumerate(lengths):
            offered += generator.poisson(rate * length)
            made = np.minimum(offered, most)
            added = generator.standard_gamma(worth.p * (made - before))
            worth_so_far = worth_so_far + added / np.maximum(spread, _SMALLEST)
            orders[window, draw] = made
            value[window, draw] = worth_so_far
            before = made
    return Futures(orders=orders, value=value)


def predict_intervals(
    purchase_fit: BgNbdFit,
    value_fit: GammaGammaFit,
    histories: PurchaseHistories,
    purchases: np.ndarray,
    mean_value: np.ndarray,
    *,
    windows: Sequence[float],
    level: float = 0.9,
    draws: int = 200,
    seed: int,
) -> list[OutcomeIntervals]:
    """Return central intervals for every customer and window.

    Customers in the same state (history, purchases and mean value) are simulated once and share
    their intervals; the order of customers changes nothing. Memory is bounded by working through
    the states in pieces.

    Args:
        purchase_fit: fit of repeat purchases.
        value_fit: fit of the value of a purchase.
        histories: customers, n of them.
        purchases: number of purchases behind each mean value, shape (n,).
        mean_value: mean value of them, shape (n,).
        windows: lengths of the windows, ascending.
        level: share of outcomes inside the interval.
        draws: simulated futures for each state.
        seed: seed of the simulation.

    Returns:
        One `OutcomeIntervals` a window, arrays of shape (n,). Ends of order counts are counts that
        occur, and the interval holds at least `level` of the simulated outcomes.
    """
    columns = (histories.repeats, histories.last, histories.age, purchases, mean_value)
    states = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    distinct, position = np.unique(states, axis=0, return_inverse=True)
    position = position.reshape(-1)
    tails = ((1 - level) / 2, (1 + level) / 2)
    ends = np.zeros((len(windows), 4, len(distinct)))
    piece = max(1, _CELLS_IN_MEMORY // draws)
    for number, start in enumerate(range(0, len(distinct), piece)):
        part = distinct[start : start + piece].T
        futures = simulate_futures(
            purchase_fit,
            value_fit,
            PurchaseHistories(repeats=part[0], last=part[1], age=part[2]),
            part[3],
            part[4],
            windows=windows,
            draws=draws,
            generator=np.random.default_rng([seed, number]),
        )
        for window in range(len(windows)):
            target = ends[window, :, start : start + piece]
            target[0], target[1] = _ends(futures.orders[window], tails)
            target[2], target[3] = _ends(futures.value[window], tails)
    return [
        OutcomeIntervals(
            orders=Interval(low=window_ends[0][position], high=window_ends[1][position]),
            value=Interval(low=window_ends[2][position], high=window_ends[3][position]),
        )
        for window_ends in ends
    ]


def coverage(truth: np.ndarray, interval: Interval) -> float:
    """Return the share of outcomes that lie within their interval, ends included."""
    return float(np.mean((truth >= interval.low) & (truth <= interval.high)))


def _ends(outcomes: np.ndarray, tails: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    low = np.quantile(outcomes, tails[0], axis=0, method="lower")
    high = np.quantile(outcomes, tails[1], axis=0, method="higher")
    return low, high
