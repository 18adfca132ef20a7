"""The interval of every published forecast: by simulation, and as closed horizons showed it to be needed.

Simulated intervals belong to `intervals`, conformal bounds to `ml.conformal`; here is which of them holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.forecasts import Forecast
from insight_assets.insights.lifetime_value.intervals import Interval, OutcomeIntervals, predict_intervals
from insight_assets.insights.lifetime_value.learning import INTERVAL_LEVEL, Calibration
from insight_assets.insights.lifetime_value.model import LifetimeValueModel, forecast_method

POSTERIOR = "posterior"
WIDER = "posterior_or_conformal"
CONFORMAL = "conformal"

YEAR = 365
_COUNT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class PublishedIntervals:
    """Intervals of one method.

    Attributes:
        windows: one a window.
        method: how they came about: `posterior`, `posterior_or_conformal` or `conformal`.
    """

    windows: list[OutcomeIntervals]
    method: str


def interval_method(model: LifetimeValueModel, method: str, *, horizon_days: int) -> str:
    """Say how the intervals of a method come about.

    Without a closed horizon they are simulated from the posterior. Bounds learnt at one closed origin are exact for
    days like that one. A shop that has not seen a year and a horizon has seen no season twice, and its next quarter may
    be unlike all before (on UCI Online Retail as of September, bounds learnt in June hold .79 of what the Christmas
    quarter brings): until then they may widen the simulated intervals, never narrow them.
    """
    calibration = model.calibrations.get(method, Calibration())
    if calibration.orders is None or calibration.value is None:
        return POSTERIOR
    return CONFORMAL if model.seen_days >= YEAR + horizon_days else WIDER


def published_intervals(
    model: LifetimeValueModel,
    customers: Buyers,
    method: str,
    *,
    windows: Sequence[int],
    horizon_days: int,
    seed: int,
    simulated: list[OutcomeIntervals] | None = None,
) -> PublishedIntervals:
    """Give the intervals of a method for several windows.

    Bounds learnt for the horizon are multiples of the forecast; for another window they multiply its own forecast.

    Args:
        model: the trained model.
        customers: customers, n of them.
        method: a method of the model.
        windows: lengths of the windows in days, ascending.
        horizon_days: label horizon H.
        seed: seed of the simulation.
        simulated: simulated intervals of the same customers and windows, where they are known already.

    Returns:
        The intervals, arrays of shape (n,); ends of purchase days are whole numbers.
    """
    how = interval_method(model, method, horizon_days=horizon_days)
    if how != CONFORMAL and simulated is None:
        simulated = predict_intervals(
            model.purchase, model.value, customers.histories, customers.purchase_days, customers.mean_value,
            windows=windows, level=INTERVAL_LEVEL, seed=seed,
        )  # fmt: skip
    if how == POSTERIOR:
        return PublishedIntervals(simulated, how)
    horizon = forecast_method(model, customers, method, days=horizon_days, horizon_days=horizon_days)
    ahead = [forecast_method(model, customers, method, days=days, horizon_days=horizon_days) for days in windows]
    learnt = [_around(model.calibrations[method], horizon, window) for window in ahead]
    if how == WIDER:
        learnt = [_wider(*pair) for pair in zip(learnt, simulated, strict=True)]
    return PublishedIntervals(learnt, how)


def _around(calibration: Calibration, horizon: Forecast, window: Forecast) -> OutcomeIntervals:
    low, high = calibration.orders.multiples(horizon.orders)
    orders = Interval(
        low=np.ceil(window.orders * low - _COUNT_TOLERANCE), high=np.floor(window.orders * high + _COUNT_TOLERANCE)
    )
    low, high = calibration.value.multiples(horizon.value)
    # Between two neighbouring counts lies none: the interval is then the upper one of them.
    whole = Interval(low=orders.low, high=np.maximum(orders.low, orders.high))
    return OutcomeIntervals(orders=whole, value=Interval(low=window.value * low, high=window.value * high))


def _wider(one: OutcomeIntervals, other: OutcomeIntervals) -> OutcomeIntervals:
    return OutcomeIntervals(
        orders=Interval(np.minimum(one.orders.low, other.orders.low), np.maximum(one.orders.high, other.orders.high)),
        value=Interval(np.minimum(one.value.low, other.value.low), np.maximum(one.value.high, other.value.high)),
    )
