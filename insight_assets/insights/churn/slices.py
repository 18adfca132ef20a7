"""How well the published churn method foretells groups of customers, and not only all of them together.

Groups are told by features known at the origin. A group of few customers is left out, so that none can be recognised.
"""

from collections.abc import Iterator, Mapping
from datetime import date

import numpy as np
import polars as pl

from insight_assets.ml.metrics import auc
from insight_assets.ml.referee import stored

EVERYBODY = "everybody"
CHANNELS = ("web", "app", "mini_program", "store", "phone", "email", "other")
MOST_LEVELS = 12
"""Levels of a text that get a group each, the most frequent ones."""

NORMAL_95 = 1.96

SLICES_SCHEMA = pl.Schema(
    {
        "as_of": pl.Date,
        "dimension": pl.String,
        "slice": pl.String,
        "method": pl.String,
        "customers": pl.Int64,
        "churn_rate": pl.Float64,
        "predicted_rate": pl.Float64,
        "auc": pl.Float64,
        "auc_low": pl.Float64,
        "auc_high": pl.Float64,
        "brier": pl.Float64,
        "model_version": pl.String,
    }
)


def grade_slices(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    probability: np.ndarray,
    *,
    origin: date,
    method: str,
    model_version: str,
    smallest_group: int,
) -> pl.DataFrame:
    """Grade a method's probabilities within groups of customers.

    Args:
        features: Rows of `customer_features` as of the origin, n customers.
        labels: Rows of `customer_labels` of the origin.
        probability: Shape (n,), the method's probabilities in the order of `features`.
        origin: The origin.
        method: Name of the method.
        model_version: Version of the models.
        smallest_group: Fewest customers that a group may show.

    Returns:
        Rows of the contract `churn_slices`, by dimension and slice, everybody first.
    """
    scored = features.with_columns(_probability=pl.Series(probability, dtype=pl.Float64))
    known = scored.join(labels.select("customer_key", "churned"), on="customer_key").sort("customer_key")
    if known.height < smallest_group:
        return pl.DataFrame(schema=SLICES_SCHEMA)
    truth = known["churned"].cast(pl.Float64).to_numpy()
    told = known["_probability"].to_numpy()
    rows = []
    for dimension, groups in _dimensions(known).items():
        for name in groups.drop_nulls().unique().sort():
            inside = (groups == name).fill_null(value=False).to_numpy()
            if inside.sum() >= smallest_group:
                figures = _figures(truth[inside], told[inside])
                rows.append({"as_of": origin, "dimension": dimension, "slice": name, "method": method, **figures,
                             "model_version": model_version})  # fmt: skip
    return pl.DataFrame(rows, schema=SLICES_SCHEMA)


def _dimensions(known: pl.DataFrame) -> Mapping[str, pl.Series]:
    """Group of each customer along each dimension; null where the customer is in none."""
    dimensions = {EVERYBODY: pl.Series([EVERYBODY] * known.height)}
    dimensions |= dict(_behaviour(known))
    for name, dtype in known.schema.items():
        if dtype == pl.String:
            counted = known[name].drop_nulls().value_counts(name="rows").sort(["rows", name], descending=[True, False])
            dimensions[name] = known.select(
                pl.when(pl.col(name).is_in(counted[name].head(MOST_LEVELS).to_list())).then(pl.col(name))
            ).to_series()
    return dimensions


def _behaviour(known: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    orders, days = pl.col("orders_lifetime"), pl.col("days_since_last_order")
    yield "orders", known.select(
        pl.when(orders >= 4).then(pl.lit("4 and more")).when(orders >= 2).then(pl.lit("2 to 3")).otherwise(pl.lit("1"))
    ).to_series()
    yield "last order", known.select(
        pl.when(days <= 30).then(pl.lit("up to 30 days ago")).when(days <= 90).then(pl.lit("31 to 90 days ago"))
        .when(days.is_not_null()).then(pl.lit("over 90 days ago"))
    ).to_series()  # fmt: skip
    value = pl.col("net_365d").cast(pl.Float64).fill_null(0)
    place = value.rank("average") / pl.len()
    yield "value", known.select(
        pl.when(place > 0.9).then(pl.lit("highest tenth")).when(place > 0.5).then(pl.lit("upper half")).otherwise(
            pl.lit("lower half")
        )
    ).to_series()
    shares = [pl.col(f"{channel}_share_365d").fill_null(0.0) for channel in CHANNELS]
    most = pl.max_horizontal(shares)
    chosen = pl.coalesce(
        pl.when((share == most) & (most > 0)).then(pl.lit(channel))
        for share, channel in zip(shares, CHANNELS, strict=True)
    )
    yield "channel", known.select(chosen).to_series()


def _figures(truth: np.ndarray, told: np.ndarray) -> dict[str, float | int | None]:
    reached = auc(truth, told)
    low, high = _auc_interval(reached, int(truth.sum()), int((1 - truth).sum()))
    return {
        "customers": len(truth),
        "churn_rate": stored(float(truth.mean())),
        "predicted_rate": stored(float(told.mean())),
        "auc": stored(reached),
        "auc_low": stored(low),
        "auc_high": stored(high),
        "brier": stored(float(np.mean(np.square(told - truth)))),
    }


def _auc_interval(reached: float, ones: int, zeros: int) -> tuple[float, float]:
    """95 % interval by the standard error of Hanley and McNeil, "The meaning and use of the area", 1982."""
    if not np.isfinite(reached):
        return float("nan"), float("nan")
    first, second = reached / (2 - reached), 2 * reached**2 / (1 + reached)
    variance = (
        reached * (1 - reached) + (ones - 1) * (first - reached**2) + (zeros - 1) * (second - reached**2)
    ) / (ones * zeros)
    half = NORMAL_95 * float(np.sqrt(max(variance, 0.0)))
    return max(0.0, reached - half), min(1.0, reached + half)
