"""The hidden side of the simulated customers: who they are, how often they buy, when they stop.

While alive, a customer's orders are a Poisson process with a personal rate (gamma-distributed
within a hidden type) and each day has a constant personal risk to drop out, as in the BG/NBD and
Pareto/NBD models. In the weeks before the last day most customers already visit less: that is
what a sequence model can learn, and, being random, cannot learn fully. What happens in a visit is
in `sessions`.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from insight_assets.simulator.catalogue import CATEGORIES, PURSES, STYLES
from insight_assets.simulator.plan import SimulationPlan, Stream
from insight_assets.simulator.seasons import base_factor, campaign_boost

MONTH = 30.0
NEVER = np.int32(2**30)
FIRST_CUSTOMER_NUMBER = 10_000_000
ALREADY_CUSTOMERS = 0.5
CHANNELS = ("web", "app", "mini_program")
LANGUAGES = ("en-US", "zh-CN")
COUNTRIES = ("CN", "HK", "SG", "US", "GB", "MY")
ENGLISH_SHARE = 0.25
# How far visits have fallen on the last day, for customers who fade.
FADE_FLOOR = 0.05
FADING_SHARE = 0.8
FADE_DAYS = (14, 50)
HIGHEST_INTENT = 0.6
LEAD_SHARE = 0.35
LEAD_DAYS = 10

# Hours of the day by weight; every customer keeps to one of these rhythms.
HOUR_PROFILES = np.array(
    [
        [1, 1, 1, 1, 1, 2, 4, 6, 7, 8, 8, 8, 9, 8, 7, 7, 7, 7, 7, 8, 9, 8, 5, 2],
        [1, 1, 1, 1, 1, 1, 2, 3, 4, 4, 4, 5, 8, 6, 4, 4, 4, 5, 7, 11, 14, 15, 10, 4],
        [8, 6, 4, 2, 1, 1, 1, 1, 2, 2, 3, 3, 5, 4, 3, 3, 3, 4, 5, 7, 10, 13, 15, 13],
        [1, 1, 1, 1, 2, 5, 10, 13, 12, 9, 7, 6, 6, 5, 4, 4, 4, 5, 5, 5, 4, 3, 2, 1],
    ],
    dtype=np.float64,
)


@dataclass(frozen=True)
class CustomerType:
    """A hidden kind of customer.

    Attributes:
        name: Name in the truth table.
        share: Share of all customers.
        orders: Mean orders in 30 days while alive.
        order_shape: Gamma shape of the order rate; a small shape makes customers unlike.
        visits: Mean visits in 30 days while alive.
        lifetime: Mean days until dropout.
        purse: Chances of a loose, usual and tight purse.
        channel: Chances of web, app and mini program as the preferred channel.
        rhythm: Chances of the hour profiles.
        extra_lines: Mean number of products in an order beyond the first.
        curiosity: Mean number of products looked at in a visit, beyond those bought.
        coupon: Chance to use a coupon in an order.
        campaign: How far campaigns move the customer, 0 to 1.
        focus: Categories that this type likes more than others do.
        visit_shape: Gamma shape of the visit rate.
        hazard_shape: Gamma shape of the risk to drop out.
        already: Share who were customers before the start.
        joins: The part of the span, from 0 to 1, in which the others sign up.
    """

    name: str
    share: float
    orders: float
    order_shape: float
    visits: float
    lifetime: float
    purse: tuple[float, float, float]
    channel: tuple[float, float, float]
    rhythm: tuple[float, float, float, float]
    extra_lines: float
    curiosity: float
    coupon: float
    campaign: float
    focus: tuple[str, ...]
    visit_shape: float = 3.0
    hazard_shape: float = 2.5
    already: float = ALREADY_CUSTOMERS
    joins: tuple[float, float] = (0.0, 1.0)


TYPES: tuple[CustomerType, ...] = (
    CustomerType(
        "loyal", 0.16, 2.4, 2.0, 6.5, 480.0, (0.25, 0.6, 0.15), (0.2, 0.5, 0.3),
        (0.4, 0.4, 0.1, 0.1), 1.0, 1.8, 0.25, 0.4, ("snacks", "drinks", "home"),
    ),
    CustomerType(
        "bargain", 0.20, 0.9, 1.2, 5.6, 240.0, (0.02, 0.28, 0.7), (0.2, 0.3, 0.5),
        (0.2, 0.5, 0.2, 0.1), 1.3, 2.4, 0.65, 1.0, ("snacks", "clothing", "kitchen"),
    ),
    CustomerType(
        "premium", 0.09, 1.2, 1.6, 4.4, 420.0, (0.8, 0.18, 0.02), (0.4, 0.5, 0.1),
        (0.6, 0.3, 0.05, 0.05), 0.7, 2.0, 0.05, 0.15, ("beauty", "electronics", "shoes"),
    ),
    CustomerType(
        "browser", 0.20, 0.22, 1.0, 6.0, 200.0, (0.15, 0.55, 0.3), (0.3, 0.5, 0.2),
        (0.2, 0.3, 0.4, 0.1), 0.4, 3.2, 0.25, 0.5, ("clothing", "beauty", "electronics"),
    ),
    CustomerType(
        "gifter", 0.13, 0.35, 1.2, 2.4, 320.0, (0.4, 0.5, 0.1), (0.5, 0.25, 0.25),
        (0.5, 0.3, 0.1, 0.1), 0.9, 2.6, 0.3, 1.0, ("baby", "home", "beauty"),
    ),
    CustomerType(
        "trial", 0.22, 0.5, 0.9, 3.6, 45.0, (0.1, 0.5, 0.4), (0.4, 0.2, 0.4),
        (0.25, 0.25, 0.25, 0.25), 0.4, 2.2, 0.45, 0.6, ("pets", "sports", "health"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Customers:
    """What nobody in the shop can see; every array has shape (N,) unless said.

    Attributes:
        types: The hidden types, `TYPES` unless others were asked for.
        type: Position in `types`.
        acquired: Day index of the sign-up; -1 for those who were customers before the start.
        lead: Day index of an anonymous visit before the sign-up, -1 for none.
        dropout: Day index of the last day on which the customer may do anything; visits start
            only on earlier days. `NEVER` when beyond the span.
        fade_days: Length of the fading before dropout, 0 for none.
        order_rate: Expected orders a day while alive, on a day with factor 1.
        visit_rate: Expected visits a day while alive and not fading, on a day with factor 1.
        hazard: Daily risk to drop out.
        campaign: How far campaigns move the customer.
        group: Purse and style: purse * number of styles + style.
        taste: Cumulative chances of the categories, shape (N, C).
        channel: Preferred channel.
        language: Position in `LANGUAGES`.
        country: Position in `COUNTRIES`.
        rhythm: Position in `HOUR_PROFILES`.
        extra_lines: Mean number of further products in an order.
        curiosity: Mean number of further products looked at.
        coupon: Chance to use a coupon.
        sign_in: Chance that a visit starts signed in.
    """

    types: tuple[CustomerType, ...]
    type: np.ndarray
    acquired: np.ndarray
    lead: np.ndarray
    dropout: np.ndarray
    fade_days: np.ndarray
    order_rate: np.ndarray
    visit_rate: np.ndarray
    hazard: np.ndarray
    campaign: np.ndarray
    group: np.ndarray
    taste: np.ndarray
    channel: np.ndarray
    language: np.ndarray
    country: np.ndarray
    rhythm: np.ndarray
    extra_lines: np.ndarray
    curiosity: np.ndarray
    coupon: np.ndarray
    sign_in: np.ndarray

    def __len__(self) -> int:
        """Give the number of customers."""
        return len(self.type)

    @property
    def purse(self) -> np.ndarray:
        """Price sensitivity: 0 loose, 1 usual, 2 tight."""
        return self.group // len(STYLES)

    def alive_after(self, day: int) -> np.ndarray:
        """Tell who can still visit after a day, shape (N,)."""
        return (self.acquired <= day) & (self.dropout > day + 1)

    def fade(self, chosen: np.ndarray, day: int) -> np.ndarray:
        """Give what is left of the chosen customers' visits on a day, between 0 and 1.

        Args:
            chosen: Positions of customers who are alive, shape (n,).
            day: Day index.

        Returns:
            Factors on the visit rate, shape (n,).
        """
        left = (self.dropout[chosen] - day).astype(np.float32)
        span = self.fade_days[chosen].astype(np.float32)
        share = np.minimum(left / np.maximum(span, 1.0), 1.0)
        return np.where(span > 0, FADE_FLOOR + (1.0 - FADE_FLOOR) * share, np.float32(1.0))

    def mean_fade(self) -> np.ndarray:
        """Give the expected visits of an alive customer over those of one who never fades, (N,).

        The time left to live is exponential with the customer's hazard h; the mean of the linear
        fade over it is 1 - (1 - floor) * (1 - (1 - exp(-h L)) / (h L)).
        """
        product = np.maximum(self.hazard.astype(np.float64) * self.fade_days, 1e-9)
        lost = 1.0 + np.expm1(-product) / product
        return 1.0 - (1.0 - FADE_FLOOR) * lost


def _pick(chances: np.ndarray, rows: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """Draw one column for each row of a table of chances (groups, columns)."""
    summed = np.cumsum(chances, axis=1)
    summed /= summed[:, -1:]
    draws = random.random(len(rows))
    return (draws[:, None] >= summed[rows][:, :-1]).sum(axis=1).astype(np.int8)


def build_customers(plan: SimulationPlan, types: tuple[CustomerType, ...] = TYPES) -> Customers:
    """Draw the customers of a plan.

    Args:
        plan: The shop.
        types: The hidden types that its customers are of.

    Returns:
        Its customers with all that is hidden about them.
    """
    random = plan.generator(Stream.CUSTOMERS)
    count = plan.customers

    def of_type(name: str) -> np.ndarray:
        return np.array([getattr(each, name) for each in types], dtype=np.float64)

    shares = np.cumsum(of_type("share"))
    kind = np.minimum(
        np.searchsorted(shares / shares[-1], random.random(count), side="right"), len(types) - 1
    ).astype(np.int8)

    already = random.random(count) < of_type("already")[kind]
    first, last = of_type("joins")[kind].T
    joined = np.floor(first * plan.days + (last - first) * random.integers(0, plan.days, count))
    acquired = np.where(already, -1, joined).astype(np.int32)
    lead = acquired - random.integers(1, LEAD_DAYS + 1, count)
    has_lead = (acquired > 0) & (lead >= 0) & (random.random(count) < LEAD_SHARE)

    shape = of_type("order_shape")[kind]
    order_rate = of_type("orders")[kind] / MONTH * random.standard_gamma(shape) / shape
    shape = of_type("visit_shape")[kind]
    visit_rate = of_type("visits")[kind] / MONTH * random.standard_gamma(shape) / shape
    visit_rate = np.maximum(visit_rate, order_rate / HIGHEST_INTENT)
    shape = of_type("hazard_shape")[kind]
    hazard = 1.0 / of_type("lifetime")[kind] * random.standard_gamma(shape) / shape
    hazard = np.maximum(hazard, 1e-6)

    lifetime = random.standard_exponential(count) / hazard
    last = np.maximum(acquired, 0) + 1 + lifetime
    dropout = np.where(last > plan.days + FADE_DAYS[1] + 1, NEVER, last).astype(np.int32)
    fade_days = np.where(
        random.random(count) < FADING_SHARE, random.integers(FADE_DAYS[0], FADE_DAYS[1], count), 0
    ).astype(np.int16)

    purse = _pick(np.array([each.purse for each in types]), kind, random=random)
    style = random.integers(0, len(STYLES), count)
    taste = random.standard_gamma(type_tastes(types)[kind].astype(np.float32), dtype=np.float32)
    taste += np.float32(1e-4)
    np.cumsum(taste, axis=1, out=taste)
    taste /= taste[:, -1:]
    taste[:, -1] = 1.0

    language = (random.random(count) >= ENGLISH_SHARE).astype(np.int8)
    country_chances = np.array(
        [[0.25, 0.2, 0.2, 0.15, 0.1, 0.1], [0.94, 0.03, 0.01, 0.01, 0.0, 0.01]]
    )
    return Customers(
        types=types,
        type=kind,
        acquired=acquired,
        lead=np.where(has_lead, lead, -1).astype(np.int32),
        dropout=dropout,
        fade_days=fade_days,
        order_rate=order_rate.astype(np.float32),
        visit_rate=visit_rate.astype(np.float32),
        hazard=hazard.astype(np.float32),
        campaign=of_type("campaign")[kind].astype(np.float32),
        group=(purse * len(STYLES) + style).astype(np.int8),
        taste=taste,
        channel=_pick(np.array([each.channel for each in types]), kind, random=random),
        language=language,
        country=_pick(country_chances, language, random=random),
        rhythm=_pick(np.array([each.rhythm for each in types]), kind, random=random),
        extra_lines=(of_type("extra_lines")[kind] * random.standard_gamma(4.0, count) / 4.0).astype(
            np.float32
        ),
        curiosity=(of_type("curiosity")[kind] * random.standard_gamma(4.0, count) / 4.0).astype(
            np.float32
        ),
        coupon=of_type("coupon")[kind].astype(np.float32),
        sign_in=np.where(random.random(count) < 0.8, 0.95, 0.6).astype(np.float32),
    )


def type_tastes(types: tuple[CustomerType, ...]) -> np.ndarray:
    """Give the Dirichlet weights of the categories that each type's tastes are drawn by, shape (types, C)."""
    likes = np.array(
        [
            [each.share * (4.0 if each.slug in one.focus else 1.0) for each in CATEGORIES]
            for one in types
        ]
    )
    # A small concentration makes tastes personal: about three categories hold most of them.
    return 4.0 * likes / likes.sum(axis=1, keepdims=True)


def expected_order_days(plan: SimulationPlan, customers: Customers, *, horizon: int) -> np.ndarray:
    """Give for how many days of its base rate each customer is expected to buy after the span.

    Args:
        plan: The shop.
        customers: Its customers.
        horizon: Number of days after the last simulated day.

    Returns:
        Expected number of days, weighted by how busy they are, shape (N,): the order rate times
        this is the expected number of orders. 0 for customers who have dropped out; the future
        dropout of the others is averaged over, not looked up.
    """
    alive = customers.alive_after(plan.days - 1)
    days = np.zeros(len(customers), dtype=np.float64)
    survival = np.ones(len(customers), dtype=np.float64)
    daily = np.exp(-customers.hazard.astype(np.float64))
    for ahead in range(1, horizon + 1):
        survival *= daily
        day = plan.last_day + timedelta(days=ahead)
        days += survival * base_factor(day) * (1.0 + campaign_boost(day) * customers.campaign)
    return np.where(alive, days * customers.mean_fade(), 0.0)


def price_sensitivity(customers: Customers) -> np.ndarray:
    """Give the price sensitivity between 0 (loose purse) and 1 (tight purse), shape (N,)."""
    return customers.purse / (PURSES - 1)
