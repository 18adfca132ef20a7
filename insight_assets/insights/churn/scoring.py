"""The churn scores that are published: the champion's probability, its grade and its reasons.

Decides which method may speak, by the newest scorecard known at the as-of day. Grading and training
do not belong here.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.churn.drivers import DRIVERS, churn_drivers
from insight_assets.insights.churn.models import RECENCY, ChurnModels
from insight_assets.ml.referee import champion, champion_grade

UNGRADED = "ungraded"
DECILES = 10
_DIGITS = 6


@dataclass(frozen=True)
class Publication:
    """Which method may be published.

    Attributes:
        method: Name of the method.
        grade: Its grade, or `ungraded`.
        graded_origin: Origin of the scorecard; None when ungraded.
    """

    method: str
    grade: str
    graded_origin: date | None


def choose_method(models: ChurnModels, scorecard: pl.DataFrame) -> Publication:
    """Choose the method to publish.

    Args:
        models: Models as of the day.
        scorecard: Rows of `churn_scorecard` at one origin; may be empty.

    Returns:
        The scorecard's champion; the recency rule, ungraded, when there is no scorecard or when the
        champion could not be trained as of the day.
    """
    if not scorecard.is_empty():
        method = champion(scorecard)
        if method in {known.name for known in models.methods}:
            return Publication(method, champion_grade(scorecard), scorecard["as_of"][0])
    return Publication(RECENCY.name, UNGRADED, None)


def score_churn(
    models: ChurnModels,
    features: pl.DataFrame,
    sequences: pl.DataFrame,
    publication: Publication,
    *,
    as_of: date,
    model_version: str,
) -> pl.DataFrame:
    """Score every customer who has bought.

    Args:
        models: Models as of the day.
        features: Rows of `customer_features` as of the day.
        sequences: Rows of `event_sequences` as of the day.
        publication: Method to publish.
        as_of: As-of day.
        model_version: Version of the models.

    Returns:
        Rows of the contract `churn_scores`, sorted by customer; probabilities have six decimals, as
        the last bits of a network differ between machines.
    """
    buyers = features.filter(pl.col("orders_lifetime") > 0).sort("customer_key")
    probability = np.empty(0)
    drivers = pl.DataFrame(schema=dict.fromkeys(DRIVERS, pl.String))
    if not buyers.is_empty():
        probability = models.predict(buyers, sequences)[publication.method].round(_DIGITS)
        drivers = churn_drivers(models, buyers, sequences, method=publication.method)
    return buyers.select("customer_key").with_columns(
        as_of=pl.lit(as_of),
        churn_probability=pl.Series(probability, dtype=pl.Float64),
        churn_decile=pl.Series(_deciles(probability), dtype=pl.Int8),
        method=pl.lit(publication.method),
        model_version=pl.lit(model_version),
        horizon_days=pl.lit(models.horizon_days, dtype=pl.Int32),
        grade=pl.lit(publication.grade),
        graded_origin=pl.lit(publication.graded_origin, dtype=pl.Date),
        **{name: drivers[name] for name in DRIVERS},
    )


def _deciles(probability: np.ndarray) -> np.ndarray:
    """Tenths by rank, 10 the most likely; customers of equal probability by their order."""
    position = np.empty(len(probability), dtype=np.int64)
    position[np.argsort(probability, kind="stable")] = np.arange(len(probability))
    return position * DECILES // max(1, len(probability)) + 1
