"""What the drift checks catch, how often they cry wolf, and what they cost.

    python -m insight_assets_tests.benchmarks.bench_drift --customers 1000 --seeds 7 8 9

For each seed a clean shop of 228 days is simulated and validated. Reported are the share of its last 200 days with any
finding in any table; of each fault, planted in turn into ten of those days, how often the expected figure was found;
and the seconds a partition costs: profile, judgement, and Great Expectations over the one-row profile.
"""

import argparse
import time
from collections.abc import Callable

import polars as pl

from insight_assets.monitoring.drift import judge_days
from insight_assets.monitoring.partition_profiles import PROFILED, QUARANTINE
from insight_assets.monitoring.suites import hold_profile
from insight_assets_tests.monitoring import simulated_shop as faults

TABLES = (*PROFILED, QUARANTINE)
JUDGED_DAYS = 200
FAULTS: dict[Callable, tuple[str, str]] = {
    faults.prices_in_cents: ("order_lines", "median of unit_price"),
    faults.channel_gone_silent: ("events", "share of channel = app"),
    faults.events_doubled: ("events", "repeated_share"),
    faults.event_missing: ("events", "share of event = product_added"),
    faults.currency_switched: ("order_lines", "share of currency = CNY"),
    faults.nulls_in_category: ("events", "null_share of category"),
    faults.pieces_for_dozens: ("order_lines", "median of quantity"),
    faults.clock_standing_still: ("events", "busiest_hour_share of event_time"),
    faults.category_renamed: ("events", "share of category = clothing"),
    faults.many_quarantined: ("quarantine", "quarantined_share = any rule"),
    faults.flood_of_views: ("events", "rows"),
    faults.last_file_missing: ("events", "last_hour of event_time"),
    faults.volume_halved: ("events", "rows"),
}


def false_alarms(shop: faults.SimulatedShop) -> dict[object, list[str]]:
    """Give the clean days with findings, and the figures."""
    found: dict[object, list[str]] = {}
    for table in TABLES:
        for verdict in judge_days(shop.profiles, table, shop.days[-JUDGED_DAYS:]):
            if verdict.findings:
                found.setdefault(verdict.day, []).extend(f"{table} {b.figure.name}" for b in verdict.findings)
    return found


def caught(shop: faults.SimulatedShop) -> dict[str, tuple[int, int]]:
    """Give per fault on how many of the tried days its figure was found."""
    days = shop.days[-JUDGED_DAYS + 10 :: JUDGED_DAYS // 10]
    counts = {}
    for fault, (table, figure) in FAULTS.items():
        hits = 0
        for day in days:
            _, profiles = shop.with_fault(day, fault)
            (verdict,) = judge_days(profiles.filter(pl.col("event_day") <= day), table, [day])
            hits += figure in {band.figure.name for band in verdict.findings}
        counts[fault.__name__] = (hits, len(days))
    return counts


def costs(shop: faults.SimulatedShop) -> list[dict[str, object]]:
    """Measure one partition of each table, after a first one that imports the libraries."""
    day = shop.days[-1]
    rows = {name: frame.filter(pl.col("event_day") == day) for name, frame in shop.tables.items()}
    table = []
    for name in ("orders", *TABLES):
        started = time.process_time(), time.perf_counter()
        faults.profile(rows, [day])
        profiled = time.process_time(), time.perf_counter()
        (verdict,) = judge_days(shop.profiles, name, [day])
        judged = time.process_time(), time.perf_counter()
        report = hold_profile(verdict, shop.profiles)
        held = time.process_time(), time.perf_counter()
        spent = {"profile of all tables": (started, profiled), "judge": (profiled, judged), "GX": (judged, held)}
        table.append(
            {"table": name, "expectations": len(report.outcomes)}
            | {f"{what} CPU s": round(after[0] - before[0], 3) for what, (before, after) in spent.items()}
            | {f"{what} s": round(after[1] - before[1], 3) for what, (before, after) in spent.items()}
        )
    return table[1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    options = parser.parse_args()
    alarms, hits = [], {name.__name__: [0, 0] for name in FAULTS}
    for seed in options.seeds:
        shop = faults.simulate_shop(customers=options.customers, days=JUDGED_DAYS + 28, seed=seed)
        found = false_alarms(shop)
        alarms.append(len(found))
        daily = shop.tables["events"].height / len(shop.days)
        print(f"seed {seed}: {daily:,.0f} events a day; {len(found)} false alarms")
        for day, figures in sorted(found.items()):
            print(f"  {day}: {', '.join(figures)}")
        for name, (hit, tried) in caught(shop).items():
            hits[name] = [hits[name][0] + hit, hits[name][1] + tried]
    print(f"false alarms: {sum(alarms)} of {JUDGED_DAYS * len(alarms)} clean days")
    for name, (hit, tried) in hits.items():
        print(f"{name}: caught on {hit} of {tried} days")
    with pl.Config(tbl_cols=-1, tbl_width_chars=160, tbl_hide_dataframe_shape=True):
        print(pl.DataFrame(costs(shop)))


if __name__ == "__main__":
    main()
