"""What to simulate: the size, the span, the seed and the trouble of one shop.

A plan is the whole input of the simulator: two equal plans give equal bytes. Here belong the
plan, its named sizes and the random streams that follow from its seed. How a shop behaves is in
`catalogue`, `customers`, `seasons`, `sessions` and `fulfilment`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import IntEnum
from functools import cached_property
from types import MappingProxyType
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

Size = Literal["small", "medium", "large"]

SIZES: Mapping[Size, Mapping[str, int]] = MappingProxyType(
    {
        "small": {"customers": 2_000, "days": 120, "products": 300},
        "medium": {"customers": 50_000, "days": 365, "products": 2_000},
        "large": {"customers": 1_000_000, "days": 365, "products": 8_000},
    }
)
DEFAULT_START = date(2025, 1, 1)
MOST_CUSTOMERS = 50_000_000
FEWEST_PRODUCTS = 60
# Neighbours are found by comparing all products of a category with each other.
MOST_PRODUCTS = 20_000


class Stream(IntEnum):
    """Independent random streams, so that a change in one part leaves the others as they were."""

    CATALOGUE = 1
    CUSTOMERS = 2
    PROMOTIONS = 3
    SESSIONS = 4
    FULFILMENT = 5
    DELIVERY = 6
    TROUBLE = 7
    BOTS = 8


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Faults to plant in the delivered files; each one is listed with the rows it touched.

    Attributes:
        duplicates: Share of events that are delivered a second time with the same messageId.
        late: Share of events that are delivered one to `late_days` days after they happened.
        late_days: Longest delay of a late event, in days.
        bad_rows: Share of events that are spoilt: no product, negative price, unknown name,
            unreadable time, or JSON cut in half.
        drift_day: First day on which `properties.price` is delivered as `properties.item_price`.
        bots: Number of automatic visitors, each with hundreds of product views on one day.
        spoilt_day: A day whose file has `spoilt_share` of its rows spoilt.
        spoilt_share: Share of spoilt rows on that day.
    """

    duplicates: float = 0.0
    late: float = 0.0
    late_days: int = 5
    bad_rows: float = 0.0
    drift_day: date | None = None
    bots: int = 0
    spoilt_day: date | None = None
    spoilt_share: float = 0.3

    def __post_init__(self) -> None:
        """Refuse shares outside 0 to 1 and counts below 0.

        Raises:
            ValueError: A value is outside its range.
        """
        for name in ("duplicates", "late", "bad_rows", "spoilt_share"):
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                message = f"{name} is a share between 0 and 1, not {share}"
                raise ValueError(message)
        if self.late_days < 1:
            message = f"late_days is at least 1, not {self.late_days}"
            raise ValueError(message)
        if self.bots < 0:
            message = f"bots is at least 0, not {self.bots}"
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """One shop to simulate.

    Attributes:
        customers: Number of customers that the shop has or wins during the span.
        days: Number of days, starting at `start`.
        products: Number of products on sale.
        seed: Seed of every random number.
        start: First day, in the shop's time zone.
        timezone: Time zone in which the shop counts its days.
        currency: ISO 4217 code of all money.
        tax_rate: Tax on goods after discount, shown beside the price.
        identify_calls: Whether each sign-up also sends a Segment `identify` call.
        trouble: Faults to plant in the files.
    """

    customers: int
    days: int
    products: int
    seed: int = 7
    start: date = DEFAULT_START
    timezone: str = "Asia/Shanghai"
    currency: str = "CNY"
    tax_rate: float = 0.06
    identify_calls: bool = False
    trouble: Trouble = field(default_factory=Trouble)

    def __post_init__(self) -> None:
        """Refuse plans that cannot be simulated.

        Raises:
            ValueError: A size is out of range, the time zone is unknown, or planted trouble lies
                outside the span.
        """
        if not 1 <= self.customers <= MOST_CUSTOMERS:
            message = f"customers is between 1 and {MOST_CUSTOMERS}, not {self.customers}"
            raise ValueError(message)
        if self.days < 1:
            message = f"days is at least 1, not {self.days}"
            raise ValueError(message)
        if not FEWEST_PRODUCTS <= self.products <= MOST_PRODUCTS:
            message = f"products is {FEWEST_PRODUCTS} to {MOST_PRODUCTS}, not {self.products}"
            raise ValueError(message)
        if self.seed < 0:
            message = f"seed is at least 0, not {self.seed}"
            raise ValueError(message)
        if not 0.0 <= self.tax_rate < 1.0:
            message = f"tax_rate is a share between 0 and 1, not {self.tax_rate}"
            raise ValueError(message)
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            message = f"timezone {self.timezone!r} is not an IANA time zone"
            raise ValueError(message) from error
        for name in ("drift_day", "spoilt_day"):
            day = getattr(self.trouble, name)
            if day is not None and not self.start <= day <= self.last_day:
                message = f"{name} {day} lies outside {self.start} to {self.last_day}"
                raise ValueError(message)

    @classmethod
    def sized(cls, size: Size, **changes: object) -> Self:
        """Give the plan of a named size.

        Args:
            size: `small`, `medium` or `large`.
            **changes: Attributes to set differently.

        Returns:
            The plan.

        Raises:
            ValueError: The size is unknown or a change is out of range.
        """
        if size not in SIZES:
            message = f"size {size!r} is not one of {', '.join(SIZES)}"
            raise ValueError(message)
        return cls(**{**SIZES[size], **changes})  # type: ignore[arg-type]

    @property
    def last_day(self) -> date:
        """The last simulated day."""
        return self.day(self.days - 1)

    def day(self, index: int) -> date:
        """Give the calendar day `index` days after the start."""
        return self.start + timedelta(days=index)

    @cached_property
    def midnights(self) -> np.ndarray:
        """Starts of the days in UTC milliseconds, shape (days + 1,); day i lasts [i, i + 1)."""
        zone = ZoneInfo(self.timezone)
        starts = (
            datetime(day.year, day.month, day.day, tzinfo=zone)
            for day in (self.day(index) for index in range(self.days + 1))
        )
        return np.array([round(start.timestamp() * 1000) for start in starts], dtype=np.int64)

    def generator(self, stream: Stream, step: int = 0) -> np.random.Generator:
        """Give the random generator of one stream and step (a day or a week)."""
        return np.random.Generator(np.random.SFC64([self.seed, int(stream), step]))
