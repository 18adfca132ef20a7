"""Who was champion when: the verdicts of all scorecards known by a day, as one table and one picture.

Nothing is graded here; scorecards are put side by side.
"""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from insight_assets.contracts.catalogue import contract

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 220, 50
ORIGINS = 26
"""Origins drawn, the newest: half a year of weeks."""


def champion_history(
    scorecards: pl.LazyFrame, *, deciding: Mapping[str, str], as_of: date, horizon_days: int
) -> pl.DataFrame:
    """Give each method's place at each origin whose verdict was known by a day.

    Args:
        scorecards: rows of scorecards of any tasks, of any origins.
        deciding: task to the metric by which its champion is chosen; other tasks are left out.
        as_of: the as-of day; what closes later is left out.
        horizon_days: days after an origin at which its verdict is known.

    Returns:
        Rows of the contract `champion_history`, sorted by its key.
    """
    of = contract("champion_history")
    primary = pl.col("task").replace_strict(dict(deciding), default=None, return_dtype=pl.String)
    known = pl.col("as_of") + pl.duration(days=horizon_days) <= pl.lit(as_of)
    return (
        scorecards.filter(known & (pl.col("metric") == primary))
        .rename({"as_of": "origin"})
        .with_columns(as_of=pl.lit(as_of), known_on=pl.col("origin") + pl.duration(days=horizon_days))
        .select(of.polars_schema().names())
        .sort(of.primary_key)
        .collect()
    )


def changes_of_champion(history: pl.DataFrame) -> pl.DataFrame:
    """Give the origins at which another method than before became champion, the first champions included.

    Args:
        history: rows of `champion_history`.

    Returns:
        Columns `task`, `origin`, `champion`, `before` (null for the first), `value`, `low`, `high`, by task and origin.
    """
    champions = history.filter("is_champion").sort("task", "origin")
    before = pl.col("method").shift(1).over("task")
    return champions.with_columns(before=before).filter(pl.col("method").ne_missing(pl.col("before"))).select(
        "task", "origin", "before", "value", "low", "high", champion="method"
    ).select("task", "origin", "champion", "before", "value", "low", "high")


def history_chart(history: pl.DataFrame) -> "alt.Chart":
    """Draw the deciding metric of each task's champion over the origins, its interval, and who it was.

    Args:
        history: rows of `champion_history`; of the last `ORIGINS` origins a task, and of champions alone, so that the
            picture stays small however many tasks and methods there are.
    """
    import altair as alt

    recent = pl.col("origin").rank("dense", descending=True).over("task") <= ORIGINS
    rows = history.filter("is_champion").filter(recent).select(
        "task", pl.col("origin").cast(pl.String), "method", "value", "low", "high"
    )
    base = alt.Chart(rows).encode(
        x=alt.X("origin:O", axis=alt.Axis(labels=False, ticks=False), title=None),
        y=alt.Y("value:Q", scale=alt.Scale(zero=False), title=None, axis=alt.Axis(tickCount=3)),
    )
    spread = base.mark_rule(color="lightgrey").encode(y="low:Q", y2="high:Q")
    champions = base.mark_point(size=40, filled=True).encode(color="method:N")
    return (
        alt.layer(spread, champions)
        .properties(width=WIDTH, height=HEIGHT)
        .facet(row=alt.Row("task:N", header=alt.Header(labelAngle=0, labelAlign="left"), title=None))
        .resolve_scale(y="independent")
    )
