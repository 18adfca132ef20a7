"""What a profile says of who the customer is and what they allowed.

Reads the as-of tables of the stage `people`; nothing is merged or judged here.
"""

from collections.abc import Mapping

import polars as pl

from insight_assets.people.identities import SHARED_DEVICE
from insight_assets.purposes import CONSENTED_PURPOSES

COUNTED = ("customer", "visitor", "email", "phone", "device")
"""Types of identifiers that a profile counts, each in the column `id_<type>s`."""


def with_identity(profiles: pl.LazyFrame, identities: pl.LazyFrame, quarantined_links: pl.LazyFrame) -> pl.LazyFrame:
    """Add how many identifiers a customer has and how surely they belong together.

    Args:
        profiles: rows with `customer_key`.
        identities: rows of that contract as of the day.
        quarantined_links: rows of that contract as of the day.

    Returns:
        The rows with id_cluster_size, one count per type, identity_confidence (the least sure identifier's), is_known
        and shared_device_flag.
    """
    counts = {f"id_{kind}s": (pl.col("identifier_type") == kind).sum().cast(pl.Int32) for kind in COUNTED}
    told = identities.group_by("customer_key").agg(
        pl.len().cast(pl.Int32).alias("id_cluster_size"),
        pl.col("confidence").min().alias("identity_confidence"),
        **counts,
    )
    shared = (
        quarantined_links.filter((pl.col("reason") == SHARED_DEVICE) & (pl.col("linked_type") == "customer"))
        .join(identities, left_on="linked_key", right_on="identifier_key")
        .select("customer_key", shared_device_flag=pl.lit(value=True))
        .unique()
    )
    # A customer who was never linked to anything is one account.
    alone = {"id_cluster_size": 1, "id_customers": 1, "identity_confidence": 1.0}
    return (
        profiles.join(told, on="customer_key", how="left")
        .join(shared, on="customer_key", how="left")
        .with_columns(
            *(pl.col(name).fill_null(value) for name, value in alone.items()),
            *(pl.col(name).fill_null(0) for name in counts if name not in alone),
            pl.col("shared_device_flag").fill_null(value=False),
        )
        .with_columns(is_known=(pl.col("id_visitors") + pl.col("id_devices") > 0) | pl.col("shared_device_flag"))
    )


def with_consents(profiles: pl.LazyFrame, consents: pl.LazyFrame, without_record: Mapping[str, bool]) -> pl.LazyFrame:
    """Add what a customer allowed.

    Args:
        profiles: rows with `customer_key`.
        consents: rows of that contract as of the day.
        without_record: by purpose, whether customers who never said anything are taken to agree.

    Returns:
        The rows with `consent_<purpose>` for each purpose, and consent_as_of: the day (UTC) of the customer's newest
        word that counts, null where nothing was said.
    """
    said = consents.group_by("customer_key").agg(
        pl.col("given_at").max().dt.date().alias("consent_as_of"),
        *(
            pl.col("granted").filter(pl.col("purpose") == purpose).first().alias(f"consent_{purpose}")
            for purpose in CONSENTED_PURPOSES
        ),
    )
    silence = (pl.col(f"consent_{purpose}").fill_null(without_record[purpose]) for purpose in CONSENTED_PURPOSES)
    return profiles.join(said, on="customer_key", how="left").with_columns(silence)
