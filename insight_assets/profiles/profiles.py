"""The customer profile: what is known and predicted of a customer, fused into one row.

Joins tables that other stages published and says what to know before relying on the result. No
feature, segment or score is computed here; summaries over customers are in `summary`.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from insight_assets.features.customer_days import merge_actors
from insight_assets.insights.segmentation.rfm import NO_PURCHASE
from insight_assets.profiles.people import with_consents, with_identity

FAVOURITE_DAYS = 365
"""Length in days of the window behind the favourite category."""

FEW_EVENTS = 3
"""Below this many events and documents a profile says little."""

TIERS = (("top", 10), ("high", 8), ("medium", 4), ("low", 1))
"""Value tiers with their lowest tenth, best first."""

CHANNELS = ("web", "app", "mini_program", "store", "phone", "email", "other")
DAY_PARTS = ("night", "morning", "afternoon", "evening")

COPIED_FEATURES = (
    "first_seen_day",
    "tenure_days",
    "days_since_last_event",
    "days_since_last_order",
    "active_days_90d",
    "sessions_90d",
    "product_views_90d",
    "searches_90d",
    "orders_30d",
    "orders_90d",
    "orders_365d",
    "orders_lifetime",
    "net_30d",
    "net_90d",
    "net_365d",
    "net_lifetime",
    "mean_order_value_365d",
    "mean_gap_days",
    "discount_share_365d",
    "refund_share_lifetime",
    "cart_abandonment_90d",
    "reviews_365d",
    "mean_rating_365d",
    "tickets_90d",
    "preferred_weekday_365d",
    "first_campaign_source",
    "last_campaign_source",
)
"""Features that people read, carried over under their own names."""

FULL_PROFILE = (
    "favourite_category",
    "favourite_channel",
    "favourite_day_part",
    "mean_order_value_365d",
    "mean_gap_days",
    "rfm_segment",
    "cluster",
    "churn_probability",
    "expected_value_365d",
    "recommended_product_ids",
)
"""Facts that `profile_completeness` counts."""

NEXT = {"category": "next_category", "price_band": "next_price_band", "product": "next_product"}
"""Kind of propensity to the column that names its likeliest target."""

_ONLY_FOR_FLAGS = ("events_lifetime", "gross_lifetime", "refunded_lifetime", "currencies")
_GRADE_COLUMNS = ("method", "model_version", "horizon_days", "grade", "graded_origin")
INTENT_DAYS = (7, 30)
_INTENT_COLUMNS = {
    "probability": "purchase_probability", "decile": "purchase_decile", "method": "method", "grade": "grade",
}  # fmt: skip
_VALUE_COLUMNS = (
    "probability_alive",
    *(
        f"expected_{what}_{days}d{end}"
        for what in ("orders", "value")
        for days in (90, 365)
        for end in ("", "_low", "_high")
    ),
    "value_decile",
)


def fuse_profiles(
    customer_features: pl.LazyFrame,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
    *,
    rfm_segments: pl.LazyFrame,
    lifecycle_states: pl.LazyFrame,
    previous_segments: pl.LazyFrame,
    customer_clusters: pl.LazyFrame,
    churn_scores: pl.LazyFrame,
    intent_scores: pl.LazyFrame,
    lifetime_value_scores: pl.LazyFrame,
    behaviour_vectors: pl.LazyFrame,
    recommendations: pl.LazyFrame,
    propensity_scores: pl.LazyFrame,
    identities: pl.LazyFrame,
    quarantined_links: pl.LazyFrame,
    consents: pl.LazyFrame,
    consent_without_record: Mapping[str, bool],
    as_of: date,
) -> pl.LazyFrame:
    """Make one profile per customer of `customer_features`.

    Segments and scores of customers who never bought are left null even if a table holds one.

    Args:
        customer_features: Rows of that contract as of the day.
        customer_days: Rows of that contract; days after `as_of` are ignored.
        orders: Rows of that contract, which say in what currency money is counted; days after `as_of` are ignored.
        rfm_segments: Rows of that contract as of the day; this and the following may be empty.
        lifecycle_states: Rows of that contract as of the day.
        previous_segments: Rows of that contract as of the day.
        customer_clusters: Rows of that contract as of the day.
        churn_scores: Rows of that contract as of the day.
        intent_scores: Rows of that contract as of the day.
        lifetime_value_scores: Rows of that contract as of the day.
        behaviour_vectors: Rows of that contract as of the day.
        recommendations: Rows of that contract as of the day.
        propensity_scores: Rows of that contract as of the day.
        identities: Rows of that contract as of the day.
        quarantined_links: Rows of that contract as of the day.
        consents: Rows of that contract as of the day.
        consent_without_record: By purpose, whether customers who never said anything are taken to agree.
        as_of: The as-of day.

    Returns:
        The columns of the contract `customer_profiles`, in any order, sorted by customer.
    """
    past = customer_days.filter(pl.col("event_day") <= as_of)
    known = customer_features.select(
        "customer_key",
        pl.lit(as_of).alias("as_of"),
        *COPIED_FEATURES,
        _largest({name: f"{name}_share_365d" for name in CHANNELS}).alias("favourite_channel"),
        _largest({name: f"{name}_share_365d" for name in DAY_PARTS}).alias("favourite_day_part"),
        *_ONLY_FOR_FLAGS,
    )
    bought = pl.col("orders_lifetime") > 0
    about_buyers = [
        _segments(rfm_segments),
        _clusters(customer_clusters),
        _churn(churn_scores),
        _value(lifetime_value_scores),
    ]
    buyers = known.filter(bought).select("customer_key")
    for table in about_buyers:
        only_buyers = table.join(buyers, on="customer_key", how="semi")
        known = known.join(only_buyers, on="customer_key", how="left")
    fused = (
        known.join(_lifecycle(lifecycle_states), on="customer_key", how="left")
        .join(_previous(previous_segments), on="customer_key", how="left")
        .join(favourite_categories(past, as_of=as_of), on="customer_key", how="left")
        .join(_intent(intent_scores), on="customer_key", how="left")
        .join(_behaviour(behaviour_vectors), on="customer_key", how="left")
        .join(_lists(recommendations), on="customer_key", how="left")
        .join(_next(propensity_scores), on="customer_key", how="left")
        .join(past.select(data_complete_until=pl.col("event_day").max()), how="cross")
        .join(_currency(orders.filter(pl.col("event_day") <= as_of)), how="cross")
        .with_columns(
            pl.col("data_complete_until").fill_null(as_of),
            value_tier=_tier(pl.col("value_decile")),
        )
    )
    fused = with_consents(with_identity(fused, identities, quarantined_links), consents, consent_without_record)
    return (
        fused.with_columns(
            data_quality_flags=_flags(),
            profile_completeness=pl.mean_horizontal(pl.col(*FULL_PROFILE).is_not_null()),
        )
        .drop(_ONLY_FOR_FLAGS)
        .sort("customer_key")
    )


def favourite_categories(customer_days: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Find the category that each customer bought on most days.

    Args:
        customer_days: Rows of that contract; only the `FAVOURITE_DAYS` days up to `as_of` count.
        as_of: Last day that counts.

    Returns:
        Columns customer_key and favourite_category, for customers with a known category; the
        first by name on a tie.
    """
    since = as_of - timedelta(days=FAVOURITE_DAYS)
    return (
        merge_actors(customer_days.filter(pl.col("event_day").is_between(since, as_of, closed="right")))
        .select("customer_key", favourite_category=pl.col("bought_categories"))
        .filter(pl.col("favourite_category").list.len() > 0)
        .explode("favourite_category")
        .drop_nulls("favourite_category")
        .group_by("customer_key", "favourite_category")
        .agg(days=pl.len())
        .sort("customer_key", "days", "favourite_category", descending=[False, True, False])
        .unique("customer_key", keep="first", maintain_order=True)
        .select("customer_key", "favourite_category")
    )


def _currency(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Give the base currency of a shop's orders in one row; there is only one, so that any order can tell."""
    return orders.select(currency="base_currency").limit(1).select(pl.col("currency").first())


def _segments(rfm_segments: pl.LazyFrame) -> pl.LazyFrame:
    return rfm_segments.select(
        "customer_key",
        "rfm_score",
        rfm_segment="segment",
        rfm_segment_en="segment_en",
        rfm_segment_zh="segment_zh",
    )


def _lifecycle(lifecycle_states: pl.LazyFrame) -> pl.LazyFrame:
    return lifecycle_states.select(
        "customer_key",
        "cohort_month",
        lifecycle_stage="state",
        lifecycle_stage_en="state_en",
        lifecycle_stage_zh="state_zh",
        lifecycle_since="since",
        lifecycle_moves_on="moves_on",
    )


def _previous(previous_segments: pl.LazyFrame) -> pl.LazyFrame:
    return previous_segments.select(
        "customer_key",
        segment_prev=pl.coalesce("rfm_segment", pl.lit(NO_PURCHASE.code)),
        segment_prev_en=pl.coalesce("rfm_segment_en", pl.lit(NO_PURCHASE.en)),
        segment_prev_zh=pl.coalesce("rfm_segment_zh", pl.lit(NO_PURCHASE.zh)),
        segment_prev_day="previous_day",
        lifecycle_stage_prev="lifecycle_state",
    )


def _clusters(customer_clusters: pl.LazyFrame) -> pl.LazyFrame:
    return customer_clusters.select(
        "customer_key",
        "cluster",
        cluster_distance="distance",
        cluster_label_en="label_en",
        cluster_label_zh="label_zh",
    )


def _churn(churn_scores: pl.LazyFrame) -> pl.LazyFrame:
    return churn_scores.select(
        "customer_key",
        "churn_probability",
        "churn_decile",
        *_graded("churn"),
        churn_drivers=_drivers(),
    )


def _intent(intent_scores: pl.LazyFrame) -> pl.LazyFrame:
    """One row a customer: the chances of a purchase within each horizon, and the reasons of the longest."""
    told = {
        f"purchase_{name}_{days}d": pl.col(column).filter(pl.col("horizon_days") == days).first()
        for days in INTENT_DAYS
        for name, column in _INTENT_COLUMNS.items()
    }
    longest = pl.col("horizon_days") == INTENT_DAYS[-1]
    reasons = {
        name: pl.col(column).filter(longest).first()
        for name, column in (("purchase_reasons", "reasons_en"), ("purchase_reasons_zh", "reasons_zh"))
    }
    version = pl.col("model_version").first().alias("purchase_model_version")
    return intent_scores.group_by("customer_key").agg(version, **told, **reasons)


def _value(lifetime_value_scores: pl.LazyFrame) -> pl.LazyFrame:
    return lifetime_value_scores.select(
        "customer_key", *_VALUE_COLUMNS, *_graded("value"), value_drivers=_drivers()
    )


def _behaviour(vectors: pl.LazyFrame) -> pl.LazyFrame:
    return vectors.select("customer_key", behaviour_vector="vector", behaviour_model_version="model_version")


def _lists(recommendations: pl.LazyFrame) -> pl.LazyFrame:
    ranked = recommendations.sort("customer_key", "rank")
    return ranked.group_by("customer_key", maintain_order=True).agg(
        recommended_product_ids=pl.col("product_id"),
        recommended_product_names=pl.coalesce("product_name", "product_id"),
        recommendation_reasons=pl.col("reason"),
        recommendation_reasons_zh=pl.col("reason_zh"),
        **{f"recommendation_{name}": pl.col(name).first() for name in _GRADE_COLUMNS},
    )


def _next(propensity_scores: pl.LazyFrame) -> pl.LazyFrame:
    """Give what each customer is likeliest to buy next, one row a customer."""
    first, columns = propensity_scores.filter(pl.col("rank") == 1), []
    for kind, name in NEXT.items():
        of_kind = pl.col("kind") == kind
        columns += [
            pl.col(column).filter(of_kind).first().alias(f"{name}{suffix}")
            for column, suffix in (("target", ""), ("probability", "_probability"), ("grade", "_grade"))
        ]
    return first.group_by("customer_key").agg(
        *columns,
        next_product_name=pl.coalesce("target_name", "target").filter(pl.col("kind") == "product").first(),
        next_horizon_days=pl.col("horizon_days").first(),
    )


def _graded(prefix: str) -> list[pl.Expr]:
    return [pl.col(name).alias(f"{prefix}_{name}") for name in _GRADE_COLUMNS]


def _drivers() -> pl.Expr:
    return pl.concat_list("driver_1", "driver_2", "driver_3").list.drop_nulls()


def _largest(columns: Mapping[str, str]) -> pl.Expr:
    """Name whose column holds the largest value above 0, the first one on a tie; else null."""
    largest = pl.max_horizontal(columns.values())
    return pl.coalesce(
        pl.when((pl.col(column) == largest) & (largest > 0)).then(pl.lit(name))
        for name, column in columns.items()
    )


def _tier(decile: pl.Expr) -> pl.Expr:
    return pl.coalesce(pl.when(decile >= lowest).then(pl.lit(name)) for name, lowest in TIERS)


def _flags() -> pl.Expr:
    bought = pl.col("orders_lifetime") > 0
    unscored = pl.col("churn_probability").is_null() | pl.col("expected_value_365d").is_null()
    ungraded = pl.any_horizontal(
        pl.col(name).eq_missing("ungraded")
        for name in (
            "churn_grade", "value_grade", "recommendation_grade", *(f"purchase_grade_{days}d" for days in INTENT_DAYS)
        )
    )
    conditions = {
        "no_purchase": ~bought,
        "few_events": pl.col("events_lifetime") + pl.col("orders_lifetime") < FEW_EVENTS,
        "refund_exceeds_gross": pl.col("refunded_lifetime") > pl.col("gross_lifetime"),
        "several_currencies": pl.col("currencies") > 1,
        "score_missing": bought & unscored,
        "ungraded_score": ungraded,
        "no_recommendation": pl.col("recommended_product_ids").is_null(),
    }
    return pl.concat_list(
        pl.when(condition).then(pl.lit(name)) for name, condition in conditions.items()
    ).list.drop_nulls()


def scores_out_of_bounds(profiles: pl.DataFrame) -> dict[str, int]:
    """Count the values of probabilities and shares outside 0 to 1, by column."""
    purchases = (f"purchase_probability_{days}d" for days in INTENT_DAYS)
    bounded = ("churn_probability", *purchases, "probability_alive", "profile_completeness")
    return {name: int((~profiles[name].is_between(0.0, 1.0)).sum()) for name in bounded}


def flag_counts(profiles: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Count the profiles that carry each flag; safe to show.

    Args:
        profiles: Rows of the contract `customer_profiles`.
        smallest_group: Smallest number of customers that may be spoken of.

    Returns:
        Columns flag and customers, most frequent first; flags carried by fewer customers, or by
        all but so few, are left out.
    """
    counts = (
        profiles.select(flag="data_quality_flags")
        .explode("flag")
        .drop_nulls("flag")
        .group_by("flag")
        .agg(customers=pl.len().cast(pl.Int64))
    )
    rest = profiles.height - pl.col("customers")
    return counts.filter(
        (pl.col("customers") >= smallest_group) & ((rest == 0) | (rest >= smallest_group))
    ).sort("customers", "flag", descending=[True, False])
