"""The asset of the associations capability: products that are bought together.

What it computes is in the pure modules beside this one; here it is wired to partitions.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.insights.associations import pictures
from insight_assets.insights.associations.baskets import Baskets, basket_rows, baskets_of
from insight_assets.insights.associations.recounting import (
    FINDINGS_ALLOWED,
    SHUFFLES,
    findings_by_chance,
    recount,
)
from insight_assets.insights.associations.rules import WINDOW_DAYS, Associations, associate, named
from insight_assets.metadata import markdown_table, table_asset
from insight_assets.settings import settings

ASSOCIATIONS = "product_associations"
CHANCE_CHECK = "chance_finds_nothing"
RECOUNT_CHECK = "counts_are_recounted"
GROUPS_CHECK = "groups_are_large_enough"

WINDOW = dg.TimeWindowPartitionMapping(start_offset=1 - WINDOW_DAYS, end_offset=0)
"""The days of orders that an as-of day looks at."""

_SHOWN, _DRAWN = 15, 10


@dg.asset(
    **table_asset(ASSOCIATIONS, layer="insight", purpose="analytics", kinds={"scipy"}),
    ins={"order_lines": dg.AssetIn(partition_mapping=WINDOW)},
    check_specs=[
        dg.AssetCheckSpec(
            CHANCE_CHECK,
            asset=ASSOCIATIONS,
            description="Where products are exchanged at random between baskets, the same search finds nothing",
        ),
        dg.AssetCheckSpec(
            RECOUNT_CHECK,
            asset=ASSOCIATIONS,
            description="Baskets and customers of published rows are those found by going through the orders",
        ),
        dg.AssetCheckSpec(
            GROUPS_CHECK,
            asset=ASSOCIATIONS,
            description="No set is shown that fewer customers than the smallest group bought in one order",
        ),
    ],
)
def product_associations(
    context: dg.AssetExecutionContext, order_lines: pl.LazyFrame, products: pl.LazyFrame
) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
    as_of = date.fromisoformat(context.partition_key)
    orders = basket_rows(order_lines, as_of=as_of, window_days=WINDOW_DAYS).collect(engine="streaming")
    baskets = baskets_of(orders)
    found = associate(baskets, as_of=as_of, smallest_group=settings().k_anonymity)
    rows = named(found.rows, products.select("product_id", "product_name").collect())
    yield dg.Output(rows, metadata=_metadata(found, rows))
    yield from _checks(rows, orders, baskets)


def _metadata(found: Associations, rows: pl.DataFrame) -> dict[str, object]:
    metadata: dict[str, object] = {
        "baskets": found.baskets,
        "least_baskets_of_a_set": found.min_baskets,
        "pairs_tested": found.pairs_tested,
        "triples_tested": found.triples_tested,
        "frequent_sets": found.frequent,
        "sets_beyond_chance": found.significant,
    }
    if rows.height:
        shown = pictures.strongest(rows, rows=_SHOWN)
        metadata["strongest"] = dg.MetadataValue.md(markdown_table(shown))
        metadata["lifts"] = dg.MetadataValue.md(chart_markdown(pictures.lift_chart(shown.head(_DRAWN))))
    return metadata


def _checks(rows: pl.DataFrame, orders: pl.DataFrame, baskets: Baskets) -> Iterator[dg.AssetCheckResult]:
    by_chance = findings_by_chance(baskets, seed=settings().seed)
    counted = recount(rows, orders)
    yield dg.AssetCheckResult(
        check_name=CHANCE_CHECK,
        passed=by_chance <= FINDINGS_ALLOWED,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"shuffles": SHUFFLES, "shuffles_with_findings": by_chance},
    )
    yield dg.AssetCheckResult(
        check_name=RECOUNT_CHECK,
        passed=counted.wrong == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"rows": counted.rows, "wrong": counted.wrong},
    )
    yield dg.AssetCheckResult(
        check_name=GROUPS_CHECK,
        passed=counted.fewest is None or counted.fewest >= settings().k_anonymity,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "smallest_group": settings().k_anonymity,
            "fewest_customers": "none" if counted.fewest is None else counted.fewest,
        },
    )
