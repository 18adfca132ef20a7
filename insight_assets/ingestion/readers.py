"""Reading delivered files as text: decompression, identity, and one frame of rows per file.

A reader never interprets a value; it says where each row stood and what was written there. What the values mean is
in `validation`. Which files exist is in `landing.py`.
"""

import codecs
import fnmatch
import gzip
import hashlib
import io
import itertools
import json
import math
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import zstandard

from insight_assets.contracts.paths import field_at, shape_of
from insight_assets.contracts.sources import EPOCHS, CarryDown, DeliveredColumn, SourceContract
from insight_assets.ingestion.archives import ZIP, opened_files
from insight_assets.ingestion.bundles import join_members
from insight_assets.ingestion.encodings import AUTO, KNOWN, guess_encoding, marked_encoding
from insight_assets.ingestion.lines import BROKEN, SIZE_VIOLATION, is_blank, split_header, split_lines, split_slices
from insight_assets.ingestion.parquet_pages import NotParquet, measure_pages

CHUNK = 1 << 20
# A zstd block of four bytes may stand for 128 KiB.
_ZSTD_CHUNK = 1 << 12
_BOMB_BYTES = 100_000_000
# Text of a large file is read in slices of about this many bytes.
SLICE_BYTES = 1 << 25
_CUT = {name for name in KNOWN if "16" not in name} | {"ascii", "iso8859_1", "utf_8", "utf_8_sig"}
_KEPT_OF_A_LINE = 1_000
HASH_DIGITS = 32
_FEW = 2_000
# Share of lines up to which a text is UTF-8 with broken lines.
_FEW_BAD = 0.02
_JSON = json.JSONDecoder()
_DOCUMENT_START = re.compile(r"\s*\[?\s*")
_BETWEEN = re.compile(r"[\s,]*")
_INFINITE = (math.inf, -math.inf)
_COLUMN_NAME = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w .-]{0,63}")
_PACKED = re.compile(r"\.(gz|zst)$")
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class FileRefused(Exception):
    """A whole file that cannot be read; the message says why and what to do.

    Attributes:
        rule: short name of what is wrong, e.g. `unreadable`, `encoding`, `missing_column`.
    """

    def __init__(self, rule: str, message: str) -> None:
        """Keep the rule beside the message."""
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class Limits:
    """What a file may grow to while it is read, beside its size.

    Attributes:
        ratio: decompressed bytes for one delivered byte. Logs written by machines reach 50 and more, so it is far
            above that, and counts only from `_BOMB_BYTES` on: a smaller file does no harm however well it packs.
        rows: rows of a file.
        columns: columns of a file.
        line_bytes: bytes of a line; a longer one is kept in part and quarantined, the rest of its file is read.
        unpacked: bytes that the pages and texts of a Parquet file may unpack to.
    """

    ratio: int = 200
    rows: int = 50_000_000
    columns: int = 2_000
    line_bytes: int = 1_000_000
    unpacked: int = 4_000_000_000


@dataclass(frozen=True)
class Delivery:
    """The decompressed bytes of one delivered file.

    Attributes:
        name: file name as landed.
        content_hash: SHA-256 of the decompressed bytes, first 32 hex digits: the identity of the delivery.
        data: the decompressed bytes; none for an archive.
        files: the files in an archive, by name; its identity is that of their names and contents.
        oversized: lines above the limit to their size in bytes; of these, `data` holds only the beginning.
    """

    name: str
    content_hash: str
    data: bytes
    files: tuple["Delivery", ...] = ()
    oversized: Mapping[int, int] = field(default_factory=dict)


def read_delivery(path: Path, *, max_bytes: int, limits: Limits | None = None) -> Delivery:
    """Decompress a file (gzip and zstd are told by their first bytes) and hash its content.

    Args:
        path: the landed file.
        max_bytes: decompressed size above which it is refused.
        limits: what else it may not exceed.

    Raises:
        FileRefused: if it cannot be decompressed or is too large.
    """
    try:
        with open(path, "rb", opener=_open_no_link) as file:
            allowance = _Allowance(path.name, os.fstat(file.fileno()).st_size, max_bytes, limits or Limits())
            if file.read(len(ZIP)) == ZIP:
                return _read_archive(path.name, file, allowance)
            file.seek(0)
            allowance.check_before(file)
            return _read_stream(path.name, file, allowance)
    except zipfile.BadZipFile as error:
        message = f"{path.name}: not an archive to be read ({error}); deliver it again"
        raise FileRefused("unreadable", message) from error
    except (OSError, EOFError, NotImplementedError, zlib.error, zstandard.ZstdError) as error:
        message = f"{path.name}: cannot be decompressed ({type(error).__name__}); deliver it again"
        raise FileRefused("unreadable", message) from error


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


@dataclass
class _Allowance:
    """Counts what a delivered file unpacks to, and refuses it once that is too much."""

    name: str
    packed: int
    max_bytes: int
    limits: Limits
    unpacked: int = 0
    lines: int = 0

    def take(self, chunk: bytes) -> None:
        self.unpacked += len(chunk)
        self.lines += chunk.count(b"\n")
        if self.unpacked > self.max_bytes:
            message = (
                f"{self.name}: more than {self.max_bytes:,} bytes when decompressed; "
                "split the file or raise INSIGHT_MAX_FILE_BYTES"
            )
            raise FileRefused("too_large", message)
        if self.unpacked > _BOMB_BYTES and self.unpacked > self.limits.ratio * self.packed:
            message = (
                f"{self.name}: unpacks to more than {self.limits.ratio} times its {self.packed:,} bytes; "
                "deliver it unpacked, or raise INSIGHT_MAX_RATIO if it is meant to be so"
            )
            raise FileRefused("bomb", message)

    def check_before(self, file: BinaryIO) -> None:
        """Unpack a file that could grow large once without keeping it, so that refusing it takes no memory."""
        if self.packed * self.limits.ratio > _BOMB_BYTES and file.read(len(_ZSTD)).startswith((_GZIP, _ZSTD)):
            file.seek(0)
            for chunk in _unpacked(file):
                self.take(chunk)
            self.unpacked = self.lines = 0
        file.seek(0)


def _read_archive(name: str, file: BinaryIO, allowance: "_Allowance") -> Delivery:
    files: list[Delivery] = []
    for inner, stream in opened_files(file):
        allowance.name = f"{name}: {inner}"
        files.append(_read_stream(inner, stream, allowance))
    content = "".join(f"{_PACKED.sub('', each.name)}\n{each.content_hash}\n" for each in files)
    return Delivery(name, hashlib.sha256(content.encode()).hexdigest()[:HASH_DIGITS], b"", tuple(files))


def _read_stream(name: str, file: BinaryIO, allowance: "_Allowance") -> Delivery:
    digest, text = hashlib.sha256(), _LineKeeper(allowance.limits.line_bytes)
    for chunk in _unpacked(file):
        allowance.take(chunk)
        digest.update(chunk)
        text.keep(chunk)
    data, oversized = text.kept()
    # What is no text has no lines.
    rows = 0 if data.startswith(_PARQUET) else allowance.lines
    if rows > allowance.limits.rows:
        most = f"more than {allowance.limits.rows:,} lines"
        message = f"{allowance.name}: {most}; split the file or raise INSIGHT_MAX_ROWS"
        raise FileRefused("too_many_rows", message)
    return Delivery(name, digest.hexdigest()[:HASH_DIGITS], data, oversized=oversized)


class _LineKeeper:
    """Keeps the bytes of a file, but of lines above a size only their beginning.

    A line is judged while it comes in, so that one of any length takes no more memory than the limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = io.BytesIO()
        self._oversized: dict[int, int] = {}
        self._line = 1
        self._start = 0
        self._length = 0

    def keep(self, chunk: bytes) -> None:
        if self._data.tell() == 0 and chunk.startswith(_PARQUET):
            self._most = sys.maxsize
        # No piece is longer than a line may be, so that only a line over several pieces can be too long.
        step = max(1, min(self._most, len(chunk)))
        for place in range(0, len(chunk), step):
            self._keep_piece(chunk if step == len(chunk) else chunk[place : place + step])

    def _keep_piece(self, piece: bytes) -> None:
        end = piece.find(b"\n")
        self._length += len(piece) if end < 0 else end
        if self._length > self._most:
            self._oversized[self._line] = self._length
            self._data.write(piece if end < 0 else piece[:end])
            self._data.seek(min(self._data.tell(), self._start + _KEPT_OF_A_LINE))
            self._data.truncate()
            piece = b"" if end < 0 else piece[end:]
        if end >= 0:
            self._line += piece.count(b"\n")
            last = piece.rfind(b"\n")
            self._length = len(piece) - last - 1
            self._start = self._data.tell() + last + 1
        self._data.write(piece)

    def kept(self) -> tuple[bytes, dict[int, int]]:
        return self._data.getvalue(), self._oversized


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(len(_ZSTD))
    file.seek(0)
    if head == _ZSTD:
        yield from _unpacked_zstd(file)
        return
    stream = gzip.GzipFile(fileobj=file) if head.startswith(_GZIP) else file
    while chunk := stream.read(CHUNK):
        yield chunk


def _unpacked_zstd(file: BinaryIO) -> Iterator[bytes]:
    # The stream reader of the library takes the end of a cut file for the end of its content.
    frame = zstandard.ZstdDecompressor().decompressobj()
    while packed := file.read(_ZSTD_CHUNK):
        while packed:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(packed)
            packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        message = "the last frame is cut"
        raise EOFError(message)


def read_rows(delivery: Delivery, source: SourceContract, limits: Limits | None = None) -> pl.DataFrame:
    """Read the rows of a delivery as text.

    Args:
        delivery: the file.
        source: how the source delivers.
        limits: how many rows and columns it may have.

    Returns:
        One row per delivered row, in file order: `line` (in text the line on which the row begins, from 1, a header
        being line 1; in parquet the row) and, for csv, the delivered columns under their contract names, `extra` (JSON
        of columns the contract does not know) and `broken` (the line as delivered, where it has not the cells of its
        header); for ndjson and parquet, `payload` (the row as JSON text).

    Raises:
        FileRefused: if the file is not of the declared format or encoding, or lacks a required column.
    """
    slices = list(read_slices(delivery, source, limits))
    return pl.concat(slices) if slices else _no_rows(source)


def read_slices(
    delivery: Delivery, source: SourceContract, limits: Limits | None = None
) -> Iterator[pl.DataFrame]:
    """Read the rows of a delivery some at a time, so that those of a large file are never all in memory.

    Args:
        delivery: the file.
        source: how the source delivers.
        limits: how many rows and columns it may have.

    Yields:
        Rows as `read_rows` gives them, which are the same however large the slices are. A text that is no records one
        a line, a bundle, a Parquet file, and what a source fills in from other rows of its file come as one.

    Raises:
        FileRefused: as `read_rows`, on the way; what came before it is then of no file that can be read.
    """
    if bool(delivery.files) != bool(source.members):
        wanted = "one archive of its related files" if source.members else "single files, not archives of several"
        message = f"{delivery.name}: {source.name} is delivered as {wanted}"
        raise FileRefused("unreadable", message)
    limits = limits or Limits()
    if source.members:
        yield _read_bundle(delivery, source, limits)
    elif delivery.data.startswith(_PARQUET) or source.format == "parquet":
        yield _read_parquet(delivery, source, limits)
    elif source.format != "csv":
        yield from _read_ndjson(delivery, source)
    elif source.carry_down is None:
        yield from _read_csv(delivery, source, limits)
    else:
        rows = list(_read_csv(delivery, source, limits))
        if rows:
            yield _carry_down(pl.concat(rows), source.carry_down)


def _read_bundle(delivery: Delivery, source: SourceContract, limits: Limits) -> pl.DataFrame:
    """Read the files of a bundle and put their rows together; a bundle is complete or refused whole."""
    found: dict[str, Delivery] = {}
    for file in delivery.files:
        owners = [m.name for m in source.members if m.reads is None and fnmatch.fnmatch(file.name.lower(), m.files)]
        if len(owners) != 1 or owners[0] in found:
            why = "belongs to no member" if not owners else f"is one of several for {', '.join(owners)}"
            message = f"{delivery.name}: {file.name} {why}; take it out, or see files in the contract of {source.name}"
            raise FileRefused("unknown_file", message)
        found[owners[0]] = file
    missing = [m for m in source.members if m.reads is None and not m.optional and m.name not in found]
    if missing:
        wanted = ", ".join(f"{member.name} ({member.files})" for member in missing)
        message = f"{delivery.name}: without {wanted}; deliver the related files together in one archive"
        raise FileRefused("incomplete", message)
    files = {}
    for member in source.members:
        if member.name in found:
            reading = source.of_member(member)
            rows = decode_rows(read_rows(found[member.name], reading, limits), reading)
            if reading.format != "csv":
                broken = pl.when("malformed").then("payload").alias(BROKEN)
                rows = rows.with_columns(broken, extra=pl.lit(None, dtype=pl.String)).drop("payload")
            files[member.name] = rows.drop("malformed")
    return join_members(files, source)


@dataclass(frozen=True)
class _Survey:
    """What the lines of a text are like.

    Attributes:
        lines: all of them.
        filled: those that are not blank.
        bad: those that are not of the encoding.
        first_bad: number of the first of these.
        foreign: those of the encoding that are not ASCII.
    """

    lines: int = 0
    filled: int = 0
    bad: int = 0
    first_bad: int = 0
    foreign: int = 0


class _Text:
    """A text in one encoding, split into lines some at a time.

    Args:
        data: its bytes.
        encoding: Python's name of their encoding.
    """

    def __init__(self, data: bytes, encoding: str) -> None:
        self.encoding = encoding
        self._data = data
        # Only where no byte of a letter is that of a line end, and letters do not depend on what came before.
        can_be_cut = codecs.lookup(encoding).name.replace("-", "_") in _CUT
        self._whole = split_lines(data, encoding) if len(data) <= SLICE_BYTES or not can_be_cut else None

    def slices(self) -> Iterator[pl.DataFrame]:
        """Give lines as `split_lines` does."""
        if self._whole is not None:
            yield self._whole
            return
        line = 0
        for piece in self._pieces():
            lines = split_lines(piece, self.encoding, begins_file=line == 0).with_columns(pl.col("line") + line)
            line += lines.height
            yield lines

    def _pieces(self) -> Iterator[bytes]:
        start = 0
        while start < len(self._data):
            end = self._data.rfind(b"\n", start, start + SLICE_BYTES) + 1 or self._data.find(b"\n", start) + 1
            yield self._data[start : end or len(self._data)]
            start = end or len(self._data)

    @cached_property
    def survey(self) -> _Survey:
        """Look at all lines; `bad` is 0 and nothing else told where all of them are of the encoding."""
        if self._whole is None:
            with suppress(UnicodeDecodeError):
                for piece in self._pieces():
                    piece.decode(self.encoding)
                return _Survey()
        elif not self._whole["undecodable"].any():
            return _Survey()
        seen, text = _Survey(), pl.col("text")
        for lines in self.slices():
            bad = lines.filter("undecodable")
            foreign = lines.filter(~pl.col("undecodable") & (text.str.len_bytes() > text.str.len_chars())).height
            seen = _Survey(
                seen.lines + lines.height,
                seen.filled + lines.filter(~is_blank(text)).height,
                seen.bad + bad.height,
                seen.first_bad or (bad["line"][0] if bad.height else 0),
                seen.foreign + foreign,
            )
        return seen


def _lines(delivery: Delivery, source: SourceContract) -> Iterator[pl.DataFrame]:
    """Split a text file into lines; lines that are not of the encoding are kept, unless they are half of all."""
    encoding, text = source.encoding, None
    if encoding == AUTO:
        encoding = marked_encoding(delivery.data)
        if encoding is None:
            text = _Text(delivery.data, "utf-8")
            encoding = _other_encoding(delivery.data, text.survey) or "utf-8"
    advice = f"set the encoding in the contract of {source.name} or deliver {encoding}"
    if delivery.data[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} and "16" not in encoding:
        message = f"{delivery.name}: written in UTF-16, not in {encoding}; {advice}"
        raise FileRefused("encoding", message)
    try:
        text = text if text is not None and text.encoding == encoding else _Text(delivery.data, encoding)
    except UnicodeDecodeError as error:
        message = f"{delivery.name}: not {encoding} (byte {error.start}); {advice}"
        raise FileRefused("encoding", message) from None
    seen = text.survey
    if seen.bad and seen.bad >= seen.filled / 2:
        where = f"{seen.bad} lines, the first of them line {seen.first_bad}"
        message = f"{delivery.name}: not {encoding} ({where}); {advice}"
        raise FileRefused("encoding", message)
    for lines in text.slices():
        yield _mark_oversized(delivery, lines, encoding)


def _other_encoding(data: bytes, seen: _Survey) -> str | None:
    """Give the encoding of lines that are no UTF-8; None where they are single broken lines, or nobody can tell."""
    return guess_encoding(data) if seen.bad > max(seen.foreign, _FEW_BAD * seen.lines) else None


def _mark_oversized(delivery: Delivery, lines: pl.DataFrame, encoding: str) -> pl.DataFrame:
    if not delivery.oversized:
        return lines
    if "\n".encode(encoding) != b"\n":
        message = f"{delivery.name}: a line is too long to be read in {encoding}; deliver UTF-8"
        raise FileRefused("size_violation", message)
    sizes = pl.DataFrame(list(delivery.oversized.items()), schema={"line": pl.Int64, "size": pl.Int64}, orient="row")
    told = pl.format(SIZE_VIOLATION + ": a line of {} bytes that begins {}", "size", "text")
    return lines.join(sizes, on="line", how="left", maintain_order="left").select(
        "line",
        pl.when(pl.col("size").is_null()).then("text").otherwise(told).alias("text"),
        pl.col("undecodable") | pl.col("size").is_not_null(),
    )


def _read_csv(delivery: Delivery, source: SourceContract, limits: Limits) -> Iterator[pl.DataFrame]:
    slices = _lines(delivery, source)
    names = [column.path for column in source.delivered]
    if source.header:
        for first in slices:
            filled = first.filter(~is_blank(pl.col("text")))
            if filled.height:
                names = split_header(filled["text"][0], source.delimiter)
                _refuse_columns(delivery, len(names), limits)
                _require_columns(delivery, source, names)
                slices = itertools.chain([first.filter(pl.col("line") > filled["line"][0])], slices)
                break
        else:
            return
    # Of several columns with one name the first counts; the others are kept beside it under names of their own.
    unique = [name if name not in names[:place] else f"{name}#{place}" for place, name in enumerate(names)]
    known = {column.path: column.name for column in source.delivered if column.path in unique}
    others = [pl.col(f"cell_{place}").alias(name) for place, name in enumerate(unique) if name not in known]
    extra = pl.struct(others).struct.json_encode() if others else pl.lit(None, dtype=pl.String)
    cells = {known[name]: pl.col(f"cell_{place}") for place, name in enumerate(unique) if name in known}
    found = whole = 0
    for rows in split_slices(slices, source.delimiter, len(names)):
        found, whole = found + rows.height, whole + rows[BROKEN].null_count()
        yield rows.select(
            "line",
            *(cells.get(column.name, pl.lit(None, dtype=pl.String)).alias(column.name) for column in source.delivered),
            pl.when(pl.col(BROKEN).is_null()).then(extra).alias("extra"),
            BROKEN,
        )
    if found and not whole:
        message = (
            f"{delivery.name}: none of {found} lines has {len(names)} cells between {source.delimiter!r}; "
            f"see its quoting, and delimiter and header in the contract of {source.name}"
        )
        raise FileRefused("unreadable", message)


def _refuse_columns(delivery: Delivery, columns: int, limits: Limits) -> None:
    if columns > limits.columns:
        message = (
            f"{delivery.name}: {columns:,} columns, more than {limits.columns:,}; "
            "deliver fewer or raise INSIGHT_MAX_COLUMNS"
        )
        raise FileRefused("too_many_columns", message)


def _carry_down(rows: pl.DataFrame, rule: CarryDown) -> pl.DataFrame:
    """Give every row of a group what only its first row says."""
    empty = {name: is_blank(pl.col(name)).fill_null(value=True) for name in rule.columns}
    return rows.with_columns(
        pl.when(empty[name] & pl.col(rule.by).is_not_null())
        .then(pl.col(name).filter(~empty[name]).first().over(rule.by))
        .otherwise(pl.col(name))
        .alias(name)
        for name in rule.columns
    )


def _require_columns(delivery: Delivery, source: SourceContract, found: list[str]) -> None:
    missing = [column.path for column in source.delivered if column.required and column.path not in found]
    if missing:
        # A file without its header shows values where names should be, and values may be personal.
        is_header = any(column.path in found for column in source.delivered)
        told = ", ".join(name for name in found if _COLUMN_NAME.fullmatch(name)) if is_header else ""
        message = (
            f"{delivery.name}: column {', '.join(missing)} is missing; the file has {len(found)} columns: "
            f"{told or 'none with a name of the contract, is the header missing?'}. "
            f"Deliver the column, or change the contract of {source.name} if it was renamed"
        )
        raise FileRefused("missing_column", message)


def _read_ndjson(delivery: Delivery, source: SourceContract) -> Iterator[pl.DataFrame]:
    slices = (lines.filter(~is_blank(pl.col("text"))) for lines in _lines(delivery, source))
    for first in slices:
        if first.height:
            break
    else:
        return
    if _begins_document(first["text"][0]):
        lines = pl.concat([first, *slices])
        documents = _read_documents(lines["text"])
        yield lines.select("line", payload="text") if documents is None else documents
        return
    for lines in itertools.chain([first], slices):
        yield lines.select("line", payload="text")


def _begins_document(line: str) -> bool:
    """Tell whether a line begins an array, or an object that goes on in the next line."""
    return line.strip().startswith(("[", "{")) and _object_at(line.strip(), 0) is None


def _read_documents(lines: pl.Series) -> pl.DataFrame | None:
    """Take the objects out of one JSON array, or out of objects each written over several lines.

    Args:
        lines: the lines of the file that are not blank; the first begins a document.

    Returns:
        One row per object: `line`, its place from 1, and `payload`, on one line. What stands between an object that
        cannot be read and the next one that begins like the first is a row too. None if the file is no such document,
        but objects one a line.
    """
    text = "\n".join(lines)
    place = _DOCUMENT_START.match(text).end()
    if _object_at(text, place) is None:
        return None
    indent = text[:place].rpartition("\n")[2]
    begins = re.compile("\n" + ("" if "[" in indent else indent) + r"\{")
    found = []
    while (place := _BETWEEN.match(text, place).end()) < len(text):
        end = _object_at(text, place)
        if end is None:
            following = begins.search(text, place)
            end = len(text) if following is None else following.start()
        found.append(text[place:end])
        place = end
    # The bracket that ends the array.
    found = [each for each in found if each.strip() != "]"]
    # Line breaks within JSON stand between its values only, where a space says the same.
    payload = pl.Series(found, dtype=pl.String).str.replace_all("\n", " ", literal=True)
    return pl.DataFrame({"line": pl.int_range(1, len(found) + 1, dtype=pl.Int64, eager=True), "payload": payload})


def _object_at(text: str, place: int) -> int | None:
    """Find where the JSON object that begins at a place ends; None where there is none."""
    if not text.startswith("{", place):
        return None
    try:
        return _JSON.raw_decode(text, place)[1]
    except (ValueError, RecursionError):
        return None


def _read_parquet(delivery: Delivery, source: SourceContract, limits: Limits) -> pl.DataFrame:
    try:
        _check_pages(delivery, limits)
        frame = pl.read_parquet(io.BytesIO(delivery.data))
        # A long text that is repeated stands in its file once, and in memory too until it is written out.
        texts = (_text_bytes(pl.col(name), dtype).sum().alias(name) for name, dtype in frame.schema.items())
        _refuse_unpacked(delivery, sum(frame.select(texts).row(0)), limits)
        line = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("line")
        if source.format != "csv":
            return frame.select(line, pl.struct(pl.all()).struct.json_encode().alias("payload"))
        _require_columns(delivery, source, frame.columns)
        paths = [column.path for column in source.delivered]
        others = [name for name in frame.columns if name not in paths]
        extra = pl.struct(others).struct.json_encode() if others else pl.lit(None, dtype=pl.String)
        return frame.select(
            line,
            *(_as_text(frame, column.path, source).alias(column.name) for column in source.delivered),
            extra.alias("extra"),
            pl.lit(None, dtype=pl.String).alias(BROKEN),
        )
    except NotParquet as error:
        message = f"{delivery.name}: not a readable Parquet file: {error}; deliver it again"
        raise FileRefused("unreadable", message) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        message = f"{delivery.name}: not a readable Parquet file ({type(error).__name__}); deliver it again"
        raise FileRefused("unreadable", message) from error


def _check_pages(delivery: Delivery, limits: Limits) -> None:
    """Refuse by what footer and page headers of a Parquet file say of it, before any of it is decoded."""
    told = measure_pages(delivery.data)
    _refuse_columns(delivery, told.columns, limits)
    if told.rows > limits.rows:
        message = f"{delivery.name}: more than {limits.rows:,} rows; split the file or raise INSIGHT_MAX_ROWS"
        raise FileRefused("too_many_rows", message)
    # Columns of one repeated value pack without bound, and are as large as any other once they are text.
    _refuse_unpacked(delivery, max(told.cells, told.rows * told.columns, told.bytes), limits)


def _refuse_unpacked(delivery: Delivery, unpacked: int, limits: Limits) -> None:
    if unpacked > limits.unpacked:
        message = (
            f"{delivery.name}: more than {limits.unpacked:,} bytes when unpacked; "
            "split the file or raise INSIGHT_MAX_FILE_BYTES"
        )
        raise FileRefused("too_large", message)
    if unpacked > _BOMB_BYTES and unpacked > limits.ratio * len(delivery.data):
        message = (
            f"{delivery.name}: unpacks to more than {limits.ratio} times its {len(delivery.data):,} bytes; "
            "deliver it as csv, or raise INSIGHT_MAX_RATIO if it is meant to be so"
        )
        raise FileRefused("bomb", message)


def _text_bytes(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Add up the bytes of the texts within a value, without making any of them."""
    none = pl.lit(0, dtype=pl.UInt64)
    if isinstance(dtype, pl.Struct):
        parts = [_text_bytes(value.struct.field(field.name), field.dtype) for field in dtype.fields]
        return pl.sum_horizontal(none, *parts)
    if isinstance(dtype, pl.List | pl.Array):
        items = value.list if isinstance(dtype, pl.List) else value.arr.to_list().list
        return items.eval(_text_bytes(pl.element(), dtype.inner)).list.sum().fill_null(0).cast(pl.UInt64)
    if dtype == pl.String:
        return value.str.len_bytes().fill_null(0).cast(pl.UInt64)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return value.cat.len_bytes().fill_null(0).cast(pl.UInt64)
    if dtype == pl.Binary:
        return value.bin.size().fill_null(0).cast(pl.UInt64)
    return none


def _as_text(frame: pl.DataFrame, path: str, source: SourceContract) -> pl.Expr:
    """Write a Parquet column as a csv of the source would, times in the source's format; null where it is absent."""
    dtype = frame.schema.get(path)
    if dtype is None:
        return pl.lit(None, dtype=pl.String)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None and source.time_format == "iso":
        return pl.col(path).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z")
    if isinstance(dtype, pl.Datetime | pl.Date) and source.time_format in EPOCHS:
        moment = pl.col(path).cast(pl.Datetime("us", dtype.time_zone if isinstance(dtype, pl.Datetime) else None))
        return (moment.dt.epoch("us") // EPOCHS[source.time_format]).cast(pl.String)
    if dtype.is_temporal() and source.time_format != "iso":
        return pl.col(path).dt.strftime(source.time_format)
    return pl.col(path).cast(pl.String)


def _no_rows(source: SourceContract) -> pl.DataFrame:
    return pl.DataFrame(schema={"line": pl.Int64, **dict.fromkeys(text_columns(source), pl.String)})


def text_columns(source: SourceContract) -> list[str]:
    """Names of the text columns in which a source's rows are kept raw."""
    in_columns = source.format in {"csv", "bundle"}
    return [*(c.name for c in source.delivered), "extra", BROKEN] if in_columns else ["payload"]


def decode_rows(
    rows: pl.DataFrame, source: SourceContract, *, columns: Collection[str] | None = None
) -> pl.DataFrame:
    """Give raw rows their delivered columns.

    Args:
        rows: raw rows with the source's text columns.
        source: how the source delivers.
        columns: delivered columns that are wanted; None means all. Few are decoded in a fraction of the time.

    Returns:
        The rows with the wanted columns by their contract names (text, or a list of structs of text for arrays) and
        `malformed`, true where a row is no line of so many cells, or no object of the shape of the wanted columns.
    """
    if source.format in {"csv", "bundle"}:
        return rows.with_columns(malformed=pl.col(BROKEN).is_not_null())
    wanted = tuple(column for column in source.delivered if columns is None or column.name in columns)
    decoded = _decode(rows["payload"], _json_shape(wanted)).select(
        *(field_at(pl.col("row"), column.path).alias(column.name) for column in wanted),
        malformed=pl.col("row").is_null(),
    )
    return rows.with_columns(decoded)


def _decode(payload: pl.Series, shape: pl.Struct) -> pl.DataFrame:
    """Decode JSON objects, one a text.

    Returns:
        The column `row`, null where a text is no object of that shape.
    """
    # Lines are handed to the reader of NDJSON: `json_decode` would join all texts into one array, in which a text like
    # `{},{}` is two rows. What that reader would skip or split is kept from it.
    whole = ~is_blank(pl.col("text")) & ~pl.col("text").str.contains("\n", literal=True)
    good = payload.alias("text").to_frame().select(whole.fill_null(value=False)).to_series()
    texts = payload if good.all() else payload.filter(good)
    rows = _parse(texts, shape)
    # It also writes an object or array where text is wanted as JSON text. Text may begin with a bracket, so look again.
    odd = rows.to_frame("row").select(_starts_nested(pl.col("row"), shape)).to_series().fill_null(value=False)
    if odd.any():
        fits = iter([_fits_text(text, shape) for text in texts.filter(odd)])
        kept = pl.Series([not is_odd or next(fits) for is_odd in odd], dtype=pl.Boolean)
        rows = rows.to_frame("row").select(pl.when(kept).then(pl.col("row"))).to_series()
    if len(rows) < len(payload):
        rows = rows.gather(pl.select(pl.when(good).then(good.cast(pl.UInt32).cum_sum() - 1)).to_series())
    return rows.to_frame("row")


def _starts_nested(value: pl.Expr, shape: pl.DataType) -> pl.Expr:
    """Tell whether a text within a decoded value begins as JSON objects and arrays do."""
    if isinstance(shape, pl.Struct):
        return pl.any_horizontal(_starts_nested(value.struct.field(field.name), field.dtype) for field in shape.fields)
    if isinstance(shape, pl.List):
        return value.list.eval(_starts_nested(pl.element(), shape.inner)).list.any()
    return value.str.starts_with("{") | value.str.starts_with("[")


def _parse(texts: pl.Series, shape: pl.Struct, *, suspicious: bool = True) -> pl.Series:
    """Parse lines of JSON; null where one cannot be.

    Polars refuses all for one bad line. Bad ones are therefore found by halving and, among few that are suspicious, by
    Python's parser, which is slower than Polars on many lines and faster on one.
    """
    if texts.is_empty():
        return pl.Series(dtype=shape)
    lines = io.BytesIO()
    texts.alias("text").to_frame().write_csv(lines, include_header=False, quote_style="never")
    lines.seek(0)
    try:
        rows = pl.read_ndjson(lines, schema=dict(shape.to_schema())).to_struct()
    except pl.exceptions.PolarsError:
        rows = None
    if rows is not None and len(rows) == len(texts):
        return rows
    if len(texts) == 1:
        return pl.Series([None], dtype=shape)
    if suspicious and len(texts) <= _FEW:
        good = pl.Series([_fits_text(text, shape) for text in texts], dtype=pl.Boolean)
        place = pl.select(pl.when(good).then(good.cast(pl.UInt32).cum_sum() - 1)).to_series()
        return _parse(texts.filter(good), shape, suspicious=False).gather(place)
    half = len(texts) // 2
    return pl.concat([_parse(part, shape, suspicious=suspicious) for part in (texts[:half], texts[half:])])


def _fits_text(text: str, shape: pl.Struct) -> bool:
    """Tell whether a line looks like an object of that shape; whatever this refuses, `_decode` refuses."""
    try:
        # Of equal names Polars takes the first.
        value = json.loads(text, object_pairs_hook=lambda pairs: dict(reversed(pairs)), parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        return True
    return value is not None and _fits(value, shape)


def _refuse_constant(name: str) -> None:
    raise json.JSONDecodeError(name, name, 0)


def _fits(value: Any, shape: pl.DataType) -> bool:
    if value is None:
        return True
    if isinstance(shape, pl.Struct):
        return isinstance(value, dict) and all(_fits(value.get(field.name), field.dtype) for field in shape.fields)
    if isinstance(shape, pl.List):
        return isinstance(value, list) and all(_fits(item, shape.inner) for item in value)
    return not isinstance(value, dict | list) and value not in _INFINITE


def _json_shape(columns: tuple[DeliveredColumn, ...]) -> pl.Struct:
    return shape_of({c.path: {f.path: None for f in c.items} if c.items else None for c in columns})
