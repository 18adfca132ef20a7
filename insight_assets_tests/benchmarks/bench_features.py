"""Features in rows per second and peak memory, beside the cost of only reading their columns.

    python -m insight_assets_tests.benchmarks.bench_features --events 1000000
    python -m insight_assets_tests.benchmarks.bench_features --events 12000000 --customers 1000000 --everybody \
        --only sessions customer_days customer_state customer_features

Makes validated tables of a plain shop (one Parquet file a day, no lake and no Dagster around it),
then takes each measurement in a process of its own. Figures of one run are to be compared with each
other, not with those of another machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.features.batches import build_in_batches
from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.customer_features import build_customer_features, describe_in_slices
from insight_assets.features.customer_state import build_customer_state
from insight_assets.features.product_days import build_product_days
from insight_assets.features.sequences import build_event_sequences
from insight_assets.features.sessions import build_sessions
from insight_assets.lake import hash_frame
from insight_assets_tests.benchmarks.memory import peak_megabytes

FIRST_DAY = date(2025, 1, 1)
KINDS = {
    "page_viewed": 0.27,
    "product_viewed": 0.4,
    "products_searched": 0.12,
    "product_added": 0.09,
    "product_removed": 0.02,
    "checkout_started": 0.04,
    "order_completed": 0.03,
    "product_reviewed": 0.01,
    "order_delivered": 0.02,
}
EVENTS_A_VISIT = 6
SEED = 1


def make_day(day: date, rows: int, customers: int, *, seed: int, everybody: bool = False) -> dict[str, pl.DataFrame]:
    """Draw one day's validated tables; products are drawn by Zipf's law, and customers unless `everybody` comes."""
    draw = np.random.default_rng([seed, day.toordinal()])
    visits = max(1, rows // EVENTS_A_VISIT)
    who = draw.integers(0, customers, visits) if everybody else draw.zipf(1.3, visits) % customers
    starts = draw.uniform(0, 86_000, visits)
    visit = np.sort(draw.integers(0, visits, rows))
    seconds = np.minimum(starts[visit] + draw.exponential(200, rows), 86_399)
    midnight = (day - date(1970, 1, 1)).days * 86_400
    key = pl.Series((who[visit] + 1).astype(np.int64) * 0x9E3779B97F4A7C & (2**63 - 1))
    products = pl.Series(draw.zipf(1.2, rows) % 20_000)
    cents = draw.integers(500, 50_000, rows)
    sold = pl.col("event") == "order_completed"
    events = pl.DataFrame(
        {
            "event_id": pl.Series(draw.integers(0, 2**62, rows)).cast(pl.String),
            "event": pl.Series(list(KINDS)).gather(
                draw.choice(len(KINDS), rows, p=list(KINDS.values()))
            ),
            "event_time": pl.Series(((midnight + seconds) * 1e6).astype(np.int64)).cast(
                pl.Datetime("us", "UTC")
            ),
            "known_at": pl.Series(((midnight + seconds) * 1e6).astype(np.int64)).cast(
                pl.Datetime("us", "UTC")
            ),
            "actor_key": key,
            "customer_key": key,
            "campaign_source": pl.Series([None, None, "google", "mail"], dtype=pl.String).gather(visit % 4),
            "country": pl.Series(["CN", "SG"]).gather(who[visit] % 2),
            "quantity": pl.Series(np.ones(rows, dtype=np.int64)),
            "channel": pl.Series(["web", "app", "mini_program"]).gather(draw.integers(0, 3, rows)),
            "device": pl.Series(["mobile", "desktop"]).gather(draw.integers(0, 2, rows)),
            "product_id": pl.select(pl.format("p{}", products)).to_series(),
            "category": pl.select(pl.format("c{}", products % 50)).to_series(),
            "brand": pl.select(pl.format("b{}", products % 300)).to_series(),
            "price": pl.Series(cents),
            "results": pl.Series(draw.integers(0, 30, rows)),
            "rating": pl.Series(draw.integers(1, 6, rows)),
        }
    ).with_columns(
        pl.lit("bench").alias("source"),
        pl.lit("person").alias("traffic"),
        pl.lit(day).alias("event_day"),
        pl.lit("0" * 32).alias("file_hash"),
        pl.int_range(1, pl.len() + 1).alias("line"),
        (pl.col("price") / 100).cast(pl.Decimal(18, 4)),
        campaign_medium=pl.lit(None, pl.String),
        order_id=pl.when(sold).then(pl.format("o{}-{}", pl.lit(day), pl.int_range(pl.len()))),
    )
    events = events.with_columns(
        value=pl.when(sold).then("price"), currency=pl.when(sold).then(pl.lit("CNY"))
    )
    none = pl.lit(0).cast(pl.Decimal(18, 4))
    lines = events.filter(sold).with_columns(
        pl.lit("sale").alias("kind"),
        pl.col("event_id").alias("order_line_id"),
        pl.lit(1).alias("quantity"),
        pl.col("price").alias("unit_price"),
        pl.col("price").alias("gross"),
        pl.col("price").alias("net"),
        *(none.alias(name) for name in ("discount", "tax", "shipping", "refunded", "cancelled")),
        *(pl.col("price").alias(f"{name}_base") for name in ("gross", "net")),
        *(none.alias(f"{name}_base") for name in ("discount", "tax", "shipping", "refunded", "cancelled")),
        pl.lit("CNY").alias("base_currency"),
        pl.lit(1).cast(pl.Decimal(18, 8)).alias("exchange_rate"),
        is_product=pl.lit(value=True),
    )
    orders = lines.with_columns(lines=pl.lit(1), products=pl.lit(1), units=pl.lit(1))
    return {"events": events, "order_lines": lines, "orders": orders}


def make_shop(folder: Path, *, events: int, days: int, customers: int, everybody: bool) -> None:
    """Write the validated tables, one Parquet file a table and day, sorted by customer and time."""
    for number in range(days):
        day = FIRST_DAY + timedelta(days=number)
        for name, frame in make_day(day, events // days, customers, seed=SEED, everybody=everybody).items():
            rows = contract(name).conform(frame).collect().sort("customer_key", "event_time")
            write(folder, name, day, rows)


def write(folder: Path, name: str, day: date, rows: pl.DataFrame) -> None:
    (folder / name).mkdir(exist_ok=True)
    rows.write_parquet(folder / name / f"{day}.parquet")


def read(folder: Path, name: str, *days: date) -> pl.LazyFrame:
    """Scan the files of some days, or of all."""
    files = [folder / name / f"{day}.parquet" for day in days] or sorted(
        (folder / name).glob("*.parquet")
    )
    return pl.scan_parquet([file for file in files if file.exists()])


def days_in(folder: Path) -> Iterator[date]:
    yield from sorted(
        date.fromisoformat(file.stem) for file in (folder / "events").glob("*.parquet")
    )


def last_day(folder: Path) -> date:
    return list(days_in(folder))[-1]


def decode(rows: pl.LazyFrame) -> None:
    """Read every value of a frame and keep none."""
    for _ in rows.collect_batches(chunk_size=100_000):
        pass


def between(folder: Path, name: str, first: date, last: date) -> pl.LazyFrame:
    """Scan the files of the days from the first to the last."""
    return read(folder, name, *(day for day in days_in(folder) if first <= day <= last))


def make_sessions(folder: Path, first: date, last: date) -> pl.LazyFrame:
    events = between(folder, "events", first - timedelta(days=1), last)
    return build_sessions(events, first=first, last=last)


def make_customer_days(folder: Path, *span: date) -> pl.LazyFrame:
    names = ("events", "orders", "order_lines", "sessions")
    tables = (between(folder, name, *span) for name in names)
    return build_customer_days(*tables, timezone="Asia/Shanghai")


def make_product_days(folder: Path, *span: date) -> pl.LazyFrame:
    return build_product_days(
        between(folder, "events", *span), between(folder, "order_lines", *span)
    )


def by_day(name: str, build: Callable[..., pl.LazyFrame]) -> Callable[[Path], float]:
    """Build a table as its asset does; the time of writing it is not counted."""

    def measure(folder: Path) -> float:
        days = list(days_in(folder))
        start = time.perf_counter()
        frames = build_in_batches(partial(build, folder), read(folder, "events"), days)
        spent = time.perf_counter() - start
        for day in days:
            start = time.perf_counter()
            rows = contract(name).conform(frames.frame_of(day)).collect()
            spent += time.perf_counter() - start
            write(folder, name, day, rows)
        return spent

    return measure


def timed(work: Callable[[Path], object]) -> Callable[[Path], float]:
    def measure(folder: Path) -> float:
        start = time.perf_counter()
        work(folder)
        return time.perf_counter() - start

    return measure


def state_before(folder: Path) -> None:
    """Write the state of the day before the last; part of getting ready, not of a refresh."""
    before = last_day(folder) - timedelta(days=1)
    write(folder, "customer_state", before, build_state(folder, before))


def build_state(folder: Path, as_of: date, since: date | None = None) -> pl.DataFrame:
    days = between(folder, "customer_days", since or FIRST_DAY, as_of)
    before = None if since is None else read(folder, "customer_state", since)
    state = build_customer_state(days, as_of=as_of, before=before, since=since)
    return contract("customer_state").conform(state).collect()


def advance_state(folder: Path) -> None:
    last = last_day(folder)
    write(folder, "customer_state", last, build_state(folder, last, last - timedelta(days=1)))


def refresh(folder: Path) -> None:
    """Describe all customers from the state and the last year's days, in bounded memory: slice after slice goes to disk."""
    as_of, of = last_day(folder), contract("customer_features")
    year = between(folder, "customer_days", as_of - timedelta(days=364), as_of)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        for number, rows in enumerate(describe_in_slices(year, as_of=as_of, state=read(folder, "customer_state", as_of))):
            rows.write_ipc(Path(beside, f"{number}.arrow"))
        held = pl.scan_ipc(Path(beside, "*.arrow"))
        tell(folder, hash_frame(held, of), held.select(pl.len()).collect().item())


def recompute(folder: Path) -> None:
    """Describe all customers from nothing but events and the ledger, in one go."""
    as_of = last_day(folder)
    sessions = build_sessions(read(folder, "events"), first=FIRST_DAY, last=as_of)
    tables = (read(folder, name) for name in ("events", "orders", "order_lines"))
    days = build_customer_days(*tables, sessions, timezone="Asia/Shanghai").collect().lazy()
    keep(folder, build_customer_features(days, as_of=as_of))


def keep(folder: Path, features: pl.LazyFrame) -> None:
    """Hold all features at once and hash them."""
    frame = contract("customer_features").conform(features).collect()
    tell(folder, hash_frame(frame, contract("customer_features")), frame.height)


def tell(folder: Path, content_hash: str, customers: int) -> None:
    """Write down what came out; two ways to the same features have to leave the same."""
    told = f"{content_hash} {customers:,} customers"
    found = folder / "features.txt"
    if found.exists() and found.read_text() != told:
        message = f"features differ: {found.read_text()} and {told}"
        raise SystemExit(message)
    found.write_text(told)
    print(told, file=sys.stderr)


EVENT_COLUMNS = ("customer_key", "event_day", "event", "event_time", "channel", "category")
EVENT_COLUMNS += ("results", "rating")
SEQUENCE_COLUMNS = ("customer_key", "event_day", "event", "event_time", "product_id", "category")
SEQUENCE_COLUMNS += ("value", "price")

MEASUREMENTS: dict[str, Callable[[Path], float]] = {
    "read the event columns of customer_days": timed(
        lambda f: decode(read(f, "events").select(EVENT_COLUMNS))
    ),
    "sessions": by_day("sessions", make_sessions),
    "customer_days": by_day("customer_days", make_customer_days),
    "product_days": by_day("product_days", make_product_days),
    "read customer_days": timed(lambda f: decode(read(f, "customer_days"))),
    "customer_features from all customer_days": timed(
        lambda f: keep(f, build_customer_features(read(f, "customer_days"), as_of=last_day(f)))
    ),
    "customer_state of the day before, from nothing": timed(state_before),
    "customer_state, one day on": timed(advance_state),
    "customer_features from state and partials": timed(refresh),
    "customer_features from events and ledger": timed(recompute),
    "read the event columns of event_sequences": timed(
        lambda f: decode(read(f, "events").select(SEQUENCE_COLUMNS))
    ),
    "event_sequences": timed(
        lambda f: build_event_sequences(read(f, "events"), as_of=last_day(f)).collect()
    ),
}


def measure(name: str, folder: Path) -> dict[str, float]:
    """Take one measurement in this process."""
    before = time.process_time()
    wall = MEASUREMENTS[name](folder)
    return {
        "wall": wall,
        "cpu": time.process_time() - before,
        "megabytes": peak_megabytes(),
    }


def main() -> None:
    """Make the shop, take every measurement in its own process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--customers", type=int, help="default: a twentieth of the events")
    parser.add_argument("--everybody", action="store_true", help="draw customers evenly, so that nearly all come")
    parser.add_argument("--only", nargs="+", help="take only the measurements whose names begin so")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    customers = given.customers or max(10, given.events // 20)
    if given.folder and given.measure:
        print(json.dumps(measure(given.measure, given.folder)))
    elif given.folder:
        make_shop(
            given.folder, events=given.events, days=given.days, customers=customers, everybody=given.everybody
        )
    else:
        wanted = [name for name in MEASUREMENTS if name.startswith(tuple(given.only or [""]))]
        with tempfile.TemporaryDirectory() as folder:
            compare(folder, wanted, given.events, given.days, customers, everybody=given.everybody)


def compare(folder: str, wanted: list[str], events: int, days: int, customers: int, *, everybody: bool) -> None:
    """Print one line a measurement; this process stays small, for a child's peak starts with it."""
    command = [sys.executable, "-m", __spec__.name, "--folder", folder]
    shop = ["--events", str(events), "--days", str(days), "--customers", str(customers)]
    subprocess.run([*command, *shop, *(["--everybody"] if everybody else [])], check=True)
    print(f"{events:,} events on {days} days")
    print(f"{'measurement':50} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'events/s':>12}")
    for name in wanted:
        told = subprocess.run(
            [*command, "--measure", name], check=True, capture_output=True, text=True
        )
        found = json.loads(told.stdout)
        numbers = f"{found['wall']:8.2f} {found['cpu']:8.2f} {found['megabytes']:8.0f}"
        print(f"{name:50} {numbers} {events / found['wall']:12,.0f}", flush=True)


if __name__ == "__main__":
    main()
