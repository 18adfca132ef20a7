"""The conditions under which Dagster's daemon makes as-of tables, tick by tick over the real asset graph."""

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from insight_assets.automation import automation_sensor
from insight_assets.definitions import build_defs
from insight_assets.metadata import CODE_VERSION_TAG, HASH_KEY, READ_KEY, ROWS_KEY, SINCE_KEY
from insight_assets.picture import read_nodes
from insight_assets.settings import settings

FIRST = settings().start_date
DAYS = [FIRST + timedelta(days=offset) for offset in range(4)]
NEWEST = DAYS[-1]
AFTER = datetime.combine(NEWEST + timedelta(days=1), datetime.min.time(), tzinfo=UTC) + timedelta(hours=12)
DEFS = build_defs()
GRAPH = DEFS.resolve_asset_graph()
NODES = {node.name: node for node in read_nodes(GRAPH)}


@dataclass
class Daemon:
    """An instance without tables: partitions are reported as made, and ticks are evaluated."""

    instance: dg.DagsterInstance
    cursor: Any = None
    contents: dict[tuple[str, date], str] = field(default_factory=dict)
    since: dict[tuple[str, date], float] = field(default_factory=dict)

    def make(self, name: str, days: Iterable[date], *, content: str | None = None) -> None:
        """Report partitions as made now; they hold what they held unless other content is given."""
        for day in days:
            now = time.time()
            held = self.contents.get((name, day))
            told = content or held or "first"
            if told != held:
                self.since[name, day] = now
            self.contents[name, day] = told
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    name,
                    partition=day.isoformat(),
                    metadata={ROWS_KEY: 1, HASH_KEY: told, SINCE_KEY: self.since[name, day], READ_KEY: now},
                    tags={CODE_VERSION_TAG: NODES[name].code_version},
                )
            )

    def make_rows(self, days: Iterable[date], *, content: str | None = None) -> None:
        days = list(days)
        for name, node in NODES.items():
            if node.by_event_day:
                self.make(name, days, content=content)

    def tick(self, at: datetime = AFTER) -> dict[str, set[date]]:
        """Evaluate once; give what is asked for."""
        result = dg.evaluate_automation_conditions(DEFS, self.instance, evaluation_time=at, cursor=self.cursor)
        self.cursor = result.cursor
        return {
            name: {date.fromisoformat(key) for key in keys}
            for name in NODES
            if (keys := result.get_requested_partitions(dg.AssetKey(name)))
        }

    def settle(self, *, content: str | None = None) -> list[dict[str, set[date]]]:
        """Tick and make what is asked for until nothing is; give what each tick asked for."""
        ticks = []
        while asked := self.tick():
            assert len(ticks) < 20
            ticks.append(asked)
            for name, days in asked.items():
                self.make(name, days, content=content)
        return ticks


@pytest.fixture
def daemon() -> Daemon:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Daemon(instance)


@pytest.fixture(scope="module")
def newest_day_made(tmp_path_factory) -> Iterator[tuple[Daemon, list[dict[str, set[date]]]]]:
    """A daemon that has made all that follows from the rows of some days, and what each of its ticks asked for."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("settled"))) as instance:
        daemon = Daemon(instance)
        daemon.make_rows(DAYS)
        yield daemon, daemon.settle()


@pytest.fixture
def settled(newest_day_made, tmp_path) -> Iterator[Daemon]:
    """That daemon with an instance of the test's own."""
    made, _ = newest_day_made
    shutil.copytree(made.instance.root_directory, tmp_path / "instance")
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        yield replace(made, instance=instance, contents=dict(made.contents), since=dict(made.since))


def asked_of(ticks: list[dict[str, set[date]]]) -> list[tuple[str, date]]:
    return [(name, day) for asked in ticks for name, days in asked.items() for day in days]


def test_nothing_is_asked_for_before_a_day_is_published(daemon):
    assert daemon.tick() == {}


def test_the_newest_whole_day_is_made_once_and_in_order(newest_day_made, settled):
    _, ticks = newest_day_made
    asked = asked_of(ticks)
    assert len(asked) == len(set(asked))
    # What was told of the visits of the day before is graded now; nothing else reaches back on the fourth day.
    before = {name for name, day in asked if day != NEWEST}
    assert {day for _, day in asked} == {NEWEST - timedelta(days=1), NEWEST}
    assert before == {
        "identities", "quarantined_links", "consents", "session_intent_examples", "session_intent_models",
        "session_intent_scorecard", "session_intent_scores", "session_intent_ledger",
    }  # fmt: skip
    assert ("session_intent_grades", NEWEST) in asked
    asked = [(name, day) for name, day in asked if day == NEWEST]
    ticks = [{name: days for name, days in tick.items() if NEWEST in days} for tick in ticks]
    assert {"customer_features", "rfm_segments", "customer_profiles", "segment_summary", "products"} <= dict(asked).keys()
    place = {name: tick for tick, wanted in enumerate(ticks) for name in wanted}
    assert place["identities"] < place["consents"] < place["customer_features"] < place["rfm_segments"] < place["customer_profiles"] < place["segment_summary"]
    assert settled.tick() == {}


def test_a_day_that_is_not_over_is_left_alone(daemon):
    daemon.make_rows(DAYS)
    noon = AFTER - timedelta(days=1)
    assert set(asked_of([daemon.tick(noon)])) >= {("identities", DAYS[-2]), ("products", DAYS[-2])}
    assert NEWEST not in {day for _, day in asked_of([daemon.tick(noon)])}


def test_what_needs_a_closed_horizon_waits_for_it(newest_day_made):
    _, ticks = newest_day_made
    assert "customer_labels" not in dict(asked_of(ticks))


def test_a_late_row_remakes_exactly_the_days_after_it_all_the_way_to_the_profile(settled):
    for day in DAYS[:-1]:
        for name, node in NODES.items():
            if not node.by_event_day and ((name, NEWEST) in settled.contents):
                settled.make(name, [day])
    # Verdicts of these days are part of the history of champions, and there is nothing else to do.
    assert asked_of(settled.settle()) == [("champion_history", NEWEST)]
    settled.make_rows([DAYS[1]], content="with a late row")
    # Later days look back for repeats and over midnight; they come out as they were.
    settled.make_rows(DAYS[2:])
    asked = asked_of(settled.settle(content="other"))
    assert {day for _, day in asked} == {DAYS[1], DAYS[2], DAYS[3]}
    assert {day for name, day in asked if name == "customer_profiles"} == {DAYS[1], DAYS[2], DAYS[3]}
    assert len(asked) == len(set(asked))


def test_rows_made_again_with_the_same_content_ask_for_nothing(settled):
    settled.make_rows(DAYS)
    assert settled.tick() == {}


def test_what_comes_out_the_same_stops_there(settled):
    settled.make("product_history", [DAYS[1]], content="with a late row")
    assert asked_of(settled.settle()) == [("products", NEWEST)]
    settled.make("product_history", [DAYS[1]], content="with another")
    asked = dict(asked_of(settled.settle(content="other")))
    assert {"products", "recommendations", "customer_profiles"} <= asked.keys()


def test_a_daemon_that_lost_its_place_decides_the_same(settled):
    settled.make_rows([DAYS[0]], content="with a late row")
    seen = settled.tick()
    settled.cursor = None
    assert settled.tick() == seen


def test_what_reads_an_unsettled_partition_waits(settled):
    # The features hold other content, and are themselves to be made again: their readers would be made twice.
    settled.make("customer_features", [NEWEST], content="other")
    settled.make("customer_days", [NEWEST], content="with a late row")
    asked = settled.tick()
    assert asked["customer_state"] == {NEWEST}
    assert not {"customer_features", "rfm_segments"} & asked.keys()
    settled.make("customer_state", [NEWEST], content="with a late row")
    asked = settled.tick()
    assert asked["customer_features"] == {NEWEST}
    assert "rfm_segments" not in asked
    settled.make("customer_features", [NEWEST], content="third")
    assert settled.tick()["rfm_segments"] == {NEWEST}


def start_run(daemon: Daemon, name: str) -> dg.DagsterRun:
    selection = frozenset({dg.AssetKey(name)})
    job = DEFS.resolve_implicit_global_asset_job_def().get_subset(asset_selection=selection)
    tags = {"dagster/partition": NEWEST.isoformat()}
    run = daemon.instance.create_run_for_job(job, asset_selection=selection, tags=tags)
    started = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    daemon.instance.report_dagster_event(started, run.run_id)
    return run


def test_nothing_is_asked_for_while_a_run_makes_it(daemon):
    daemon.make_rows(DAYS)
    assert "products" in daemon.tick()
    run = start_run(daemon, "products")
    assert "products" not in daemon.tick()
    daemon.instance.report_run_failed(run)


def test_what_failed_is_asked_for_again_only_when_its_inputs_are_made_again(daemon):
    daemon.make_rows(DAYS)
    assert "products" in daemon.tick()
    run = start_run(daemon, "products")
    daemon.tick()
    daemon.instance.report_run_failed(run)
    assert "products" not in daemon.tick()
    assert "products" not in daemon.tick()
    daemon.make_rows([NEWEST], content="mended")
    assert "products" in daemon.tick()


def test_the_sensor_is_off_until_somebody_switches_it_on():
    assert automation_sensor.default_status == dg.DefaultSensorStatus.STOPPED
    selected = automation_sensor.asset_selection.resolve(GRAPH)
    automated = {key for key in GRAPH.executable_asset_keys if GRAPH.get(key).automation_condition}
    assert automated <= selected
    assert all(GRAPH.get(key).backfill_policy is None for key in automated)
