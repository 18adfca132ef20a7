"""Files are read once they are whole: sidecars, the settle time, temporary names."""

import hashlib
import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.landing import Inventory, wait_for_arrivals
from insight_assets_tests.deliveries import call

SEGMENT = source_contracts()["segment"]
CONTENT = "".join(json.dumps(call(f"m{n}", f"2025-01-01T10:{n:02}:00Z")) + "\n" for n in range(20)).encode()
LONG = 1e9


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "landing" / "segment"
    path.mkdir(parents=True)
    return path


def statuses(folder: Path, settle_seconds: float = 0) -> dict[str, str]:
    inventory = Inventory(
        folder.parent, shop_timezone="UTC", max_file_bytes=10**8, settle_seconds=settle_seconds
    )
    inventory.refresh(SEGMENT)
    return {file.name: file.reason.split(":")[0] or file.status for file in inventory.files()}


def manifest(content: bytes) -> str:
    return json.dumps({"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})


@pytest.mark.parametrize("ending", [".manifest.json", ".sha256"])
def test_a_file_that_is_what_its_sidecar_says_is_read_at_once(folder, ending):
    (folder / "a.ndjson").write_bytes(CONTENT)
    text = manifest(CONTENT) if ending == ".manifest.json" else f"{hashlib.sha256(CONTENT).hexdigest()}  a.ndjson\n"
    (folder / f"a.ndjson{ending}").write_text(text)
    assert statuses(folder, LONG) == {"a.ndjson": "readable"}


def test_a_file_cut_anywhere_is_refused_once_nobody_touches_it(folder):
    cuts = sorted({0, 1, len(CONTENT) - 1, *random.Random(3).sample(range(len(CONTENT)), 47)})
    for cut in cuts:
        (folder / f"{cut}.ndjson").write_bytes(CONTENT[:cut])
        (folder / f"{cut}.ndjson.manifest.json").write_text(manifest(CONTENT))
    assert statuses(folder, LONG) == {f"{cut}.ndjson": "arriving" for cut in cuts}
    assert statuses(folder) == {f"{cut}.ndjson": "incomplete" for cut in cuts}


def test_a_cut_file_is_read_when_the_rest_of_it_has_come(folder):
    (folder / "a.ndjson.manifest.json").write_text(manifest(CONTENT))
    (folder / "a.ndjson").write_bytes(CONTENT[:100])
    assert statuses(folder) == {"a.ndjson": "incomplete"}
    (folder / "a.ndjson").write_bytes(CONTENT)
    assert statuses(folder) == {"a.ndjson": "readable"}


def test_a_mended_sidecar_counts(folder):
    (folder / "a.ndjson").write_bytes(CONTENT)
    for wrong in ("", "no digest", '{"sha256": 5}', "[]", manifest(b"other"), '{"bytes": 1}'):
        (folder / "a.ndjson.manifest.json").write_text(wrong)
        assert statuses(folder) == {"a.ndjson": "incomplete"}
    (folder / "a.ndjson.manifest.json").write_text(manifest(CONTENT))
    assert statuses(folder) == {"a.ndjson": "readable"}


def test_without_a_sidecar_a_file_is_read_once_it_has_settled(folder):
    (folder / "a.ndjson").write_bytes(CONTENT)
    assert statuses(folder, LONG) == {"a.ndjson": "arriving"}
    assert statuses(folder) == {"a.ndjson": "readable"}


def test_a_file_that_is_written_to_again_keeps_what_it_gave_until_it_is_whole(folder):
    (folder / "a.ndjson").write_bytes(CONTENT)
    statuses(folder)
    (folder / "a.ndjson").write_bytes(CONTENT[:50])
    inventory = Inventory(folder.parent, shop_timezone="UTC", max_file_bytes=10**8, settle_seconds=LONG)
    before = inventory.latest("segment")
    inventory.refresh(SEGMENT)
    assert inventory.files()[0].status == "arriving"
    assert inventory.latest("segment") == before != {}


def test_a_clock_that_runs_ahead_does_not_keep_a_file_waiting_for_ever(folder):
    (folder / "a.ndjson").write_bytes(CONTENT)
    ahead = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    os.utime(folder / "a.ndjson", (ahead, ahead))
    assert statuses(folder) == {"a.ndjson": "readable"}


def test_a_build_waits_once_for_what_is_arriving_and_not_for_nothing(folder):
    inventory = Inventory(folder.parent, shop_timezone="UTC", max_file_bytes=10**8, settle_seconds=LONG)
    waited: list[float] = []
    wait_for_arrivals(inventory, [SEGMENT], waited.append)
    assert waited == []
    (folder / "a.ndjson").write_bytes(CONTENT)
    wait_for_arrivals(inventory, [SEGMENT], waited.append)
    assert waited == [LONG]


def test_what_follows_a_wait_is_read(folder):
    (folder / "a.ndjson").write_bytes(CONTENT[:50])
    inventory = Inventory(folder.parent, shop_timezone="UTC", max_file_bytes=10**8, settle_seconds=LONG)

    def arrive(_: float) -> None:
        (folder / "a.ndjson").write_bytes(CONTENT)
        (folder / "a.ndjson.manifest.json").write_text(manifest(CONTENT))

    wait_for_arrivals(inventory, [SEGMENT], arrive)
    assert [(file.name, file.status, file.rows) for file in inventory.files()] == [("a.ndjson", "readable", 20)]
