"""The raw tables: their contracts, and the rows of one day of a source.

Raw keeps values as delivered. A raw table's record of what was loaded is its own columns, so that rows and record can
never part. Rows are only ever added; of rows that a later version of their file replaced, the moment of that is noted.
"""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import polars as pl

from insight_assets.contracts.rules import column_rules
from insight_assets.contracts.sources import SourceContract
from insight_assets.contracts.types import Column, Contract
from insight_assets.ingestion.landing import Inventory, LandedFile, contract_digest
from insight_assets.ingestion.lines import BROKEN
from insight_assets.ingestion.readers import SLICE_BYTES, FileRefused, decode_rows, read_delivery, text_columns
from insight_assets.lake import Lake

PREFIX = "raw_"
_KEPT_BYTES = 1_000_000_000
# What stands beside the delivered text.
BESIDE_TEXT = frozenset(
    {
        "file_hash", "file_name", "line", "event_day", "known_at", "landed_at", "replaced_at", "is_correction",
        "contract_version", "identity",
    }
)  # fmt: skip
_MOMENT = pl.Datetime("us", "UTC")
_IDENTITIES = {"events": "event_id", "order_lines": "order_line_id", "payments": "payment_id"}


def raw_contract(source: SourceContract) -> Contract:
    """Give the contract of a source's raw table, which follows from the source contract.

    Args:
        source: the source.
    """
    versions = source.versions
    described = {c.name: (c.description, c.classification) for each in reversed(versions) for c in each.delivered}
    described["extra"] = ("Delivered columns that the contract does not know, as JSON", "personal")
    described[BROKEN] = ("The line as delivered, where it has not the cells of its header", "personal")
    described["payload"] = ("The delivered row as JSON text", "personal")
    columns = (
        _column("file_hash", pl.String(), "SHA-256 of the file's decompressed bytes, first 32 hex digits"),
        _column("file_name", pl.String(), "Name under which the file was landed"),
        _column(
            "line", pl.Int64(),
            "1-based line of its file on which the row begins; in Parquet the row; in a bundle after its member",
        ),
        _column("event_day", pl.Date(), "Event day; the file's first readable day when the row's time cannot be read"),
        _column("known_at", _MOMENT, "When the shop could have known the row, UTC", required=False),
        _column("landed_at", _MOMENT, "When the content of the row's file first landed, UTC"),
        _column(
            "replaced_at", _MOMENT, "When a later version of its file replaced the row, UTC; null: in force",
            required=False,
        ),
        _column("is_correction", pl.Boolean(), "Whether the row's file replaced an earlier version"),
        _column("contract_version", pl.String(), "Version of the source contract that the row was read by"),
        _column(
            "identity", pl.String(), "Identity of the event, order line or order, where it follows from the row alone",
            required=False, classification="personal",
        ),
        *(
            _column(name, pl.String(), described[name][0], required=False, classification=described[name][1])
            for name in dict.fromkeys(name for each in versions for name in text_columns(each))
        ),
    )
    return Contract(
        name=PREFIX + source.name,
        version=source.version,
        stage="sources",
        description=f"One row is one row as the source {source.name} delivered it, values untouched",
        owner="insight",
        columns=columns,
        primary_key=("file_hash", "line"),
        partition_column="event_day",
        rules=tuple(rule for column in columns for rule in column_rules(column)),
        rows=(None, None),
        retention_days=None,
        path=source.path,
    )


def name_meaning(source: SourceContract, files: Collection[LandedFile], day: date) -> str:
    """Name what decides, beside a day's raw rows, what is made of them.

    Args:
        source: the source, whose contract reads the rows.
        files: its landed files; refused ones hold back the days that they belong to.
        day: the event day.
    """
    held = sorted(f"{file.name} {file.content_hash}" for file in files if file.status == "refused" and day in file.blocks)
    refusals = hashlib.sha256("\n".join(held).encode()).hexdigest()[:8]
    return contract_digest(source) + (f"-held-{refusals}" if held else "")


def reread_days(source: SourceContract, files: Collection[LandedFile], told: Mapping[date, str]) -> set[date]:
    """Find the days of which raw rows mean something else than when they were loaded.

    Args:
        source: the source.
        files: its landed files.
        told: day to the content hash recorded for its raw partition.
    """
    return {day for day, content in told.items() if not content.endswith("-" + name_meaning(source, files, day))}


def sources_in_use(sources: Mapping[str, SourceContract], landing: Path, lake: Lake) -> dict[str, SourceContract]:
    """Give the sources that a home has a landing folder or a raw table of; all of them where it has none yet.

    Args:
        sources: source contracts by name.
        landing: the landing folder.
        lake: the home's lake.
    """
    used = {
        name: source
        for name, source in sources.items()
        if (landing / name).is_dir() or lake.exists(PREFIX + name)
    }
    return used or dict(sources)


def _column(
    name: str, dtype: pl.DataType, description: str, *, required: bool = True, classification: str = "internal"
) -> Column:
    return Column(
        name=name, dtype=dtype, physical_type=str(dtype), required=required, description=description,
        classification=classification,
    )


def rows_in_force(rows: pl.LazyFrame, known_by: datetime | None = None) -> pl.LazyFrame:
    """Keep the raw rows that count.

    Args:
        rows: rows of a raw table.
        known_by: count what was known at that moment: corrections that landed later do not count, and what they
            replaced does; None counts what is in force now.
    """
    if known_by is None:
        return rows.filter(pl.col("replaced_at").is_null())
    replaced = (pl.col("replaced_at") <= known_by).fill_null(value=False)
    to_come = pl.col("is_correction") & (pl.col("landed_at") > known_by)
    return rows.filter((pl.col("known_at") <= known_by) & ~replaced & ~to_come)


def stamp_rows(
    rows: pl.DataFrame,
    source: SourceContract,
    *,
    content_hash: str,
    name: str,
    landed_at: datetime,
    is_correction: bool,
) -> pl.DataFrame:
    """Write beside placed rows which file they came in.

    Args:
        rows: rows as `locate_rows` gives them.
        source: the contract they were read by.
        content_hash: identity of the file's content.
        name: the file's name.
        landed_at: when that content first landed, UTC.
        is_correction: whether it replaced another version.

    Returns:
        The rows with every column of the raw table's contract but the partition's.
    """
    return rows.with_columns(
        file_hash=pl.lit(content_hash),
        file_name=pl.lit(name),
        landed_at=pl.lit(landed_at, dtype=_MOMENT),
        replaced_at=pl.lit(None, dtype=_MOMENT),
        is_correction=pl.lit(is_correction),
        contract_version=pl.lit(source.version),
        identity=_identity(rows, source),
    )


def _identity(rows: pl.DataFrame, source: SourceContract) -> pl.Series:
    """Compute the identities that follow from delivered columns alone; null elsewhere."""
    delivered = {column.name for column in source.delivered if not column.items}
    # Whether a sale was told of is known only from all rows of its order.
    whole_orders = any(mapping.unless_told for mapping in source.mappings)
    identities = _IDENTITIES | ({"order_lines": "order_id"} if whole_orders else {})
    found, named = [], set()
    for mapping in source.mappings:
        sql = mapping.expressions.get(identities.get(mapping.table, ""))
        if mapping.rows is not None or sql is None:
            continue
        value = pl.sql_expr(sql).cast(pl.String)
        counts = pl.lit(value=True) if mapping.where is None else pl.sql_expr(mapping.where)
        names = {*value.meta.root_names(), *counts.meta.root_names()}
        if names <= delivered:
            found.append(pl.when(counts).then(value))
            named |= names
    if not found:
        return pl.Series([None] * rows.height, dtype=pl.String)
    return decode_rows(rows, source, columns=named).select(pl.coalesce(found).alias("identity")).to_series()


@dataclass(frozen=True)
class Standing:
    """Which contents a raw table holds, and which of them count.

    Attributes:
        held: event day to the contents held there, each with the moment it was replaced, if it was.
        replaced: content to the moment at which it was replaced, None for one in force.
        landed: content to when it first landed.
        corrections: contents that replaced another.
    """

    held: Mapping[date, Mapping[str, datetime | None]]
    replaced: Mapping[str, datetime | None]
    landed: Mapping[str, datetime]
    corrections: frozenset[str]

    def has_changed(self, day: date) -> bool:
        """Whether something held for a day is to be marked as replaced, or no longer so."""
        return any((self.replaced[content] is None) != (was is None) for content, was in self.held.get(day, {}).items())


def read_standing(lake: Lake, contract: Contract, latest: Mapping[str, tuple[str, datetime]]) -> Standing:
    """Work out which contents are in force.

    A content is in force while it is the latest that any name held. Names that the inventory does not know hold what
    they gave to raw.

    Args:
        lake: the lake.
        contract: the raw table's contract.
        latest: file name to the content it last held, and when that first landed.
    """
    record = lake.scan(contract).select(
        "event_day", "file_hash", "file_name", "landed_at", "replaced_at", "is_correction"
    ).unique().collect()
    held: dict[date, dict[str, datetime | None]] = {}
    for day, content, moment in record.select("event_day", "file_hash", "replaced_at").iter_rows():
        held.setdefault(day, {})[content] = moment
    names = dict(record.group_by("file_hash").agg(pl.col("file_name").unique()).iter_rows())
    landed = dict(record.group_by("file_hash").agg(pl.col("landed_at").min()).iter_rows())
    before = dict(record.group_by("file_hash").agg(pl.col("replaced_at").min()).iter_rows())
    corrections = set(record.filter("is_correction")["file_hash"])
    current = {content for content, _ in latest.values()}
    outdated = {h for h in names if h not in current and all(name in latest for name in names[h])}
    outdated |= {h for h in names if h not in current and before[h] is not None}
    for name, (content, moment) in sorted(latest.items(), key=lambda item: (item[1][1], item[0])):
        if content in names:
            continue
        replaces = [h for h in outdated if name in names[h]]
        if replaces:
            corrections.add(content)
        # No correction landed before what it corrects, whatever the clock of the file system said.
        landed[content] = max([landed.get(content, moment), *(landed[h] for h in replaces)])
    replaced: dict[str, datetime | None] = dict.fromkeys(names)
    for h in outdated:
        replaced[h] = before[h] or max([landed[h], *(landed[latest[name][0]] for name in names[h])])
    return Standing(held, replaced, landed, frozenset(corrections))


class RawLoader:
    """Gives the raw rows of one source day by day.

    A file is opened when the first of its days is asked for, and its other rows are kept until their days are, up to
    `_KEPT_BYTES` in all; asked in the order of days, each file is opened once, and a larger one once for so many bytes.
    """

    def __init__(self, source: SourceContract, inventory: Inventory, lake: Lake) -> None:
        """Take what is landed and what was loaded before."""
        self.source = source
        self.inventory = inventory
        self.lake = lake
        self.contract = raw_contract(source)
        self.files = [file for file in inventory.files(source.name) if file.status == "readable"]
        self.standing = read_standing(lake, self.contract, inventory.latest(source.name))
        self._kept: OrderedDict[str, dict[date, list[pl.DataFrame | bytes]]] = OrderedDict()

    def rows_of(self, day: date) -> pl.DataFrame:
        """Give everything ever delivered for a day: what raw holds already, and what landed since."""
        held = self.lake.scan(self.contract, [day]).collect()
        loaded = set(held["file_hash"].unique())
        if self.standing.has_changed(day):
            moments = pl.DataFrame(
                list(self.standing.replaced.items()), schema={"file_hash": pl.String, "moment": _MOMENT}, orient="row"
            )
            held = held.join(moments, on="file_hash", how="left", maintain_order="left").with_columns(
                replaced_at=pl.col("moment")
            ).drop("moment")
        versions = [version.version for version in self.source.versions]
        if len(versions) == 1 and not held["contract_version"].is_in(versions).all():
            # What a row's identity is made of is said by the contract that is now in force.
            held = held.with_columns(identity=_identity(held, self.source))
        new = [self._day_of(file, day) for file in self.files if day in file.days and file.content_hash not in loaded]
        return pl.concat([held, *new]) if new else held

    def bytes_to_load(self, days: Collection[date]) -> int:
        """Size, as landed, of the files that some days have yet to take rows from."""
        held, wanted = self.standing.held, set(days)
        new = [
            file
            for file in self.files
            if any(file.content_hash not in held.get(day, {}) for day in wanted & file.days.keys())
        ]
        paths = [Path(self.inventory.root) / self.source.name / file.name for file in new]
        return sum(path.stat().st_size for path in paths if path.exists())

    def _day_of(self, file: LandedFile, day: date) -> pl.DataFrame:
        if day not in self._kept.get(file.content_hash, {}):
            self._open(file, day)
        days = self._kept[file.content_hash]
        parts = [_unpack(rows) for rows in days.pop(day, ())]
        if not days:
            self._kept.pop(file.content_hash)
        return self.contract.conform(pl.concat(parts, how="diagonal")).collect() if parts else self.contract.empty()

    def _open(self, file: LandedFile, day: date) -> None:
        path = Path(self.inventory.root) / self.source.name / file.name
        delivery = read_delivery(path, max_bytes=self.inventory.max_file_bytes, limits=self.inventory.limits)
        if delivery.content_hash != file.content_hash:
            message = f"{file.name}: written to since it was looked at; build again once it is whole"
            raise FileRefused("incomplete", message)
        landed_at = self.standing.landed.get(file.content_hash, file.landed_at)
        parts: dict[date, list[pl.DataFrame | bytes]] = {day: []}
        size, end, is_large = 0, date.max, len(delivery.data) > SLICE_BYTES
        for version, rows in self.inventory.slices_of(delivery, self.source, file):
            # Days before the one asked for were not wanted by this run.
            wanted = rows.filter(pl.col("event_day").is_between(day, end, closed="left"))
            stamped = stamp_rows(
                wanted,
                version,
                content_hash=delivery.content_hash,
                name=file.name,
                landed_at=landed_at,
                is_correction=file.content_hash in self.standing.corrections,
            )
            for (key,), frame in stamped.partition_by("event_day", as_dict=True).items():
                parts.setdefault(key, []).append(_pack(frame) if is_large and key != day else frame)
                size += _size_of(parts[key][-1])
            while size > _KEPT_BYTES and len(parts) > 1:
                # The last days are read again when they are asked for.
                end = max(parts)
                size -= sum(map(_size_of, parts.pop(end)))
        self._kept.pop(file.content_hash, None)
        self._kept[file.content_hash] = parts
        while len(self._kept) > 1 and self._size() > _KEPT_BYTES:
            self._kept.popitem(last=False)

    def _size(self) -> int:
        return sum(_size_of(rows) for days in self._kept.values() for parts in days.values() for rows in parts)


def _pack(rows: pl.DataFrame) -> bytes:
    """Pack rows that are to wait: columns of views on a text take many times what it does."""
    packed = io.BytesIO()
    rows.write_ipc(packed, compression="lz4")
    return packed.getvalue()


def _unpack(rows: pl.DataFrame | bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(rows)) if isinstance(rows, bytes) else rows


def _size_of(rows: pl.DataFrame | bytes) -> int:
    return len(rows) if isinstance(rows, bytes) else int(rows.estimated_size())


def loaded_files(lake: Lake, contract: Contract) -> dict[date, set[str]]:
    """Read which contents a raw table holds for which day.

    Args:
        lake: the lake.
        contract: the raw table's contract.
    """
    pairs = lake.scan(contract).select("event_day", "file_hash").unique().collect()
    found: dict[date, set[str]] = {}
    for day, content in pairs.iter_rows():
        found.setdefault(day, set()).add(content)
    return found


def pending_days(inventory: Inventory, lake: Lake, source: SourceContract) -> dict[date, set[str]]:
    """Find the days for which rows have landed that raw does not hold, or that raw holds and that were replaced.

    Returns:
        Day to the content hashes that are missing there, or whose rows are to be marked.
    """
    standing = read_standing(lake, raw_contract(source), inventory.latest(source.name))
    pending = {
        day: {content for content, was in contents.items() if (standing.replaced[content] is None) != (was is None)}
        for day, contents in standing.held.items()
        if standing.has_changed(day)
    }
    for file in inventory.files(source.name):
        if file.status != "readable":
            continue
        for day in file.days:
            if file.content_hash not in standing.held.get(day, {}):
                pending.setdefault(day, set()).add(file.content_hash)
    return pending
