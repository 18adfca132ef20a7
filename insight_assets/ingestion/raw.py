"""The raw tables: their contracts, and the rows of one day of a source.

Raw keeps values as delivered. A raw table's record of what was loaded is its own `file_hash` column, so that rows and
record can never part.
"""

from collections import OrderedDict
from datetime import date
from pathlib import Path

import polars as pl

from insight_assets.contracts.rules import column_rules
from insight_assets.contracts.sources import SourceContract
from insight_assets.contracts.types import Column, Contract
from insight_assets.ingestion.landing import Inventory, LandedFile
from insight_assets.ingestion.lines import BROKEN
from insight_assets.ingestion.readers import read_delivery, text_columns
from insight_assets.lake import Lake

PREFIX = "raw_"
_KEPT_BYTES = 1_000_000_000


def raw_contract(source: SourceContract) -> Contract:
    """Give the contract of a source's raw table, which follows from the source contract.

    Args:
        source: the source.
    """
    described = {column.name: (column.description, column.classification) for column in source.delivered}
    described["extra"] = ("Delivered columns that the contract does not know, as JSON", "personal")
    described[BROKEN] = ("The line as delivered, where it has not the cells of its header", "personal")
    described["payload"] = ("The delivered row as JSON text", "personal")
    columns = (
        _column("file_hash", pl.String(), "SHA-256 of the file's decompressed bytes, first 32 hex digits"),
        _column("file_name", pl.String(), "Name under which the file was landed"),
        _column("line", pl.Int64(), "1-based line of its file on which the row begins; in Parquet the row"),
        _column("event_day", pl.Date(), "Event day; the file's first readable day when the row's time cannot be read"),
        _column("known_at", pl.Datetime("us", "UTC"), "When the shop could have known the row, UTC", required=False),
        *(
            _column(name, pl.String(), described[name][0], required=False, classification=described[name][1])
            for name in text_columns(source)
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


def _column(
    name: str, dtype: pl.DataType, description: str, *, required: bool = True, classification: str = "internal"
) -> Column:
    return Column(
        name=name, dtype=dtype, physical_type=str(dtype), required=required, description=description,
        classification=classification,
    )


class RawLoader:
    """Gives the raw rows of one source day by day.

    A file is opened when the first of its days is asked for, and its other rows are kept until their days are, up to
    `_KEPT_BYTES` in all; asked in the order of days, each file is opened once.
    """

    def __init__(self, source: SourceContract, inventory: Inventory, lake: Lake) -> None:
        """Take what is landed and what was loaded before."""
        self.source = source
        self.inventory = inventory
        self.lake = lake
        self.contract = raw_contract(source)
        self.files = [file for file in inventory.files(source.name) if file.status == "readable"]
        self._kept: OrderedDict[str, dict[date, pl.DataFrame]] = OrderedDict()

    def rows_of(self, day: date) -> pl.DataFrame:
        """Give everything ever delivered for a day: what raw holds already, and what landed since."""
        held = self.lake.scan(self.contract, [day]).collect()
        loaded = set(held["file_hash"].unique())
        new = [self._day_of(file, day) for file in self.files if day in file.days and file.content_hash not in loaded]
        return pl.concat([held, *new]) if new else held

    def _day_of(self, file: LandedFile, day: date) -> pl.DataFrame:
        if day not in self._kept.get(file.content_hash, {}):
            self._open(file, day)
        days = self._kept[file.content_hash]
        frame = days.pop(day, None)
        if not days:
            self._kept.pop(file.content_hash)
        return self.contract.empty() if frame is None else self.contract.conform(frame).collect()

    def _open(self, file: LandedFile, day: date) -> None:
        path = Path(self.inventory.root) / self.source.name / file.name
        delivery = read_delivery(path, max_bytes=self.inventory.max_file_bytes)
        rows = self.inventory.rows_of(delivery, self.source, file.landed_on).with_columns(
            file_hash=pl.lit(delivery.content_hash), file_name=pl.lit(file.name)
        )
        # Days before the one asked for were not wanted by this run.
        parts = rows.filter(pl.col("event_day") >= day).partition_by("event_day", as_dict=True)
        self._kept.pop(file.content_hash, None)
        self._kept[file.content_hash] = {key[0]: frame for key, frame in parts.items()}
        while len(self._kept) > 1 and self._size() > _KEPT_BYTES:
            self._kept.popitem(last=False)

    def _size(self) -> int:
        return sum(frame.estimated_size() for days in self._kept.values() for frame in days.values())


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
    """Find the days for which rows have landed that raw does not hold.

    Returns:
        Day to the content hashes that are missing there.
    """
    loaded = loaded_files(lake, raw_contract(source))
    pending: dict[date, set[str]] = {}
    for file in inventory.files(source.name):
        if file.status != "readable":
            continue
        for day in file.days:
            if file.content_hash not in loaded.get(day, set()):
                pending.setdefault(day, set()).add(file.content_hash)
    return pending
