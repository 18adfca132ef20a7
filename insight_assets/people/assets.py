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
from insight_assets.discretion import without_values
from insight_assets.lake import Lake
from insight_assets.metadata import managed_table_out, markdown_table, published_days, table_asset
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
from insight_assets.people.linkage import LinkageMissingError, describe_customers, join_probable, propose_links
from insight_assets.purposes import as_people
from insight_assets.resources import LakeFolder, PseudonymKey
from insight_assets.settings import settings
from insight_assets.validation.attributes import ATTRIBUTES
from insight_assets.validation.vault import IDENTITY_VAULT, open_identifiers


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


def who_is_who(links: pl.LazyFrame, store: Lake, key: PseudonymKey, *, as_of: date) -> Identities:
    """Find the people of a day by sure links and, where the shop wants them, by probable ones.

    Args:
        links: rows of the contract `identity_links`.
        store: the lake, whose vault tells how customers are described.
        key: the home's keys.
        as_of: as-of day.
    """
    rules, threshold = identity_rules(), settings().probable_links
    found = resolve_identities(links, as_of=as_of, rules=rules)
    if not threshold:
        return found
    with without_values("finding probable links"):
        kept = pl.col("kind").is_in(list(ATTRIBUTES)) & (pl.col("event_day") <= as_of)
        told = store.scan(contract(IDENTITY_VAULT)).filter(kept)
        whose = ["kind", "pseudonym"]
        last = told.sort("event_day").group_by(whose).agg(pl.all().last()).collect()
        since = told.group_by(customer_key="pseudonym").agg(known_since=pl.col("event_day").min()).collect()
        attributes = open_identifiers(last, key.ring()).rename({"pseudonym": "customer_key", "identifier": "value"})
        described = describe_customers(
            attributes, links.filter(pl.col("event_day") <= as_of).collect(), found.quarantined
        )
        try:
            proposed = propose_links(described, threshold=threshold)
        except LinkageMissingError as missing:
            raise dg.Failure(description=str(missing), allow_retries=False) from missing
        return join_probable(found, proposed, known_since=since, as_of=as_of, rules=rules)


@dg.multi_asset(
    name="people",
    outs={name: managed_table_out(name, layer="validated", purpose="operations") for name in ("identities", "quarantined_links")},
    ins={"identity_links": dg.AssetIn(partition_mapping=HISTORY, input_manager_key="lake")},
    # Only with probable links is the vault read.
    deps=[dg.AssetDep(IDENTITY_VAULT, partition_mapping=HISTORY)] if settings().probable_links else [],
    partitions_def=DAYS,
)
def identities(
    context: dg.AssetExecutionContext, identity_links: pl.LazyFrame, tables: LakeFolder, key: PseudonymKey
) -> Iterator[dg.Output[pl.DataFrame]]:
    as_of = date.fromisoformat(context.partition_key)
    found = who_is_who(identity_links, tables.open(), key, as_of=as_of)
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
