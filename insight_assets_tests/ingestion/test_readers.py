"""Reading whole files: identity whatever the packing, and clear refusals."""

import gzip
import io
import json
import random
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion import readers
from insight_assets.ingestion.lines import BROKEN
from insight_assets.ingestion.readers import Delivery, FileRefused, decode_rows, read_delivery, read_rows

SOURCES = source_contracts()
SEGMENT, UCI, REES46, ORDERS = (SOURCES[n] for n in ("segment", "uci_online_retail", "rees46", "generic_orders_csv"))
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINE = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
GB = 1_000_000_000


def delivery(data: str | bytes, name: str = "file") -> Delivery:
    return Delivery(name, "hash", data.encode() if isinstance(data, str) else data)


def deliver(folder: Path, data: bytes, name: str = "file") -> Delivery:
    (folder / name).write_bytes(data)
    return read_delivery(folder / name, max_bytes=GB)


def refusal(data: str | bytes, source=UCI) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read_rows(delivery(data), source)
    return caught.value


def test_identity_is_of_the_content_whatever_its_packing(tmp_path):
    content = (HEADER + "\n" + LINE + "\n").encode() * 3
    packed = {
        "plain": content,
        "gzip": gzip.compress(content),
        "better gzip": gzip.compress(content, 9, mtime=7),
        "gzip in two members": gzip.compress(content[:50]) + gzip.compress(content[50:]),
        "zstd": zstandard.compress(content),
        "zstd in two frames": zstandard.compress(content[:50]) + zstandard.compress(content[50:]),
    }
    read = {name: deliver(tmp_path, data, name) for name, data in packed.items()}
    assert {found.content_hash for found in read.values()} == {read["plain"].content_hash}
    assert {found.data for found in read.values()} == {content}
    assert deliver(tmp_path, content[:-1]).content_hash != read["plain"].content_hash


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_or_changed_archive_is_refused(tmp_path, pack):
    content = random.Random(1).randbytes(3_000)
    whole = pack(content)
    for length in range(6, len(whole) - 1, 97):
        with pytest.raises(FileRefused, match=r"cannot be decompressed .*deliver it again") as caught:
            deliver(tmp_path, whole[:length])
        assert caught.value.rule == "unreadable"


def test_a_flipped_bit_in_gzip_is_found(tmp_path):
    whole = bytearray(gzip.compress(b"line of text\n" * 200))
    for place in range(12, len(whole) - 8, 3):
        spoilt = bytearray(whole)
        spoilt[place] ^= 4
        (tmp_path / "file").write_bytes(spoilt)
        try:
            found = read_delivery(tmp_path / "file", max_bytes=GB)
        except FileRefused:
            continue
        assert found.data == b"line of text\n" * 200


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bytes])
def test_a_bomb_is_refused_while_it_unpacks(tmp_path, pack):
    (tmp_path / "bomb").write_bytes(pack(bytes(20_000_000)))
    with pytest.raises(FileRefused, match="more than 1,000,000 bytes .*INSIGHT_MAX_FILE_BYTES") as caught:
        read_delivery(tmp_path / "bomb", max_bytes=1_000_000)
    assert caught.value.rule == "too_large"


def test_a_file_that_is_gone_is_refused(tmp_path):
    with pytest.raises(FileRefused, match="cannot be decompressed"):
        read_delivery(tmp_path / "gone", max_bytes=GB)


@pytest.mark.parametrize("source", [each for each in SOURCES.values() if not each.members], ids=lambda each: each.name)
@pytest.mark.parametrize("data", ["", "\n", " \r\n\n", "\ufeff"])
def test_an_empty_file_has_no_rows(source, data):
    rows = read_rows(delivery(data), source)
    assert rows.is_empty()
    assert rows.columns == ["line", *readers.text_columns(source)]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_file_with_a_header_alone_has_no_rows(end):
    assert read_rows(delivery(HEADER + end), UCI).is_empty()


def test_columns_are_found_by_name_in_any_order():
    names, values = HEADER.split(","), LINE.split(",")
    turned = f"{','.join(names[::-1])}\n{','.join(values[::-1])}\n"
    straight = read_rows(delivery(f"{HEADER}\n{LINE}\n"), UCI)
    assert read_rows(delivery(turned), UCI).equals(straight)
    assert straight.drop("extra", BROKEN).row(0) == (2, *values)


def test_values_stay_as_they_were_written():
    row = read_rows(delivery(f"{HEADER}\n007, x ,,-0,never,1e3,NULL,nan"), UCI).row(0, named=True)
    assert [row[c.name] for c in UCI.delivered] == ["007", " x ", None, "-0", "never", "1e3", "NULL", "nan"]


def test_columns_that_the_contract_does_not_know_are_kept():
    rows = read_rows(delivery(f"{HEADER},line,Colour,Colour,extra\n{LINE},7,red,blue,\n"), UCI)
    assert json.loads(rows["extra"][0]) == {"line": "7", "Colour": "red", "Colour#10": "blue", "extra": None}
    assert rows["line"].to_list() == [2]


def test_of_two_columns_with_a_known_name_the_first_counts():
    row = read_rows(delivery(f"{HEADER},Country\n{LINE},Mars\n"), UCI).row(0, named=True)
    assert row["country"] == "United Kingdom"
    assert json.loads(row["extra"]) == {"Country#8": "Mars"}


def test_lines_are_those_that_an_editor_shows():
    quoted = LINE.replace("HOLDER", '"HOLDER\nof light"')
    rows = read_rows(delivery(f"\n{HEADER}\n\n{quoted}\n{LINE}\nshort\n{LINE}"), UCI)
    assert rows["line"].to_list() == [4, 6, 7, 8]
    assert rows[BROKEN].to_list() == [None, None, "short", None]


def test_a_missing_column_is_named():
    found = refusal("InvoiceNo,StockCode,Description,Menge,InvoiceDate,UnitPrice,Country\n1,2,3,4,5,6,7\n")
    assert found.rule == "missing_column"
    assert "column Quantity, CustomerID is missing" in str(found)
    assert "Menge" in str(found)
    assert "change the contract of uci_online_retail" in str(found)


def test_a_missing_column_that_is_not_required_reads_as_null():
    names = [name for name in HEADER.split(",") if name != "Country"]
    values = LINE.rsplit(",", 1)[0]
    assert read_rows(delivery(f"{','.join(names)}\n{values}\n"), UCI)["country"].to_list() == [None]


def test_values_of_a_file_without_header_are_not_told():
    found = refusal(
        "2019-11-01 00:00:00 UTC,view,1003461,2053013555631882655,,xiaomi,489.07,520088904,4d3b30da\n" * 2, REES46
    )
    assert found.rule == "missing_column"
    assert "is the header missing?" in str(found)
    assert "520088904" not in str(found)


def test_a_file_without_header_is_read_by_a_contract_that_says_so():
    plain = replace(REES46, header=False)
    line = "2019-11-01 00:00:00 UTC,view,1003461,2053013555631882655,,xiaomi,489.07,520088904,4d3b30da"
    rows = read_rows(delivery(f"{line}\n{line}\n"), plain)
    assert rows["line"].to_list() == [1, 2]
    assert rows["user_id"].to_list() == ["520088904"] * 2
    assert refusal("1,2\n3,4\n", plain).rule == "unreadable"


def test_a_file_of_another_delimiter_is_refused():
    assert refusal(f"{HEADER}\n{LINE}\n".replace(",", ";")).rule == "missing_column"
    found = refusal(f"{HEADER}\n" + LINE.replace(",", ";"))
    assert (found.rule, "none of 1 lines has 8 cells" in str(found)) == ("unreadable", True)


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-16-le", "latin-1"])
def test_a_wrong_encoding_is_named(encoding):
    word = "Café" if encoding == "latin-1" else "中文"
    lines = "\n".join([HEADER] + [LINE.replace("HOLDER", word)] * 3)
    found = refusal(lines.encode(encoding), replace(UCI, encoding="utf-8"))
    assert found.rule in {"encoding", "missing_column"}
    assert "uci_online_retail" in str(found)
    if encoding != "utf-16-le":
        assert found.rule == "encoding"
        assert "set the encoding in the contract" in str(found)
    same = read_rows(delivery(lines.encode(encoding)), replace(UCI, encoding=encoding))
    assert same["product"].to_list() == [word] * 3


def test_one_undecodable_line_is_broken_alone():
    data = f"{HEADER}\n{LINE}\n".encode() + LINE.encode().replace(b"HOLDER", b"\xc3\x28") + f"\n{LINE}".encode()
    rows = read_rows(delivery(data), UCI)
    assert rows[BROKEN].is_null().to_list() == [True, False, True]
    lines = b'{"a":1}\n{"a":"\xff"}\n{"a":2}\n'
    decoded = decode_rows(read_rows(delivery(lines), SEGMENT), SEGMENT)
    assert decoded["malformed"].to_list() == [False, True, False]


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def test_parquet_is_read_as_the_csv_it_stands_for():
    names = HEADER.split(",")
    text = pl.DataFrame([LINE.split(",")], schema=names, orient="row")
    typed = text.with_columns(
        pl.col("InvoiceDate").str.to_datetime(), pl.col("Quantity").cast(pl.Int64), pl.col("UnitPrice").cast(pl.Float64)
    )
    expected = read_rows(delivery(f"{HEADER}\n{LINE}\n"), UCI).with_columns(line=pl.lit(1, dtype=pl.Int64))
    assert read_rows(delivery(parquet(text)), UCI).equals(expected)
    assert read_rows(delivery(parquet(typed)), UCI).equals(expected)


def test_aware_times_of_parquet_keep_their_moment():
    when = datetime(2025, 1, 1, 8, 30, tzinfo=UTC)
    frame = pl.DataFrame({c.path: ["x"] for c in ORDERS.delivered}).with_columns(
        pl.lit(when).dt.convert_time_zone("Asia/Shanghai").alias("ordered_at")
    )
    assert read_rows(delivery(parquet(frame)), ORDERS)["ordered_at"].to_list() == ["2025-01-01T16:30:00.000000+08:00"]


def test_parquet_of_calls_keeps_its_nesting():
    call = {
        "messageId": "1",
        "timestamp": "2025-01-01T00:00:00Z",
        "properties": {"price": 1.5, "products": [{"quantity": 2}]},
    }
    rows = read_rows(delivery(parquet(pl.DataFrame([call]))), SEGMENT)
    decoded = decode_rows(rows, SEGMENT).row(0, named=True)
    assert decoded["price"] == "1.5"
    assert decoded["products"][0]["quantity"] == "2"


def test_parquet_without_a_required_column_or_of_lists_is_refused():
    names = HEADER.split(",")
    frame = pl.DataFrame([LINE.split(",")], schema=names, orient="row")
    assert refusal(parquet(frame.drop("Quantity"))).rule == "missing_column"
    assert (
        refusal(parquet(frame.with_columns(Quantity=pl.lit([[1]], dtype=pl.List(pl.List(pl.Int64)))))).rule
        == "unreadable"
    )


@pytest.mark.parametrize("length", [4, 5, 12, 100, 400, 900])
def test_cut_parquet_is_refused(length):
    frame = pl.DataFrame([LINE.split(",")] * 50, schema=HEADER.split(","), orient="row")
    assert refusal(parquet(frame)[:length]).rule == "unreadable"


def test_damaged_parquet_never_escapes():
    whole = parquet(pl.DataFrame([LINE.split(",")] * 50, schema=HEADER.split(","), orient="row"))
    for place in range(4, len(whole), 41):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0xFF
        try:
            rows = read_rows(delivery(bytes(spoilt)), UCI)
        except FileRefused:
            continue
        assert rows.columns == ["line", *readers.text_columns(UCI)]


def test_a_file_of_another_format_is_refused_or_has_only_malformed_rows():
    assert refusal(json.dumps({"a": 1}) + "\n" + json.dumps({"a": 2})).rule == "missing_column"
    assert refusal(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256))).rule in {"missing_column", "encoding"}
    rows = decode_rows(read_rows(delivery(f"{HEADER}\n{LINE}\n"), SEGMENT), SEGMENT)
    assert rows["malformed"].all()


SHAPE = {
    "event": st.none() | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
}
CALLS = st.fixed_dictionaries(
    {},
    optional=SHAPE
    | {
        "context": st.none()
        | st.fixed_dictionaries({}, optional={"channel": st.text(), "device": st.none() | st.just({"type": "x"})}),
        "properties": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "products": st.lists(st.none() | st.just({"price": 1.5}), max_size=3),
                "price": st.floats(0, 1e9),
            },
        ),
        "unknown": st.recursive(st.none() | st.text(), st.lists, max_leaves=4),
    },
)
POISON = st.sampled_from(
    [
        "",
        " ",
        "{},{}",
        '{"event": "a"',
        '"event": "b"}',
        '{"event": [1',
        "2]}",
        "{",
        "}",
        "[]",
        "null",
        "1",
        '"text"',
        '{"event": {"a": 1}}',
        '{"event": [1]}',
        '{"properties": "x"}',
        '{"context": [1]}',
        '{"properties": {"products": {"a": 1}}}',
        '{"properties": {"products": [1]}}',
        '{"properties": {"price": 1e400}}',
        '{"properties": {"price": NaN}}',
        '{"properties": {"price": Infinity}}',
        '{"event": "a"}{"event": "b"}',
        '{"event": "cut',
        '{"event": "a",}',
        "{'event': 'a'}",
        '{"event": "\x00"}',
        '{"event": "\t"}',
        '{"event": 01}',
        '{"event": .5}',
        "\ufeff{}",
        '{"event": {}, "event": "a"}',
        "[" * 5_000,
        '{"event":' * 500,
    ]
)


@settings(max_examples=50)
@given(
    lines=st.lists(
        st.tuples(CALLS.map(json.dumps), st.booleans()) | st.tuples(POISON, st.none()), min_size=1, max_size=12
    )
)
def test_a_line_is_decoded_the_same_alone_and_in_company(lines):
    texts = [text for text, _ in lines]
    rows = pl.DataFrame({"line": range(1, len(texts) + 1), "payload": texts})
    together = decode_rows(rows, SEGMENT)
    apart = pl.concat([decode_rows(rows[place : place + 1], SEGMENT) for place in range(len(texts))])
    assert together.equals(apart)
    assert [not bad for bad in together["malformed"]] == [
        kind is not None or text == '{"event": "a"}' for text, kind in lines
    ]


def test_lines_that_only_together_are_objects_are_malformed():
    lines = ['{"event": "a"', '"device": 1}', "{},{}", "{}\n{}", None, " ", '{"event": "last"}']
    rows = decode_rows(pl.DataFrame({"line": range(1, len(lines) + 1), "payload": lines}), SEGMENT)
    assert rows["malformed"].to_list() == [True] * 6 + [False]
    assert rows["event"].to_list() == [None] * 6 + ["last"]


def test_text_may_look_like_json_and_json_is_no_text():
    lines = [
        '{"event": "[sale]"}',
        '{"event": ["sale"]}',
        '{"event": "{}"}',
        '{"event": {}}',
        '{"properties": {"products": [{"name": []}]}}',
    ]
    rows = decode_rows(pl.DataFrame({"line": range(1, len(lines) + 1), "payload": lines}), SEGMENT)
    assert rows["malformed"].to_list() == [False, True, False, True, True]
    assert rows["event"].to_list() == ["[sale]", None, "{}", None, None]


@settings(max_examples=40)
@given(
    lines=st.lists(
        st.sampled_from(['{"event": "good"}', '{"event": {}}', "{", '{"event": 1e400}']), min_size=1, max_size=40
    )
)
def test_bad_lines_are_found_among_few_and_among_many(lines):
    few = readers._FEW
    rows = pl.DataFrame({"line": range(1, len(lines) + 1), "payload": lines})
    expected = [line != '{"event": "good"}' for line in lines]
    try:
        for readers._FEW in (0, 3, few):
            assert decode_rows(rows, SEGMENT)["malformed"].to_list() == expected
    finally:
        readers._FEW = few


@given(text=st.text(st.sampled_from('{}[]",:0123456789.eE+-\\unltrfas \t\x00é'), max_size=30))
def test_what_the_quick_look_refuses_polars_refuses_too(text):
    shape = readers._json_shape(SEGMENT.delivered)
    if not readers._fits_text(text, shape):
        assert readers._decode(pl.Series([text]), shape)["row"].to_list() == [None]


def test_few_columns_are_decoded_as_all_are():
    call = {"timestamp": "2025-01-01", "receivedAt": 7, "properties": {"price": 1}}
    rows = pl.DataFrame({"line": [1, 2], "payload": [json.dumps(call), '{"timestamp": "t", "properties": 1}']})
    some = decode_rows(rows, SEGMENT, columns={"happened_at", "received_at"})
    assert some["happened_at"].to_list() == ["2025-01-01", "t"]
    assert some["received_at"].to_list() == ["7", None]
    # A line may be no call and still say when it happened, so that it is quarantined on its day.
    assert some["malformed"].to_list() == [False, False]
    assert decode_rows(rows, SEGMENT)["malformed"].to_list() == [False, True]


def test_numbers_of_json_keep_their_digits():
    for written, kept in [
        ("19.99", "19.99"),
        ("0.1", "0.1"),
        ("1.50", "1.5"),
        ("123456789012.3456", "123456789012.3456"),
        ("1E3", "1000"),
    ]:
        rows = pl.DataFrame({"line": [1], "payload": [f'{{"properties": {{"price": {written}}}}}']})
        assert decode_rows(rows, SEGMENT)["price"].to_list() == [kept]


def test_dates_of_parquet_columns_become_text():
    frame = pl.DataFrame({c.path: ["x"] for c in ORDERS.delivered}).with_columns(ordered_at=pl.lit(date(2025, 1, 1)))
    assert read_rows(delivery(parquet(frame)), ORDERS)["ordered_at"].to_list() == ["2025-01-01"]
