"""The propensities that are published: of each kind, what a customer is likeliest to buy, how likely, and why.

Decides which method may speak, kind by kind, by the newest scorecard known at the as-of day. Grading and training do
not belong here.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from insight_assets.insights.propensity.grading import TASKS, in_slices
from insight_assets.insights.propensity.models import POPULARITY, RULES, KindModels, PropensityModels
from insight_assets.insights.propensity.pairs import Known
from insight_assets.insights.propensity.reasons import tell_reasons
from insight_assets.insights.propensity.targets import CATEGORY, KINDS, PRICE_BAND, PRODUCT
from insight_assets.ml.calibration import logistic
from insight_assets.ml.publication import Publication, publishable

TOP: Mapping[str, int] = {CATEGORY: 3, PRICE_BAND: 3, PRODUCT: 5}
"""Targets published of each customer and kind."""

_DIGITS = 6


def choose_methods(models: PropensityModels, scorecard: pl.DataFrame) -> dict[str, Publication]:
    """Choose the method to publish of each kind.

    Args:
        models: Models as of the day.
        scorecard: Rows of `propensity_scorecard` at one origin; may be empty.

    Returns:
        By kind, the scorecard's champion; the popularity rule, ungraded, where there is no scorecard or the champion
        could not be trained as of the day.
    """
    chosen = {}
    for kind in KINDS:
        card = scorecard.filter(pl.col("task") == TASKS[kind])
        known = [method.name for method in models.kinds[kind].methods]
        chosen[kind] = publishable(card, known=known, rule=POPULARITY.name)
    return chosen


def score_propensity(
    models: PropensityModels,
    known: Known,
    names: pl.DataFrame,
    publications: Mapping[str, Publication],
    *,
    model_version: str,
) -> pl.DataFrame:
    """Say of each known customer which targets they are likeliest to buy.

    Args:
        models: Models as of the day.
        known: What is known up to the day.
        names: Columns product_id and product_name.
        publications: By kind, the method to publish.
        model_version: Version of the models.

    Returns:
        Columns of the contract `propensity_scores`, sorted by customer, kind and rank; of equal probabilities the
        target with more buyers stands first. A kind without targets has no rows.
    """
    parts = [_nothing()]
    for kind in KINDS:
        if known.targets[kind].is_empty():
            continue
        publication = publications[kind]
        for _, pairs in in_slices(known, kind, known.customers["customer_key"]):
            best = _best(models.kinds[kind], pairs, known, kind, publication.method)
            parts.append(
                best.with_columns(
                    as_of=pl.lit(known.as_of),
                    kind=pl.lit(kind),
                    method=pl.lit(publication.method),
                    model_version=pl.lit(model_version),
                    horizon_days=pl.lit(models.horizon_days, dtype=pl.Int32),
                    grade=pl.lit(publication.grade),
                    graded_origin=pl.lit(publication.origin, dtype=pl.Date),
                ).select(_nothing().columns)
            )
    named = names.select(target="product_id", target_name="product_name", kind=pl.lit(PRODUCT))
    return (
        pl.concat(parts)
        .join(named, on=["target", "kind"], how="left", maintain_order="left")
        .sort("customer_key", "kind", "rank")
    )


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            "customer_key": pl.Int64, "as_of": pl.Date, "kind": pl.String, "rank": pl.Int32, "target": pl.String,
            "probability": pl.Float64, "probability_low": pl.Float64, "probability_high": pl.Float64,
            "rule_probability": pl.Float64, "rule_target": pl.String, "evidence": pl.String, "reason_en": pl.String,
            "reason_zh": pl.String, "method": pl.String, "model_version": pl.String, "horizon_days": pl.Int32,
            "grade": pl.String, "graded_origin": pl.Date,
        }
    )  # fmt: skip


def _best(models: KindModels, pairs: pl.DataFrame, known: Known, kind: str, method: str) -> pl.DataFrame:
    """Keep the likeliest targets of each customer of a slice, with their reasons."""
    targets, top = known.targets[kind].height, min(TOP[kind], known.targets[kind].height)
    if method in RULES:
        raw = RULES[method](pairs)
    else:
        raw = logistic(models.columns_log_odds(method, models.matrix.raw(pairs), pairs))
    probability = models.calibrators[method](raw).round(_DIGITS)
    # The order of targets is that of their buyers: a stable sort lets it decide between equal probabilities.
    order = np.argsort(-probability.reshape(-1, targets), axis=1, kind="stable")[:, :top]
    rows = (order + np.arange(len(order))[:, None] * targets).ravel()
    chosen, at = pairs[rows], raw[rows]
    low, high = (bound.round(_DIGITS) for bound in models.calibrators[method].interval(at))
    rule = models.predict(chosen, only=[POPULARITY.name])[POPULARITY.name].round(_DIGITS)
    rule_targets = _rules_targets(models, known.targets[kind]).head(top)
    told = tell_reasons(models, chosen, known.groups, method=method)
    return chosen.select("customer_key", "target").with_columns(
        rank=pl.Series(np.tile(np.arange(1, top + 1, dtype=np.int32), len(order)), dtype=pl.Int32),
        probability=pl.Series(probability[rows]),
        probability_low=pl.Series(low),
        probability_high=pl.Series(high),
        rule_probability=pl.Series(rule),
        rule_target=pl.Series(rule_targets.to_list() * len(order), dtype=pl.String),
        **told.to_dict(),
    )


def _rules_targets(models: KindModels, targets: pl.DataFrame) -> pl.Series:
    """Give the targets in the order in which the naive rule would tell them, which is the same for all customers."""
    probability = models.calibrators[POPULARITY.name](RULES[POPULARITY.name](targets)).round(_DIGITS)
    return targets["target"].gather(np.argsort(-probability, kind="stable"))
