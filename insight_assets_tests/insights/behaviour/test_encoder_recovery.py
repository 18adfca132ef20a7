"""The measure of what the encoder recovers of a simulated shop asks what it says it asks; how well, the benchmark tells."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from insight_assets.simulator.plan import SimulationPlan
from insight_assets_tests.benchmarks.bench_recovery import LAST_DAY
from insight_assets_tests.encoder_recovery import (
    CONTENTS,
    Known,
    encoder_scores,
    new_products_of_next_order,
    oracle_scores,
    orders_recovery,
    products_recovery,
)
from insight_assets_tests.simulated_histories import simulate_history

DAYS, HORIZON = 42, 14


@pytest.fixture(scope="module")
def known():
    plan = SimulationPlan(
        customers=150, days=DAYS, products=60, seed=3, start=LAST_DAY - timedelta(days=DAYS - 1)
    )
    history = simulate_history(plan)
    return Known.of(history, plan.last_day - timedelta(days=HORIZON))


@pytest.fixture(scope="module")
def behaviour(known):
    return known.taught(horizon=7, seed=1, max_epochs=1)


def test_nothing_after_the_day_is_told(known):
    last = known.sequences["times"].explode().max()
    midnight = pl.Series([known.day + timedelta(days=1)]).cast(pl.Datetime).dt.epoch("s")[0]
    # The shop's day ends eight hours before that of UTC.
    assert last < midnight - 8 * 3_600
    assert (known.places >= 0).all()
    assert len(set(known.places)) == known.sequences.height


def test_in_another_order_times_stay_and_what_was_done_is_the_same(known):
    mixed = known.shuffled(1)
    assert mixed.sequences["customer_key"].equals(known.sequences["customer_key"])
    assert mixed.sequences["times"].equals(known.sequences["times"])

    names = ["customer_key", *CONTENTS]
    one, other = (of.sequences.select(names).explode(*CONTENTS) for of in (known, mixed))
    assert not one.equals(other)
    assert one.sort(names).equals(other.sort(names))
    assert mixed.sequences.equals(known.shuffled(1).sequences)


def test_asked_are_new_products_of_the_first_order_to_come(known, behaviour):
    products = behaviour.vocabulary.products
    rows, wanted, owned = new_products_of_next_order(known, products, horizon=HORIZON)
    assert 10 < len(rows) < known.sequences.height
    assert wanted.any(axis=1).all()
    assert not (wanted & owned[rows]).any()
    keys = known.sequences["customer_key"]
    lines = known.history.order_lines.filter((pl.col("kind") == "sale") & pl.col("is_product")).collect()
    for row, new in zip(rows[:10], wanted[:10], strict=True):
        mine = lines.filter(pl.col("customer_key") == keys[int(row)]).sort("event_time")
        later = mine.filter(pl.col("event_day") > known.day)
        first = later.filter(pl.col("order_id") == later["order_id"][0])["product_id"].to_list()
        before = mine.filter(pl.col("event_day") <= known.day)["product_id"].to_list()
        assert {products[place] for place in np.flatnonzero(new)} == set(first) - set(before)


def test_scores_are_of_the_same_products_and_customers(known, behaviour):
    products = behaviour.vocabulary.products
    oracles = oracle_scores(known, products, horizon=HORIZON)
    for scores in (encoder_scores(known, behaviour), *oracles.values()):
        assert scores.shape == (known.sequences.height, len(products))
        assert np.isfinite(scores).all()
    # An order holds more than one product.
    assert (oracles["taste"].sum(axis=1) > 0.9).all()


def test_shares_are_of_what_could_be_known(known, behaviour):
    orders = orders_recovery(known, behaviour, horizons=(7, HORIZON))
    for horizon in (7, HORIZON):
        told = {name.removeprefix(f"{horizon} days, "): of.value for name, of in orders.items()}
        assert 0 < told["share that came"] < 1
        assert 0 < told["mean chance, encoder"] < 1
        assert told["share of the AUC of past"] == pytest.approx(told["AUC encoder"] / told["AUC past"])
        assert told["mean chance, past"] == pytest.approx(told["share that came"], abs=0.12)
    assert orders["14 days, share that came"].value > orders["7 days, share that came"].value
    ranked = products_recovery(known, behaviour, horizon=HORIZON)
    reached = {name: of.value for name, of in ranked.items()}
    assert 0 < reached["NDCG@10, encoder"] < reached["NDCG@10, oracle of taste"] < 1
    assert reached["NDCG@10, popularity"] < reached["NDCG@10, oracle of taste"]
