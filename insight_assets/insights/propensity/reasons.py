"""Why a customer is likely to buy something of a target: the kind of evidence that raises the odds most, in words.

A kind of evidence is a group of features that tell one story. What a group adds is what the log odds lose when its
features are set to what is typical of the pairs that were learnt from, and the others left as they are. A group speaks
only where there is something to say: who never bought a target does not get it because of own purchases. Reasons are
reasons of the score, not causes of a purchase. The words, in English and Chinese, are here and nowhere else.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from insight_assets.insights.propensity.models import ENCODER, HABIT, RULES, KindModels
from insight_assets.insights.propensity.pairs import ACTIVITY, GROUP, LOOKED, OWN, POPULAR, PRICE

OWN_PURCHASE, OWN_LOOK, SAME_CATEGORY, PRICE_LEVEL, BEHAVIOUR, BOUGHT_BY_MANY, ACTIVE = (
    "own_purchase", "own_look", "same_category", "price_level", "behaviour", "popular", "activity",
)  # fmt: skip
EVIDENCE: Mapping[str, tuple[str, ...]] = {
    OWN_PURCHASE: OWN,
    OWN_LOOK: LOOKED,
    SAME_CATEGORY: GROUP,
    PRICE_LEVEL: (*PRICE, "price_band_365d"),
    BEHAVIOUR: (),
    BOUGHT_BY_MANY: POPULAR,
    ACTIVE: tuple(name for name in ACTIVITY if name != "price_band_365d"),
}
"""Kind of evidence to its features; that of behaviour is told by the behaviour encoder."""

_HAS_SOMETHING_TO_SAY: Mapping[str, pl.Expr] = {
    OWN_PURCHASE: pl.col("own_days_365d") > 0,
    OWN_LOOK: pl.col("looked_days_90d") > 0,
    SAME_CATEGORY: (pl.col("group_days_365d") > 0) | (pl.col("group_looked_days_90d") > 0),
    PRICE_LEVEL: pl.col("band_distance") < 1.5,
    BOUGHT_BY_MANY: pl.lit(value=True),
    ACTIVE: pl.col("active_days_30d") > 0,
}


def tell_reasons(models: KindModels, pairs: pl.DataFrame, groups: pl.DataFrame, *, method: str) -> pl.DataFrame:
    """Say why each pair's odds are what they are.

    Args:
        models: The methods of the kind.
        pairs: Rows as `describe_pairs` gives them, n of them.
        groups: `target`, a product, to `group`, its category.
        method: Name of the published method.

    Returns:
        Columns `evidence`, `reason_en` and `reason_zh`, n rows in the order of `pairs`.
    """
    effects = _effects(models, pairs, method)
    speaks = pairs.select(can.fill_null(value=False).alias(name) for name, can in _HAS_SOMETHING_TO_SAY.items())
    speaks = speaks.with_columns(pl.Series(BEHAVIOUR, effects[BEHAVIOUR] > 0))
    worth = np.column_stack([np.where(speaks[name].to_numpy(), effects[name], -np.inf) for name in EVIDENCE])
    names = np.array(tuple(EVIDENCE))
    # Popularity speaks for every pair, so that there is always a reason.
    chosen = names[np.argmax(worth.round(9), axis=1)] if pairs.height else np.empty(0, dtype=str)
    told = pairs.with_columns(evidence=pl.Series(chosen, dtype=pl.String)).join(
        groups, on="target", how="left", maintain_order="left"
    )
    return told.select("evidence", reason_en=_worded(_english()), reason_zh=_worded(_chinese()))


def _effects(models: KindModels, pairs: pl.DataFrame, method: str) -> dict[str, np.ndarray]:
    if method in RULES:
        spoken = OWN_PURCHASE if method == HABIT.name else BOUGHT_BY_MANY
        return {name: np.full(pairs.height, {spoken: 1.0, BOUGHT_BY_MANY: 0.5}.get(name, 0.0)) for name in EVIDENCE}
    raw = models.matrix.raw(pairs)
    before = models.columns_log_odds(method, raw, pairs)
    effects = {}
    for name, features in EVIDENCE.items():
        columns = [at for each in features if each in models.matrix.features for at in models.matrix.columns_of(each)]
        changed = raw.copy()
        changed[:, columns] = models.typical[columns]
        effects[name] = (
            before - models.columns_log_odds(method, changed, pairs) if columns else np.zeros(pairs.height)
        )
    if method == ENCODER.name:
        effects[BEHAVIOUR] = models.stack.by_nearness(pairs)
        effects[ACTIVE] = effects[ACTIVE] + models.stack.by_order(pairs)
    return effects


def _worded(words: Mapping[str, pl.Expr]) -> pl.Expr:
    return pl.coalesce(pl.when(pl.col("evidence") == name).then(said) for name, said in words.items())


def _english() -> dict[str, pl.Expr]:
    group_bought = pl.format("bought {} on {} days within a year", "group", _whole("group_days_365d"))
    return {
        OWN_PURCHASE: pl.when(pl.col("own_days_365d") > 1)
        .then(
            pl.format(
                "bought on {} days within a year, last {} days ago", _whole("own_days_365d"), _whole("days_since_own")
            )
        )
        .otherwise(pl.format("bought {} days ago", _whole("days_since_own"))),
        OWN_LOOK: pl.format(
            "looked at on {} days within 90 days, last {} days ago", _whole("looked_days_90d"),
            _whole("days_since_look"),
        ),
        SAME_CATEGORY: pl.when(pl.col("group_days_365d") > 0)
        .then(group_bought)
        .otherwise(pl.format("looked at {} lately", "group")),
        PRICE_LEVEL: pl.lit("at the price level the customer buys at"),
        BEHAVIOUR: pl.lit("near what the customer did lately, in its order"),
        BOUGHT_BY_MANY: pl.format("bought by {} % of customers within a year", _percent()),
        ACTIVE: pl.format("active on {} of the last 30 days", _whole("active_days_30d")),
    }


def _chinese() -> dict[str, pl.Expr]:
    return {
        OWN_PURCHASE: pl.when(pl.col("own_days_365d") > 1)
        .then(pl.format("一年内有 {} 天购买，最近一次在 {} 天前", _whole("own_days_365d"), _whole("days_since_own")))
        .otherwise(pl.format("{} 天前购买过", _whole("days_since_own"))),
        OWN_LOOK: pl.format(
            "90 天内有 {} 天浏览，最近一次在 {} 天前", _whole("looked_days_90d"), _whole("days_since_look")
        ),
        SAME_CATEGORY: pl.when(pl.col("group_days_365d") > 0)
        .then(pl.format("一年内有 {} 天购买“{}”类商品", _whole("group_days_365d"), "group"))
        .otherwise(pl.format("最近浏览过“{}”类商品", "group")),
        PRICE_LEVEL: pl.lit("与该顾客惯常的价位相近"),
        BEHAVIOUR: pl.lit("与该顾客近期的行为轨迹相近"),
        BOUGHT_BY_MANY: pl.format("一年内有 {}% 的顾客购买", _percent()),
        ACTIVE: pl.format("最近 30 天有 {} 天活跃", _whole("active_days_30d")),
    }


def _whole(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64)


def _percent() -> pl.Expr:
    """A share as people read it: one decimal, none from ten per cent on."""
    share = pl.col("target_rate_365d") * 100
    return pl.when(share >= 10).then(share.round(0)).otherwise(share.round(1)).cast(pl.String).str.replace(r"\.0$", "")
