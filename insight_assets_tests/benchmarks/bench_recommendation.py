"""Benchmarks of the recommendation methods: quality on two public data sets, and speed.

Not a test. Run one of

    python -m insight_assets_tests.benchmarks.bench_recommendation uci DATA/uci_online_retail/online_retail.parquet
    python -m insight_assets_tests.benchmarks.bench_recommendation beauty DATA/amazon_sequences/s3rec/Beauty.txt.gz
    python -m insight_assets_tests.benchmarks.bench_recommendation speed

`uci` tunes on the horizon before the origin, refits, and grades on the horizon after it.
`beauty` is leave-one-out: full ranking, seen products filtered, targets outside the fitted
products dropped; every customer's last but one product is held out of the fit and known when the
last one is predicted, as in the eSASRec benchmark.
"""

import argparse
import gzip
import resource
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.insights.recommendation.grading import grade_lists, hits, ndcg, truth_of
from insight_assets.insights.recommendation.interactions import (
    catalogue_of,
    history_of,
    interactions,
    purchases,
)
from insight_assets.insights.recommendation.methods import (
    METHODS,
    WEIGHTS_KEPT,
    available_products,
    fit,
    tune,
)
from insight_assets.insights.recommendation.neighbours import ease
from insight_assets.insights.recommendation.publishing import (
    Publication,
    publication,
    reason_shares,
    recommend,
)
from insight_assets.insights.recommendation.ranking import Policy, Ranker, rank
from insight_assets.ml.referee import scorecard_markdown


def main() -> None:
    """Run the benchmark named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    uci = commands.add_parser("uci")
    uci.add_argument("file", type=Path)
    uci.add_argument("--origin", type=date.fromisoformat, default=date(2011, 9, 10))
    uci.add_argument("--horizon-days", type=int, default=90)
    uci.add_argument("--no-repeats", action="store_true")
    uci.set_defaults(run=_uci)
    beauty = commands.add_parser("beauty")
    beauty.add_argument("file", type=Path)
    beauty.add_argument("--ridge", type=float, default=200.0)
    beauty.set_defaults(run=_beauty)
    speed = commands.add_parser("speed")
    speed.add_argument("--customers", type=int, default=50_000)
    speed.add_argument("--products", type=int, default=3_000)
    speed.set_defaults(run=_speed)
    arguments = parser.parse_args()
    arguments.run(arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB")


def _uci(arguments: argparse.Namespace) -> None:
    lines = _uci_lines(arguments.file)
    origin, horizon = arguments.origin, timedelta(days=arguments.horizon_days)
    policy = Policy(repeat_purchases=not arguments.no_repeats)
    clock = _Clock()
    earlier = interactions(lines, as_of=origin - horizon).collect()
    before = purchases(lines, after=origin - horizon, until=origin).collect()
    tunings = tune(earlier, before, as_of=origin - horizon, policy=policy)
    clock.lap("tune")
    contacts = interactions(lines, as_of=origin).collect()
    fitted = fit(contacts, as_of=origin, tunings=tunings)
    clock.lap("fit")
    history = history_of(contacts, fitted.catalogue)
    bought = purchases(lines, after=origin, until=origin + horizon).collect()
    truth = truth_of(bought, history, fitted.catalogue)
    scorecard = grade_lists(
        fitted.rankers,
        METHODS,
        history,
        truth,
        available=available_products(fitted.catalogue, as_of=origin, policy=policy),
        policy=policy,
        origin=origin,
        seed=1,
        model_version=None,
    )
    clock.lap("grade")
    products = lines.select("product_id", "product_name").unique("product_id").collect()
    published = recommend(
        fitted,
        history,
        products,
        publish=publication(scorecard),
        policy=policy,
        horizon_days=arguments.horizon_days,
        model_version="",
    )
    clock.lap("recommend")
    print(f"{len(fitted.catalogue):,} products, {len(history):,} customers, {len(truth):,} graded")
    print(f"products bought that existed at the origin: {truth.bought.nnz / truth.sizes.sum():.1%}")
    for name, tuning in tunings.items():
        print(name, tuning)
    print(scorecard_markdown(scorecard))
    print(reason_shares(published))


def _uci_lines(file: Path) -> pl.LazyFrame:
    """The columns that recommendations read, by the filters of the shop's source contract."""
    return (
        pl.scan_parquet(file)
        .with_columns(pl.col("InvoiceDate").cast(pl.String).str.to_datetime())
        .select(
            customer_key=pl.col("CustomerID").cast(pl.Float64).cast(pl.Int64),
            product_id=pl.col("StockCode"),
            product_name=pl.col("Description"),
            event_day=pl.col("InvoiceDate").dt.date(),
            is_product=pl.col("StockCode").str.contains(r"^\d{5}"),
            kind=pl.when(
                ~pl.col("InvoiceNo").str.starts_with("C")
                & (pl.col("Quantity") > 0)
                & (pl.col("UnitPrice") > 0)
            )
            .then(pl.lit("sale"))
            .otherwise(pl.lit("adjustment")),
            traffic=pl.lit("person"),
        )
    )


def _beauty(arguments: argparse.Namespace) -> None:
    with gzip.open(arguments.file, "rt") as stream:
        sequences = {int(user): items for user, *items in map(str.split, stream)}
    start = date(2000, 1, 1)
    fitted_on = _as_contacts({user: items[:-2] for user, items in sequences.items()}, start)
    known = _as_contacts({user: items[:-1] for user, items in sequences.items()}, start)
    last = pl.DataFrame(
        {
            "customer_key": sequences.keys(),
            "product_id": [items[-1] for items in sequences.values()],
        }
    )
    catalogue = catalogue_of(fitted_on, as_of=start)
    clock = _Clock()
    training = history_of(fitted_on, catalogue)
    weights = ease(
        training.matrix(training.weights, len(catalogue)),
        ridge=arguments.ridge,
        keep=WEIGHTS_KEPT,
    )
    clock.lap("fit")
    history = history_of(known, catalogue)
    known_targets = last.filter(pl.col("product_id").is_in(catalogue.products))
    truth = truth_of(known_targets, history, catalogue)
    for decay in (0.0, 0.5):
        ranker = Ranker(
            base=np.zeros(len(catalogue), dtype=np.float32), neighbours=weights, decay=decay
        )
        lists = rank(
            ranker,
            history.take(truth.rows),
            available=np.ones(len(catalogue), dtype=bool),
            policy=Policy(repeat_purchases=False),
        )
        found = hits(lists, truth)
        print(
            f"decay {decay}: R@10 {found.any(axis=1).mean():.4f} "
            f"N@10 {ndcg(found, truth.sizes).mean():.4f} ({len(truth):,} customers)"
        )
    clock.lap("rank twice")


def _as_contacts(sequences: dict[int, list[str]], start: date) -> pl.DataFrame:
    """Sequences as an interactions table: a step is a day, so age is the distance to the end."""
    day = pl.lit(start) + pl.duration(days=pl.int_range(pl.len()).over("customer_key"))
    return (
        pl.DataFrame({"customer_key": sequences.keys(), "product_id": sequences.values()})
        .explode("product_id")
        .with_columns(day=day.cast(pl.Date))
        .group_by("customer_key", "product_id")
        .agg(
            last_day=pl.col("day").max(),
            last_bought=pl.col("day").max(),
            purchase_days=pl.len(),
            weight=pl.lit(1.0, pl.Float32).first(),
        )
    )


def _speed(arguments: argparse.Namespace) -> None:
    generator = np.random.default_rng(1)
    customers, products = arguments.customers, arguments.products
    length = generator.geometric(1 / 30, customers)
    popular = 1.0 / np.arange(1, products + 1) ** 0.8
    today = date(2025, 6, 1)
    lines = pl.DataFrame(
        {
            "customer_key": np.repeat(np.arange(customers), length),
            "product_id": generator.choice(products, length.sum(), p=popular / popular.sum()),
            "age": generator.integers(0, 365, length.sum()),
        }
    ).select(
        "customer_key",
        pl.format("p{}", "product_id").alias("product_id"),
        event_day=pl.lit(today) - pl.duration(days="age"),
        kind=pl.lit("sale"),
        is_product=pl.lit(True),
        traffic=pl.lit("person"),
    )
    clock = _Clock()
    contacts = interactions(lines.lazy(), as_of=today).collect()
    clock.lap(f"interactions of {lines.height:,} lines")
    fitted = fit(contacts, as_of=today)
    clock.lap(f"fit {len(METHODS)} methods on {customers:,} x {products:,}")
    history = history_of(contacts, fitted.catalogue)
    clock.lap("history")
    names = fitted.catalogue.positions().select("product_id", product_name="product_id")
    for method in METHODS:
        recommend(
            fitted,
            history,
            names,
            publish=Publication(method.name, "A", today),
            policy=Policy(),
            horizon_days=90,
            model_version="",
        )
        clock.lap(f"recommend with {method.name}")


class _Clock:
    """Prints the seconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        print(f"{now - self._last:7.1f} s  {what}", flush=True)
        self._last = now


if __name__ == "__main__":
    main()
