"""The best that anybody could foretell of simulated customers, by how much of the hidden side they know.

Whether and how often a customer will order follows from the personal rates and from the day of dropout. All oracles
know the rates, the risk to drop out, the fading, the season and the campaigns to come; they differ in what they know
of that day:

| oracle | knows | use |
|---|---|---|
| `past` | all visits up to the day, whether signed in or not | the fair bound: no pipeline can see more than the past |
| `state` | who has dropped out by the day | a stricter bound: whom silence leaves in doubt, it is told |
| `end` | the day of every dropout | knows a part of the future; only whether a visit comes is left to chance |

No oracle knows which visits and orders chance will bring. Exact for the simulator as it is: visits are Poisson, a fixed
share of them orders, the lifetime is exponential. No asset reads any of this.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from insight_assets.simulator.customers import FADE_DAYS, FADE_FLOOR, Customers
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.seasons import base_factor, campaign_boost

Knowing = Literal["past", "state", "end"]


@dataclass(frozen=True)
class Foretold:
    """What an oracle says of each customer; arrays of shape (N,).

    Attributes:
        no_order: Probability of no order in the horizon.
        orders: Expected number of orders in the horizon.
    """

    no_order: np.ndarray
    orders: np.ndarray


def foretell(
    plan: SimulationPlan,
    customers: Customers,
    *,
    day: int,
    horizon: int,
    knowing: Knowing,
    visits: np.ndarray | None = None,
) -> Foretold:
    """Foretell the days (day, day + horizon] as of the end of a day.

    Args:
        plan: The shop.
        customers: Its customers; what is said of those who sign up later means nothing.
        day: Day index of the as-of day, at least 0.
        horizon: Number of days foretold, at least 1.
        knowing: Which oracle is asked.
        visits: Visits of each customer on each day of the span, read up to `day`, shape (N, days); for `past` alone.

    Returns:
        What the oracle says.

    Raises:
        ValueError: `past` is asked without visits.
    """
    if knowing == "past":
        if visits is None:
            message = "the oracle that knows the past needs the visits"
            raise ValueError(message)
        chances = _from_visits(plan, customers, visits[:, : day + 1], day, horizon)
    elif knowing == "state":
        chances = _from_state(customers, day, horizon)
    else:
        chances = _from_end(customers, day, horizon)
    expected = customers.order_rate.astype(np.float64) * _active_days(plan, customers, day, horizon)
    return Foretold(no_order=(chances * np.exp(-expected)).sum(axis=0), orders=(chances * expected).sum(axis=0))


def _ends(horizon: int) -> int:
    """Give the number of days of dropout told apart: day + 1 or before, each later one, and those past any effect."""
    return horizon + FADE_DAYS[1] + 1


def _fade(customers: Customers, left: int) -> np.ndarray:
    """Give what is left of visits so many days before the dropout, shape (N,)."""
    span = customers.fade_days.astype(np.float64)
    share = np.minimum(left / np.maximum(span, 1.0), 1.0)
    return np.where(span > 0, FADE_FLOOR + (1.0 - FADE_FLOOR) * share, 1.0)


def _busy(plan: SimulationPlan, customers: Customers, days: range) -> np.ndarray:
    """Give the factors of days on each customer's visits, shape (days, N)."""
    dates = [plan.day(index) for index in days]
    base, boost = (np.array([of(each) for each in dates]) for of in (base_factor, campaign_boost))
    return base[:, None] * (1.0 + boost[:, None] * customers.campaign.astype(np.float64))


def _active_days(plan: SimulationPlan, customers: Customers, day: int, horizon: int) -> np.ndarray:
    """Give how many days of the base rate the horizon holds for each day of dropout, shape (ends, N)."""
    busy = _busy(plan, customers, range(day + 1, day + 1 + horizon))
    fades = np.array([_fade(customers, left) for left in range(1, _ends(horizon) + 1)])
    days = np.zeros((_ends(horizon), len(customers)))
    for place in range(1, _ends(horizon)):
        lived = min(place, horizon)
        # On the first of these days `place` days are left, on the next one fewer.
        days[place] = (busy[:lived] * fades[place - lived : place][::-1]).sum(axis=0)
    return days


def _from_state(customers: Customers, day: int, horizon: int) -> np.ndarray:
    alive, hazard = customers.alive_after(day), customers.hazard.astype(np.float64)
    after = np.arange(1, _ends(horizon))
    survived = np.exp(-hazard * (after[:, None] - 1))
    chances = np.zeros((_ends(horizon), len(customers)))
    chances[1:] = survived * -np.expm1(-hazard)
    chances[-1] = survived[-1]
    return np.where(alive, chances, np.arange(_ends(horizon))[:, None] == 0)


def _from_end(customers: Customers, day: int, horizon: int) -> np.ndarray:
    place = np.clip(customers.dropout.astype(np.int64) - (day + 1), 0, _ends(horizon) - 1)
    return (np.arange(_ends(horizon))[:, None] == place).astype(np.float64)


def _from_visits(
    plan: SimulationPlan, customers: Customers, visits: np.ndarray, day: int, horizon: int
) -> np.ndarray:
    """Weigh each day of dropout by the prior and by how likely it makes the visits, shape (ends, N)."""
    count, last = len(customers), day + _ends(horizon)
    seen = visits.T.astype(np.float64)
    rate, hazard = customers.visit_rate.astype(np.float64), customers.hazard.astype(np.float64)
    first = np.maximum(customers.acquired, 0) + 1
    # The one visit of the sign-up is certain and tells nothing; before it there are none to come.
    counted = np.arange(day + 1)[:, None] > customers.acquired
    expected = rate * _busy(plan, customers, range(day + 1)) * counted
    # Without fading, who drops out on a day had all visits before it to come.
    likely = np.zeros((last + 1, count))
    likely[1 : day + 2] = -np.cumsum(expected, axis=0)
    likely[day + 2 :] = likely[day + 1]
    for left in range(1, FADE_DAYS[1]):
        fade = _fade(customers, left)
        told = seen * counted * np.log(fade) - expected * (fade - 1.0)
        likely[left : day + 1 + left] += told
    ends = np.arange(last + 1)[:, None]
    waited = np.maximum(ends - first, 0)
    likely += -hazard * waited + np.where(ends < last, np.log(-np.expm1(-hazard)), 0.0)
    newest = np.where(visits.any(axis=1), day - np.argmax(visits[:, ::-1] > 0, axis=1), -1)
    # Who signs up later is still to come whatever is asked; the last place stands for all that lies beyond.
    possible = ((ends >= first) & (ends > newest)) | (ends == last)
    likely = np.where(possible, likely, -np.inf)
    weight = np.exp(likely - likely.max(axis=0))
    weight /= weight.sum(axis=0)
    return np.concatenate([weight[: day + 2].sum(axis=0, keepdims=True), weight[day + 2 :]])
