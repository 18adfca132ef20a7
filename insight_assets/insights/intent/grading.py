"""Grades intent methods on rows that came after everything they knew.

Puts predictions and labels of the same rows before the referee and keeps what pictures and checks need. Training and
publishing do not belong here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.ml.binary_models import BinaryModels
from insight_assets.ml.metrics import ERRORS_OF_CHANCES, METRICS_OF_CHANCES
from insight_assets.ml.referee import SCORECARD_SCHEMA, grade_methods

PRIMARY = "auc"
HIGHER_IS_BETTER = {name: name not in ERRORS_OF_CHANCES for name in METRICS_OF_CHANCES}

INTENT_SCORECARD_SCHEMA = pl.Schema({"as_of": pl.Date, "origin": pl.Date, **{
    name: kind for name, kind in SCORECARD_SCHEMA.items() if name != "as_of"
}})  # fmt: skip


@dataclass(frozen=True)
class GradedIntent:
    """The outcome of a grading.

    Attributes:
        scorecard: Rows of the contract, of one task; none when there was nothing to grade.
        truth: Shape (n,), 0 or 1.
        predictions: Probability per method name, each of shape (n,).
    """

    scorecard: pl.DataFrame
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]


def grade_intent(
    models: BinaryModels | None,
    rows: pl.DataFrame,
    *,
    label: str,
    task: str,
    origin: date | None,
    as_of: date,
    seed: int,
    model_version: str,
    resamples: int = 200,
) -> GradedIntent:
    """Grade all methods on the same rows.

    Args:
        models: The graded models; None where there are none.
        rows: Labelled rows with features, in a fixed order, all of them after what the models knew.
        label: Column of the answer.
        task: Name of the question.
        origin: Day up to which the models knew what happened; None without models.
        as_of: Day on which the labels are known.
        seed: Seed of the bootstrap.
        model_version: Version of the models.
        resamples: Number of bootstrap resamples.

    Returns:
        The scorecard with truth and predictions.
    """
    truth = rows[label].cast(pl.Float64).to_numpy() if rows.height else np.empty(0)
    if models is None or origin is None or len(truth) == 0:
        return GradedIntent(pl.DataFrame(schema=INTENT_SCORECARD_SCHEMA), np.empty(0), {})
    predictions = models.predict(rows)
    card = grade_methods(
        task=task, origin=origin, methods=models.methods, truth=truth, predictions=predictions, metrics=METRICS_OF_CHANCES,
        primary=PRIMARY, higher_is_better=HIGHER_IS_BETTER, resamples=resamples, seed=seed, model_version=model_version,
    )  # fmt: skip
    card = card.rename({"as_of": "origin"}).with_columns(as_of=pl.lit(as_of))
    return GradedIntent(card.select(INTENT_SCORECARD_SCHEMA.names()), truth, predictions)
