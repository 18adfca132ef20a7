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

WIDTH, HEIGHT = 180, 36
ORIGINS = 18
"""Origins drawn, the newest."""

TASKS_DRAWN = 8
"""Tasks in one picture: a picture in the event log has to stay small."""


def verdicts(scorecard: pl.LazyFrame, *, known_after_days: int) -> pl.LazyFrame:
    """Say which origin a scorecard grades, and on which day that was known.

    Args:
        scorecard: rows of a scorecard. Where it has a column `origin`, `as_of` is the day on which the labels were
            known; else `as_of` is the origin.
        known_after_days: days after an origin at which its verdict is known, where the scorecard does not say the day.

    Returns:
        The rows with `origin` and `known_on`, without `as_of`.
    """
    names = scorecard.collect_schema().names()
    if "origin" in names:
        return scorecard.rename({"as_of": "known_on"})
    known_on = pl.col("as_of") + pl.duration(days=known_after_days)
    return scorecard.with_columns(known_on=known_on).rename({"as_of": "origin"})


def champion_history(scorecards: pl.LazyFrame, *, deciding: Mapping[str, str], as_of: date) -> pl.DataFrame:
    """Give each method's place at each origin whose verdict was known by a day.

    Args:
        scorecards: rows of scorecards of any tasks, of any origins, as `verdicts` gives them.
        deciding: task to the metric by which its champion is chosen; other tasks are left out.
        as_of: the as-of day; what was known later is left out.

    Returns:
        Rows of the contract `champion_history`, sorted by its key.
    """
    of = contract("champion_history")
    primary = pl.col("task").replace_strict(dict(deciding), default=None, return_dtype=pl.String)
    return (
        scorecards.filter((pl.col("known_on") <= pl.lit(as_of)) & (pl.col("metric") == primary))
        .with_columns(as_of=pl.lit(as_of))
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


def history_charts(history: pl.DataFrame) -> list["alt.FacetChart"]:
    """Draw the deciding metric of each task's champion over the origins, its interval, and who it was.

    Args:
        history: rows of `champion_history`; drawn are the last `ORIGINS` origins a task, and champions alone, so that
            pictures stay small however many methods there are.

    Returns:
        One chart for every `TASKS_DRAWN` tasks, in alphabetical order; none where there is no history.
    """
    tasks = history["task"].unique().sort().to_list()
    some = (tasks[start : start + TASKS_DRAWN] for start in range(0, len(tasks), TASKS_DRAWN))
    return [_chart(history.filter(pl.col("task").is_in(each))) for each in some]


def _chart(history: pl.DataFrame) -> "alt.FacetChart":
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
