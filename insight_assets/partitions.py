"""Partitions of the asset graph and the mappings between them.

One daily definition serves both kinds of key: the event day of row tables and the as-of day of snapshots. What a
mapping means for time is said here and nowhere else.
"""

import warnings
from datetime import timedelta

import dagster as dg

from insight_assets.settings import settings

# Single-run backfills and window mappings are beta in Dagster 1.13; their use here is deliberate and tested.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

_settings = settings()

DAYS = dg.DailyPartitionsDefinition(
    start_date=_settings.start_date.isoformat(),
    end_date=None if _settings.end_date is None else (_settings.end_date + timedelta(days=1)).isoformat(),
    timezone=_settings.timezone,
)

_ALL_DAYS = 100_000

HISTORY = dg.TimeWindowPartitionMapping(start_offset=-_ALL_DAYS, end_offset=0)
"""Every day up to and including the as-of day."""

YEAR = dg.TimeWindowPartitionMapping(start_offset=-364, end_offset=0)
"""The as-of day and the 364 days before it."""

WITH_REPEATS = dg.TimeWindowPartitionMapping(start_offset=-_settings.duplicate_days, end_offset=0)
"""The event day and the earlier ones in which its rows may have come before."""

WITH_DAY_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=0)
"""The event day and the one before it."""

CLOSED_HORIZON = dg.TimeWindowPartitionMapping(start_offset=1, end_offset=_settings.horizon_days)
"""The days (T, T+H] after an origin; read by labels alone, and only once they are all published."""


def days_ago(days: int) -> dg.TimeWindowPartitionMapping:
    """Map an as-of day to the one day so many days before it.

    Args:
        days: the days, at least 1.
    """
    return dg.TimeWindowPartitionMapping(start_offset=-days, end_offset=-days)


ONE_HORIZON_AGO = days_ago(_settings.horizon_days)
"""The newest origin whose horizon is closed at the as-of day."""

TWO_HORIZONS_AGO = days_ago(2 * _settings.horizon_days)
"""The origin whose scorecard decided what was published at the newest origin whose horizon is closed."""

CLOSED_ORIGINS = dg.TimeWindowPartitionMapping(start_offset=-_ALL_DAYS, end_offset=-_settings.horizon_days)
"""Every origin whose horizon is closed at the as-of day."""

MIGRATION_AGO = days_ago(_settings.migration_days)
"""The earlier as-of day from which customers have moved by the as-of day."""
