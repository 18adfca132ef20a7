"""Benchmarks of the segmentation: what it is worth on a real shop, what it recovers of a simulated one, and speed.

Not a test. Run one of

    python -m insight_assets_tests.benchmarks.bench_segmentation uci DATA
    python -m insight_assets_tests.benchmarks.bench_segmentation simulator
    python -m insight_assets_tests.benchmarks.bench_segmentation speed

`uci` divides the customers of UCI Online Retail as of an origin and grades the divisions by what is spent in the
horizon after it, beside the RFM segments, the lifecycle states and, as the most that the features can say, gradient
boosting on all of them (five folds). DATA is the folder that holds `uci_online_retail`. `simulator` asks how much of
the hidden customer types clusters recover, beside a classifier that is told the types of the other customers.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import polars.selectors as cs

from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.labels import label_customers
from insight_assets.features.sessions import build_sessions
from insight_assets.insights.segmentation import cohorts, grading, lifecycle, migration, rfm
from insight_assets.insights.segmentation.clusters import cluster_customers
from insight_assets.insights.segmentation.scaling import buyers
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.simulator.simulation import open_shop
from insight_assets.simulator.truth import customer_truth
from insight_assets.validation.pseudonyms import CUSTOMER
from insight_assets_tests.insights.churn.shop import customer_days_of
from insight_assets_tests.insights.churn.test_real_shop import invoices
from insight_assets_tests.insights.segmentation.planted_customers import planted_customers

SEED = 20250101
SMALLEST_GROUP = 10


def main() -> None:
    """Run the benchmark named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    uci = commands.add_parser("uci")
    uci.add_argument("folder", type=Path)
    uci.add_argument("--origin", type=date.fromisoformat, default=date(2011, 9, 10))
    uci.add_argument("--horizon-days", type=int, default=90)
    uci.set_defaults(run=_uci)
    simulator = commands.add_parser("simulator")
    simulator.add_argument("--customers", type=int, default=1_000)
    simulator.add_argument("--days", type=int, default=120)
    simulator.set_defaults(run=_simulator)
    speed = commands.add_parser("speed")
    speed.add_argument("--customers", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    speed.set_defaults(run=_speed)
    arguments = parser.parse_args()
    arguments.run(arguments)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def _uci(arguments: argparse.Namespace) -> None:
    origin, horizon = arguments.origin, arguments.horizon_days
    days = customer_days_of(invoices(arguments.folder))
    features = build_customer_features(days, as_of=origin).collect()
    labels = label_customers(days, days, origin=origin, horizon_days=horizon).collect()
    with _timed("scorecard"):
        graded = grading.grade_clusterings(
            buyers(features.lazy()), labels, origin=origin, smallest_group=SMALLEST_GROUP, seed=SEED
        )
    print(scorecard_markdown(graded.scorecard))
    for name, each in graded.clusterings.items():
        print(f"{name}: {each.chosen.shape if each.chosen else 'one cluster'}")
    spend = labels.sort("customer_key").select("customer_key", spend=pl.col("net").clip(0).log1p())
    truth = spend["spend"].to_numpy()
    segments = rfm.score_rfm(features.lazy(), as_of=origin).collect()
    states = lifecycle.lifecycle_states(features.lazy(), as_of=origin).collect()
    for name, table, column in (
        ("RFM segments", segments, "segment"),
        ("RFM scores", segments, "rfm_score"),
        ("lifecycle states", states, "state"),
    ):
        groups = spend.join(table, on="customer_key", how="left").sort("customer_key")[column].to_numpy()
        print(f"{name} explain {grading.explained(truth, grading.foretell(groups, truth, seed=SEED)):.3f}")
    told = spend.join(features, on="customer_key", how="left").sort("customer_key")
    print(f"gradient boosting on all features explains {grading.explained(truth, _boosted(told, truth)):.3f}")
    print(states.group_by("state").len().sort("len", descending=True).rows())
    _moves(days, origin, features, segments, states)
    retention = cohorts.retention_rows(
        cohorts.follow_cohorts(days, as_of=origin), as_of=origin, smallest_group=SMALLEST_GROUP
    )
    print(f"cohorts: {retention.height} cells, {retention['retained'].null_count()} hidden")


def _moves(
    days: pl.LazyFrame, origin: date, features: pl.DataFrame, segments: pl.DataFrame, states: pl.DataFrame
) -> None:
    earlier = origin - timedelta(days=30)
    then = build_customer_features(days, as_of=earlier).collect()
    previous = migration.previous_segments(
        rfm.score_rfm(then.lazy(), as_of=earlier),
        lifecycle.lifecycle_states(then.lazy(), as_of=earlier),
        as_of=origin,
        lag_days=30,
    )
    for kind, table in migration.count_moves(segments.lazy(), states.lazy(), previous).items():
        holds = migration.conservation(table, before=then.height, after=features.height).holds
        shown = migration.published_moves(table, smallest_group=SMALLEST_GROUP)
        named = shown.filter((pl.col("from_segment") != "other") & (pl.col("to_segment") != "other"))
        print(
            f"{kind}: {table.height} moves, conserved {holds}, {named.height} shown by name, which tell of "
            f"{named['customers'].sum() / table['customers'].sum():.1%} of customers"
        )


def _boosted(told: pl.DataFrame, truth: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    boosting = HistGradientBoostingRegressor(
        max_iter=120, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=30, random_state=0
    )
    folds = KFold(5, shuffle=True, random_state=0)
    return cross_val_predict(boosting, _numbers(told.drop("customer_key", "spend")), truth, cv=folds)


def _numbers(told: pl.DataFrame) -> np.ndarray:
    values = told.select(cs.numeric()).cast(pl.Float64).to_numpy()
    varied = [len(np.unique(column[np.isfinite(column)])) > 10 for column in values.T]
    return values[:, varied]


def _simulator(arguments: argparse.Namespace) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import accuracy_score, adjusted_rand_score
    from sklearn.model_selection import cross_val_predict

    from insight_assets.simulator.plan import SimulationPlan
    from insight_assets_tests.monitoring.simulated_shop import FIRST_DAY, simulate_shop
    from insight_assets_tests.validation.judging import PSEUDONYM

    with _timed("simulate and validate"):
        shop = simulate_shop(customers=arguments.customers, days=arguments.days)
    plan = SimulationPlan(
        customers=arguments.customers, days=arguments.days, products=120, seed=7, start=FIRST_DAY
    )
    truth = customer_truth(open_shop(plan)).select(
        pl.col("customer_id").map_elements(lambda name: PSEUDONYM(CUSTOMER, name), pl.Int64).alias("customer_key"),
        "type",
    )
    tables = {name: table.lazy() for name, table in shop.tables.items()}
    with _timed("features"):
        sessions = build_sessions(tables["events"], first=shop.days[0], last=shop.days[-1]).collect().lazy()
        days = build_customer_days(
            tables["events"], tables["orders"], tables["order_lines"], sessions, timezone=plan.timezone
        ).collect()
        signed_in = days.filter(pl.col("customer_key").is_not_null()).lazy()
        features = build_customer_features(signed_in, as_of=shop.days[-1]).collect()
    chosen = buyers(features.lazy()).join(truth, on="customer_key").sort("customer_key")
    print(f"{chosen.height:,} customers who bought, of {chosen['type'].n_unique()} hidden types")
    for method in grading.METHODS:
        found = cluster_customers(chosen.drop("type"), method=method, smallest_group=SMALLEST_GROUP, seed=SEED)
        kept = f"{found.chosen.shape}, stability {found.chosen.stability:.3f}" if found.chosen else "one cluster"
        print(f"{method.name}: {kept}, ARI with the types {adjusted_rand_score(chosen['type'], found.labels):.3f}")
    told = chosen.select("customer_key", "type").join(features, on="customer_key").sort("customer_key")
    for name, values in (
        ("the clustered features", chosen.drop("customer_key", "type", "net_lifetime").cast(pl.Float64).to_numpy()),
        ("all features", _numbers(told.drop("customer_key"))),
    ):
        boosting = HistGradientBoostingClassifier(max_iter=80, learning_rate=0.08, max_leaf_nodes=15, random_state=0)
        guessed = cross_val_predict(boosting, values, told["type"].to_numpy(), cv=5)
        print(
            f"a classifier on {name}: accuracy {accuracy_score(told['type'], guessed):.3f}, "
            f"ARI {adjusted_rand_score(told['type'], guessed):.3f}"
        )


def _speed(arguments: argparse.Namespace) -> None:
    for size in arguments.customers:
        customers, kind = planted_customers(size, seed=5)
        # Kinds that blur into each other: no method is spared the search for a stable number.
        noise = np.random.default_rng(1).lognormal(0, 0.8, size)
        customers = customers.with_columns(
            mean_purchase_value=pl.col("mean_purchase_value") * noise,
            days_since_last_order=(pl.col("days_since_last_order") * noise[::-1]).cast(pl.Int32),
        )
        labels = customers.select("customer_key", net=pl.Series(np.array([300.0, 0.0, 40.0])[kind]) * noise)
        with _timed(f"scorecard of {size:,} customers"):
            grading.grade_clusterings(
                customers, labels, origin=date(2025, 6, 1), smallest_group=SMALLEST_GROUP, seed=SEED
            )
        with _timed(f"k-means clusters of {size:,} customers"):
            cluster_customers(customers, method=grading.K_MEANS, smallest_group=SMALLEST_GROUP, seed=SEED)
        with _timed(f"lifecycle states of {size:,} customers"):
            lifecycle.lifecycle_states(customers.lazy(), as_of=date(2025, 6, 1)).collect()


@contextmanager
def _timed(what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{time.perf_counter() - wall:7.1f} s, {time.process_time() - cpu:6.1f} s CPU  {what}", flush=True)


if __name__ == "__main__":
    main()
