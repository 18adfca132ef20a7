"""Assets of the segmentation capability: RFM segments and k-means clusters.

What each computes is in the pure modules beside this one; here they are wired to partitions.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.insights.segmentation import clusters, descriptions, pictures, rfm
from insight_assets.metadata import markdown_table, reads, table_asset
from insight_assets.partitions import DAYS
from insight_assets.settings import settings


def _table_out(name: str, **arguments: object) -> dg.AssetOut:
    given = table_asset(name, layer="insight", purpose="analytics", **arguments)
    return dg.AssetOut(
        **{key: value for key, value in given.items() if key not in {"name", "partitions_def", "deps"}}
    )


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


@dg.multi_asset(
    name="clusters",
    outs={
        name: _table_out(name, kinds={"scikitlearn"})
        for name in ("customer_clusters", "cluster_descriptions")
    },
    deps=reads("analytics"),
    partitions_def=DAYS,
)
def customer_clusters(
    context: dg.AssetExecutionContext, customer_features: pl.LazyFrame
) -> Iterator[dg.Output[pl.DataFrame]]:
    as_of = date.fromisoformat(context.partition_key)
    chosen = settings()
    customers = clusters.buyers(customer_features)
    found = clusters.cluster_customers(
        customers, smallest_group=chosen.k_anonymity, seed=chosen.seed
    )
    described = descriptions.describe_clusters(
        found, customers, as_of=as_of, smallest_group=chosen.k_anonymity
    )
    trials = clusters.trials_table(found)
    metadata: dict[str, object] = {"trials": dg.MetadataValue.md(markdown_table(trials))}
    if not trials.is_empty():
        metadata["choice_of_k"] = dg.MetadataValue.md(chart_markdown(pictures.trials_chart(trials)))
    yield dg.Output(
        descriptions.cluster_rows(found, as_of=as_of),
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
