"""Rows of the tables that profiles are made from, with only the values that a test speaks of."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.types import Column

AS_OF = date(2025, 3, 1)
VERSION = "0123456789ab"


def rows(table: str, given: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Rows of a contract: given values, a harmless value where one is required, else null."""
    columns = contract(table).columns
    schema = {column.name: column.dtype for column in columns}
    for row in given:
        assert set(row) <= set(schema), set(row) - set(schema)
    filled = [
        {column.name: row.get(column.name, _harmless(column)) for column in columns}
        for row in given
    ]
    return pl.DataFrame(filled, schema=schema)


def _harmless(column: Column) -> object:
    if not column.required:
        return None
    if column.name in {"as_of", "event_day", "first_seen_day"}:
        return AS_OF
    if column.allowed:
        return column.allowed[0]
    if column.dtype == pl.String:
        return VERSION if column.pattern else "x"
    if column.dtype == pl.Date:
        return AS_OF
    if isinstance(column.dtype, pl.Datetime):
        return datetime(2025, 3, 1, 12, tzinfo=UTC)
    if isinstance(column.dtype, pl.List):
        return []
    if column.dtype == pl.Boolean:
        return False
    return column.minimum or 0


def features(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of customer_features; whoever has no other number of events had ten."""
    return rows("customer_features", [{"events_lifetime": 10, **row} for row in given]).lazy()


def days(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of customer_days, all of signed-in customers."""
    return rows("customer_days", [{"actor_key": row.get("customer_key"), **row} for row in given]).lazy()


def segments(*given: tuple[int, str]) -> pl.LazyFrame:
    """Rows of rfm_segments from (customer, segment)."""
    english = {"loyal": "Loyal", "new": "New", "lost": "Lost", "at_risk": "At risk"}
    chinese = {
        "loyal": "忠诚客户",
        "new": "新客户",
        "lost": "已流失客户",
        "at_risk": "流失风险客户",
    }
    return rows(
        "rfm_segments",
        [
            {
                "customer_key": customer,
                "segment": segment,
                "segment_en": english[segment],
                "segment_zh": chinese[segment],
                "rfm_score": "555",
                "f": 5,
                "frequency": 9,
            }
            for customer, segment in given
        ],
    ).lazy()


def clusters(*given: int) -> pl.LazyFrame:
    """Rows of customer_clusters, all of cluster 1."""
    return rows(
        "customer_clusters",
        [
            {"customer_key": customer, "cluster": 1, "label_en": "many orders", "label_zh": "订单多"}
            for customer in given
        ],
    ).lazy()


def churn(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of churn_scores, graded B."""
    usual = {"grade": "B", "graded_origin": date(2024, 12, 1), "model_version": VERSION}
    return rows("churn_scores", [{**usual, **row} for row in given]).lazy()


def intent(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of intent_scores, graded A."""
    usual = {
        "grade": "A", "graded_origin": date(2025, 1, 30), "model_version": VERSION, "purchase_decile": 5,
        "purchase_probability_low": 0.0, "purchase_probability_high": 1.0,
    }  # fmt: skip
    return rows("intent_scores", [{**usual, **row} for row in given]).lazy()


def value(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of lifetime_value_scores, graded A."""
    usual = {"grade": "A", "graded_origin": date(2024, 12, 1), "value_decile": 5}
    return rows("lifetime_value_scores", [{**usual, **row} for row in given]).lazy()


def likely(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of propensity_scores, graded A, of rank 1 unless said otherwise."""
    usual = {
        "rank": 1, "grade": "A", "graded_origin": date(2024, 12, 1), "method": "logistic", "probability_low": 0.0,
        "probability_high": 1.0, "horizon_days": 90,
    }  # fmt: skip
    return rows("propensity_scores", [{**usual, **row} for row in given]).lazy()


def vectors(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of behaviour vectors."""
    usual = {"last_event_at": 0, "events_read": 1, "model_version": VERSION}
    return rows("behaviour_vectors", [{**usual, **row} for row in given]).lazy()


def lists(*given: Mapping[str, object]) -> pl.LazyFrame:
    """Rows of recommendations, graded A."""
    usual = {
        "grade": "A",
        "graded_origin": date(2024, 12, 1),
        "method": "ease",
        "model_version": VERSION,
    }
    return rows("recommendations", [{**usual, **row} for row in given]).lazy()
