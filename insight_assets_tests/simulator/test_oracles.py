"""The oracles say what the shop does, and the more they know the better they tell customers apart."""

import numpy as np
import pytest

from insight_assets.ml.metrics import auc
from insight_assets.simulator.events import Kind
from insight_assets.simulator.oracles import foretell
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop, simulate_days

PLAN = SimulationPlan(customers=4_000, days=110, products=60, seed=5)
DAY, HORIZON = 79, 30
ORACLES = ("past", "state", "end")


@pytest.fixture(scope="module")
def shop():
    return open_shop(PLAN)


@pytest.fixture(scope="module")
def seen():
    """Visits and orders of each customer on each day."""
    counted = {
        kind: np.zeros((PLAN.customers, PLAN.days), dtype=np.int16) for kind in (Kind.PAGE_VIEWED, Kind.ORDER_COMPLETED)
    }
    for index, day in enumerate(simulate_days(PLAN)):
        who = day.events["customer"]
        for kind, counts in counted.items():
            counts[:, index] = np.bincount(who[(day.events["kind"] == kind) & (who >= 0)], minlength=PLAN.customers)
    return counted[Kind.PAGE_VIEWED], counted[Kind.ORDER_COMPLETED]


@pytest.fixture(scope="module")
def asked(shop, seen):
    told = {
        name: foretell(PLAN, shop.customers, day=DAY, horizon=HORIZON, knowing=name, visits=seen[0]) for name in ORACLES
    }
    buyers = seen[1][:, : DAY + 1].any(axis=1)
    return told, buyers, seen[1][:, DAY + 1 : DAY + 1 + HORIZON].sum(axis=1)


@pytest.mark.parametrize("name", ORACLES)
def test_an_oracle_keeps_its_word(asked, name):
    told, buyers, orders = asked
    chance, silent = told[name].no_order[buyers], orders[buyers] == 0
    assert ((chance >= 0) & (chance <= 1 + 1e-9)).all()
    assert chance.mean() == pytest.approx(silent.mean(), abs=0.03)
    assert told[name].orders[buyers].sum() == pytest.approx(orders[buyers].sum(), rel=0.1)
    for tenth in np.array_split(np.argsort(chance, kind="stable"), 4):
        # Three deviations of the share that chance alone would leave.
        spread = 3 * np.sqrt((chance[tenth] * (1 - chance[tenth])).mean() / len(tenth))
        assert chance[tenth].mean() == pytest.approx(silent[tenth].mean(), abs=spread + 0.01)


def test_who_knows_more_tells_customers_apart_better(asked):
    told, buyers, orders = asked
    silent = (orders == 0)[buyers]
    reached = [auc(silent, told[name].no_order[buyers]) for name in ORACLES]
    assert reached == sorted(reached)
    assert 0.85 < reached[0] < reached[-1] < 0.95


def test_the_oracle_of_the_past_reads_nothing_after_the_day(shop, seen, asked):
    visits = seen[0].copy()
    visits[:, DAY + 1 :] = 99
    again = foretell(PLAN, shop.customers, day=DAY, horizon=HORIZON, knowing="past", visits=visits)
    assert (again.no_order == asked[0]["past"].no_order).all()


def test_silence_is_held_against_frequent_visitors(shop, asked):
    customers = shop.customers
    told = asked[0]
    gone = (customers.acquired <= DAY) & (customers.dropout <= DAY - 30)
    frequent = gone & (customers.visit_rate > 0.2)
    assert frequent.sum() > 50
    assert (told["state"].no_order[gone] == 1.0).all()
    assert told["past"].no_order[frequent].min() > 0.97


def test_the_past_cannot_be_known_without_visits(shop):
    with pytest.raises(ValueError, match="needs the visits"):
        foretell(PLAN, shop.customers, day=DAY, horizon=HORIZON, knowing="past")
