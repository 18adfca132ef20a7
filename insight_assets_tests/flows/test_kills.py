"""Two hundred writers are killed at random moments; none leaves a torn or mixed partition, model or file behind."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from insight_assets_tests.flows.killed_writers import VERSIONS, WRITERS, write_for_ever

# Dear and risky writers are killed more often; 200 kills in all.
KILLS = {"table": 90, "model": 50, "settings": 20, "page": 20, "landing": 20}
LONGEST = {"table": 0.25, "model": 0.03, "settings": 0.02, "page": 0.03, "landing": 0.2}


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["insight_assets_tests.flows.killed_writers"])
    return context


@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_writer_leaves_the_old_or_the_new(name, tmp_path, processes):
    moments = random.Random(name)
    found, longest = [], LONGEST[name]
    for _ in range(KILLS[name]):
        started = processes.Event()
        process = processes.Process(target=write_for_ever, args=(name, str(tmp_path), started.set))
        process.start()
        started.wait(60)
        time.sleep(moments.uniform(0, longest))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found.append(WRITERS[name].find(tmp_path))
        if not set(VERSIONS) <= set(found):
            # A busy machine writes more slowly, and kills before the first whole write prove little.
            longest *= 1.3
    assert sum(KILLS.values()) == 200
    # Once there was something, there is always something; and kills fell in the writing of both versions.
    seen = [version for version in found if version is not None]
    assert set(seen) == set(VERSIONS)
    if name != "landing":
        assert None not in found[found.index(seen[0]) :]
    WRITERS[name].write(tmp_path, "b")
    assert WRITERS[name].find(tmp_path) == "b"
