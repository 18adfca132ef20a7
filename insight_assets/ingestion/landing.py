"""The landing folder: how files get there, which are there, and which event days each of them touches.

The inventory is a cache of what the files say, kept in SQLite so that a file is opened once; it can be deleted and is
rebuilt from the files. What was loaded is recorded by the raw tables themselves, in the commit that holds the rows.
Which of it is in force follows from both, in `raw.py`.
"""

import filecmp
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from insight_assets.contracts.sources import SourceContract
from insight_assets.disk_room import demand_room, telling_of_full_disk
from insight_assets.ingestion.archives import pack_files
from insight_assets.ingestion.arrivals import SIDECARS, Arrival, is_whole, look_at, refuse_incomplete
from insight_assets.ingestion.drift import sample_rows, unknown_columns
from insight_assets.ingestion.readers import (
    Delivery,
    FileRefused,
    Limits,
    decode_rows,
    read_delivery,
    read_rows,
    read_slices,
)
from insight_assets.ingestion.times import event_day, read_moments, time_columns
from insight_assets.settings import Settings

INVENTORY = ".inventory.sqlite"
_LAYOUT = 5
_FILES_PER_COMMIT = 50
_UNFINISHED = re.compile(r"^\.|\.(tmp|part|partial|crdownload)$")
# Neither control characters nor marks that make a name look like another, nor bytes that are no text.
_SAFE_NAME = re.compile(r"[^\x00-\x1f/\\\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]{1,200}")
_DATE_IN_NAME = re.compile(r"(?<!\d)(\d{4})([-_.]?)(\d{2})\2(\d{2})(?!\d)")
EARLIEST = date(1990, 1, 1)
_STRAY_SHARE = 0.001
_STRAY_GAP = timedelta(days=60)


@dataclass(frozen=True)
class LandedFile:
    """One file of the landing folder.

    Attributes:
        source: source it was landed for.
        name: file name.
        content_hash: identity of its content; empty when it could not be read.
        rows: delivered rows.
        status: `readable`, `empty`, `refused`, `repeated` (same content as an earlier file) or `arriving` (not whole
            yet).
        reason: why it was refused, and what to do.
        days: event day to number of rows.
        landed_at: when its content first landed, UTC.
        blocks: of a refused file the days that cannot be published without it, as far as anyone can tell.
        unknown: columns that the contract does not know to what their values look like.
    """

    source: str
    name: str
    content_hash: str
    rows: int
    status: str
    reason: str
    days: dict[date, int]
    landed_at: datetime
    blocks: tuple[date, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def landed_on(self) -> date:
        """Day on which its content first landed."""
        return self.landed_at.date()


def land_files(paths: Sequence[Path], folder: Path) -> list[tuple[Path, str]]:
    """Copy files into a source's landing folder, each appearing there whole.

    Args:
        paths: files to add.
        folder: the source's landing folder.

    Returns:
        The landed path and `landed`, `already there` (same bytes) or `landed as a new version` for each file; a new
        version takes the place of the file that had its name.

    Raises:
        FileNotFoundError: if one of the paths is not a file; nothing is landed then.
        FileRefused: if a name is one that is passed over in the landing folder; nothing is landed then.
        DiskFull: if there is not room for them and for loading them; nothing is landed then.
    """
    for path in paths:
        if not path.is_file():
            message = f"{path} is not a file"
            raise FileNotFoundError(message)
        if not _is_finished(path.name):
            message = f"{path.name!r} is hidden, temporary or oddly named, and would never be read: rename it"
            raise FileRefused("name", message)
    demand_room(folder, sum(path.stat().st_size for path in paths if not _lies_there(path, folder)), doing="landing")
    folder.mkdir(parents=True, exist_ok=True)
    return [_land(path, folder) for path in paths]


def land_bundle(paths: Sequence[Path], folder: Path) -> list[tuple[Path, str]]:
    """Pack related files into one archive, named like the folder, and land it.

    Args:
        paths: the files that belong together.
        folder: the source's landing folder.

    Returns:
        The archive and its verdict, as `land_files` gives them; an earlier archive of that name is replaced.

    Raises:
        FileNotFoundError: if one of the paths is not a file; nothing is landed then.
    """
    for path in paths:
        if not path.is_file():
            message = f"{path} is not a file"
            raise FileNotFoundError(message)
    with tempfile.TemporaryDirectory() as beside:
        archive = Path(beside) / f"{folder.name}.zip"
        pack_files(paths, archive)
        return land_files([archive], folder)


def _lies_there(path: Path, folder: Path) -> bool:
    target = folder / path.name
    return target.exists() and filecmp.cmp(path, target, shallow=False)


def _land(path: Path, folder: Path) -> tuple[Path, str]:
    if _lies_there(path, folder):
        return folder / path.name, "already there"
    target = folder / path.name
    verdict = "landed as a new version" if target.exists() else "landed"
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    try:
        with telling_of_full_disk(f"{target}"):
            shutil.copyfile(path, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.rename(target)
    finally:
        # What a full disk cut short would keep it full.
        temporary.unlink(missing_ok=True)
    return target, verdict


def _is_finished(name: str) -> bool:
    return bool(_SAFE_NAME.fullmatch(name)) and not _UNFINISHED.search(name) and not name.endswith(SIDECARS)


def complete_files(folder: Path) -> list[Path]:
    """List the finished files of a source's landing folder by name.

    Hidden and temporary names, sidecars, links and odd characters are passed over.

    Raises:
        OSError: if the folder is there and cannot be listed: that is not an empty folder. A link is not followed.
    """
    if not os.path.lexists(folder):
        return []
    if folder.is_symlink():
        message = f"{folder} is a link, which is not followed; put a folder in its place"
        raise NotADirectoryError(message)
    with os.scandir(folder) as entries:
        files = [entry for entry in entries if _is_finished(entry.name) and entry.is_file(follow_symlinks=False)]
    return sorted(folder / entry.name for entry in files)


def locate_rows(rows: pl.DataFrame, source: SourceContract, *, shop_timezone: str, landed_on: date) -> pl.DataFrame:
    """Give raw rows their event day and the moment the shop could have known them.

    A row whose own time cannot be read, lies before 1990 or after the day the file was landed keeps the first readable
    day of its file, where validation quarantines it: it must be found somewhere.

    Args:
        rows: rows as `read_rows` gives them.
        source: how the source writes time.
        shop_timezone: time zone of the shop's days.
        landed_on: day on which the file arrived.

    Returns:
        The rows with `event_day` and `known_at`.

    Raises:
        FileRefused: if no row has a readable time.
    """
    days = _place_rows(rows, source, shop_timezone=shop_timezone, landed_on=landed_on)
    first = days["day"].min()
    if rows.height and first is None:
        raise _no_time(source)
    return rows.with_columns(event_day=days["day"].fill_null(pl.lit(first, dtype=pl.Date)), known_at=days["known_at"])


def _place_rows(rows: pl.DataFrame, source: SourceContract, *, shop_timezone: str, landed_on: date) -> pl.DataFrame:
    """Give the day of each row, null where it cannot be read or cannot be, and when the row was known."""
    decoded = decode_rows(rows, source, columns=time_columns(source))
    moments = read_moments(source, shop_timezone=shop_timezone)
    placed = decoded.select(event_time=moments.event_time, known_at=moments.known_at)
    day = event_day(pl.col("event_time"), shop_timezone)
    return placed.select(
        day=pl.when(day.is_between(EARLIEST, landed_on + timedelta(days=1))).then(day),
        known_at=pl.coalesce("known_at", "event_time"),
    )


def _no_time(source: SourceContract) -> FileRefused:
    message = (
        f"no row has a readable time in column {source.time_column!r} between 1990 and the day of landing; "
        f"check time_column, time_format and timezone in the contract of {source.name}"
    )
    return FileRefused("event_time", message)


def contract_digest(source: SourceContract) -> str:
    """Name the text of a source's contract, so that a mended one is told apart even under its old version."""
    return hashlib.sha256(b"".join(each.path.read_bytes() for each in source.versions)).hexdigest()[:12]


def limits_of(shop: Settings) -> Limits:
    """Give what a file of a shop may grow to."""
    return Limits(shop.max_ratio, shop.max_rows, shop.max_columns, shop.max_line_bytes, shop.max_file_bytes)


class Inventory:
    """What the landing folder holds, opened once a file.

    Args:
        root: the landing folder.
        shop_timezone: time zone of the shop's days.
        max_file_bytes: decompressed size above which a file is refused.
        first_day: first day of the shop's history; rows before it are filed under the first later day of their file,
            where validation quarantines them. None files every row under its own day.
        limits: what else a file may not exceed.
        settle_seconds: how long a file without a sidecar must have lain untouched to count as whole.
        clock: gives the Unix time, which decides only that, never what a file holds.
    """

    def __init__(
        self,
        root: Path,
        *,
        shop_timezone: str,
        max_file_bytes: int,
        first_day: date | None = None,
        limits: Limits | None = None,
        settle_seconds: float = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or create the inventory."""
        self.limits = replace(limits or Limits(), unpacked=max_file_bytes)
        self.settle_seconds = settle_seconds
        self.clock = clock
        self.root = root
        self.shop_timezone = shop_timezone
        self.max_file_bytes = max_file_bytes
        self.first_day = first_day or date.min
        root.mkdir(parents=True, exist_ok=True)
        with self._open() as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] != _LAYOUT:
                for table in ("files", "days", "latest"):
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
                connection.execute(f"PRAGMA user_version = {_LAYOUT}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS files (source TEXT, name TEXT, size INTEGER, modified INTEGER,"
                " reading TEXT, content_hash TEXT, rows INTEGER, status TEXT, reason TEXT, landed_at TEXT,"
                " blocks TEXT, unknown TEXT,"
                " PRIMARY KEY (source, name))"
            )
            connection.execute(
                "CREATE TABLE IF NOT EXISTS days (source TEXT, name TEXT, day TEXT, rows INTEGER,"
                " PRIMARY KEY (source, name, day))"
            )
            # Kept also when the file is gone: what it gave stays in force until its name comes with something else.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS latest (source TEXT, name TEXT, content_hash TEXT, landed_at TEXT,"
                " PRIMARY KEY (source, name))"
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.root / INVENTORY, timeout=60)) as connection, connection:
            yield connection

    @classmethod
    def of(cls, shop: Settings) -> "Inventory":
        """Open the inventory of a home.

        Args:
            shop: the settings.
        """
        return cls(
            shop.landing,
            shop_timezone=shop.timezone,
            max_file_bytes=shop.max_file_bytes,
            limits=limits_of(shop),
            settle_seconds=shop.settle_seconds,
        )

    def refresh(self, source: SourceContract) -> list[LandedFile]:
        """Open the files that are new or changed, and forget those that are gone.

        Returns:
            The files that were opened now.

        Raises:
            OSError: if the source's folder cannot be listed.
        """
        opened: list[LandedFile] = []
        present = {path.name: path for path in complete_files(self.root / source.name)}
        reading = self._reading(source)
        with self._open() as connection:
            known = {
                name: tuple(seen)
                for name, *seen in connection.execute(
                    "SELECT name, size, modified, reading FROM files WHERE source = ?", (source.name,)
                )
            }
            first_landed = {
                content: datetime.fromisoformat(moment)
                for content, moment in connection.execute(
                    "SELECT content_hash, MIN(landed_at) FROM"
                    " (SELECT * FROM latest UNION SELECT source, name, content_hash, landed_at FROM files)"
                    " WHERE source = ? GROUP BY content_hash",
                    (source.name,),
                )
            }
            for name in known.keys() - present.keys():
                _forget(connection, source.name, name)
        unrecorded: list[tuple[LandedFile, tuple[int, int, str]]] = []
        for name, path in present.items():
            try:
                arrival = look_at(path, now=self.clock())
                seen = (arrival.size, arrival.modified, reading + arrival.mark)
                if known.get(name) == seen:
                    continue
                file = self._open_file(arrival, source, first_landed)
                # What was written to while it was read was not whole.
                again = look_at(path, now=self.clock())
            except FileNotFoundError:
                continue
            if file is None or (again.size, again.modified) != (arrival.size, arrival.modified):
                landed_at = datetime.fromtimestamp(arrival.modified / 1e9, tz=UTC)
                file, seen = LandedFile(source.name, name, "", 0, "arriving", "", {}, landed_at), (-1, -1, "")
            else:
                opened.append(file)
            unrecorded.append((file, seen))
            if len(unrecorded) >= _FILES_PER_COMMIT:
                self._record(unrecorded)
                unrecorded = []
        self._record(unrecorded)
        return opened

    def _record(self, files: Sequence[tuple[LandedFile, tuple[int, int, str]]]) -> None:
        with self._open() as connection:
            for file, seen in files:
                _forget(connection, file.source, file.name)
                connection.execute(
                    "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        file.source, file.name, *seen, file.content_hash, file.rows, file.status, file.reason,
                        _written(file.landed_at), " ".join(day.isoformat() for day in file.blocks),
                        json.dumps(dict(file.unknown)),
                    ),
                )
                if file.status in {"readable", "empty"}:
                    connection.execute(
                        "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)",
                        (file.source, file.name, file.content_hash, _written(file.landed_at)),
                    )
                connection.executemany(
                    "INSERT INTO days VALUES (?, ?, ?, ?)",
                    [(file.source, file.name, day.isoformat(), rows) for day, rows in file.days.items()],
                )

    def _reading(self, source: SourceContract) -> str:
        """Name everything beside the bytes that decides how a file is read."""
        return f"{contract_digest(source)}/{self.shop_timezone}/{self.max_file_bytes}/{self.limits}"

    def _open_file(
        self, arrival: Arrival, source: SourceContract, first_landed: dict[str, datetime]
    ) -> LandedFile | None:
        """Open a file if it is whole; a later copy or touch of its content does not change which rows lie ahead."""
        path, delivery = arrival.path, None
        landed_at = datetime.fromtimestamp(arrival.modified / 1e9, tz=UTC)
        try:
            whole = is_whole(arrival)
            if not whole and not arrival.is_settled(now=self.clock(), settle_seconds=self.settle_seconds):
                return None
            if whole is False:
                refuse_incomplete(arrival)
            delivery = read_delivery(path, max_bytes=self.max_file_bytes, limits=self.limits)
            content_hash = delivery.content_hash
            landed_at = first_landed[content_hash] = min(landed_at, first_landed.get(content_hash, landed_at))
            days, unknown = self._look_into(delivery, source, landed_at.date())
        except FileRefused as refusal:
            content_hash = "" if delivery is None else delivery.content_hash
            blocks = self._blocked_days(path.name, delivery, source, landed_at)
            reason = f"{refusal.rule}: {refusal}"
            return LandedFile(source.name, path.name, content_hash, 0, "refused", reason, {}, landed_at, blocks)
        rows = sum(days.values())
        if not rows:
            named = _day_in_name(path.name, landed_at)
            days = {} if named is None else {named: 0}
        status = "readable" if rows else "empty"
        return LandedFile(source.name, path.name, content_hash, rows, status, "", days, landed_at, unknown=unknown)

    def _look_into(
        self, delivery: Delivery, source: SourceContract, landed_on: date
    ) -> tuple[dict[date, int], dict[str, str]]:
        """Count the rows of each day, and name columns that the contract does not know, keeping no rows.

        Raises:
            FileRefused: if the file cannot be read.
        """
        if source.earlier:
            parts = self.parts_of(delivery, source, landed_on)
            rows = pl.concat([part.select("event_day") for _, part in parts])
            days = dict(rows.group_by("event_day").len().sort("event_day").iter_rows())
            return days, {name: kind for by, part in parts for name, kind in unknown_columns(part, by).items()}
        counts: Counter[date | None] = Counter()
        samples: list[pl.DataFrame] = []
        for rows in read_slices(delivery, source, self.limits):
            placed = _place_rows(rows, source, shop_timezone=self.shop_timezone, landed_on=landed_on)
            counts.update(dict(placed.group_by("day").len().iter_rows()))
            samples.append(sample_rows(rows, besides=samples))
        timeless = counts.pop(None, 0)
        if timeless and not counts:
            raise _no_time(source)
        days = dict(sorted(counts.items()))
        if timeless:
            days[min(days)] += timeless
        return self._in_time(days), unknown_columns(pl.concat(samples), source) if samples else {}

    def _blocked_days(
        self, name: str, delivery: Delivery | None, source: SourceContract, landed_at: datetime
    ) -> tuple[date, ...]:
        """Tell which days a refused file was about: by its times, else by its name, else by when it landed."""
        days: list[date] = []
        if delivery is not None:
            lenient = replace(source, delivered=tuple(replace(column, required=False) for column in source.delivered))
            try:
                days = sorted(self._look_into(delivery, replace(lenient, earlier=()), landed_at.date())[0])
            except FileRefused:
                days = []
        if not days:
            days = [_day_in_name(name, landed_at) or landed_at.astimezone(ZoneInfo(self.shop_timezone)).date()]
        return tuple(days)

    def slices_of(
        self, delivery: Delivery, source: SourceContract, file: LandedFile
    ) -> Iterator[tuple[SourceContract, pl.DataFrame]]:
        """Read the placed rows of a file that was looked at, some at a time, each by the contract of its day.

        Args:
            delivery: its content.
            source: its source.
            file: what `files` tells of it.

        Raises:
            FileRefused: if the file cannot be read.
        """
        if source.earlier:
            yield from self.parts_of(delivery, source, file.landed_on)
            return
        # Rows without a day of their own, and those before the first day, are filed under the first of the others.
        first = min(file.days, default=None)
        earliest = date.min if first is None or first < self.first_day else self.first_day
        for rows in read_slices(delivery, source, self.limits):
            placed = _place_rows(rows, source, shop_timezone=self.shop_timezone, landed_on=file.landed_on)
            own = pl.when(pl.col("day") >= earliest).then("day")
            day = placed.select(own.fill_null(pl.lit(first, dtype=pl.Date))).to_series()
            yield source, rows.with_columns(event_day=day, known_at=placed["known_at"])

    def parts_of(
        self, delivery: Delivery, source: SourceContract, landed_on: date
    ) -> list[tuple[SourceContract, pl.DataFrame]]:
        """Read the placed rows of one file, each by the contract of its day.

        A row goes to the contract whose period holds the day that this contract reads, and to the one that reads most
        of the file where there is none; validation quarantines it there.

        Raises:
            FileRefused: if no contract of the source can read the file.
        """
        if not source.earlier:
            return [(source, self.rows_of(delivery, source, landed_on))]
        read, refusals = [], []
        for version in source.versions:
            try:
                read.append((version, self.rows_of(delivery, version, landed_on)))
            except FileRefused as refusal:
                refusals.append(refusal)
        if not read:
            raise refusals[0]
        first, last = date.min, date.max
        day, parts = pl.col("event_day"), []
        placed = pl.Series([], dtype=pl.Int64)
        for version, rows in read:
            own = rows.filter(day.is_between(version.valid_from or first, version.valid_to or last))
            own = own.filter(~pl.col("line").is_in(placed.implode()))
            placed = pl.concat([placed, own["line"]])
            parts.append(own)
        most = max(range(len(read)), key=lambda place: parts[place].height)
        left = read[most][1].filter(~pl.col("line").is_in(placed.implode()))
        parts[most] = pl.concat([parts[most], left])
        return [(version, rows) for (version, _), rows in zip(read, parts, strict=True)]

    def rows_of(self, delivery: Delivery, source: SourceContract, landed_on: date) -> pl.DataFrame:
        """Read the placed rows of one file.

        Raises:
            FileRefused: if the file cannot be read.
        """
        placed = locate_rows(
            read_rows(delivery, source, self.limits), source, shop_timezone=self.shop_timezone, landed_on=landed_on
        )
        in_time = pl.col("event_day") >= self.first_day
        first = placed.select(pl.col("event_day").filter(in_time).min()).item()
        return placed if first is None else placed.with_columns(pl.when(in_time).then("event_day").otherwise(first))

    def files(self, source: str | None = None) -> list[LandedFile]:
        """List the files of one source, or of all, by name; repeats of a content come after its first file."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT source, name, content_hash, rows, status, reason, landed_at, blocks, unknown FROM files"
                " WHERE ?1 IS NULL OR source = ?1 ORDER BY source, name",
                (source,),
            ).fetchall()
            days: dict[tuple[str, str], dict[date, int]] = {}
            for owner, name, day, count in connection.execute(
                "SELECT source, name, day, rows FROM days WHERE ?1 IS NULL OR source = ?1 ORDER BY day", (source,)
            ):
                days.setdefault((owner, name), {})[date.fromisoformat(day)] = count
        seen: set[tuple[str, str]] = set()
        found: list[LandedFile] = []
        for owner, name, content_hash, count, status, reason, moment, blocks, unknown in rows:
            told = "repeated" if status == "readable" and (owner, content_hash) in seen else status
            seen.add((owner, content_hash))
            touched = self._in_time(days.get((owner, name), {}))
            blocked, landed_at = tuple(map(date.fromisoformat, blocks.split())), datetime.fromisoformat(moment)
            found.append(
                LandedFile(
                    owner, name, content_hash, count, told, reason, touched, landed_at, blocked, json.loads(unknown)
                )
            )
        return found

    def latest(self, source: str) -> dict[str, tuple[str, datetime]]:
        """Tell what each name of a source last held that could be read, also names that are gone since.

        Returns:
            File name to content hash and the moment at which that content first landed.
        """
        with self._open() as connection:
            rows = connection.execute("SELECT name, content_hash, landed_at FROM latest WHERE source = ?", (source,))
            return {name: (content, datetime.fromisoformat(moment)) for name, content, moment in rows}

    def _in_time(self, days: dict[date, int]) -> dict[date, int]:
        later = {day: rows for day, rows in days.items() if day >= self.first_day}
        if later:
            later[min(later)] += sum(days.values()) - sum(later.values())
        return later or days


def wait_for_arrivals(
    inventory: Inventory, sources: Collection[SourceContract], wait: Callable[[float], None] = time.sleep
) -> None:
    """Look at all landed files; where some are too young to be read, look at them once more when they are not.

    Args:
        inventory: the inventory.
        sources: source contracts.
        wait: waits for some seconds.
    """
    for source in sources:
        inventory.refresh(source)
    arriving = {file.source for file in inventory.files() if file.status == "arriving"}
    if arriving:
        wait(inventory.settle_seconds)
        for source in sources:
            if source.name in arriving:
                inventory.refresh(source)


def _day_in_name(name: str, landed_at: datetime) -> date | None:
    for year, _, month, day in _DATE_IN_NAME.findall(name):
        try:
            found = date(int(year), int(month), int(day))
        except ValueError:
            continue
        if EARLIEST <= found <= landed_at.date() + timedelta(days=1):
            return found
    return None


def opening_day(files: Collection[LandedFile]) -> date | None:
    """Find the day with which a shop's history begins.

    Args:
        files: files of an inventory without a first day.

    Returns:
        The first day with rows; rows with a wrong clock, fewer than one in a thousand and all of them more than
        two months before the others, do not count. None where there are no rows.
    """
    days: dict[date, int] = {}
    for file in files:
        for day, rows in file.days.items():
            days[day] = days.get(day, 0) + rows
    ordered = sorted(days)
    first, before = (ordered[0] if ordered else None), 0
    for day, following in pairwise(ordered):
        before += days[day]
        if before > sum(days.values()) * _STRAY_SHARE:
            break
        if following - day > _STRAY_GAP:
            first = following
    return first


def _written(moment: datetime) -> str:
    # Of one width, so that the order of texts is the order of moments.
    return moment.isoformat(timespec="microseconds")


def _forget(connection: sqlite3.Connection, source: str, name: str) -> None:
    connection.execute("DELETE FROM files WHERE source = ? AND name = ?", (source, name))
    connection.execute("DELETE FROM days WHERE source = ? AND name = ?", (source, name))
