"""The check of published tables against what their history leads to expect, and its pages.

One unpartitioned check for each table, since checks by partition do not go with runs over many days: a result names
the days it judged. Each day is judged in figures; Great Expectations judges and documents the newest day and the worst
days with findings. A day of which nothing is expected yet and that keeps its contract has nothing to document: loading
Great Expectations for it would cost more than building it. A finding does not stop anything unless `INSIGHT_DRIFT_BLOCKS` says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.expectations import ExpectationReport, render_data_docs
from insight_assets.lake import Lake
from insight_assets.metadata import RANGE_END, RANGE_START, markdown_table
from insight_assets.monitoring.assets import measure
from insight_assets.monitoring.drift import FEWEST_DAYS, LOOKBACK_DAYS, DayVerdict, judge_days
from insight_assets.monitoring.partition_profiles import DAY, PROFILED, QUARANTINE
from insight_assets.monitoring.suites import has_something_to_tell, hold_profile
from insight_assets.resources import DataDocsFolder, LakeFolder
from insight_assets.settings import settings

AS_LEARNED = "distributions_as_learned"
JUDGED = (*PROFILED, QUARANTINE)
PAGES_A_RUN = 5
"""Days with findings that get a page; a backfill over a changed year would write hundreds."""
MOST_TOLD = 20

ADVICE: Mapping[str, str] = {
    "rows": "a file may be missing or delivered twice: see the account of the day on `events` and the landing folder",
    "distinct": "people or products are missing or many are new: look for a lost file, bots, or a changed identifier",
    "median": "look for a changed unit: cents for euros, dozens for pieces, another currency",
    "null_share": "a field is no longer delivered, or was renamed: see `insight check-source` on the newest file",
    "zero_share": "a field is delivered as 0: see `insight check-source` on the newest file",
    "share": "something went silent, is new, or was renamed: ask who sends it",
    "repeated_share": "rows repeat under new identities: the sender retries or a file was delivered twice with new ids",
    "quarantined_share": "more rows break a rule than usual: `insight show quarantine`",
    "busiest_hour_share": "times are wrong: a clock stands still, or dates are delivered without their time",
    "last_hour": "the day ends early: its last files may not have come yet",
    "broken": "rows against the contract are in the published table: build the day again; if it stays, report a defect",
}


def build_check(*, blocking: bool) -> dg.AssetChecksDefinition:
    """Give the check of all judged tables.

    Args:
        blocking: whether a finding of severity ERROR keeps the run from making anything of the tables.
    """

    @dg.multi_asset_check(
        name="distributions",
        specs=[
            dg.AssetCheckSpec(
                AS_LEARNED, asset=name, blocking=blocking,
                description="Counts, shares, quantiles and hours are as the accepted days before lead to expect",
            )
            for name in JUDGED
        ],
        can_subset=True,
    )
    def distributions(
        context: dg.AssetCheckExecutionContext, tables: LakeFolder, docs: DataDocsFolder
    ) -> Iterator[dg.AssetCheckResult]:
        """Judge the run's days of each table by the accepted days before them."""
        lake = tables.open()
        days = run_days(context.run.tags, lake)
        profiles = profiles_of(lake, days)
        chosen = {key.asset_key.to_user_string() for key in context.selected_asset_check_keys}
        for name in JUDGED:
            if name in chosen:
                verdicts = judge_days(profiles, name, days, relearn_from=settings().drift_relearn_from.get(name))
                yield check_table(name, verdicts, profiles, docs)

    return distributions


distributions = build_check(blocking=settings().drift_blocks)


def run_days(tags: Mapping[str, str], lake: Lake) -> list[date]:
    """Give the event days of a run; without any, the newest day that was profiled."""
    first = tags.get(RANGE_START) or tags.get("dagster/partition")
    if first is not None:
        start, end = (date.fromisoformat(key) for key in (first, tags.get(RANGE_END) or first))
        return [start + timedelta(days=offset) for offset in range((end - start).days + 1)]
    newest = lake.scan(contract("partition_profiles")).select(pl.col(DAY).max()).collect().item()
    return [] if newest is None else [newest]


def profiles_of(lake: Lake, days: Sequence[date]) -> pl.DataFrame:
    """Give the profiles of days as they are published now, and those recorded of the days before them."""
    of = contract("partition_profiles")
    if not days:
        return of.empty()
    before = [min(days) - timedelta(days=offset) for offset in range(1, LOOKBACK_DAYS + 1)]
    now = measure(days, **{name: lake.scan(contract(name), days) for name in JUDGED})
    names = of.polars_schema().names()
    return pl.concat([lake.scan(of, before).collect(), *(now.frame_of(day).select(names) for day in days)])


def check_table(
    name: str, verdicts: Sequence[DayVerdict], profiles: pl.DataFrame, docs: DataDocsFolder
) -> dg.AssetCheckResult:
    """Hold the days of one table against their suites, write their pages and tell the result.

    Args:
        name: the table.
        verdicts: one verdict a day.
        profiles: rows of `partition_profiles` of those days.
        docs: where the pages go.

    Returns:
        The result of the check, without a value of any row.
    """
    pages = write_pages(name, verdicts, profiles, docs)
    broken = sorted({one.name for report in pages.values() for one in report.outcomes if not one.success})
    drifted = [verdict for verdict in verdicts if verdict.findings]
    against_contract = [figure for figure in broken if figure.startswith("broken")]
    documented = {"data_docs": dg.MetadataValue.path(str(Path(docs.root) / f"{name}.html"))} if name in pages else {}
    worst = against_contract or any(verdict.severity == "ERROR" for verdict in drifted)
    return dg.AssetCheckResult(
        check_name=AS_LEARNED,
        asset_key=name,
        passed=not (broken or drifted),
        severity=dg.AssetCheckSeverity.ERROR if worst else dg.AssetCheckSeverity.WARN,
        metadata={
            "days": _span([verdict.day for verdict in verdicts]),
            "judged_by_great_expectations": len(pages),
            **_not_learned(verdicts),
            **_findings(name, drifted, against_contract),
            **documented,
        },
    )


def write_pages(
    name: str, verdicts: Sequence[DayVerdict], profiles: pl.DataFrame, docs: DataDocsFolder
) -> dict[str, ExpectationReport]:
    """Hold the newest day and the worst days against their suites, and write a page of each.

    Returns:
        Page name to report; `<table>` is the newest day's, unless there is nothing to tell of it, `<table>-<day>` that
        of a day with findings.
    """
    if not verdicts:
        return {}
    worst = sorted((v for v in verdicts if v.findings), key=lambda v: (-v.findings[0].distance, v.day))[:PAGES_A_RUN]
    pages = {f"{name}-{verdict.day}": hold_profile(verdict, profiles) for verdict in worst}
    newest = verdicts[-1]
    if has_something_to_tell(newest, profiles):
        pages[name] = pages.get(f"{name}-{newest.day}") or hold_profile(newest, profiles)
    if pages:
        render_data_docs(pages, Path(docs.root))
    return pages


def _not_learned(verdicts: Sequence[DayVerdict]) -> dict[str, str]:
    early = [verdict.day for verdict in verdicts if not verdict.learned]
    if not early:
        return {}
    reason = f"fewer than {FEWEST_DAYS} accepted days lie before; only the contract is held"
    return {"not_yet_learned": f"{_span(early)}: {reason}"}


def _findings(name: str, drifted: Sequence[DayVerdict], against_contract: Sequence[str]) -> dict[str, object]:
    if not drifted and not against_contract:
        return {}
    rows = [
        {
            "day": str(verdict.day), "severity": band.severity, "figure": band.figure.name,
            **{key: f"{getattr(band, key):.4g}" for key in ("found", "expected", "lower", "upper")},
            "since": str(band.since),
        }
        for verdict in drifted for band in verdict.findings
    ][:MOST_TOLD]
    metrics = dict.fromkeys(band.figure.metric for verdict in drifted for band in verdict.findings)
    if against_contract:
        metrics = {"broken": None, **metrics}
    told = [f"- {metric}: {ADVICE[metric]}" for metric in metrics]
    stays = (
        "- A campaign or a holiday may well be the reason; then nothing is to be done. If the change is to stay, set "
        f"`INSIGHT_DRIFT_RELEARN_FROM='{{\"{name}\": \"{drifted[0].findings[0].since if drifted else ''}\"}}'`"
    )
    return {
        "days_with_findings": len(drifted),
        **({"findings": dg.MetadataValue.md(markdown_table(pl.DataFrame(rows)))} if rows else {}),
        **({"against_the_contract": ", ".join(against_contract)} if against_contract else {}),
        "what_to_do": dg.MetadataValue.md("\n".join([*told, *([stays] if drifted else [])])),
    }


def _span(days: Sequence[date]) -> str:
    if not days:
        return "none"
    return str(days[0]) if len(days) == 1 else f"{min(days)} to {max(days)} ({len(days)} days)"
