"""Writing on a disk that fills up: run in a process of its own, over a small disk that is its alone.

    python -m insight_assets_tests.flows.full_disk PLACE BESIDE

fills PLACE to many degrees and writes there what the product writes. It prints what came of it as JSON, which
`test_full_disk` judges.
"""

import json
import os
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from insight_assets_tests.flows.killed_writers import WRITERS

SHARES = (0, 0.2, 0.4, 0.6, 0.8, 0.95)
NAMES = ("table", "model", "settings", "page")
DAY = "2025-01-01"


def _free(place: Path) -> int:
    told = os.statvfs(place)
    return told.f_bavail * told.f_frsize


@contextmanager
def _filled(place: Path, *, leaving: int) -> Iterator[None]:
    filler = place / "filler"
    # Pages, not a hole: a sparse file would leave the room free.
    filler.write_bytes(b"x" * max(0, _free(place) - leaving))
    try:
        yield
    finally:
        filler.unlink()


def _told(act: Callable[[], object]) -> list[str] | None:
    """Do something; give kind and words of the error, None where there was none."""
    try:
        act()
    except BaseException as error:
        return [type(error).__name__, str(error)]
    return None


def _writer(place: Path, name: str) -> dict[str, object]:
    """Write over an earlier version with ever more room, then with all of it."""
    folder, writer = place / name, WRITERS[name]
    folder.mkdir()
    before = _free(place)
    writer.write(folder, "a")
    need = before - _free(place)
    tries = []
    for share in SHARES:
        with _filled(place, leaving=int(need * share)):
            error = _told(lambda: writer.write(folder, "b"))
            found, unfinished = writer.find(folder), _unfinished(folder)
        tries.append({"share": share, "error": error, "found": found, "unfinished": unfinished})
        writer.write(folder, "a")
    writer.write(folder, "b")
    return {"tries": tries, "again": writer.find(folder)}


def _unfinished(folder: Path) -> list[str]:
    """Name files and folders that a writer meant to rename and did not."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(".tmp")]


def _land(place: Path, beside: Path) -> dict[str, object]:
    """Land by the command line: with no room, with room that is gone when it is needed, and with room."""
    from typer.testing import CliRunner

    from insight_assets.cli import app
    from insight_assets_tests.deliveries import call

    home, file = place / "shop", beside / "day.ndjson"
    file.write_text("".join(json.dumps(call(f"m{n}", f"{DAY}T10:00:00Z")) + "\n" for n in range(4_000)))
    size = file.stat().st_size

    def land() -> dict[str, object]:
        done = CliRunner().invoke(app, ["land", "segment", str(file), "--home", str(home)])
        folder = home / "landing" / "segment"
        there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        told = done.output + ("" if done.exception is None else str(done.exception))
        return {"code": done.exit_code, "told": told, "there": there}

    with _filled(place, leaving=size):
        looked_before = land()
    usage = namedtuple("Usage", "total used free")
    with _filled(place, leaving=size // 2), mock.patch.object(shutil, "disk_usage", lambda _: usage(0, 0, 10**12)):
        on_the_way = land()
    return {"looked_before": looked_before, "on_the_way": on_the_way, "with_room": land()}


def _run(place: Path) -> dict[str, object]:
    """Build a day, then again with one more file and no room, then with room."""
    import dagster as dg

    from insight_assets_tests.deliveries import call
    from insight_assets_tests.shop_home import ShopHome, failures

    with dg.DagsterInstance.ephemeral() as instance:
        home = ShopHome(place / "run", instance)
        home.root.mkdir()

        def build(leaving: int | None = None) -> dict[str, object]:
            if leaving is None:
                result = home.build(DAY, check=False)
            else:
                with _filled(place, leaving=leaving):
                    result = home.build(DAY, check=False)
            rows = {name: home.table(name).height for name in ("raw_segment", "events", "quarantine")}
            return {"success": result.success, "failures": failures(result), "rows": rows}

        home.land_calls("a.ndjson", [call(f"m{n}", f"{DAY}T10:00:00Z") for n in range(500)])
        first = build()
        home.land_calls("b.ndjson", [call(f"n{n}", f"{DAY}T11:00:00Z") for n in range(500)])
        full = build(leaving=0)
        return {"first": first, "full": full, "again": build()}


def main(place: Path, beside: Path) -> None:
    """Do everything there is room for; print what came of it."""
    told: dict[str, object] = {name: _writer(place, name) for name in NAMES}
    told |= {"land": _land(place, beside), "run": _run(place)}
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
