"""Tables of the ledger for people: what was promised, what came, and what the rule would have told."""

import polars as pl

from insight_assets.insights.ledger.grades import EVERYBODY


def verdict_table(grades: pl.DataFrame) -> pl.DataFrame:
    """Give what became of everybody's predictions, one row a task and metric.

    Args:
        grades: rows of `ledger_grades`.
    """
    return (
        grades.filter(pl.col("segment") == EVERYBODY)
        .select(
            "task", "metric", "method", "customers", came="value", low="low", high="high", promised="promised",
            rule="rule_value", kept=pl.col("kept").cast(pl.String),
        )
        .sort("task", "metric")
    )  # fmt: skip


def segment_table(grades: pl.DataFrame) -> pl.DataFrame:
    """Give the ratio of predicted to actual totals by segment, where predictions lean to one side."""
    return (
        grades.filter((pl.col("metric") == "total_ratio") & (pl.col("segment") != EVERYBODY))
        .select("task", "segment", "customers", predicted_over_actual="value", rule_over_actual="rule_value")
        .sort("task", "segment")
    )
