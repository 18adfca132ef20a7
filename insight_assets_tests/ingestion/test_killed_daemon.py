"""Files come in under random names while the daemon is killed over and over: none is lost, none is read twice."""

import json
import multiprocessing
import os
import random
import signal
import time

import polars as pl
import pytest

from insight_assets.building import open_instance
from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.landing import land_files
from insight_assets.ingestion.raw import raw_contract
from insight_assets.lake import Lake
from insight_assets.settings import Settings
from insight_assets_tests.deliveries import call
from insight_assets_tests.ingestion.killed_daemon import SOURCE, tick_for_ever

KILLS, FILES_A_KILL, ROWS = 20, 3, 4
# What starting a daemon costs and no test is about is loaded once, and nothing of Polars is used there: a process that
# is forked has none of its threads.
LOADED = [
    "alembic.config", "dagster", "deltalake", "open_data_contract_standard.model", "pandera.polars", "polars",
    "sqlalchemy", "insight_assets_tests.ingestion",
]  # fmt: skip
PATIENCE = 60


@pytest.fixture
def daemons():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


def test_no_file_is_lost_and_none_is_read_twice_however_often_the_daemon_is_killed(tmp_path, daemons):
    chance = random.Random(7)
    home, beside = tmp_path / "home", tmp_path / "beside"
    beside.mkdir()
    open_instance(Settings(home=home)).dispose()
    numbers = chance.sample(range(1_000), KILLS * FILES_A_KILL)
    delivered = []

    def deliver(numbers: list[int]) -> None:
        for number in numbers:
            day = f"2025-01-0{1 + number % 3}T10:00:00Z"
            rows = [json.dumps(call(f"{number} {row}", day)) for row in range(ROWS)]
            delivered.extend(rows)
            path = beside / f"{number:03}.ndjson"
            path.write_text("\n".join(rows) + "\n")
            land_files([path], home / "landing" / SOURCE)

    def start():
        started, idle = daemons.Event(), daemons.Event()
        process = daemons.Process(target=tick_for_ever, args=(str(home), started.set, idle.set))
        process.start()
        assert started.wait(PATIENCE)
        return process, idle

    def kill(process) -> None:
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    longest = 0.0
    for turn in range(KILLS):
        now = numbers[turn * FILES_A_KILL :][:FILES_A_KILL]
        deliver(now[:-1])
        process, idle = start()
        began = time.monotonic()
        if turn == 0:
            # How long a tick and its run take here; kills fall within that.
            assert idle.wait(PATIENCE)
            longest = time.monotonic() - began
        else:
            time.sleep(chance.uniform(0, longest))
        deliver(now[-1:])
        time.sleep(chance.uniform(0, longest / 10))
        kill(process)
    process, idle = start()
    assert idle.wait(PATIENCE)
    kill(process)
    raw = Lake(home / "lake").scan(raw_contract(source_contracts()[SOURCE])).collect()
    assert sorted(raw["payload"]) == sorted(delivered)
    assert raw["file_hash"].n_unique() == KILLS * FILES_A_KILL
    assert raw.select(pl.struct("file_hash", "line").is_duplicated().any()).item() is False
