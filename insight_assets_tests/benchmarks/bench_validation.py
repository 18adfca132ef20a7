"""What it costs to hold rows against their contract, beside the cost of only ingesting them.

    python -m insight_assets_tests.benchmarks.bench_validation --rows 1000000

Canonical events of a simulated day are repeated, under identities of their own, to the wanted number; of the dirty ones
a known share breaks a known rule, and the count that validation gives must be that number. Measured in processes of
their own, CPU seconds a million rows: NDJSON to typed, sorted Parquet (the ingest that all is compared with), the
pass of row rules that counts, names and splits, the Pandera guard, Great Expectations over the one-row profile, and
Great Expectations over the rows themselves (the rival; on a tenth of the rows, since it takes its time).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets_tests.benchmarks.memory import peak_megabytes

DAY = date(2025, 1, 1)
ZONE = "Asia/Shanghai"
SIMULATED = 60_000
DIRTY_SHARE = 0.01
ROWS_OF_THE_RIVAL = 0.1
PLANTED = {"price.minimum": "price", "currency.pattern": "currency", "event_id.required": "event_id"}
"""Rule to the column that is spoilt for it."""


def make_rows(folder: Path, rows: int) -> dict[str, int]:
    """Write clean and dirty events as Parquet, and the clean ones as NDJSON.

    Returns:
        Rule to the number of rows that were spoilt for it.
    """
    from insight_assets_tests.benchmarks import bench_ingest as ingest

    ingest.simulate(folder, events=SIMULATED, days=1)
    ingest.look(folder, 1)
    ingest.load(folder, 1)
    day = ingest.validated_day(folder, DAY).tables["events"]
    copies = -(-rows // day.height)
    number = pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.String)
    clean = pl.concat([day] * copies).head(rows).with_columns(event_id=pl.col("event_id") + "-" + number)
    place, period = pl.int_range(pl.len()), round(1 / DIRTY_SHARE)
    chosen = (place % period) == 0
    which = (place // period) % len(PLANTED)
    spoilt = {"price": pl.lit(-1), "currency": pl.lit("usd"), "event_id": pl.lit(None, dtype=pl.String)}
    dirty = clean.with_columns(
        pl.when(chosen & (which == number)).then(spoilt[column]).otherwise(pl.col(column)).cast(clean.schema[column])
        .alias(column)
        for number, column in enumerate(PLANTED.values())
    )
    clean.write_parquet(folder / "clean.parquet")
    dirty.write_parquet(folder / "dirty.parquet")
    clean.cast({pl.Decimal: pl.String}).write_ndjson(folder / "clean.ndjson")
    counted = -(-rows // period)
    return {rule: len(range(n, counted, len(PLANTED))) for n, rule in enumerate(PLANTED)}


def ingest(folder: Path) -> Callable[[], Any]:
    """NDJSON to typed rows, sorted, to Parquet."""
    of = contract("events")
    written = {name: pl.String() if isinstance(kind, pl.Decimal) else kind for name, kind in of.polars_schema().items()}

    def run() -> None:
        rows = pl.read_ndjson(folder / "clean.ndjson", schema=written)
        of.conform(rows.cast(of.polars_schema()).lazy()).collect().sort(of.primary_key).write_parquet(folder / "out.parquet")

    return run


def row_rules(name: str) -> Callable[[Path], Callable[[], Any]]:
    """One pass that counts broken rules, names them and splits the rows."""

    def prepare(folder: Path) -> Callable[[], Any]:
        from insight_assets.contracts.rules import judge

        rows, rules = pl.read_parquet(folder / f"{name}.parquet"), contract("events").row_rules()

        def run() -> dict[str, int]:
            judged = judge(rows.lazy(), rules).collect()
            good = judged.filter(pl.col("rule").is_null())
            bad = judged.filter(pl.col("rule").is_not_null())
            assert good.height + bad.height == rows.height
            return dict(bad.group_by("rule").len().sort("rule").iter_rows())

        return run

    return prepare


def pandera_guard(folder: Path) -> Callable[[], Any]:
    """The Pandera schema that every published frame passes."""
    from insight_assets.contracts.pandera_schemas import validate_frame

    rows = pl.read_parquet(folder / "clean.parquet")
    validate_frame(contract("events"), rows.head(10))

    def run() -> None:
        validate_frame(contract("events"), rows)

    return run


def profile_suite(folder: Path) -> Callable[[], Any]:
    """The one-row profile of the partition, and Great Expectations over it."""
    from insight_assets.monitoring.drift import judge_days
    from insight_assets.monitoring.partition_profiles import profile_days
    from insight_assets.monitoring.suites import hold_profile

    rows = pl.read_parquet(folder / "clean.parquet")

    def over(frame: pl.DataFrame) -> int:
        profiles = profile_days("events", frame.lazy(), [DAY], timezone=ZONE)
        (verdict,) = judge_days(profiles, "events", [DAY])
        return len(hold_profile(verdict, profiles).outcomes)

    over(rows.head(1_000))
    return lambda: over(rows)


def rows_in_great_expectations(folder: Path) -> Callable[[], Any]:
    """The rival: the same contract as expectations over the rows."""
    from insight_assets.contracts.expectations import run_expectations

    rows = pl.read_parquet(folder / "clean.parquet")
    part = rows.head(round(rows.height * ROWS_OF_THE_RIVAL))
    run_expectations(contract("events"), rows.head(100))
    return lambda: run_expectations(contract("events"), part)


MEASUREMENTS: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "NDJSON to typed Parquet": ingest,
    "row rules, clean": row_rules("clean"),
    "row rules, dirty": row_rules("dirty"),
    "Pandera guard": pandera_guard,
    "Great Expectations, profile": profile_suite,
    "Great Expectations, rows": rows_in_great_expectations,
}


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Take one measurement in this process."""
    run = MEASUREMENTS[name](folder)
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "peak": peak_megabytes(), "found": found if isinstance(found, dict) else None}


def main() -> None:
    """Measure everything and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        planted = make_rows(Path(name), options.rows)
        table: list[dict[str, Any]] = []
        for measurement in MEASUREMENTS:
            command = [sys.executable, "-W", "ignore", "-m", "insight_assets_tests.benchmarks.bench_validation"]
            done = subprocess.run(
                [*command, "--only", measurement, "--folder", name], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            took = json.loads(done.stdout.splitlines()[-1])
            share = ROWS_OF_THE_RIVAL if measurement == "Great Expectations, rows" else 1.0
            cpu = took["cpu"] / share / options.rows * 1e6
            table.append(
                {
                    "measurement": measurement, "CPU s a million rows": round(cpu, 3),
                    "share of ingest": round(cpu / table[0]["CPU s a million rows"], 3) if table else 1.0,
                    "wall s": round(took["wall"], 2), "peak MB": round(took["peak"]),
                }
            )
            if measurement == "row rules, dirty":
                assert took["found"] == dict(sorted(planted.items())), (took["found"], planted)
        with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=140, tbl_hide_dataframe_shape=True):
            print(pl.DataFrame(table))
        print(f"planted and found: {planted}")


if __name__ == "__main__":
    main()
