"""Grades what is told of shorter horizons than the one that churn models learn.

All horizons come from one model of the time to the next order, put to the scale of the published method. Graded beside
it are one curve for everybody and the model of times by itself. Everybody was watched for the whole label window, so
that no weight for censoring (IPCW) differs from 1 and Brier's score is the plain one.
"""

from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.churn.models import ChurnModels
from insight_assets.insights.churn.survival import asked_horizons, concordance, signed
from insight_assets.ml.metrics import auc, brier, expected_calibration_error
from insight_assets.ml.referee import SCORECARD_SCHEMA, Method, WeightedMetricFunction, grade_methods

EVERYBODY = Method("everybody", "rule", 0)
HAZARDS = Method("hazards", "rival", 1)
PUBLISHED = Method("published", "model", 2)
"""The model of times, put to the scale of the published method."""

PRIMARY = "brier"
TASK = "churn_{}d"
HIGHER_IS_BETTER = {"auc": True, "brier": False, "calibration_error": False, "concordance": True}


def grade_horizons(
    models: ChurnModels,
    features: pl.DataFrame,
    sequences: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    method: str,
    origin: date,
    seed: int,
    model_version: str,
    resamples: int = 200,
) -> pl.DataFrame:
    """Grade the probabilities of no order within each horizon.

    Args:
        models: Models trained as of the origin.
        features: Rows of `customer_features` as of the origin.
        sequences: Rows of `event_sequences` as of the origin.
        labels: Rows of `customer_labels` of the origin; may be empty.
        method: Name of the published method.
        origin: The origin.
        seed: Seed of the bootstrap.
        model_version: Version of the models.
        resamples: Number of bootstrap resamples.

    Returns:
        Rows of the contract `churn_horizon_scorecard`; none when nobody is labelled or only the rule was trained.
    """
    known = labels.select("customer_key", "return_days").join(features, on="customer_key").sort("customer_key")
    if known.is_empty() or models.returns is None:
        return pl.DataFrame(schema=SCORECARD_SCHEMA)
    days = known["return_days"].cast(pl.Float64).to_numpy()
    times = signed(days, models.horizon_days)
    scaled = models.matrix.scale(models.matrix.raw(known))
    probability = models.predict(known, sequences, only=[method])[method]
    cards = []
    for horizon in asked_horizons(models.horizon_days):
        predictions = {
            EVERYBODY.name: models.returns.away_on_average(known.height, horizon),
            HAZARDS.name: models.returns.away(scaled, horizon),
            PUBLISHED.name: models.returns.away_given(
                probability, scaled, horizon, horizon_days=models.horizon_days
            ),
        }
        cards.append(
            grade_methods(
                task=TASK.format(horizon),
                origin=origin,
                methods=(EVERYBODY, HAZARDS, PUBLISHED),
                truth=(~(days <= horizon)).astype(np.float64),
                predictions=predictions,
                metrics={"auc": auc, "brier": brier, "calibration_error": expected_calibration_error},
                primary=PRIMARY,
                higher_is_better=HIGHER_IS_BETTER,
                resamples=resamples,
                seed=seed,
                model_version=model_version,
                weights=times + models.horizon_days,
                weighted_metrics={"concordance": _concordance_of(models.horizon_days)},
            )
        )
    return pl.concat(cards)


def worse_horizons(scorecard: pl.DataFrame) -> frozenset[int]:
    """Give the horizons at which what would be published lost: to one curve for everybody, or surely to the hazards.

    Args:
        scorecard: Rows of `churn_horizon_scorecard` at one origin; may be empty.
    """
    surely_worse = (pl.col("gain_high") < 0).fill_null(value=False)
    worse = scorecard.filter(pl.col("method") == PUBLISHED.name, (pl.col("grade") == "C") | surely_worse)["task"].unique()
    return frozenset(int(task.removeprefix("churn_").removesuffix("d")) for task in worse)


def _concordance_of(horizon_days: int) -> WeightedMetricFunction:
    """The C-index as a measure of truth, prediction and weight, the weight carrying the times (never below 0)."""
    return lambda _truth, away, times: concordance(times - horizon_days, away)
