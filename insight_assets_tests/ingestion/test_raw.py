"""Raw tables through Dagster: each content once, whatever its name and whenever it comes."""

import gzip
import json
import os
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
import zstandard

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion import raw as raw_module
from insight_assets.ingestion.assets import READABLE
from insight_assets.ingestion.landing import INVENTORY
from insight_assets.ingestion.raw import (
    RawLoader,
    loaded_files,
    pending_days,
    raw_contract,
    rows_in_force,
    sources_in_use,
)
from insight_assets.ingestion.readers import FileRefused
from insight_assets.lake import DailyFrames, Lake
from insight_assets_tests.deliveries import ORDERS_HEADER, UCI_HEADER, call, lines, orders_row, uci_row
from insight_assets_tests.shop_home import ShopHome, accounts, failures

SEGMENT = source_contracts()["segment"]
FIRST, SECOND, THIRD = "2025-01-01", "2025-01-02", "2025-01-03"
ROW_TABLES = ("raw_segment", "events", "orders", "order_lines", "product_history", "quarantine")


def view(number: int, day: str) -> dict:
    return call(f"m{number}", f"{day}T10:{number % 60:02}:00Z")


def hashes(home: ShopHome, *tables: str) -> dict[str, dict[str, str]]:
    return {table: {day: state.content_hash for day, state in home.states(table).items()} for table in tables}


def test_raw_keeps_what_was_delivered_and_where_it_stood(home):
    path = home.land_calls("a.ndjson", [view(1, FIRST), view(2, SECOND)])
    home.build(FIRST, SECOND)
    rows = home.table("raw_segment")
    assert rows["payload"].to_list() == path.read_text().splitlines()
    assert rows["line"].to_list() == [1, 2]
    assert rows["event_day"].to_list() == [date(2025, 1, 1), date(2025, 1, 2)]
    assert set(rows["file_name"]) == {"a.ndjson"}
    assert rows["file_hash"].n_unique() == 1
    assert set(rows["file_hash"][0]) <= set("0123456789abcdef")


def test_the_same_content_under_other_names_and_packings_adds_no_row(home):
    path = home.land_calls("a.ndjson", [view(1, FIRST), view(2, FIRST)])
    home.build(FIRST)
    content, before = path.read_bytes(), hashes(home, *ROW_TABLES)
    home.land("segment", "0-copy.ndjson", content)
    home.land("segment", "b.ndjson.gz", gzip.compress(content))
    home.land("segment", "c.zst", zstandard.compress(content))
    versions = {table: home.lake.versions(table) for table in ROW_TABLES}
    found = accounts(home.build(FIRST))
    assert found == {"delivered": 2, "accepted": 2, "duplicate": 0, "quarantined": 0}
    assert hashes(home, *ROW_TABLES) == before
    assert {table: home.lake.versions(table) for table in ROW_TABLES} == versions
    assert pending_days(home.inventory, home.lake, SEGMENT) == {}


def test_all_names_of_a_content_landed_at_once_are_one_delivery(home):
    content = lines(json.dumps(view(1, FIRST))).encode()
    for name, data in {"a": content, "b.gz": gzip.compress(content), "c.zst": zstandard.compress(content)}.items():
        home.land("segment", name, data)
    assert accounts(home.build(FIRST))["delivered"] == 1


def test_the_record_of_what_was_loaded_is_the_raw_table(home):
    home.land_calls("a.ndjson", [view(1, FIRST), view(2, SECOND)])
    home.land_calls("b.ndjson", [view(3, SECOND)])
    home.inventory.refresh(SEGMENT)
    content = {file.name: file.content_hash for file in home.inventory.files()}
    first, second = date(2025, 1, 1), date(2025, 1, 2)
    everything = {first: {content["a.ndjson"]}, second: set(content.values())}
    assert pending_days(home.inventory, home.lake, SEGMENT) == everything
    home.build(FIRST)
    assert loaded_files(home.lake, raw_contract(SEGMENT)) == {first: {content["a.ndjson"]}}
    assert pending_days(home.inventory, home.lake, SEGMENT) == {second: set(content.values())}
    # The day that was not asked for is loaded from the file that was loaded for another day before.
    home.build(SECOND)
    assert loaded_files(home.lake, raw_contract(SEGMENT)) == everything
    assert pending_days(home.inventory, home.lake, SEGMENT) == {}
    assert home.table("raw_segment").height == 3


def test_a_late_file_adds_to_its_day_alone(home):
    home.land_calls("a.ndjson", [view(1, FIRST), view(2, SECOND), view(3, THIRD)])
    home.build(FIRST, THIRD)
    before = hashes(home, *ROW_TABLES)
    home.land_calls("late.ndjson", [view(4, SECOND)])
    home.inventory.refresh(SEGMENT)
    assert set(pending_days(home.inventory, home.lake, SEGMENT)) == {date(2025, 1, 2)}
    home.build(SECOND)
    after = hashes(home, *ROW_TABLES)
    for table in ROW_TABLES:
        changed = {day for day in after[table] if after[table][day] != before[table][day]}
        assert changed <= {SECOND}, table
    assert home.table("events", SECOND)["event_id"].to_list() == ["m2", "m4"]
    assert home.table("raw_segment", SECOND)["file_name"].to_list().count("late.ndjson") == 1


def test_a_file_taken_away_leaves_its_rows(home):
    path = home.land_calls("a.ndjson", [view(1, FIRST)])
    home.build(FIRST)
    before = hashes(home, *ROW_TABLES)
    path.unlink()
    home.build(FIRST)
    assert hashes(home, *ROW_TABLES) == before


def test_other_content_under_the_same_name_replaces_what_the_first_gave(home):
    home.land_calls("a.ndjson", [view(1, FIRST), view(2, FIRST), view(3, SECOND)])
    home.build(FIRST, SECOND)
    home.land_calls("a.ndjson", [view(1, FIRST), view(4, THIRD)])
    home.inventory.refresh(SEGMENT)
    # The days of the old content and those of the new one.
    assert set(pending_days(home.inventory, home.lake, SEGMENT)) == set(days_of(3))
    found = accounts(home.build(FIRST, THIRD))
    assert found == {"delivered": 2, "accepted": 2, "duplicate": 0, "quarantined": 0}
    assert home.table("events")["event_id"].to_list() == ["m1", "m4"]
    assert pending_days(home.inventory, home.lake, SEGMENT) == {}
    raw = home.table("raw_segment")
    first, second = raw.filter(~pl.col("is_correction")), raw.filter("is_correction")
    assert (first.height, second.height) == (3, 2)
    assert set(first["replaced_at"]) == set(second["landed_at"])
    assert second["replaced_at"].null_count() == 2


def test_what_was_known_before_a_correction_can_still_be_read(home):
    home.land_calls("a.ndjson", [view(1, FIRST), view(2, FIRST)])
    home.build(FIRST)
    home.land_calls("a.ndjson", [view(1, FIRST), view(3, FIRST)])
    home.build(FIRST)
    raw = home.table("raw_segment")
    corrected_at = raw["replaced_at"].drop_nulls()[0]

    def known(by: datetime | None) -> list[str]:
        return sorted(rows_in_force(raw.lazy(), by).collect()["identity"])

    assert known(None) == known(corrected_at) == ["m1", "m3"]
    assert known(corrected_at - timedelta(microseconds=1)) == ["m1", "m2"]
    assert known(datetime(2025, 1, 1, 10, 1, tzinfo=UTC)) == ["m1"]


def test_a_refused_new_version_replaces_nothing(home):
    path = home.land_calls("a.ndjson", [view(1, FIRST)])
    home.build(FIRST)
    path.write_text("no call at all\n")
    home.inventory.refresh(SEGMENT)
    assert home.inventory.files()[0].status == "refused"
    assert pending_days(home.inventory, home.lake, SEGMENT) == {}
    home.build(FIRST)
    assert home.table("raw_segment")["replaced_at"].to_list() == [None]


def test_a_content_counts_while_some_name_still_holds_it(home):
    path = home.land_calls("a.ndjson", [view(1, FIRST)])
    copy = home.land_calls("copy.ndjson", [view(1, FIRST)])
    home.build(FIRST)
    copy.unlink()
    home.land_calls("a.ndjson", [view(2, FIRST)])
    home.build(FIRST)
    assert home.table("events")["event_id"].to_list() == ["m1", "m2"]
    # Its last name comes with something else; then its first one with what it had.
    home.land_calls("copy.ndjson", [view(2, FIRST)])
    home.build(FIRST)
    assert home.table("events")["event_id"].to_list() == ["m2"]
    home.land_calls(path.name, [view(1, FIRST)])
    home.build(FIRST)
    assert home.table("events")["event_id"].to_list() == ["m1", "m2"]
    assert home.table("raw_segment").height == 2


def test_replacement_survives_the_loss_of_the_inventory(home):
    home.land_calls("a.ndjson", [view(1, FIRST)])
    home.land_calls("gone.ndjson", [view(9, FIRST)])
    home.build(FIRST)
    (home.root / "landing" / INVENTORY).unlink()
    (home.folder("segment") / "gone.ndjson").unlink()
    home.land_calls("a.ndjson", [view(2, FIRST)])
    home.build(FIRST)
    assert home.table("events")["event_id"].to_list() == ["m2", "m9"]


def test_a_correction_never_landed_before_what_it_corrects(home):
    path = home.land_calls("a.ndjson", [view(1, FIRST)])
    home.build(FIRST)
    home.land_calls("a.ndjson", [view(2, FIRST)])
    os.utime(path, (0, datetime(2025, 2, 1, tzinfo=UTC).timestamp()))
    home.build(FIRST)
    raw = home.table("raw_segment").sort("identity")
    assert raw["landed_at"][0] == raw["landed_at"][1] == raw["replaced_at"][0]


def test_identity_is_what_the_row_alone_says(home):
    home.land_calls("a.ndjson", [view(1, FIRST)])
    home.land("uci_online_retail", "a.csv", lines(UCI_HEADER, uci_row("1", f"{FIRST} 10:00:00")))
    home.build(FIRST, sources=["segment", "uci_online_retail"])
    assert home.table("raw_segment")["identity"].to_list() == ["m1"]
    # An invoice's lines are told apart by their place in the file.
    assert home.table("raw_uci_online_retail")["identity"].to_list() == [None]


def test_a_day_without_data_is_an_empty_partition(home):
    home.land_calls("a.ndjson", [view(1, FIRST), view(2, THIRD)])
    found = accounts(home.build(FIRST, THIRD))
    assert found["delivered"] == 2
    states = home.states("events")
    assert {day: state.rows for day, state in states.items()} == {FIRST: 1, SECOND: 0, THIRD: 1}
    home.build("2025-02-01")
    assert home.states("orders")["2025-02-01"].rows == 0


@pytest.mark.parametrize("content", ["", "\n\n", UCI_HEADER, UCI_HEADER + "\n"])
def test_empty_files_and_headers_alone_do_no_harm(home, content):
    home.land("uci_online_retail", "empty.csv", content)
    home.land("uci_online_retail", "full.csv", lines(UCI_HEADER, uci_row("1", f"{FIRST} 10:00:00")))
    result = home.build(FIRST, sources=["uci_online_retail"])
    assert accounts(result)["accepted"] == 1
    assert {file.name: file.status for file in home.inventory.files()} == {"empty.csv": "empty", "full.csv": "readable"}


def test_refused_files_are_told_and_the_others_are_loaded(home):
    good = lines(UCI_HEADER, uci_row("1", f"{FIRST} 10:00:00"))
    home.land("uci_online_retail", "good.csv", good)
    home.land("uci_online_retail", "cut.csv.gz", gzip.compress(good.encode() * 9)[:-9])
    home.land("uci_online_retail", "gbk.csv", good.replace("HOLDER", "杯子").encode("gbk"))
    home.land("uci_online_retail", "renamed.csv", good.replace("UnitPrice", "Price").replace(FIRST, SECOND))
    home.land("uci_online_retail", "picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    home.land("uci_online_retail", "calls.csv", json.dumps(view(1, FIRST)))
    home.land("uci_online_retail", "bad.parquet", b"PAR1" + bytes(100))
    home.land("uci_online_retail", "dates.csv", good.replace("2025-01-01", "01/01/2025"))
    result = home.build(FIRST, sources=["uci_online_retail"])
    assert accounts(result)["accepted"] == 1
    metadata = next(
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key.path == ["raw_uci_online_retail"]
    )
    assert metadata["files_landed"].value == 8
    refused = {each["file"]: each["reason"] for each in metadata["refused"].value}
    rules = {name: reason.split(":")[0] for name, reason in refused.items()}
    assert rules == {
        "cut.csv.gz": "unreadable", "gbk.csv": "encoding", "renamed.csv": "missing_column", "picture.csv": "encoding",
        "calls.csv": "missing_column", "bad.parquet": "unreadable", "dates.csv": "event_time",
    }  # fmt: skip
    assert all(name in reason or name == "dates.csv" for name, reason in refused.items())
    check = next(each for each in result.get_asset_check_evaluations() if each.check_name == READABLE)
    assert not check.passed
    assert "deliver" in check.metadata["next"].value


def test_a_file_that_changes_between_the_look_and_the_load_fails_the_run_in_words(home):
    home.land_calls("a.ndjson", [view(1, FIRST)])
    home.inventory.refresh(SEGMENT)
    loader = RawLoader(SEGMENT, home.inventory, home.lake)
    home.land_calls("a.ndjson", [view(2, FIRST), view(3, SECOND)])
    with pytest.raises(FileRefused, match="build again once it is whole"):
        loader.rows_of(date(2025, 1, 1))
    home.inventory.refresh(SEGMENT)
    again = RawLoader(SEGMENT, home.inventory, home.lake).rows_of(date(2025, 1, 1))
    assert again["identity"].to_list() == ["m2"]


def test_a_file_that_vanishes_before_the_load_fails_the_run_in_words(home):
    path = home.land_calls("a.ndjson", [view(1, FIRST)])
    home.inventory.refresh(SEGMENT)
    loader = RawLoader(SEGMENT, home.inventory, home.lake)
    path.unlink()
    with pytest.raises(FileRefused, match="deliver it again"):
        loader.rows_of(date(2025, 1, 1))


def days_of(number: int) -> list[date]:
    return [date(2025, 1, 1) + timedelta(days=ahead) for ahead in range(number)]


@pytest.mark.parametrize("budget", [0, 1, 10**9])
@pytest.mark.parametrize("order", [1, -1])
def test_files_over_many_days_give_each_day_its_rows_whatever_is_kept(home, monkeypatch, budget, order):
    monkeypatch.setattr(raw_module, "_KEPT_BYTES", budget)
    wanted = days_of(9)
    for start in range(7):
        home.land_calls(
            f"{start}.ndjson",
            [view(10 * start + n, day.isoformat()) for n, day in enumerate(wanted[start : start + 5])],
        )
    home.inventory.refresh(SEGMENT)
    loader = RawLoader(SEGMENT, home.inventory, home.lake)
    found = {day: loader.rows_of(day).height for day in wanted[::order]}
    assert found == {day: sum(start <= n < start + 5 for start in range(7)) for n, day in enumerate(wanted)}
    assert {day: loader.rows_of(day).height for day in wanted} == found


def test_files_of_overlapping_days_are_opened_once(home, monkeypatch):
    opened: list[str] = []
    read = raw_module.read_delivery
    monkeypatch.setattr(
        raw_module, "read_delivery", lambda path, **options: opened.append(path.name) or read(path, **options)
    )
    wanted = days_of(12)
    for start in range(8):
        home.land_calls(
            f"{start}.ndjson",
            [view(10 * start + n, day.isoformat()) for n, day in enumerate(wanted[start : start + 5])],
        )
    home.inventory.refresh(SEGMENT)
    loader = RawLoader(SEGMENT, home.inventory, home.lake)
    assert sum(loader.rows_of(day).height for day in wanted) == 40
    assert sorted(opened) == [f"{start}.ndjson" for start in range(8)]
    assert not loader._kept


def test_rows_of_other_days_are_not_loaded_with_the_day_asked_for(home):
    home.land_calls("a.ndjson", [view(n, (date(2025, 1, 1) + timedelta(days=n)).isoformat()) for n in range(20)])
    home.build("2025-01-05")
    assert home.table("raw_segment")["event_day"].to_list() == [date(2025, 1, 5)]
    assert failures(home.build("2025-01-05", "2025-01-06")) == []
    assert home.table("raw_segment").select(pl.len()).item() == 2


def test_rows_before_the_shop_s_first_day_are_quarantined_not_lost(home):
    home.first_day = FIRST
    stray = call("stray", "1995-06-01T00:00:00Z")
    home.land_calls("a.ndjson", [view(n, SECOND) for n in range(25)] + [stray])
    home.inventory.refresh(SEGMENT)
    assert set(pending_days(home.inventory, home.lake, SEGMENT)) == {date(2025, 1, 2)}
    found = accounts(home.build(FIRST, SECOND))
    assert found == {"delivered": 26, "accepted": 25, "duplicate": 0, "quarantined": 1}
    assert home.table("quarantine").select("line", "rule", "event_day").rows() == [
        (26, "event_time.out_of_range", date(2025, 1, 2))
    ]


def test_a_home_sees_the_sources_that_it_has(tmp_path):
    known, lake = source_contracts(), Lake(tmp_path / "lake")
    assert sources_in_use(known, tmp_path / "landing", lake) == known
    (tmp_path / "landing" / "rees46").mkdir(parents=True)
    assert list(sources_in_use(known, tmp_path / "landing", lake)) == ["rees46"]
    of = raw_contract(known["segment"])
    row = pl.DataFrame(
        {
            "file_hash": "a", "file_name": "a", "line": 1, "event_day": date(2025, 1, 1),
            "landed_at": datetime(2025, 1, 1, tzinfo=UTC), "is_correction": False, "contract_version": "1", "payload": "{}",
        }
    )  # fmt: skip
    list(lake.write(of, [date(2025, 1, 1)], DailyFrames(lambda _: row)))
    assert sorted(sources_in_use(known, tmp_path / "landing", lake)) == ["rees46", "segment"]


def test_the_identity_of_rows_is_that_of_the_contract_in_force(home):
    source, day = source_contracts()["generic_orders_csv"], date(2025, 1, 1)
    home.land("generic_orders_csv", "o.csv", lines(ORDERS_HEADER, orders_row("o1", "2025-01-01 10:00")))
    home.inventory.refresh(source)
    loaded = RawLoader(source, home.inventory, home.lake).rows_of(day)
    before = loaded.with_columns(identity=pl.lit("of old"), contract_version=pl.lit("1.2.0"))
    list(home.lake.write(raw_contract(source), [day], DailyFrames(lambda _: before)))
    again = RawLoader(source, home.inventory, home.lake).rows_of(day)
    assert (again["identity"].to_list(), again["contract_version"].to_list()) == (["o1"], ["1.2.0"])
