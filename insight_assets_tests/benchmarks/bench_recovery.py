"""What the pipeline recovers of a simulated shop, beside the naive rule and what could be known at most.

    python -m insight_assets_tests.benchmarks.bench_recovery --customers 5000 --days 730 --seeds 1 2 3
    python -m insight_assets_tests.benchmarks.bench_recovery segments --customers 1000 --days 180
    python -m insight_assets_tests.benchmarks.bench_recovery encoder --customers 5000 --days 365

Not a test. Simulated files go through reading, validation, identities, features, examples, training and grading by
the pipeline's own code. The method is the one that the scorecard of the last closed origin would have published. The
oracles (`simulator.oracles`) know every customer's rates, risk, fading and the season to come; `past` knows also all
visits up to the origin, `state` also who is gone, `end` also when everybody will be. No pipeline can see more than
`past`; the shares of the others are printed too. `segments` divides a shop whose kinds of customers hardly overlap, and
one with the simulator's own kinds, which do. `encoder` teaches the behaviour encoder and measures its chances of an
order within 7, 30 and 90 days, and how well it ranks new products for the next order, beside the oracles of
`simulator.wanted_products`; and it teaches it again by the same events in another order, whose gain should be gone.
"""

import argparse
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from insight_assets.simulator.customers import TYPES
from insight_assets.simulator.plan import SimulationPlan
from insight_assets_tests import encoder_recovery, recovery
from insight_assets_tests.recovery import KNOWING, Figure
from insight_assets_tests.simulated_histories import PLANTED, History, simulate_history

LAST_DAY = date(2025, 2, 28)
"""Before the day on which the test deliveries say that files landed."""

WITHIN = (7, 30, 90)
"""Days within which the encoder says how likely an order is."""

MEASURES = {"churn": recovery.churn_recovery, "value": recovery.value_recovery}


def main() -> None:
    """Measure what was asked for, shop by shop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["churn", "value", "segments"])
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--horizon", type=int, default=90)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--kept", type=Path, help="folder in which simulated shops are kept between calls")
    parser.add_argument("--own-scorecard", action="store_true", help="take the graded origin's champion: half the time")
    arguments = parser.parse_args()
    shares: dict[str, list[float]] = {}
    for seed in arguments.seeds:
        history = _history(arguments, seed)
        names = [name for name in MEASURES if name in arguments.what]
        for name, reached in _out_of_time(history, arguments, names).items():
            shares.setdefault(name, []).append(reached)
        if "encoder" in arguments.what:
            for name, reached in _encoder(history, arguments, seed).items():
                shares.setdefault(name, []).append(reached)
        if "segments" in arguments.what:
            _segments("the simulator's own kinds", history)
            _segments("planted kinds", _history(arguments, seed, planted=True))
    for name, reached in shares.items():
        ends = f"from {min(reached):.4f} to {max(reached):.4f}"
        print(f"{name}: {np.mean(reached):.4f} over {len(reached)} shops, {ends}")


def _history(arguments: argparse.Namespace, seed: int, *, planted: bool = False) -> History:
    plan = SimulationPlan(
        customers=arguments.customers, days=arguments.days, products=300, seed=seed,
        start=LAST_DAY - timedelta(days=arguments.days - 1),
    )  # fmt: skip
    name = f"{plan.customers}-{plan.days}-{seed}{'-planted' if planted else ''}"
    started = time.process_time()
    history = simulate_history(
        plan, PLANTED if planted else TYPES, kept=arguments.kept and arguments.kept / name
    )
    print(f"{name}: simulated, read and validated in {time.process_time() - started:.0f} s of CPU", flush=True)
    return history


def _out_of_time(history: History, arguments: argparse.Namespace, names: list[str]) -> dict[str, float]:
    if not names:
        return {}
    horizon, spacing = arguments.horizon, max(7, arguments.horizon // 3 // 7 * 7)
    day = history.plan.last_day - timedelta(days=horizon)
    origin = recovery.Origin.of(history, day, horizon=horizon, spacing=spacing)
    before = None if arguments.own_scorecard else recovery.origin_before(origin, spacing)
    shares = {}
    for name in names:
        started = time.process_time()
        found = MEASURES[name](origin, before=before)
        print(f"\n{name} within {horizon} days, as of {day}, {found['customers']:,} buyers; champion {found['method']}")
        for what, told in found.items():
            if isinstance(told, Figure):
                print(f"  {what:32} {told}")
        print(f"  all methods: {found['methods']}")
        print(f"  {time.process_time() - started:.0f} s of CPU", flush=True)
        shares |= {f"{name}: share of the oracle, {knowing}": found[f"share of {knowing}"].value for knowing in KNOWING}
    return shares


def _encoder(history: History, arguments: argparse.Namespace, seed: int) -> dict[str, float]:
    horizon = arguments.horizon
    day = history.plan.last_day - timedelta(days=horizon)
    known = encoder_recovery.Known.of(history, day)
    started = time.process_time()
    behaviour = known.taught(horizon=horizon, seed=seed)
    taught = behaviour.taught
    print(
        f"\nencoder as of {day}, {behaviour.customers:,} customers, {behaviour.events:,} events; "
        f"{len(taught.epochs)} passes before the window, {taught.passes_over_all} over all, "
        f"{time.process_time() - started:.0f} s of CPU"
    )
    within = tuple(days for days in WITHIN if days <= horizon)
    found = encoder_recovery.orders_recovery(known, behaviour, horizons=within)
    found |= encoder_recovery.products_recovery(known, behaviour, horizon=horizon)
    for what, told in found.items():
        print(f"  {what:48} {told}", flush=True)
    shuffled = known.shuffled(seed).taught(horizon=horizon, seed=seed).taught
    for task, left in taught.left.items():
        print(f"  loss left of {task}: {left:.4f}, events in another order {shuffled.left[task]:.4f}", flush=True)
    return {f"encoder: {name}": told.value for name, told in found.items() if "share of the" in name}


def _segments(what: str, history: History) -> None:
    found = recovery.segment_recovery(history, history.plan.last_day)
    print(f"\nadjusted Rand index with {what}, {found.pop('customers'):,} buyers")
    for name, told in found.items():
        print(f"  {name:48} {told}", flush=True)


if __name__ == "__main__":
    main()
