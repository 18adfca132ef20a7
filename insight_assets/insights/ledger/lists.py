"""Recommended lists in the ledger: put down as they were published, and held against what was then bought.

A list is graded as the scorecard of recommendations grades it: by its NDCG and recall on what the customer bought
within the horizon, on what was new to them where lists may hold nothing else. The naive rule's list, put down on the
same day, is graded beside it on the same customers. Numbers told of customers are in `predictions` and `grades`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.ledger.grades import Grading, grade_task, mean_over_rows
from insight_assets.insights.ledger.predictions import with_segment
from insight_assets.insights.recommendation.grading import TASK, ndcg, primary_metric, recall
from insight_assets.insights.recommendation.publishing import FOR_NEWCOMERS
from insight_assets.insights.recommendation.ranking import Policy
from insight_assets.ml.publication import UNGRADED

RECOMMENDATION, NEWCOMERS = TASK, f"{TASK}_newcomers"
"""Lists by the published method; those of customers without a history, of which no scorecard promises anything."""

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""One number a customer of which places hit, shape (customers, length), and how many products would have been right."""

_LISTS: Mapping[str, str] = {"prediction": "product_ids", "rule_prediction": "rule_product_ids"}


def record_lists(recommendations: pl.LazyFrame, segments: pl.LazyFrame) -> pl.LazyFrame:
    """Put down the published lists of one as-of day.

    Args:
        recommendations: rows of that contract.
        segments: rows of `rfm_segments` of the same day; a customer without one is of the segment `none`.

    Returns:
        Rows of the contract `recommendation_ledger`, sorted by its key.
    """
    of = contract("recommendation_ledger")
    said = ("method", "model_version", "horizon_days", "grade", "graded_origin")
    told = (
        recommendations.sort("customer_key", "rank")
        .group_by("customer_key", "as_of", maintain_order=True)
        .agg(
            pl.col(said).first(),
            product_ids=pl.col("product_id"),
            rule_product_ids=pl.col("rule_product_id").drop_nulls(),
        )
    )
    return with_segment(told, segments).select(of.polars_schema().names()).sort(of.primary_key)


def grade_recorded_lists(
    ledger: pl.DataFrame,
    bought: pl.DataFrame,
    owned: pl.DataFrame,
    promises: pl.DataFrame,
    *,
    policy: Policy,
    as_of: date,
    smallest_group: int,
    seed: int,
    resamples: int = 400,
) -> pl.DataFrame:
    """Grade the lists that were published at one origin.

    Args:
        ledger: rows of `recommendation_ledger` of the origin; may be empty.
        bought: columns customer_key and product_id, what the people of the origin bought within the horizon, each once.
        owned: the same of what they had bought by the origin.
        promises: rows of scorecards of earlier origins, as `grades.promises_of` gives them.
        policy: the shop's rules for lists.
        as_of: the day on which the horizon closed.
        smallest_group: smallest number of customers that figures may speak of.
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.

    Returns:
        Rows of the contract `ledger_grades`, sorted by its key; none of fewer customers than `smallest_group`. Graded
        are customers with a list who bought something, and something new to them where lists hold only that; all they
        bought counts, also what came into the shop later.
    """
    right = bought if policy.repeat_purchases else bought.join(owned, on=["customer_key", "product_id"], how="anti")
    sizes = right.group_by("customer_key").agg(size=pl.len().cast(pl.Int64))
    told = ledger.join(sizes, on="customer_key").sort("customer_key")
    newcomer = (pl.col("method") == FOR_NEWCOMERS) & (pl.col("grade") == UNGRADED)
    how = {"as_of": as_of, "smallest_group": smallest_group, "seed": seed, "resamples": resamples}
    frames = [contract("ledger_grades").empty()]
    for task, some in ((RECOMMENDATION, told.filter(~newcomer)), (NEWCOMERS, told.filter(newcomer))):
        found = {name: _hits(some, column, right, length=policy.length) for name, column in _LISTS.items()}
        for grading, measure in _gradings(policy):
            values = {name: pl.Series(name, measure(hits, some["size"].to_numpy())) for name, hits in found.items()}
            nothing = pl.lit(None, pl.Float64)
            graded = some.with_columns(**values, truth=pl.lit(1.0), low=nothing, high=nothing)
            rows = grade_task(task, graded, grading, promises, **how)
            # Only the deciding metric says whether the rule was beaten.
            decides = pl.col("metric") == primary_metric(policy)
            frames.append(rows.with_columns(pl.when(decides).then(pl.col("gain", "gain_low", "gain_high"))))
    return pl.concat(frames).sort(contract("ledger_grades").primary_key)


def _gradings(policy: Policy) -> tuple[tuple[Grading, Measure], ...]:
    """How lists are graded: the metric that decided on the scorecard, and what share of the purchases they held."""
    primary = primary_metric(policy)
    deciding = Grading("size", primary, {primary: mean_over_rows}, frozenset(), (RECOMMENDATION, primary))
    share = primary.replace("ndcg", "recall")
    return (
        (deciding, ndcg),
        (replace(deciding, primary=share, metrics={share: mean_over_rows}, promised_by=None), recall),
    )


def _hits(told: pl.DataFrame, column: str, right: pl.DataFrame, *, length: int) -> np.ndarray:
    """Whether the product in each place was bought: bool, shape (customers, length), customers as in `told`."""
    places = (
        told.select("customer_key", product_id=pl.col(column).list.head(length))
        .with_row_index("row")
        .filter(pl.col("product_id").list.len() > 0)
        .with_columns(place=pl.int_ranges(pl.col("product_id").list.len()))
        .explode("product_id", "place")
        .join(right, on=["customer_key", "product_id"], how="semi")
    )
    found = np.zeros((told.height, length), dtype=bool)
    found[places["row"].to_numpy(), places["place"].to_numpy()] = True
    return found
