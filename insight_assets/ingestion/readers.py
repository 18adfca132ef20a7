"""Reading delivered files as text: decompression, identity, and one frame of rows per file.

A reader never interprets a value; it says where each row stood and what was written there. What the values mean is
in `validation`. Which files exist is in `landing.py`.
"""

import gzip
import hashlib
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import zstandard

from insight_assets.contracts.sources import DeliveredColumn, SourceContract

CHUNK = 1 << 20
HASH_DIGITS = 32
_COLUMN_NAME = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w .-]{0,63}")
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
class Delivery:
    """The decompressed bytes of one delivered file.

    Attributes:
        name: file name as landed.
        content_hash: SHA-256 of the decompressed bytes, first 32 hex digits: the identity of the delivery.
        data: the decompressed bytes.
    """

    name: str
    content_hash: str
    data: bytes


def read_delivery(path: Path, *, max_bytes: int) -> Delivery:
    """Decompress a file (gzip and zstd are told by their first bytes) and hash its content.

    Args:
        path: the landed file.
        max_bytes: decompressed size above which it is refused.

    Raises:
        FileRefused: if it cannot be decompressed or is too large.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            stream: Any = file
            if head.startswith(_GZIP):
                stream = gzip.GzipFile(fileobj=file)
            elif head == _ZSTD:
                stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            parts = bytearray()
            while chunk := stream.read(CHUNK):
                parts += chunk
                if len(parts) > max_bytes:
                    message = (
                        f"{path.name}: more than {max_bytes:,} bytes when decompressed; "
                        "split the file or raise INSIGHT_MAX_FILE_BYTES"
                    )
                    raise FileRefused("too_large", message)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        message = f"{path.name}: cannot be decompressed ({type(error).__name__}); deliver it again"
        raise FileRefused("unreadable", message) from error
    data = bytes(parts)
    return Delivery(path.name, hashlib.sha256(data).hexdigest()[:HASH_DIGITS], data)


def read_rows(delivery: Delivery, source: SourceContract) -> pl.DataFrame:
    """Read the rows of a delivery as text.

    Args:
        delivery: the file.
        source: how the source delivers.

    Returns:
        One row per delivered row, in file order: `line` (1-based; a header is line 1) and, for csv, the delivered
        columns under their contract names and `extra` (JSON of columns the contract does not know); for ndjson and
        parquet, `payload` (the row as JSON text).

    Raises:
        FileRefused: if the file is not of the declared format or lacks a required column.
    """
    readers = {"csv": _read_csv, "ndjson": _read_ndjson, "parquet": _read_parquet}
    if delivery.data.startswith(b"PAR1"):
        return _read_parquet(delivery, source)
    return readers[source.format](delivery, source)


def _text(delivery: Delivery, source: SourceContract) -> bytes:
    encoding = source.encoding.lower().replace("_", "-")
    try:
        # utf-8-sig drops a byte order mark, which would otherwise become part of the first column's name.
        text = delivery.data.decode("utf-8-sig" if encoding in {"utf-8", "utf8"} else encoding)
    except UnicodeDecodeError as error:
        message = (
            f"{delivery.name}: not {source.encoding} (byte {error.start}); "
            f"set the encoding in the contract of {source.name} or deliver {source.encoding}"
        )
        raise FileRefused("encoding", message) from error
    return text.encode("utf-8")


def _read_csv(delivery: Delivery, source: SourceContract) -> pl.DataFrame:
    data = _text(delivery, source)
    paths = [column.path for column in source.delivered]
    if not data.strip():
        return _no_rows(source)
    try:
        frame = pl.read_csv(
            io.BytesIO(data),
            has_header=source.header,
            separator=source.delimiter,
            infer_schema=False,
            new_columns=None if source.header else paths,
        )
    except pl.exceptions.NoDataError:
        return _no_rows(source)
    except (pl.exceptions.PolarsError, ValueError) as error:
        message = f"{delivery.name}: not a {source.delimiter!r}-separated file ({type(error).__name__}); see its quoting"
        raise FileRefused("unreadable", message) from error
    _require_columns(delivery, source, frame.columns)
    known = [column for column in source.delivered if column.path in frame.columns]
    others = [name for name in frame.columns if name not in paths]
    extra = pl.struct(others).struct.json_encode() if others else pl.lit(None, dtype=pl.String)
    first = 2 if source.header else 1
    return frame.with_row_index("line", offset=first).select(
        pl.col("line").cast(pl.Int64),
        *(pl.col(column.path).alias(column.name) for column in known),
        *(pl.lit(None, dtype=pl.String).alias(c.name) for c in source.delivered if c not in known),
        extra.alias("extra"),
    )


def _require_columns(delivery: Delivery, source: SourceContract, found: list[str]) -> None:
    missing = [column.path for column in source.delivered if column.required and column.path not in found]
    if missing:
        # A file without its header shows values where names should be, and values may be personal.
        names = [name for name in found if _COLUMN_NAME.fullmatch(name)]
        message = (
            f"{delivery.name}: column {', '.join(missing)} is missing; the file has {len(found)} columns: "
            f"{', '.join(names[:40]) or 'none that looks like a name, is the header missing?'}. "
            f"Deliver the column, or change the contract of {source.name} if it was renamed"
        )
        raise FileRefused("missing_column", message)


def _read_ndjson(delivery: Delivery, source: SourceContract) -> pl.DataFrame:
    data = _text(delivery, source)
    if not data.strip():
        return _no_rows(source)
    lines = pl.DataFrame({"payload": data.decode("utf-8").split("\n")}, schema={"payload": pl.String})
    return (
        lines.with_row_index("line", offset=1)
        .select(pl.col("line").cast(pl.Int64), pl.col("payload").str.strip_chars("\r"))
        .filter(pl.col("payload").str.strip_chars() != "")
    )


def _read_parquet(delivery: Delivery, source: SourceContract) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(io.BytesIO(delivery.data))
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"{delivery.name}: not a readable Parquet file ({type(error).__name__}); deliver it again"
        raise FileRefused("unreadable", message) from error
    if source.format != "csv":
        return frame.select(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("line"),
            pl.struct(pl.all()).struct.json_encode().alias("payload"),
        )
    _require_columns(delivery, source, frame.columns)
    paths = [column.path for column in source.delivered]
    others = [name for name in frame.columns if name not in paths]
    extra = pl.struct(others).struct.json_encode() if others else pl.lit(None, dtype=pl.String)
    return frame.select(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("line"),
        *(
            (pl.col(c.path).cast(pl.String) if c.path in frame.columns else pl.lit(None, dtype=pl.String)).alias(c.name)
            for c in source.delivered
        ),
        extra.alias("extra"),
    )


def _no_rows(source: SourceContract) -> pl.DataFrame:
    return pl.DataFrame(schema={"line": pl.Int64, **{name: pl.String for name in text_columns(source)}})


def text_columns(source: SourceContract) -> list[str]:
    """Names of the text columns in which a source's rows are kept raw."""
    return [*(c.name for c in source.delivered), "extra"] if source.format == "csv" else ["payload"]


def decode_rows(rows: pl.DataFrame, source: SourceContract) -> pl.DataFrame:
    """Give raw rows their delivered columns.

    Args:
        rows: raw rows with the source's text columns.
        source: how the source delivers.

    Returns:
        The rows with every delivered column by its contract name (text, or a list of structs of text for arrays) and
        `malformed`, true where a row is not an object of the declared shape.
    """
    if source.format == "csv":
        return rows.with_columns(malformed=pl.lit(value=False))
    shape = _json_shape(source.delivered)
    good = pl.Series(_decodable(rows["payload"], shape), dtype=pl.Boolean)
    decoded = rows.with_columns(
        pl.when(good).then(pl.col("payload")).otherwise(pl.lit(None)).str.json_decode(shape).alias("_row")
    )
    return decoded.with_columns(
        *(json_field(pl.col("_row"), column.path).alias(column.name) for column in source.delivered), malformed=pl.col("_row").is_null()
    ).drop("_row")


def _decodable(payload: pl.Series, shape: pl.Struct) -> list[bool]:
    """Tell which texts decode; Polars refuses a whole column for one bad line, so the bad ones are found by halving."""
    try:
        payload.str.json_decode(shape)
    except pl.exceptions.ComputeError:
        if len(payload) == 1:
            return [False]
        half = len(payload) // 2
        return _decodable(payload[:half], shape) + _decodable(payload[half:], shape)
    return [True] * len(payload)


def json_field(value: pl.Expr, path: str) -> pl.Expr:
    """Take the field at a dotted path out of a struct."""
    for part in path.split("."):
        value = value.struct.field(part)
    return value


def _json_shape(columns: tuple[DeliveredColumn, ...]) -> pl.Struct:
    tree: dict[str, Any] = {}
    for column in columns:
        *parents, leaf = column.path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = pl.List(_json_shape(column.items)) if column.items else pl.String
    return _to_struct(tree)


def _to_struct(tree: dict[str, Any]) -> pl.Struct:
    return pl.Struct({name: _to_struct(node) if isinstance(node, dict) else node for name, node in tree.items()})
