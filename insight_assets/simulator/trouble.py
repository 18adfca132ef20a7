"""Planting trouble into a day's events: duplicates, late events, spoilt rows, bots.

Each fault marks the row that it makes or spoils, so that `delivery` can list every planted row
with its line in its file. Renaming a field from a day on is also done in `delivery`. A row gets at
most one fault, so that what the files hold can be counted against the list.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from insight_assets.simulator.events import Events, Kind, join_events, make_events
from insight_assets.simulator.plan import Stream
from insight_assets.simulator.sessions import (
    DAY,
    HOUR,
    NUMBERS_A_DAY,
    Shop,
    scatter,
)


class Planted(IntEnum):
    """Why a row is in a file other than as a plain event."""

    DUPLICATE = 0
    LATE = 1
    BOT = 2


class Fault(IntEnum):
    """How a row is spoilt."""

    UNKNOWN_EVENT = 0
    UNPARSEABLE_TIME = 1
    MISSING_PRODUCT_ID = 2
    NEGATIVE_PRICE = 3
    BROKEN_JSON = 4


PRODUCT_KINDS = (Kind.PRODUCT_VIEWED, Kind.PRODUCT_CLICKED, Kind.PRODUCT_ADDED)
FEWEST_BOT_VIEWS, MOST_BOT_VIEWS = 200, 600
BOT_PAUSE = 2_000
FIRST_BOT = 1 << 44


@dataclass(frozen=True)
class Delivery:
    """What becomes of a day's events.

    Attributes:
        now: Events that are received on their own day.
        later: Events by the day index on which they are received instead.
    """

    now: Events
    later: dict[int, Events]


def bot_visits(shop: Shop, day: int) -> Events:
    """Give the views of the bots that come on a day: a product every two seconds.

    Args:
        shop: The shop, whose plan says how many bots there are in all.
        day: Day index.

    Returns:
        The bots' events, marked as planted.
    """
    plan = shop.plan
    if not plan.trouble.bots:
        return make_events(0)
    random = plan.generator(Stream.BOTS)
    days = random.integers(0, plan.days, plan.trouble.bots)
    views = random.integers(FEWEST_BOT_VIEWS, MOST_BOT_VIEWS, plan.trouble.bots)
    starts = random.integers(0, 20 * HOUR, plan.trouble.bots)
    here = np.flatnonzero(days == day)
    if not len(here):
        return make_events(0)
    random = plan.generator(Stream.BOTS, day + 1)
    bot = np.repeat(here, views[here])
    place = np.arange(len(bot)) - np.repeat(np.cumsum(views[here]) - views[here], views[here])
    product = random.integers(0, len(shop.catalogue), len(bot))
    number = (day + 1) * NUMBERS_A_DAY + NUMBERS_A_DAY // 2 + bot
    return make_events(
        len(bot),
        kind=int(Kind.PRODUCT_VIEWED),
        time=plan.midnights[day] + starts[bot] + place * BOT_PAUSE,
        visitor=scatter(FIRST_BOT + bot),
        channel=0,
        device=1,
        language=0,
        country=3,
        session=number,
        address=bot % 256,
        product=product,
        price=shop.catalogue.price[product],
        planted=int(Planted.BOT),
    )


def plant_trouble(shop: Shop, events: Events, *, day: int) -> Delivery:
    """Plant late events, duplicates and spoilt rows into the events of a day.

    Args:
        shop: The shop, whose plan says what to plant.
        events: The day's events with their delays and message numbers.
        day: Day index.

    Returns:
        What is received on the day itself, and what on later days.
    """
    plan = shop.plan
    trouble = plan.trouble
    last = plan.days - 1
    spoils = trouble.bad_rows
    if trouble.spoilt_day is not None and plan.day(day) == trouble.spoilt_day:
        spoils = max(spoils, trouble.spoilt_share)
    if not (trouble.late or trouble.duplicates or spoils):
        return Delivery(events, {})
    random = plan.generator(Stream.TROUBLE, day)
    count = len(events)
    free = events["planted"] < 0
    midnights = plan.midnights

    late = free & (random.random(count) < trouble.late) & (day < last)
    waits = random.integers(1, trouble.late_days + 1, count)
    arrives = np.where(late, np.minimum(day + waits, last), day)
    received = events["time"] + events["delay"]
    moment = np.minimum(
        midnights[arrives] + (received - midnights[day]), midnights[arrives + 1] - 1
    )
    delay = np.where(late, moment - events["time"], events["delay"])
    free &= ~late

    copied = free & (random.random(count) < trouble.duplicates)
    free &= ~copied
    soon = random.random(count) < 0.6
    again = np.where(soon, received + random.integers(1_000, 10 * 60_000, count), received + DAY)
    again = np.minimum(again, midnights[-1] - 1)

    spoilt = free & (random.random(count) < spoils)
    about_product = np.isin(events["kind"], PRODUCT_KINDS)
    draw = random.integers(0, len(Fault), count)
    elsewhere = np.array([Fault.UNKNOWN_EVENT, Fault.UNPARSEABLE_TIME, Fault.BROKEN_JSON])
    fault = np.where(
        about_product | np.isin(draw, elsewhere), draw, elsewhere[draw % len(elsewhere)]
    )
    marked = events.with_columns(
        delay=delay,
        planted=np.where(late, int(Planted.LATE), events["planted"]),
        fault=np.where(spoilt, fault, -1),
    )
    copies = marked.take(copied)
    copies = copies.with_columns(
        delay=again[copied] - copies["time"],
        planted=np.full(len(copies), int(Planted.DUPLICATE)),
    )
    file_day = np.concatenate(
        [arrives, np.searchsorted(midnights, again[copied], side="right") - 1]
    )
    everything = join_events([marked, copies])
    later = {
        int(other): everything.take(file_day == other)
        for other in np.unique(file_day[file_day != day])
    }
    return Delivery(everything.take(file_day == day), later)
