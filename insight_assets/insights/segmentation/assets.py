"""Assets of the segmentation capability: segments, clusters and their scorecard, lifecycle, moves and cohorts.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.checks import refuse_unless_passed, unmatched_customers
from insight_assets.features.money import without_void_orders
from insight_assets.insights.segmentation import (
    clusters,
    cohorts,
    descriptions,
    grading,
    lifecycle,
    migration,
    pictures,
    rfm,
    scaling,
)
from insight_assets.insights.segmentation.model_card import model_card
from insight_assets.metadata import making_of, managed_table_out, markdown_table, reads, table_asset
from insight_assets.ml.model_card import card_text
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.partitions import DAYS, HISTORY, MIGRATION_AGO, ONE_HORIZON_AGO
from insight_assets.settings import settings

COMPARING = frozenset({"previous_segments", "segment_transitions"})
"""Tables that follow from the setting `migration_days`."""


ONE_STATE_CHECK = "one_state_per_customer"
CONSERVED_CHECK = "customers_are_conserved"
NO_SMALL_GROUP_CHECK = "no_small_group"

_OPTIONAL = {"allow_missing_partitions": True}


@dg.asset(**table_asset("rfm_segments", layer="insight", purpose="analytics", kinds={"polars"}))
def rfm_segments(
    context: dg.AssetExecutionContext, customer_features: pl.LazyFrame
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    segments = rfm.score_rfm(customer_features, as_of=as_of).collect()
    sizes = rfm.segment_sizes(segments, smallest_group=settings().k_anonymity)
    context.add_output_metadata(
        {
            "segments": dg.MetadataValue.md(markdown_table(sizes)),
            "sizes": dg.MetadataValue.md(chart_markdown(pictures.segment_chart(sizes))),
        }
    )
    return segments


@dg.asset(**table_asset("clustering_scorecard", layer="insight", purpose="analytics", kinds={"scikitlearn"}))
def clustering_scorecard(
    context: dg.AssetExecutionContext, customer_features: pl.LazyFrame, customer_labels: pl.LazyFrame
) -> pl.DataFrame:
    graded = grading.grade_clusterings(
        scaling.buyers(customer_features),
        customer_labels.collect(),
        origin=date.fromisoformat(context.partition_key),
        smallest_group=settings().k_anonymity,
        seed=settings().seed,
    )
    context.add_output_metadata({"scorecard": dg.MetadataValue.md(scorecard_markdown(graded.scorecard))})
    return graded.scorecard


@dg.multi_asset(
    name="clusters",
    outs={
        name: managed_table_out(name, layer="insight", purpose="analytics", kinds={"scikitlearn"}, code_version="2")
        for name in ("customer_clusters", "cluster_descriptions")
    },
    ins={"clustering_scorecard": dg.AssetIn(partition_mapping=ONE_HORIZON_AGO, metadata=_OPTIONAL)},
    deps=reads("analytics"),
    partitions_def=DAYS,
)
def customer_clusters(
    context: dg.AssetExecutionContext, customer_features: pl.LazyFrame, clustering_scorecard: pl.LazyFrame
) -> Iterator[dg.Output[pl.DataFrame]]:
    as_of = date.fromisoformat(context.partition_key)
    chosen = settings()
    customers = scaling.buyers(customer_features)
    publish = grading.publication(clustering_scorecard.collect())
    found = clusters.cluster_customers(
        customers, method=publish.method, smallest_group=chosen.k_anonymity, seed=chosen.seed
    )
    described = descriptions.describe_clusters(
        found, customers, as_of=as_of, smallest_group=chosen.k_anonymity
    )
    trials = clusters.trials_table(found)
    card = model_card(found, publish, smallest_group=chosen.k_anonymity)
    metadata: dict[str, object] = {
        "model_card": dg.MetadataValue.md(card_text(card, making_of(context, "customer_clusters", chosen))),
        "trials": dg.MetadataValue.md(markdown_table(trials)),
        "method": publish.method.name,
        "graded_origin": str(publish.origin),
    }
    if not trials.is_empty():
        metadata["choice_of_k"] = dg.MetadataValue.md(chart_markdown(pictures.trials_chart(trials)))
    yield dg.Output(
        descriptions.cluster_rows(found, as_of=as_of, graded_origin=publish.origin),
        output_name="customer_clusters",
        metadata=metadata,
    )
    yield dg.Output(
        described,
        output_name="cluster_descriptions",
        metadata={
            "clusters": dg.MetadataValue.md(
                markdown_table(
                    descriptions.summarise(described, smallest_group=chosen.k_anonymity)
                )
            )
        },
    )


@dg.asset(
    **table_asset("lifecycle_states", layer="insight", purpose="analytics"),
    check_specs=[
        dg.AssetCheckSpec(
            ONE_STATE_CHECK,
            asset="lifecycle_states",
            blocking=True,
            description="Every customer of customer_features is in exactly one state, nobody else is",
        )
    ],
)
def lifecycle_states(
    context: dg.AssetExecutionContext, customer_features: pl.LazyFrame
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of = date.fromisoformat(context.partition_key)
    usual = lifecycle.shop_rhythm(customer_features)
    states = lifecycle.lifecycle_states(customer_features, as_of=as_of, usual_rhythm=usual).collect()
    unmatched = unmatched_customers(customer_features, states)
    judged = dg.AssetCheckResult(
        check_name=ONE_STATE_CHECK, passed=not any(vars(unmatched).values()), metadata=dict(vars(unmatched))
    )
    yield judged
    refuse_unless_passed("lifecycle_states", [judged])
    sizes = lifecycle.state_sizes(states, smallest_group=settings().k_anonymity)
    yield dg.Output(
        states,
        metadata={
            "states": dg.MetadataValue.md(markdown_table(sizes)),
            "sizes": dg.MetadataValue.md(chart_markdown(pictures.state_chart(sizes))),
            "usual_days_between_purchases": round(usual, 4),
        },
    )


@dg.asset(
    **table_asset("previous_segments", layer="insight", purpose="analytics"),
    ins={
        name: dg.AssetIn(partition_mapping=MIGRATION_AGO, metadata=_OPTIONAL)
        for name in ("rfm_segments", "lifecycle_states")
    },
)
def previous_segments(
    context: dg.AssetExecutionContext, rfm_segments: pl.LazyFrame, lifecycle_states: pl.LazyFrame
) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    found = migration.previous_segments(
        rfm_segments, lifecycle_states, as_of=as_of, lag_days=settings().migration_days
    ).collect()
    context.add_output_metadata({"customers": found.height})
    return found


@dg.asset(
    **table_asset("segment_transitions", layer="insight", purpose="analytics"),
    check_specs=[
        dg.AssetCheckSpec(
            CONSERVED_CHECK,
            asset="segment_transitions",
            blocking=True,
            description="Before anything is hidden, the moves count everybody of either day exactly once",
        ),
        dg.AssetCheckSpec(
            NO_SMALL_GROUP_CHECK,
            asset="segment_transitions",
            blocking=True,
            description="No row speaks of fewer customers than the shop's smallest group",
        ),
    ],
)
def segment_transitions(
    context: dg.AssetExecutionContext,
    rfm_segments: pl.LazyFrame,
    lifecycle_states: pl.LazyFrame,
    previous_segments: pl.LazyFrame,
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    moves = migration.count_moves(rfm_segments, lifecycle_states, previous_segments)
    sizes = [table.select(pl.len()).collect().item() for table in (previous_segments, lifecycle_states)]
    counted = {
        kind: migration.conservation(table, before=sizes[0], after=sizes[1])
        for kind, table in moves.items()
        if sizes[0]
    }
    rows = migration.transition_rows(
        moves, as_of=as_of, lag_days=shop.migration_days, smallest_group=shop.k_anonymity
    )
    small = rows.filter(pl.col("customers") < shop.k_anonymity).height
    results = [
        dg.AssetCheckResult(
            check_name=CONSERVED_CHECK,
            passed=all(each.holds for each in counted.values()),
            metadata={kind: dict(vars(each)) for kind, each in counted.items()},
        ),
        dg.AssetCheckResult(
            check_name=NO_SMALL_GROUP_CHECK,
            passed=small == 0,
            metadata={"rows": rows.height, "small_groups": small, "smallest_group": shop.k_anonymity},
        ),
    ]
    yield from results
    for judged in results:
        refuse_unless_passed("segment_transitions", [judged])
    metadata: dict[str, object] = {"customers_before": sizes[0]}
    for kind in migration.PLACES:
        if not (shown := rows.filter(pl.col("kind") == kind)).is_empty():
            chart = pictures.moves_chart(shown, title=f"Moves since {shown['previous_day'][0]}: {kind}")
            metadata[f"{kind}_moves"] = dg.MetadataValue.md(chart_markdown(chart))
    yield dg.Output(rows, metadata=metadata)


@dg.asset(
    **table_asset("cohort_retention", layer="insight", purpose="analytics"),
    ins={
        "customer_days": dg.AssetIn(partition_mapping=HISTORY),
        "orders": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake"),
    },
)
def cohort_retention(
    context: dg.AssetExecutionContext, customer_days: pl.LazyFrame, orders: pl.LazyFrame
) -> pl.DataFrame:
    as_of, shop = date.fromisoformat(context.partition_key), settings()
    if not shop.refunded_orders_count:
        customer_days = without_void_orders(customer_days, orders, as_of=as_of)
    rows = cohorts.retention_rows(
        cohorts.follow_cohorts(customer_days, as_of=as_of), as_of=as_of, smallest_group=shop.k_anonymity
    )
    if rows.filter(pl.col("months_since") > 0).drop_nulls("retention").height:
        chart = chart_markdown(pictures.retention_chart(rows))
        context.add_output_metadata({"retention": dg.MetadataValue.md(chart)})
    return rows
