"""Assets of the group `monitoring`: what each published partition looks like in figures."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from insight_assets.features.batches import build_in_batches
from insight_assets.lake import DailyFrames
from insight_assets.metadata import table_asset
from insight_assets.monitoring.partition_profiles import (
    DAY,
    PROFILED,
    QUARANTINE,
    profile_days,
    profile_quarantine,
)  # fmt: skip
from insight_assets.settings import settings

# The writer of the validated tables is no IO manager, so that their readers name theirs.
_VALIDATED = dg.AssetIn(input_manager_key="lake")


@dg.asset(
    **table_asset("partition_profiles", layer="monitoring", purpose="operations"),
    ins=dict.fromkeys((*PROFILED, QUARANTINE), _VALIDATED),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def partition_profiles(
    context: dg.AssetExecutionContext,
    events: pl.LazyFrame,
    order_lines: pl.LazyFrame,
    orders: pl.LazyFrame,
    quarantine: pl.LazyFrame,
) -> DailyFrames:
    days = sorted(date.fromisoformat(key) for key in context.partition_keys)
    context.add_output_metadata({"data_docs": dg.MetadataValue.path(str(settings().data_docs / "index.html"))})
    return measure(days, events=events, order_lines=order_lines, orders=orders, quarantine=quarantine)


def measure(days: Sequence[date], **tables: pl.LazyFrame) -> DailyFrames:
    """Measure days of the published tables, several small ones at a time.

    Args:
        days: event days.
        **tables: the tables of `PROFILED` and the quarantine, by name.
    """

    def build(first: date, last: date) -> pl.LazyFrame:
        span = [day for day in days if first <= day <= last]
        cut = {name: rows.filter(pl.col(DAY).is_between(first, last)) for name, rows in tables.items()}
        parts = [profile_days(name, cut[name], span, timezone=settings().timezone) for name in PROFILED]
        accepted = [cut[name] for name in ("events", "order_lines")]
        return pl.concat([*parts, profile_quarantine(cut[QUARANTINE], accepted, span)]).lazy()

    return build_in_batches(build, tables["events"], days)


def documented(asset: dg.AssetsDefinition, folder: Path) -> dg.AssetsDefinition:
    """Link the tables whose distributions are judged with their page of Data Docs."""

    def with_page(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.to_user_string()
        if name not in {*PROFILED, QUARANTINE}:
            return spec
        return spec.merge_attributes(metadata={"data_docs": dg.MetadataValue.path(str(folder / f"{name}.html"))})

    return asset.map_asset_specs(with_page)
