"""The days of the simulated shop, one after another.

Memory does not grow with the number of days: what is kept between days is one product in mind a
customer, and the events that are still to come (parcels under way, refunds, reviews).
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from insight_assets.simulator.catalogue import build_catalogue, fill_shelf, week_prices
from insight_assets.simulator.customers import TYPES, CustomerType, build_customers
from insight_assets.simulator.delivery import Courier, SimulatedDay
from insight_assets.simulator.events import SHOP_SIDE, Events, join_events
from insight_assets.simulator.fulfilment import day_fulfilment
from insight_assets.simulator.plan import SimulationPlan, Stream
from insight_assets.simulator.sessions import NUMBERS_A_DAY, DaySessions, Shop, day_sessions
from insight_assets.simulator.trouble import bot_visits, plant_trouble

WEEK = 7
USUAL_DELAY = 250.0
SLOW_SHARE = 0.01
SLOW_DELAY = 5 * 60_000


def open_shop(plan: SimulationPlan, types: tuple[CustomerType, ...] = TYPES) -> Shop:
    """Draw everything about a shop that does not change from day to day.

    Args:
        plan: The shop.
        types: The hidden types that its customers are of.
    """
    return Shop(plan, build_catalogue(plan), build_customers(plan, types))


def simulate_sessions(shop: Shop) -> Iterator[DaySessions]:
    """Simulate the visits of a shop's plan day by day, without what follows from them."""
    memory = np.full(shop.plan.customers, -1, dtype=np.int32)
    shelf = None
    for day in range(shop.plan.days):
        if shelf is None or day % WEEK == 0:
            prices = week_prices(shop.plan, shop.catalogue, week=day // WEEK)
            shelf = fill_shelf(shop.catalogue, prices)
        sessions = day_sessions(shop, shelf, memory=memory, day=day)
        memory[sessions.customers] = sessions.remembered
        yield sessions


def simulate_days(plan: SimulationPlan, types: tuple[CustomerType, ...] = TYPES) -> Iterator[SimulatedDay]:
    """Simulate a shop day by day.

    Args:
        plan: The shop. Equal plans give equal days.
        types: The hidden types that its customers are of.

    Yields:
        What the shop receives on each day, in order; without planted trouble these are exactly the
        events that happened on the day.
    """
    shop = open_shop(plan, types)
    courier = Courier(shop)
    to_come: dict[int, list[Events]] = defaultdict(list)
    to_deliver: dict[int, list[Events]] = defaultdict(list)
    for day, sessions in enumerate(simulate_sessions(shop)):
        happening = [
            sessions.events,
            day_fulfilment(shop, sessions.events, day=day),
            bot_visits(shop, day),
        ]
        for events in happening:
            for when, part in _by_day(plan, events):
                to_come[when].append(part)
        today = _receive(plan, join_events(to_come.pop(day, [])), day)
        delivery = plant_trouble(shop, today, day=day)
        for when, part in delivery.later.items():
            to_deliver[when].append(part)
        received = join_events([delivery.now, *to_deliver.pop(day, [])])
        order = np.lexsort(
            (received["planted"], received["message"], received["time"] + received["delay"])
        )
        yield SimulatedDay(plan.day(day), received.take(order), courier)


def _by_day(plan: SimulationPlan, events: Events) -> Iterator[tuple[int, Events]]:
    """Split events by the day on which they happen; those after the span are dropped."""
    days = np.searchsorted(plan.midnights, events["time"], side="right") - 1
    for day in np.unique(days[days < plan.days]):
        yield int(day), events.take(days == day)


def _receive(plan: SimulationPlan, events: Events, day: int) -> Events:
    """Number a day's events in the order of time and draw when each one is received.

    Receipt never crosses midnight, so that the file of a day holds that day's events.
    """
    random = plan.generator(Stream.DELIVERY, day)
    order = np.lexsort((events["session"], events["order"], events["kind"], events["time"]))
    events = events.take(order)
    count = len(events)
    usual = (30 + random.standard_exponential(count) * USUAL_DELAY).astype(np.int64)
    slow = (random.random(count) < SLOW_SHARE) & ~np.isin(events["kind"], SHOP_SIDE)
    delay = usual + np.where(slow, random.integers(0, SLOW_DELAY, count), 0)
    left = plan.midnights[day + 1] - 1 - events["time"]
    return events.with_columns(
        message=(day + 1) * NUMBERS_A_DAY + np.arange(count, dtype=np.int64),
        delay=np.minimum(delay, left),
    )
