"""Grades churn methods on an origin whose horizon has closed.

Puts predictions and labels of the same customers before the referee and keeps what pictures and
checks need. Training and publishing do not belong here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.churn.models import ChurnModels
from insight_assets.ml.metrics import ERRORS_OF_CHANCES, METRICS_OF_CHANCES, captured_at_top_decile
from insight_assets.ml.referee import SCORECARD_SCHEMA, champion, grade_methods

TASK = "churn"
PRIMARY = "auc"
WEIGHT = "net_365d"
MONEY = "money_at_top_decile"
WEIGHTED_METRICS = {MONEY: captured_at_top_decile}
"""Of the net value that churned customers brought in the year before the origin, the share that a campaign to the tenth
most likely to be gone would have reached."""

HIGHER_IS_BETTER = {name: name not in ERRORS_OF_CHANCES for name in (*METRICS_OF_CHANCES, MONEY)}

TOO_GOOD = 0.90
"""AUC above which a leak is likelier than a good model: honest ones reach .74 to .80 on shops."""

LEAST_BASE_RATE, GREATEST_BASE_RATE = 0.02, 0.98
SHUFFLED_TOLERANCE = 0.03
SHUFFLED_ERRORS = 3.0


@dataclass(frozen=True)
class GradedChurn:
    """The outcome of a grading.

    Attributes:
        scorecard: Rows of the contract `churn_scorecard`; none when nobody is labelled.
        truth: Shape (n,), 1 for churned.
        predictions: Probability per method name, each of shape (n,).
    """

    scorecard: pl.DataFrame
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]

    @property
    def champion(self) -> str | None:
        """Name of the champion; None when nothing was graded."""
        return None if self.scorecard.is_empty() else champion(self.scorecard)

    @property
    def base_rate(self) -> float | None:
        """Share of the graded customers who churned; None when nobody was graded."""
        return float(self.truth.mean()) if len(self.truth) else None

    def champion_metric(self, metric: str) -> float | None:
        """Give a metric of the champion; None when it is undefined."""
        found = self.scorecard.filter(pl.col("is_champion"), pl.col("metric") == metric)["value"]
        return found.item() if len(found) else None


def grade_churn(
    models: ChurnModels,
    features: pl.DataFrame,
    sequences: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    origin: date,
    seed: int,
    model_version: str,
    resamples: int = 400,
) -> GradedChurn:
    """Grade all methods on the customers labelled at an origin.

    Args:
        models: Models trained as of the origin; none of their labels lies after it.
        features: Rows of `customer_features` as of the origin.
        sequences: Rows of `event_sequences` as of the origin.
        labels: Rows of `customer_labels` of the origin; may be empty.
        origin: The origin.
        seed: Seed of the bootstrap.
        model_version: Version of the models.
        resamples: Number of bootstrap resamples.

    Returns:
        The scorecard with truth and predictions.
    """
    graded = labels.select("customer_key", "churned").join(features, on="customer_key")
    graded = graded.sort("customer_key")
    truth = graded["churned"].cast(pl.Float64).to_numpy()
    if len(truth) == 0:
        return GradedChurn(pl.DataFrame(schema=SCORECARD_SCHEMA), truth, {})
    predictions = models.predict(graded, sequences)
    scorecard = grade_methods(
        task=TASK,
        origin=origin,
        methods=models.methods,
        truth=truth,
        predictions=predictions,
        metrics=METRICS_OF_CHANCES,
        primary=PRIMARY,
        higher_is_better=HIGHER_IS_BETTER,
        resamples=resamples,
        seed=seed,
        model_version=model_version,
        weights=graded[WEIGHT].cast(pl.Float64).fill_null(0.0).clip(0).to_numpy(),
        weighted_metrics=WEIGHTED_METRICS,
    )
    return GradedChurn(scorecard, truth, predictions)


def too_good(graded: GradedChurn) -> bool:
    """Say whether the champion is so good that a leak must be looked for."""
    reached = graded.champion_metric(PRIMARY)
    return reached is not None and reached > TOO_GOOD


def labels_plausible(graded: GradedChurn) -> bool:
    """Say whether there are labels and neither nearly all nor nearly none churned."""
    rate = graded.base_rate
    return rate is not None and LEAST_BASE_RATE < rate < GREATEST_BASE_RATE


def shuffled_at_half(control: Mapping[str, float | None] | None) -> bool:
    """Say whether meaningless labels were foretold no better than by chance.

    Args:
        control: What `shuffled_control` gave; None when nothing was trained.

    Returns:
        True within `SHUFFLED_TOLERANCE` of one half, or within `SHUFFLED_ERRORS` standard errors
        where few rows make chance wider; True when undefined.
    """
    if not control or control["auc"] is None:
        return True
    chance = SHUFFLED_ERRORS * control["standard_error"]
    return abs(control["auc"] - 0.5) <= max(SHUFFLED_TOLERANCE, chance)
