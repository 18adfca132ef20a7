"""Assets of the profile stage: customer profiles and the summary of their segments.

What each holds is decided in the pure modules beside this one; here it is wired to partitions.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.checks import refuse_unless_passed
from insight_assets.contracts.catalogue import contract
from insight_assets.metadata import markdown_table, table_asset
from insight_assets.partitions import HISTORY
from insight_assets.profiles import checks, pictures
from insight_assets.profiles.profiles import flag_counts, fuse_profiles
from insight_assets.profiles.summary import summarise_segments
from insight_assets.purposes import WITHOUT_RECORD
from insight_assets.settings import settings

OPTIONAL = {"metadata": {"allow_missing_partitions": True}}
"""A profile is made without a score that cannot be had yet, and says so in its flags."""


@dg.asset(
    # Who is who and who allowed what are inputs here, which may not be named as deps once more.
    **table_asset("customer_profiles", layer="profile", purpose="analytics") | {"deps": []},
    check_specs=checks.PROFILE_CHECKS,
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
        "previous_segments": dg.AssetIn(**OPTIONAL),
        "customer_clusters": dg.AssetIn(**OPTIONAL),
        "churn_scores": dg.AssetIn(**OPTIONAL),
        "intent_scores": dg.AssetIn(**OPTIONAL),
        "lifetime_value_scores": dg.AssetIn(**OPTIONAL),
        "behaviour_vectors": dg.AssetIn(**OPTIONAL),
        "recommendations": dg.AssetIn(**OPTIONAL),
        "propensity_scores": dg.AssetIn(**OPTIONAL),
    },
)
def customer_profiles(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    customer_days: pl.LazyFrame,
    orders: pl.LazyFrame,
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
) -> Iterator[dg.AssetCheckResult | dg.Output[pl.DataFrame]]:
    fused = fuse_profiles(
        customer_features,
        customer_days,
        orders,
        rfm_segments=rfm_segments,
        lifecycle_states=lifecycle_states,
        previous_segments=previous_segments,
        customer_clusters=customer_clusters,
        churn_scores=churn_scores,
        intent_scores=intent_scores,
        lifetime_value_scores=lifetime_value_scores,
        behaviour_vectors=behaviour_vectors,
        recommendations=recommendations,
        propensity_scores=propensity_scores,
        identities=identities,
        quarantined_links=quarantined_links,
        consents=consents,
        consent_without_record={**WITHOUT_RECORD, **settings().consent_without_record},
        as_of=date.fromisoformat(context.partition_key),
    )
    profiles = contract("customer_profiles").conform(fused).collect()
    results = list(checks.check_profiles(customer_features, profiles))
    yield from results
    refuse_unless_passed("customer_profiles", results)
    flags = flag_counts(profiles, smallest_group=settings().k_anonymity)
    yield dg.Output(
        profiles,
        metadata={
            "flags": dg.MetadataValue.md(markdown_table(flags)),
            "mean_completeness": round(profiles["profile_completeness"].mean() or 0.0, 4),
            "columns": profiles.width,
        },
    )


@dg.asset(
    **table_asset("segment_summary", layer="profile", purpose="analytics", kinds={"polars"}),
    check_specs=checks.SUMMARY_CHECKS,
)
def segment_summary(
    context: dg.AssetExecutionContext, customer_profiles: pl.LazyFrame
) -> Iterator[dg.AssetCheckResult | dg.Output[pl.DataFrame]]:
    smallest_group = settings().k_anonymity
    summary = summarise_segments(
        customer_profiles,
        as_of=date.fromisoformat(context.partition_key),
        smallest_group=smallest_group,
    )
    results = list(checks.check_summary(summary, smallest_group=smallest_group))
    yield from results
    refuse_unless_passed("segment_summary", results)
    metadata: dict[str, object] = {"segments": dg.MetadataValue.md(markdown_table(summary))}
    if not summary.is_empty():
        chart = chart_markdown(pictures.segment_chart(summary))
        metadata["customers_and_value"] = dg.MetadataValue.md(chart)
    yield dg.Output(summary, metadata=metadata)
