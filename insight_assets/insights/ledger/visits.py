"""Running visits in the ledger: the chance of an order as it was told, held against how the visit ended.

A visit is over for certain a day later: only then are visits known that ran over midnight. It is graded by the same
labels that teach the models of visits. Customers are in `predictions`.
"""

from datetime import date

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.intent.visit_models import LABEL, TASK
from insight_assets.insights.intent.visits import SEEN
from insight_assets.insights.ledger.grades import grade_task, grading_of_chance
from insight_assets.insights.ledger.predictions import OF_INTENT

KNOWN_AFTER_DAYS = 1
"""Days from a visit's day to the one by whose end it is known how the visit ended."""

SIGNED_IN, VISITOR = "signed_in", "visitor"
"""Segments of visits. An RFM segment of the day would already know the order that is to be foretold."""

TASKS = tuple(TASK.format(seen) for seen in SEEN)


def record_visits(scores: pl.LazyFrame) -> pl.LazyFrame:
    """Put down the published chances of one day's visits.

    Args:
        scores: rows of `session_intent_scores`.

    Returns:
        Rows of the contract `session_intent_ledger`, sorted by its key.
    """
    of = contract("session_intent_ledger")
    names = ("prediction", "low", "high", "rule_prediction")
    signed_in = pl.col("customer_key").is_not_null()
    return (
        scores.rename(dict(zip(OF_INTENT, names, strict=True)))
        .with_columns(
            segment=pl.when(signed_in).then(pl.lit(SIGNED_IN)).otherwise(pl.lit(VISITOR)),
            horizon_days=pl.lit(KNOWN_AFTER_DAYS, pl.Int32),
            closes=pl.col("as_of") + pl.duration(days=KNOWN_AFTER_DAYS),
        )
        .select(of.polars_schema().names())
        .sort(of.primary_key)
    )


def grade_recorded_visits(
    ledger: pl.DataFrame,
    outcomes: pl.DataFrame,
    promises: pl.DataFrame,
    *,
    as_of: date,
    smallest_group: int,
    seed: int,
    resamples: int = 400,
) -> pl.DataFrame:
    """Grade what was told of one day's visits, one task a number of events seen.

    Args:
        ledger: rows of `session_intent_ledger` of the day; may be empty.
        outcomes: rows of `session_intent_examples` as of the day after, which know how the visits ended.
        promises: rows of scorecards, as `grades.promises_of` gives them, by the origin up to which methods knew.
        as_of: the day after.
        smallest_group: smallest number of actors that figures may speak of.
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.

    Returns:
        Rows of the contract `ledger_grades`, sorted by its key; none of visits of fewer actors than `smallest_group`.
    """
    of = contract("ledger_grades")
    ended = outcomes.filter(pl.col(LABEL).is_not_null()).select("session_id", "events_seen", truth=LABEL)
    told = ledger.join(ended, on=["session_id", "events_seen"]).sort("session_id", "events_seen")
    frames = [of.empty()]
    for seen, task in zip(SEEN, TASKS, strict=True):
        some = told.filter(pl.col("events_seen") == seen)
        frames.append(
            grade_task(
                task, some, grading_of_chance(task, LABEL), promises, as_of=as_of, smallest_group=smallest_group,
                seed=seed, resamples=resamples,
            )
        )  # fmt: skip
    return pl.concat(frames).sort(of.primary_key)
