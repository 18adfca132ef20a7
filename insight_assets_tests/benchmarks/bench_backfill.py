"""Twenty weekly as-of days of a small simulated shop, backfilled twice through Dagster, must leave equal hashes.

    python -m insight_assets_tests.benchmarks.bench_backfill

Not a test. Three homes get the same files and the same pseudonym key:

- in the first the as-of days are built in order, so that no model of a later day exists when a day is built;
- in the second, which is the first as it was before its as-of days, in a shuffled order, so that for most days it does,
  and once more where that left something stale;
- in the third no file after an early as-of day ever lands, and that day alone is built.

Compared are the content hashes of every partition of every asset, models included: rows, features, models, scores,
segments, recommendations, profiles. What reads all scorecards so far is compared once nothing is stale.
"""

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from insight_assets.definitions import build_defs
from insight_assets.metadata import partition_states
from insight_assets_tests.flows.shop import Home

FIRST_DAY = date(2025, 1, 1)
WEEK = timedelta(days=7)
# Horizon and migration are whole weeks, so that what a day looks back on is one of the days built.
SETTINGS = {"INSIGHT_HORIZON_DAYS": "14", "INSIGHT_MIGRATION_DAYS": "14", "INSIGHT_MAX_EPOCHS": "2"}
ROWS = '+key:"customer_days"'
LONGEST = 4 * 3600.0

Hashes = Mapping[tuple[str, str], str]


def main() -> None:
    """Build the homes and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=100)
    parser.add_argument("--origins", type=int, default=20)
    parser.add_argument("--history", type=int, default=42, help="days up to the first as-of day")
    parser.add_argument("--folder", type=Path, help="where the homes are made; by default removed afterwards")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        failed = compare(arguments.folder or Path(spare), arguments)
    raise SystemExit(1 if failed else 0)


def compare(folder: Path, arguments: argparse.Namespace) -> bool:
    """Say whether any hash differs."""
    days = arguments.history + 7 * (arguments.origins - 1)
    last = FIRST_DAY + timedelta(days=days - 1)
    origins = sorted(last - WEEK * back for back in range(arguments.origins))
    shuffled = random.Random(7).sample(origins, len(origins))
    early = origins[len(origins) // 3]

    ordered = Home(folder / "ordered", SETTINGS)
    ordered.run("simulate", "--customers", str(arguments.customers), "--days", str(days))
    short = _same_shop(ordered, folder / "short")
    for file in (short.path / "landing" / "segment").iterdir():
        if file.name.split(".")[0][-10:] > early.isoformat():
            file.unlink()

    _build(ordered, [], "event days", "--select", ROWS)
    again = _same_shop(ordered, folder / "shuffled")
    # The key is drawn by the first build; everybody's pseudonym follows from it.
    shutil.copytree(ordered.path / "secrets", short.path / "secrets", dirs_exist_ok=True)
    _build(ordered, origins, "in order")
    first = hashes(ordered)
    _build(again, shuffled, "shuffled")
    told_once = _differences(first, hashes(again))
    _build(ordered, origins, "in order, what that left stale")
    _build(again, origins, "shuffled, what that left stale")
    first, second = hashes(ordered), hashes(again)
    _build(short, [early], f"as of {early}, nothing later has landed")
    third = hashes(short)

    assets = sorted({name for name, _ in first})
    print(f"{len(origins)} as-of days, {len(assets)} assets, {len(first):,} partitions: {', '.join(assets)}")
    at_origins = [name for name in assets if (name, origins[-1].isoformat()) in first]
    print(f"as of {origins[-1]}: {len(at_origins)} assets")
    print(f"after one pass {len(told_once)} partitions differ: {_named(told_once)}")
    differing = _differences(first, second)
    print(f"after the second pass {len(differing)} differ: {_named(differing)}")
    # Which scorecards were made by then depends on the days that were built, not on what is known of them.
    shared = {key: first[key] for key in third if key in first and key[0] != "champion_history"}
    truncated = _differences(shared, third)
    of_early = sum(day == early.isoformat() for _, day in shared)
    print(
        f"of {len(shared):,} partitions of a home that knew nothing after {early} ({of_early} of that day) "
        f"{len(truncated)} differ: {_named(truncated)}"
    )
    return bool(differing or truncated)


def _same_shop(home: Home, path: Path) -> Home:
    shutil.copytree(home.path, path)
    return Home(path, home.settings)


def _build(home: Home, origins: list[date], what: str, *chosen: str) -> None:
    wall = time.perf_counter()
    asked = [word for day in origins for word in ("--as-of", day.isoformat())]
    done = home.run("build", "--json", *chosen, *asked, timeout=LONGEST)
    print(f"{time.perf_counter() - wall:8.0f} s  {what}", flush=True)
    if '"failures": []' not in done.stdout:
        raise SystemExit(done.stdout[-4000:])


def hashes(home: Home) -> Hashes:
    """Content hash of every partition of every asset of a home."""
    names = [key.to_user_string() for key in build_defs().resolve_asset_graph().materializable_asset_keys]
    with home.instance() as instance:
        return {
            (name, day): state.content_hash
            for name in names
            for day, state in partition_states(instance, name).items()
        }


def _differences(one: Hashes, other: Hashes) -> list[tuple[str, str]]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _named(keys: list[tuple[str, str]]) -> str:
    counted: dict[str, int] = {}
    for name, _ in keys:
        counted[name] = counted.get(name, 0) + 1
    return ", ".join(f"{name} {count}" for name, count in counted.items()) or "none"


if __name__ == "__main__":
    main()
