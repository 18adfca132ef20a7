"""What follows an order of the simulated shop, hours to weeks later, and who asks for help.

An order is cancelled, or it is shipped, delivered, perhaps partly sent back and refunded, and
perhaps reviewed. All of it is drawn when the order is placed and comes back as events with their
own times; `simulation` keeps them until their day has come. A customer who has dropped out neither
reviews nor asks; the shop still ships and refunds.
"""

from dataclasses import dataclass

import numpy as np

from insight_assets.simulator.catalogue import CATEGORIES, Catalogue
from insight_assets.simulator.customers import CHANNELS
from insight_assets.simulator.events import Events, Kind, join_events, make_events
from insight_assets.simulator.phrases import TOPICS, write_reviews, write_tickets
from insight_assets.simulator.plan import Stream
from insight_assets.simulator.sessions import (
    ADDRESSES,
    BASKETS_A_VISIT,
    DAY,
    HOUR,
    NUMBERS_A_DAY,
    RETURN,
    Shop,
    device_kinds,
    scatter,
)

CANCELLED = 0.025
SLOW_DELIVERY = 0.10
REVIEWED = 0.24
RETURN_FLOOR = 0.015
RETURN_RANGE = 0.12
SIZED_RETURN = 0.04
PART_OF_UNITS = 0.5
ORDER_TICKET = 0.03
SLOW_TICKET = 0.25
RETURN_TICKET = 0.35
# Tickets without an order, a customer and day; people who are about to leave ask more.
IDLE_TICKET = 0.0008
FADING_TICKET = 0.006
SIZED = np.array([category.sized for category in CATEGORIES])

REASONS = (
    "changed_mind",
    "out_of_stock",
    "found_cheaper",
    "defective",
    "wrong_size",
    "not_as_described",
    "no_longer_needed",
)
CANCEL_REASONS = 3
FIRST_RETURN_REASON = 3
WRONG_SIZE = REASONS.index("wrong_size")
TOPIC_OF_RETURN = np.array(
    [TOPICS.index(topic) for topic in ("refund", "refund", "refund", "quality", "size", "quality",
                                       "refund")]
)  # fmt: skip
GENERAL_TOPICS = np.array(
    [TOPICS.index(topic) for topic in ("payment", "coupon", "account", "other", "size")]
)


@dataclass(frozen=True)
class _Course:
    """What becomes of the orders of a day; every array has shape (R,).

    Attributes:
        cancelled: Whether the order is cancelled before it is shipped.
        arrived: When it arrives, UTC milliseconds.
        slow: Whether it arrives much later than usual.
        returned: Whether anything is sent back.
        reason: Why, as a position in `REASONS`.
    """

    cancelled: np.ndarray
    arrived: np.ndarray
    slow: np.ndarray
    returned: np.ndarray
    reason: np.ndarray


@dataclass(frozen=True)
class _Orders:
    """Orders with their lines; order arrays have shape (R,), line arrays (L,)."""

    events: Events
    number: np.ndarray
    customer: np.ndarray
    time: np.ndarray
    line_order: np.ndarray
    line_product: np.ndarray
    line_price: np.ndarray
    line_quantity: np.ndarray
    line_discount: np.ndarray

    def follow(
        self,
        kind: Kind,
        rows: np.ndarray,
        time: np.ndarray,
        lines: dict[str, np.ndarray] | None = None,
        *,
        shop_side: bool = True,
        **columns: np.ndarray,
    ) -> Events:
        """Make later events about some of the orders, by the shop or by the customer."""
        events = self.events
        base: dict[str, np.ndarray | int] = {
            name: events[name][rows] for name in ("customer", "channel", "language", "country")
        }
        if not shop_side:
            base |= {name: events[name][rows] for name in ("visitor", "device", "address", "skew")}
        base |= {"kind": int(kind), "signed": 1, "time": time, "order": self.number[rows]}
        return make_events(len(rows), lines, **{**base, **columns})


def _orders(events: Events) -> _Orders:
    rows = np.flatnonzero(events["kind"] == Kind.ORDER_COMPLETED)
    placed = events.take(rows)
    number = placed["order"]
    lines = placed.lines
    # Visits are numbered in order, but the lines of one order stand together in the cart's order.
    home = np.searchsorted(number, lines["basket"] // BASKETS_A_VISIT)
    return _Orders(
        events=placed,
        number=number,
        customer=placed["customer"],
        time=placed["time"],
        line_order=home,
        line_product=lines["product"],
        line_price=lines["price"],
        line_quantity=lines["quantity"],
        line_discount=lines["discount"],
    )


def still_customers(shop: Shop, customer: np.ndarray, *, time: np.ndarray) -> np.ndarray:
    """Tell which customers have not dropped out by a time, shape (n,).

    Args:
        shop: The shop.
        customer: Positions of the customers, shape (n,).
        time: UTC milliseconds, shape (n,).

    Returns:
        True up to and on the last day.
    """
    day = np.searchsorted(shop.plan.midnights, time, side="right") - 1
    return day <= shop.customers.dropout[customer]


def return_chances(catalogue: Catalogue) -> np.ndarray:
    """Give the chance that a bought line of each product is sent back, shape (P,)."""
    poor = 1.0 / (1.0 + np.exp(1.4 * catalogue.quality + 0.8))
    return RETURN_FLOOR + RETURN_RANGE * poor + SIZED_RETURN * SIZED[catalogue.category]


def day_fulfilment(shop: Shop, sessions: Events, *, day: int) -> Events:
    """Draw everything that follows a day's orders, and the day's other support tickets.

    Args:
        shop: The shop.
        sessions: The events of the visits that started on the day.
        day: Day index.

    Returns:
        Later events, in no special order, some beyond the span.
    """
    random = shop.plan.generator(Stream.FULFILMENT, day)
    orders = _orders(sessions)
    count = len(orders.number)
    cancelled = random.random(count) < CANCELLED
    slow = ~cancelled & (random.random(count) < SLOW_DELIVERY)

    rows = np.flatnonzero(cancelled)
    back = np.flatnonzero(cancelled[orders.line_order])
    quantity = orders.line_quantity
    parts = [
        _give_back(
            Kind.ORDER_CANCELLED,
            orders,
            rows,
            back,
            quantity[back],
            time=orders.time[rows] + random.integers(HOUR // 6, 6 * HOUR, len(rows)),
            reason=random.integers(0, CANCEL_REASONS, len(rows)),
        )
    ]

    shipped = orders.time + random.integers(4 * HOUR, 40 * HOUR, count)
    arrived = shipped + random.integers(DAY, 4 * DAY, count) + np.where(slow, 5 * DAY, 0)
    sent = np.flatnonzero(~cancelled)
    parts.append(orders.follow(Kind.ORDER_SHIPPED, sent, shipped[sent]))
    parts.append(orders.follow(Kind.ORDER_DELIVERED, sent, arrived[sent]))

    product = orders.line_product
    sized = SIZED[shop.catalogue.category[product]]
    chance = return_chances(shop.catalogue)[product]
    returned = ~cancelled[orders.line_order] & (random.random(len(product)) < chance)
    back = np.flatnonzero(returned)
    units = quantity[back].astype(np.int64)
    some = np.ceil(units * random.random(len(back)) * 0.999).astype(np.int64)
    kept_some = random.random(len(back)) < PART_OF_UNITS
    refunded = np.unique(orders.line_order[back])
    reason = np.full(count, FIRST_RETURN_REASON)
    reason[refunded] = random.integers(FIRST_RETURN_REASON, len(REASONS), len(refunded))
    fits = np.bincount(orders.line_order[back], weights=sized[back], minlength=count) == 0
    reason = np.where((reason == WRONG_SIZE) & fits, FIRST_RETURN_REASON, reason)
    parts.append(
        _give_back(
            Kind.ORDER_REFUNDED,
            orders,
            refunded,
            back,
            np.where(kept_some, np.maximum(some, 1), units),
            time=arrived[refunded] + random.integers(DAY, 12 * DAY, len(refunded)),
            reason=reason[refunded],
        )
    )
    got_back = np.zeros(count, dtype=bool)
    got_back[refunded] = True
    course = _Course(cancelled, arrived, slow, got_back, reason)
    parts.append(_reviews(shop, orders, course=course, random=random))
    parts.extend(_order_tickets(shop, orders, course=course, random=random))
    parts.extend(_general_tickets(shop, day, random=random))
    return join_events(parts)


def _give_back(
    kind: Kind,
    orders: _Orders,
    rows: np.ndarray,
    lines: np.ndarray,
    units: np.ndarray,
    *,
    time: np.ndarray,
    reason: np.ndarray,
) -> Events:
    """Make the documents that give back some units of some lines (grouped by order)."""
    bought = orders.line_quantity[lines].astype(np.int64)
    discount = orders.line_discount[lines] * units // bought
    value = orders.line_price[lines] * units - discount
    totals = np.zeros(len(orders.number), dtype=np.int64)
    np.add.at(totals, orders.line_order[lines], value)
    number = orders.number[orders.line_order[lines]]
    return orders.follow(
        kind,
        rows,
        time,
        {
            "basket": number * BASKETS_A_VISIT + RETURN,
            "product": orders.line_product[lines],
            "price": orders.line_price[lines],
            "quantity": units,
            "discount": discount,
        },
        basket=orders.number[rows] * BASKETS_A_VISIT + RETURN,
        revenue=totals[rows],
        total=totals[rows],
        reason=reason,
    )


def _reviews(
    shop: Shop, orders: _Orders, *, course: _Course, random: np.random.Generator
) -> Events:
    """Draw who reviews one product of the order, with stars and words."""
    count = len(orders.number)
    time = (
        course.arrived + 2 * HOUR + (random.standard_exponential(count) * 3 * DAY).astype(np.int64)
    )
    wants = ~course.cancelled & (random.random(count) < REVIEWED)
    rows = np.flatnonzero(wants & still_customers(shop, orders.customer, time=time))
    sizes = np.bincount(orders.line_order, minlength=count)
    firsts = np.cumsum(sizes) - sizes
    line = (firsts + np.floor(random.random(count) * sizes).astype(np.int64))[rows]
    product = orders.line_product[line]
    quality = shop.catalogue.quality[product]
    liked = (
        3.95
        + 0.8 * quality
        - 1.2 * course.slow[rows]
        - 0.9 * course.returned[rows]
        + random.normal(0.0, 0.75, len(rows))
    )
    rating = np.clip(np.round(liked), 1, 5).astype(np.int64)
    phrase = write_reviews(
        language=orders.events["language"][rows].astype(np.int64),
        rating=rating,
        quality=quality,
        sized=SIZED[shop.catalogue.category[product]],
        slow=course.slow[rows],
        random=random,
    )
    return orders.follow(
        Kind.PRODUCT_REVIEWED,
        rows,
        time[rows],
        shop_side=False,
        review=orders.number[rows],
        product=product,
        price=orders.line_price[line],
        rating=rating,
        phrase=phrase,
    )


def _order_tickets(
    shop: Shop, orders: _Orders, *, course: _Course, random: np.random.Generator
) -> tuple[Events, Events]:
    """Draw the support tickets about the orders: opened, and closed later."""
    count = len(orders.number)
    chance = ORDER_TICKET + SLOW_TICKET * course.slow + RETURN_TICKET * course.returned
    asks = random.random(count) < chance
    time = course.arrived + random.integers(-DAY // 2, 2 * DAY, count)
    rows = np.flatnonzero(asks & still_customers(shop, orders.customer, time=time))
    topic = random.integers(0, len(TOPICS), count)
    topic = np.where(course.returned, TOPIC_OF_RETURN[course.reason], topic)
    topic = np.where(course.slow, TOPICS.index("delivery"), topic)
    opened = orders.follow(
        Kind.SUPPORT_TICKET_OPENED,
        rows,
        time[rows],
        shop_side=False,
        ticket=orders.number[rows] * 2,
        topic=topic[rows],
    )
    return _ticket_pair(opened, random=random)


def _general_tickets(shop: Shop, day: int, *, random: np.random.Generator) -> tuple[Events, Events]:
    """Draw the day's support tickets that are about no order: opened, and closed later."""
    plan, customers = shop.plan, shop.customers
    alive = np.flatnonzero((customers.acquired < day) & (customers.dropout > day))
    worry = 1.0 - customers.fade(alive, day)
    chance = IDLE_TICKET + FADING_TICKET * worry
    asking = alive[random.random(len(alive)) < chance]
    channel = customers.channel[asking].astype(np.int64)
    visitor = scatter(asking * len(CHANNELS) + channel)
    length = plan.midnights[day + 1] - plan.midnights[day]
    time = plan.midnights[day] + 8 * HOUR + random.integers(0, length - 10 * HOUR, len(asking))
    number = (day + 1) * NUMBERS_A_DAY + np.arange(len(asking), dtype=np.int64)
    opened = make_events(
        len(asking),
        kind=int(Kind.SUPPORT_TICKET_OPENED),
        time=time,
        customer=asking,
        signed=1,
        visitor=visitor,
        channel=channel,
        device=device_kinds(visitor, channel),
        address=visitor % ADDRESSES,
        language=customers.language[asking],
        country=customers.country[asking],
        ticket=number * 2 + 1,
        topic=GENERAL_TOPICS[random.integers(0, len(GENERAL_TOPICS), len(asking))],
    )
    return _ticket_pair(opened, random=random)


def _ticket_pair(opened: Events, *, random: np.random.Generator) -> tuple[Events, Events]:
    """Give tickets their words, and the later events that close them."""
    topic = opened["topic"].astype(np.int64)
    phrase = write_tickets(language=opened["language"].astype(np.int64), topic=topic, random=random)
    waits = random.integers(2 * HOUR, 4 * DAY, len(opened))
    closed = make_events(
        len(opened),
        kind=int(Kind.SUPPORT_TICKET_CLOSED),
        signed=1,
        time=opened["time"] + waits,
        **{
            name: opened[name]
            for name in ("customer", "channel", "language", "country", "ticket", "topic")
        },
    )
    return opened.with_columns(phrase=phrase), closed
