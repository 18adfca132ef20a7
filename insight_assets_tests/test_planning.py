"""Pure decisions about what to build: fresh, late, cut off early, failed, and which snapshots rest on which."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.planning import (
    Edge,
    Made,
    Node,
    Step,
    days_of_others,
    first_stretch,
    is_stale,
    need_snapshots,
    plan_rows,
    plan_snapshots,
)

FIRST = date(2025, 1, 1)
HORIZON, HISTORY = 30, -100_000
TOGETHER = frozenset({"events", "orders"})
ROWS = (
    Node("raw_shop", True, "1", (), frozenset({"raw_shop"}), is_raw=True),
    Node("events", True, "1", (Edge("raw_shop"),), TOGETHER),
    Node("orders", True, "1", (Edge("raw_shop"),), TOGETHER),
    Node("sessions", True, "1", (Edge("events", -1, 0),), frozenset({"sessions"})),
    Node("customer_days", True, "1", (Edge("events"), Edge("orders"), Edge("sessions")), frozenset({"customer_days"})),
)
SNAPSHOTS = (
    Node("features", False, "1", (Edge("customer_days", HISTORY, 0),), frozenset({"features"})),
    Node("segments", False, "1", (Edge("features"),), frozenset({"segments"})),
    Node("labels", False, "1", (Edge("features"), Edge("orders", 1, HORIZON)), frozenset({"labels"})),
    Node(
        "models", False, "1", (Edge("features"), Edge("labels", -HORIZON, -HORIZON, optional=True)), frozenset({"models"}),
        needs_closed_origin=True,
    ),
    Node("scorecard", False, "1", (Edge("models"), Edge("features"), Edge("labels")), frozenset({"scorecard"})),
    Node(
        "scores", False, "1", (Edge("models"), Edge("features"), Edge("scorecard", -HORIZON, -HORIZON, optional=True)),
        frozenset({"scores"}),
    ),
    Node("profiles", False, "1", (Edge("segments"), Edge("scores", optional=True)), frozenset({"profiles"})),
)  # fmt: skip
NODES = (*ROWS, *SNAPSHOTS)


class World:
    """What is published, and a clock that ticks once a step."""

    def __init__(self, landed: Collection[date] = ()) -> None:
        self.states: dict[str, dict[date, Made]] = {node.name: {} for node in NODES}
        self.landed = set(landed)
        self.clock = 0.0

    def make(self, step: Step, *, changed: bool = True, version: str = "1") -> None:
        """Make a step's partitions, with other content than before or with the same."""
        for name in step.assets:
            self.clock += 1
            for day in step.days:
                before = self.states[name].get(day)
                since = self.clock if changed or before is None else before.since
                self.states[name][day] = Made(self.clock, since, version)
        if "raw_shop" in step.assets:
            self.landed -= set(step.days)

    def rows(
        self, days: Collection[date], failed: Collection[tuple[str, date]] = (), nodes: tuple[Node, ...] = ROWS
    ) -> Step | None:
        landed = {"raw_shop": self.landed} if self.landed or self.states["raw_shop"] else {}
        return plan_rows(nodes, sorted(days), self.states, landed, failed)

    def build_rows(self, days: Collection[date], *, changed: bool = True) -> list[Step]:
        steps = []
        while (step := self.rows(days)) is not None:
            assert len(steps) < 50
            self.make(step, changed=changed)
            steps.append(step)
        return steps


def days(count: int, start: int = 0) -> list[date]:
    return [FIRST + timedelta(days=start + n) for n in range(count)]


def built(count: int) -> World:
    world = World(days(count))
    world.build_rows(days(count))
    return world


# Event days


def test_a_fresh_range_is_one_run_of_all_row_assets():
    world = World(days(10))
    assert world.build_rows(days(10)) == [
        Step(("raw_shop", "events", "orders", "sessions", "customer_days"), tuple(days(10)))
    ]


def test_what_is_built_is_left_alone():
    world = built(10)
    assert world.rows(days(10)) is None


def test_days_without_deliveries_are_built_empty():
    world = World([days(5)[0], days(5)[4]])
    assert world.build_rows(days(5))[0].days == tuple(days(5))


def test_a_source_that_never_delivered_is_no_reason_to_wait():
    world = World()
    step = world.rows(days(2))
    assert step == Step(("events", "orders", "sessions", "customer_days"), tuple(days(2)))


def test_a_late_file_rebuilds_its_day_and_the_day_after_for_what_looks_back():
    world = built(10)
    world.landed = {days(10)[4]}
    made: dict[str, set[date]] = {}
    for step in world.build_rows(days(10)):
        for name in step.assets:
            made.setdefault(name, set()).update(step.days)
    day, after = days(10)[4], days(10)[5]
    assert made == {
        "raw_shop": {day}, "events": {day}, "orders": {day}, "sessions": {day, after}, "customer_days": {day, after},
    }  # fmt: skip


def test_nothing_follows_from_content_that_did_not_change():
    world = built(10)
    world.landed = {days(10)[4]}
    step = world.rows(days(10))
    assert "raw_shop" in step.assets
    # The file repeats what was known: raw changes, what is validated from it does not.
    world.make(Step(("raw_shop",), step.days))
    world.make(Step(("events", "orders"), step.days), changed=False)
    assert world.rows(days(10)) is None


def test_a_long_look_back_makes_days_anew_and_what_follows_only_where_they_changed():
    far = tuple(
        replace(node, edges=(Edge("raw_shop", -30, 0),)) if node.name in TOGETHER else node for node in ROWS
    )
    world = built(10)
    day = days(10)[4]
    world.landed = {day}
    assert world.rows(days(10), nodes=far) == Step(("raw_shop",), (day,))
    world.make(Step(("raw_shop",), (day,)))
    world.landed = set()
    step = world.rows(days(10), nodes=far)
    assert step == Step(("events", "orders"), tuple(days(10)[4:]))
    world.make(step, changed=False)
    assert world.rows(days(10), nodes=far) is None
    world.make(Step(("events",), (day,)))
    assert set(world.rows(days(10), nodes=far).days) <= {day, days(10)[5]}
    assert World(days(3)).rows(days(3), nodes=far).assets == tuple(node.name for node in ROWS)


def test_a_new_code_version_rebuilds_its_asset_and_then_what_reads_it():
    world = built(4)
    nodes = tuple(replace(node, code_version="2") if node.name == "sessions" else node for node in ROWS)
    step = world.rows(days(4), nodes=nodes)
    assert step == Step(("sessions", "customer_days"), tuple(days(4)))
    world.make(Step(("sessions",), tuple(days(4))), version="2", changed=False)
    assert world.rows(days(4), nodes=nodes) is None


def test_assets_of_one_step_are_made_together():
    world = built(3)
    del world.states["orders"][days(3)[1]]
    step = world.rows(days(3))
    assert {"events", "orders"} <= set(step.assets)
    assert step.days == (days(3)[1],)


def test_gaps_split_runs_into_unbroken_stretches():
    world = World()
    world.states["raw_shop"] = {}
    world.landed = {days(9)[n] for n in (0, 1, 5, 7, 8)}
    wanted = sorted(world.landed)
    stretches = [step.days for step in world.build_rows(wanted)]
    assert stretches == [tuple(wanted[:2]), (wanted[2],), tuple(wanted[3:])]


def test_days_outside_the_range_asked_for_are_not_built():
    world = World(days(10))
    assert world.build_rows(days(3, 2))[0].days == tuple(days(3, 2))


def test_a_failed_day_bars_what_depends_on_it_and_nothing_else():
    world = World(days(5))
    failed = {("events", days(5)[2])}
    world.make(Step(("raw_shop",), tuple(days(5))))
    made: dict[str, set[date]] = {}
    while (step := world.rows(days(5), failed)) is not None:
        world.make(step)
        for name in step.assets:
            made.setdefault(name, set()).update(step.days)
    good = set(days(5)) - {days(5)[2]}
    assert made["events"] == made["orders"] == good
    # Sessions of the day after look back at the failed day.
    assert made["sessions"] == made["customer_days"] == good - {days(5)[3]}


def test_a_failed_day_is_not_tried_again_and_again():
    world = World(days(1))
    assert world.rows(days(1), {("raw_shop", FIRST)}) is None
    world.make(Step(("raw_shop",), (FIRST,)))
    assert world.rows(days(1), {("orders", FIRST)}) is None


@given(present=st.sets(st.integers(0, 30)))
def test_the_first_stretch(present):
    wanted = [FIRST + timedelta(days=n) for n in present]
    stretch = first_stretch(wanted)
    assert set(stretch) <= set(wanted)
    assert stretch == () if not wanted else stretch[0] == min(wanted)
    assert all(later - earlier == timedelta(days=1) for earlier, later in zip(stretch, stretch[1:], strict=False))
    assert not stretch or stretch[-1] + timedelta(days=1) not in wanted


@given(
    made=st.dictionaries(st.integers(0, 8), st.floats(0, 10), max_size=9), first=st.integers(-9, 9), span=st.integers(0, 9),
    at=st.floats(0, 10),
)  # fmt: skip
def test_staleness_looks_at_the_days_that_are_read(made, first, span, at):
    node = Node("child", True, "1", (Edge("parent", first, first + span),), frozenset({"child"}))
    parent = {FIRST + timedelta(days=n): Made(since, since, "1") for n, since in made.items()}
    day = FIRST + timedelta(days=4)
    newer = any(since > at and first <= n - 4 <= first + span for n, since in made.items())
    assert is_stale(node, day, {"child": {day: Made(at, at, "1")}, "parent": parent}) is newer
    assert is_stale(node, day, {"child": {}, "parent": parent})
    assert is_stale(node, day, {"child": {day: Made(at, at, "0")}, "parent": {}})


@given(data=st.data())
def test_whatever_lands_in_whatever_order_everything_is_fresh_in_the_end(data):
    world, wanted = World(), days(8)
    for _ in range(data.draw(st.integers(1, 4))):
        world.landed |= data.draw(st.sets(st.sampled_from(wanted), max_size=3))
        steps = world.build_rows(wanted, changed=data.draw(st.booleans()))
        assert len(steps) < 30
        assert world.landed == set()
        assert world.rows(wanted) is None
        for node in ROWS:
            if not node.is_raw:
                assert set(world.states[node.name]) == set(wanted)
                assert not any(is_stale(node, day, world.states) for day in wanted)


# Snapshots


def need(world: World, as_of: date, selected: Collection[str] | None = None, history: int = 14):
    names = [node.name for node in SNAPSHOTS] if selected is None else selected
    return need_snapshots(
        NODES, as_of, world.states, first_day=FIRST, horizon_days=HORIZON, min_history_days=history, selected=names
    )


def build_snapshots(world: World, as_of: date, failed: Collection[tuple[str, date]] = ()) -> list[Step]:
    steps = []
    while (step := plan_snapshots(NODES, need(world, as_of), world.states, failed)) is not None:
        assert len(steps) < 50
        world.make(step)
        steps.append(step)
    return steps


def last(world: World) -> date:
    return max(world.states["customer_days"])


def test_a_snapshot_brings_the_origins_it_rests_on():
    world = built(120)
    as_of, origin = last(world), last(world) - timedelta(days=HORIZON)
    found = need(world, as_of)
    # The labels of the as-of day wait for a horizon that is still open; its scorecard waits with them.
    assert set(found.missing) == {"labels", "scorecard"}
    assert str(as_of + timedelta(days=HORIZON)) in found.missing["labels"]
    assert found.wanted[as_of] == ("features", "segments", "models", "scores", "profiles")
    assert set(found.wanted[origin]) == {"features", "labels", "models", "scorecard"}
    # The labels on which the origin's model rests are two horizons old.
    assert set(found.wanted) == {as_of - timedelta(days=HORIZON * n) for n in range(3)}
    assert set(found.wanted[as_of - timedelta(days=2 * HORIZON)]) == {"features", "labels"}


def test_snapshots_are_made_from_the_oldest_to_the_newest():
    world = built(120)
    steps = build_snapshots(world, last(world))
    assert [step.days[0] for step in steps] == sorted(need(world, last(world)).wanted)
    assert build_snapshots(world, last(world)) == []


def test_too_little_history_is_told_with_the_day_on_which_it_is_enough():
    world = built(40)
    found = need(world, last(world))
    enough = FIRST + timedelta(days=HORIZON + 14 - 1)
    assert f"no horizon of 30 days has closed with 14 days of history before {enough}" in found.missing["models"]
    assert found.missing["scores"] == found.missing["models"]
    # What can be had is had: scores are optional for a profile.
    assert found.wanted == {last(world): ("features", "segments", "profiles")}
    assert "models" in need(built(44), days(44)[-1]).wanted[days(44)[-1]]


def test_a_day_before_the_first_has_no_snapshot():
    world = built(5)
    assert "lies before the first day with data" in need(world, FIRST - timedelta(days=1)).missing["features"]
    assert need(world, FIRST - timedelta(days=1)).wanted == {}


def test_a_gap_in_history_is_told():
    world = built(10)
    del world.states["customer_days"][days(10)[4]]
    found = need(world, last(world))
    assert found.missing["features"] == f"customer_days: {days(10)[4]} is not published"
    assert found.missing["segments"] == found.missing["features"]
    # As of a day before the gap there is none.
    assert "features" in need(world, days(10)[3]).wanted[days(10)[3]]


def test_only_what_is_selected_and_what_it_rests_on_is_wanted():
    world = built(10)
    assert need(world, last(world), ["segments"]).wanted == {last(world): ("features", "segments")}
    assert need(world, last(world), []).wanted == {}


def test_a_late_day_makes_stale_what_was_made_from_it():
    world = built(120)
    as_of = last(world)
    build_snapshots(world, as_of)
    world.landed = {days(120)[100]}
    world.build_rows(days(120))
    stale = [step.days[0] for step in build_snapshots(world, as_of)]
    origin = as_of - timedelta(days=HORIZON)
    # Features as of the origin end before the late day, labels of the origin look at it.
    assert stale == [origin, as_of]
    older = World()
    older.states = {name: dict(made) for name, made in world.states.items()}
    older.clock = world.clock
    older.landed = {days(120)[10]}
    older.build_rows(days(120))
    assert [step.days[0] for step in build_snapshots(older, as_of)] == [origin - timedelta(days=HORIZON), origin, as_of]


def test_a_failed_snapshot_bars_what_needs_it_and_not_what_can_do_without():
    world = built(120)
    as_of = last(world)
    made = {(name, step.days[0]) for step in build_snapshots(world, as_of, {("models", as_of)}) for name in step.assets}
    assert ("models", as_of) not in made
    assert ("scores", as_of) not in made
    assert {("features", as_of), ("segments", as_of), ("profiles", as_of)} <= made


def test_a_failed_origin_does_not_hold_back_the_newest_day():
    world = built(120)
    as_of, origin = last(world), last(world) - timedelta(days=HORIZON)
    made = {
        (name, step.days[0]) for step in build_snapshots(world, as_of, {("scorecard", origin)}) for name in step.assets
    }
    assert ("scorecard", origin) not in made
    # Scores do without a scorecard: the simplest rule is then published.
    assert ("scores", as_of) in made


@pytest.mark.parametrize("landed", [{}, {"raw_shop": [FIRST]}])
def test_a_range_of_no_days_needs_nothing(landed: Mapping[str, Collection[date]]):
    assert plan_rows(ROWS, [], World().states, landed) is None


def test_what_was_made_with_another_key_or_other_people_is_found_by_its_code_version():
    old, new = Made(1.0, 1.0, "2-1.0.0-k1"), Made(1.0, 1.0, "2-1.0.0-k2")
    later = FIRST + timedelta(days=1)
    states = {
        "raw_shop": {FIRST: Made(1.0, 1.0, "1")},
        "events": {FIRST: old, later: new},
        "profiles": {FIRST: Made(1.0, 1.0, None), later: Made(1.0, 1.0, "1-k2.5f0a11bc")},
    }
    assert days_of_others(states, NODES, "k2") == {FIRST: {"events", "profiles"}, later: {"profiles"}}
    assert days_of_others(states, SNAPSHOTS, "k2.5f0a11bc") == {FIRST: {"profiles"}}
    assert days_of_others({}, NODES, "k2") == {}
