"""Writing a simulated shop as the files that would land, one a day.

A file is written under a temporary name in its folder and then renamed, so that a reader never
sees half of it. Equal plans give equal bytes. What is hidden goes elsewhere: see `truth`.
"""

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, cast

import polars as pl
from polars.io.plugins import register_io_source

from insight_assets.simulator.delivery import PLANTED, ROWS_AT_ONCE, SimulatedDay
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import simulate_days

FileFormat = Literal["ndjson", "parquet"]
Compression = Literal["gz", "zstd"]

# Level 1 takes a third of the time of level 6 and gives files a quarter larger.
GZIP_LEVEL = 1
ZSTD_LEVEL = 3
FILE_PREFIX = "segment"


@dataclass(frozen=True)
class Landed:
    """What was written.

    Attributes:
        files: The files, one a day, in order.
        rows: Number of delivered rows in all files.
        size: Bytes of all files.
        planted: The planted trouble, one row a planted row, as `SimulatedDay.planted` lists it.
    """

    files: tuple[Path, ...]
    rows: int
    size: int
    planted: pl.DataFrame


def write_landing(
    plan: SimulationPlan,
    folder: Path,
    *,
    file_format: FileFormat = "ndjson",
    compression: Compression | None = "gz",
    on_day: Callable[[date, int], None] | None = None,
) -> Landed:
    """Simulate a shop and write one file a day, `segment-YYYY-MM-DD.<format>`.

    Args:
        plan: The shop.
        folder: Where the files go; made when missing. Files of the same names are replaced.
        file_format: `ndjson`, or `parquet` (which is always zstd inside).
        compression: How NDJSON is compressed: `gz`, `zstd` or not at all.
        on_day: Called after each file with its day and its number of rows.

    Returns:
        What was written.

    Raises:
        ValueError: The format or the compression is unknown.
        OSError: A file cannot be written.
    """
    if file_format not in {"ndjson", "parquet"}:
        message = f"file_format {file_format!r} is not ndjson or parquet"
        raise ValueError(message)
    if compression not in {"gz", "zstd", None}:
        message = f"compression {compression!r} is not gz, zstd or None"
        raise ValueError(message)
    ending = {"gz": ".gz", "zstd": ".zst", None: ""}[compression]
    suffix = ".parquet" if file_format == "parquet" else f".ndjson{ending}"
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    planted: list[pl.DataFrame] = [pl.DataFrame(schema=PLANTED)]
    rows = size = 0
    for simulated in simulate_days(plan):
        path = folder / f"{FILE_PREFIX}-{simulated.day.isoformat()}{suffix}"
        with _renamed_into_place(path) as temporary:
            if file_format == "parquet":
                write_parquet(simulated, temporary)
            else:
                write_ndjson(simulated, temporary, compression=compression)
        files.append(path)
        rows += len(simulated)
        size += path.stat().st_size
        listed = simulated.planted(text=file_format == "ndjson")
        if len(listed):
            planted.append(listed)
        if on_day is not None:
            on_day(simulated.day, len(simulated))
    return Landed(tuple(files), rows, size, pl.concat(planted))


@contextmanager
def _renamed_into_place(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` unless the body fails."""
    # The leading dot and the foreign ending keep the file from being taken for a landed one.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_ndjson(simulated: SimulatedDay, path: Path, *, compression: Compression | None) -> None:
    """Write one day as newline-delimited JSON, a slice at a time.

    Args:
        simulated: The day.
        path: The file.
        compression: `gz`, `zstd` or None.
    """
    with path.open("wb") as file, _compressing(file, compression) as sink:
        for texts in simulated.texts():
            if len(texts):
                # As bytes: making one long Python text of it takes eight times longer.
                sink.write(texts.str.join("\n").cast(pl.Binary)[0])
                sink.write(b"\n")


@contextmanager
def _compressing(file: BinaryIO, compression: Compression | None) -> Iterator[BinaryIO]:
    """Give a stream that compresses into a file; neither name nor time go into its header."""
    if compression == "gz":
        with gzip.GzipFile(
            filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0
        ) as sink:
            yield cast("BinaryIO", sink)
    elif compression == "zstd":
        import zstandard

        with zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(file, closefd=False) as sink:
            yield cast("BinaryIO", sink)
    else:
        yield file


def write_parquet(simulated: SimulatedDay, path: Path) -> None:
    """Write one day as Parquet, a slice at a time.

    Args:
        simulated: The day.
        path: The file.
    """
    if len(simulated) <= ROWS_AT_ONCE:
        simulated.frame().write_parquet(path, statistics=False, row_group_size=ROWS_AT_ONCE)
        return
    frames = simulated.frames()
    first = next(frames)

    def slices(
        columns: list[str] | None, _predicate: object, _rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in chain([first], frames):
            yield frame if columns is None else frame.select(columns)

    register_io_source(slices, schema=first.schema).sink_parquet(
        path, statistics=False, row_group_size=ROWS_AT_ONCE, maintain_order=True
    )
