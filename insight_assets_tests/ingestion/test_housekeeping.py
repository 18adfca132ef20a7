"""Room on the disk, and what killed writers leave behind."""

import os
import shutil
from collections import namedtuple
from datetime import date

import pytest

from insight_assets.disk_room import DiskFull, demand_room
from insight_assets.ingestion.housekeeping import DAY_SECONDS, sweep_landing, sweep_table
from insight_assets_tests.deliveries import call
from insight_assets_tests.shop_home import failures

NOW = 1_800_000_000
Usage = namedtuple("Usage", "total used free")


def put(path, age: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (NOW - age, NOW - age))


def test_only_old_temporary_files_of_landing_are_removed(tmp_path):
    old = DAY_SECONDS + 1
    for name in (".a.csv.12.tmp", "b.part", "c.crdownload", "d.csv", ".inventory.sqlite"):
        put(tmp_path / name, old)
    put(tmp_path / "young.tmp", DAY_SECONDS - 1)
    (tmp_path / "link.tmp").symlink_to(tmp_path / "d.csv")
    assert sweep_landing(tmp_path, now=NOW) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [".inventory.sqlite", "d.csv", "link.tmp", "young.tmp"]
    assert sweep_landing(tmp_path / "nowhere", now=NOW) == 0


def test_only_what_no_version_of_a_table_held_is_removed(home):
    for message in ("m1", "m2"):
        home.land_calls("a.ndjson", [call(message, "2025-01-01T10:00:00Z")])
        home.build("2025-01-01")
    folder = home.lake.path("raw_segment")
    held = set(folder.rglob("*.parquet"))
    put(folder / "event_day=2025-01-01" / "part-00000-orphan.parquet", DAY_SECONDS + 1)
    for path in held:
        os.utime(path, (0, 0))
    assert sweep_table(folder, now=NOW) == 1
    assert set(folder.rglob("*.parquet")) >= held
    assert home.table("raw_segment").height == 2


def test_without_room_nothing_is_written_and_the_table_stays_readable(home, monkeypatch):
    home.land_calls("a.ndjson", [call("m1", "2025-01-01T10:00:00Z")])
    home.build("2025-01-01")
    versions = home.lake.versions("raw_segment")
    size = home.land_calls("b.ndjson", [call("m2", "2025-01-01T11:00:00Z")]).stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 2 * size - 1))
    result = home.build("2025-01-01", check=False)
    assert not result.success
    assert f"loading needs {2 * size:,}; nothing was written" in " ".join(failures(result))
    assert home.lake.versions("raw_segment") == versions
    assert home.table("raw_segment")["identity"].to_list() == ["m1"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 2 * size))
    home.build("2025-01-01")
    assert home.table("raw_segment", str(date(2025, 1, 1))).height == 2


def test_room_is_looked_for_where_the_folder_is_going_to_be(tmp_path):
    demand_room(tmp_path / "not" / "yet", 0)
    with pytest.raises(DiskFull, match="free some space"):
        demand_room(tmp_path / "not" / "yet", 10**18)
