"""Bombs and giants: refused while they unpack, in little memory; lines too long are kept in part."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion import readers
from insight_assets.ingestion.parquet_pages import NotParquet, _Reader, measure_pages
from insight_assets.ingestion.readers import FileRefused, Limits, read_delivery, read_rows
from insight_assets_tests.deliveries import UCI_HEADER, call, lines, uci_row

SOURCES = source_contracts()
SEGMENT, UCI = SOURCES["segment"], SOURCES["uci_online_retail"]
GB = 10**9
MEASURE = """
import resource, sys
from pathlib import Path
from insight_assets.ingestion.readers import FileRefused, read_delivery
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    delivery = read_delivery(Path(sys.argv[1]), max_bytes=4_000_000_000)
    verdict = f"read {len(delivery.data)}"
except FileRefused as refusal:
    verdict = refusal.rule
print(verdict, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""

MEASURE_PARQUET = """
import resource, sys
from pathlib import Path
from insight_assets.contracts.catalogue import shipped_folder
from insight_assets.contracts.sources import load_source
from insight_assets.ingestion.readers import FileRefused, read_delivery, read_rows
segment = load_source(shipped_folder() / "sources" / "segment.odcs.yaml")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_rows(read_delivery(Path(path), max_bytes=4_000_000_000), segment)
        print("read")
    except FileRefused as refusal:
        print(refusal.rule)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def refusal(path: Path, **limits: int) -> str:
    with pytest.raises(FileRefused) as caught:
        read_rows(read_delivery(path, max_bytes=GB, limits=Limits(**limits)), UCI, Limits(**limits))
    return caught.value.rule


def outcome_and_megabytes(path: Path) -> tuple[str, int]:
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outcome, _, megabytes = done.stdout.strip().rpartition(" ")
    return outcome, int(megabytes)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_of_lines_is_refused_in_little_memory(tmp_path, pack):
    (tmp_path / "bomb").write_bytes(pack(b'{"a": 1}\n' * 13_000_000))
    assert outcome_and_megabytes(tmp_path / "bomb") == ("bomb", pytest.approx(0, abs=150))


def test_a_field_of_three_hundred_megabytes_is_kept_in_part_in_little_memory(tmp_path):
    with (tmp_path / "giant").open("wb") as file:
        file.write(b'{"text": "')
        file.writelines(b"x" * 10**6 for _ in range(300))
        file.write(b'"}\n{"text": "small"}\n')
    outcome, megabytes = outcome_and_megabytes(tmp_path / "giant")
    assert outcome == f"read {readers._KEPT_OF_A_LINE + 19}"
    assert megabytes < 150


def test_a_small_file_that_packs_well_is_no_bomb(tmp_path):
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"GET / 200\n" * 1_000_000))
    assert len(read_delivery(tmp_path / "log.gz", max_bytes=GB).data) == 10_000_000


def test_rows_and_columns_have_a_limit(tmp_path):
    (tmp_path / "rows.csv").write_text(lines(UCI_HEADER, *[uci_row("1", "2025-01-01 10:00:00")] * 10))
    assert refusal(tmp_path / "rows.csv", rows=10) == "too_many_rows"
    (tmp_path / "columns.csv").write_text(UCI_HEADER + "," * 100 + "\n")
    assert refusal(tmp_path / "columns.csv", columns=100) == "too_many_columns"
    assert read_rows(read_delivery(tmp_path / "rows.csv", max_bytes=GB), UCI).height == 10


def test_parquet_is_judged_by_its_footer(tmp_path, monkeypatch):
    frame = pl.DataFrame({name: ["x"] * 1_000 for name in UCI_HEADER.split(",")})
    frame.write_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(pl, "read_parquet", None)
    assert refusal(tmp_path / "a.parquet", rows=999) == "too_many_rows"
    assert refusal(tmp_path / "a.parquet", columns=7) == "too_many_columns"
    monkeypatch.setattr(readers, "_BOMB_BYTES", 1_000)
    assert refusal(tmp_path / "a.parquet", ratio=1) == "bomb"


def footer_of(data: bytes) -> bytes:
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


def with_footer(data: bytes, footer: bytes) -> bytes:
    return data[: -8 - len(footer_of(data))] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def count(number: int, field: bytes = b"\x16") -> bytes:
    """Write a number as the next field of a footer, or another."""
    number, written = number << 1, field
    while number > 0x7F:
        written, number = written + bytes([number & 0x7F | 0x80]), number >> 7
    return written + bytes([number])


@pytest.mark.parametrize(("places", "rows", "rule"), [
    (1, 101, "unreadable"), (-1, 101, "unreadable"), (-1, 99, "unreadable"), (-1, 60_000_000, "unreadable"),
])  # fmt: skip
def test_a_footer_that_lies_is_found_out_before_anything_is_decoded(tmp_path, monkeypatch, places, rows, rule):
    frame = pl.DataFrame({name: [f"{name}{n}" for n in range(100)] for name in UCI_HEADER.split(",")})
    frame.write_parquet(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    footer = footer_of(data)
    assert footer.count(count(100)) == 2 + len(frame.columns)
    (tmp_path / "a.parquet").write_bytes(with_footer(data, footer.replace(count(100), count(rows), places)))
    monkeypatch.setattr(pl, "read_parquet", None)
    assert refusal(tmp_path / "a.parquet") == rule


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_of_a_footer_is_refused_or_does_no_harm(place, bit):
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1, 2, 3], "b": [["x"], None, []]}).write_parquet(buffer)
    data = buffer.getvalue()
    footer = bytearray(footer_of(data))
    footer[place % len(footer)] ^= 1 << bit
    try:
        measure_pages(with_footer(data, bytes(footer)))
    except NotParquet as error:
        assert str(error)


def test_what_the_pages_of_a_file_unpack_to_is_counted_also_when_they_are_nested(tmp_path):
    frame = pl.DataFrame({"a": range(1_000), "b": [[1] * 7] * 1_000, "c": [{"d": "x" * 20, "e": None}] * 1_000})
    for compression in ("zstd", "uncompressed", "snappy", "gzip"):
        frame.write_parquet(tmp_path / "a", compression=compression, row_group_size=300, data_page_size=500)
        told = measure_pages((tmp_path / "a").read_bytes())
        assert (told.rows, told.columns, told.cells) == (1_000, 4, 10_000)


def test_columns_that_share_their_pages_are_refused(tmp_path):
    columns = {"a": pl.Series(range(1_000)).shuffle(seed=1)} | {name: pl.Series([n] * 1_000) for n, name in enumerate("bc")}
    pl.DataFrame(columns).write_parquet(tmp_path / "a", compression="uncompressed", statistics=False)
    data = (tmp_path / "a").read_bytes()
    footer = footer_of(data)
    for chunk in _Reader(footer, 0).structure()[4][0][1][1:]:
        place = count(min(chunk[3][field] for field in (9, 11) if chunk[3].get(field)), b"\x26")
        assert footer.count(place) == 1
        # The first page of the file, in as many bytes.
        footer = footer.replace(place, bytes([0x26, 8 | 0x80, *[0x80] * (len(place) - 3), 0]))
    with pytest.raises(NotParquet, match="overlap|disagree"):
        measure_pages(with_footer(data, footer))


@pytest.mark.parametrize("of", ["<", "s"])
def test_headers_nested_too_deeply_are_refused(of):
    # A list in a list, or a structure in a structure, thousands deep.
    footer = (b"\x19" + b"\x19" * 5_000 if of == "<" else b"\x1c" * 5_000) + b"\x00" * 8
    with pytest.raises(NotParquet, match="deep"):
        measure_pages(with_footer(b"PAR1" + b"\x00" * 12 + b"PAR1", footer))


def test_a_group_of_no_rows_is_read(tmp_path):
    pl.DataFrame({"a": []}, schema={"a": pl.Int64}).write_parquet(tmp_path / "a")
    assert measure_pages((tmp_path / "a").read_bytes()).cells == 0


def test_a_long_text_that_is_repeated_is_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_BOMB_BYTES", 100_000)
    for name, value in (("text", "y" * 1_000), ("list", ["y" * 1_000]), ("struct", {"s": ["y" * 1_000]})):
        pl.DataFrame({name: [value] * 200}).write_parquet(tmp_path / name, compression="zstd")
        assert refusal_of_segment(tmp_path / name) == "bomb", name
    coded = pl.DataFrame({"coded": ["y" * 1_000] * 200}, schema={"coded": pl.Categorical})
    coded.write_parquet(tmp_path / "coded")
    assert refusal_of_segment(tmp_path / "coded") == "bomb"


def refusal_of_segment(path: Path) -> str:
    limits = Limits(ratio=20)
    with pytest.raises(FileRefused) as caught:
        read_rows(read_delivery(path, max_bytes=GB, limits=limits), SEGMENT, limits)
    return caught.value.rule


def test_parquet_bombs_are_refused_in_little_memory(tmp_path):
    many = pl.zeros(101_000_000, dtype=pl.Int8, eager=True)
    bombs = {"rows": many.head(51_000_000).to_frame("a"), "text": pl.DataFrame({"a": ["x" * 120_000_000]})}
    bombs["list"] = pl.DataFrame({"a": [many]})
    for name, frame in bombs.items():
        frame.write_parquet(tmp_path / name, compression="zstd")
        assert (tmp_path / name).stat().st_size < 500_000
    command = [sys.executable, "-W", "ignore", "-c", MEASURE_PARQUET, *(tmp_path / name for name in bombs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rules, megabytes = done.stdout.split()[:-1], int(done.stdout.split()[-1])
    assert rules == ["too_many_rows", "bomb", "bomb"]
    assert megabytes < 150


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"\x00" * 500 + b"PAR1", b"PAR1\xff\xff\xff\xffPAR1"])
def test_corrupt_parquet_is_refused(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    assert refusal(tmp_path / "a.parquet") == "unreadable"


@given(
    st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    st.booleans(), st.integers(1, 20), st.lists(st.integers(1, 60), min_size=1, max_size=4),
)  # fmt: skip
def test_lines_too_long_are_cut_and_all_others_kept_however_the_bytes_come(texts, has_end, most, steps):
    data = b"\n".join(texts) + (b"\n" if has_end else b"")
    if data.startswith(b"PAR1"):
        return
    keeper, place, turn = readers._LineKeeper(most), 0, 0
    while place < len(data):
        keeper.keep(data[place : place + steps[turn % len(steps)]])
        place, turn = place + steps[turn % len(steps)], turn + 1
    kept, oversized = keeper.kept()
    assert kept == data
    assert oversized == {n: len(text) for n, text in enumerate(data.split(b"\n"), start=1) if len(text) > most}


@pytest.mark.parametrize("source", [SEGMENT, UCI])
def test_a_line_too_long_is_quarantined_with_its_size_and_the_others_load(tmp_path, source):
    if source is SEGMENT:
        rows = [json.dumps(call("m", "2025-01-01T10:00:00Z", extra="y" * size)) for size in (5, 5_000, 5)]
    else:
        rows = [uci_row("1", "2025-01-01 10:00:00", Description="y" * size) for size in (5_000, 5, 5)]
        rows.insert(0, UCI_HEADER)
    (tmp_path / "f").write_text(lines(*rows))
    delivery = read_delivery(tmp_path / "f", max_bytes=GB, limits=Limits(line_bytes=2_000))
    assert dict(delivery.oversized) == {2: len(rows[1])}
    found = read_rows(delivery, source)
    assert found.height == 3
    text = found["payload" if source is SEGMENT else "broken"].drop_nulls()
    assert text.str.starts_with("size_violation: a line of 5").sum() == 1
    assert found["line"].to_list() == ([1, 2, 3] if source is SEGMENT else [2, 3, 4])


def test_a_giant_row_is_told_in_quarantine_and_takes_little_room(home):
    calls = [call(f"m{n}", "2025-01-01T10:00:00Z") for n in range(30)]
    home.land_calls("a.ndjson", [*calls, call("giant", "2025-01-01T10:00:00Z", extra="y" * 1_100_000)])
    home.build("2025-01-01")
    assert home.table("events").height == 30
    row = home.table("quarantine").row(0, named=True)
    assert (row["rule"], row["line"]) == ("size_violation", 31)
    assert row["payload"].startswith("size_violation: a line of 1100")
    assert len(row["payload"]) < 2_000


def test_identity_is_that_of_the_whole_file_also_when_a_line_is_cut(tmp_path):
    hashes = set()
    for letter in "yz":
        (tmp_path / "f").write_bytes(b"x" * 2_000 + letter.encode() + b"\n")
        hashes.add(read_delivery(tmp_path / "f", max_bytes=GB, limits=Limits(line_bytes=1_500)).content_hash)
    assert len(hashes) == 2
