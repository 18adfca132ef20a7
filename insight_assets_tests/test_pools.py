"""One network is trained at a time in a home, and a killed training holds up nobody."""

import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

from insight_assets.building import open_instance
from insight_assets.killed_runs import close_killed_runs
from insight_assets.metadata import GPU_POOL
from insight_assets.settings import Settings

TRAIN = """
import os, sys, time
from pathlib import Path
import dagster as dg
from insight_assets.building import open_instance
from insight_assets.killed_runs import PID_TAG
from insight_assets.settings import Settings

@dg.asset(pool="gpu")
def trained():
    Path(sys.argv[2]).touch()
    time.sleep(float(sys.argv[3]))

job = dg.Definitions(assets=[trained], executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()
job.execute_in_process(
    instance=open_instance(Settings(home=Path(sys.argv[1]))), asset_selection=[trained.key], tags={PID_TAG: str(os.getpid())}
)
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(name: str, seconds: float) -> subprocess.Popen:
        arguments = [str(tmp_path / "home"), str(tmp_path / name), str(seconds)]
        command = [sys.executable, "-W", "ignore", "-c", TRAIN, *arguments]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for(path) -> None:
    until = time.monotonic() + 240
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} never began"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_second_training_waits_until_the_first_is_over_or_was_killed(tmp_path, start):
    instance = open_instance(Settings(home=tmp_path / "home"))
    first = start("first", 600)
    wait_for(tmp_path / "first")
    held = instance.event_log_storage.get_concurrency_info(GPU_POOL)
    assert (held.slot_count, held.active_slot_count) == (1, 1)
    second = start("second", 0)
    while not instance.event_log_storage.get_concurrency_info(GPU_POOL).pending_step_count:
        time.sleep(0.05)
    assert len(close_killed_runs(instance, {})) == 2
    assert not (tmp_path / "second").exists()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert len(close_killed_runs(instance, {})) == 1
    assert second.wait(240) == 0
    assert (tmp_path / "second").exists()
    assert instance.event_log_storage.get_concurrency_info(GPU_POOL).active_slot_count == 0
    statuses = sorted(run.status.value for run in instance.get_runs())
    assert statuses == [dg.DagsterRunStatus.FAILURE.value, dg.DagsterRunStatus.SUCCESS.value]
