"""A clean simulated shop as validated tables and profiles, and faults that keep every row rule of its contracts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import islice

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import source_contracts
from insight_assets.monitoring.partition_profiles import PROFILED, QUARANTINE, profile_days, profile_quarantine
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import simulate_days
from insight_assets.validation.publishing import validate_day
from insight_assets_tests.validation.judging import PSEUDONYM, SHOP, raw_rows

# Ends before the day on which the test deliveries say that files landed; holds three of the year's great campaigns.
FIRST_DAY = date(2024, 9, 1)
Tables = Mapping[str, pl.DataFrame]


@dataclass
class SimulatedShop:
    """Validated tables of a shop without faults.

    Attributes:
        tables: canonical tables and quarantine of all days.
        days: its days.
    """

    tables: Tables
    days: list[date]

    @cached_property
    def profiles(self) -> pl.DataFrame:
        return profile(self.tables, self.days)

    def with_fault(self, day: date, fault: Callable[[Tables], Tables]) -> tuple[Tables, pl.DataFrame]:
        """Give the tables of a day with a fault, and all profiles with those of that day."""
        good = {name: rows.filter(pl.col("event_day") == day) for name, rows in self.tables.items()}
        bad = {**good, **fault(good)}
        return bad, pl.concat([self.profiles.filter(pl.col("event_day") != day), profile(bad, [day])])


def simulate_shop(*, customers: int, days: int, seed: int = 7) -> SimulatedShop:
    """Simulate a shop and validate its files, three weeks at a time: a call costs as much as thousands of rows."""
    plan = SimulationPlan(customers=customers, days=days, products=120, seed=seed, start=FIRST_DAY)
    source = source_contracts()["segment"]
    parts: dict[str, list[pl.DataFrame]] = {name: [contract(name).empty()] for name in (*PROFILED, QUARANTINE)}
    texts = ("\n".join(line for part in delivered.texts() for line in part) for delivered in simulate_days(plan))
    while together := list(islice(texts, 21)):
        raw = {source.name: raw_rows(source, "\n".join(together))}
        validated = validate_day(
            plan.start, raw, {source.name: source}, pseudonym=PSEUDONYM, shop_timezone=SHOP, budgets={}
        )
        for name, frames in parts.items():
            frames.append(validated.tables[name])
    tables = {name: pl.concat(frames) for name, frames in parts.items()}
    return SimulatedShop(tables, [plan.start + timedelta(days=offset) for offset in range(days)])


def profile(tables: Tables, days: list[date]) -> pl.DataFrame:
    """Profile all tables of a shop."""
    parts = [profile_days(name, tables[name].lazy(), days, timezone=SHOP) for name in PROFILED]
    accepted = [tables[name].lazy() for name in ("events", "order_lines")]
    return pl.concat([*parts, profile_quarantine(tables[QUARANTINE].lazy(), accepted, days)])


def _money(name: str) -> pl.Expr:
    kept = {"exchange_rate"}
    return pl.col([c.name for c in contract(name).columns if isinstance(c.dtype, pl.Decimal) and c.name not in kept])


def _scaled(column: pl.Expr, factor: int) -> pl.Expr:
    return (column * factor).cast(pl.Decimal(18, 4))


def prices_in_cents(day: Tables) -> Tables:
    return {name: day[name].with_columns(_scaled(_money(name), 100)) for name in PROFILED}


def channel_gone_silent(day: Tables) -> Tables:
    return {name: day[name].filter(pl.col("channel") != "app") for name in PROFILED}


def events_doubled(day: Tables) -> Tables:
    again = day["events"].with_columns(event_id=pl.col("event_id") + "-again")
    return {"events": pl.concat([day["events"], again])}


def event_missing(day: Tables) -> Tables:
    return {"events": day["events"].filter(pl.col("event") != "product_added")}


def currency_switched(day: Tables) -> Tables:
    return {name: day[name].with_columns(currency=pl.col("currency").replace("CNY", "EUR")) for name in PROFILED}


def nulls_in_category(day: Tables) -> Tables:
    half = pl.col("event_id").hash(seed=1) % 2 == 0
    return {"events": day["events"].with_columns(category=pl.when(half).then("category"))}


def pieces_for_dozens(day: Tables) -> Tables:
    lines = day["order_lines"]
    twelve = _money("order_lines").exclude("^unit_price.*$")
    return {"order_lines": lines.with_columns(pl.col("quantity") * 12, _scaled(twelve, 12))}


def clock_standing_still(day: Tables) -> Tables:
    noon = pl.col("event_time").min().dt.truncate("1d") + pl.duration(hours=4)
    return {"events": day["events"].with_columns(event_time=noon)}


def category_renamed(day: Tables) -> Tables:
    renamed = pl.col("category").replace("clothing", "apparel")
    return {name: day[name].with_columns(renamed) for name in ("events", "order_lines")}


def many_quarantined(day: Tables) -> Tables:
    """Reject 4 % of the rows, which is less than the source's budget of 5 %."""
    few = pl.col("event_id").hash(seed=1) % 25 == 0
    gone = day["events"].filter(few)
    told = gone.select(
        "source", "file_hash", "line", "event_day", "known_at", file_name=pl.lit("file"), rule=pl.lit("price.minimum"),
        column=pl.lit("price"), rules=pl.lit("price.minimum"), contract_version=pl.lit("1.0.0"), payload=pl.lit("{}"),
    )
    of = contract(QUARANTINE)
    return {"events": day["events"].filter(~few), QUARANTINE: of.conform(told).collect()}


def volume_halved(day: Tables) -> Tables:
    return {"events": day["events"].filter(pl.col("visitor_key").fill_null(pl.col("actor_key")).hash(seed=1) % 2 == 0)}


def flood_of_views(day: Tables) -> Tables:
    views = day["events"].filter(pl.col("event") == "product_viewed")
    flood = [
        views.with_columns(event_id=pl.format("{}-{}", "event_id", pl.lit(n)), visitor_key=n, actor_key=n)
        for n in range(20)
    ]
    return {"events": pl.concat([day["events"], *(part.cast(views.schema) for part in flood)])}


def last_file_missing(day: Tables) -> Tables:
    return {name: day[name].filter(pl.col("event_time").dt.convert_time_zone(SHOP).dt.hour() < 14) for name in PROFILED}
