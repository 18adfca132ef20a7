"""How well the classifiers foretell on public data, by the pipeline's own code.

    python -m insight_assets_tests.benchmarks.bench_classifiers shoppers shoppers-without-page-values telco
    python -m insight_assets_tests.benchmarks.bench_classifiers online-retail
    python -m insight_assets_tests.benchmarks.bench_classifiers simulator --customers 2000

Data lie in the folder `INSIGHT_REAL_DATA`, by default ../shared/data. The first three are graded by ten folds:
settings, scaling, imputation, levels and the weights of the blend are learnt inside the other nine, no row is
resampled, and equal rows stand in one fold. Printed are mean, deviation over the folds and the 95 % interval of the
mean. Online Retail is graded out of time by the scorecard of the churn capability, and the simulator beside an oracle
that knows every customer's hidden pace and dropout.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import build_examples
from insight_assets.features.labels import label_customers
from insight_assets.features.sequences import build_event_sequences
from insight_assets.features.sessions import build_sessions
from insight_assets.insights.churn.grading import GradedChurn, grade_churn
from insight_assets.insights.churn.models import train_churn_models
from insight_assets.ml.blending import fit_blend
from insight_assets.ml.classifiers import (
    BOOSTING,
    FAMILIES,
    FOREST,
    LIGHTGBM,
    LOGISTIC,
    available,
    fit_classifier,
    held_out_scores,
    make_folds,
)
from insight_assets.ml.metrics import auc, average_precision
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.ml.splits import customer_groups
from insight_assets.ml.tabular import fit_feature_matrix
from insight_assets.simulator.customers import FIRST_CUSTOMER_NUMBER, expected_order_days
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop
from insight_assets.validation.pseudonyms import CUSTOMER
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.insights.churn.test_real_shop import invoices
from insight_assets_tests.monitoring.simulated_shop import FIRST_DAY, simulate_shop
from insight_assets_tests.validation.judging import PSEUDONYM, SHOP

DATA = Path(os.environ.get("INSIGHT_REAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
OUTER_FOLDS = 10
BLENDED = (LOGISTIC, FOREST, BOOSTING)
SEED = 1


def shoppers(*, page_values: bool = True) -> tuple[pl.DataFrame, np.ndarray]:
    """UCI Online Shoppers: sessions, and whether they end in a purchase."""
    file = DATA / "uci_online_shoppers" / "online_shoppers_intention.csv.gz"
    rows = pl.read_csv(file, infer_schema_length=None)
    # Numbers that name an operating system, browser, region or kind of traffic are levels, not amounts.
    named = [pl.col(name).cast(pl.String) for name in ("OperatingSystems", "Browser", "Region", "TrafficType")]
    truth = rows["Revenue"].cast(pl.String).str.to_lowercase() == "true"
    features = rows.drop("Revenue", *([] if page_values else ["PageValues"])).with_columns(
        *named, pl.col("Weekend").cast(pl.String)
    )
    return features, truth.cast(pl.Float64).to_numpy()


def telco() -> tuple[pl.DataFrame, np.ndarray]:
    """IBM Telco: customers, and whether they left."""
    file = DATA / "ibm_telco_churn" / "Telco-Customer-Churn.csv"
    rows = pl.read_csv(file, null_values=[" ", ""], infer_schema_length=None)
    return rows.drop("customerID", "Churn"), (rows["Churn"] == "Yes").cast(pl.Float64).to_numpy()


def ten_folds(name: str, features: pl.DataFrame, truth: np.ndarray) -> None:
    """Grade every family and their blend by ten folds and print a table."""
    # Equal rows are one customer: none stands on both sides.
    keys = features.hash_rows(seed=7).to_numpy().view(np.int64)
    place = customer_groups(keys, OUTER_FOLDS)
    reached: dict[str, list[tuple[float, float]]] = {}
    spent: dict[str, float] = {}
    for number in range(OUTER_FOLDS):
        apart = place == number
        scores, seconds = one_fold(features, truth, keys, apart)
        for family, score in scores.items():
            reached.setdefault(family, []).append((auc(truth[apart], score), average_precision(truth[apart], score)))
        for family, spending in seconds.items():
            spent[family] = spent.get(family, 0.0) + spending
        told = ", ".join(f"{family} {both[-1][0]:.4f}" for family, both in reached.items())
        print(f"{name}: fold {number + 1} of {OUTER_FOLDS}: {told}", flush=True)
    print(f"\n{name}: {len(truth):,} rows, {features.width} features, positives {truth.mean():.3f}")
    print("| classifier | AUC (deviation) | 95 % of the mean | AP (deviation) | CPU s a fold |")
    print("| --- | --- | --- | --- | --- |")
    for family, both in reached.items():
        (mean, mean_ap), (deviation, deviation_ap) = np.mean(both, axis=0), np.std(both, axis=0, ddof=1)
        half = 1.96 * deviation / np.sqrt(len(both))
        cpu = f"{spent[family] / OUTER_FOLDS:.1f}" if family in spent else ""
        print(
            f"| {family} | {mean:.4f} ({deviation:.4f}) | [{mean - half:.4f}, {mean + half:.4f}] "
            f"| {mean_ap:.4f} ({deviation_ap:.4f}) | {cpu} |"
        )
    print(flush=True)


def one_fold(
    features: pl.DataFrame, truth: np.ndarray, keys: np.ndarray, apart: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Learn from the rows that are not apart and score those that are."""
    learnt, names = features.filter(~apart), features.columns
    matrix = fit_feature_matrix(learnt, names=names)
    raw, judged = matrix.raw(learnt), matrix.raw(features.filter(apart))
    scaled, judged_scaled = matrix.scale(raw), matrix.scale(judged)
    folds = make_folds(learnt, truth[~apart], keys[~apart], names=names)
    scores, seconds, inside = {}, {}, {}
    for family in FAMILIES:
        if not available(family):
            continue
        started = time.process_time()
        classifier = fit_classifier(
            family, raw=raw, scaled=scaled, truth=truth[~apart], groups=keys[~apart], folds=folds, seed=SEED
        )
        seconds[family] = time.process_time() - started
        scores[family] = classifier.log_odds(judged, judged_scaled)
        if family in BLENDED:
            inside[family] = held_out_scores(classifier, folds, seed=SEED)
    blend = fit_blend(inside, np.concatenate([fold.judged_truth for fold in folds]))
    scores["blend of " + ", ".join(BLENDED)] = blend(scores)
    return scores, seconds


def out_of_time(
    days: pl.LazyFrame, events: pl.LazyFrame, *, origin: date, horizon: int, spacing: int
) -> tuple[GradedChurn, pl.DataFrame]:
    """Train churn models as of an origin and grade them on what followed, as the assets do."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").mkdir()
        models = train_churn_models(
            build_examples(
                days, events, shop.nobody_linked, as_of=origin, horizon_days=horizon, spacing_days=spacing,
                min_history_days=14,
            ),
            directory=Path(folder) / "models", work_directory=Path(folder) / "work", horizon_days=horizon, seed=SEED,
            with_lightgbm=available(LIGHTGBM), log=lambda line: print(f"  {line}", flush=True),
        )  # fmt: skip
    started = time.process_time()
    labels = label_customers(days, days, origin=origin, horizon_days=horizon).collect()
    graded = grade_churn(
        models, build_customer_features(days, as_of=origin).collect(),
        build_event_sequences(events, as_of=origin).collect(), labels, origin=origin, seed=SEED, model_version="0" * 12,
    )  # fmt: skip
    print("| method | CPU s | MB more |\n| --- | --- | --- |")
    for name, cost in models.costs.items():
        print(f"| {name} | {cost.cpu_seconds:.1f} | {cost.peak_megabytes} |")
    print(f"graded in {time.process_time() - started:.1f} CPU s")
    print(scorecard_markdown(graded.scorecard), flush=True)
    return graded, labels


def online_retail() -> None:
    """UCI Online Retail as of 2011-09-10: who returns within 90 days."""
    orders = invoices(DATA)
    out_of_time(retail_days(orders), shop.events_of(orders), origin=date(2011, 9, 10), horizon=90, spacing=28)


def retail_days(orders: pl.DataFrame) -> pl.LazyFrame:
    """The days of Online Retail's customers with their lines, units, products and what they sent back."""
    lines = (
        pl.scan_parquet(DATA / "uci_online_retail" / "online_retail.parquet")
        .filter(pl.col("CustomerID").is_not_null())
        .select(
            customer_key=pl.col("CustomerID").cast(pl.Float64).cast(pl.Int64),
            at=pl.col("InvoiceDate").str.to_datetime(time_unit="us", time_zone="UTC"),
            product=pl.col("StockCode"),
            units=pl.col("Quantity"),
            money=(pl.col("Quantity") * pl.col("UnitPrice")).cast(pl.Decimal(18, 4)),
            invoice=pl.col("InvoiceNo"),
            back=pl.col("InvoiceNo").str.starts_with("C"),
            priced=pl.col("UnitPrice") > 0,
        )
        .with_columns(event_day=pl.col("at").dt.date())
    )
    day = ["customer_key", "event_day"]
    sold = (
        lines.filter(~pl.col("back") & (pl.col("units") > 0) & pl.col("priced"))
        .group_by(day)
        .agg(order_lines=pl.len(), units=pl.col("units").sum(), bought_products=pl.col("product").unique().sort())
    )
    returned = (
        lines.filter("back")
        .group_by(day)
        .agg(refunded=-pl.col("money").sum(), refunds=pl.col("invoice").n_unique(), last_refund_at=pl.col("at").max(),
             refunded_from=pl.col("at").min())
    )  # fmt: skip
    plain = shop.customer_days_of(orders)
    columns = plain.collect_schema()
    plain = plain.drop("order_lines", "units", "bought_products", "refunded", "refunds", "last_refund_at")
    joined = plain.join(sold, on=day, how="left").join(returned, on=day, how="full", coalesce=True)
    nothing = {
        name: pl.col(name).fill_null([]) if isinstance(dtype, pl.List) else pl.col(name).fill_null(0)
        for name, dtype in columns.items()
        if isinstance(dtype, pl.List) or (dtype.is_numeric() and name not in {*day, "actor_key"})
    }
    return (
        joined.with_columns(actor_key=pl.col("customer_key"), **nothing)
        .with_columns(
            net=pl.col("gross") - pl.col("refunded"),
            first_event_at=pl.min_horizontal("first_event_at", "refunded_from"),
            last_event_at=pl.max_horizontal("last_event_at", "last_refund_at"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in columns.items())
        .sort(day)
        .collect()
        .lazy()
    )


def simulator(customers: int, days: int) -> None:
    """A simulated shop beside oracles that know what is hidden about each customer.

    The one knows pace, dropout hazard and who has dropped out by the origin: nobody can do better without seeing the
    future. The other knows the day of each dropout to come as well.
    """
    simulated = simulate_shop(customers=customers, days=days, seed=SEED)
    tables = {name: table.lazy() for name, table in simulated.tables.items()}
    sessions = build_sessions(tables["events"], first=simulated.days[0], last=simulated.days[-1]).collect().lazy()
    customer_days = build_customer_days(
        tables["events"], tables["orders"], tables["order_lines"], sessions, timezone=SHOP
    ).collect()
    horizon = 30
    origin = simulated.days[-1 - horizon]
    graded, labels = out_of_time(customer_days.lazy(), tables["events"], origin=origin, horizon=horizon, spacing=7)
    plan = SimulationPlan(customers=customers, days=days, products=120, seed=SEED, start=FIRST_DAY)
    hidden = open_shop(plan).customers
    index = (origin - FIRST_DAY).days
    oracle = hidden.order_rate * expected_order_days(replace(plan, days=index + 1), hidden, horizon=horizon)
    everyone = np.arange(customers)
    ahead = range(index + 1, index + 1 + horizon)
    active = sum(np.where(hidden.dropout > day, hidden.fade(everyone, day), 0.0) for day in ahead)
    keys = [PSEUDONYM(CUSTOMER, f"c{number + FIRST_CUSTOMER_NUMBER}") for number in range(customers)]
    known = labels.sort("customer_key").join(
        pl.DataFrame({"customer_key": keys, "oracle": -oracle, "prophet": -hidden.order_rate * active}),
        on="customer_key", how="left", maintain_order="left",
    )  # fmt: skip
    assert known["oracle"].null_count() == 0
    truth = known["churned"].cast(pl.Float64).to_numpy()
    best, future = auc(truth, known["oracle"].to_numpy()), auc(truth, known["prophet"].to_numpy())
    reached = graded.champion_metric("auc") or float("nan")
    print(f"oracle {best:.4f}, with the future {future:.4f}; champion {graded.champion} {reached:.4f}")
    gained = (reached - 0.5) / (best - 0.5)
    print(f"share of the oracle's AUC: {reached / best:.4f}; of its gain over chance: {gained:.4f}")


TEN_FOLDS = {
    "shoppers": shoppers,
    "shoppers-without-page-values": lambda: shoppers(page_values=False),
    "telco": telco,
}


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[*TEN_FOLDS, "online-retail", "simulator"])
    parser.add_argument("--customers", type=int, default=2_000, help="of the simulated shop")
    parser.add_argument("--days", type=int, default=210, help="of the simulated shop")
    chosen = parser.parse_args()
    for name in chosen.what:
        if name == "online-retail":
            online_retail()
        elif name == "simulator":
            simulator(chosen.customers, chosen.days)
        else:
            ten_folds(name, *TEN_FOLDS[name]())


if __name__ == "__main__":
    main()
