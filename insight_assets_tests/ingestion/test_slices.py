"""A large file is read in slices: whatever their size, its rows, its days and its refusals are the same."""

import json
from dataclasses import replace
from datetime import date, timedelta
from unittest import mock

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion import raw as raw_module
from insight_assets.ingestion import readers
from insight_assets.ingestion.landing import Inventory
from insight_assets.ingestion.raw import RawLoader
from insight_assets.ingestion.readers import Delivery, FileRefused, read_rows, read_slices
from insight_assets.lake import DailyFrames, Lake
from insight_assets_tests.deliveries import UCI_HEADER, call, lines, uci_row

SOURCES = source_contracts()
SEGMENT, UCI = SOURCES["segment"], SOURCES["uci_online_retail"]
TIME = "2025-01-01 10:00:00"
CSV_LINES = st.sampled_from(
    [
        uci_row("1", TIME), uci_row("2", TIME, Description='"two\nlines"'),
        uci_row("3", TIME, Description='"quo""ted"'),
        uci_row("4", TIME, Description='"never closed'), uci_row("5", TIME, Description="茶"), "short", "", "\ufeff6",
        uci_row("7", TIME, Description="\xe9"),
    ]
)  # fmt: skip
JSON_LINES = st.sampled_from(
    [json.dumps(call("m", "2025-01-01T10:00:00Z")), "", "{", '{"a": "茶"}', "[1]", '{"messageId":', '"m1"}', "]", "}"]
)


def outcome(data: bytes, source, size: int) -> pl.DataFrame | str:
    with mock.patch.object(readers, "SLICE_BYTES", size):
        try:
            return read_rows(Delivery("f", "0", data), source)
        except FileRefused as refusal:
            return f"{refusal.rule}: {refusal}"


@given(
    st.one_of(
        st.tuples(st.just(UCI), st.lists(CSV_LINES, max_size=15).map(lambda rows: [UCI_HEADER, *rows])),
        st.tuples(st.just(SEGMENT), st.lists(JSON_LINES, max_size=15)),
    ),
    st.integers(1, 400),
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "latin-1", "cp1252", "utf-16"]),
)
def test_whatever_the_size_of_slices_the_rows_are_the_same(delivered, size, encoding):
    source, written = delivered
    data = "\n".join(written).encode(encoding, "replace")
    if encoding in {"latin-1", "cp1252"}:
        data = data.replace(b"?6", b"\xef\xbb\xbf6")
    source = replace(source, encoding=encoding)
    whole, sliced = outcome(data, source, 1 << 25), outcome(data, source, size)
    assert isinstance(whole, str) == isinstance(sliced, str)
    assert whole == sliced if isinstance(whole, str) else whole.equals(sliced)


def test_a_file_larger_than_a_slice_comes_in_several(monkeypatch):
    monkeypatch.setattr(readers, "SLICE_BYTES", 1_000)
    rows = lines(UCI_HEADER, *(uci_row(str(n), TIME, Description=f'"{n}\n"') for n in range(100)))
    slices = list(read_slices(Delivery("f", "0", rows.encode()), UCI))
    assert len(slices) > 5
    assert sum(each.height for each in slices) == 100


@pytest.mark.parametrize("first_day", [None, date(2025, 1, 3)])
def test_days_and_raw_rows_do_not_depend_on_slices_nor_on_how_much_is_kept(tmp_path, monkeypatch, first_day):
    folder = tmp_path / "landing" / "segment"
    folder.mkdir(parents=True)
    days = [date(2025, 1, 1) + timedelta(days=n) for n in range(4)]
    rows = [call(f"{n}", f"{days[n * 3 % 4]}T10:{n % 60:02}:00Z", colour="red" if n > 30 else "") for n in range(40)]
    rows += [call("when", "never"), call("ahead", "2055-01-01T00:00:00Z")]
    (folder / "a.ndjson").write_text(lines(*map(json.dumps, rows)))
    found = []
    for place, (size, kept) in enumerate([(1 << 25, 10**9), (2_500, 6_000), (5_000, 1)]):
        monkeypatch.setattr(readers, "SLICE_BYTES", size)
        monkeypatch.setattr(raw_module, "SLICE_BYTES", size)
        monkeypatch.setattr(raw_module, "_KEPT_BYTES", kept)
        (tmp_path / "landing" / ".inventory.sqlite").unlink(missing_ok=True)
        inventory = Inventory(tmp_path / "landing", shop_timezone="UTC", max_file_bytes=10**9, first_day=first_day)
        opened = inventory.refresh(SEGMENT)
        assert [file.rows for file in opened] == [42]
        loader = RawLoader(SEGMENT, inventory, Lake(tmp_path / str(place)))
        wanted = sorted(inventory.files()[0].days)
        parts = list(loader.lake.write(loader.contract, wanted, DailyFrames(loader.rows_of)))
        assert sum(part.rows for part in parts) == 42
        found.append((opened[0].days, dict(opened[0].unknown), [(part.key, part.content_hash) for part in parts]))
    assert all(each == found[0] for each in found)
    assert found[0][1] == {"colour": "text"}
    assert min(found[0][0]) == (first_day or days[0])
