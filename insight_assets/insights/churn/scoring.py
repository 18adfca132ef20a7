"""The churn scores that are published: the champion's probability, its grade and its reasons.

Decides which method may speak, by the newest scorecard known at the as-of day. Grading and training
do not belong here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.churn.drivers import churn_drivers
from insight_assets.insights.churn.horizons import worse_horizons
from insight_assets.insights.churn.models import RECENCY, ChurnModels
from insight_assets.ml.calibration import logistic
from insight_assets.ml.drivers import DRIVERS, DRIVERS_ZH
from insight_assets.ml.publication import Publication, deciles, publishable
from insight_assets.ml.referee import Method

_DIGITS = 6


SHORTER_HORIZONS = (30, 60)
"""Horizons that have a column of their own where the label window is longer."""


WITHIN, WITHIN_BY_RULE = "churn_probability_{}d", "rule_probability_{}d"
"""Columns of shorter horizons. Each end of the whole horizon's interval is carried to them like the probability."""


def told_horizons(horizon_days: int) -> tuple[int, ...]:
    """Give the shorter horizons of which scores can tell, beside a label window of so many days."""
    return tuple(day for day in SHORTER_HORIZONS if day < horizon_days)


@dataclass(frozen=True)
class ChurnPublication(Publication):
    """Which method may be published, and for which horizons.

    Attributes:
        worse_horizons: Shorter horizons for which one curve for everybody was better: they stay empty.
    """

    worse_horizons: frozenset[int] = frozenset()


def choose_method(methods: Sequence[Method], scorecard: pl.DataFrame, horizons: pl.DataFrame) -> ChurnPublication:
    """Choose the method to publish.

    Args:
        methods: Methods that were trained as of the day.
        scorecard: Rows of `churn_scorecard` at one origin; may be empty.
        horizons: Rows of `churn_horizon_scorecard` at that origin; may be empty.

    Returns:
        The scorecard's champion; the recency rule, ungraded, when there is no scorecard or when the
        champion could not be trained as of the day.
    """
    chosen = publishable(scorecard, known=[method.name for method in methods], rule=RECENCY.name)
    if chosen.origin is None:
        return ChurnPublication(chosen.method, chosen.grade, None)
    # A horizon that nobody graded may not go out under the grade of another.
    worse = frozenset(SHORTER_HORIZONS) if horizons.is_empty() else worse_horizons(horizons)
    return ChurnPublication(chosen.method, chosen.grade, chosen.origin, worse)


def score_churn(
    models: ChurnModels,
    features: pl.DataFrame,
    sequences: pl.DataFrame,
    publication: ChurnPublication,
    *,
    as_of: date,
    model_version: str,
) -> pl.DataFrame:
    """Score every customer who has bought.

    Args:
        models: Models as of the day, with at least the published method and the recency rule.
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
    probability = low = high = rule = np.empty(0)
    shorter: dict[str, dict[int, np.ndarray]] = {}
    drivers = pl.DataFrame(schema=dict.fromkeys((*DRIVERS, *DRIVERS_ZH), pl.String))
    if not buyers.is_empty():
        asked = publication.method
        raw = logistic(models.log_odds(buyers, sequences, only=[asked])[asked])
        probability = models.calibrators[asked](raw).round(_DIGITS)
        low, high = (bound.round(_DIGITS) for bound in models.calibrators[asked].interval(raw))
        rule = models.predict(buyers, sequences, only=[RECENCY.name])[RECENCY.name].round(_DIGITS)
        whole = {WITHIN: probability, f"{WITHIN}_low": low, f"{WITHIN}_high": high, WITHIN_BY_RULE: rule}
        shorter = {name: models.shorter_horizons(buyers, told) for name, told in whole.items()}
        drivers = churn_drivers(models, buyers, sequences, method=publication.method)
    return buyers.select("customer_key").with_columns(
        as_of=pl.lit(as_of),
        churn_probability=pl.Series(probability, dtype=pl.Float64),
        churn_probability_low=pl.Series(low, dtype=pl.Float64),
        churn_probability_high=pl.Series(high, dtype=pl.Float64),
        rule_probability=pl.Series(rule, dtype=pl.Float64),
        **{
            name.format(day): _horizon(
                None if day in publication.worse_horizons else shorter.get(name, {}).get(day), buyers.height
            )
            for names in ((WITHIN, f"{WITHIN}_low", f"{WITHIN}_high"), (WITHIN_BY_RULE,))
            for day in SHORTER_HORIZONS
            for name in names
        },
        churn_decile=pl.Series(deciles(probability), dtype=pl.Int8),
        method=pl.lit(publication.method),
        model_version=pl.lit(model_version),
        horizon_days=pl.lit(models.horizon_days, dtype=pl.Int32),
        grade=pl.lit(publication.grade),
        graded_origin=pl.lit(publication.origin, dtype=pl.Date),
        **{name: drivers[name] for name in (*DRIVERS, *DRIVERS_ZH)},
    )


def _horizon(probability: np.ndarray | None, rows: int) -> pl.Series:
    """Rounded probabilities; null where the horizon is not answered."""
    if probability is None:
        return pl.Series([None] * rows, dtype=pl.Float64)
    return pl.Series(probability.round(_DIGITS), dtype=pl.Float64)
