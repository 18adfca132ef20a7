"""What the checks of several groups share: refusing to publish, and holding a table against the customers it is of.

Which checks a table has belongs to its group; how drift is judged, to `monitoring`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
import polars as pl

from insight_assets.ml.guards import Verdict


@dataclass(frozen=True)
class Unmatched:
    """How the rows of a table and customers fail to match one to one.

    Attributes:
        missing: customers without a row.
        unknown: customers with a row who are not expected.
        repeated: rows beyond the first of a customer.
    """

    missing: int
    unknown: int
    repeated: int


def unmatched_customers(expected: pl.LazyFrame, rows: pl.DataFrame) -> Unmatched:
    """Compare the customers of a table with those it should have one row of.

    Args:
        expected: has one row a customer, with `customer_key`.
        rows: the table, with `customer_key`.
    """
    wanted = expected.select("customer_key").collect()
    found = rows.select("customer_key").unique()
    return Unmatched(
        missing=wanted.join(found, on="customer_key", how="anti").height,
        unknown=found.join(wanted, on="customer_key", how="anti").height,
        repeated=rows.height - found.height,
    )


def refuse_unless_passed(table: str, results: Sequence[dg.AssetCheckResult]) -> None:
    """Stop a step before its rows are published.

    Args:
        table: the table that was judged.
        results: results of all its checks.

    Raises:
        dagster.Failure: if a check did not pass; retrying would not help.
    """
    failed = sorted(result.check_name for result in results if not result.passed)
    if failed:
        raise dg.Failure(
            f"{table} is not published: {', '.join(failed)} failed; the check's metadata says why", allow_retries=False
        )


def guard_specs(asset: str, guards: Mapping[str, str], *, blocking: bool = True) -> list[dg.AssetCheckSpec]:
    """Declare guards as checks of an asset.

    Args:
        asset: name of the asset.
        guards: name of each guard to what it says.
        blocking: whether the asset is not published unless they pass.
    """
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=blocking, description=description)
        for name, description in guards.items()
    ]


def guard_results(
    asset: str, verdicts: Sequence[Verdict], *, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> list[dg.AssetCheckResult]:
    """Give verdicts as results of checks.

    Args:
        asset: name of the asset.
        verdicts: one for each of its guards.
        severity: of those that did not pass.
    """
    return [
        dg.AssetCheckResult(
            check_name=verdict.guard, asset_key=asset, passed=verdict.passed, severity=severity,
            metadata=dict(verdict.figures),
        )
        for verdict in verdicts
    ]  # fmt: skip


def report_guards(asset: str, verdicts: Sequence[Verdict]) -> Iterator[dg.AssetCheckResult]:
    """Report verdicts as checks, then refuse to go on unless all passed.

    Args:
        asset: name of the asset.
        verdicts: one for each of its guards.

    Raises:
        dagster.Failure: if a guard did not pass.
    """
    results = guard_results(asset, verdicts)
    yield from results
    refuse_unless_passed(asset, results)
