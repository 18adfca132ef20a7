"""Building through Dagster: runs what `planning` decides over the home's `picture`, and reports progress.

Runs are ordinary Dagster runs in this process, recorded in the home's instance, so that the UI shows them afterwards.
"""

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import dagster as dg

from insight_assets.definitions import build_defs, people_version
from insight_assets.ingestion.assets import SOURCES
from insight_assets.ingestion.landing import Inventory, LandedFile
from insight_assets.ingestion.raw import loaded_files, raw_contract
from insight_assets.killed_runs import PID_TAG, close_killed_runs
from insight_assets.lake import Lake
from insight_assets.metadata import RANGE_END, RANGE_START
from insight_assets.picture import Picture
from insight_assets.planning import Snapshots, Step, days_of_others, need_snapshots, plan_snapshots
from insight_assets.settings import Settings
from insight_assets.whole_files import write_whole

INSTANCE_YAML = """\
telemetry:
  enabled: false
event_log_storage:
  module: insight_assets.event_log
  class: KeptOpenEventLogStorage
  config:
    base_dir: history
concurrency:
  pools:
    default_limit: 1
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 10
python_logs:
  managed_python_loggers: [insight_assets]
  python_log_level: INFO
"""


class BuildBusy(Exception):
    """Another build works on the same home."""


@dataclass
class BuildReport:
    """What a build did.

    Attributes:
        runs: Dagster runs launched.
        partitions: partitions made.
        failures: failed asset and day, with the message for people.
        missing: snapshot assets that could not be made, with the reason.
        refused_files: files of the landing folder that could not be read.
        first: first day built.
        last: last day built.
        as_of: as-of days built.
    """

    first: date | None = None
    last: date | None = None
    as_of: tuple[date, ...] = ()
    runs: int = 0
    partitions: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    refused_files: list[LandedFile] = field(default_factory=list)


def open_instance(shop: Settings) -> dg.DagsterInstance:
    """Open the home's Dagster instance, making it on first use.

    Args:
        shop: the settings.
    """
    shop.dagster_home.mkdir(parents=True, exist_ok=True)
    config = shop.dagster_home / "dagster.yaml"
    before = config.read_text(encoding="utf-8") if config.exists() else INSTANCE_YAML
    # Dagster wants the place written out, and a home may have been moved or copied since.
    place = f"base_dir: {json.dumps(str(shop.dagster_home / 'history'))}"
    text = re.sub(r"(?<=    )base_dir: .*", lambda _: place, before, count=1)
    if not config.exists() or text != before:
        write_whole(config, text)
    logging.getLogger("dagster").setLevel(logging.ERROR)
    return dg.DagsterInstance.from_config(str(shop.dagster_home))


def _told_by(say: Callable[[str], None]) -> dg.LoggerDefinition:
    """Give a console logger that tells of finished steps and of what assets log themselves."""

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            meta = getattr(record, "dagster_meta", {})
            event = meta.get("dagster_event")
            if event is None:
                if record.levelno >= logging.INFO:
                    say(f"    {meta.get('orig_message', record.getMessage())}")
            elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
                say(f"  {event.step_key}")

    @dg.logger
    def console(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("insight", level=logging.DEBUG)
        logger.addHandler(Teller())
        return logger

    return console


class Builder:
    """Brings a home's tables up to date.

    Args:
        shop: the settings.
        instance: the home's Dagster instance.
        say: called with one line of progress at a time.
    """

    def __init__(self, shop: Settings, instance: dg.DagsterInstance, say: Callable[[str], None]) -> None:
        """Load the definitions and the inventory."""
        self.shop = shop
        self.instance = instance
        self.say = say
        self.defs = build_defs(loggers={"console": _told_by(say)})
        self.picture = Picture(self.defs.resolve_asset_graph(), instance)
        self.lake = Lake(shop.lake)
        self.inventory = Inventory.of(shop)
        self.report = BuildReport()
        self._failed: set[tuple[str, date]] = set()

    def build(
        self, *, first: date | None, last: date | None, as_of: Sequence[date] | None, select: str | None = None
    ) -> BuildReport:
        """Make what is missing or stale.

        Args:
            first: first event day; by default the first day with landed rows.
            last: last event day; by default the last day with landed rows.
            as_of: as-of days to make snapshots of; by default the last event day.
            select: Dagster asset selection that limits what is made.

        Returns:
            What was done; `failures` is empty when all went well.
        """
        # Those of builds that were killed would be shown as running for ever.
        close_killed_runs(self.instance, {})
        landed = self._landed_days()
        if not landed and first is None:
            return self.report
        first, last = first or min(landed), last or max(landed)
        self.report.first, self.report.last = first, last
        selected = self._selected(select)
        # A lake with pseudonyms of two keys would show each customer as two, so nothing of the old key may stay.
        by_event_day = [node for node in self.picture.nodes if node.by_event_day]
        outdated = days_of_others(self.picture.read_states(), by_event_day, people_version(self.shop))
        self._build_rows(min([first, *outdated]), max([last, *outdated]), selected)
        snapshot_days = tuple(as_of) if as_of is not None else (last,)
        self.report.as_of = snapshot_days
        for day in snapshot_days:
            self._build_snapshots(day, selected)
        snapshots = [node for node in self.picture.nodes if not node.by_event_day]
        for day, names in days_of_others(self.picture.read_states(), snapshots, people_version(self.shop)).items():
            self._build_snapshots(day, names & selected)
        return self.report

    def _landed_days(self) -> set[date]:
        days: set[date] = set()
        for source in SOURCES.values():
            opened = self.inventory.refresh(source)
            if opened:
                self.say(f"landing: {len(opened)} new files of {source.name}, {sum(f.rows for f in opened):,} rows")
            for file in self.inventory.files(source.name):
                days |= file.days.keys()
                if file.status == "refused":
                    self.report.refused_files.append(file)
            # Days that only an earlier version of a file touched are built again, too.
            days |= {day for day in loaded_files(self.lake, raw_contract(source)) if day >= self.shop.start_date}
        return days

    def _selected(self, select: str | None) -> set[str]:
        if select is None:
            return {node.name for node in self.picture.nodes}
        # What one step makes can only be made together.
        wanted = dg.AssetSelection.from_string(select).required_multi_asset_neighbors()
        chosen = wanted.resolve(self.defs.resolve_asset_graph())
        return {key.to_user_string() for key in chosen}

    def _build_rows(self, first: date, last: date, selected: Collection[str]) -> None:
        touched: Collection[str] | None = None
        while True:
            step = self.picture.next_rows(
                first, last, self.inventory, self.lake, SOURCES.values(), selected=selected, touched=touched, failed=self._failed
            )
            if step is None:
                return
            self._run(step, rows=True)
            touched = step.assets

    def _build_snapshots(self, as_of: date, selected: Collection[str]) -> None:
        states = self.picture.read_states()
        first_day = min((day for day in states.get("customer_days", {})), default=None)
        if first_day is None:
            self.report.missing = {"customer_features": "no day is published yet"}
            return
        touched: Collection[str] | None = ()
        while True:
            states = self.picture.read_states(touched)
            need = self._need(as_of, first_day, selected, states)
            step = plan_snapshots(self.picture.nodes, need, states, self._failed)
            if step is None:
                self.report.missing |= need.missing
                return
            self._run(step, rows=False)
            touched = step.assets

    def _need(self, as_of: date, first_day: date, selected: Collection[str], states: dict) -> Snapshots:
        return need_snapshots(
            self.picture.nodes, as_of, states, first_day=first_day, horizon_days=self.shop.horizon_days,
            min_history_days=self.shop.min_history_days, selected=selected,
        )

    def _run(self, step: Step, *, rows: bool) -> None:
        first, last = step.days[0].isoformat(), step.days[-1].isoformat()
        span = first if first == last else f"{first} to {last}"
        self.say(f"{span}: {', '.join(step.assets)}")
        job = self.defs.resolve_implicit_global_asset_job_def()
        tags = {PID_TAG: str(os.getpid())}
        if rows:
            tags |= {RANGE_START: first, RANGE_END: last}
        started = time.monotonic()
        result = job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in step.assets],
            partition_key=None if rows else first,
            tags=tags,
            run_config={"loggers": {"console": {}}},
            raise_on_error=False,
        )
        self.report.runs += 1
        made = [event for event in result.all_events if event.is_step_materialization]
        self.report.partitions += len(made)
        self._note_failures(result, step)
        self.say(f"  {len(made)} partitions in {time.monotonic() - started:.1f} s")

    def _note_failures(self, result: dg.ExecuteInProcessResult, step: Step) -> None:
        if result.success:
            return
        made = {(e.asset_key.to_user_string(), e.partition) for e in result.all_events if e.is_step_materialization}
        for name in step.assets:
            self._failed |= {(name, day) for day in step.days if (name, day.isoformat()) not in made}
        for event in result.get_step_failure_events():
            failure = event.step_failure_data
            described = failure.user_failure_data.description if failure.user_failure_data else None
            error = failure.error.cause or failure.error if failure.error else None
            message = described or (error.message.strip() if error else "failed")
            self.report.failures.append((event.step_key or "", f"{step.days[0]}..{step.days[-1]}", message))
            self.say(f"  failed: {event.step_key}: {message}")


@contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the home for one build.

    Raises:
        BuildBusy: if another build holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another `insight build` works on {home}; wait for it to end"
            raise BuildBusy(message) from None
        yield
