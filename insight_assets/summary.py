"""The summary that ends a demo: rows, scorecards, and where to look next. Reads tables only."""

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.ingestion.landing import Inventory
from insight_assets.lake import Lake
from insight_assets.settings import Settings

_GRADED_LATER = ("churn_scorecard", "lifetime_value_scorecard", "recommendation_scorecard", "propensity_scorecard")
"""Scorecards of the origin whose horizon has closed."""

_GRADED_AT_ONCE = ("intent_scorecard", "session_intent_scorecard")
"""Scorecards of the as-of day itself: their horizons are short enough to have closed by then."""


def summarise(shop: Settings, as_of: date) -> Iterator[str]:
    """Tell what a build left behind.

    Args:
        shop: the settings.
        as_of: as-of day of the snapshots.

    Yields:
        Lines for a terminal.
    """
    lake = Lake(shop.lake)
    files = Inventory.of(shop).files()
    rows_in = sum(file.rows for file in files if file.status == "readable")
    quarantined = _count(lake, "quarantine")
    accounted = pl.concat(
        [lake.scan(contract(name)).filter(pl.col("file_hash") != "derived").select("file_hash", "line") for name in ("events", "order_lines")]
    )
    accepted = accounted.unique().select(pl.len()).collect().item()
    yield "\n[bold]Rows[/bold]"
    others = rows_in - accepted - quarantined
    yield f"  delivered {rows_in:,} | accepted {accepted:,} | quarantined {quarantined:,} | duplicate or suppressed {others:,}"
    yield f"  orders {_count(lake, 'orders'):,} | customers with a profile {_count(lake, 'customer_profiles', as_of):,}"
    origin = as_of - timedelta(days=shop.horizon_days)
    yield f"\n[bold]Scorecards[/bold] (graded out of time at origin {origin} on the {shop.horizon_days} days after it)"
    for name, day in [*((name, origin) for name in _GRADED_LATER), *((name, as_of) for name in _GRADED_AT_ONCE)]:
        cards = lake.scan(contract(name), [day]).filter(pl.col("gain").is_not_null() | (pl.col("complexity") == 0)).collect()
        if cards.is_empty():
            yield f"  {name.removesuffix('_scorecard')}: not enough history for a closed horizon yet"
        for (task,), card in cards.group_by(["task"], maintain_order=True):
            yield from _card_lines(str(task), card)
    summary = lake.scan(contract("segment_summary"), [as_of]).collect()
    yield f"\n[bold]Segments[/bold] as of {as_of}: " + ", ".join(
        f"{row['segment']} {row['customers']}" for row in summary.iter_rows(named=True)
    )
    yield "\n[bold]Where to look[/bold]"
    yield f"  tables   {shop.lake} (Delta; insight show customer_profiles)"
    yield f"  models   {shop.models}"
    yield "  Dagster  make ui, then http://127.0.0.1:3000/asset-groups"
    example = lake.scan(contract("customer_profiles"), [as_of]).select("customer_key").head(1).collect()
    if example.height:
        yield f"  one person   insight profile {example.item()}"
    yield "  your data    insight sources; insight check-source SOURCE FILE; insight land SOURCE FILES; insight build"


def _count(lake: Lake, table: str, key: date | None = None) -> int:
    return lake.scan(contract(table), None if key is None else [key]).select(pl.len()).collect().item()


def _card_lines(task: str, card: pl.DataFrame) -> Iterator[str]:
    metric = card.filter(pl.col("gain").is_not_null())["metric"].first() or card["metric"].first()
    for row in card.filter(pl.col("metric") == metric).sort("complexity").iter_rows(named=True):
        mark = "[green]published[/green]" if row["is_champion"] else ""
        yield f"  {task:21} {row['method']:28} {metric} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] {mark}"
