"""What was told of each customer, put down before anybody can know whether it was true.

One row a customer, task and as-of day: the published prediction, its interval, the model behind it, and what the naive
rule would have told. Rows are taken from the published scores as they are; grading them is in `grades`. What is told of
the shop's horizon and what is told of 7 and 30 days lie in two tables, as they are graded on days of their own.
"""

from dataclasses import dataclass

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.types import Contract

CHURN, VALUE, ORDERS = "churn", "value", "orders"
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
        low: column of the lower end of its interval.
        high: column of the upper end.
        rule: column of what the naive rule would have told.
    """

    task: str
    prediction: str
    low: str
    high: str
    rule: str


OF_CHURN = (
    Told(CHURN, "churn_probability", "churn_probability_low", "churn_probability_high", "rule_probability"),
)
OF_VALUE = (
    Told(
        VALUE, "expected_value_horizon", "expected_value_horizon_low", "expected_value_horizon_high",
        "rule_value_horizon",
    ),
    Told(
        ORDERS, "expected_orders_horizon", "expected_orders_horizon_low", "expected_orders_horizon_high",
        "rule_orders_horizon",
    ),
)  # fmt: skip


OF_INTENT = (
    "purchase_probability", "purchase_probability_low", "purchase_probability_high", "rule_probability",
)  # fmt: skip
"""Columns of a chance of a purchase, its interval and the rule's chance, in scores of customers and of visits."""


def record_predictions(churn: pl.LazyFrame, value: pl.LazyFrame, segments: pl.LazyFrame) -> pl.LazyFrame:
    """Put down what was published of the shop's horizon on one as-of day.

    Args:
        churn: rows of `churn_scores`.
        value: rows of `lifetime_value_scores`.
        segments: rows of `rfm_segments` of the same day; a customer without one is of the segment `none`.

    Returns:
        Rows of the contract `prediction_ledger`, sorted by its key.
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
    return scores.select(
        "customer_key", "as_of", "method", "model_version", "horizon_days", "grade", "graded_origin",
        task=pl.lit(task.task), prediction=task.prediction, low=task.low, high=task.high, rule_prediction=task.rule,
    )  # fmt: skip
