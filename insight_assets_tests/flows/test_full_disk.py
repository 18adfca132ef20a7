"""A disk that is really full: every writer says so, leaves what was there, and does its work once there is room.

The disk is a small one in memory, mounted in a namespace of its own: no other process sees it, and it goes with the
process that uses it, however that ends.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from insight_assets.discretion import without_values
from insight_assets.disk_room import DiskFull, is_full
from insight_assets_tests.flows.full_disk import NAMES, SHARES

ROOT = Path(__file__).parents[2]
MEGABYTES = 24
MOUNT = f'mount -t tmpfs -o size={MEGABYTES}m tmpfs "$0" && exec "$@"'
NEXT = "Next: free some space"


def with_small_disk(place: Path, *command: str) -> list[str]:
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(place), *command]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict:
    place, beside = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("beside")
    if shutil.which("unshare") is None:
        pytest.skip("a small disk cannot be mounted: there is no unshare here")
    tried = subprocess.run(with_small_disk(place, "true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")
    command = with_small_disk(
        place, sys.executable, "-W", "ignore", "-m", "insight_assets_tests.flows.full_disk", str(place), str(beside)
    )
    settings = {"PYTHONPATH": str(ROOT), "INSIGHT_HOME": str(beside / "home")}
    done = subprocess.run(command, env=dict(os.environ) | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert list(place.iterdir()) == []
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_a_writer_without_room_says_so_and_leaves_what_was_there(told, name):
    tries = told[name]["tries"]
    assert [each["share"] for each in tries] == list(SHARES)
    refused = [each for each in tries if each["error"] is not None]
    assert len(refused) >= 4
    for each in refused:
        kind, words = each["error"]
        assert kind == "DiskFull"
        assert "could not be written and is as it was before" in words
        assert NEXT in words
        assert each["found"] == "a"
    assert all(each["found"] == "b" for each in tries if each["error"] is None)
    # What is left half written would keep the disk full.
    assert all(each["unfinished"] == [] for each in tries)
    assert told[name]["again"] == "b"


def test_landing_looks_for_room_before_it_copies(told):
    before = told["land"]["looked_before"]
    assert before["code"] != 0
    assert "landing needs" in before["told"]
    assert NEXT in before["told"]
    assert before["there"] == []


def test_landing_that_runs_out_of_room_leaves_nothing_and_can_be_repeated(told):
    cut = told["land"]["on_the_way"]
    assert cut["code"] != 0
    assert NEXT in cut["told"]
    assert cut["there"] == []
    assert told["land"]["with_room"]["code"] == 0
    assert told["land"]["with_room"]["there"] == ["day.ndjson"]


def test_a_run_without_room_fails_with_what_to_do_and_is_completed_by_the_next(told):
    run = told["run"]
    assert run["first"]["success"]
    assert run["first"]["rows"] == {"raw_segment": 500, "events": 500, "quarantine": 0}
    assert not run["full"]["success"]
    assert "DiskFull" in run["full"]["failures"][0]
    assert NEXT in run["full"]["failures"][0]
    assert run["full"]["rows"] == run["first"]["rows"]
    assert run["again"]["success"]
    assert run["again"]["rows"] == {"raw_segment": 1_000, "events": 1_000, "quarantine": 0}


def test_what_libraries_say_of_a_full_disk_is_told_and_nothing_else_is():
    full = sqlite3.OperationalError("database or disk is full")
    with pytest.raises(DiskFull, match=NEXT), without_values("reading"):
        raise full
    assert is_full(OSError(28, "No space left on device"))
    assert not is_full(OSError(2, "No such file"))
    # A row may say so, too.
    assert not is_full(ValueError("no space left on device"))
    assert not is_full(None)
