"""Checks of the profile tables, judged before a partition is published.

They are part of the assets themselves: a check of its own would read every partition, and what it
finds would come after the rows were written. What is compared is in `profiles` and `summary`.
"""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from insight_assets.checks import unmatched_customers
from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.expectations import run_expectations
from insight_assets.profiles.profiles import scores_out_of_bounds

ONE_ROW_PER_CUSTOMER = "one_row_per_customer"
SCORES_WITHIN_BOUNDS = "scores_within_bounds"
NO_SMALL_GROUP = "no_small_group"
MEETS_ITS_CONTRACT = "meets_its_contract"

EXPECTED_ROWS = 20_000
"""Rows that Great Expectations sees: 15 s for 20,000 rows on a busy machine. Keys are keyed
pseudonyms, so the rows with the lowest are a random sample. Pandera judges all rows."""

PROFILE_CHECKS = (
    dg.AssetCheckSpec(
        ONE_ROW_PER_CUSTOMER,
        asset="customer_profiles",
        blocking=True,
        description="Every customer of customer_features has exactly one profile, nobody else has",
    ),
    dg.AssetCheckSpec(
        SCORES_WITHIN_BOUNDS,
        asset="customer_profiles",
        blocking=True,
        description="Probabilities and shares lie between 0 and 1",
    ),
    dg.AssetCheckSpec(
        MEETS_ITS_CONTRACT,
        asset="customer_profiles",
        blocking=True,
        description="The contract's Great Expectations suite holds",
    ),
)

SUMMARY_CHECKS = (
    dg.AssetCheckSpec(
        NO_SMALL_GROUP,
        asset="segment_summary",
        blocking=True,
        description="No row speaks of fewer customers than the shop's smallest group",
    ),
    dg.AssetCheckSpec(
        MEETS_ITS_CONTRACT,
        asset="segment_summary",
        blocking=True,
        description="The contract's Great Expectations suite holds",
    ),
)


def check_profiles(
    customer_features: pl.LazyFrame, profiles: pl.DataFrame
) -> Iterator[dg.AssetCheckResult]:
    """Judge the profiles of one as-of day.

    Args:
        customer_features: Rows that the profiles were made from.
        profiles: Rows about to be published, as the contract has them.

    Yields:
        One result per spec in `PROFILE_CHECKS`; without a value of any customer.
    """
    unmatched = unmatched_customers(customer_features, profiles)
    yield dg.AssetCheckResult(
        check_name=ONE_ROW_PER_CUSTOMER,
        asset_key="customer_profiles",
        passed=not any(vars(unmatched).values()),
        metadata=dict(vars(unmatched)),
    )
    outside = scores_out_of_bounds(profiles)
    yield dg.AssetCheckResult(
        check_name=SCORES_WITHIN_BOUNDS,
        asset_key="customer_profiles",
        passed=not any(outside.values()),
        metadata=dict(outside),
    )
    yield check_contract("customer_profiles", profiles)


def check_summary(summary: pl.DataFrame, *, smallest_group: int) -> Iterator[dg.AssetCheckResult]:
    """Judge the segment summary of one as-of day.

    Args:
        summary: Rows about to be published, as the contract has them.
        smallest_group: Smallest number of customers that may be spoken of.

    Yields:
        One result per spec in `SUMMARY_CHECKS`.
    """
    small = summary.filter(pl.col("customers") < smallest_group).height
    yield dg.AssetCheckResult(
        check_name=NO_SMALL_GROUP,
        asset_key="segment_summary",
        passed=small == 0,
        metadata={"rows": summary.height, "small_groups": small, "smallest_group": smallest_group},
    )
    yield check_contract("segment_summary", summary)


def check_contract(table: str, rows: pl.DataFrame) -> dg.AssetCheckResult:
    """Hold a table's rows against the Great Expectations suite of its contract.

    Args:
        table: Name of the contract.
        rows: Rows about to be published, sorted by key.

    Returns:
        The result of the check `meets_its_contract`, with the names of the demands that are not met.
    """
    report = run_expectations(contract(table), rows.head(EXPECTED_ROWS))
    broken = {
        outcome.name: outcome.unexpected_count for outcome in report.outcomes if not outcome.success
    }
    return dg.AssetCheckResult(
        check_name=MEETS_ITS_CONTRACT,
        asset_key=table,
        passed=report.success,
        metadata={
            "demands": len(report.outcomes),
            "rows": report.rows,
            **({"broken": broken} if broken else {}),
        },
    )
