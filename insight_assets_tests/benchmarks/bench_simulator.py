"""How fast the simulator writes a shop, and in how much memory.

Each measurement runs in its own process, so that peak memory belongs to it alone. Beside each
format stands its floor: writing as many rows of the same columns, shuffled, without simulating.
Run as `python -m insight_assets_tests.benchmarks.bench_simulator --customers 50000 --days 30`.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.simulator.landing import write_landing
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import simulate_days

GOALS = {"parquet": 3_000_000, "ndjson": 1_000_000}
MEASUREMENTS = ("parquet", "ndjson", "parquet floor", "ndjson floor")


def simulate(plan: SimulationPlan, folder: Path, file_format: str) -> int:
    """Write the shop in one format and give the number of rows."""
    if file_format == "parquet":
        return write_landing(plan, folder, file_format="parquet").rows
    return write_landing(plan, folder, file_format="ndjson", compression="gz").rows


def write_only(plan: SimulationPlan, folder: Path, file_format: str) -> int:
    """Write the first day's columns, shuffled, once a day; give the number of rows."""
    frame = next(simulate_days(plan)).frame()
    random = np.random.default_rng(plan.seed)
    shuffled = frame.select(
        frame[column].gather(random.permutation(len(frame))) for column in frame.columns
    )
    for day in range(plan.days):
        path = folder / f"floor-{day}.{file_format}"
        if file_format == "parquet":
            shuffled.write_parquet(path, statistics=False)
        else:
            with gzip.open(path, "wb", compresslevel=1) as sink:
                shuffled.write_ndjson(sink)
    return len(shuffled) * plan.days


def measure(name: str, plan: SimulationPlan) -> dict[str, float]:
    """Run one measurement in this process."""
    file_format = name.split(maxsplit=1)[0]
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        work = write_only if name.endswith("floor") else simulate
        rows = work(plan, Path(folder), file_format)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "wall": wall, "cpu": cpu, "size": size, "peak": peak}


def main() -> None:
    """Measure all formats and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--only", choices=MEASUREMENTS)
    options = parser.parse_args()
    if options.only:
        plan = SimulationPlan(
            customers=options.customers, days=options.days, products=options.products
        )
        print(json.dumps(measure(options.only, plan)))
        return
    results = []
    for name in MEASUREMENTS:
        command = [sys.executable, "-m", "insight_assets_tests.benchmarks.bench_simulator"]
        for option in ("customers", "days", "products"):
            command += [f"--{option}", str(getattr(options, option))]
        done = subprocess.run(
            [*command, "--only", name], check=True, capture_output=True, text=True
        )
        found = json.loads(done.stdout)
        goal = None if name.endswith("floor") else GOALS[name]
        results.append(
            {
                "measurement": name,
                "events": found["rows"],
                "events a second": round(found["rows"] / found["wall"]),
                "events a minute": round(found["rows"] / found["wall"] * 60),
                "goal a minute": goal,
                "CPU s": round(found["cpu"], 1),
                "bytes an event": round(found["size"] / max(found["rows"], 1)),
                "peak MB": round(found["peak"]),
            }
        )
    with pl.Config(tbl_cols=-1, tbl_width_chars=140, tbl_hide_dataframe_shape=True):
        print(pl.DataFrame(results))


if __name__ == "__main__":
    main()
