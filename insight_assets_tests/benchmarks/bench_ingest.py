"""From landed files to validated tables in rows a second and peak memory, beside only reading the columns.

    python -m insight_assets_tests.benchmarks.bench_ingest --events 1000000

Simulates a shop's NDJSON files (gzip, one a day), then takes each measurement in a process of its own; each stage works
on what the one before it left. `through dagster` does all of them again in one recorded run, as a build does. Figures
of one run are to be compared with each other, not with those of another machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from insight_assets_tests.benchmarks.memory import peak_megabytes

FIRST_DAY = date(2025, 1, 1)
ZONE = "Asia/Shanghai"
MAX_BYTES = 8_000_000_000
# Measured with the plan's defaults; the number of rows that were in fact made is printed.
EVENTS_A_CUSTOMER_AND_DAY = 1.27


def simulate(folder: Path, *, events: int, days: int) -> int:
    """Write the landing files; give the number of rows."""
    from insight_assets.simulator.landing import write_landing
    from insight_assets.simulator.plan import SimulationPlan

    customers = max(200, round(events / days / EVENTS_A_CUSTOMER_AND_DAY))
    plan = SimulationPlan(customers=customers, days=days, products=1_000, start=FIRST_DAY)
    return write_landing(plan, folder / "landing" / "segment", file_format="ndjson", compression="gz").rows


def only_read(folder: Path, days: int) -> None:
    """Unpack each file and parse the columns of the contract, and nothing else."""
    import io

    from insight_assets.ingestion.readers import _json_shape, read_delivery

    shape = dict(_json_shape(_segment().delivered).to_schema())
    for path in sorted((folder / "landing" / "segment").iterdir()):
        pl.read_ndjson(io.BytesIO(read_delivery(path, max_bytes=MAX_BYTES).data), schema=shape)


def look(folder: Path, days: int) -> None:
    """Open each landed file and place its rows, as the inventory does once a file."""
    _inventory(folder).refresh(_segment())


def load(folder: Path, days: int) -> None:
    """Load raw."""
    from insight_assets.contracts.pandera_schemas import validate_frame
    from insight_assets.ingestion.raw import RawLoader, raw_contract
    from insight_assets.lake import DailyFrames

    of, lake = raw_contract(_segment()), _lake(folder)
    loader = RawLoader(_segment(), _inventory(folder), lake)
    for _ in lake.write(of, _days(days), DailyFrames(loader.rows_of), audit=lambda frame: validate_frame(of, frame)):
        pass


def validated_day(folder: Path, day: date) -> Any:
    """Validate the raw rows of one day."""
    from insight_assets.ingestion.raw import raw_contract
    from insight_assets.validation.pseudonyms import pseudonymiser
    from insight_assets.validation.publishing import validate_day

    source = _segment()
    raw = {source.name: _lake(folder).scan(raw_contract(source), [day]).collect()}
    return validate_day(
        day, raw, {source.name: source}, pseudonym=pseudonymiser(b"bench"), shop_timezone=ZONE, budgets={}
    )


def validate(folder: Path, days: int) -> None:
    """Validate raw and publish the canonical tables."""
    from insight_assets.contracts.catalogue import contract
    from insight_assets.contracts.pandera_schemas import validate_frame
    from insight_assets.lake import DailyFrames
    from insight_assets.validation.publishing import TABLES

    lake = _lake(folder)
    for day in _days(days):
        made = validated_day(folder, day)
        for name in TABLES:
            of, frames = contract(name), DailyFrames(lambda _, name=name, made=made: made.tables[name])
            list(lake.write(of, [day], frames, audit=lambda frame, of=of: validate_frame(of, frame)))


def through_dagster(folder: Path, days: int) -> None:
    """Do all of it in one run of Dagster, recorded in an instance on disk."""
    from insight_assets.building import open_instance
    from insight_assets.settings import choose_home
    from insight_assets_tests.shop_home import ShopHome, accounts

    home = folder / "home"
    home.mkdir()
    shop = choose_home(home)
    (home / "landing").symlink_to(folder / "landing")
    (folder / "landing" / ".inventory.sqlite").unlink(missing_ok=True)
    with open_instance(shop) as instance:
        result = ShopHome(home, instance, timezone=ZONE).build(str(_days(days)[0]), str(_days(days)[-1]))
        found = accounts(result)
    assert found["delivered"] == found["accepted"] + found["duplicate"] + found["quarantined"]


MEASUREMENTS: dict[str, Callable[[Path, int], None]] = {
    "only read the columns": only_read,
    "look at landed files": look,
    "load raw": load,
    "validate and publish": validate,
    "through dagster": through_dagster,
}


def _segment() -> Any:
    from insight_assets.contracts.sources import source_contracts

    return source_contracts()["segment"]


def _inventory(folder: Path) -> Any:
    from insight_assets.ingestion.landing import Inventory

    return Inventory(folder / "landing", shop_timezone=ZONE, max_file_bytes=MAX_BYTES)


def _lake(folder: Path) -> Any:
    from insight_assets.lake import Lake

    return Lake(folder / "lake")


def _days(count: int) -> list[date]:
    return [FIRST_DAY + timedelta(days=number) for number in range(count)]


def measure(name: str, folder: Path, days: int) -> dict[str, float]:
    """Take one measurement in this process."""
    _segment()
    wall, cpu = time.perf_counter(), time.process_time()
    MEASUREMENTS[name](folder, days)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "peak": peak_megabytes()}


def main() -> None:
    """Measure every stage and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--only", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.folder, options.days)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = simulate(folder, events=options.events, days=options.days)
        size = sum(path.stat().st_size for path in (folder / "landing").rglob("*.gz"))
        print(f"{rows:,} calls in {options.days} files, {size / 1e6:,.0f} MB packed")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("INSIGHT_", "DAGSTER_"))}
        environment |= {"INSIGHT_HOME": str(folder / "home"), "INSIGHT_START_DATE": FIRST_DAY.isoformat()}
        found: list[dict[str, Any]] = []
        for measurement in MEASUREMENTS:
            command = [sys.executable, "-W", "ignore", "-m", "insight_assets_tests.benchmarks.bench_ingest"]
            command += ["--only", measurement, "--folder", name, "--days", str(options.days)]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
            took = json.loads(done.stdout.splitlines()[-1])
            found.append(
                {
                    "measurement": measurement,
                    "rows a second": round(rows / took["wall"]),
                    "rows a CPU second": round(rows / took["cpu"]),
                    "CPU s": round(took["cpu"], 1),
                    "times only reading": round(took["cpu"] / found[0]["CPU s"], 2) if found else 1.0,
                    "peak MB": round(took["peak"]),
                }
            )
        with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=140, tbl_hide_dataframe_shape=True):
            print(pl.DataFrame(found))


if __name__ == "__main__":
    main()
