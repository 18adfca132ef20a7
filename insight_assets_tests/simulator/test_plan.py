"""Plans: sizes, refusals, days and random streams."""

from datetime import date

import numpy as np
import pytest

from insight_assets.simulator.plan import SIZES, SimulationPlan, Stream, Trouble


@pytest.mark.parametrize("size", list(SIZES))
def test_named_sizes_give_their_numbers(size):
    plan = SimulationPlan.sized(size, seed=3)
    assert (plan.customers, plan.days, plan.seed) == (
        SIZES[size]["customers"],
        SIZES[size]["days"],
        3,
    )


def test_changes_win_over_the_size():
    plan = SimulationPlan.sized("small", days=10, start=date(2024, 2, 25))
    assert plan.days == 10
    assert plan.last_day == date(2024, 3, 5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"customers": 0}, "customers"),
        ({"days": 0}, "days"),
        ({"products": 3}, "products"),
        ({"products": 10**6}, "products"),
        ({"seed": -1}, "seed"),
        ({"tax_rate": 1.5}, "tax_rate"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"trouble": Trouble(spoilt_day=date(2030, 1, 1))}, "spoilt_day"),
    ],
)
def test_impossible_plans_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        SimulationPlan.sized("small", **changes)


def test_unknown_size_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="small, medium, large"):
        SimulationPlan.sized("tiny")


@pytest.mark.parametrize(
    "changes", [{"late": 1.5}, {"duplicates": -0.1}, {"bots": -1}, {"late_days": 0}]
)
def test_impossible_trouble_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Trouble(**changes)


def test_midnights_follow_the_clock_change():
    plan = SimulationPlan(
        customers=1, days=4, products=60, start=date(2025, 3, 8), timezone="America/New_York"
    )
    hours = np.diff(plan.midnights) / 3_600_000
    assert hours.tolist() == [24, 23, 24, 24]


def test_streams_are_independent_and_repeatable():
    plan = SimulationPlan.sized("small")
    first = plan.generator(Stream.SESSIONS, 4).random(5)
    assert np.array_equal(first, plan.generator(Stream.SESSIONS, 4).random(5))
    assert not np.array_equal(first, plan.generator(Stream.SESSIONS, 5).random(5))
    assert not np.array_equal(first, plan.generator(Stream.DELIVERY, 4).random(5))
