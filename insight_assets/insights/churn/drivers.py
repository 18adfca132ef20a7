"""Why a customer's churn score is what it is: what each method's score is made of, told by `ml.drivers`."""

import numpy as np
import polars as pl

from insight_assets.features.feature_words import feature_zh
from insight_assets.insights.churn.models import ENCODER, LOGISTIC, RECENCY, ChurnModels, Read
from insight_assets.ml.drivers import (
    Effects,
    Wording,
    columns_of_stories,
    linear_effects,
    name_drivers,
    occluded,
    tell_stories,
)

RECENT_EVENTS = "recent_events"
TOLD_BY_ENCODER = {
    "effect_of_visits": ("visits_in_their_order", "浏览行为"),
    "effect_of_carts": ("carts_in_their_order", "加购与结算行为"),
    "effect_of_purchases": ("purchases_in_their_order", "购买行为"),
    "effect_of_service": ("service_in_its_order", "售后与评价行为"),
    "effect_of_pauses": ("pauses_between_events", "活动间隔"),
    "effect_of_silence": ("days_of_silence", "沉默天数"),
}
"""What the behaviour encoder shares its log odds out among, to its stories in English and Chinese."""

WORDING = Wording(
    feature_zh, "推高流失风险", "降低流失风险", {RECENT_EVENTS: "近期行为"} | dict(TOLD_BY_ENCODER.values())
)

TERSE = ("x_repeat_purchases", "t_x_days")
"""Features that never name a story they share: inputs of BG/NBD, said better by the others."""


def churn_drivers(
    models: ChurnModels, features: pl.DataFrame, sequences: pl.DataFrame, *, method: str
) -> pl.DataFrame:
    """Name the features that moved each customer's score most.

    Args:
        models: The models.
        features: Rows of `customer_features`, n of them, at least one.
        sequences: Rows of `event_sequences` as of the same day.
        method: Name of the published method.

    Returns:
        The columns of `name_drivers`, n rows in the order of `features`.

    Raises:
        ValueError: If the models do not know the method.
    """
    return name_drivers(_effects(models, features, sequences, method), features, WORDING)


def _effects(
    models: ChurnModels, features: pl.DataFrame, sequences: pl.DataFrame, method: str
) -> Effects:
    if method == RECENCY.name:
        log_odds = models.recency_log_odds(features)
        return {"days_since_last_order": log_odds - np.median(log_odds)}
    if method not in {known.name for known in models.methods}:
        raise ValueError(f"these models know no churn method {method!r}")
    matrix = models.matrix
    raw = matrix.raw(features)
    scaled = matrix.scale(raw)
    read = models.read(features, sequences, [method])
    of_encoder = _effects_by_encoder(models, features, method)
    if method == ENCODER.name:
        return of_encoder
    log_odds = models.columns_log_odds(method, raw, read)
    stories = tell_stories(matrix, scaled, log_odds, terse=TERSE)
    if method == LOGISTIC.name:
        return linear_effects(matrix, scaled, models.classifiers[method].model.coef_[0], stories)

    def score(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        return models.columns_log_odds(method, values, read.at(rows))

    effects = occluded(score, raw, columns_of_stories(matrix, stories))
    if read.by_network is not None:
        typical = np.broadcast_to(read.by_network.mean(axis=0), read.by_network.shape)
        effects[RECENT_EVENTS] = log_odds - models.columns_log_odds(method, raw, Read(typical, read.away))
    return effects | of_encoder


def _effects_by_encoder(models: ChurnModels, features: pl.DataFrame, method: str) -> Effects:
    """What the behaviour encoder's reasons do to a method's log odds of churning, beside the median customer."""
    weight = models.weight_in(method, ENCODER.name)
    if not weight:
        return {}
    away = {
        story: -features[column].cast(pl.Float64).fill_null(0.0).to_numpy() * weight
        for column, (story, _) in TOLD_BY_ENCODER.items()
    }
    return {story: effect - np.median(effect) for story, effect in away.items()}
