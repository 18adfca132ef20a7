"""Benchmark of propensity on UCI Online Retail: what each method reaches out of time, and what it costs.

Not a test. Run

    python -m insight_assets_tests.benchmarks.bench_propensity DATA/uci_online_retail/online_retail.parquet

The data has no categories: the last word of a product's description (BAG, MUG, LIGHT) stands for one, so that figures
for categories and bands of price are of groups that nobody at that shop made. Products are the shop's own.
"""

import argparse
import resource
import tempfile
import time
from datetime import date
from pathlib import Path

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_features import build_customer_features
from insight_assets.insights.propensity.examples import build_pair_examples
from insight_assets.insights.propensity.grading import grade_propensity
from insight_assets.insights.propensity.models import train_propensity_models
from insight_assets.insights.propensity.pairs import know
from insight_assets.insights.propensity.scoring import choose_methods, score_propensity
from insight_assets.insights.propensity.targets import bought_within
from insight_assets.ml.referee import scorecard_markdown
from insight_assets_tests.insights.churn.shop import _filled, nobody_linked

VERSION = "0" * 12


def main() -> None:
    """Train on the origins closed by a day, grade on the horizon after it, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--origin", type=date.fromisoformat, default=date(2011, 9, 10))
    parser.add_argument("--horizon-days", type=int, default=90)
    arguments = parser.parse_args()
    origin, horizon = arguments.origin, arguments.horizon_days
    days, products = customer_days_of(lines := read_lines(arguments.file)), products_of(lines)
    events, clock = contract("events").empty().lazy(), time.process_time()
    examples = build_pair_examples(
        days, events, products, nobody_linked, as_of=origin, horizon_days=horizon,
        spacing_days=max(7, horizon // 3 // 7 * 7), min_history_days=14,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        models = train_propensity_models(examples, directory=Path(folder), horizon_days=horizon, seed=1, log=print)
    trained, clock = time.process_time() - clock, time.process_time()
    features = build_customer_features(days, as_of=origin)
    known = know(days, events, features, products, as_of=origin, horizon_days=horizon)
    bought = bought_within(days, known.cuts, origin=origin, horizon_days=horizon)
    graded = grade_propensity(models, known, bought, seed=1, model_version=VERSION)
    for (task,), card in graded.scorecard.group_by(["task"], maintain_order=True):
        print(f"\n{task}\n{scorecard_markdown(card)}")
    grading, clock = time.process_time() - clock, time.process_time()
    names = products.select("product_id", "product_name").collect()
    scores = score_propensity(
        models, known, names, choose_methods(models, graded.scorecard), model_version=VERSION
    )
    print(scores.group_by("kind", "evidence").agg(places=pl.len()).sort("kind", "places", descending=[False, True]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"CPU seconds: {trained:.0f} to train, {grading:.0f} to grade {known.customers.height:,} customers, "
        f"{time.process_time() - clock:.0f} to score them; peak memory {peak:,.0f} MB"
    )


def read_lines(file: Path) -> pl.DataFrame:
    """Read sales with a known customer: one row a line of an invoice."""
    lines = (
        pl.scan_parquet(file)
        .filter(
            pl.col("CustomerID").is_not_null(),
            ~pl.col("InvoiceNo").str.starts_with("C"),
            pl.col("Quantity") > 0,
            pl.col("UnitPrice") > 0,
        )
        .select(
            "InvoiceNo",
            customer_key=pl.col("CustomerID").cast(pl.Float64).cast(pl.Int64),
            product_id="StockCode",
            name="Description",
            quantity=pl.col("Quantity").cast(pl.Int64),
            value=(pl.col("Quantity") * pl.col("UnitPrice")).cast(pl.Decimal(18, 4)),
            event_time=pl.col("InvoiceDate").str.to_datetime(time_unit="us", time_zone="UTC"),
        )
        .with_columns(event_day=pl.col("event_time").dt.date())
        .collect()
    )
    last_word = pl.col("name").drop_nulls().sort().first().str.strip_chars().str.split(" ").list.last()
    return lines.join(lines.group_by("product_id").agg(category=last_word), on="product_id")


def customer_days_of(lines: pl.DataFrame) -> pl.LazyFrame:
    """Put the lines as rows of the contract `customer_days`."""
    day = ["customer_key", "event_day"]
    invoices = pl.col("InvoiceNo").n_unique()
    days = lines.group_by(day).agg(
        actor_key=pl.col("customer_key").first(), orders=invoices, events=invoices, order_lines=pl.len(),
        units=pl.col("quantity").sum(), gross=pl.col("value").sum(), net=pl.col("value").sum(), sessions=pl.lit(1),
        first_event_at=pl.col("event_time").min(), last_event_at=pl.col("event_time").max(),
        last_order_at=pl.col("event_time").max(), bought_products=pl.col("product_id").unique().sort(),
        currencies=pl.lit(["GBP"]),
    )  # fmt: skip
    categories = (
        lines.group_by(*day, "category")
        .agg(pl.col("quantity", "value").sum())
        .sort("category")
        .group_by(day, maintain_order=True)
        .agg(bought_categories="category", bought_category_units="quantity", bought_category_gross="value")
    )
    return _filled(days.join(categories, on=day), "customer_days").lazy()


def products_of(lines: pl.DataFrame) -> pl.LazyFrame:
    """Give the columns of `products` that propensity reads."""
    return (
        lines.group_by("product_id")
        .agg(
            pl.col("category").first(), first_seen=pl.col("event_day").min(), product_name=pl.col("name").sort().first()
        )
        .lazy()
    )


if __name__ == "__main__":
    main()
