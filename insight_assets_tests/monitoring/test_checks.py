"""The check as people see it in Dagster: which days, what was found, since when, what to do, and the page."""

import os
import re
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.io_managers import LakeIOManager
from insight_assets.lake import DailyFrames, Lake
from insight_assets.monitoring import checks
from insight_assets.monitoring.assets import partition_profiles
from insight_assets.monitoring.checks import JUDGED, build_check
from insight_assets.monitoring.drift import FEWEST_DAYS
from insight_assets.partitions import DAYS
from insight_assets.resources import DataDocsFolder, LakeFolder
from insight_assets_tests.monitoring import simulated_shop as faults
from insight_assets_tests.validation.judging import SHOP

HISTORY = 30


@pytest.fixture(scope="module")
def days(shop) -> list[date]:
    return shop.days[170 : 170 + HISTORY + 1]


@pytest.fixture(scope="module")
def built(shop, days, tmp_path_factory):
    """A home whose history is profiled and whose last day has prices in cents; and the results of its checks."""
    home = tmp_path_factory.mktemp("home")
    *past, last = days
    publish(home, {name: rows.filter(pl.col("event_day").is_in(days)) for name, rows in shop.tables.items()}, days)
    learned = run(home, past)
    bad, _ = shop.with_fault(last, faults.prices_in_cents)
    publish(home, bad, [last])
    return home, learned, run(home, [last])


def publish(home, tables: faults.Tables, days: list[date]) -> None:
    for name, rows in tables.items():
        frames = DailyFrames(lambda day, rows=rows: rows.filter(pl.col("event_day") == day))
        list(Lake(home / "lake").write(contract(name), days, frames))


@dg.multi_asset(
    specs=[dg.AssetSpec(name, partitions_def=DAYS) for name in JUDGED], backfill_policy=dg.BackfillPolicy.single_run()
)
def published(context: dg.AssetExecutionContext):
    """Stand for validation, whose tables lie in the lake already."""
    for name in JUDGED:
        yield dg.MaterializeResult(asset_key=name)


def run(home, days: list[date], *, blocking: bool = False) -> dict[str, dg.AssetCheckEvaluation]:
    result = result_of(home, days, blocking=blocking)
    return {found.asset_key.to_user_string(): found for found in result.get_asset_check_evaluations()}


def result_of(home, days: list[date], *, blocking: bool = False) -> dg.ExecuteInProcessResult:
    resources = {
        "lake": LakeIOManager(root=str(home / "lake")),
        "tables": LakeFolder(root=str(home / "lake")),
        "docs": DataDocsFolder(root=str(home / "data_docs")),
    }
    defs = dg.Definitions(
        assets=[published, partition_profiles], asset_checks=[build_check(blocking=blocking)], resources=resources
    )
    job = defs.resolve_implicit_global_asset_job_def()
    span = {"dagster/asset_partition_range_start": str(days[0]), "dagster/asset_partition_range_end": str(days[-1])}
    in_zone = mock.patch.dict(os.environ, {"INSIGHT_TIMEZONE": SHOP})
    with dg.DagsterInstance.ephemeral() as instance, in_zone:
        return job.execute_in_process(instance=instance, tags=span, raise_on_error=False)


def test_every_published_table_is_judged_and_says_which_days(built, days) -> None:
    _, learned, _ = built
    assert set(learned) == set(JUDGED)
    for found in learned.values():
        assert found.passed
        assert found.metadata["days"].value == f"{days[0]} to {days[-2]} ({HISTORY} days)"
        early = f"{days[0]} to {days[FEWEST_DAYS - 1]} ({FEWEST_DAYS} days)"
        assert found.metadata["not_yet_learned"].value.startswith(early)


def test_a_drift_is_told_with_figure_band_day_and_what_to_do(built, days) -> None:
    _, _, found = built
    lines = found["order_lines"]
    assert not lines.passed
    assert lines.severity == dg.AssetCheckSeverity.ERROR
    assert lines.metadata["days_with_findings"].value == 1
    table = lines.metadata["findings"].value
    row = next(line for line in table.splitlines() if "median of unit_price" in line)
    assert row.startswith(f"| {days[-1]} | ERROR |")
    assert row.endswith(f"| {days[-1]} |")
    assert "cents" in lines.metadata["what_to_do"].value
    assert "INSIGHT_DRIFT_RELEARN_FROM" in lines.metadata["what_to_do"].value
    assert found["quarantine"].passed


def test_an_error_stops_the_run_only_where_the_setting_says_so(built, days) -> None:
    home, _, _ = built
    for blocking in (False, True):
        result = result_of(home, days[-1:], blocking=blocking)
        made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
        assert ("partition_profiles" in made) is not blocking
        assert result.success is not blocking


def test_pages_of_the_newest_and_of_the_drifted_day_show_found_and_expected(built, days) -> None:
    home, _, found = built
    folder = home / "data_docs"
    assert found["order_lines"].metadata["data_docs"].value == str(folder / "order_lines.html")
    pages = {path.stem: path.read_text("utf-8") for path in folder.iterdir()}
    assert {"index", *JUDGED, f"order_lines-{days[-1]}"} <= set(pages)
    assert f"order_lines-{days[-1]}.html" in pages["index"]
    assert "median of unit_price" in pages["order_lines"]
    assert "learned from" in pages["order_lines"]
    assert "Net is gross less" in pages["order_lines"]
    assert not any(re.search(r"(?:src|href|url\()\s*=?\s*[\"'(]*https?://", page) for page in pages.values())


def test_neither_results_nor_pages_tell_a_value_of_a_person(built, shop, days) -> None:
    home, _, found = built
    last = shop.tables["events"].filter(pl.col("event_day") == days[-1])
    keys, texts = ("actor_key", "customer_key", "visitor_key"), ("query", "review_text", "order_id")
    secrets = {str(key) for name in keys for key in last[name].drop_nulls().unique()}
    secrets |= {text for name in texts for text in last[name].drop_nulls() if len(text) > 6}
    assert len(secrets) > 100
    told = [str(result.metadata) for result in found.values()]
    told += [path.read_text("utf-8") for path in (home / "data_docs").iterdir()]
    assert not [secret for secret in secrets if any(secret in text for text in told)]


def test_a_run_of_many_days_writes_few_pages(built, shop, tmp_path) -> None:
    home, _, _ = built
    lake = Lake(home / "lake")
    day = shop.days[170 + HISTORY]
    profiles = checks.profiles_of(lake, [day])
    (verdict,) = checks.judge_days(profiles, "order_lines", [day])
    assert verdict.findings
    docs = DataDocsFolder(root=str(tmp_path))
    pages = checks.write_pages("order_lines", [verdict] * 50, profiles, docs)
    assert len(pages) <= checks.PAGES_A_RUN + 1


def test_a_young_day_has_a_page_only_where_it_is_against_its_contract(shop, tmp_path) -> None:
    day = shop.days[FEWEST_DAYS - 1]
    docs = DataDocsFolder(root=str(tmp_path / "data_docs"))

    def check(tables: faults.Tables) -> dg.AssetCheckResult:
        profiles = faults.profile(tables, [day])
        return checks.check_table("order_lines", checks.judge_days(profiles, "order_lines", [day]), profiles, docs)

    good = {name: rows.filter(pl.col("event_day") == day) for name, rows in shop.tables.items()}
    clean = check(good)
    assert clean.passed
    assert clean.metadata["judged_by_great_expectations"].value == 0
    assert "data_docs" not in clean.metadata
    assert not (tmp_path / "data_docs").exists()
    spoilt = check({**good, "order_lines": good["order_lines"].with_columns(net=pl.col("net") + 1)})
    assert not spoilt.passed
    assert spoilt.severity == dg.AssetCheckSeverity.ERROR
    assert "net_adds_up" in spoilt.metadata["against_the_contract"].value
    assert Path(spoilt.metadata["data_docs"].value).exists()


def test_a_check_run_alone_judges_the_newest_profiled_day(built, days) -> None:
    home, _, _ = built
    lake = Lake(home / "lake")
    assert checks.run_days({}, lake) == [days[-1]]
    assert checks.run_days({"dagster/partition": "2025-01-02"}, lake) == [date(2025, 1, 2)]
    assert checks.run_days({}, Lake(home / "no lake")) == []


def test_rows_against_the_contract_in_a_published_table_are_an_error(built, shop, days, tmp_path) -> None:
    home, _, _ = built
    day = days[-1] - timedelta(days=1)
    spoilt = shop.tables["order_lines"].filter(pl.col("event_day") == day).with_columns(net=pl.col("net") + 1)
    good = {name: rows.filter(pl.col("event_day") == day) for name, rows in shop.tables.items()}
    now = faults.profile({**good, "order_lines": spoilt}, [day])
    before = Lake(home / "lake").scan(contract("partition_profiles")).filter(pl.col("event_day") < day).collect()
    profiles = pl.concat([before, now])
    verdicts = checks.judge_days(profiles, "order_lines", [day])
    result = checks.check_table("order_lines", verdicts, profiles, DataDocsFolder(root=str(tmp_path)))
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert "net_adds_up" in result.metadata["against_the_contract"].value
