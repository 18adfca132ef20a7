"""Models on disk: whole or not at all, verified before they are opened, and free of anything that runs code."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from insight_assets.ml.model_store import CURRENT, LOCK, MANIFEST, ModelDamaged, ModelMissing, open_model, write_model

# A process of its own is dear; 50 more writers, forked, are killed in `flows/test_kills`.
KILLS = 3


def write(place: Path, tag: str, size: int = 3) -> None:
    with write_model(place) as folder:
        for number in range(size):
            (folder / f"part{number}.json").write_text(json.dumps({"tag": tag, "number": number}))


def tags(place: Path) -> list[str]:
    folder, manifest = open_model(place)
    return [json.loads((folder / name).read_text())["tag"] for name in manifest.files]


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "churn_models" / "2025-01-01"


def test_what_was_written_is_read_back(place):
    write(place, "a")
    folder, manifest = open_model(place)
    assert tags(place) == ["a"] * 3
    assert sorted(manifest.files) == ["part0.json", "part1.json", "part2.json"]
    assert folder.name == manifest.content_hash
    assert sorted(path.name for path in place.iterdir()) == sorted([CURRENT, LOCK, manifest.content_hash])


def test_there_is_no_model_before_one_is_written(place):
    with pytest.raises(ModelMissing, match="no model at churn_models/2025-01-01: materialize churn_models"):
        open_model(place)


def test_a_new_model_replaces_the_old_one(place):
    write(place, "old")
    old = open_model(place)[0]
    write(place, "new")
    assert tags(place) == ["new"] * 3
    assert not old.exists()


def test_the_hash_is_of_the_content(place, tmp_path):
    write(place, "a")
    write(tmp_path / "other" / "day", "a")
    assert open_model(place)[1] == open_model(tmp_path / "other" / "day")[1]
    write(place, "b")
    assert open_model(place)[1] != open_model(tmp_path / "other" / "day")[1]


def test_the_same_model_again_is_never_missing_for_a_moment(place):
    write(place, "a")
    before = open_model(place)[0].stat().st_ino
    write(place, "a")
    assert open_model(place)[0].stat().st_ino == before


def test_the_same_model_again_mends_a_damaged_one(place):
    write(place, "a")
    folder = open_model(place)[0]
    (folder / "part0.json").write_text("spoilt")
    write(place, "a")
    assert tags(place) == ["a"] * 3
    assert sorted(path.name for path in place.iterdir()) == sorted([CURRENT, LOCK, folder.name])


def test_an_error_while_writing_leaves_the_old_model(place):
    write(place, "old")
    with pytest.raises(RuntimeError, match="training failed"), write_model(place) as folder:
        (folder / "part.json").write_text("half")
        raise RuntimeError("training failed")
    assert tags(place) == ["old"] * 3
    assert not list(place.glob("*.tmp")) + list(place.glob(".*.tmp"))


@pytest.mark.parametrize(
    "name", ["model.pkl", "model.pt", "model.joblib", "model.py", "model", "model.ckpt", "model.json.sh", "model.so"]
)
def test_files_of_other_kinds_are_never_stored(place, name):
    write(place, "old")
    with pytest.raises(ModelDamaged, match="holds only"), write_model(place) as folder:
        (folder / name).write_bytes(b"x")
    assert tags(place) == ["old"] * 3


def test_links_and_folders_are_never_stored(place, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    with pytest.raises(ModelDamaged), write_model(place) as folder:
        (folder / "link.json").symlink_to(secret)
    with pytest.raises(ModelDamaged), write_model(place) as folder:
        (folder / "nested.json").mkdir()
    with pytest.raises(ModelDamaged), write_model(place) as folder:
        (folder / MANIFEST).symlink_to(secret)
    assert secret.read_text() == "{}"


DAMAGES = {
    "a changed byte": lambda folder: (folder / "part0.json").write_bytes((folder / "part0.json").read_bytes().replace(b"0", b"1")),
    "a cut file": lambda folder: (folder / "part1.json").write_bytes((folder / "part1.json").read_bytes()[:-1]),
    "a file too few": lambda folder: (folder / "part2.json").unlink(),
    "a file too many": lambda folder: (folder / "part9.json").write_text("{}"),
    "a file that runs code": lambda folder: (folder / "model.pkl").write_bytes(b"cos\nsystem\n"),
    "a renamed file": lambda folder: (folder / "part0.json").rename(folder / "part7.json"),
    "a link": lambda folder: ((folder / "part0.json").unlink(), (folder / "part0.json").symlink_to(folder / "part1.json")),
    "a folder": lambda folder: (folder / "more.json").mkdir(),
    "a cut manifest": lambda folder: (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:20]),
    "an empty manifest": lambda folder: (folder / MANIFEST).write_text("{}"),
    "another manifest": lambda folder: (folder / MANIFEST).write_text('["a"]'),
    "no text": lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"),
    "a pointer elsewhere": lambda folder: (folder.parent / CURRENT).write_text("../../other"),
    "an empty pointer": lambda folder: (folder.parent / CURRENT).write_text(""),
    "a pointer of no text": lambda folder: (folder.parent / CURRENT).write_bytes(b"\xff"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_not_opened(place, name):
    write(place, "a")
    DAMAGES[name](open_model(place)[0])
    with pytest.raises(ModelDamaged, match=r"materialize it again|holds only"):
        open_model(place)


def test_a_model_and_manifest_that_were_changed_together_are_found(place):
    write(place, "a")
    write(place.with_name("other"), "b")
    folder, other = open_model(place)[0], open_model(place.with_name("other"))[0]
    for path in other.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelDamaged):
        open_model(place)


def test_a_pointer_to_a_model_that_is_gone_finds_none(place):
    write(place, "a")
    (place / CURRENT).write_text("0" * 32)
    with pytest.raises(ModelMissing):
        open_model(place)


def skops(path: Path, content: bytes, when: tuple[int, ...], name: str = "schema.json") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, when), content)


def test_archives_are_compared_by_what_they_hold(place):
    hashes = []
    for content, when in ((b"a", (2025, 1, 1, 0, 0, 0)), (b"a", (2026, 1, 1, 0, 0, 0)), (b"b", (2025, 1, 1, 0, 0, 0))):
        with write_model(place) as folder:
            skops(folder / "model.skops", content, when)
        hashes.append(open_model(place)[1].content_hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_damaged_archive_is_found_wherever_it_is_damaged(place):
    content = random.Random(1).randbytes(400)
    with write_model(place) as folder:
        skops(folder / "model.skops", content, (2025, 1, 1, 0, 0, 0))
    path = open_model(place)[0] / "model.skops"
    whole = path.read_bytes()
    for position in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[position] ^= 1
        path.write_bytes(spoilt)
        try:
            open_model(place)
        except ModelDamaged:
            continue
        with zipfile.ZipFile(path) as archive:
            # A bit that changes nothing that is read: a time or a hint.
            assert archive.read("schema.json") == content
    path.write_bytes(whole[:-30])
    with pytest.raises(ModelDamaged):
        open_model(place)


def test_an_archive_that_is_none_is_never_stored(place):
    with pytest.raises(ModelDamaged, match="no readable archive"), write_model(place) as folder:
        (folder / "model.skops").write_bytes(b"not a zip")


# Writers below run in processes of their own: this file is also a program.


def _write_for_ever(place: Path, seed: int) -> None:
    for turn in range(100_000):
        # Two models in turn, so that the same content comes again and again.
        write(place, f"writer {seed} model {turn % 2}", size=20)


def _start(place: Path, seed: int) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(place), str(seed)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


def _wait(place: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not (place / CURRENT).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_writers_leave_a_whole_model_each_time(place):
    for number in range(KILLS):
        process = _start(place, number)
        _wait(place, process)
        time.sleep(random.Random(number).random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = tags(place)
        assert len(found) == 20
        assert len(set(found)) == 1
    write(place, "after")
    assert tags(place) == ["after"] * 3
    # What the killed left is tidied away.
    assert len(list(place.iterdir())) == 3


def test_readers_and_two_writers_at_once_see_whole_models(place):
    writers = [_start(place, number) for number in range(2)]
    try:
        for writer in writers:
            _wait(place, writer)
        seen = set()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            folder, manifest = open_model(place)
            assert len(manifest.files) == 20
            seen.add(folder.name)
        assert [writer.poll() for writer in writers] == [None, None]
        assert len(seen) > 1
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert len(set(tags(place))) == 1


def test_what_a_living_writer_has_begun_stays(place):
    with write_model(place) as outer:
        (outer / "part.json").write_text('{"tag": "outer"}')
        write(place, "inner")
        assert (outer / "part.json").exists()
    assert tags(place) == ["outer"]
    left = place / f".{2**22 + 1}.ab12cd34.tmp"
    left.mkdir()
    (place / f".{os.getpid()}.ab12cd34.tmp").mkdir()
    write(place, "last")
    assert not left.exists()
    assert (place / f".{os.getpid()}.ab12cd34.tmp").exists()


if __name__ == "__main__":
    _write_for_ever(Path(sys.argv[1]), int(sys.argv[2]))
