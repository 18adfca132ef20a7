"""Benchmarks of lifetime value: the published anchors, a real shop out of time, recovery of a simulated truth, speed.

Not a test. Run one of

    python -m insight_assets_tests.benchmarks.bench_lifetime_value cdnow DATA/cdnow
    python -m insight_assets_tests.benchmarks.bench_lifetime_value uci DATA/uci_online_retail/by_day
    python -m insight_assets_tests.benchmarks.bench_lifetime_value truth
    python -m insight_assets_tests.benchmarks.bench_lifetime_value speed

`cdnow` fits on 39 weeks and foretells the next 39. `uci` maps the daily files through the shop's source contract,
trains as of the origin on horizons closed by then, and grades on the horizon after it. `truth` compares forecasts with
what the simulator knows its customers to be worth. `speed` fits the models on simulated customers and scores them all.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import build_examples
from insight_assets.features.labels import label_customers, label_view
from insight_assets.features.sessions import build_sessions
from insight_assets.ingestion.assets import SOURCES
from insight_assets.ingestion.landing import locate_rows
from insight_assets.ingestion.raw import raw_contract, stamp_rows
from insight_assets.ingestion.readers import read_delivery, read_rows
from insight_assets.insights.lifetime_value import bg_nbd, pareto_nbd
from insight_assets.insights.lifetime_value.customers import Buyers, buyers
from insight_assets.insights.lifetime_value.grading import grade, spearman
from insight_assets.insights.lifetime_value.model import forecast_by_method, train
from insight_assets.insights.lifetime_value.purchase_histories import PurchaseHistories
from insight_assets.insights.lifetime_value.scoring import score
from insight_assets.ml.metrics import mean_absolute_error
from insight_assets.ml.publication import Publication
from insight_assets.ml.referee import scorecard_markdown
from insight_assets.purposes import as_people
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop
from insight_assets.simulator.truth import customer_truth
from insight_assets.validation.publishing import validate_day
from insight_assets_tests.benchmarks.memory import peak_megabytes

CDNOW_SPLIT = date(1997, 9, 30)
LANDED = datetime(2030, 1, 1, tzinfo=UTC)


def main() -> None:
    """Run the benchmark named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    cdnow = commands.add_parser("cdnow")
    cdnow.add_argument("folder", type=Path)
    cdnow.set_defaults(run=_cdnow)
    uci = commands.add_parser("uci")
    uci.add_argument("folder", type=Path)
    uci.add_argument("--origin", type=date.fromisoformat, action="append")
    uci.add_argument("--horizon-days", type=int, default=90)
    uci.set_defaults(run=_uci)
    truth = commands.add_parser("truth")
    truth.add_argument("--customers", type=int, default=2_000)
    truth.add_argument("--days", type=int, default=400)
    truth.add_argument("--seed", type=int, default=7)
    truth.set_defaults(run=_truth)
    speed = commands.add_parser("speed")
    speed.add_argument("--customers", type=int, default=1_000_000)
    speed.set_defaults(run=_speed)
    arguments = parser.parse_args()
    arguments.run(arguments)
    print(f"peak memory {peak_megabytes():,.0f} MB")


def _cdnow(arguments: argparse.Namespace) -> None:
    frame = pl.read_csv(arguments.folder / "cdnow_customers_summary.csv").sort("ID")
    seen = PurchaseHistories(*(frame[name].to_numpy() for name in ("frequency", "recency", "T")))
    later = _cdnow_later(arguments.folder / "CDNOW_sample.txt")
    truth = frame.join(later, left_on="ID", right_on="customer", how="left")["days"].fill_null(0).to_numpy()
    models = {"bg_nbd": bg_nbd.fit_bg_nbd(seen), "pareto_nbd": pareto_nbd.fit_pareto_nbd(seen)}
    expected = {"nothing": np.zeros(len(truth)), "as before": seen.repeats / seen.age * 39}
    for name, fit in models.items():
        print(name, {key: round(value, 4) for key, value in vars(fit.model).items()}, f"LL {fit.log_likelihood:.2f}")
        module = {"bg_nbd": bg_nbd, "pareto_nbd": pareto_nbd}[name]
        expected[name] = module.expected_purchases(fit.model, seen, ahead=39.0)
    expected["mean of both models"] = (expected["bg_nbd"] + expected["pareto_nbd"]) / 2
    draws = np.random.default_rng(1).integers(0, len(truth), (1_000, len(truth)))
    print(f"{len(truth):,} customers, {int(truth.sum()):,} purchase days in the 39 weeks held out")
    for name, values in expected.items():
        error = np.abs(values - truth)
        low, high = np.percentile(error[draws].mean(axis=1), (2.5, 97.5))
        root, total = np.sqrt(np.square(values - truth).mean()), values.sum() / truth.sum()
        print(f"  {name:20} MAE {error.mean():.4f} [{low:.4f}, {high:.4f}] RMSE {root:.4f} sum {total:.3f}")


def _cdnow_later(file: Path) -> pl.DataFrame:
    """Days with a purchase in the weeks held out, by the customer's number in the sample."""
    rows = [line.split() for line in file.read_text().splitlines() if line.strip()]
    return (
        pl.DataFrame({"customer": [int(row[1]) for row in rows], "day": [row[2] for row in rows]})
        .with_columns(pl.col("day").str.to_date("%Y%m%d"))
        .filter(pl.col("day") > CDNOW_SPLIT)
        .group_by("customer")
        .agg(days=pl.col("day").n_unique())
    )


def _uci(arguments: argparse.Namespace) -> None:
    clock = _Clock()
    horizon = arguments.horizon_days
    tables = [pl.concat(parts).lazy() for parts in zip(*_uci_days(arguments.folder), strict=True)]
    days, events = tables[0], tables[1]
    clock.lap("read, map and validate the daily files")
    for origin in arguments.origin or [date(2011, 9, 10)]:
        past, later = label_view(days, _nobody_linked, origin=origin, horizon_days=horizon)
        labels = label_customers(past, later, origin=origin, horizon_days=horizon)
        customers = buyers(build_customer_features(past, as_of=origin))
        examples = build_examples(
            days,
            events,
            _nobody_linked,
            as_of=origin,
            horizon_days=horizon,
            spacing_days=max(7, horizon // 3 // 7 * 7),
            min_history_days=14,
        )
        clock.lap(f"features, labels and {examples.height:,} examples as of {origin}")
        model = train(customers, examples, horizon_days=horizon, seed=1, log=lambda _line: None)
        clock.lap(f"train {len(model.methods)} methods")
        graded = grade(model, customers, labels, origin=origin, horizon_days=horizon, seed=1, model_version="0" * 12)
        clock.lap("grade")
        print(scorecard_markdown(graded.scorecard))
        print("totals scaled by", {name: round(of.value_scale, 3) for name, of in model.calibrations.items()})


def _uci_days(folder: Path) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Each day's customer days and events; customers keep their numbers as keys."""
    source, shop = SOURCES["uci_online_retail"], "Europe/London"
    for path in sorted(folder.glob("*.csv.gz")):
        delivery = read_delivery(path, max_bytes=10**9)
        placed = locate_rows(read_rows(delivery, source), source, shop_timezone=shop, landed_on=LANDED.date())
        stamped = stamp_rows(
            placed,
            source,
            content_hash=delivery.content_hash,
            name=path.name,
            landed_at=LANDED,
            is_correction=False,
        )
        day = date.fromisoformat(path.name[:10])
        tables = validate_day(
            day,
            {source.name: raw_contract(source).conform(stamped).collect()},
            SOURCES,
            pseudonym=lambda _kind, value: int(float(value)),
            shop_timezone=shop,
            budgets={},
        ).tables
        events, orders, lines = (tables[name].lazy() for name in ("events", "orders", "order_lines"))
        sessions = build_sessions(events, first=day, last=day)
        yield build_customer_days(events, orders, lines, sessions, timezone=shop).collect(), tables["events"]


def _truth(arguments: argparse.Namespace) -> None:
    from insight_assets.simulator.landing import write_landing
    from insight_assets.validation.pseudonyms import pseudonymiser

    clock = _Clock()
    plan = SimulationPlan(customers=arguments.customers, days=arguments.days, products=300, seed=arguments.seed)
    shop, pseudonym = open_shop(plan), pseudonymiser(b"a key for benchmarks, 32 bytes..")
    truth = customer_truth(shop)
    with tempfile.TemporaryDirectory() as folder:
        write_landing(plan, Path(folder))
        tables = [pl.concat(parts).lazy() for parts in zip(*_segment_days(Path(folder), plan, pseudonym), strict=True)]
    clock.lap("simulate, map and validate")
    days, events = tables[0], tables[1]
    as_of, horizon = plan.start + timedelta(days=plan.days - 1), 90
    features = build_customer_features(as_people(days, _nobody_linked(as_of)), as_of=as_of)
    customers = buyers(features)
    examples = build_examples(
        days, events, _nobody_linked, as_of=as_of, horizon_days=horizon, spacing_days=28, min_history_days=14
    )
    model = train(customers, examples, horizon_days=horizon, seed=1, log=lambda _line: None)
    clock.lap("features, examples and training")
    keys = pl.Series([pseudonym("customer", name) for name in truth["customer_id"]])
    known = pl.DataFrame({"customer_key": customers.keys}).join(
        truth.with_columns(customer_key=keys), on="customer_key", how="left", maintain_order="left"
    )
    here = known["expected_value_90"].is_not_null().to_numpy()
    print(f"{here.sum():,} of {len(here):,} buyers are customers of the truth; {truth.height:,} in all")
    for name, forecast in forecast_by_method(model, customers, days=horizon, horizon_days=horizon).items():
        for what, values in (("value", forecast.value), ("orders", forecast.orders)):
            oracle = known[f"expected_{what}_90"].to_numpy()[here]
            bias, order = values[here].sum() / oracle.sum() - 1, spearman(oracle, values[here])
            error = mean_absolute_error(oracle, values[here]) / oracle.mean()
            print(f"  {name:24} {what:7} bias {bias:+.3f} rank correlation {order:.3f} relative error {error:.3f}")


def _segment_days(folder: Path, plan: SimulationPlan, pseudonym: object) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    source = SOURCES["segment"]
    raw = []
    for path in sorted(folder.glob(f"{source.name}-*")):
        delivery = read_delivery(path, max_bytes=10**9)
        placed = locate_rows(read_rows(delivery, source), source, shop_timezone=plan.timezone, landed_on=LANDED.date())
        stamped = stamp_rows(
            placed, source, content_hash=delivery.content_hash, name=path.name, landed_at=LANDED, is_correction=False
        )
        raw.append(raw_contract(source).conform(stamped).collect())
    for (day,), rows in pl.concat(raw).partition_by("event_day", as_dict=True).items():
        tables = validate_day(
            day,
            {source.name: rows},
            SOURCES,
            pseudonym=pseudonym,
            shop_timezone=plan.timezone,
            budgets={source.name: 1.0},
        ).tables
        events, orders, lines = (tables[name].lazy() for name in ("events", "orders", "order_lines"))
        sessions = build_sessions(events, first=day, last=day)
        yield build_customer_days(events, orders, lines, sessions, timezone=plan.timezone).collect(), tables["events"]


def _nobody_linked(_day: date) -> pl.LazyFrame:
    return contract("identities").empty().lazy()


def _speed(arguments: argparse.Namespace) -> None:
    draw, size = np.random.default_rng(1), arguments.customers
    truth = bg_nbd.BgNbd(r=0.6, alpha=40.0, a=0.8, b=2.5)
    age = np.floor(draw.uniform(20, 720, size))
    rate = draw.gamma(truth.r, 1 / truth.alpha, size)
    leave = np.clip(draw.beta(truth.a, truth.b, size), 1e-12, 1)
    offered, most = draw.poisson(rate * age), draw.geometric(leave)
    repeats = np.minimum(offered, most).astype(float)
    # The k-th of n uniform moments is a beta variable; whole days, as the product counts them.
    place = draw.beta(np.maximum(repeats, 1), np.maximum(offered - repeats + 1, 1))
    last = np.where(repeats > 0, np.ceil(place * age), 0.0)
    seen = PurchaseHistories(repeats, last, age)
    worth = draw.lognormal(4.0, 0.8, size)
    for name, fit in (("BG/NBD", bg_nbd.fit_bg_nbd), ("Pareto/NBD", pareto_nbd.fit_pareto_nbd)):
        wall, cpu = time.perf_counter(), time.process_time()
        found = fit(seen)
        spent = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{name} on {size:,} customers: {spent[0]:.1f} s, {spent[1]:.1f} s of CPU; {found.model}", flush=True)
    print(f"truth {truth}")
    customers = Buyers(np.arange(1, size + 1), seen, repeats + 1, worth * (repeats + 1) * draw.uniform(0.8, 1.2, size))
    clock = _Clock()
    model = train(customers, horizon_days=90, log=lambda _line: None)
    clock.lap(f"train all models that need no labels on {size:,} customers")
    for method in model.methods:
        publish = Publication(method.name, "ungraded", None)
        scores = score(
            model, customers, publish, as_of=date(2025, 1, 1), horizon_days=90, model_version="0" * 12, seed=1
        )
        clock.lap(f"score {scores.height:,} customers by {method.name}; peak {peak_megabytes():,.0f} MB")


class _Clock:
    """Prints the seconds of CPU since the last lap."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def lap(self, what: str) -> None:
        now = time.process_time()
        print(f"{now - self._last:7.1f} s of CPU  {what}", flush=True)
        self._last = now


if __name__ == "__main__":
    main()
