"""One day of visits to the simulated shop: who comes, what they look at, what they buy.

Each step handles all visits of a day at once: who visits (`draw_visits`), which products they
see and put into the cart (`draw_looks`), how the checkout ends (`draw_checkouts`), and at last
the events that all of this leaves behind (`day_sessions`). What follows an order in the days
after is in `fulfilment`.
"""

from dataclasses import dataclass

import numpy as np

from insight_assets.simulator.catalogue import (
    CATEGORIES,
    COMPLEMENTS,
    SHOPPER_GROUPS,
    SUBSTITUTES,
    Catalogue,
    Shelf,
)
from insight_assets.simulator.customers import (
    CHANNELS,
    COUNTRIES,
    ENGLISH_SHARE,
    HOUR_PROFILES,
    Customers,
)
from insight_assets.simulator.events import COLUMNS, Events, Kind, make_events
from insight_assets.simulator.phrases import search
from insight_assets.simulator.plan import SimulationPlan, Stream
from insight_assets.simulator.seasons import (
    ALWAYS_ON,
    CAMPAIGNS,
    COMMON_COUPONS,
    COUPONS,
    base_factor,
    campaign_boost,
    campaign_on,
)

HOUR = 3_600_000
DAY = 24 * HOUR
NUMBERS_A_DAY = 100_000_000
ADDRESSES = 65_536
DEVICES = ("mobile", "desktop", "tablet")

# Baskets share a visit's number; the last digit in base 4 says which one is meant.
CART, ORDER, RETURN = 0, 1, 2
BASKETS_A_VISIT = 4

STRANGERS = 0.12  # visits of people who never sign up, over those of customers
RETURNING_STRANGERS = 0.3
STRANGER_CURIOSITY = 1.2
STRANGER_RATE = 0.05
ROAMING = 0.15
FIRST_INTENT = 0.25
MOST_LINES = 8
MOST_LOOKS = 12
REMEMBERED = 0.35
LINE_COMPLEMENT = 0.55
LOOK_SUBSTITUTE = 0.40
LOOK_COMPLEMENT = 0.10
SECOND_UNIT = 0.14
IDLE_ADD = 0.09
IDLE_REMOVE = 0.25
WISH = 0.03
SHARE = 0.008
CLICK = 0.30
SEARCH_AGAIN = 0.15
IDLE_CHECKOUT = 0.22
IDLE_PAYMENT = 0.4
PAYMENT_FAILURE = 0.05
IDLE_FAILURE = 0.3
PAYMENT_RETRY = 0.8
COUPON_DENIED = 0.04
FREE_SHIPPING = 19_900
SHIPPING_FEE = 1_000
CONSENT_CHANGE = 0.004
PURPOSES = ("analytics", "personalise", "marketing")
FAILURES = ("card_declined", "insufficient_funds", "timeout", "risk_check")
LONGEST_PAUSE = 15 * 60_000
CLOCK_SKEW_SHARE = 0.02

# Places of the events within a visit: the steps before the products, six a product, the checkout.
STEP_SIGN_UP, STEP_IDENTIFY, STEP_CONSENT, STEP_SECOND_CONSENT = 3, 4, 5, 6
STEP_PRODUCTS, STEPS_A_PRODUCT = 8, 8
STEP_CART = STEP_PRODUCTS + STEPS_A_PRODUCT * (MOST_LINES + MOST_LOOKS)
STEPS = STEP_CART + 16

# Mean seconds before an event of each kind, after the event before it in the same visit.
MEAN_PAUSE = np.full(len(Kind), 20.0)
MEAN_PAUSE[Kind.PRODUCT_VIEWED] = 32.0
MEAN_PAUSE[Kind.PRODUCT_CLICKED] = 14.0
MEAN_PAUSE[Kind.PRODUCT_ADDED] = 40.0
MEAN_PAUSE[Kind.PAYMENT_INFO_ENTERED] = 45.0
MEAN_PAUSE[Kind.IDENTIFIED] = 0.5


@dataclass(frozen=True)
class Shop:
    """Everything about the shop that a day's events depend on."""

    plan: SimulationPlan
    catalogue: Catalogue
    customers: Customers


@dataclass(frozen=True)
class Visits:
    """The visits of one day; every array has shape (S,).

    Attributes:
        number: Identity, ascending.
        customer: Who it really is, -1 for strangers.
        start: Start in UTC milliseconds.
        first: Whether the customer signs up in this visit.
        signed_from: Step from which the customer is signed in; `STEPS` for never.
        intent: Whether the customer comes to buy.
        visitor: Device.
        channel: Position in `CHANNELS`.
        device: Position in `DEVICES`.
        language: 0 English, 1 Chinese.
        country: Position of the country.
        group: Purse and style.
        curiosity: Mean number of further products looked at.
        campaign: Position in `ORIGINS`, -1 for a direct visit.
        address: Position of the network address.
    """

    number: np.ndarray
    customer: np.ndarray
    start: np.ndarray
    first: np.ndarray
    signed_from: np.ndarray
    intent: np.ndarray
    visitor: np.ndarray
    channel: np.ndarray
    device: np.ndarray
    language: np.ndarray
    country: np.ndarray
    group: np.ndarray
    curiosity: np.ndarray
    campaign: np.ndarray
    address: np.ndarray

    def __len__(self) -> int:
        """Give the number of visits."""
        return len(self.number)


@dataclass(frozen=True)
class Looks:
    """The products seen in the visits of one day, ordered by visit and place; shape (M,).

    Attributes:
        visit: Position of the visit.
        place: 0, 1, 2, ... within the visit.
        product: Position of the product.
        bought: Whether the customer came for it.
        added: Whether it went into the cart.
        removed: Whether it left the cart again.
        quantity: Units.
    """

    visit: np.ndarray
    place: np.ndarray
    product: np.ndarray
    bought: np.ndarray
    added: np.ndarray
    removed: np.ndarray
    quantity: np.ndarray


@dataclass(frozen=True)
class Checkouts:
    """How the visits' carts end; visit flags have shape (S,), line arrays shape (L,).

    Attributes:
        filled: Whether anything is in the cart at the end.
        seen: Whether the cart is opened.
        started: Whether the checkout starts.
        paying: Whether payment data are entered.
        failed: Whether the first payment fails.
        ordered: Whether an order follows.
        coupon: Position in `COUPONS`, -1 for none.
        denied: Position in `COUPONS` of a refused coupon, -1 for none.
        subtotal, discount, shipping, tax: Money in cents.
        line_visit, line_product, line_price, line_quantity, line_discount: The cart's lines,
            ordered by visit.
    """

    filled: np.ndarray
    seen: np.ndarray
    started: np.ndarray
    paying: np.ndarray
    failed: np.ndarray
    ordered: np.ndarray
    coupon: np.ndarray
    denied: np.ndarray
    subtotal: np.ndarray
    discount: np.ndarray
    shipping: np.ndarray
    tax: np.ndarray
    line_visit: np.ndarray
    line_product: np.ndarray
    line_price: np.ndarray
    line_quantity: np.ndarray
    line_discount: np.ndarray


@dataclass(frozen=True)
class DaySessions:
    """What a day's visits leave behind.

    Attributes:
        events: The events, ordered by visit and time; messages are not numbered yet.
        customers: Customers whose memory changes, in order of their visits.
        remembered: The product that each of them keeps in mind, -1 for none.
    """

    events: Events
    customers: np.ndarray
    remembered: np.ndarray


def scatter(numbers: np.ndarray) -> np.ndarray:
    """Spread numbers below 2**50 over that range, one to one, so that neighbours look unlike."""
    spread = numbers.astype(np.uint64) * np.uint64(0x2545F4914F6CDD1D)
    mask = np.uint64((1 << 50) - 1)
    spread = (spread & mask) ^ ((spread & mask) >> np.uint64(21))
    return (spread & mask).astype(np.int64)


def draw_visits(shop: Shop, day: int, *, random: np.random.Generator) -> Visits:
    """Draw who visits the shop on a day, and how.

    Args:
        shop: The shop.
        day: Day index.
        random: Source of the day's chances.

    Returns:
        The day's visits.
    """
    plan, customers = shop.plan, shop.customers
    today = plan.day(day)
    alive = np.flatnonzero((customers.acquired <= day) & (customers.dropout > day))
    busy = base_factor(today) * (1.0 + campaign_boost(today) * customers.campaign[alive])
    counts = random.poisson(customers.visit_rate[alive] * busy * customers.fade(alive, day))
    # The sign-up is a customer's only visit that day, so that nothing can come before it.
    new = customers.acquired[alive] == day
    counts[new] = 1
    known = np.repeat(alive, counts)
    first = np.repeat(new, counts)
    leads = np.flatnonzero(customers.lead == day)
    strangers = random.poisson(STRANGERS * len(known) + STRANGER_RATE)
    stranger = np.full(strangers, -1)
    customer = np.concatenate([known, leads, stranger])
    count = len(customer)
    is_known = np.zeros(count, dtype=bool)
    is_known[: len(known)] = True
    someone = customer >= 0
    owner = np.maximum(customer, 0)

    def personal(values: np.ndarray, otherwise: np.ndarray | float) -> np.ndarray:
        return np.where(someone, values[owner], otherwise)

    signs_up = np.zeros(count, dtype=bool)
    signs_up[: len(known)] = first
    chance = personal(intent_chance(customers), 0.0)
    chance = np.where(is_known, chance + FIRST_INTENT * signs_up, 0.0)
    intent = random.random(count) < chance
    signed_early = random.random(count) < personal(customers.sign_in, 0.0)
    signed_late = np.where(intent, STEP_CART + 1, STEPS)
    signed_from = np.where(is_known & signed_early, 0, signed_late)
    signed_from = np.where(signs_up, STEP_SIGN_UP, signed_from)

    preferred = personal(customers.channel, random.integers(0, len(CHANNELS), count))
    roams = random.random(count) < ROAMING
    channel = np.where(roams, random.integers(0, len(CHANNELS), count), preferred).astype(np.int64)
    strange = _stranger_identities(plan, day, strangers=strangers, count=count, random=random)
    visitor = scatter(np.where(someone, owner, strange) * len(CHANNELS) + channel)

    # Strangers keep language and country from visit to visit: both follow from the device.
    strange_language = (visitor // 100) % 100 >= 100 * ENGLISH_SHARE
    language = personal(customers.language, strange_language).astype(np.int64)
    strange_country = np.where(strange_language, 0, visitor % len(COUNTRIES))
    rhythm = personal(customers.rhythm, random.integers(0, len(HOUR_PROFILES), count))
    start = _start_times(plan, day, rhythm=rhythm, random=random)

    running = campaign_on(today)
    led = random.random(count) < 0.30
    campaign = np.where(led, random.integers(0, len(ALWAYS_ON), count), -1)
    if running is not None:
        moved = random.random(count) < 0.15 + 0.35 * personal(customers.campaign, 0.3)
        entry = len(ALWAYS_ON) + 2 * running + random.integers(0, 2, count)
        campaign = np.where(moved, entry, campaign)
    address = visitor % ADDRESSES
    elsewhere = random.random(count) < 0.2
    address = np.where(elsewhere, random.integers(0, ADDRESSES, count), address)
    group = personal(customers.group, random.integers(0, SHOPPER_GROUPS, count)).astype(np.int64)
    return Visits(
        number=(day + 1) * NUMBERS_A_DAY + np.arange(count, dtype=np.int64),
        customer=customer,
        start=start,
        first=signs_up,
        signed_from=signed_from,
        intent=intent,
        visitor=visitor,
        channel=channel,
        device=device_kinds(visitor, channel),
        language=language,
        country=personal(customers.country, strange_country).astype(np.int64),
        group=group,
        curiosity=personal(customers.curiosity, STRANGER_CURIOSITY),
        campaign=campaign,
        address=address,
    )


def intent_chance(customers: Customers) -> np.ndarray:
    """Give the chance that a visit is to buy, the sign-up apart: some of them end without an order, shape (N,)."""
    return customers.order_rate / customers.visit_rate / (1.0 - PAYMENT_FAILURE * (1 - PAYMENT_RETRY))


def _stranger_identities(
    plan: SimulationPlan, day: int, *, strangers: int, count: int, random: np.random.Generator
) -> np.ndarray:
    """Give identities to visitors who are nobody's customer; some were here in the last week."""
    a_day = NUMBERS_A_DAY // 10
    fresh = plan.customers + day * a_day + np.arange(count)
    then = np.maximum(day - random.integers(1, 8, count), 0)
    earlier = plan.customers + then * a_day + random.integers(0, max(strangers, 1), count)
    returns = (random.random(count) < RETURNING_STRANGERS) & (day > 0)
    return np.where(returns, earlier, fresh)


def device_kinds(visitor: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """Give each visitor's device, always the same one.

    The web is 38 % mobile, 55 % desktop and 7 % tablet; apps run on phones and a few tablets.
    """
    habit = visitor % 100
    web = np.where(habit < 38, 0, np.where(habit < 93, 1, 2))
    return np.where(channel == 0, web, np.where((channel == 1) & (habit >= 94), 2, 0))


def _start_times(
    plan: SimulationPlan, day: int, *, rhythm: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Draw the visits' starts in UTC milliseconds by the visitors' rhythms."""
    count, hours = len(rhythm), HOUR_PROFILES.shape[1]
    steps = np.cumsum(HOUR_PROFILES, axis=1)
    steps = (np.arange(len(HOUR_PROFILES))[:, None] + steps / steps[:, -1:]).ravel()
    hour = np.searchsorted(steps, rhythm + random.random(count), side="right") - rhythm * hours
    hour = np.minimum(hour, hours - 1).astype(np.int64)
    length = plan.midnights[day + 1] - plan.midnights[day]
    within = np.floor((hour + random.random(count)) * HOUR).astype(np.int64)
    return plan.midnights[day] + np.minimum(within, length - 1)


def draw_looks(
    shop: Shop, shelf: Shelf, *, visits: Visits, memory: np.ndarray, random: np.random.Generator
) -> tuple[Looks, np.ndarray]:
    """Draw the products that each visit looks at and puts into the cart.

    Args:
        shop: The shop.
        shelf: The products at the day's prices.
        visits: The day's visits.
        memory: The product that each customer has in mind, -1 for none, shape (N,).
        random: Source of the day's chances.

    Returns:
        The looks, and the product that each visit is mainly about, shape (S,).
    """
    catalogue, customers = shop.catalogue, shop.customers
    count = len(visits)
    owner = np.maximum(visits.customer, 0)
    known = visits.customer >= 0

    def fresh(rows: np.ndarray) -> np.ndarray:
        shopper = visits.customer[rows]
        steps = customers.taste[np.maximum(shopper, 0)]
        wanted = (random.random(len(rows), dtype=np.float32)[:, None] >= steps[:, :-1]).sum(axis=1)
        anything = random.integers(0, len(CATEGORIES), len(rows))
        return shelf.choose(
            visits.group[rows], np.where(shopper >= 0, wanted, anything), random=random
        )

    anchor = fresh(np.arange(count))
    kept = np.where(known, memory[owner], -1)
    anchor = np.where((kept >= 0) & (random.random(count) < REMEMBERED), kept, anchor)

    further = random.poisson(np.where(known, customers.extra_lines[owner], 0.0))
    lines = np.where(visits.intent, np.minimum(1 + further, MOST_LINES), 0)
    idle = np.minimum(random.geometric(1.0 / (1.0 + visits.curiosity)) - 1, MOST_LOOKS)
    looks = lines + idle
    visit = np.repeat(np.arange(count), looks)
    place = np.arange(len(visit)) - np.repeat(np.cumsum(looks) - looks, looks)
    bought = place < lines[visit]
    product = anchor[visit]
    draw = random.random(len(visit))
    partner = bought & (draw < LINE_COMPLEMENT)
    rival = ~bought & (draw < LOOK_SUBSTITUTE)
    partner |= ~bought & ~rival & (draw < LOOK_SUBSTITUTE + LOOK_COMPLEMENT)
    start = place == 0
    other = np.flatnonzero(~start & ~partner & ~rival)
    chosen = product.copy()
    chosen[other] = fresh(visit[other])
    beside = random.integers(0, COMPLEMENTS, len(visit))
    chosen = np.where(~start & partner, catalogue.complements[product, beside], chosen)
    near = random.integers(0, SUBSTITUTES, len(visit))
    chosen = np.where(~start & rival, catalogue.substitutes[product, near], chosen)

    # A product is looked at once a visit; what is bought comes first and stays.
    _, kept_rows = np.unique(visit * len(catalogue) + chosen, return_index=True)
    kept_rows = np.sort(kept_rows)
    visit, chosen, bought = visit[kept_rows], chosen[kept_rows], bought[kept_rows]
    added = bought | (random.random(len(visit)) < IDLE_ADD)
    idle_add = added & ~bought
    dropped = visits.intent[visit] | (random.random(len(visit)) < IDLE_REMOVE)
    units = 1 + (random.random(len(visit)) < SECOND_UNIT) + (random.random(len(visit)) < 0.03)
    order = np.argsort((visit << 24) | random.integers(0, 1 << 24, len(visit)), kind="stable")
    visit = visit[order]
    sizes = np.bincount(visit, minlength=count)
    return (
        Looks(
            visit=visit,
            place=np.arange(len(visit)) - np.repeat(np.cumsum(sizes) - sizes, sizes),
            product=chosen[order],
            bought=bought[order],
            added=added[order],
            removed=(idle_add & dropped)[order],
            quantity=np.where(bought, units, 1)[order],
        ),
        anchor,
    )


def draw_checkouts(
    shop: Shop,
    shelf: Shelf,
    *,
    visits: Visits,
    looks: Looks,
    day: int,
    random: np.random.Generator,
) -> Checkouts:
    """Draw how far each cart gets, and work out its money to the cent.

    Args:
        shop: The shop.
        shelf: The products at the day's prices.
        visits: The day's visits.
        looks: The products seen.
        day: Day index.
        random: Source of the day's chances.

    Returns:
        The carts and their ends.
    """
    count = len(visits)
    in_cart = np.flatnonzero(looks.added & ~looks.removed)
    line_visit = looks.visit[in_cart]
    line_product = looks.product[in_cart]
    line_quantity = looks.quantity[in_cart]
    line_price = shelf.prices[line_product]
    filled = np.bincount(line_visit, minlength=count) > 0

    intent = visits.intent
    seen = filled & (intent | (random.random(count) < 0.7))
    started = intent | (filled & (random.random(count) < IDLE_CHECKOUT))
    paying = intent | (started & (random.random(count) < IDLE_PAYMENT))
    unlucky = np.where(intent, PAYMENT_FAILURE, IDLE_FAILURE)
    failed = paying & (random.random(count) < unlucky)
    ordered = intent & (~failed | (random.random(count) < PAYMENT_RETRY))

    eager = np.where(visits.customer >= 0, shop.customers.coupon[np.maximum(visits.customer, 0)], 0)
    running = campaign_on(shop.plan.day(day))
    code = random.integers(1, len(COMMON_COUPONS), count)
    if running is not None:
        code = np.where(random.random(count) < 0.8, len(COMMON_COUPONS) + running, code)
    code = np.where(visits.first, 0, code)
    uses = started & (random.random(count) < np.maximum(eager, 0.6 * visits.first))
    coupon = np.where(uses, code, -1)
    refused = started & (random.random(count) < COUPON_DENIED)
    stale = len(COMMON_COUPONS) + random.integers(0, len(CAMPAIGNS), count)
    denied = np.where(refused, stale, -1)

    percents = np.array([percent for _, percent in COUPONS] + [0])
    percent = percents[coupon]
    gross = line_price * line_quantity
    line_discount = gross * percent[line_visit] // 100

    def total(values: np.ndarray) -> np.ndarray:
        summed = np.zeros(count, dtype=np.int64)
        np.add.at(summed, line_visit, values)
        return summed

    subtotal, discount = total(gross), total(line_discount)
    revenue = subtotal - discount
    shipping = np.where((revenue > 0) & (revenue < FREE_SHIPPING), SHIPPING_FEE, 0)
    tax = np.round(revenue * shop.plan.tax_rate).astype(np.int64)
    return Checkouts(
        filled=filled,
        seen=seen,
        started=started,
        paying=paying,
        failed=failed,
        ordered=ordered,
        coupon=coupon,
        denied=denied,
        subtotal=subtotal,
        discount=discount,
        shipping=shipping,
        tax=tax,
        line_visit=line_visit,
        line_product=line_product,
        line_price=line_price,
        line_quantity=line_quantity,
        line_discount=line_discount,
    )


def day_sessions(shop: Shop, shelf: Shelf, *, memory: np.ndarray, day: int) -> DaySessions:
    """Simulate all visits that start on a day.

    Args:
        shop: The shop.
        shelf: The products at the day's prices.
        memory: The product that each customer has in mind, -1 for none, shape (N,).
        day: Day index.

    Returns:
        The events and what customers remember. Events of late visits may lie after midnight.
    """
    random = shop.plan.generator(Stream.SESSIONS, day)
    visits = draw_visits(shop, day, random=random)
    looks, anchor = draw_looks(shop, shelf, visits=visits, memory=memory, random=random)
    checkouts = draw_checkouts(shop, shelf, visits=visits, looks=looks, day=day, random=random)
    steps = [
        *_arrival(shop, visits, anchor=anchor, random=random),
        *_looking(shop, shelf, visits=visits, looks=looks, random=random),
        *_paying(visits, checkouts, random=random),
    ]
    events = _in_time(visits, steps, random=random)
    events = Events(events.columns, _basket_lines(visits, checkouts))

    sizes = np.bincount(looks.visit, minlength=len(visits))
    changes = (visits.customer >= 0) & ((sizes > 0) | checkouts.ordered)
    changed = np.flatnonzero(changes)
    return DaySessions(
        events=events,
        customers=visits.customer[changed],
        remembered=np.where(checkouts.ordered, -1, anchor)[changed],
    )


@dataclass(frozen=True)
class _Step:
    """Events of one kind: their visits, their places within the visits, their own columns."""

    kind: Kind
    visit: np.ndarray
    step: np.ndarray | int
    columns: dict[str, np.ndarray]


def _arrival(
    shop: Shop, visits: Visits, *, anchor: np.ndarray, random: np.random.Generator
) -> list[_Step]:
    """Give the events before the first product: entry, campaign, sign-up, list or search."""
    count = len(visits)
    everyone = np.arange(count)
    steps = [_Step(Kind.PAGE_VIEWED, everyone, 0, {})]
    promoted = np.flatnonzero(visits.campaign >= len(ALWAYS_ON))
    about = (visits.campaign[promoted] - len(ALWAYS_ON)) // 2
    steps.append(_Step(Kind.PROMOTION_VIEWED, promoted, 1, {"promotion": about}))
    clicks = random.random(len(promoted)) < 0.45
    steps.append(_Step(Kind.PROMOTION_CLICKED, promoted[clicks], 2, {"promotion": about[clicks]}))

    first = np.flatnonzero(visits.first)
    steps.append(_Step(Kind.SIGNED_UP, first, STEP_SIGN_UP, {}))
    if shop.plan.identify_calls:
        steps.append(_Step(Kind.IDENTIFIED, first, STEP_IDENTIFY, {}))
    signed = visits.signed_from == 0
    changing = np.flatnonzero(signed & (random.random(count) < CONSENT_CHANGE))
    for rows, step, purpose, agrees in (
        (first, STEP_CONSENT, np.full(len(first), 0), 0.9),
        (first, STEP_SECOND_CONSENT, random.integers(1, 3, len(first)), 0.6),
        (changing, STEP_CONSENT, random.integers(0, 3, len(changing)), 0.35),
    ):
        granted = random.random(len(rows)) < agrees
        steps.append(
            _Step(Kind.CONSENT_UPDATED, rows, step, {"purpose": purpose, "granted": granted})
        )

    draw = random.random(count)
    searching = np.flatnonzero(draw < 0.35)
    query, results = search(
        language=visits.language[searching],
        product=anchor[searching],
        catalogue=shop.catalogue,
        random=random,
    )
    steps.append(_Step(Kind.PRODUCTS_SEARCHED, searching, 7, {"query": query, "results": results}))
    listing = np.flatnonzero((draw >= 0.35) & (draw < 0.75))
    category = shop.catalogue.category[anchor[listing]]
    steps.append(_Step(Kind.PRODUCT_LIST_VIEWED, listing, 7, {"category": category}))
    return steps


def _looking(
    shop: Shop, shelf: Shelf, *, visits: Visits, looks: Looks, random: np.random.Generator
) -> list[_Step]:
    """Give the events about single products."""
    count = len(looks.visit)
    base = STEP_PRODUCTS + looks.place * STEPS_A_PRODUCT
    price = shelf.prices[looks.product]

    def about(kind: Kind, chosen: np.ndarray, offset: int, *, counted: bool = False) -> _Step:
        columns = {"product": looks.product[chosen], "price": price[chosen]}
        if counted:
            columns["quantity"] = looks.quantity[chosen]
        return _Step(kind, looks.visit[chosen], base[chosen] + offset, columns)

    again = np.flatnonzero((looks.place > 0) & (random.random(count) < SEARCH_AGAIN))
    query, results = search(
        language=visits.language[looks.visit[again]],
        product=looks.product[again],
        catalogue=shop.catalogue,
        random=random,
    )
    idle = ~looks.bought
    return [
        _Step(
            Kind.PRODUCTS_SEARCHED,
            looks.visit[again],
            base[again],
            {"query": query, "results": results},
        ),
        about(Kind.PRODUCT_CLICKED, np.flatnonzero(random.random(count) < CLICK), 1),
        about(Kind.PRODUCT_VIEWED, np.arange(count), 2),
        about(Kind.PRODUCT_SHARED, np.flatnonzero(random.random(count) < SHARE), 3),
        about(
            Kind.PRODUCT_ADDED_TO_WISHLIST, np.flatnonzero(idle & (random.random(count) < WISH)), 4
        ),
        about(Kind.PRODUCT_ADDED, np.flatnonzero(looks.added), 5, counted=True),
        about(Kind.PRODUCT_REMOVED, np.flatnonzero(looks.removed), 6, counted=True),
    ]


def _paying(visits: Visits, carts: Checkouts, *, random: np.random.Generator) -> list[_Step]:
    """Give the events from the cart to the order."""
    revenue = carts.subtotal - carts.discount
    total = revenue + carts.shipping + carts.tax
    cart = visits.number * BASKETS_A_VISIT + CART

    def at(chosen: np.ndarray, **columns: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rows = np.flatnonzero(chosen)
        return rows, {name: values[rows] for name, values in columns.items()}

    def step(kind: Kind, offset: int, chosen: np.ndarray, **columns: np.ndarray) -> _Step:
        rows, held = at(chosen, **columns)
        return _Step(kind, rows, STEP_CART + offset, held)

    reason = random.integers(0, len(FAILURES), len(visits))
    retried = carts.failed & carts.ordered
    return [
        step(Kind.CART_VIEWED, 0, carts.seen, basket=cart, subtotal=carts.subtotal),
        step(Kind.CHECKOUT_STARTED, 2, carts.started, basket=cart, subtotal=carts.subtotal),
        step(Kind.COUPON_DENIED, 3, carts.denied >= 0, coupon=carts.denied),
        step(
            Kind.COUPON_APPLIED, 4, carts.coupon >= 0, coupon=carts.coupon, discount=carts.discount
        ),
        step(Kind.PAYMENT_INFO_ENTERED, 5, carts.paying, total=total),
        step(Kind.PAYMENT_FAILED, 6, carts.failed, total=total, reason=reason),
        step(Kind.PAYMENT_INFO_ENTERED, 7, retried, total=total),
        step(
            Kind.ORDER_COMPLETED,
            8,
            carts.ordered,
            order=visits.number,
            basket=visits.number * BASKETS_A_VISIT + ORDER,
            coupon=carts.coupon,
            subtotal=carts.subtotal,
            discount=carts.discount,
            revenue=revenue,
            shipping=carts.shipping,
            tax=carts.tax,
            total=total,
        ),
    ]


def _in_time(visits: Visits, steps: list[_Step], *, random: np.random.Generator) -> Events:
    """Put the steps of all visits in order and give each event its time and its visit's traits."""
    visit = np.concatenate([step.visit for step in steps])
    place = np.concatenate([np.broadcast_to(step.step, len(step.visit)) for step in steps])
    order = np.argsort(visit * STEPS + place, kind="stable")
    visit, place = visit[order], place[order]
    kind = np.repeat(
        np.array([step.kind for step in steps], dtype=np.int8), [len(step.visit) for step in steps]
    )[order]

    pause = 1_500 + np.minimum(
        random.standard_exponential(len(visit)) * MEAN_PAUSE[kind] * 1000, LONGEST_PAUSE
    ).astype(np.int64)
    opens = np.empty(len(visit), dtype=bool)
    opens[:1] = True
    opens[1:] = visit[1:] != visit[:-1]
    pause[opens] = 0
    elapsed = np.cumsum(pause)
    elapsed -= np.repeat(elapsed[opens], np.diff(np.append(np.flatnonzero(opens), len(visit))))
    skewed = random.random(len(visits)) < CLOCK_SKEW_SHARE
    skew = np.where(skewed, random.integers(-600_000, 600_000, len(visits)), 0)

    columns: dict[str, np.ndarray | int] = {
        "time": visits.start[visit] + elapsed,
        "skew": skew[visit],
        "kind": kind,
        "customer": visits.customer[visit],
        "signed": place >= visits.signed_from[visit],
        "visitor": visits.visitor[visit],
        "channel": visits.channel[visit],
        "device": visits.device[visit],
        "language": visits.language[visit],
        "country": visits.country[visit],
        "session": visits.number[visit],
        "campaign": visits.campaign[visit],
        "address": visits.address[visit],
    }
    for name in sorted({name for step in steps for name in step.columns}):
        dtype = COLUMNS[name]
        joined = np.concatenate(
            [
                step.columns[name].astype(dtype, copy=False)
                if name in step.columns
                else np.full(len(step.visit), -1, dtype=dtype)
                for step in steps
            ]
        )
        columns[name] = joined[order]
    return make_events(len(visit), **columns)


def _basket_lines(visits: Visits, carts: Checkouts) -> dict[str, np.ndarray]:
    """Give the product lines of carts that were opened or checked out, and of orders."""
    shown = (carts.seen | carts.started)[carts.line_visit]
    sold = carts.ordered[carts.line_visit]
    number = visits.number[carts.line_visit]

    def both(values: np.ndarray, ordered: np.ndarray | None = None) -> np.ndarray:
        return np.concatenate([values[shown], (values if ordered is None else ordered)[sold]])

    nothing = np.zeros_like(carts.line_discount)
    return {
        "basket": np.concatenate(
            [number[shown] * BASKETS_A_VISIT + CART, number[sold] * BASKETS_A_VISIT + ORDER]
        ),
        "product": both(carts.line_product).astype(np.int32),
        "price": both(carts.line_price),
        "quantity": both(carts.line_quantity).astype(np.int16),
        "discount": both(nothing, carts.line_discount),
    }
