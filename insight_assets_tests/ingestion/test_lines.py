"""Lines and cells: whatever one line is, the others are read the same."""

import csv
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.ingestion.lines import BROKEN, split_cells, split_header, split_lines, split_slices

WIDTH = 3


def cells(text: str | bytes, *, delimiter: str = ",", width: int = WIDTH, encoding: str = "utf-8") -> list[tuple]:
    """Split text after a header line; give line, cells and broken text of each row."""
    data = text if isinstance(text, bytes) else text.encode(encoding)
    lines = split_lines(b"header\n" + data, encoding)
    return split_cells(lines[1:], delimiter, width).rows()


def good(line: int, *values: str | None) -> tuple:
    return (line, *values, None)


def bad(line: int, text: str) -> tuple:
    return (line, *[None] * WIDTH, text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,2,3\n4,5,6", [good(2, "1", "2", "3"), good(3, "4", "5", "6")]),
        ("1,2,3\r\n4,5,6\r\n", [good(2, "1", "2", "3"), good(3, "4", "5", "6")]),
        ("\n1,2,3\n \t\n\n4,5,6\n\n", [good(3, "1", "2", "3"), good(6, "4", "5", "6")]),
        ("1,,3\n,,\n", [good(2, "1", None, "3"), good(3, None, None, None)]),
        ('"","",""\n', [good(2, None, None, None)]),
        ('"1","2, ""two""","3"\n', [good(2, "1", '2, "two"', "3")]),
        ('1,"2\r\n\r\nzwei",3\r\n4,5,6', [good(2, "1", "2\n\nzwei", "3"), good(5, "4", "5", "6")]),
        ('1,"a\nb","c\nd"\n4,5,6', [good(2, "1", "a\nb", "c\nd"), good(5, "4", "5", "6")]),
        ("1,2,3,4\n4,5,6", [bad(2, "1,2,3,4"), good(3, "4", "5", "6")]),
        ("1,2\n4,5,6", [bad(2, "1,2"), good(3, "4", "5", "6")]),
        ('1,"2,3\n4,5,6\n7,8,9', [bad(2, '1,"2,3'), good(3, "4", "5", "6"), good(4, "7", "8", "9")]),
        ('1,2,"3\n4,5,6\n7,8,9"', [bad(2, '1,2,"3'), good(3, "4", "5", "6"), good(4, "7", "8", '9"')]),
        ('1,"2"x,3\n4,"5",6', [bad(2, '1,"2"x,3'), good(3, "4", "5", "6")]),
        ('1,2" wide,3\n4,5,6', [good(2, "1", '2" wide', "3"), good(3, "4", "5", "6")]),
        ('1, "2",3', [good(2, "1", ' "2"', "3")]),
        ('1,"open', [bad(2, '1,"open')]),
        ("1,a\x00b,😀\n", [good(2, "1", "a\x00b", "😀")]),
        ("1,\u2028\x85\x0c,3", [good(2, "1", "\u2028\x85\x0c", "3")]),
        ("", []),
    ],
)
def test_every_way_to_write_a_row(text, rows):
    assert cells(text) == rows


def test_undecodable_bytes_break_their_line_alone():
    text = b"1,2,3\n4," + b"\xff\xfe" + ",6\n7,é,9".encode()
    assert cells(text) == [good(2, "1", "2", "3"), bad(3, r"4,\xff\xfe,6"), good(4, "7", "é", "9")]


def test_an_undecodable_line_is_no_part_of_a_quoted_cell():
    rows = cells(b'1,"open\n\xff\nclosed",3\n4,5,6')
    assert rows[-1] == good(5, "4", "5", "6")
    assert {row[-1] for row in rows[:-1]} == {'1,"open', r"\xff", 'closed",3'}


@pytest.mark.parametrize(
    "encoding", ["gbk", "gb18030", "latin-1", "utf-16", "utf-16-le", "utf-8", "utf-8-sig", "shift_jis"]
)
def test_encodings(encoding):
    word = "né" if encoding == "latin-1" else "中文"
    data = f"header\n1,{word},3\n".encode(encoding)
    lines = split_lines(data, encoding)
    assert lines["text"].to_list() == ["header", f"1,{word},3"]
    assert not lines["undecodable"].any()


def test_a_byte_order_mark_is_no_text():
    assert split_lines("\ufeffa,b\n".encode(), "utf-8")["text"].to_list() == ["a,b"]
    assert split_lines(b"\xef\xbb\xbfa,\xff\n", "utf-8")["text"].to_list() == [r"a,\xff"]


def test_lines_that_cannot_be_told_apart_are_refused():
    with pytest.raises(UnicodeDecodeError):
        split_lines("a\n".encode("utf-16-le") + b"\x00\xd8\x00", "utf-16-le")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ".", "^", " "])
def test_delimiters(delimiter):
    row = delimiter.join(["1", f'"2{delimiter}"', "3"])
    assert cells(f"{row}\n{delimiter.join('456')}", delimiter=delimiter) == [
        good(2, "1", f"2{delimiter}", "3"),
        good(3, "4", "5", "6"),
    ]


def test_one_column():
    assert cells('x\n"y"\n"z\nz"\n"q', width=1) == [(2, "x", None), (3, "y", None), (4, "z\nz", None), (6, None, '"q')]


def test_a_header_may_be_quoted():
    assert split_header('"a ""q""",b, c', ",") == ['a "q"', "b", " c"]
    assert split_header('"a', ",") == ['"a']


CELLS = st.lists(st.text(st.sampled_from('ab1é😀 ,"'), max_size=6), min_size=WIDTH, max_size=WIDTH)
TABLES = st.lists(st.tuples(CELLS, st.booleans()), min_size=1, max_size=8)
# Text in which no line is by chance a row of three cells.
NOISE = st.lists(st.sampled_from(["", "x", "1,2", "1,2,3,4", '"open', 'a "b" c', '",', "\xff", ",,,,"]), max_size=3)


def write(row: list[str], *, always: bool) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL, lineterminator="").writerow(row)
    return buffer.getvalue()


@given(table=TABLES)
def test_what_a_csv_writer_wrote_is_read_back(table):
    found = cells("\n".join(write(row, always=always) for row, always in table))
    assert [row[1:-1] for row in found] == [tuple(cell or None for cell in row) for row, _ in table]


@given(table=TABLES, noise=st.lists(NOISE, min_size=9, max_size=9))
def test_bad_lines_change_no_other_row(table, noise):
    text = "\n".join("\n".join([*noise[place], write(row, always=always)]) for place, (row, always) in enumerate(table))
    found = [row[1:-1] for row in cells(text) if row[-1] is None]
    wanted = [tuple(cell or None for cell in row) for row, _ in table]
    # Noise that opens a quote may itself become a row, never at the cost of another.
    rest = iter(found)
    assert all(row in rest for row in wanted)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_without_loss(data):
    lines = split_lines(data, "utf-8")
    found = split_cells(lines, ",", WIDTH)
    assert found["line"].is_unique().all()
    assert found["line"].is_sorted()
    filled = lines.filter(pl.col("text").str.strip_chars() != "")["line"]
    # Every line that is not blank begins a row or lies within a quoted cell of the one before it.
    assert set(found["line"]) <= set(filled)
    assert found.height == 0 or found["line"][0] == filled[0]
    assert found.filter(pl.col(BROKEN).is_null()).height + found[BROKEN].count() == found.height


QUOTED = st.lists(
    st.sampled_from(
        ["a,b,c", '"a', 'b",c,d', '"x\ny",b,c', '"a""b",c,d', "short", "", '"', 'e"f,g,h', "\xff,b,c", '1,"2\r\n3",4']
    ),
    max_size=30,
)  # fmt: skip


@given(QUOTED, st.lists(st.integers(1, 7), min_size=1, max_size=5), st.booleans())
def test_however_lines_are_sliced_the_rows_are_the_same(written, sizes, is_latin):
    data = "\n".join(written).encode("latin-1" if is_latin else "utf-8")
    lines = split_lines(data, "utf-8")
    slices, place, turn = [], 0, 0
    while place < lines.height:
        slices.append(lines.slice(place, sizes[turn % len(sizes)]))
        place, turn = place + slices[-1].height, turn + 1
    found = list(split_slices(slices, ",", WIDTH))
    assert len(found) == len(slices)
    whole = split_cells(lines, ",", WIDTH)
    assert pl.concat([whole.clear(), *found]).equals(whole)
