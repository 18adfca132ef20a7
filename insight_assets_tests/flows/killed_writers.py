"""Writers that are killed: each writes one of two versions over and over, and can tell what it finds afterwards.

A process of its own runs `write_for_ever`; whoever killed it asks `find`. Nothing here may use Polars while it is
imported, so that processes can be forked from one that has imported it.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.ingestion.landing import land_files
from insight_assets.lake import DailyFrames, Lake, hash_frame
from insight_assets.ml.model_store import open_model, write_model
from insight_assets.settings import Settings
from insight_assets.whole_files import write_whole

VERSIONS = ("a", "b")
DAYS = tuple(date(2025, 1, 1) + timedelta(days=offset) for offset in range(3))
ROWS = 2_000


@dataclass(frozen=True)
class Writer:
    """One way of writing.

    Attributes:
        write: writes a version into a folder.
        find: names what the folder holds, None where nothing does yet; raises where that is torn.
    """

    write: Callable[[Path, str], None]
    find: Callable[[Path], str | None]


def _products(day: date, version: str) -> pl.DataFrame:
    names = [f"p{number:05d}" for number in range(ROWS + 10 * VERSIONS.index(version))]
    return pl.DataFrame(
        {"product_id": names, "as_of": day, "product_name": f"{version} {day}", "first_seen": day, "last_seen": day}
    )


def _write_table(folder: Path, version: str) -> None:
    of = contract("products")
    list(Lake(folder).write(of, DAYS, DailyFrames(lambda day: _products(day, version))))


@functools.cache
def _hash_of(day: date, version: str) -> str:
    of = contract("products")
    return hash_frame(of.conform(_products(day, version)).collect(), of)


def _find_table(folder: Path) -> str | None:
    of, lake = contract("products"), Lake(folder)
    held = {day: lake.scan(of, [day]).collect() for day in DAYS}
    if all(frame.is_empty() for frame in held.values()):
        return None
    told = {day: hash_frame(frame, of) for day, frame in held.items()}
    for version in VERSIONS:
        if told == {day: _hash_of(day, version) for day in DAYS}:
            return version
    message = f"partitions of {[frame.height for frame in held.values()]} rows are no version"
    raise AssertionError(message)


def _write_model(folder: Path, version: str) -> None:
    with write_model(folder / "model") as directory:
        for part in ("config", "weights"):
            (directory / f"{part}.json").write_text(json.dumps([version] * 20_000))


def _find_model(folder: Path) -> str | None:
    if not (folder / "model" / "CURRENT").exists():
        return None
    found = open_model(folder / "model")[0]
    told = {json.loads((found / f"{part}.json").read_text())[0] for part in ("config", "weights")}
    assert len(told) == 1
    return told.pop()


def _write_settings(folder: Path, version: str) -> None:
    Settings(home=folder).remember(timezone={"a": "UTC", "b": "Asia/Shanghai"}[version], horizon_days=30)


def _find_settings(folder: Path) -> str | None:
    path = folder / "insight.env"
    if not path.exists():
        return None
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert lines["INSIGHT_HORIZON_DAYS"] == "30"
    return {"UTC": "a", "Asia/Shanghai": "b"}[lines["INSIGHT_TIMEZONE"]]


def _write_page(folder: Path, version: str) -> None:
    write_whole(folder / "page.html", version * 3_000_000)


def _find_page(folder: Path) -> str | None:
    path = folder / "page.html"
    if not path.exists():
        return None
    text = path.read_text()
    assert len(text) == 3_000_000
    assert len(set(text)) == 1
    return text[0]


def _write_landing(folder: Path, version: str) -> None:
    source = folder / "from" / f"{version}.csv"
    if not source.exists():
        source.parent.mkdir(exist_ok=True)
        write_whole(source, f"{version}\n" * 1_000_000)
    (folder / "landing" / source.name).unlink(missing_ok=True)
    land_files([source], folder / "landing")


def _find_landing(folder: Path) -> str | None:
    finished = [path for path in (folder / "landing").glob("*") if not path.name.startswith(".")]
    for path in finished:
        assert path.read_text() == f"{path.stem}\n" * 1_000_000
    return max(finished, key=lambda path: path.stat().st_mtime_ns).stem if finished else None


WRITERS = {
    "table": Writer(_write_table, _find_table),
    "model": Writer(_write_model, _find_model),
    "settings": Writer(_write_settings, _find_settings),
    "page": Writer(_write_page, _find_page),
    "landing": Writer(_write_landing, _find_landing),
}


def write_for_ever(name: str, folder: str, started: Callable[[], None]) -> None:
    """Write the two versions in turn until killed.

    Args:
        name: key of `WRITERS`.
        folder: where to write.
        started: called before the first write.
    """
    started()
    while True:
        for version in VERSIONS:
            WRITERS[name].write(Path(folder), version)
