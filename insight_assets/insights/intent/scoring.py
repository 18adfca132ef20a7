"""The intent scores that are published: the allowed method's probability, its interval, its grade and its reasons.

Which method may speak is decided by `ml.publication`; grading and training do not belong here.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from insight_assets.contracts.types import Contract
from insight_assets.features.feature_words import feature_zh
from insight_assets.insights.intent.visit_words import VALUES_ZH, visit_feature_zh
from insight_assets.ml.binary_models import RULE, BinaryModels
from insight_assets.ml.drivers import DRIVERS, DRIVERS_ZH, Wording, name_drivers
from insight_assets.ml.publication import Publication, deciles

RAISES_ZH, LOWERS_ZH = "推高购买可能", "降低购买可能"
OF_CUSTOMERS = Wording(feature_zh, RAISES_ZH, LOWERS_ZH)
OF_VISITS = Wording(visit_feature_zh, RAISES_ZH, LOWERS_ZH, values_zh=VALUES_ZH)
SAME_FOR_ALL = ("events_seen",)
"""Features that are equal for all rows scored together: no reason why one scores higher than another."""

_DIGITS = 6


def score_customers(
    models: BinaryModels,
    features: pl.DataFrame,
    publication: Publication,
    *,
    as_of: date,
    horizon_days: int,
    model_version: str,
) -> pl.DataFrame:
    """Score every known customer for one horizon.

    Args:
        models: The published models, with at least the allowed method and the rule.
        features: Rows of `customer_features` as of the day.
        publication: What may be published.
        as_of: As-of day.
        horizon_days: The horizon.
        model_version: Version of the models.

    Returns:
        Rows of the contract `intent_scores`, sorted by customer; probabilities have six decimals, as the last bits
        differ between machines.
    """
    rows = features.sort("customer_key")
    return rows.select("customer_key").with_columns(
        as_of=pl.lit(as_of),
        horizon_days=pl.lit(horizon_days, dtype=pl.Int32),
        **_scores(models, rows, publication, OF_CUSTOMERS),
        model_version=pl.lit(model_version),
    )


def score_visits(
    models: BinaryModels, visits: pl.DataFrame, publication: Publication, *, as_of: date, model_version: str
) -> pl.DataFrame:
    """Score visits after the same number of events.

    Args:
        models: The published models, with at least the allowed method and the rule.
        visits: Rows of `session_intent_examples` of the as-of day, all after the same number of events.
        publication: What may be published.
        as_of: As-of day.
        model_version: Version of the models.

    Returns:
        Rows of the contract `session_intent_scores`, sorted by visit.
    """
    rows = visits.sort("session_id")
    told = rows.select("session_id", "events_seen", "actor_key", "customer_key", "started_at")
    return told.with_columns(
        as_of=pl.lit(as_of), **_scores(models, rows, publication, OF_VISITS), model_version=pl.lit(model_version)
    )


def in_contract(parts: list[pl.DataFrame], of: Contract) -> pl.DataFrame:
    """Put the scores of several questions together; none where nothing was scored."""
    return pl.concat(parts).select(of.polars_schema().names()) if parts else of.empty()


def _scores(
    models: BinaryModels, rows: pl.DataFrame, publication: Publication, wording: Wording
) -> Mapping[str, pl.Series | pl.Expr]:
    probability = low = high = rule = np.empty(0)
    drivers = pl.DataFrame(schema=dict.fromkeys((*DRIVERS, *DRIVERS_ZH), pl.String))
    if rows.height:
        told = models.predict(rows, only=[publication.method, RULE.name])
        probability, rule = told[publication.method].round(_DIGITS), told[RULE.name].round(_DIGITS)
        low, high = (bound.round(_DIGITS) for bound in models.interval(rows, publication.method))
        effects = models.effects(rows, publication.method)
        told_apart = {name: effect for name, effect in effects.items() if name not in SAME_FOR_ALL}
        drivers = name_drivers(told_apart, rows, wording)
    return {
        "purchase_probability": pl.Series(probability, dtype=pl.Float64),
        "purchase_probability_low": pl.Series(low, dtype=pl.Float64),
        "purchase_probability_high": pl.Series(high, dtype=pl.Float64),
        "rule_probability": pl.Series(rule, dtype=pl.Float64),
        "purchase_decile": pl.Series(deciles(probability), dtype=pl.Int8),
        "method": pl.lit(publication.method),
        "grade": pl.lit(publication.grade),
        "graded_origin": pl.lit(publication.origin, dtype=pl.Date),
        "reasons_en": _reasons(drivers, DRIVERS),
        "reasons_zh": _reasons(drivers, DRIVERS_ZH),
    }


def _reasons(drivers: pl.DataFrame, names: tuple[str, ...]) -> pl.Series:
    return drivers.select(pl.concat_list(names).list.drop_nulls().alias("reasons")).to_series()
