"""The likeliest targets in the ledger: put down as they were published, and held against what was then bought.

Only what was published is put down, so that the table grows with the customers and not with the catalogue. What needs
the chances of all targets, the AUC by which a method becomes champion, can therefore not be graded here. What decides
is `likeliest_bought`, which the scorecard promises too: whether the target told as the likeliest was among those
bought. Errors and totals are those of the published pairs of customer and target, the naive rule's on the same pairs.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.ledger.grades import EVERYBODY, Grading, grade_task, mean_over_rows
from insight_assets.insights.ledger.predictions import with_segment
from insight_assets.insights.propensity.grading import HIGHER_IS_BETTER, TASKS
from insight_assets.insights.propensity.targets import KINDS
from insight_assets.ml.metrics import expected_calibration_error, sum_ratio
from insight_assets.ml.referee import stored

PRIMARY = "likeliest_bought"
ERRORS = frozenset(name for name, higher_is_better in HIGHER_IS_BETTER.items() if not higher_is_better)

_NO_INTERVAL: Mapping[str, pl.Expr] = {name: pl.lit(None, pl.Float64) for name in ("low", "high")}


def record_propensities(scores: pl.LazyFrame, segments: pl.LazyFrame) -> pl.LazyFrame:
    """Put down the published targets of one as-of day.

    Args:
        scores: rows of `propensity_scores`.
        segments: rows of `rfm_segments` of the same day; a customer without one is of the segment `none`.

    Returns:
        Rows of the contract `propensity_ledger`, sorted by its key.
    """
    of = contract("propensity_ledger")
    told = scores.rename(
        {
            "probability": "prediction", "probability_low": "low", "probability_high": "high",
            "rule_probability": "rule_prediction",
        }
    )  # fmt: skip
    return with_segment(told, segments).select(of.polars_schema().names()).sort(of.primary_key)


def grade_recorded_propensities(
    ledger: pl.DataFrame,
    bought: Mapping[str, pl.DataFrame],
    targets: Mapping[str, pl.Series],
    promises: pl.DataFrame,
    *,
    as_of: date,
    smallest_group: int,
    seed: int,
    resamples: int = 400,
) -> pl.DataFrame:
    """Grade the targets that were published at one origin, kind by kind.

    Args:
        ledger: rows of `propensity_ledger` of the origin; may be empty.
        bought: by kind, distinct rows of customer_key and target, what the people of the origin bought within the
            horizon.
        targets: by kind, all targets that were to choose from at the origin; purchases of others do not count.
        promises: rows of scorecards of earlier origins, as `grades.promises_of` gives them.
        as_of: the day on which the horizon closed.
        smallest_group: smallest number of customers that figures may speak of.
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.

    Returns:
        Rows of the contract `ledger_grades`, sorted by its key; none of fewer customers than `smallest_group`.
        `likeliest_bought` is graded on the customers who bought any target, everything else on all who were told any.
    """
    of = contract("ledger_grades")
    how = {"as_of": as_of, "smallest_group": smallest_group, "seed": seed, "resamples": resamples}
    frames = [of.empty()]
    for kind in KINDS:
        told = ledger.filter(pl.col("kind") == kind).sort("customer_key", "rank")
        right = bought[kind].filter(pl.col("target").is_in(targets[kind].implode()))
        pairs = told.join(right.with_columns(bought=pl.lit(1.0)), on=["customer_key", "target"], how="left")
        pairs = pairs.with_columns(pl.col("bought").fill_null(0.0)).sort("customer_key", "rank")
        frames += [_likeliest(kind, told, right, promises, **how), _chances(kind, pairs, promises, **how)]
    return pl.concat(frames).sort(of.primary_key)


def _likeliest(
    kind: str, told: pl.DataFrame, right: pl.DataFrame, promises: pl.DataFrame, **how: Any
) -> pl.DataFrame:
    """Whether the target told as the likeliest was bought, and the rule's, of the customers who bought any."""
    first = told.filter(pl.col("rank") == 1).join(right.select("customer_key").unique(), on="customer_key", how="semi")
    hits = first.with_columns(
        _hit(right, first, "target").alias("prediction"),
        _hit(right, first, "rule_target").alias("rule_prediction"),
        truth=pl.lit(1.0),
        **_NO_INTERVAL,
    )
    grading = Grading("bought", PRIMARY, {PRIMARY: mean_over_rows}, frozenset(), (TASKS[kind], PRIMARY))
    return grade_task(TASKS[kind], hits, grading, promises, **how)


def _hit(right: pl.DataFrame, told: pl.DataFrame, column: str) -> pl.Series:
    pairs = told.select("customer_key", target=column)
    marked, key = right.with_columns(hit=pl.lit(1.0)), ["customer_key", "target"]
    return pairs.join(marked, on=key, how="left", maintain_order="left")["hit"].fill_null(0.0)


def _chances(kind: str, pairs: pl.DataFrame, promises: pl.DataFrame, **how: Any) -> pl.DataFrame:
    """How far the published chances hold: each measure from one number a customer, so that customers are drawn."""
    said = ("segment", "as_of", "method", "model_version", "horizon_days", "grade", "graded_origin")
    of_each = pairs.group_by("customer_key", maintain_order=True)
    squared = of_each.agg(
        pl.col(said).first(),
        (pl.col("prediction", "rule_prediction") - pl.col("bought")).pow(2).mean(),
        truth=pl.lit(1.0),
    )
    totals = of_each.agg(
        pl.col(said).first(), pl.col("prediction", "rule_prediction").sum(), truth=pl.col("bought").sum()
    )
    of_errors = Grading("bought", "brier", {"brier": mean_over_rows}, ERRORS, None)
    of_totals = replace(of_errors, primary="total_ratio", metrics={"total_ratio": sum_ratio})
    errors, ratios = (
        grade_task(TASKS[kind], each.with_columns(**_NO_INTERVAL), grading, promises, **how)
        for each, grading in ((squared, of_errors), (totals, of_totals))
    )
    # Only the deciding metric says whether the rule was beaten.
    nothing = [pl.lit(None, pl.Float64).alias(name) for name in ("gain", "gain_low", "gain_high")]
    return pl.concat([errors, ratios, _calibration(errors, pairs)]).with_columns(nothing)


def _calibration(errors: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The calibration error of the same groups: no mean over customers, so it has no interval."""
    found = {}
    for segment in errors["segment"]:
        some = pairs if segment == EVERYBODY else pairs.filter(pl.col("segment") == segment)
        truth = some["bought"].to_numpy()
        found[segment] = [
            stored(expected_calibration_error(truth, some[name].to_numpy()))
            for name in ("prediction", "rule_prediction")
        ]
    return errors.with_columns(
        metric=pl.lit("calibration_error"),
        value=pl.Series([found[segment][0] for segment in errors["segment"]], dtype=pl.Float64),
        rule_value=pl.Series([found[segment][1] for segment in errors["segment"]], dtype=pl.Float64),
        **_NO_INTERVAL,
    )
