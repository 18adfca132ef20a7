"""The lake: whole partitions under kills and rival writers, and hashes that depend on content alone."""

import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.types import Column, Contract, ContractError
from insight_assets.lake import DailyFrames, Lake, Partition, bytes_of, hash_frame

FIRST = date(2025, 1, 1)
# A process of its own is dear; 90 more writers, forked, are killed in `flows/test_kills`.
KILLS = 3


def shelf(**types: pl.DataType) -> Contract:
    """A table of items by day, with more columns of the given types."""
    required = {"item": pl.String(), "day": pl.Date()}
    return Contract(
        name="shelf",
        version="1.0.0",
        stage="validated",
        description="",
        owner="insight",
        columns=tuple(
            Column(
                name=n, dtype=t, physical_type=str(t), required=n in required, description="", classification="internal"
            )
            for n, t in {**required, **types}.items()
        ),
        primary_key=("item",),
        partition_column="day",
        rules=(),
        rows=(None, None),
        retention_days=None,
        path=Path("shelf"),
    )


SHELF = shelf(tag=pl.String(), weight=pl.Float64())


def day(ahead: int) -> date:
    return FIRST + timedelta(days=ahead)


def items(key: date, tag: str = "", rows: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item": [f"item {n:05d} of {key}" for n in range(rows)],
            "day": [key] * rows,
            "tag": [tag] * rows,
            "weight": [1.5] * rows,
        }
    ).cast({"tag": pl.String})


def write(lake: Lake, *keys: date, tag: str = "", rows: int = 3, **options) -> list[Partition]:
    return list(lake.write(SHELF, keys, DailyFrames(lambda key: items(key, tag, rows)), **options))


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_table_never_written_reads_as_no_rows(lake):
    assert lake.scan(SHELF).collect().schema == SHELF.polars_schema()
    assert lake.scan(SHELF, [FIRST]).collect().is_empty()
    assert lake.versions("shelf") == 0


def test_a_partition_is_replaced_and_its_neighbours_stay(lake):
    write(lake, day(0), day(1), day(2), tag="old")
    write(lake, day(1), tag="new", rows=1)
    found = lake.scan(SHELF).group_by("day", "tag").len().sort("day").collect()
    assert found.rows() == [(day(0), "old", 3), (day(1), "new", 1), (day(2), "old", 3)]


@pytest.mark.parametrize("name", ["my shop", "网店", "Läden 50%"])
def test_a_lake_is_read_wherever_it_lies(tmp_path, name):
    lake = Lake(tmp_path / name)
    written = write(lake, day(0), day(1), tag="here")
    assert lake.scan(SHELF, [day(1)]).collect()["tag"].to_list() == ["here"] * 3
    assert write(lake, day(0), tag="here")[0].content_hash == written[0].content_hash


def test_days_with_gaps_are_read_and_replaced_alone(lake):
    write(lake, *(day(n) for n in range(5)), tag="old")
    write(lake, day(0), day(3), tag="new")
    assert lake.scan(SHELF, [day(4), day(0), day(0)]).select("day", "tag").unique().sort("day").collect().rows() == [
        (day(0), "new"),
        (day(4), "old"),
    ]
    assert set(lake.scan(SHELF).filter(pl.col("tag") == "new").collect()["day"]) == {day(0), day(3)}


def test_an_empty_partition_replaces_a_full_one(lake):
    write(lake, day(0), day(1))
    written = write(lake, day(0), rows=0)
    assert written[0].rows == 0
    assert set(lake.scan(SHELF).collect()["day"]) == {day(1)}


def test_an_empty_first_partition_makes_a_table(lake):
    write(lake, day(0), rows=0)
    assert lake.exists("shelf")
    assert lake.scan(SHELF).collect().is_empty()


def test_rows_of_another_partition_are_refused(lake):
    with pytest.raises(ValueError, match="3 rows do not belong to partition 2025-01-01"):
        list(lake.write(SHELF, [day(0)], DailyFrames(lambda _: items(day(1)))))
    assert not lake.exists("shelf")


def test_what_the_audit_refuses_is_not_written(lake):
    def audit(frame: pl.DataFrame) -> None:
        raise ValueError(frame.height)

    write(lake, day(0), tag="old")
    with pytest.raises(ValueError, match="6"):
        write(lake, day(0), day(1), tag="new", audit=audit)
    assert set(lake.scan(SHELF).collect()["tag"]) == {"old"}


def test_unchanged_content_is_not_written_again(lake):
    write(lake, day(0), day(1))
    before = lake.versions("shelf")
    write(lake, day(0), day(1), unchanged=lambda _: True)
    assert lake.versions("shelf") == before


def test_a_belief_that_does_not_hold_is_not_trusted(lake):
    write(lake, day(0), day(1), tag="killed before it was recorded")
    write(lake, day(0), tag="recorded", unchanged=lambda _: True)
    assert lake.scan(SHELF).select("day", "tag").unique().sort("day").collect()["tag"].to_list() == [
        "recorded",
        "killed before it was recorded",
    ]


def test_a_spoilt_file_is_written_again(lake):
    write(lake, day(0), day(1))
    for path in (lake.path("shelf") / "day=2025-01-01").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-9] + b"not PAR1.")
    write(lake, day(0), day(1), unchanged=lambda _: True)
    assert lake.scan(SHELF).collect().height == 6


def test_a_new_nullable_column_joins_the_table(lake):
    wider = shelf(tag=pl.String(), weight=pl.Float64(), colour=pl.String())
    write(lake, day(0), day(1))
    coloured = items(day(1)).with_columns(colour=pl.lit("red"))
    list(lake.write(wider, [day(1)], DailyFrames(lambda _: coloured)))
    assert lake.scan(wider).select("day", "colour").unique().sort("day").collect()["colour"].to_list() == [None, "red"]
    # Code that does not know the column yet goes on reading.
    assert lake.scan(SHELF).collect().height == 6


def test_many_rows_go_in_several_commits(lake, monkeypatch):
    monkeypatch.setattr("insight_assets.lake.BYTES_PER_COMMIT", 2 * bytes_of(items(FIRST)))
    written = write(lake, *(day(n) for n in range(6)))
    assert [part.key for part in written] == [day(n) for n in range(6)]
    assert lake.versions("shelf") == 1 + 3
    assert lake.scan(SHELF).collect().height == 18


def test_personal_values_stay_out_of_the_log(tmp_path):
    lake = Lake(tmp_path)
    of = shelf(mail=pl.String())
    mails = items(FIRST).select("item", "day", mail=pl.lit("canary@example.com"))
    list(lake.write(of, [FIRST], DailyFrames(lambda _: mails)))
    logs = list(tmp_path.rglob("_delta_log/*.json"))
    assert logs
    assert not [path for path in logs if b"canary" in path.read_bytes()]


TYPES = {
    "text": pl.String(),
    "number": pl.Int64(),
    "small": pl.Int8(),
    "money": pl.Decimal(18, 4),
    "wide": pl.Decimal(38, 4),
    "real": pl.Float64(),
    "flag": pl.Boolean(),
    "date": pl.Date(),
    "time": pl.Datetime("us", "UTC"),
    "words": pl.List(pl.String()),
    "numbers": pl.List(pl.Int64()),
}
EVERYTHING = shelf(**TYPES)
_VALUES = {
    "text": st.text(st.characters(codec="utf-8"), max_size=30),
    "number": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(-128, 127),
    "money": st.decimals(-(10**13), 10**13, places=4),
    "wide": st.decimals(-(10**30), 10**30, places=4),
    "real": st.floats(allow_nan=False),
    "flag": st.booleans(),
    "date": st.dates(),
    "time": st.datetimes(),
    "words": st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=20), max_size=3),
    "numbers": st.lists(st.none() | st.integers(-5, 5), max_size=3),
}
TABLES = st.lists(
    st.fixed_dictionaries(
        {"item": st.text("abcdefgh", min_size=1, max_size=20)} | {n: st.none() | v for n, v in _VALUES.items()}
    ),
    max_size=8,
    unique_by=lambda row: row["item"],
)


def table(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(
        [row | {"day": FIRST} for row in rows],
        schema=dict(EVERYTHING.polars_schema()) | {"time": pl.Datetime("us")},
    ).with_columns(pl.col("time").dt.replace_time_zone("UTC"))


@given(rows=TABLES, order=st.randoms(use_true_random=False))
def test_the_hash_is_of_the_content_whatever_its_order_chunks_and_buffers(rows, order):
    frame = table(rows)
    expected = hash_frame(frame, EVERYTHING)
    shuffled = list(rows)
    order.shuffle(shuffled)
    other = table(shuffled)
    # The same rows with another history: cut out of a larger frame, in chunks, with values hidden below the nulls.
    noise = table([row | {"item": f"z{row['item']}", "text": "hidden text that is long", "number": 7} for row in rows])
    hidden = pl.concat([noise[:1], other, noise[1:]]).filter(~pl.col("item").str.starts_with("z") | pl.lit(not rows))
    kept = [
        pl.when(pl.col(name).is_not_null()).then(pl.col(name).fill_null(pl.col(name).first()))
        for name in ("text", "number", "flag")
    ]
    assert hidden.height == frame.height
    assert hash_frame(hidden.with_columns(kept), EVERYTHING) == expected


@given(rows=TABLES.filter(bool), data=st.data())
def test_any_other_content_has_another_hash(rows, data):
    place = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(sorted(_VALUES)))
    value = data.draw((st.none() | _VALUES[name]).filter(lambda new: new != rows[place][name] and repr(new) != "-0.0"))
    changed = [*rows[:place], rows[place] | {name: value}, *rows[place + 1 :]]
    frames = table(rows), table(changed)
    if not frames[0].equals(frames[1]):
        assert hash_frame(frames[0], EVERYTHING) != hash_frame(frames[1], EVERYTHING)


@settings(max_examples=30)
@given(rows=TABLES)
def test_what_is_read_back_has_the_hash_of_what_was_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(folder)
    written = list(lake.write(EVERYTHING, [FIRST], DailyFrames(lambda _: table(rows))))
    assert hash_frame(lake.scan(EVERYTHING, [FIRST]).collect(), EVERYTHING) == written[0].content_hash
    shutil.rmtree(folder)


# Writers below run in processes of their own: this file is also a program, `python -m … FOLDER SEED`.


def _write_for_ever(folder: Path, seed: int) -> None:
    for turn in range(10_000):
        write(Lake(folder), day(0), day(1), tag=f"writer {seed} turn {turn}", rows=2_000)


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_writer_leaves_whole_partitions(tmp_path, number):
    before = write(Lake(tmp_path), day(0), day(1), tag="before", rows=2_000)
    assert len(before) == 2
    process = _start(tmp_path, number)
    _wait_for_commits(Lake(tmp_path), process, above=2)
    time.sleep(random.Random(number).random() * 0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = Lake(tmp_path).scan(SHELF).group_by("day").agg(pl.len(), pl.col("tag").unique()).sort("day").collect()
    assert found["day"].to_list() == [day(0), day(1)]
    assert found["len"].to_list() == [2_000, 2_000]
    # One commit holds both days, so they are of the same turn.
    assert found["tag"].list.len().to_list() == [1, 1]
    assert found["tag"][0].to_list() == found["tag"][1].to_list()
    after = write(Lake(tmp_path), day(0), day(1), tag="before", rows=2_000)
    assert after == before


def _start(folder: Path, seed: int) -> subprocess.Popen:
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(folder), str(seed)]
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[1])


def _wait_for_commits(lake: Lake, process: subprocess.Popen, *, above: int) -> None:
    deadline = time.monotonic() + 60
    while lake.versions("shelf") <= above:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _write_in_turns(folder: Path, keys: list[date], name: str, turns: int, start) -> None:
    start.wait()
    for turn in range(turns):
        write(Lake(folder), *keys, tag=f"{name} {turn}", rows=50)


def _race(folder: Path, *keys: list[date], turns: int) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(len(keys))
    writers = [
        context.Process(target=_write_in_turns, args=(folder, own, f"writer{n}", turns, start))
        for n, own in enumerate(keys)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * len(keys)


def test_writers_of_different_partitions_both_succeed(tmp_path):
    _race(tmp_path, [day(0)], [day(5)], turns=6)
    found = (
        Lake(tmp_path).scan(SHELF).group_by("day").agg(pl.len(), pl.col("tag").unique().first()).sort("day").collect()
    )
    assert found.rows() == [(day(0), 50, "writer0 5"), (day(5), 50, "writer1 5")]


def test_of_writers_of_one_partition_exactly_one_is_left(tmp_path):
    _race(tmp_path, [day(0), day(1)], [day(0), day(1)], turns=6)
    found = Lake(tmp_path).scan(SHELF).group_by("day").agg(pl.len(), pl.col("tag").unique()).sort("day").collect()
    assert found["len"].to_list() == [50, 50]
    assert found["tag"].list.len().to_list() == [1, 1]
    assert found["tag"][0].to_list() == found["tag"][1].to_list()


if __name__ == "__main__":
    _write_for_ever(Path(sys.argv[1]), int(sys.argv[2]))


def newer(version: str, **types: pl.DataType) -> Contract:
    return dataclasses.replace(shelf(tag=pl.String(), weight=pl.Float64(), **types), version=version)


def test_a_table_that_newer_code_wrote_is_refused_with_a_remedy(tmp_path):
    lake = Lake(tmp_path)
    list(lake.write(SHELF, [FIRST], DailyFrames(items)))
    list(lake.write(newer("2.0.0", colour=pl.String()), [FIRST], DailyFrames(items)))
    with pytest.raises(ContractError, match=r"written by version 2\.0\.0 .* knows 1\.0\.0\. Next: run the newer code"):
        lake.scan(SHELF, [FIRST])
    with pytest.raises(ContractError, match="run the newer code"):
        list(lake.write(SHELF, [day(1)], DailyFrames(items)))
    assert lake.scan(newer("2.1.0", colour=pl.String())).collect().height == 3


def test_a_small_change_of_the_contract_keeps_older_code_reading(tmp_path):
    lake = Lake(tmp_path)
    list(lake.write(newer("1.1.0", colour=pl.String()), [FIRST], DailyFrames(items)))
    assert lake.scan(SHELF).collect().height == 3
