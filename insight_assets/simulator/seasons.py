"""When the simulated shop is busy: weekdays, the year, campaigns, and where visits come from.

Everything here is a function of the calendar date, so that the expected future of a customer can
be worked out beyond the simulated span. Whom a campaign moves is in `customers`.
"""

import math
from dataclasses import dataclass
from datetime import date

# Monday to Sunday; mean 1.
WEEKDAY_FACTORS = (0.93, 0.92, 0.94, 0.97, 1.02, 1.12, 1.10)
YEAR_SWING = 0.10
YEAR_PEAK_DAY = 320


@dataclass(frozen=True)
class Campaign:
    """A campaign that returns each year (or each month, when `month` is 0).

    Attributes:
        name: Name as delivered in `context.campaign.name`.
        month: Month of the campaign, 0 for every month.
        first_day: First day of the month.
        last_day: Last day of the month.
        boost: How many times more visits it brings from customers that it fully moves.
        coupon: Code of its coupon.
        percent: Discount of its coupon, in percent.
    """

    name: str
    month: int
    first_day: int
    last_day: int
    boost: float
    coupon: str
    percent: int


CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign("spring_festival", 1, 18, 27, 1.5, "SPRING15", 15),
    Campaign("womens_day", 3, 5, 8, 1.5, "QUEEN12", 12),
    Campaign("may_day", 5, 1, 5, 1.3, "MAY10", 10),
    Campaign("618", 6, 12, 20, 1.9, "618SALE", 15),
    Campaign("back_to_school", 8, 25, 31, 1.3, "SCHOOL10", 10),
    Campaign("golden_week", 10, 1, 7, 1.3, "GOLDEN10", 10),
    Campaign("double_11", 11, 5, 11, 2.2, "D11SALE", 20),
    Campaign("double_12", 12, 10, 12, 1.7, "D12SALE", 15),
    Campaign("member_day", 0, 15, 16, 1.25, "MEMBER8", 8),
)


@dataclass(frozen=True)
class Origin:
    """Where a visit came from, as `context.campaign` says it."""

    source: str
    medium: str
    name: str


# The always-on sources come first; each campaign then has an e-mail and a social entry.
ALWAYS_ON: tuple[Origin, ...] = (
    Origin("baidu", "cpc", "brand_search"),
    Origin("google", "cpc", "brand_search"),
    Origin("wechat", "social", "official_account"),
    Origin("douyin", "social", "short_video"),
    Origin("xiaohongshu", "social", "notes"),
    Origin("newsletter", "email", "weekly"),
    Origin("partner_sites", "affiliate", "price_compare"),
)
ORIGINS: tuple[Origin, ...] = ALWAYS_ON + tuple(
    Origin(source, medium, campaign.name)
    for campaign in CAMPAIGNS
    for source, medium in (("newsletter", "email"), ("wechat", "social"))
)

# Codes that any shopper may know; the campaigns' own codes follow in the order of CAMPAIGNS.
COMMON_COUPONS: tuple[tuple[str, int], ...] = (("WELCOME10", 10), ("SAVE5", 5), ("APP8", 8))
COUPONS: tuple[tuple[str, int], ...] = COMMON_COUPONS + tuple(
    (campaign.coupon, campaign.percent) for campaign in CAMPAIGNS
)


def campaign_on(day: date) -> int | None:
    """Give the position in `CAMPAIGNS` of the campaign that runs on a day, or None."""
    for place, campaign in enumerate(CAMPAIGNS):
        in_month = campaign.month in {0, day.month}
        if in_month and campaign.first_day <= day.day <= campaign.last_day:
            return place
    return None


def base_factor(day: date) -> float:
    """Give how busy a day is without campaigns; the mean over years is 1."""
    angle = 2.0 * math.pi * (day.timetuple().tm_yday - YEAR_PEAK_DAY) / 365.25
    return WEEKDAY_FACTORS[day.weekday()] * (1.0 + YEAR_SWING * math.cos(angle))


def campaign_boost(day: date) -> float:
    """Give by how much a campaign raises visits of fully moved customers on a day, 0 if none."""
    place = campaign_on(day)
    return 0.0 if place is None else CAMPAIGNS[place].boost - 1.0
