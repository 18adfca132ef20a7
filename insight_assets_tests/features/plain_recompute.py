"""Customer features recomputed from the validated rows, one customer at a time, in plain Python.

Shares no code with the features, is slow, and exists only to be compared with them.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from statistics import fmean, median, pstdev
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from insight_assets.features.vocabulary import CHANNELS, DAY_PARTS, SHOP_EVENTS
from insight_assets_tests.features.shop import ZONE, Shop, visits

Rows = list[dict[str, Any]]
WINDOWS = {f"{days}d": days for days in (1, 3, 7, 14, 30, 60, 90, 180, 365)} | {"lifetime": 100_000}
MEDIUMS = {"cpc": "paid_search", "email": "email"}
SOURCES = {"mail": "email"}


@dataclass(frozen=True)
class Customer:
    """All rows of one customer up to the as-of day."""

    as_of: date
    events: Rows
    documents: Rows
    lines: Rows
    visits: Rows
    payments: Rows

    @property
    def own(self) -> Rows:
        return [row for row in self.events if row["event"] not in SHOP_EVENTS]

    @property
    def sales(self) -> Rows:
        return [row for row in self.documents if row["kind"] == "sale"]

    @property
    def bought(self) -> Rows:
        return [row for row in self.lines if row["kind"] == "sale"]

    @property
    def started(self) -> Rows:
        return [row for row in self.visits if not row["continued"]]

    def of_kind(self, kind: str) -> Rows:
        return [row for row in self.own if row["event"] == kind]

    def last(self, rows: Rows, days: int, before: int = 0) -> Rows:
        return [row for row in rows if before <= (self.as_of - row["event_day"]).days < days]

    def count_90d(self, kind: str) -> int:
        return len(self.last(self.of_kind(kind), 90))

    def trend(self, rows: Rows, days: int, amount: Callable[[Rows], Any]) -> float | None:
        recent = amount(self.last(rows, days))
        earlier = amount(self.last(rows, 2 * days, days))
        return ratio(recent - earlier, recent + earlier)


def days_of(rows: Rows) -> list[date]:
    return sorted({row["event_day"] for row in rows})


def money(rows: Rows, column: str) -> Decimal:
    return sum((row[column] for row in rows), Decimal(0))


def value(rows: Rows) -> Decimal:
    return money(rows, "gross") - money(rows, "discount")


def ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def plain_features(shop: Shop, as_of: date) -> dict[int, dict[str, Any]]:
    """Recompute features of every customer seen by a day, by customer key."""
    seen = visits(shop).filter(pl.col("customer_key").is_not_null()).collect().rows(named=True)
    tables = [
        [row for row in rows if row["event_day"] <= as_of]
        for rows in (shop.events, shop.orders, shop.order_lines, seen, shop.payments)
    ]
    keys = {row["customer_key"] for row in [*tables[0], *tables[1]]} - {None}
    cuts = _price_cuts(Customer(as_of, *(list(rows) for rows in tables)))
    found = {}
    for key in keys:
        own = [[row for row in rows if row["customer_key"] == key] for rows in tables]
        who = Customer(as_of, *own)
        found[key] = (
            _activity(who)
            | _money(who)
            | _rhythm(who)
            | _breadth(who)
            | _rates(who)
            | _habits(who)
            | _touches(who)
            | _taste(who, cuts)
            | _cart(who)
        )
    return found


def _activity(who: Customer) -> dict[str, Any]:
    first = days_of([*who.events, *who.documents])[0]
    out: dict[str, Any] = {"tenure_days": (who.as_of - first).days}
    recency = {
        "event": who.own,
        "session": who.started,
        "order": who.sales,
        "refund": [row for row in who.documents if row["kind"] == "refund"],
        "view": who.of_kind("product_viewed"),
        "search": who.of_kind("products_searched"),
        "add": who.of_kind("product_added"),
        "checkout": who.of_kind("checkout_started"),
        "review": who.of_kind("product_reviewed"),
        "ticket": who.of_kind("support_ticket_opened"),
        "page_view": who.of_kind("page_viewed"),
        "payment_failure": who.of_kind("payment_failed"),
    }
    for kind, rows in recency.items():
        latest = days_of(rows)[-1] if rows else None
        out[f"days_since_last_{kind}"] = latest and (who.as_of - latest).days
    for name, days in WINDOWS.items():
        out[f"active_days_{name}"] = len(days_of(who.last([*who.own, *who.sales], days)))
        out[f"events_{name}"] = len(who.last(who.own, days))
        out[f"sessions_{name}"] = len(who.last(who.started, days))
        out[f"orders_{name}"] = len(who.last(who.sales, days))
        out[f"refunds_{name}"] = len(who.last(recency["refund"], days))
        for kind, column in (
            ("view", "product_views"),
            ("search", "searches"),
            ("add", "adds"),
            ("checkout", "checkouts"),
        ):
            out[f"{column}_{name}"] = len(who.last(recency[kind], days))
    for name in ("7d", "30d", "90d", "365d", "lifetime"):
        out[f"tickets_{name}"] = len(who.last(recency["ticket"], WINDOWS[name]))
    for name in ("30d", "90d", "365d", "lifetime"):
        carts = [row for row in who.last(who.visits, WINDOWS[name]) if row["adds"]]
        out[f"carts_{name}"] = len(carts)
        out[f"abandoned_carts_{name}"] = sum(not row["orders"] for row in carts)
        out[f"payment_failures_{name}"] = len(who.last(recency["payment_failure"], WINDOWS[name]))
    out["first_order_day"] = min((row["event_day"] for row in who.sales), default=None)
    out["last_order_day"] = max((row["event_day"] for row in who.sales), default=None)
    return out


def _money(who: Customer) -> dict[str, Any]:
    year = who.last(who.sales, 365)
    gross = money(year, "gross")
    values = [row["gross"] - row["discount"] for row in who.sales]
    recent = sorted(row["gross"] - row["discount"] for row in year)
    last = [row for row in who.sales if row["event_day"] == max(days_of(who.sales))]
    return {
        **{
            f"{column}_{name}": float(money(who.last(who.documents, days), column))
            for column in ("gross", "discount", "refunded", "net", "tax", "shipping")
            for name, days in WINDOWS.items()
        },
        "units_lifetime": sum(row["units"] for row in who.sales),
        "units_per_order_lifetime": ratio(sum(row["units"] for row in who.sales), len(values)),
        "median_order_value_365d": float(median(recent)) if recent else None,
        "median_order_value_lifetime": float(median(values)) if values else None,
        "mean_order_value_lifetime": ratio(value(who.sales), len(values)),
        "max_order_value_365d": float(max(recent)) if recent else None,
        "last_purchase_value": float(value(last)) if last else None,
        "tax_per_order_lifetime": ratio(money(who.documents, "tax"), len(values)),
        "payment_methods": sorted({row["method"] for row in who.payments}),
        "payment_methods_used": len({row["method"] for row in who.payments}),
        "max_order_value_lifetime": float(max(values)) if values else None,
        "mean_order_value_365d": ratio(value(year), len(year)),
        "units_per_order_365d": ratio(sum(row["units"] for row in year), len(year)),
        "lines_per_order_365d": ratio(len(who.last(who.bought, 365)), len(year)),
        "discount_share_365d": ratio(money(year, "discount"), gross),
        "refund_share_lifetime": ratio(money(who.documents, "refunded"), value(who.sales)),
        "coupon_order_share_365d": ratio(sum(row["coupon"] is not None for row in year), len(year)),
        "currencies": len({row.get("currency", "CNY") for row in who.documents}),
        "orders_trend_90d": who.trend(who.sales, 90, len),
        "gross_trend_90d": who.trend(who.sales, 90, lambda rows: money(rows, "gross")),
    }


def _rhythm(who: Customer) -> dict[str, Any]:
    dates = days_of(who.sales)
    gaps = [(later - sooner).days for sooner, later in itertools.pairwise(dates)]
    repeat = [row for row in who.sales if row["event_day"] != dates[0]]
    late = (who.as_of - dates[-1]).days if dates else 0
    return {
        "x_repeat_purchases": len(gaps) if dates else None,
        "t_x_days": sum(gaps) if dates else None,
        "age_days": (who.as_of - dates[0]).days if dates else None,
        "mean_gap_days": fmean(gaps) if gaps else None,
        "std_gap_days": pstdev(gaps) if len(gaps) > 1 else None,
        "cv_gap": pstdev(gaps) / fmean(gaps) if len(gaps) > 1 else None,
        "last_gap_days": gaps[-1] if gaps else None,
        "max_gap_days": max(gaps, default=None),
        "expected_gap_ratio": late / fmean(gaps) if gaps else None,
        "mean_purchase_value": ratio(value(who.sales), len(dates)),
        "mean_repeat_purchase_value": ratio(value(repeat), len(gaps)),
    }


def _breadth(who: Customer) -> dict[str, Any]:
    bought = who.last(who.bought, 90)
    viewed = who.last(who.of_kind("product_viewed"), 90)
    products = {(row["product_id"], row["event_day"]) for row in bought}
    pairs = {(row["category"], row["event_day"]) for row in bought}
    shares = [n / len(pairs) for n in Counter(category for category, _ in pairs).values()]
    distinct = len({row["product_id"] for row in bought})
    return {
        "products_bought_90d": distinct,
        "categories_bought_90d": len({row["category"] for row in bought}),
        "brands_bought_90d": len({row["brand"] for row in bought}),
        "categories_viewed_90d": len({row["category"] for row in viewed}),
        "category_entropy_90d": -sum(share * math.log2(share) for share in shares) if pairs else None,
        "repeat_product_share_90d": 1 - distinct / len(products) if products else None,
    }


def _rates(who: Customer) -> dict[str, Any]:
    views, adds, checkouts, failed = (
        who.count_90d(kind) for kind in ("product_viewed", "product_added", "checkout_started", "payment_failed")
    )
    orders = len(who.last(who.sales, 90))
    started = who.last(who.started, 90)
    searches = who.last(who.of_kind("products_searched"), 90)
    month = {kind: len(who.last(who.of_kind(kind), 30)) for kind in ("product_viewed", "product_added")}
    carts = [row for row in who.last(who.visits, 90) if row["adds"]]
    seconds = sum(row["duration_seconds"] for row in who.last(who.visits, 90))
    reviews = who.last(who.of_kind("product_reviewed"), 365)
    return {
        "adds_per_view_90d": ratio(adds, views),
        "checkouts_per_add_90d": ratio(checkouts, adds),
        "orders_per_checkout_90d": ratio(orders, checkouts),
        "orders_per_view_90d": ratio(orders, views),
        "adds_per_view_30d": ratio(month["product_added"], month["product_viewed"]),
        "orders_per_session_90d": ratio(orders, len(started)),
        "payment_failure_share_90d": ratio(failed, failed + orders),
        "zero_result_share_90d": ratio(sum(row["results"] == 0 for row in searches), len(searches)),
        "cart_abandonment_90d": ratio(sum(not row["orders"] for row in carts), len(carts)),
        "bounce_share_90d": ratio(sum(row["bounced"] for row in started), len(started)),
        "events_per_session_90d": ratio(len(who.last(who.own, 90)), len(started)),
        "mean_session_seconds_90d": ratio(seconds, len(started)),
        "mean_rating_365d": ratio(sum(row["rating"] for row in reviews), len(reviews)),
    }


def _habits(who: Customer) -> dict[str, Any]:
    own = who.last(who.own, 365)
    hours = [row["event_time"].astimezone(ZoneInfo(ZONE)).hour for row in own]
    active = days_of(who.last([*who.own, *who.sales], 365))
    weekdays = Counter(day.isoweekday() for day in active)
    return {
        **{
            f"{part}_share_365d": ratio(sum(hour // 6 == number for hour in hours), len(hours))
            for number, part in enumerate(DAY_PARTS)
        },
        **{
            f"{channel}_share_365d": ratio(sum(row["channel"] == channel for row in own), len(own))
            for channel in CHANNELS
        },
        "weekend_share_365d": ratio(sum(day.isoweekday() > 5 for day in active), len(active)),
        "preferred_day_part_365d": DAY_PARTS[
            min(range(4), key=lambda part: (-sum(hour // 6 == part for hour in hours), part))
        ]
        if hours
        else None,
        "preferred_weekday_365d": min(weekdays, key=lambda day: (-weekdays[day], day), default=None),
        "events_trend_30d": who.trend(who.own, 30, len),
    }


def _touches(who: Customer) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for end in ("first", "last"):
        # Of a day, the visit's first event that names a source speaks for the visit.
        named = sorted(_of_visits(who, "campaign_source"), key=lambda row: (row["event_time"], row["event_id"]))
        touch = (named[0] if end == "first" else named[-1]) if named else {}
        source, medium = touch.get("campaign_source"), touch.get("campaign_medium")
        out |= {f"{end}_campaign_source": source, f"{end}_campaign_medium": medium}
        group = MEDIUMS.get(medium) or SOURCES.get(source, "other")
        out[f"{end}_channel_group"] = group if source else None
        out[f"days_since_{end}_touch"] = (who.as_of - touch["event_day"]).days if touch else None
        devices = sorted(_of_visits(who, "device"), key=lambda row: (row["event_time"], row["event_id"]))
        out[f"{end}_device"] = (devices[0] if end == "first" else devices[-1])["device"] if devices else None
    return out


def _of_visits(who: Customer, column: str) -> Rows:
    """Give, of each visit and day, the first event that names something."""
    found = []
    for visit in who.visits:
        within = [
            row for row in who.own
            if row[column] and row["event_day"] == visit["event_day"]
            and visit["first_event_at"] <= row["event_time"] <= visit["last_event_at"]
        ]  # fmt: skip
        within.sort(key=lambda row: (row["event_time"], row["event_id"]))
        found += within[:1]
    return found


def _baskets(who: Customer, column: str) -> dict[tuple[Any, date, str], list[Decimal]]:
    """Add up units and money of each customer, day and category or brand within a year."""
    sums: dict[tuple[Any, date, str], list[Decimal]] = {}
    for row in who.last(who.bought, 365):
        held = sums.setdefault((row["customer_key"], row["event_day"], row[column]), [Decimal(0), Decimal(0)])
        held[0] += row["quantity"]
        held[1] += row["gross"]
    return sums


def _taste(who: Customer, cuts: dict[str, list[int]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in ("category", "brand"):
        spent: Counter[str] = Counter()
        recent: Counter[str] = Counter()
        for (_, day, item), (_, gross) in _baskets(who, name).items():
            spent[item] += gross
            recent[item] += gross * Decimal(round(2**16 * 0.5 ** ((who.as_of - day).days / 90))) / 2**16
        ranked = sorted(spent, key=lambda item: (-spent[item], item))
        for place in range(3):
            item = ranked[place] if place < len(ranked) else None
            column = f"top_{name}_{place + 1}_365d"
            out[column] = item
            out[f"{column}_share"] = ratio(spent[item], sum(spent.values())) if item else None
            out[f"{column}_recency"] = ratio(recent[item], spent[item]) if item else None
    viewed = {(row["event_day"], row["category"]) for row in who.last(who.of_kind("product_viewed"), 90)}
    counts = Counter(category for _, category in viewed)
    best = min(counts, key=lambda category: (-counts[category], category), default=None)
    out["top_viewed_category_90d"] = best
    out["top_viewed_category_90d_share"] = ratio(counts[best], len(viewed)) if best else None
    bands = [
        (1 + sum(int(gross * 10_000) // int(units) > cut for cut in cuts[category]), units)
        for (_, _, category), (units, gross) in _baskets(who, "category").items()
        if category in cuts
    ]
    out["price_band_365d"] = ratio(sum(band * units for band, units in bands), sum(units for _, units in bands))
    return out


def _price_cuts(everybody: Customer) -> dict[str, list[int]]:
    """Find, for each category of ten purchases or more, the prices that part its fifths."""
    prices: dict[str, list[int]] = {}
    for (customer, _, category), (units, gross) in _baskets(everybody, "category").items():
        if customer is not None:
            prices.setdefault(category, []).append(int(gross * 10_000) // int(units))
    return {
        category: [sorted(paid)[(len(paid) - 1) * n // 5] for n in range(1, 5)]
        for category, paid in prices.items()
        if len(paid) >= 10
    }


def _cart(who: Customer) -> dict[str, Any]:
    bought = max((row["event_time"] for row in who.sales), default=None)
    since = [row for row in who.last(who.own, 30) if bought is None or row["event_time"] > bought]
    added, removed = ([row for row in since if row["event"] == f"product_{what}"] for what in ("added", "removed"))
    units = sum(row["quantity"] for row in added) - sum(row["quantity"] for row in removed)
    if not added or units <= 0:
        return dict.fromkeys(("open_cart_units", "open_cart_value", "open_cart_age_days"))
    worth = sum(row["quantity"] * row["price"] for row in added) - sum(
        row["quantity"] * row["price"] for row in removed
    )
    return {
        "open_cart_units": units,
        "open_cart_value": float(max(worth, Decimal(0))),
        "open_cart_age_days": min((who.as_of - row["event_day"]).days for row in added),
    }
