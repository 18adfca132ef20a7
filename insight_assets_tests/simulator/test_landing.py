"""Landing files: equal bytes, whole files, both formats, flat memory."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from insight_assets.simulator import delivery, landing
from insight_assets.simulator.delivery import DELIVERED
from insight_assets.simulator.landing import write_landing
from insight_assets.simulator.plan import SimulationPlan, Trouble

PLAN = SimulationPlan(customers=300, days=6, products=80, seed=1)
FORMATS = [("ndjson", "gz"), ("ndjson", "zstd"), ("ndjson", None), ("parquet", None)]


def digests(files):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize(("file_format", "compression"), FORMATS)
def test_equal_plans_give_equal_bytes(tmp_path, file_format, compression):
    options = {"file_format": file_format, "compression": compression}
    first = write_landing(PLAN, tmp_path / "first", **options)
    second = write_landing(PLAN, tmp_path / "second", **options)
    assert digests(first.files) == digests(second.files)
    assert len(set(digests(first.files).values())) == PLAN.days


def test_other_seeds_give_other_bytes(tmp_path):
    other = SimulationPlan(customers=300, days=6, products=80, seed=2)
    first = write_landing(PLAN, tmp_path / "first")
    second = write_landing(other, tmp_path / "second")
    assert not set(digests(first.files).values()) & set(digests(second.files).values())


@pytest.mark.parametrize("file_format", ["ndjson", "parquet"])
def test_the_number_of_threads_changes_no_byte(tmp_path, monkeypatch, file_format):
    code = (
        "import sys; from pathlib import Path; "
        "from insight_assets.simulator import delivery, landing; "
        "from insight_assets.simulator.plan import SimulationPlan; "
        "landing.ROWS_AT_ONCE = 500; delivery.SimulatedDay.frames.__defaults__ = (500,); "
        "landing.write_landing(SimulationPlan(customers=900, days=3, products=80), "
        "Path(sys.argv[1]), file_format=sys.argv[2])"
    )
    found = []
    for threads in ("1", "4"):
        folder = tmp_path / threads
        subprocess.run(
            [sys.executable, "-c", code, str(folder), file_format],
            check=True,
            env={**os.environ, "POLARS_MAX_THREADS": threads},
        )
        found.append(digests(folder.iterdir()))
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_files_are_named_by_day_and_nothing_else_is_left(tmp_path):
    progress = []
    landed = write_landing(PLAN, tmp_path, on_day=lambda day, rows: progress.append((day, rows)))
    assert [file.name for file in landed.files] == [
        f"segment-{PLAN.day(index).isoformat()}.ndjson.gz" for index in range(PLAN.days)
    ]
    assert set(tmp_path.iterdir()) == set(landed.files)
    assert [day for day, _ in progress] == [PLAN.day(index) for index in range(PLAN.days)]
    assert sum(rows for _, rows in progress) == landed.rows
    lines = [gzip.decompress(file.read_bytes()).count(b"\n") for file in landed.files]
    assert sum(lines) == landed.rows
    assert landed.size == sum(file.stat().st_size for file in landed.files)
    assert landed.planted.is_empty()


def test_a_gzip_header_holds_no_time_and_no_name(tmp_path):
    landed = write_landing(PLAN, tmp_path)
    header = landed.files[0].read_bytes()[:10]
    assert header[3] == 0
    assert header[4:8] == b"\0\0\0\0"


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(landing, "write_ndjson", fail)
    with pytest.raises(OSError, match="disk full"):
        write_landing(PLAN, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"file_format": "csv"}, {"compression": "rar"}], ids=["format", "compression"]
)
def test_unknown_formats_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="is not"):
        write_landing(PLAN, tmp_path / "never", **options)
    assert not (tmp_path / "never").exists()


def test_json_holds_no_null_and_parquet_the_same_rows(tmp_path):
    text = write_landing(PLAN, tmp_path / "text", compression=None)
    table = write_landing(PLAN, tmp_path / "table", file_format="parquet")
    for one, other in zip(text.files, table.files, strict=True):
        for line in one.read_text(encoding="utf-8").splitlines():
            assert ":null" not in line
            json.loads(line)
        read = pl.read_ndjson(one, schema=DELIVERED)
        held = pl.read_parquet(other)
        assert held.schema == DELIVERED
        assert read.drop("context", "properties").equals(held.drop("context", "properties"))
        assert read["properties"].struct.unnest().equals(held["properties"].struct.unnest())
        flat = read["context"].struct.unnest()
        other_flat = held["context"].struct.unnest()
        assert flat.drop("page", "campaign", "device", "traits").equals(
            other_flat.drop("page", "campaign", "device", "traits")
        )
        for name in ("page", "campaign", "device", "traits"):
            assert flat[name].struct.unnest().equals(other_flat[name].struct.unnest())


def test_slices_change_no_row(monkeypatch, tmp_path):
    whole = write_landing(PLAN, tmp_path / "whole", compression=None)
    monkeypatch.setattr(delivery.SimulatedDay.texts, "__defaults__", (37,))
    sliced = write_landing(PLAN, tmp_path / "sliced", compression=None)
    assert digests(whole.files) == digests(sliced.files)


def test_parquet_of_many_slices_holds_all_rows(monkeypatch, tmp_path):
    whole = write_landing(PLAN, tmp_path / "whole", file_format="parquet")
    monkeypatch.setattr(landing, "ROWS_AT_ONCE", 37)
    monkeypatch.setattr(delivery.SimulatedDay.frames, "__defaults__", (37,))
    sliced = write_landing(PLAN, tmp_path / "sliced", file_format="parquet")
    for one, other in zip(whole.files, sliced.files, strict=True):
        assert pl.read_parquet(one).equals(pl.read_parquet(other))


def test_drift_renames_the_price_in_both_formats(tmp_path):
    drifting = SimulationPlan(
        customers=200, days=4, products=80, trouble=Trouble(drift_day=PLAN.day(2))
    )
    text = write_landing(drifting, tmp_path / "text", compression=None)
    table = write_landing(drifting, tmp_path / "table", file_format="parquet")
    for index in range(4):
        lines = text.files[index].read_text(encoding="utf-8").splitlines()
        views = [json.loads(line) for line in lines if '"Product Viewed"' in line]
        name = "item_price" if index >= 2 else "price"
        assert all(name in view["properties"] for view in views)
        assert all(len({"price", "item_price"} & set(view["properties"])) == 1 for view in views)
        held = pl.read_parquet(table.files[index]).schema["properties"]
        assert name in [field.name for field in held.fields]
    assert text.planted.select("file_day", "kind", "line").rows() == [
        (PLAN.day(2), "drift", None),
        (PLAN.day(3), "drift", None),
    ]


def test_memory_does_not_grow_with_the_days():
    code = """
import os
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import simulate_days

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

most = {}
for index, day in enumerate(simulate_days(SimulationPlan(customers=8_000, days=60, products=300))):
    for frame in day.frames():
        half = index // 30
        most[half] = max(most.get(half, 0), resident())
print(most[0], most[1])
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    first, second = (float(part) for part in done.stdout.split())
    assert second < 1.15 * first
