"""The scorecard of lifetime value: methods against what customers bought in a closed horizon.

Chooses methods and measures and hands them to the referee, which decides. Nothing is predicted for
publication here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.lifetime_value.calibrated_intervals import published_intervals
from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.forecasts import HISTORY, Forecast
from insight_assets.insights.lifetime_value.intervals import Interval, predict_intervals
from insight_assets.insights.lifetime_value.learning import INTERVAL_LEVEL
from insight_assets.insights.lifetime_value.model import LifetimeValueModel, forecast_by_method
from insight_assets.ml.metrics import average_ranks, mean_absolute_error, normalised_gini, sum_ratio
from insight_assets.ml.publication import Publication, publishable
from insight_assets.ml.referee import (
    SCORECARD_SCHEMA,
    grade_methods,
)

TASK = "lifetime_value"
PRIMARY = "normalised_gini"


@dataclass(frozen=True)
class Outcomes:
    """What the graded customers did in the horizon; arrays of shape (n,).

    Attributes:
        orders: days with a purchase.
        value: net value in money.
    """

    orders: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class Grading:
    """A scorecard with what its pictures need.

    Attributes:
        scorecard: rows of the referee, empty when there was nobody to grade.
        outcomes: what happened.
        forecasts: what each method expected, by method.
    """

    scorecard: pl.DataFrame
    outcomes: Outcomes
    forecasts: Mapping[str, Forecast]


def spearman(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Rank correlation of truth and prediction, ties averaged; NaN when either is constant."""
    ranks, predicted = average_ranks(truth), average_ranks(prediction)
    if np.ptp(ranks) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(np.corrcoef(ranks, predicted)[0, 1])


def match_outcomes(customers: Buyers, customer_labels: pl.LazyFrame) -> tuple[np.ndarray, Outcomes]:
    """Match labels of one origin to customers.

    Args:
        customers: customers as of the origin.
        customer_labels: labels of the same origin, empty while the horizon is open.

    Returns:
        Which customers have a label, shape (n,), and the outcomes of those, in their order.
    """
    labels = customer_labels.select("customer_key", "purchase_days", "net")
    matched = (
        pl.LazyFrame({"customer_key": customers.keys}, schema={"customer_key": pl.Int64})
        .join(labels, on="customer_key", how="left", maintain_order="left")
        .collect()
    )
    known = matched["purchase_days"].is_not_null().to_numpy()
    labelled = matched.filter(pl.col("purchase_days").is_not_null())
    return known, Outcomes(
        orders=labelled["purchase_days"].cast(pl.Float64).to_numpy(),
        value=labelled["net"].cast(pl.Float64).to_numpy(),
    )


def grade(
    model: LifetimeValueModel,
    customers: Buyers,
    customer_labels: pl.LazyFrame,
    *,
    origin: date,
    horizon_days: int,
    seed: int,
    model_version: str,
    resamples: int = 400,
) -> Grading:
    """Grade all methods on the customers whose horizon has closed.

    Metrics of net value: mean absolute error, normalised Gini (primary: lifetime value serves to
    tell customers apart), Spearman correlation and the ratio of sums. Of orders: mean absolute
    error. Of each method's 90 % intervals: the share of outcomes inside.

    Args:
        model: model trained as of the origin.
        customers: customers as of the origin.
        customer_labels: labels of the origin; empty while the horizon is open.
        origin: as-of day graded.
        horizon_days: label horizon H.
        seed: seed of the bootstrap and of the interval simulation.
        model_version: version of the model.
        resamples: bootstrap resamples.

    Returns:
        The grading; its scorecard is empty when no customer has a label.
    """
    known, outcomes = match_outcomes(customers, customer_labels)
    everyone = forecast_by_method(model, customers, days=horizon_days, horizon_days=horizon_days)
    forecasts = {
        name: Forecast(orders=expected.orders[known], value=expected.value[known])
        for name, expected in everyone.items()
    }
    if not known.any():
        empty = pl.DataFrame(schema=SCORECARD_SCHEMA)
        return Grading(scorecard=empty, outcomes=outcomes, forecasts=forecasts)

    def card(
        truth: np.ndarray,
        predictions: Mapping[str, np.ndarray],
        metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], float]],
        primary: str,
    ) -> pl.DataFrame:
        return grade_methods(
            task=TASK,
            origin=origin,
            methods=model.methods,
            truth=truth,
            predictions=predictions,
            metrics=metrics,
            primary=primary,
            higher_is_better={name: not name.startswith("mae") for name in metrics},
            resamples=resamples,
            seed=seed,
            model_version=model_version,
        )

    by_value = card(
        outcomes.value,
        {name: expected.value for name, expected in forecasts.items()},
        {
            "mae": mean_absolute_error,
            PRIMARY: normalised_gini,
            "spearman": spearman,
            "sum_ratio": sum_ratio,
        },
        PRIMARY,
    )
    by_orders = card(
        outcomes.orders,
        {name: expected.orders for name, expected in forecasts.items()},
        {"mae_orders": mean_absolute_error},
        "mae_orders",
    )
    simulated = predict_intervals(
        model.purchase,
        model.value,
        customers.histories,
        customers.purchase_days,
        customers.mean_value,
        windows=[horizon_days],
        level=INTERVAL_LEVEL,
        seed=seed,
    )
    inside: dict[str, dict[str, np.ndarray]] = {"interval_coverage_orders": {}, "interval_coverage_value": {}}
    for name in forecasts:
        window = published_intervals(
            model, customers, name, windows=[horizon_days], horizon_days=horizon_days, seed=seed, simulated=simulated
        ).windows[0]
        inside["interval_coverage_orders"][name] = _inside(outcomes.orders, window.orders, known)
        inside["interval_coverage_value"][name] = _inside(outcomes.value, window.value, known)
    parts = [by_value, by_orders]
    parts += [card(outcomes.value, shares, {name: _share_inside}, name) for name, shares in inside.items()]
    return Grading(
        scorecard=_under_one_verdict(parts), outcomes=outcomes, forecasts=forecasts
    )


def publication(scorecard: pl.DataFrame, *, available: Collection[str]) -> Publication:
    """Say what the newest closed scorecard allows to be published.

    Args:
        scorecard: scorecard of the origin one horizon before, empty when there is none.
        available: methods that the model of the as-of day has.

    Returns:
        The champion; the history rule, ungraded, when nothing was graded or the champion could not be trained.
    """
    return publishable(scorecard, known=available, rule=HISTORY.name)


def _inside(truth: np.ndarray, interval: Interval, known: np.ndarray) -> np.ndarray:
    within = (truth >= interval.low[known]) & (truth <= interval.high[known])
    return within.astype(np.float64)


def _share_inside(_truth: np.ndarray, inside: np.ndarray) -> float:
    return float(inside.mean())


def _under_one_verdict(parts: list[pl.DataFrame]) -> pl.DataFrame:
    # The referee gives each call its own champion; the first part, of the primary metric, decides
    # for all rows of a method.
    verdict = parts[0].select("method", "is_champion", "grade").unique(maintain_order=True)
    rest = pl.concat(parts[1:]).drop("is_champion", "grade")
    rest = rest.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("gain", "gain_low", "gain_high")
    ).join(verdict, on="method", how="left", maintain_order="left")
    columns = list(SCORECARD_SCHEMA)
    return pl.concat([parts[0].select(columns), rest.select(columns)]).sort(
        "complexity", "method", "metric"
    )
