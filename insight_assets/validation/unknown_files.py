"""An unknown file as columns of text: its format, encoding, delimiter, header, and what each column seems to hold.

Looks at a sample from the beginning of one file and interprets no name; which column is the customer is in `proposals`.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from insight_assets.contracts.sources import DEFAULTS, EPOCHS, Format, SourceContract
from insight_assets.ingestion.lines import is_blank, split_cells, split_header, split_lines
from insight_assets.ingestion.readers import Delivery, FileRefused, read_rows
from insight_assets.ingestion.times import parse_time

SAMPLE = 5_000
ENCODINGS = ("utf-8", "gb18030", "cp1252")
DELIMITERS = (",", ";", "\t", "|")
TIME_FORMATS = (
    "iso", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d",
    "%Y-%m-%d %H", "%Y%m%d", "%Y年%m月%d日",
)  # fmt: skip
# Of the bytes of a text only so many are looked at; a sample never needs more.
_HEAD = 4_000_000
_MOST = 0.8
_READING = {name: default for name, default in DEFAULTS.items() if name != "source"}
_BARE = SourceContract(
    **{**_READING, "format": "ndjson", "time_column": ""}, name="unknown", version="0.0.0", description="", owner="",
    delivered=(), mappings=(), path=Path("unknown"),
)  # fmt: skip


@dataclass(frozen=True)
class UnknownColumn:
    """One column of the sample.

    Attributes:
        path: as a contract names it: a csv column, or a path into an object.
        within: path of the list whose elements hold it; None for a plain column.
        texts: what is written, null where nothing is; one a row, or for elements of a list one an element.
        kind: `time`, `integer`, `decimal`, `boolean`, `text` or `empty`.
        time_format: how times are written; None for other kinds.
        has_offset: whether times say their offset from UTC, as counts since 1970 do.
    """

    path: str
    within: str | None
    texts: pl.Series
    kind: str
    time_format: str | None = None
    has_offset: bool = False

    @property
    def filled(self) -> float:
        """Share of rows that hold a value."""
        return 1 - self.texts.null_count() / len(self.texts) if len(self.texts) else 0.0

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value, and each another one."""
        return len(self.texts) > 0 and self.texts.null_count() == 0 and self.texts.is_unique().all()


@dataclass(frozen=True)
class UnknownFile:
    """What a file seems to be.

    Attributes:
        name: file name.
        format: how it is written.
        encoding: of text.
        delimiter: of csv.
        header: whether csv begins with names.
        rows: rows of the sample.
        columns: in the order of the file.
    """

    name: str
    format: Format
    encoding: str
    delimiter: str
    header: bool
    rows: int
    columns: tuple[UnknownColumn, ...]


def look_into(delivery: Delivery) -> UnknownFile:
    """Find out how a file is written and what its columns hold.

    Args:
        delivery: the decompressed file.

    Raises:
        FileRefused: if it is a zip archive, holds no row, or is no text, JSON or Parquet.
    """
    if delivery.data.startswith(b"PK\x03\x04"):
        message = f"{delivery.name}: a zip archive of several files; give the files one by one"
        raise FileRefused("archive", message)
    if delivery.data.startswith(b"PAR1"):
        return _objects(delivery, "parquet", "utf-8")
    encoding = _encoding(delivery)
    head = delivery.data.decode(encoding, "replace").lstrip("\ufeff \t\r\n")[:1]
    return _objects(delivery, "ndjson", encoding) if head in ("{", "[") else _table(delivery, encoding)


def _encoding(delivery: Delivery) -> str:
    if delivery.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in delivery.data[:_HEAD]:
        message = f"{delivery.name}: neither text nor Parquet; deliver csv, JSON or Parquet"
        raise FileRefused("unreadable", message)
    # A sample may end within a character; whole lines do not.
    sample = delivery.data[:_HEAD].rpartition(b"\n")[0] or delivery.data[:_HEAD]
    for encoding in ENCODINGS:
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Any two bytes above 127 may be a Chinese character: believe only what is mostly common ones.
        if encoding != "gb18030" or _is_chinese(text):
            return encoding
    return "latin-1"


def _is_chinese(text: str) -> bool:
    beyond = re.findall(r"[^\x00-\x7f]", text)
    return sum("\u4e00" <= each <= "\u9fff" or each in "，。：；（）、" for each in beyond) > len(beyond) * _MOST


def _table(delivery: Delivery, encoding: str) -> UnknownFile:
    lines = split_lines(delivery.data[:_HEAD], encoding)
    filled = lines.filter(~is_blank(pl.col("text")) & ~pl.col("undecodable")).head(SAMPLE + 1)
    if filled.is_empty():
        message = f"{delivery.name}: holds no row; nothing can be proposed"
        raise FileRefused("empty", message)
    delimiter = _delimiter(filled["text"].head(200))
    first = split_header(filled["text"][0], delimiter)
    body = split_cells(filled.slice(1), delimiter, len(first))
    cells = [body[f"cell_{place}"] for place in range(len(first))]
    header = _is_header(first, cells)
    if not header:
        body = split_cells(filled, delimiter, len(first))
        cells = [body[f"cell_{place}"] for place in range(len(first))]
    names = first if header else [f"column_{place}" for place in range(1, len(first) + 1)]
    whole = body["broken"].is_null()
    columns = tuple(_column(name, None, cell.filter(whole)) for name, cell in zip(names, cells, strict=True) if name)
    return UnknownFile(delivery.name, "csv", encoding, delimiter, header, int(whole.sum()), columns)


def _delimiter(lines: pl.Series) -> str:
    """Choose what cuts most lines into the same number of cells, and then into most."""

    def regular(delimiter: str) -> tuple[float, int]:
        widths = pl.Series([len(cells) for cells in csv.reader(lines.to_list(), delimiter=delimiter)])
        usual = widths.mode().max()
        return ((widths == usual).mean() if usual > 1 else 0.0), usual

    return max(DELIMITERS, key=regular)


def _is_header(first: list[str], cells: list[pl.Series]) -> bool:
    """Tell names from values: no name is a number or a time, and none stands below itself."""
    if len(set(first)) < len(first) or any(_kind(pl.Series([name]))[0] not in ("text", "empty") for name in first):
        return False
    return not any(name and (cell == name).any() for name, cell in zip(first, cells, strict=True))


def _objects(delivery: Delivery, kind: Format, encoding: str) -> UnknownFile:
    payloads = read_rows(delivery, replace(_BARE, format=kind, encoding=encoding))["payload"].head(SAMPLE)
    rows = [row for row in map(_parse, payloads) if isinstance(row, dict)]
    if not rows:
        message = f"{delivery.name}: holds no JSON object; nothing can be proposed"
        raise FileRefused("empty", message)
    single = _single_lists(rows)
    plain: dict[str, list[str | None]] = {}
    listed: dict[tuple[str, str], list[str | None]] = {}
    for place, row in enumerate(rows):
        for within, path, text in _values(row, "", single):
            if within is None:
                plain.setdefault(path, [None] * len(rows))[place] = text
            else:
                listed.setdefault((within, path), []).append(text)
    columns = [_column(path, None, pl.Series(texts, dtype=pl.String)) for path, texts in plain.items()]
    columns += [_column(path, within, pl.Series(texts, dtype=pl.String)) for (within, path), texts in listed.items()]
    return UnknownFile(delivery.name, kind, encoding, ",", True, len(rows), tuple(columns))


def _parse(payload: str) -> object:
    try:
        return json.loads(payload, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None


def _single_lists(rows: list[dict[str, Any]]) -> frozenset[str]:
    """Name the lists of objects, outermost only, that never hold more than one."""
    most: dict[str, int] = {}

    def measure(value: object, path: str) -> None:
        if isinstance(value, dict):
            for name, child in value.items():
                measure(child, f"{path}.{name}" if path else name)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            most[path] = max(most.get(path, 0), len(value))

    for row in rows:
        measure(row, "")
    return frozenset(path for path, length in most.items() if length == 1)


def _values(value: object, path: str, single: frozenset[str]) -> Iterator[tuple[str | None, str, str | None]]:
    """Give each value of an object: the list that holds it or None, its path there, and its text."""
    if isinstance(value, Mapping):
        for name, child in value.items():
            # What the grammar of paths gives a meaning cannot be named.
            if name and not re.search(r"[.\[\]]", name):
                yield from _values(child, f"{path}.{name}" if path else name, single)
    elif isinstance(value, list):
        objects = [each for each in value if isinstance(each, dict)]
        if objects and all(each.keys() >= {"key", "value"} for each in objects):
            for each in objects:
                yield from _values(each["value"], f"{path}[key={each['key']}].value", single)
        elif objects and path in single:
            yield from _values(objects[0], f"{path}[0]", single)
        elif objects:
            for each in objects:
                yield from ((path, inner, text) for outer, inner, text in _values(each, "", single) if outer is None)
        elif value and not isinstance(value[0], list):
            yield from _values(value[0], f"{path}[0]", single)
    elif value is not None:
        yield None, path, str(value).lower() if isinstance(value, bool) else str(value)


def _column(path: str, within: str | None, texts: pl.Series) -> UnknownColumn:
    texts = pl.select(pl.when(~is_blank(texts)).then(texts.str.strip_chars())).to_series()
    return UnknownColumn(path, within, texts, *_kind(texts.drop_nulls()))


def _kind(texts: pl.Series) -> tuple[str, str | None, bool]:
    """Tell what most texts are: the kind, and for times how they are written and whether with an offset."""
    if texts.is_empty():
        return "empty", None, False

    def share(test: pl.Expr) -> float:
        return texts.to_frame("text").select(test.fill_null(value=False).mean()).item()

    text = pl.col("text")
    number = text.str.contains(r"^[+-]?\d+(?:\.\d+)?$")
    if share(text.str.to_lowercase().is_in(["true", "false"])) >= _MOST:
        return "boolean", None, False
    if share(number) >= _MOST:
        value = text.cast(pl.Float64, strict=False)
        for name, microseconds in EPOCHS.items():
            seconds = value * microseconds / 1_000_000
            # From 1990 to 2040: counts of days or of cents are smaller.
            if share(number & seconds.is_between(631_152_000, 2_208_988_800)) >= _MOST:
                return "time", name, True
        if share(text.str.contains(r"^(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")) >= _MOST:
            return "time", "%Y%m%d", False
        return ("integer" if share(text.str.contains(r"^[+-]?\d+$")) >= _MOST else "decimal"), None, False
    best = max(TIME_FORMATS, key=lambda each: share(_as_time(each).is_not_null()))
    if share(_as_time(best).is_not_null()) >= _MOST:
        return "time", best, share(text.str.contains(r"\d(?:[zZ]|\s?UTC|\s?[+-]\d{2}:?\d{2})$")) >= _MOST
    return "text", None, False


def _as_time(time_format: str) -> pl.Expr:
    return parse_time(pl.col("text"), replace(_BARE, time_format=time_format), shop_timezone="UTC")
