"""Several days at a time where days are small: one query plan costs as much as thousands of rows.

Cuts a run's days into batches and hands single days back. What is built is the features' business.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import polars as pl

from insight_assets.lake import DailyFrames

ROWS_AT_ONCE = 500_000
"""Events built at a time; a day is never cut."""


def batch_days(
    days: Sequence[date], rows: Mapping[date, int], *, limit: int = ROWS_AT_ONCE
) -> list[tuple[date, date]]:
    """Cut days into batches of at most so many rows.

    Args:
        days: days of a run, in any order.
        rows: rows of each day; a day that is absent has none.
        limit: most rows of a batch of more than one day.

    Returns:
        First and last day of each batch, in order.
    """
    batches: list[tuple[date, date]] = []
    held = 0
    for day in sorted(days):
        held += rows.get(day, 0)
        if batches and held <= limit:
            batches[-1] = (batches[-1][0], day)
        else:
            batches.append((day, day))
            held = rows.get(day, 0)
    return batches


def build_in_batches(
    build: Callable[[date, date], pl.LazyFrame], events: pl.LazyFrame, days: Sequence[date]
) -> DailyFrames:
    """Build days in batches and give them one by one.

    Args:
        build: gives the rows, with `event_day`, of all days from the first to the last given.
        events: rows that decide how many days make a batch, with `event_day`.
        days: days of a run.

    Returns:
        The rows of each day; they are built when the first day of their batch is asked for.
    """
    counted = events.group_by("event_day").len().collect()
    batches = batch_days(days, dict(counted.rows()))
    held: dict[date, pl.DataFrame] = {}

    def frame_of(day: date) -> pl.DataFrame:
        if day not in held:
            first, last = next(each for each in batches if each[0] <= day <= each[1])
            rows = build(first, last).collect()
            parts = rows.partition_by("event_day", as_dict=True)
            held.clear()
            held.update({key: rows.clear() for key in days if first <= key <= last})
            held.update({key: part for (key,), part in parts.items()})
        return held[day]

    return DailyFrames(frame_of)
