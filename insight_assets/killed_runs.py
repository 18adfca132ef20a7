"""Runs whose process was killed, as by a power cut: told from living ones and closed, so that nothing waits for them.

Dagster's own monitoring cannot tell them where a run is a process of its code server and both were killed: such a run
stays `STARTED` for ever. Only processes of this machine are judged.
"""

from collections.abc import Sequence

import dagster as dg
import psutil
from dagster._core.launcher import DefaultRunLauncher

PID_TAG = "insight/pid"
UNDER_WAY = (
    dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)  # fmt: skip


def close_killed_runs(instance: dg.DagsterInstance, tags: dict[str, str]) -> Sequence[dg.DagsterRun]:
    """Mark runs as failed whose process is gone, and give back what their steps held in pools.

    Args:
        instance: where runs are recorded.
        tags: tags of the runs to look at.

    Returns:
        The runs that are still under way.
    """
    alive = []
    for run in instance.get_runs(dg.RunsFilter(tags=tags, statuses=list(UNDER_WAY))):
        if run.status != dg.DagsterRunStatus.QUEUED and _is_gone(instance, run):
            # Before it counts as closed: if this process is killed in turn, the next one passes closed runs by.
            _leave_pools(instance, run)
            instance.report_run_failed(run, "the process that ran it was ended from outside")
        else:
            alive.append(run)
    return alive


def count_kills(instance: dg.DagsterInstance, tags: dict[str, str]) -> int:
    """Count the failed runs in which no step failed: they were ended from outside.

    Args:
        instance: where runs are recorded.
        tags: tags of the runs to count.
    """
    failed = instance.get_runs(dg.RunsFilter(tags=tags, statuses=[dg.DagsterRunStatus.FAILURE]))
    return sum(
        not instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
        for run in failed
    )


def _leave_pools(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Free the slots of a run; Dagster's daemon does so too, but a build waits for nobody's daemon."""
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Tell whether the process that last worked on a run has ended; False where nobody can tell."""
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return False
    told = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    seen = [
        (int(entry.value), record.timestamp)
        for record in told
        if (entry := record.event_log_entry.dagster_event.engine_event_data.metadata.get("pid")) is not None
    ]
    if not seen and PID_TAG in run.tags:
        seen = [(int(run.tags[PID_TAG]), instance.get_run_record_by_id(run.run_id).create_timestamp.timestamp())]
    if not seen:
        return False
    number, moment = seen[-1]
    try:
        # A number is given again; who began after the run wrote it down is somebody else.
        return psutil.Process(number).create_time() > moment
    except psutil.NoSuchProcess:
        return True
