"""The truth about what was told: published predictions against what customers did, once the horizon has closed.

Grades the numbers that were published, not models: what is read is the ledger, so that nothing can be told better
afterwards. The rule's own numbers are graded beside them, on the same customers and resamples. A promise is what the
scorecard that allowed a method to be published said of it. How right a list was is said in `lists`, how right the
likeliest targets were in `propensities`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.churn import horizons as churn_horizons
from insight_assets.insights.churn.scoring import SHORTER_HORIZONS
from insight_assets.insights.ledger.predictions import CHURN, ORDERS, PURCHASE, PURCHASE_DAYS, VALUE, WITHIN
from insight_assets.insights.lifetime_value.scoring import WINDOWS
from insight_assets.ml.metrics import (
    ERRORS_OF_CHANCES,
    METRICS_OF_CHANCES,
    captured_at_top_decile,
    mean_absolute_error,
    normalised_gini,
    sum_ratio,
)
from insight_assets.ml.referee import SCORECARD_SCHEMA, Method, MetricFunction, grade_methods, stored

EVERYBODY = "all"
COVERAGE = "interval_coverage"
LEAST_SEGMENT = 50
"""Customers below which a segment's figures are mostly chance."""
RULE, PUBLISHED = "rule", "published"


@dataclass(frozen=True)
class Grading:
    """How a task is graded.

    Attributes:
        label: column of the labels that holds the truth.
        primary: metric of the promise.
        metrics: all metrics, by name.
        lower_is_better: names of those of which less is better.
        promised_by: task and metric under which the scorecard promises the primary metric; None if it does not.
        promised_as: what the scorecard calls the published method; None where it does by its name.
    """

    label: str
    primary: str
    metrics: Mapping[str, MetricFunction]
    lower_is_better: frozenset[str]
    promised_by: tuple[str, str] | None
    promised_as: str | None = None


def money_at_top_decile(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the money that came from the tenth of customers that were told to bring most."""
    return captured_at_top_decile(np.ones(len(truth)), prediction, np.maximum(truth, 0))


def mean_over_rows(truth: np.ndarray, prediction: np.ndarray) -> float:  # noqa: ARG001
    """Mean of the predictions, where they are already one number a customer of how right it was."""
    return float(np.mean(prediction)) if len(prediction) else float("nan")


OF_CHANCES: Mapping[str, MetricFunction] = {**METRICS_OF_CHANCES, "total_ratio": sum_ratio}

GRADINGS: Mapping[str, Grading] = {
    CHURN: Grading("churned", "auc", OF_CHANCES, ERRORS_OF_CHANCES, ("churn", "auc")),
    VALUE: Grading(
        "net", "normalised_gini",
        {
            "normalised_gini": normalised_gini, "mae": mean_absolute_error, "total_ratio": sum_ratio,
            "money_at_top_decile": money_at_top_decile,
        },
        frozenset({"mae"}), ("lifetime_value", "normalised_gini"),
    ),
    ORDERS: Grading(
        "purchase_days", "mae", {"mae": mean_absolute_error, "total_ratio": sum_ratio}, frozenset({"mae"}),
        ("lifetime_value", "mae_orders"),
    ),
}  # fmt: skip
"""How what is told of the shop's horizon is graded, by task: by `customer_labels`."""


def grading_of_chance(task: str, label: str) -> Grading:
    """Give how a chance is graded whose scorecard has the task's own name and decides by the AUC.

    Args:
        task: name of the task.
        label: column of the labels that holds the truth.
    """
    return Grading(label, "auc", OF_CHANCES, ERRORS_OF_CHANCES, (task, "auc"))


PURCHASES: Mapping[str, Grading] = {
    PURCHASE.format(days): grading_of_chance(PURCHASE.format(days), "returned") for days in PURCHASE_DAYS
}
"""How purchase intent is graded, by task: by labels of everybody known at the origin, over the task's own horizon."""

CHURN_WITHIN: Mapping[int, Mapping[str, Grading]] = {
    days: {
        WITHIN.format(CHURN, days): replace(
            GRADINGS[CHURN],
            primary=churn_horizons.PRIMARY,
            promised_by=(churn_horizons.TASK.format(days), churn_horizons.PRIMARY),
            promised_as=churn_horizons.PUBLISHED.name,
        )
    }
    for days in SHORTER_HORIZONS
}
"""Shorter horizon to how churn within it is graded, by task: by labels of the customers who had bought."""

VALUE_WITHIN: Mapping[int, Mapping[str, Grading]] = {
    days: {WITHIN.format(what, days): replace(GRADINGS[what], promised_by=None) for what in (VALUE, ORDERS)}
    for days in WINDOWS
}
"""Window to how value and orders within it are graded, by task: no scorecard grades another window than the shop's."""


def grade_ledger(
    ledger: pl.DataFrame,
    labels: pl.DataFrame,
    promises: pl.DataFrame,
    *,
    as_of: date,
    smallest_group: int,
    seed: int,
    gradings: Mapping[str, Grading] = GRADINGS,
    resamples: int = 400,
) -> pl.DataFrame:
    """Grade what was told at one origin.

    Args:
        ledger: rows of `prediction_ledger` or `intent_ledger` of the origin; may be empty.
        labels: rows of `customer_labels` of the origin, for everybody of whom the tasks tell; may be empty.
        promises: rows of scorecards of earlier origins, as `promises_of` gives them.
        as_of: the day on which the horizon closed.
        smallest_group: smallest number of customers that figures may speak of.
        seed: seed of the bootstrap.
        gradings: how each task is graded; other tasks are left out.
        resamples: bootstrap resamples.

    Returns:
        Rows of the contract `ledger_grades`, sorted by its key. Intervals, and the gain over the rule, are stated for
        everybody; tasks and segments of fewer customers than `smallest_group`, and segments of fewer than
        `LEAST_SEGMENT`, have no rows.
    """
    how = {"as_of": as_of, "smallest_group": smallest_group, "seed": seed, "resamples": resamples}
    frames = []
    for task, grading in gradings.items():
        told = ledger.filter(pl.col("task") == task)
        graded = told.join(labels.select("customer_key", truth=grading.label), on="customer_key").sort("customer_key")
        frames.append(grade_task(task, graded, grading, promises, **how))
    return pl.concat(frames).sort(contract("ledger_grades").primary_key)


def grade_task(
    task: str,
    graded: pl.DataFrame,
    grading: Grading,
    promises: pl.DataFrame,
    *,
    as_of: date,
    smallest_group: int,
    seed: int,
    resamples: int = 400,
) -> pl.DataFrame:
    """Grade what was told of one task at one origin, for everybody and by segment.

    Args:
        task: name of the task.
        graded: what was told, one row a customer or visit whose outcome is known, in a fixed order: `segment`, `truth`,
            `prediction`, `rule_prediction`, `low`, `high`, and as of all rows `as_of`, `method`, `model_version`,
            `horizon_days`, `grade` and `graded_origin`; of visits, whose they were in `actor_key`.
        grading: how the task is graded.
        promises: as `promises_of` gives them.
        as_of: the day on which the horizon closed.
        smallest_group: as for `grade_ledger`.
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.

    Returns:
        Rows of the contract `ledger_grades`; none where the outcomes of too few are known.
    """
    of = contract("ledger_grades")
    # Figures of fewer would speak of single people.
    if graded.is_empty() or _people(graded) < smallest_group:
        return of.empty()
    first = graded.row(0, named=True)
    said = {name: first[name] for name in ("method", "model_version", "horizon_days", "grade")}
    said |= {"as_of": as_of, "origin": first["as_of"], "task": task}
    promised = _promise(promises, first, grading)
    rows: list[dict[str, object]] = []
    for row in _everybody(graded, grading, first["as_of"], task, seed=seed, resamples=resamples):
        is_primary = row["metric"] == grading.primary
        rows.append(said | row | _kept(row, *(promised if is_primary else (None, None)), grading))
    rows += [said | row for row in _segments(graded, grading, smallest_group=smallest_group)]
    names = of.polars_schema().names()
    full = [{name: row.get(name) for name in names} for row in rows]
    return of.conform(pl.DataFrame(full, schema=of.polars_schema()).lazy()).collect()


def broken_promises(grades: pl.DataFrame) -> pl.DataFrame:
    """Give the rows of `ledger_grades` that show a drop.

    Returns:
        Rows whose metric is surely worse than promised, or surely worse than the naive rule's.
    """
    surely_worse = pl.col("gain_high").fill_null(0.0) < 0
    return grades.filter((pl.col("kept") == False) | surely_worse)  # noqa: E712


def _everybody(
    graded: pl.DataFrame, grading: Grading, origin: date, task: str, *, seed: int, resamples: int
) -> Iterator[dict[str, object]]:
    """Grade the published numbers and the rule's on all customers."""
    truth, predictions = _arrays(graded)
    card = grade_methods(
        task=task, origin=origin, methods=(Method(RULE, "rule", 0), Method(PUBLISHED, "model", 1)), truth=truth,
        predictions=predictions, metrics=grading.metrics, primary=grading.primary,
        higher_is_better={name: name not in grading.lower_is_better for name in grading.metrics}, resamples=resamples,
        seed=seed,
    )  # fmt: skip
    of_rule = {row["metric"]: row["value"] for row in card.filter(pl.col("method") == RULE).iter_rows(named=True)}
    for row in card.filter(pl.col("method") == PUBLISHED).iter_rows(named=True):
        yield {
            "segment": EVERYBODY, "rule_value": of_rule[row["metric"]],
            **{name: row[name] for name in ("metric", "customers", "value", "low", "high")},
            **{name: row[name] for name in ("gain", "gain_low", "gain_high")},
        }
    if (inside := _coverage(graded)) is not None:
        yield {"segment": EVERYBODY, "metric": COVERAGE, "customers": graded.height, "value": inside}


def _people(graded: pl.DataFrame) -> int:
    """Count whom rows are of: one customer each, or the actors of visits, of which a person can have many."""
    return graded["actor_key"].n_unique() if "actor_key" in graded.columns else graded.height


def _segments(graded: pl.DataFrame, grading: Grading, *, smallest_group: int) -> Iterator[dict[str, object]]:
    for (segment,), members in graded.group_by(["segment"], maintain_order=True):
        if _people(members) < smallest_group or members.height < LEAST_SEGMENT:
            continue
        truth, predictions = _arrays(members)
        for metric, function in grading.metrics.items():
            value, of_rule = (stored(function(truth, predictions[name])) for name in (PUBLISHED, RULE))
            yield {
                "segment": segment, "metric": metric, "customers": members.height, "value": value,
                "rule_value": of_rule,
            }  # fmt: skip
        if (inside := _coverage(members)) is not None:
            yield {"segment": segment, "metric": COVERAGE, "customers": members.height, "value": inside}


def _arrays(graded: pl.DataFrame) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    numbers = {name: graded[name].cast(pl.Float64).to_numpy() for name in ("truth", "prediction", "rule_prediction")}
    return numbers["truth"], {PUBLISHED: numbers["prediction"], RULE: numbers["rule_prediction"]}


def _coverage(graded: pl.DataFrame) -> float | None:
    """Share of outcomes inside their intervals; None where the truth is yes or no, or there is no interval."""
    known = graded.filter(pl.col("low").is_not_null() & pl.col("high").is_not_null())
    if graded.schema["truth"] == pl.Boolean or known.is_empty():
        return None
    return stored(float(known.select(pl.col("truth").is_between("low", "high").mean()).item()))


def _promise(
    promises: pl.DataFrame, told: Mapping[str, object], grading: Grading
) -> tuple[float | None, float | None]:
    """Give what the scorecard said of the published method, and the worse end of it; None where it said nothing."""
    if grading.promised_by is None or told["graded_origin"] is None:
        return None, None
    task, metric = grading.promised_by
    found = promises.filter(
        pl.col("as_of") == told["graded_origin"], pl.col("task") == task, pl.col("metric") == metric,
        pl.col("method") == (grading.promised_as or told["method"]),
    )  # fmt: skip
    worse = "high" if grading.primary in grading.lower_is_better else "low"
    return found.select("value", worse).row(0) if found.height == 1 else (None, None)


def _kept(
    row: Mapping[str, object], promised: float | None, at_worst: float | None, grading: Grading
) -> dict[str, object]:
    """Say whether a promise was kept: it was broken where the whole interval lies beyond the worse end of it.

    The promise is of the winner among several methods, whose value is a little too good by that alone; so it is held
    to its own interval.
    """
    lower_is_better = row["metric"] in grading.lower_is_better
    best = row.get("low") if lower_is_better else row.get("high")
    if at_worst is None or best is None:
        return {"promised": promised, "promised_at_worst": at_worst, "kept": None}
    broken = best > at_worst if lower_is_better else best < at_worst
    return {"promised": promised, "promised_at_worst": at_worst, "kept": not broken}


def promises_of(scorecards: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    """Put scorecards of several tasks together, as far as promises go.

    Args:
        scorecards: rows of scorecards, of none where nothing is promised. Where one has a column `origin`, that is
            the origin that it grades; else `as_of` is.

    Returns:
        Columns `as_of` (the origin), `task`, `method`, `metric`, `value`, `low` and `high`.
    """
    told = ("as_of", "task", "method", "metric", "value", "low", "high")
    dated = (
        card.with_columns(as_of="origin") if "origin" in card.collect_schema() else card
        for card in (pl.LazyFrame(schema=SCORECARD_SCHEMA), *scorecards)
    )
    return pl.concat([card.select(told) for card in dated]).collect()
