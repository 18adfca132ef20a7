"""The lake: Delta tables whose partitions are replaced whole, and the hash of what a partition holds.

Knows contracts and files, not assets: no Dagster, no clock. How a run records what it wrote is in `io_managers.py`.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from insight_assets.contracts.types import Contract, ContractError
from insight_assets.disk_room import telling_of_full_disk

BYTES_PER_COMMIT = 250_000_000
HASH_DIGITS = 32
DIGITS_OF_INT64 = 18
VALUES_AT_ONCE = 16_000_000
"""Values hashed at a time, so that a large table is not held twice."""

_WRITTEN_BY = "written by contract "


class _ReadableTable(DeltaTable):
    """A table whose files Polars finds wherever the lake lies.

    deltalake writes local paths as in a URL, and Polars opens them as they are written: below a folder with a space or
    with other than plain letters in its name no file was found.
    """

    def file_uris(self, *arguments: Any, **options: Any) -> list[str]:
        """Give the files as the operating system calls them."""
        return [unquote(path) for path in super().file_uris(*arguments, **options)]

    @property
    def table_uri(self) -> str:
        """The folder as the operating system calls it."""
        return unquote(super().table_uri)


@dataclass(frozen=True)
class DailyFrames:
    """The frames of a run over several partitions, each made only when it is written, so that memory stays flat."""

    frame_of: Callable[[date], pl.LazyFrame | pl.DataFrame]


@dataclass(frozen=True)
class Partition:
    """One written partition.

    Attributes:
        key: its key.
        rows: number of its rows.
        content_hash: hash of them.
        nulls: column to the number of rows without a value, columns without any left out.
    """

    key: date
    rows: int
    content_hash: str
    nulls: Mapping[str, int] = field(default_factory=dict, compare=False)


def hash_frame(frame: pl.DataFrame | pl.LazyFrame, contract: Contract) -> str:
    """Hash the content of one partition, whatever the order of its rows.

    Args:
        frame: rows of one partition with the contract's columns; of a lazy frame, few columns are held at a time.
        contract: names the key by which the rows are ordered.

    Returns:
        First 32 hex digits of the SHA-256 over names, types and values, column by column in the contract's order.
    """
    digest, rows = hashlib.sha256(), frame.lazy()
    keys, schema = rows.select(contract.primary_key).collect(), rows.collect_schema()
    order = None
    if not _ascending(keys, contract):
        order = keys.with_row_index("place").sort(contract.primary_key, maintain_order=True)["place"]

    def read(names: Sequence[str]) -> pl.DataFrame:
        held = rows.select(names).collect()
        # In pieces, each expression on a column costs several times as much.
        return held.rechunk() if order is None else held[order]

    names = contract.polars_schema().names()
    for name in names:
        digest.update(f"{name} {schema[name]} {keys.height}\n".encode())
    _hash_values(read, {name: schema[name] for name in names}, digest, at_once=1 + VALUES_AT_ONCE // (1 + keys.height))
    return digest.hexdigest()[:HASH_DIGITS]


def _hash_values(
    read: Callable[[Sequence[str]], pl.DataFrame],
    schema: Mapping[str, pl.DataType],
    digest: "hashlib._Hash",
    *,
    at_once: int,
) -> None:
    # Never the Arrow buffers themselves: below a null they hold any bytes, and an all-valid mask may be there or not.
    # Many columns a pass, since a day of a small shop is dear in calls, not in rows.
    numbers: dict[str, list[pl.Expr]] = {}
    texts: dict[str, pl.Expr] = {}
    for name, dtype in schema.items():
        value = pl.col(name)
        if isinstance(dtype, pl.List):
            number = value.list.len().fill_null(0)
        elif dtype == pl.String or (isinstance(dtype, pl.Decimal) and dtype.precision > DIGITS_OF_INT64):
            text = value.cast(pl.String).fill_null("")
            number, texts[name] = text.str.len_bytes(), text.str.join("")
        elif isinstance(dtype, pl.Decimal):
            number = value.to_physical().cast(pl.Int64).fill_null(0)
        elif dtype == pl.Boolean:
            number = value.cast(pl.UInt8).fill_null(0)
        else:
            number = value.to_physical().fill_null(0)
        numbers[name] = [value.is_null().cast(pl.UInt8).alias(f"{name} null"), number]
    for names in _some(list(numbers), at_once):
        # The streaming engine would give pieces, which are then copied to be put together.
        ready = read(names).lazy().select(each for name in names for each in numbers[name])
        for column in ready.collect(engine="in-memory").iter_columns():
            digest.update(column.to_numpy())
    for names in _some(list(texts), at_once):
        for text in read(names).select(texts[name] for name in names).row(0):
            digest.update(text.encode())
    for name in (name for name, dtype in schema.items() if isinstance(dtype, pl.List)):
        items = read([name]).select(pl.col(name).filter(pl.col(name).list.len() > 0).explode())
        _hash_values(items.select, items.schema, digest, at_once=1)


def _some(names: Sequence[str], at_once: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), at_once):
        yield names[first : first + at_once]


def sort_rows(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Order rows by the primary key, so that equal content has equal bytes."""
    # Polars would copy a wide frame to find it in the order that it had.
    return frame if _ascending(frame, contract) else frame.sort(contract.primary_key, maintain_order=True)


def _ascending(frame: pl.DataFrame, contract: Contract) -> bool:
    """Whether the first column of the primary key alone puts the rows in strict order."""
    leading = frame[contract.primary_key[0]]
    return (leading[1:] > leading[:-1]).all(ignore_nulls=False) is True


def _nulls(frame: pl.DataFrame) -> dict[str, int]:
    # Arrow counts them in its masks, without a look at the values.
    counts = zip(frame.columns, frame.null_count().row(0), strict=True)
    return {name: count for name, count in counts if count}


def _version_at(table: DeltaTable, moment: datetime) -> int | None:
    milliseconds = int(moment.timestamp() * 1000)
    return max((each["version"] for each in table.history() if each["timestamp"] <= milliseconds), default=None)


def _demand_readable(table: DeltaTable, contract: Contract) -> None:
    """Refuse a table that newer code wrote: what its columns mean now is not known here."""
    description = table.metadata().description or ""
    written = description.removeprefix(_WRITTEN_BY)
    if description.startswith(_WRITTEN_BY) and _major(written) > _major(contract.version):
        message = (
            f"table {contract.name} was written by version {written} of its contract, and this code knows "
            f"{contract.version}. Next: run the newer code, or move {table.table_uri} away and build again"
        )
        raise ContractError(message, contract.path)


def bytes_of(frame: pl.DataFrame) -> int:
    """Estimate the memory of a frame; Polars leaves out the place that each text has beside its letters."""
    texts = sum(dtype == pl.String for dtype in frame.dtypes)
    return frame.estimated_size() + 16 * texts * frame.height


def _major(version: str) -> int:
    return int(version.split(".")[0])


class Lake:
    """Delta tables under one folder, one subfolder a table."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it is created with the first table."""
        self.root = root

    def path(self, table: str) -> Path:
        """Folder of a table."""
        return self.root / table

    def exists(self, table: str) -> bool:
        """Whether the table was ever written."""
        return DeltaTable.is_deltatable(str(self.path(table)))

    def scan(
        self, contract: Contract, keys: Sequence[date] | None = None, *, published_by: datetime | None = None
    ) -> pl.LazyFrame:
        """Read a table lazily.

        Args:
            contract: the table's contract.
            keys: partitions to read, in any order; None reads all of them.
            published_by: read what the table held at this moment, with its time zone; None reads what it holds now.

        Returns:
            The rows, with exactly the contract's columns; no rows where the table or partition was never written.

        Raises:
            ContractError: if newer code wrote the table, or it lacks a column that the contract demands.
        """
        if not self.exists(contract.name) or (keys is not None and not keys):
            return contract.empty().lazy()
        table = _ReadableTable(str(self.path(contract.name)))
        _demand_readable(table, contract)
        if published_by is not None:
            version = _version_at(table, published_by)
            if version is None:
                return contract.empty().lazy()
            table.load_as_version(version)
        frame = pl.scan_delta(table)
        if keys is not None:
            first, last = min(keys), max(keys)
            frame = frame.filter(pl.col(contract.partition_column).is_between(first, last))
            if (last - first).days + 1 != len(set(keys)):
                frame = frame.filter(pl.col(contract.partition_column).is_in(sorted(set(keys))))
        return contract.conform(frame)

    def write(
        self,
        contract: Contract,
        keys: Sequence[date],
        frames: DailyFrames,
        *,
        audit: Callable[[pl.DataFrame], None] | None = None,
        unchanged: Callable[[Partition], bool] = lambda _: False,
    ) -> Iterator[Partition]:
        """Replace partitions whole; a reader sees each one as before or as after, never between.

        Args:
            contract: the table's contract; every frame is brought to its columns, order and types.
            keys: partitions to replace.
            frames: gives the rows of each partition.
            audit: called with the rows of several partitions before they are written; raises to refuse them.
            unchanged: says that a partition is believed to hold this content already; it is then read, and written
                again only if it does not.

        Yields:
            Each partition, after the commit that holds it.

        Raises:
            ValueError: if a frame holds rows of another partition.
            ContractError: if newer code wrote the table.
            DiskFull: if there is no room for it; partitions that were not yielded are as they were.
        """
        pending: list[tuple[Partition, pl.DataFrame]] = []
        held = 0
        for key in sorted(set(keys)):
            frame = sort_rows(contract.conform(frames.frame_of(key).lazy()).collect(), contract)
            strangers = frame.filter(pl.col(contract.partition_column).ne_missing(key)).height
            if strangers:
                message = f"{contract.name}: {strangers} rows do not belong to partition {key}"
                raise ValueError(message)
            pending.append((Partition(key, frame.height, hash_frame(frame, contract), _nulls(frame)), frame))
            held += bytes_of(frame)
            if held >= BYTES_PER_COMMIT:
                yield from self._commit(contract, pending, audit, unchanged)
                pending, held = [], 0
        if pending:
            yield from self._commit(contract, pending, audit, unchanged)

    def _commit(
        self,
        contract: Contract,
        pending: Sequence[tuple[Partition, pl.DataFrame]],
        audit: Callable[[pl.DataFrame], None] | None,
        unchanged: Callable[[Partition], bool],
    ) -> Iterator[Partition]:
        if audit is not None:
            audit(pl.concat([frame for _, frame in pending]))
        # What was recorded may differ from what lies there: a run can be killed between writing and recording.
        held = self._hashes(contract, [part.key for part, _ in pending if unchanged(part)])
        changed = [(part, frame) for part, frame in pending if held.get(part.key) != part.content_hash]
        if changed:
            with telling_of_full_disk(f"table {contract.name}"):
                self._replace(contract, [part.key for part, _ in changed], pl.concat([frame for _, frame in changed]))
        yield from (part for part, _ in pending)

    def _hashes(self, contract: Contract, keys: Sequence[date]) -> dict[date, str]:
        """Hash what partitions hold; a partition that cannot be read is left out."""
        try:
            scanned = self.scan(contract, keys)
            if len(keys) == 1:
                return {keys[0]: hash_frame(scanned, contract)}
            rows = scanned.collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ContractError, OSError):
            return {}
        held = {key[0]: frame for key, frame in rows.partition_by(contract.partition_column, as_dict=True).items()}
        return {key: hash_frame(held.get(key, contract.empty()), contract) for key in keys}

    @retry(
        retry=retry_if_exception_type(CommitFailedError),
        stop=stop_after_attempt(8),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        reraise=True,
    )
    def _replace(self, contract: Contract, keys: Sequence[date], frame: pl.DataFrame) -> None:
        self._create(contract)
        path = str(self.path(contract.name))
        table = DeltaTable(path)
        _demand_readable(table, contract)
        if table.metadata().description != _WRITTEN_BY + contract.version:
            table.alter.set_table_description(_WRITTEN_BY + contract.version)
        listed = ", ".join(f"'{key.isoformat()}'" for key in keys)
        predicate = f"{contract.partition_column} IN ({listed})"
        if (keys[-1] - keys[0]).days + 1 == len(keys):
            column = contract.partition_column
            predicate = f"{column} >= '{keys[0].isoformat()}' AND {column} <= '{keys[-1].isoformat()}'"
        if frame.is_empty():
            table.delete(predicate)
        else:
            write_deltalake(path, frame, mode="overwrite", predicate=predicate, schema_mode="merge")

    def _create(self, contract: Contract) -> None:
        if self.exists(contract.name):
            return
        # Statistics in the transaction log outlive the rows they describe, so personal columns never get any.
        statistics = [*contract.primary_key, contract.partition_column]
        safe = [c.name for c in contract.columns if c.name in statistics and c.classification != "personal"]
        write_deltalake(
            str(self.path(contract.name)),
            contract.empty(),
            mode="ignore",
            partition_by=[contract.partition_column],
            configuration={"delta.dataSkippingStatsColumns": ",".join(safe)},
            description=_WRITTEN_BY + contract.version,
        )

    def versions(self, table: str) -> int:
        """Number of commits of a table; 0 when it was never written."""
        try:
            return DeltaTable(str(self.path(table))).version() + 1
        except TableNotFoundError:
            return 0
