"""Write, audit, publish through Dagster: what a good day, a spoilt day and a range of both leave behind."""

import json
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.metadata import ROWS_KEY
from insight_assets.validation import assets as validation
from insight_assets.validation.assets import CONSERVED, EVERY_DAY_PUBLISHED, WITHIN_BUDGET
from insight_assets.validation.publishing import TABLES
from insight_assets_tests.deliveries import ORDERS_HEADER, call, lines, order, orders_row, product
from insight_assets_tests.shop_home import DEFS, ShopHome, accounts, failures

FIRST, SECOND, THIRD = "2025-01-01", "2025-01-02", "2025-01-03"
TIME = "2025-01-01T10:00:00Z"
PUBLISHED = [name for name in TABLES if name != "quarantine"]
CANARY = "canary.bird@example.com"


def good_calls(day: str, count: int = 20) -> list[dict]:
    views = [call(f"{day}-{n}", f"{day}T10:{n:02}:00Z", userId=f"u{n % 3}") for n in range(count - 1)]
    return [*views, order(f"{day}-order", f"{day}T12:00:00Z", product("a", 2), product("b"), userId="u0")]


def bad_calls(day: str, count: int) -> list[dict]:
    return [call(f"{day}-bad-{n}", f"{day}T11:{n:02}:00Z", "Produkt Viewed", userId=CANARY) for n in range(count)]


def hashes(home: ShopHome) -> dict[str, dict[str, str]]:
    return {name: {day: state.content_hash for day, state in home.states(name).items()} for name in TABLES}


def land_days(home: ShopHome, *days: str) -> None:
    for day in days:
        home.land_calls(f"{day}.ndjson", good_calls(day))


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def test_a_good_day_is_published_whole(home):
    land_days(home, FIRST)
    result = home.build(FIRST)
    assert accounts(result) == {"delivered": 20, "accepted": 20, "duplicate": 0, "quarantined": 0}
    assert checks(result)[CONSERVED]
    assert checks(result)[WITHIN_BUDGET]
    assert {name: home.states(name)[FIRST].rows for name in TABLES} == {
        "events": 20, "order_lines": 2, "orders": 1, "payments": 0, "product_history": 3, "identity_links": 3,
        "reference_rows": 0, "quarantine": 0,
    }  # fmt: skip
    for name in TABLES:
        assert home.states(name)[FIRST].code_version
        assert home.table(name).schema == contract(name).polars_schema()


def test_a_range_and_its_days_in_reverse_hold_the_same(home, tmp_path):
    days = [(date(2025, 1, 1) + timedelta(days=n)).isoformat() for n in range(6)]
    land_days(home, *days[:3], *days[4:])
    home.build(days[0], days[-1])
    with dg.DagsterInstance.ephemeral() as instance:
        other = ShopHome(tmp_path / "other", instance)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "pseudonym.key").write_bytes((home.root / "pseudonym.key").read_bytes())
        (tmp_path / "other" / "pseudonym.key").chmod(0o600)
        land_days(other, *days[:3], *days[4:])
        for day in reversed(days):
            other.build(day)
        assert hashes(other) == hashes(home)
        assert set(hashes(other)["events"]) == set(days)


def test_building_again_writes_nothing(home):
    land_days(home, FIRST, SECOND)
    home.build(FIRST, SECOND)
    before = hashes(home), {name: home.lake.versions(name) for name in TABLES}
    since = {name: {day: state.since for day, state in home.states(name).items()} for name in TABLES}
    home.build(FIRST, SECOND)
    assert (hashes(home), {name: home.lake.versions(name) for name in TABLES}) == before
    # What looks only at when a content came to be finds nothing new.
    assert {name: {day: state.since for day, state in home.states(name).items()} for name in TABLES} == since


def test_a_spoilt_day_is_refused_and_the_good_days_of_its_range_are_published(home):
    land_days(home, FIRST, SECOND, THIRD)
    home.build(FIRST)
    home.land_calls("spoilt.ndjson", bad_calls(SECOND, 9))
    result = home.build(FIRST, THIRD, check=False)
    assert not result.success
    assert {name for name, passed in checks(result).items() if not passed} == {WITHIN_BUDGET, EVERY_DAY_PUBLISHED}
    assert checks(result)[CONSERVED]
    for name in PUBLISHED:
        assert set(home.states(name)) == {FIRST, THIRD}
        assert set(home.table(name)["event_day"]) <= {date(2025, 1, 1), date(2025, 1, 3)}
        assert home.states(name)[THIRD].code_version == home.states(name)[FIRST].code_version
    assert home.states("quarantine")[SECOND].rows == 9


def test_a_refused_day_keeps_what_it_held(home):
    land_days(home, FIRST)
    home.build(FIRST)
    before = hashes(home)
    content = {name: home.table(name) for name in PUBLISHED}
    home.land_calls("spoilt.ndjson", bad_calls(FIRST, 9))
    assert not home.build(FIRST, check=False).success
    for name in PUBLISHED:
        assert home.states(name)[FIRST].content_hash == before[name][FIRST]
        assert home.table(name).equals(content[name])
    # Once the file is mended and the bad one withdrawn from its budget, the day goes on.
    for number in range(12):
        home.land_calls(
            f"more-{number}.ndjson", [row | {"messageId": f"{number}-{row['messageId']}"} for row in good_calls(FIRST)]
        )
    assert home.build(FIRST).success
    assert home.states("events")[FIRST].rows == 20 * 13


def test_a_good_day_does_not_hide_a_refused_one(home, monkeypatch):
    land_days(home, FIRST, SECOND)
    home.land_calls("spoilt.ndjson", bad_calls(FIRST, 9))
    home.build(FIRST, check=False)
    result = home.build(SECOND)
    assert (checks(result)[WITHIN_BUDGET], checks(result)[EVERY_DAY_PUBLISHED]) == (True, False)
    told = next(e for e in result.get_asset_check_evaluations() if e.check_name == EVERY_DAY_PUBLISHED).metadata
    assert (told["refused_days"].value, told["days"].value) == (1, FIRST)
    assert "insight show quarantine" in told["next"].value
    monkeypatch.setenv("INSIGHT_REJECT_BUDGETS", '{"segment": 0.5}')
    home.build(FIRST)
    assert checks(home.build(SECOND))[EVERY_DAY_PUBLISHED]


def test_the_refusal_says_what_where_why_and_what_next(home):
    land_days(home, FIRST)
    home.land_calls("spoilt.ndjson", bad_calls(FIRST, 9))
    message = failures(home.build(FIRST, check=False))[0]
    for told in (
        "1 source-days were not published (2025-01-01)", "segment on 2025-01-01", "9 of 29 rows quarantined", "budget of 5.0%",
        "event.enum (9)", "spoilt.ndjson", "Next: `insight show quarantine`", 'INSIGHT_REJECT_BUDGETS=\'{"segment": 0.32}\'',
    ):  # fmt: skip
        assert told in message
    assert CANARY not in message


def test_the_proposed_budget_is_enough(home, monkeypatch):
    land_days(home, FIRST)
    home.land_calls("spoilt.ndjson", bad_calls(FIRST, 9))
    proposed = failures(home.build(FIRST, check=False))[0].split("INSIGHT_REJECT_BUDGETS='")[1].split("'")[0]
    monkeypatch.setenv("INSIGHT_REJECT_BUDGETS", proposed)
    assert accounts(home.build(FIRST)) == {"delivered": 29, "accepted": 20, "duplicate": 0, "quarantined": 9}


def test_what_is_quarantined_can_be_found_and_mended(home):
    land_days(home, FIRST)
    path = home.land_calls("some.ndjson", [good_calls(SECOND)[0], *bad_calls(FIRST, 1)])
    home.build(FIRST)
    row = home.table("quarantine").row(0, named=True)
    assert (row["source"], row["rule"], row["column"], row["rules"]) == ("segment", "event.enum", "event", "event.enum")
    assert (row["file_name"], row["line"], row["contract_version"]) == ("some.ndjson", 2, validation.SOURCES["segment"].version)
    assert row["file_hash"] == home.table("raw_segment").filter(pl.col("file_name") == "some.ndjson")["file_hash"][0]
    assert row["payload"] == path.read_text().splitlines()[1]


def test_a_quarantined_row_of_csv_is_kept_whole(home):
    good = [orders_row(f"o{n}", f"{FIRST} 10:00") for n in range(30)]
    home.land("generic_orders_csv", "o.csv", lines(ORDERS_HEADER + ",note", *(row + ",n" for row in good), good[0] + "5,too,many", orders_row("bad", f"{FIRST} 10:00", quantity="two") + ",keep me"))  # fmt: skip
    home.build(FIRST, sources=["generic_orders_csv"], check=False)
    broken, bad = home.table("quarantine").sort("line").rows(named=True)
    assert (broken["rule"], broken["line"], json.loads(broken["payload"])["broken"]) == (
        "malformed",
        32,
        good[0] + "5,too,many",
    )
    kept = json.loads(bad["payload"])
    assert (bad["rule"], kept["quantity"], json.loads(kept["extra"])) == ("quantity.type", "two", {"note": "keep me"})


@pytest.mark.parametrize(("bad", "published"), [(1, True), (2, False)])
def test_the_budget_is_met_exactly_or_broken(home, bad, published):
    home.land_calls("a.ndjson", good_calls(FIRST, 20 - bad) + bad_calls(FIRST, bad))
    assert home.build(FIRST, check=False).success is published


def test_a_source_that_is_spoilt_holds_its_day_back(home):
    land_days(home, FIRST)
    home.land("generic_orders_csv", "o.csv", lines(ORDERS_HEADER, orders_row("o", f"{FIRST} 10:00", quantity="two")))
    result = home.build(FIRST, sources=["segment", "generic_orders_csv"], check=False)
    assert "generic_orders_csv on 2025-01-01: 1 of 1 rows" in failures(result)[0]
    assert not home.lake.exists("events") or home.table("events").is_empty()


def test_sources_of_one_day_come_together(home):
    land_days(home, FIRST)
    home.land("generic_orders_csv", "o.csv", lines(ORDERS_HEADER, orders_row("o1", f"{FIRST} 10:00", currency="CNY")))
    home.build(FIRST, sources=["segment", "generic_orders_csv"])
    assert home.table("orders").select("order_id", "source").rows() == [("o1", "generic_orders_csv"), ("o1", "segment")]
    derived = home.table("events").filter(pl.col("file_hash") == "derived")
    assert derived.select("event", "source", "value").rows() == [("order_completed", "generic_orders_csv", 10)]
    # Segment told of its order itself, so nothing is made up for it.
    assert home.table("events").filter(pl.col("event") == "order_completed").height == 2


def test_products_as_of_a_day_know_nothing_later(home):
    home.land_calls(
        "a.ndjson",
        [
            call("1", f"{FIRST}T10:00:00Z", properties={"price": 1}),
            call("2", f"{THIRD}T10:00:00Z", properties={"price": 3}),
        ],
    )
    home.build(FIRST, THIRD)
    job = dg.Definitions.merge(DEFS, dg.Definitions(resources=home.resources())).resolve_implicit_global_asset_job_def()
    for day in (SECOND, THIRD):
        job.execute_in_process(instance=home.instance, asset_selection=[dg.AssetKey("products")], partition_key=day)
    found = home.table("products").sort("as_of").select("as_of", "price", "last_seen").rows()
    assert [(as_of.day, int(price), seen.day) for as_of, price, seen in found] == [(2, 1, 1), (3, 3, 3)]


def test_identifiers_of_people_leave_raw_only_as_pseudonyms(home):
    row = call("m", f"{FIRST}T10:00:00Z", userId=CANARY, anonymousId="canary-device")
    home.base_currency = "CNY"
    home.land("currency_rates", "r.csv", f"date,currency,base_currency,rate\n{FIRST},EUR,CNY,8\n{FIRST},USD,CNY,7\n")
    home.land_calls("a.ndjson", [row, order("o", f"{FIRST}T10:00:00Z", product(), userId=CANARY), *good_calls(FIRST)])
    home.land(
        "generic_orders_csv", "o.csv", lines(ORDERS_HEADER, orders_row("o9", f"{FIRST} 10:00", customer_id=CANARY))
    )
    home.land("rees46", "r.csv", "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n" + f"{FIRST} 00:00:00 UTC,view,p,c,,b,1.0,{CANARY},s\n{FIRST} 00:00:00 UTC,purchase,p,c,,b,1.0,{CANARY},\n")  # fmt: skip
    home.build(FIRST, sources=["segment", "generic_orders_csv", "rees46"])
    words = (CANARY.encode(), b"canary")
    validated = [path for name in PUBLISHED for path in (home.lake.root / name).rglob("*") if path.is_file()]
    assert len(validated) >= 2 * len(PUBLISHED)
    for path in validated:
        assert not [word for word in words if word in readable(path)], path
    assert any(CANARY.encode() in readable(path) for path in (home.lake.root / "raw_segment").rglob("*.parquet"))
    # The log outlives the rows it describes, so it never holds a personal value, not even of raw.
    for path in home.lake.root.rglob("_delta_log/*"):
        assert path.is_dir() or not [word for word in words if word in path.read_bytes()], path
    events = home.table("events")
    assert events.filter(pl.col("customer_key").is_not_null())["customer_key"].n_unique() == 4
    assert not [word for word in words if word in dagster_record(home)]


def readable(path: Path) -> bytes:
    """Give the bytes of a file and, of Parquet, also what its pages hold."""
    pages = pl.read_parquet(path, hive_partitioning=False).write_json().encode() if path.suffix == ".parquet" else b""
    return path.read_bytes() + pages


def dagster_record(home: ShopHome) -> bytes:
    """Give everything that Dagster recorded of all runs."""
    runs = home.instance.get_runs()
    assert runs
    return "\n".join(str(entry) for run in runs for entry in home.instance.all_logs(run.run_id)).encode()


def test_no_personal_value_reaches_the_record_of_a_refused_day(home):
    land_days(home, FIRST)
    home.land_calls("spoilt.ndjson", bad_calls(FIRST, 9))
    home.build(FIRST, check=False)
    assert b"canary" not in dagster_record(home)


def test_large_ranges_are_published_in_batches(home, monkeypatch):
    monkeypatch.setattr(validation, "_ROWS_AT_ONCE", 30)
    days = [(date(2025, 1, 1) + timedelta(days=n)).isoformat() for n in range(5)]
    land_days(home, *days)
    home.build(days[0], days[-1])
    assert {day: state.rows for day, state in home.states("events").items()} == dict.fromkeys(days, 20)
    assert home.lake.versions("events") == 1 + 3


def test_the_key_is_made_once_with_the_home(home):
    land_days(home, FIRST, SECOND)
    home.build(FIRST)
    key: Path = home.root / "pseudonym.key"
    made = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    home.build(SECOND)
    assert key.read_bytes() == made
    assert home.table("events")["customer_key"].n_unique() == 3


def test_a_lost_key_is_not_replaced_in_silence(home):
    land_days(home, FIRST, SECOND)
    home.build(FIRST)
    (home.root / "pseudonym.key").unlink()
    message = failures(home.build(SECOND, check=False))[0]
    assert "restore it from your backup" in message
    assert not (home.root / "pseudonym.key").exists()
    assert set(home.states("events")) == {FIRST}


def told(home: ShopHome, day: str, table: str = "events") -> dict[str, object]:
    """Give what the last materialization of a day told of it."""
    key = dg.AssetRecordsFilter(asset_key=dg.AssetKey(table), asset_partitions=[day])
    made = home.instance.fetch_materializations(key, limit=1).records[0].asset_materialization
    return {name: value.value for name, value in made.metadata.items()}


def test_each_day_tells_how_late_its_rows_came_and_who_was_no_person(home):
    late = [call(f"late-{n}", f"{FIRST}T10:00:00Z", receivedAt=f"{THIRD}T10:00:00Z") for n in range(5)]
    probe = call("probe", f"{FIRST}T10:00:00Z", context={"channel": "web", "ip": "127.0.0.1"})
    off = call("off", f"{FIRST}T10:00:00Z", originalTimestamp="1970-01-01T00:00:00Z", sentAt="1970-01-01T00:00:00Z")
    home.land_calls("a.ndjson", [*good_calls(FIRST, 13), *late, probe, off])
    home.build(FIRST)
    found = told(home, FIRST)
    assert found["late_share"] == 0.25
    assert {name: found[name] for name in ("bot_events", "internal_events", "clock_off_by_more_than_a_day")} == {
        "bot_events": 0, "internal_events": 1, "clock_off_by_more_than_a_day": 1,
    }  # fmt: skip
    assert "| segment | 2025-01-01 | 20 | 20 | 0 | 0 |" in str(found["account"])


def test_a_repeat_is_one_event_whichever_of_its_days_was_delivered_first(home, tmp_path):
    first = call("m", f"{FIRST}T10:00:00Z", originalTimestamp=TIME, sentAt=TIME, receivedAt=f"{FIRST}T10:00:00Z")
    again = first | {"timestamp": f"{THIRD}T10:00:00Z", "receivedAt": f"{THIRD}T10:00:00Z"}
    land_days(home, FIRST, SECOND, THIRD)
    home.land_calls("again.ndjson", [again])
    home.build(FIRST, THIRD)
    assert told(home, THIRD)[ROWS_KEY] == 21
    home.land_calls("first.ndjson", [first])
    home.build(FIRST, THIRD)
    assert "| segment | 2025-01-03 | 21 | 20 | 1 | 0 |" in str(told(home, THIRD)["account"])
    events = home.table("events").filter(pl.col("event_id") == "m")
    assert events.select("event_day", "duplicate_of").rows() == [(date(2025, 1, 1), None)]


def test_a_shop_says_how_late_is_too_late_and_how_far_it_looks_back(home, monkeypatch):
    monkeypatch.setenv("INSIGHT_LATE_DAYS", "1")
    monkeypatch.setenv("INSIGHT_DUPLICATE_DAYS", "1")
    late = call("late", f"{FIRST}T10:00:00Z", receivedAt=f"{THIRD}T10:00:00Z")
    twice = [call("x", f"{day}T10:00:00Z") for day in (FIRST, THIRD)]
    home.land_calls("a.ndjson", [*good_calls(FIRST), *good_calls(THIRD), late, *twice])
    home.build(FIRST, THIRD)
    assert home.table("quarantine")["rule"].to_list() == ["too_late"]
    assert home.table("events").filter(pl.col("event_id") == "x")["duplicate_of"].to_list() == [None, None]


def test_every_day_reads_the_days_in_which_its_rows_may_have_come_before():
    mapping = validation.validated.get_partition_mapping(dg.AssetKey("raw_segment"))
    assert (mapping.start_offset, mapping.end_offset) == (-30, 0)
