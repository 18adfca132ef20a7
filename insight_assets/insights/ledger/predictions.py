"""What was told of each customer, put down before anybody can know whether it was true.

One row a customer, task and as-of day: the published prediction, its interval, the model behind it, and what the naive
rule would have told. Rows are taken from the published scores as they are; grading them is in `grades`. What is told of
another horizon than the shop's is a task of its own, as it is graded on a day of its own.
"""

from dataclasses import dataclass

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.types import Contract
from insight_assets.insights.churn.scoring import SHORTER_HORIZONS
from insight_assets.insights.lifetime_value.scoring import WINDOWS

CHURN, VALUE, ORDERS = "churn", "value", "orders"
WITHIN = "{}_{}d"
"""Name of a task whose horizon is not the shop's."""

PURCHASE = "purchase_{}d"
PURCHASE_DAYS = (7, 30)
"""Horizons of purchase intent, each a task of its own."""

NO_SEGMENT = "none"


@dataclass(frozen=True)
class Told:
    """Where a task's predictions stand in a table of scores.

    Attributes:
        task: name of the task.
        prediction: column of the published prediction.
        low: column of the lower end of its interval; None where none is published.
        high: column of the upper end; None where none is published.
        rule: column of what the naive rule would have told.
        days: the task's own horizon; None where the scores say it.
    """

    task: str
    prediction: str
    low: str
    high: str
    rule: str
    days: int | None = None


def _of_value(what: str, days: int | None = None) -> Told:
    window = "horizon" if days is None else f"{days}d"
    told, task = f"expected_{what}_{window}", what if days is None else WITHIN.format(what, days)
    return Told(task, told, f"{told}_low", f"{told}_high", f"rule_{what}_{window}", days)


OF_CHURN = (
    Told(CHURN, "churn_probability", "churn_probability_low", "churn_probability_high", "rule_probability"),
    *(
        Told(
            WITHIN.format(CHURN, days), f"churn_probability_{days}d", f"churn_probability_{days}d_low",
            f"churn_probability_{days}d_high", f"rule_probability_{days}d", days,
        )
        for days in SHORTER_HORIZONS
    ),
)
OF_VALUE = tuple(_of_value(what, days) for days in (None, *WINDOWS) for what in (VALUE, ORDERS))

OF_INTENT = (
    "purchase_probability", "purchase_probability_low", "purchase_probability_high", "rule_probability",
)  # fmt: skip
"""Columns of a chance of a purchase, its interval and the rule's chance, in scores of customers and of visits."""


def record_predictions(churn: pl.LazyFrame, value: pl.LazyFrame, segments: pl.LazyFrame) -> pl.LazyFrame:
    """Put down what was published of churn and value on one as-of day, of every horizon.

    Args:
        churn: rows of `churn_scores`.
        value: rows of `lifetime_value_scores`.
        segments: rows of `rfm_segments` of the same day; a customer without one is of the segment `none`.

    Returns:
        Rows of the contract `prediction_ledger`, sorted by its key. A window as long as the shop's horizon is put down
        as the latter alone; what was not published of a customer is not put down.
    """
    told = [_told(scores, task) for scores, tasks in ((churn, OF_CHURN), (value, OF_VALUE)) for task in tasks]
    return _put_down(told, segments, contract("prediction_ledger"))


def record_purchases(intent: pl.LazyFrame, segments: pl.LazyFrame) -> pl.LazyFrame:
    """Put down the published chances of a purchase of one as-of day, each within a horizon of its own.

    Args:
        intent: rows of `intent_scores`.
        segments: as for `record_predictions`.

    Returns:
        Rows of the contract `intent_ledger`, sorted by its key.
    """
    told = [
        _told(intent.filter(pl.col("horizon_days") == days), Told(PURCHASE.format(days), *OF_INTENT))
        for days in PURCHASE_DAYS
    ]
    return _put_down(told, segments, contract("intent_ledger"))


def with_segment(told: pl.LazyFrame, segments: pl.LazyFrame) -> pl.LazyFrame:
    """Add the customer's segment and the day on which the horizon closes.

    Args:
        told: rows with `customer_key`, `as_of` and `horizon_days`.
        segments: as for `record_predictions`.
    """
    return told.join(segments.select("customer_key", "segment"), on="customer_key", how="left").with_columns(
        pl.col("segment").fill_null(NO_SEGMENT), closes=pl.col("as_of") + pl.duration(days="horizon_days")
    )


def _put_down(told: list[pl.LazyFrame], segments: pl.LazyFrame, of: Contract) -> pl.LazyFrame:
    return with_segment(pl.concat(told), segments).select(of.polars_schema().names()).sort(of.primary_key)


def _told(scores: pl.LazyFrame, task: Told) -> pl.LazyFrame:
    told = scores.filter(pl.col(task.prediction).is_not_null())
    if task.days is not None:
        told = told.filter(pl.col("horizon_days") != task.days).with_columns(horizon_days=pl.lit(task.days, pl.Int32))
    low, high = pl.col(task.low), pl.col(task.high)
    return told.select(
        "customer_key", "as_of", "method", "model_version", "horizon_days", "grade", "graded_origin",
        task=pl.lit(task.task), prediction=task.prediction, low=low, high=high, rule_prediction=task.rule,
    )  # fmt: skip
