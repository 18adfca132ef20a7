"""Lifetime value scores of an as-of day: expectations, intervals, deciles and drivers.

Applies the method that the referee allows. Fitting belongs to `model`, the choice of the method to
`grading`.
"""

from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.lifetime_value.bg_nbd import probability_alive
from insight_assets.insights.lifetime_value.calibrated_intervals import published_intervals
from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.forecasts import HISTORY
from insight_assets.insights.lifetime_value.model import LifetimeValueModel, forecast_method
from insight_assets.ml.metrics import average_ranks
from insight_assets.ml.publication import Publication

WINDOWS = (90, 365)
"""Windows that have columns of their own, whatever the horizon."""

_DECILES = 10
_DRIVERS = 3
# Digits that are meant: far finer than any interval, coarse enough to be equal on every machine.
_MONEY_DIGITS = 4
_COUNT_DIGITS = 6
# A driver that moves the forecast by less than this share of the median forecast is not told.
_TELLING_SHARE = 0.01


def other_windows(horizon_days: int) -> tuple[int, ...]:
    """Give the windows of which scores tell beside a horizon of so many days."""
    return tuple(days for days in WINDOWS if days != horizon_days)


def score(
    model: LifetimeValueModel,
    customers: Buyers,
    publish: Publication,
    *,
    as_of: date,
    horizon_days: int,
    model_version: str,
    seed: int,
) -> pl.DataFrame:
    """Score all buyers as of a day.

    Expected orders and values are those of the published method, and so are the intervals once a
    horizon has closed; before, they are simulated from the purchase and value model, as the
    probability of being alive always is. Their coverage is on the scorecard.

    Args:
        model: model trained as of the day.
        customers: buyers as of the day.
        publish: method to publish, with its grade.
        as_of: as-of day.
        horizon_days: label horizon H.
        model_version: version of the model.
        seed: seed of the interval simulation.

    Returns:
        One row a buyer in the columns of the contract `lifetime_value_scores`, ascending by key.

    Raises:
        KeyError: the published method is unknown.
    """
    columns: dict[str, np.ndarray] = {
        "probability_alive": probability_alive(model.purchase.model, customers.histories).round(
            _COUNT_DIGITS
        )
    }
    windows = sorted({*WINDOWS, horizon_days})
    intervals = published_intervals(
        model, customers, publish.method, windows=windows, horizon_days=horizon_days, seed=seed
    )
    for days, interval in zip(windows, intervals.windows, strict=True):
        expected, rule = (
            forecast_method(model, customers, method, days=days, horizon_days=horizon_days)
            for method in (publish.method, HISTORY.name)
        )
        names = [f"{days}d"] if days in WINDOWS else []
        names += ["horizon"] if days == horizon_days else []
        for name, point, ends, of_rule, digits in (
            ("orders", expected.orders, interval.orders, rule.orders, _COUNT_DIGITS),
            ("value", expected.value, interval.value, rule.value, _MONEY_DIGITS),
        ):
            for window in names:
                columns[f"expected_{name}_{window}"] = point.round(digits)
                columns[f"expected_{name}_{window}_low"] = ends.low.round(digits)
                columns[f"expected_{name}_{window}_high"] = ends.high.round(digits)
                columns[f"rule_{name}_{window}"] = of_rule.round(digits)
    ranked = columns[f"expected_value_{WINDOWS[-1]}d"]
    return pl.DataFrame({"customer_key": customers.keys, **columns}).with_columns(
        pl.lit(as_of, dtype=pl.Date).alias("as_of"),
        pl.Series("value_decile", _deciles(ranked), dtype=pl.Int8),
        pl.lit(publish.method).alias("method"),
        pl.lit(intervals.method).alias("interval_method"),
        pl.lit(model_version).alias("model_version"),
        pl.lit(horizon_days, dtype=pl.Int32).alias("horizon_days"),
        pl.lit(publish.grade).alias("grade"),
        pl.lit(publish.origin, dtype=pl.Date).alias("graded_origin"),
        *drivers(model, customers, publish.method, horizon_days=horizon_days),
    )


def drivers(
    model: LifetimeValueModel, customers: Buyers, method: str, *, horizon_days: int
) -> list[pl.Series]:
    """Say for each buyer what moved the expected value of the horizon most, in words.

    The effect of a fact is what the forecast loses when that fact is replaced by the median of all
    buyers and the rest is kept; facts that move nothing are not told. Learned methods read more than
    these facts: how much of the forecast the rest moved is not told.

    Args:
        model: trained model.
        customers: buyers.
        method: published method.
        horizon_days: label horizon H.

    Returns:
        `driver_1` to `driver_3`, strongest first, null where there is no further one.
    """
    size = customers.keys.size
    names = [f"driver_{number}" for number in range(1, _DRIVERS + 1)]
    if not size:
        return [pl.Series(name, [], dtype=pl.String) for name in names]

    def expected(of: Buyers) -> np.ndarray:
        return forecast_method(model, of, method, days=horizon_days, horizon_days=horizon_days).value

    def typical(values: np.ndarray) -> np.ndarray:
        return np.full(size, np.median(values))

    actual = expected(customers)
    repeats, gap = customers.histories.repeats, customers.days_since_last
    # Half a purchase is no history; and who had no repeat purchase has no recency of one, so the
    # customer with typical repeats also gets a typical last purchase.
    typical_repeats = np.floor(typical(repeats))
    typical_gap = typical(gap)
    replaced = (
        customers.with_history(
            repeats=typical_repeats, days_since_last=np.where(repeats > 0, gap, typical_gap)
        ),
        customers.with_history(days_since_last=typical_gap),
        customers.with_history(mean_value=typical(customers.mean_value)),
        customers.with_history(age=np.maximum(typical(customers.histories.age), gap)),
    )
    effects = np.column_stack([actual - expected(other) for other in replaced])
    texts = np.column_stack([text.to_numpy() for text in _facts(customers)])
    directions = np.where(effects > 0, " (raises)", " (lowers)")
    told = np.abs(effects) > _TELLING_SHARE * max(float(np.median(actual)), 1e-9)
    order = np.argsort(-np.where(told, np.abs(effects), 0.0), axis=1, kind="stable")
    chosen = order[:, :_DRIVERS]
    sentences = np.take_along_axis(texts + directions, chosen, axis=1)
    visible = np.take_along_axis(told, chosen, axis=1)
    return [
        pl.Series(
            name,
            np.where(visible[:, column], sentences[:, column], None).tolist(),
            dtype=pl.String,
        )
        for column, name in enumerate(names)
    ]


def _facts(customers: Buyers) -> list[pl.Series]:
    facts = pl.DataFrame(
        {
            "repeats": customers.histories.repeats.astype(np.int64),
            "gap": customers.days_since_last.astype(np.int64),
            "mean": customers.mean_value.round(2),
            "age": customers.histories.age.astype(np.int64),
        }
    )
    repeats = (
        pl.when(pl.col("repeats") == 0)
        .then(pl.lit("no repeat purchase"))
        .when(pl.col("repeats") == 1)
        .then(pl.lit("1 repeat purchase"))
        .otherwise(pl.format("{} repeat purchases", "repeats"))
    )
    gap = (
        pl.when(pl.col("gap") == 0)
        .then(pl.lit("last purchase on this day"))
        .when(pl.col("gap") == 1)
        .then(pl.lit("last purchase 1 day ago"))
        .otherwise(pl.format("last purchase {} days ago", "gap"))
    )
    mean = pl.format("net value of a purchase {}", pl.col("mean"))
    age = (
        pl.when(pl.col("age") == 0)
        .then(pl.lit("first purchase on this day"))
        .when(pl.col("age") == 1)
        .then(pl.lit("first purchase 1 day ago"))
        .otherwise(pl.format("first purchase {} days ago", "age"))
    )
    return facts.select(repeats=repeats, gap=gap, mean=mean, age=age).get_columns()


def _deciles(values: np.ndarray) -> np.ndarray:
    # The middle of a tie decides for all of it, so that equal customers share a decile.
    if not values.size:
        return np.zeros(0, dtype=np.int8)
    middle = (average_ranks(values) - 0.5) / values.size
    return np.minimum(1 + np.floor(_DECILES * middle), _DECILES).astype(np.int8)
