"""Assets of the group `people`: who is who, and who allowed what, as of a day.

They stand between the validated tables and everything that tells of people: the links they are made from are rows of
event days, and no feature is needed for them. What each holds is decided in the pure modules beside this one.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.metadata import markdown_table, published_days, table_asset
from insight_assets.partitions import DAYS, HISTORY
from insight_assets.people import pictures
from insight_assets.people.consents import consent_counts, last_consents
from insight_assets.people.identities import (
    Identities,
    IdentityRules,
    cluster_sizes,
    compare_identities,
    quarantine_reasons,
    resolve_identities,
)
from insight_assets.purposes import as_people
from insight_assets.resources import LakeFolder
from insight_assets.settings import settings


def identity_rules() -> IdentityRules:
    """Give the shop's rules about what makes one person of several identifiers."""
    shop = settings()
    return IdentityRules(
        since=shop.identity_kinds,
        customers_per_device=shop.customers_per_device,
        customers_per_contact=shop.customers_per_contact,
        identifiers_per_person=shop.identifiers_per_person,
        reuse_days=shop.contact_reuse_days,
    )


def _table_out(name: str) -> dg.AssetOut:
    given = table_asset(name, layer="validated", purpose="operations")
    return dg.AssetOut(**{key: value for key, value in given.items() if key not in {"name", "partitions_def", "deps"}})


@dg.multi_asset(
    name="people",
    outs={name: _table_out(name) for name in ("identities", "quarantined_links")},
    ins={"identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake")},
    partitions_def=DAYS,
)
def identities(
    context: dg.AssetExecutionContext, identity_links: pl.LazyFrame, tables: LakeFolder
) -> Iterator[dg.Output[pl.DataFrame]]:
    as_of = date.fromisoformat(context.partition_key)
    found = resolve_identities(identity_links, as_of=as_of, rules=identity_rules())
    yield dg.Output(
        found.people.with_columns(as_of=pl.lit(as_of)),
        output_name="identities",
        metadata=_told(context, tables, found, as_of),
    )
    yield dg.Output(
        found.quarantined.with_columns(as_of=pl.lit(as_of)),
        output_name="quarantined_links",
        metadata={"reasons": dg.MetadataValue.md(markdown_table(quarantine_reasons(found.quarantined)))},
    )


def _told(context: dg.AssetExecutionContext, tables: LakeFolder, found: Identities, as_of: date) -> dict[str, object]:
    """Tell of sizes, and of what changed since the day before and since the last build of this day; counts only."""
    smallest = settings().k_anonymity
    sizes = cluster_sizes(found.people, smallest_group=smallest)
    metadata: dict[str, object] = {
        "people": found.people["customer_key"].n_unique(),
        "identifiers": found.people.height,
        "anonymous_identifiers": found.anonymous,
        "links_quarantined": found.quarantined.height,
        "sizes": dg.MetadataValue.md(markdown_table(sizes)),
    }
    if not sizes.is_empty():
        metadata["sizes_chart"] = dg.MetadataValue.md(chart_markdown(pictures.sizes_chart(sizes)))
    published = published_days(context.instance, "identities")
    earlier = max((day for day in published if day < as_of), default=None)
    compared = {"since_last_build": as_of if as_of in published else None, f"since_{earlier}": earlier}
    for name, day in compared.items():
        if day is not None:
            before = tables.open().scan(contract("identities"), [day]).collect()
            metadata[f"changes_{name}"] = dict(vars(compare_identities(before, found.people)))
    return metadata


@dg.asset(
    **table_asset("consents", layer="validated", purpose="operations"),
    ins={"events": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake")},
)
def consents(context: dg.AssetExecutionContext, events: pl.LazyFrame, identities: pl.LazyFrame) -> pl.DataFrame:
    as_of = date.fromisoformat(context.partition_key)
    words = events.filter(pl.col("event") == "consent_updated")
    found = last_consents(as_people(words, identities), as_of=as_of).collect()
    context.add_output_metadata({"people_by_word": dg.MetadataValue.md(markdown_table(consent_counts(found)))})
    return found
