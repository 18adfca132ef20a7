"""The landing folder: what appears there, what is passed over, and which days each file touches."""

import gzip
import os
import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from insight_assets.contracts.sources import SourceContract, source_contracts
from insight_assets.ingestion import landing as landing_module
from insight_assets.ingestion.landing import (
    INVENTORY,
    Inventory,
    LandedFile,
    complete_files,
    land_files,
    locate_rows,
    opening_day,
)
from insight_assets.ingestion.readers import FileRefused, read_delivery

SEGMENT = source_contracts()["segment"]
SHOP = "Asia/Shanghai"


def call(time: str, received: str | None = None) -> str:
    received = "" if received is None else f', "receivedAt": "{received}"'
    return f'{{"timestamp": "{time}"{received}}}\n'


def touch(path: Path, day: date) -> None:
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))


@pytest.fixture
def inventory(tmp_path) -> Inventory:
    (tmp_path / "landing" / "segment").mkdir(parents=True)
    return Inventory(tmp_path / "landing", shop_timezone=SHOP, max_file_bytes=1_000_000)


@pytest.fixture
def folder(inventory) -> Path:
    return inventory.root / "segment"


def days(inventory: Inventory, source: SourceContract = SEGMENT) -> dict[str, tuple[str, dict[date, int]]]:
    inventory.refresh(source)
    return {file.name: (file.status, file.days) for file in inventory.files("segment")}


# Landing


def test_files_are_copied_under_their_names(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "b.csv").write_text("2")
    landed = land_files([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "landing" / "shop")
    assert [(path.name, verdict) for path, verdict in landed] == [("a.csv", "landed"), ("b.csv", "landed")]
    assert [path.read_text() for path, _ in landed] == ["1", "2"]
    assert len(list((tmp_path / "landing" / "shop").iterdir())) == 2


def test_landing_the_same_again_changes_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    first = land_files([tmp_path / "a.csv"], tmp_path / "landing")
    modified = first[0][0].stat().st_mtime_ns
    assert land_files([tmp_path / "a.csv"], tmp_path / "landing") == [(first[0][0], "already there")]
    assert first[0][0].stat().st_mtime_ns == modified


def test_other_content_under_the_same_name_is_a_new_version_in_its_place(tmp_path):
    for text in ("1", "2", "3"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "a.csv").write_text(text)
        touch(tmp_path / text / "a.csv", date(2025, 1, 1))
    paths = [tmp_path / text / "a.csv" for text in "123"]
    verdicts = [verdict for _, verdict in land_files(paths, tmp_path / "landing")]
    assert verdicts == ["landed", "landed as a new version", "landed as a new version"]
    assert [path.read_text() for path in complete_files(tmp_path / "landing")] == ["3"]
    assert [verdict for _, verdict in land_files(paths[2:], tmp_path / "landing")] == ["already there"]


def test_nothing_is_landed_when_one_path_is_no_file(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        land_files([tmp_path / "a.csv", tmp_path / "missing.csv"], tmp_path / "landing")
    assert not (tmp_path / "landing").exists()


@pytest.mark.parametrize(
    "name", [".hidden.csv", "a.csv.tmp", "a.part", "a.partial", "a.crdownload", "a\n.csv", "a\x01.csv"]
)
def test_names_that_would_never_be_read_are_refused(tmp_path, name):
    (tmp_path / name).write_text("1")
    with pytest.raises(FileRefused, match="would never be read: rename it"):
        land_files([tmp_path / name], tmp_path / "landing")


def test_unfinished_hidden_and_linked_files_are_passed_over(tmp_path):
    landing = tmp_path / "landing"
    (landing / "folder").mkdir(parents=True)
    secret = tmp_path / "secret.csv"
    secret.write_text("secret")
    for name in (
        ".a.csv.123.tmp",
        ".hidden",
        "a.csv.tmp",
        "a.csv.part",
        "b.partial",
        "c.crdownload",
        "odd\x07name.csv",
        "o\ndd.csv",
    ):
        (landing / name).write_text("x")
    (landing / "link.csv").symlink_to(secret)
    (landing / "hanging.csv").symlink_to(tmp_path / "nowhere")
    (landing / "dir-link").symlink_to(tmp_path)
    os.mkfifo(landing / "pipe.csv")
    for name in ("b.csv", "a.csv", "ünï 😀.csv", "-rf", "a.tmp.csv"):
        (landing / name).write_text("x")
    assert [path.name for path in complete_files(landing)] == sorted(
        ["a.csv", "b.csv", "ünï 😀.csv", "-rf", "a.tmp.csv"]
    )


def test_a_folder_that_is_not_there_holds_no_files(tmp_path):
    assert complete_files(tmp_path / "nowhere") == []


HOSTILE = (
    "..", ".", "../evil.csv", "/etc/passwd", "a/../../b.csv", "..\\evil.csv", "C:\\evil.csv", "nul\x00.csv",
    "new\nline.csv",
    "bell\x07.csv", "escape\x1b[2J.csv", "delete\x7f.csv", "c1\x85.csv", "\u202egnp.csv", "zero\u200bwidth.csv",
    "mark\ufeff.csv", "\u2066iso.csv", "half\udcff.csv", "", "x" * 256, ".hidden", "a.csv.part", "a.csv.manifest.json",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_never_taken_for_files(tmp_path, name):
    assert not landing_module._is_finished(name)
    folder = tmp_path / "landing"
    folder.mkdir()
    try:
        (folder / name).write_text("x")
    except (OSError, ValueError):
        return
    assert complete_files(folder) == []


def test_a_file_that_becomes_a_link_after_the_look_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(FileRefused) as caught:
        read_delivery(tmp_path / "a.csv", max_bytes=100)
    assert caught.value.rule == "unreadable"


def test_a_linked_source_folder_is_refused_and_not_taken_for_an_empty_one(inventory, folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_text(call("2025-01-01T00:00:00Z"))
    folder.rmdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(NotADirectoryError, match="not followed"):
        inventory.refresh(SEGMENT)


def test_a_folder_that_cannot_be_listed_forgets_nothing(inventory, folder, monkeypatch):
    (folder / "a").write_text(call("2025-01-01T00:00:00Z"))
    before = days(inventory)

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        with pytest.raises(PermissionError):
            inventory.refresh(SEGMENT)
    assert {file.name: (file.status, file.days) for file in inventory.files()} == before


# Which days a file touches


def test_days_are_the_shop_s(inventory, folder):
    (folder / "a").write_text(call("2025-01-01T15:59:59Z") + call("2025-01-01T16:00:00Z") * 2)
    assert days(inventory) == {"a": ("readable", {date(2025, 1, 1): 1, date(2025, 1, 2): 2})}


def test_rows_without_a_possible_time_are_filed_under_the_first_day_of_their_file(inventory, folder):
    odd = (
        call("never")
        + call("1989-12-31T00:00:00Z")
        + call("1970-01-01T00:00:00Z")
        + call("9999-12-31T00:00:00Z")
        + "cut {\n"
    )
    (folder / "a").write_text(odd + call("2025-01-03T00:00:00Z") + call("2025-01-02T00:00:00Z") + odd)
    assert days(inventory)["a"] == ("readable", {date(2025, 1, 2): 11, date(2025, 1, 3): 1})


def test_rows_ahead_of_their_landing_are_no_rows_of_a_later_day(inventory, folder):
    path = folder / "a"
    path.write_text(call("2025-01-01T12:00:00Z") + call("2025-01-02T12:00:00Z") + call("2025-01-03T12:00:00Z"))
    touch(path, date(2025, 1, 1))
    # One day ahead may be another time zone; two are a wrong clock.
    assert days(inventory)["a"][1] == {date(2025, 1, 1): 2, date(2025, 1, 2): 1}


def test_touching_or_copying_a_file_moves_none_of_its_rows(inventory, folder):
    path = folder / "b"
    path.write_text(call("2025-01-01T12:00:00Z") + call("2025-01-09T12:00:00Z"))
    touch(path, date(2025, 1, 1))
    expected = {date(2025, 1, 1): 2}
    assert days(inventory)["b"][1] == expected
    touch(path, date(2025, 2, 1))
    (folder / "a").write_bytes(gzip.compress(path.read_bytes()))
    touch(folder / "a", date(2025, 3, 1))
    assert days(inventory) == {"a": ("readable", expected), "b": ("repeated", expected)}


def test_a_file_in_which_no_time_can_be_read_is_refused(inventory, folder):
    (folder / "a").write_text(call("31.12.2024") + call("never"))
    assert days(inventory) == {"a": ("refused", {})}
    reason = inventory.files()[0].reason
    assert "no row has a readable time in column 'happened_at'" in reason
    assert "time_format" in reason


def test_known_at_is_when_the_shop_received_the_row():
    received = ("2025-01-05T00:00:00Z", None, "soon")
    payload = [call("2025-01-01T00:00:00Z", when).rstrip() for when in received]
    placed = locate_rows(
        pl.DataFrame({"line": [1, 2, 3], "payload": payload}), SEGMENT, shop_timezone=SHOP, landed_on=date(2025, 2, 1)
    )
    assert [known.day for known in placed["known_at"]] == [5, 1, 1]
    assert set(placed["event_day"]) == {date(2025, 1, 1)}


# The inventory


def test_a_file_is_opened_once(inventory, folder):
    (folder / "a").write_text(call("2025-01-01T00:00:00Z"))
    assert [file.name for file in inventory.refresh(SEGMENT)] == ["a"]
    assert inventory.refresh(SEGMENT) == []
    (folder / "b").write_text(call("2025-01-02T00:00:00Z"))
    assert [file.name for file in inventory.refresh(SEGMENT)] == ["b"]


def test_the_first_of_equal_contents_counts_by_name(inventory, folder):
    content = call("2025-01-01T00:00:00Z").encode()
    (folder / "b.gz").write_bytes(gzip.compress(content))
    (folder / "c").write_bytes(content)
    (folder / "d").write_bytes(b"")
    (folder / "e").write_bytes(b"")
    assert {name: status for name, (status, _) in days(inventory).items()} == {
        "b.gz": "readable",
        "c": "repeated",
        "d": "empty",
        "e": "empty",
    }
    (folder / "a").write_bytes(content)
    assert days(inventory)["a"][0] == "readable"
    assert days(inventory)["b.gz"][0] == "repeated"


def test_changed_and_removed_files_are_noticed(inventory, folder):
    (folder / "a").write_text(call("2025-01-01T00:00:00Z"))
    first = inventory.refresh(SEGMENT)[0].content_hash
    (folder / "a").write_text(call("2025-01-02T00:00:00Z"))
    assert inventory.refresh(SEGMENT)[0].content_hash != first
    assert inventory.files()[0].days == {date(2025, 1, 2): 1}
    (folder / "a").unlink()
    assert days(inventory) == {}


def test_a_refused_file_is_opened_again_once_its_contract_or_limit_is_mended(inventory, folder, tmp_path):
    (folder / "a").write_text(call("01.02.2025 10:00"))
    assert days(inventory)["a"][0] == "refused"
    own = tmp_path / "segment.odcs.yaml"
    own.write_text(SEGMENT.path.read_text().replace("time_format, value: iso", 'time_format, value: "%d.%m.%Y %H:%M"'))
    mended = replace(SEGMENT, time_format="%d.%m.%Y %H:%M", path=own)
    assert days(inventory, mended)["a"] == ("readable", {date(2025, 2, 1): 1})
    strict = Inventory(inventory.root, shop_timezone=SHOP, max_file_bytes=10)
    assert days(strict, mended)["a"][0] == "refused"
    assert days(inventory, mended)["a"][0] == "readable"


def test_another_zone_places_the_rows_anew(inventory, folder):
    (folder / "a").write_text(call("2025-01-01T20:00:00Z"))
    assert days(inventory)["a"][1] == {date(2025, 1, 2): 1}
    moved = Inventory(inventory.root, shop_timezone="UTC", max_file_bytes=1_000_000)
    assert days(moved)["a"][1] == {date(2025, 1, 1): 1}


def test_the_inventory_may_be_lost_or_of_another_layout(inventory, folder):
    (folder / "a").write_text(call("2025-01-01T00:00:00Z"))
    expected = days(inventory)
    (inventory.root / INVENTORY).unlink()
    again = Inventory(inventory.root, shop_timezone=SHOP, max_file_bytes=1_000_000)
    assert days(again) == expected
    with sqlite3.connect(inventory.root / INVENTORY) as connection:
        connection.execute("DROP TABLE files")
        connection.execute("CREATE TABLE files (name TEXT)")
        connection.execute("PRAGMA user_version = 1")
    assert days(Inventory(inventory.root, shop_timezone=SHOP, max_file_bytes=1_000_000)) == expected


def test_sources_do_not_share_contents(inventory, folder):
    other = replace(SEGMENT, name="other")
    (inventory.root / "other").mkdir()
    for name in ("segment", "other"):
        (inventory.root / name / "a").write_text(call("2025-01-01T00:00:00Z"))
    inventory.refresh(SEGMENT)
    inventory.refresh(other)
    assert [(file.source, file.status) for file in inventory.files()] == [
        ("other", "readable"),
        ("segment", "readable"),
    ]


def test_a_file_that_vanishes_while_it_is_looked_at_is_left_out(inventory, folder, monkeypatch):
    (folder / "a").write_text(call("2025-01-01T00:00:00Z"))
    monkeypatch.setattr("insight_assets.ingestion.landing.complete_files", lambda _: [folder / "gone", folder / "a"])
    assert [file.name for file in inventory.refresh(SEGMENT)] == ["a"]


def test_a_file_cut_anywhere_is_never_taken_for_whole_rows(inventory, folder):
    rows = [call(f"2025-01-0{n}T00:00:00Z").rstrip("\n") for n in (1, 2, 3)]
    whole = "\n".join(rows)
    for length in range(1, len(whole), 7):
        (folder / "a").write_text(whole[:length])
        found = days(inventory)["a"][1]
        complete = sum(length >= sum(len(r) + 1 for r in rows[: n + 1]) - 1 for n in range(3))
        # A line that is cut is malformed: it is kept, under the first day, and never read as a shorter value.
        assert sum(found.values()) in {0, complete, complete + 1}
        assert set(found) <= {date(2025, 1, 1) + timedelta(days=n) for n in range(max(complete, 1))}


# The first day of a shop


def test_rows_before_the_first_day_are_filed_under_the_first_later_day_of_their_file(inventory, folder):
    (folder / "a").write_text(
        call("1995-06-01T00:00:00Z") + call("2025-01-03T00:00:00Z") + call("2025-01-02T00:00:00Z")
    )
    (folder / "b").write_text(call("1995-06-01T00:00:00Z"))
    assert days(inventory)["a"][1] == {date(1995, 6, 1): 1, date(2025, 1, 2): 1, date(2025, 1, 3): 1}
    later = Inventory(inventory.root, shop_timezone=SHOP, max_file_bytes=1_000_000, first_day=date(2025, 1, 1))
    # No file is opened again for that, and a file of earlier days alone is left where it is.
    assert later.refresh(SEGMENT) == []
    assert {file.name: file.days for file in later.files()} == {
        "a": {date(2025, 1, 2): 2, date(2025, 1, 3): 1}, "b": {date(1995, 6, 1): 1},
    }  # fmt: skip
    rows = later.rows_of(read_delivery(folder / "a", max_bytes=1_000), SEGMENT, date(2025, 6, 1))
    assert rows["event_day"].to_list() == [date(2025, 1, 2), date(2025, 1, 3), date(2025, 1, 2)]


def landed(name: str, touched: dict[date, int]) -> LandedFile:
    landed_at = datetime(2025, 6, 1, tzinfo=UTC)
    return LandedFile("segment", name, name, sum(touched.values()), "readable", "", touched, landed_at)


def test_a_history_begins_with_its_first_day_but_for_strays():
    history = {date(2025, 1, 1) + timedelta(days=n): 100 for n in range(100)}
    assert opening_day([]) is None
    assert opening_day([landed("a", history)]) == date(2025, 1, 1)
    strays = {date(1995, 6, 1): 2, date(2001, 1, 1): 3, date(2024, 10, 1): 4}
    assert opening_day([landed("a", history), landed("b", strays)]) == date(2025, 1, 1)
    # A slow beginning is no stray, nor is an old part of more than a thousandth.
    slow = {date(2024, 12, 1) + timedelta(days=7 * n): 1 for n in range(5)}
    assert opening_day([landed("a", history), landed("b", slow)]) == date(2024, 12, 1)
    assert opening_day([landed("a", history), landed("b", {date(2020, 1, 1): 11})]) == date(2020, 1, 1)
    assert opening_day([landed("a", {date(2020, 1, 1): 1})]) == date(2020, 1, 1)
