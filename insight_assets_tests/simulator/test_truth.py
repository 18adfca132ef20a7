"""The hidden truth: what it says is what the shop does."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from insight_assets.simulator.catalogue import CATEGORIES
from insight_assets.simulator.customers import TYPES, expected_order_days
from insight_assets.simulator.events import Kind
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop, simulate_days
from insight_assets.simulator.truth import customer_truth, expected_order_net, write_truth

PLAN = SimulationPlan(customers=3_000, days=120, products=200, seed=21)
ORIGIN = 59


@pytest.fixture(scope="module")
def hidden():
    return open_shop(PLAN)


@pytest.fixture(scope="module")
def documents():
    """Orders, refunds and cancellations: customer, day, kind, goods value."""
    found = []
    for index, day in enumerate(simulate_days(PLAN)):
        events = day.events
        money = np.isin(
            events["kind"], [Kind.ORDER_COMPLETED, Kind.ORDER_REFUNDED, Kind.ORDER_CANCELLED]
        )
        found.append(
            pl.DataFrame(
                {
                    "customer": events["customer"][money],
                    "day": np.full(money.sum(), index),
                    "kind": events["kind"][money],
                    "value": events["revenue"][money] / 100,
                }
            )
        )
    return pl.concat(found)


def auc(truth, score):
    order = np.argsort(np.argsort(score, kind="stable"), kind="stable") + 1
    wins = order[truth].sum() - truth.sum() * (truth.sum() + 1) / 2
    return wins / (truth.sum() * (~truth).sum())


def test_files_and_columns(tmp_path, hidden):
    paths = write_truth(PLAN, tmp_path / "truth")
    assert set(paths) == {"customers", "products", "planted"}
    customers = pl.read_parquet(paths["customers"])
    assert customers.equals(customer_truth(hidden))
    assert len(customers) == PLAN.customers
    assert set(customers["type"]) == {each.name for each in TYPES}
    tastes = customers.select(f"taste_{category.slug}" for category in CATEGORIES)
    assert tastes.sum_horizontal().to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert customers["customer_id"].is_unique().all()
    products = pl.read_parquet(paths["products"])
    assert len(products) == PLAN.products
    assert {"quality", "price", "popularity"} <= set(products.columns)
    assert pl.read_parquet(paths["planted"]).is_empty()


def test_orders_come_at_the_hidden_rate(hidden, documents):
    customers = hidden.customers
    counted = documents.filter((pl.col("kind") == Kind.ORDER_COMPLETED) & (pl.col("day") > ORIGIN))
    orders = np.bincount(counted["customer"], minlength=PLAN.customers)
    span = replace(PLAN, days=ORIGIN + 1)
    days = expected_order_days(span, customers, horizon=PLAN.days - ORIGIN - 1)
    expected = customers.order_rate * days
    known = customers.acquired <= ORIGIN
    assert orders[known].sum() == pytest.approx(expected[known].sum(), rel=0.08)
    assert np.corrcoef(orders[known], expected[known])[0, 1] > 0.6
    assert (expected[~customers.alive_after(ORIGIN)] == 0).all()


def test_an_order_brings_the_hidden_net(hidden, documents):
    # Refunds lag behind orders by up to three weeks, so that orders of the last weeks are left out.
    orders = documents.filter(pl.col("kind") == Kind.ORDER_COMPLETED)
    back = documents.filter(pl.col("kind") != Kind.ORDER_COMPLETED)
    lost = back["value"].sum() / orders["value"].sum()
    net = expected_order_net(hidden)
    expected = net[orders["customer"].to_numpy()]
    realised = orders["value"].to_numpy() * (1 - lost)
    assert realised.mean() == pytest.approx(expected.mean(), rel=0.08)
    means = (
        orders.group_by("customer", maintain_order=True)
        .agg(pl.col("value").mean(), pl.len())
        .filter(pl.col("len") >= 5)
    )
    correlation = np.corrcoef(means["value"], net[means["customer"].to_numpy()])[0, 1]
    assert correlation > 0.5


def test_churn_can_be_learned_but_not_perfectly(hidden, documents):
    customers, horizon, origin = hidden.customers, 30, 80
    orders = documents.filter(pl.col("kind") == Kind.ORDER_COMPLETED)
    before = orders.filter(pl.col("day") <= origin)
    after = orders.filter((pl.col("day") > origin) & (pl.col("day") <= origin + horizon))
    bought = np.bincount(after["customer"], minlength=PLAN.customers) > 0
    last = np.full(PLAN.customers, -1)
    np.maximum.at(last, before["customer"].to_numpy(), before["day"].to_numpy())
    known = last >= 0
    everyone = np.arange(PLAN.customers)
    active_days = sum(
        np.where(customers.dropout > day, customers.fade(everyone, day), 0.0)
        for day in range(origin + 1, origin + 1 + horizon)
    )
    # Even who knows each rate and each dropout cannot say who will happen to buy.
    hidden_auc = auc(bought[known], (customers.order_rate * active_days)[known])
    recency_auc = auc(bought[known], last[known])
    assert 0.86 < hidden_auc < 0.95
    assert 0.68 < recency_auc < 0.82
    assert 0.25 < bought[known].mean() < 0.55
