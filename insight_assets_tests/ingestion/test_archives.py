"""Archives: what is read out of one, its identity, and what is refused."""

import gzip
import io
import stat
import zipfile
from pathlib import Path

import pytest

from insight_assets.ingestion.landing import land_bundle
from insight_assets.ingestion.readers import Delivery, FileRefused, read_delivery
from insight_assets_tests.bundles import packed

GB = 1_000_000_000


def opened(tmp_path: Path, archive: bytes, *, max_bytes: int = GB) -> Delivery:
    path = tmp_path / "some.zip"
    path.write_bytes(archive)
    return read_delivery(path, max_bytes=max_bytes)


def entry(name: str, content: bytes = b"x", *, mode: int = stat.S_IFREG | 0o644) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        writer.writestr(info, content)
    return archive.getvalue()


def test_files_are_read_by_name_unpacked_and_without_their_folders(tmp_path):
    archive = packed({"export/b.csv.gz": gzip.compress(b"two\n"), "export/a.csv": "one\n", "export/.DS_Store": "?"})
    files = opened(tmp_path, archive).files
    assert [(file.name, file.data) for file in files] == [("a.csv", b"one\n"), ("b.csv.gz", b"two\n")]


def test_an_archive_is_known_by_the_names_and_contents_in_it(tmp_path):
    plain = opened(tmp_path, packed({"a.csv": "one\n", "b.csv": "two\n"})).content_hash
    again = packed({"b.csv.gz": gzip.compress(b"two\n"), "x/a.csv": "one\n"})
    assert opened(tmp_path, again).content_hash == plain
    swapped = packed({"a.csv": "two\n", "b.csv": "one\n"})
    assert opened(tmp_path, swapped).content_hash != plain


@pytest.mark.parametrize(
    ("archive", "told"),
    [
        (entry("../a.csv"), "leads outside"),
        (entry("/etc/a.csv"), "leads outside"),
        (entry("a/../../b.csv"), "leads outside"),
        (entry("C:\\a.csv"), "leads outside"),
        (entry("a\tb.csv"), "leads outside"),
        (entry("link.csv", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "holds a link"),
        (packed({"x/a.csv": "1", "y/a.csv": "2"}), "a name is there twice"),
        (packed({f"{n}.csv": "" for n in range(1_001)}), "holds 1001 files"),
        (packed({"a.csv": "one\n" * 1_000})[:-30], "not an archive"),
    ],
)  # fmt: skip
def test_what_is_hostile_or_cut_is_refused(tmp_path, archive, told):
    with pytest.raises(FileRefused, match=told) as refused:
        opened(tmp_path, archive)
    assert refused.value.rule == "unreadable"


def test_a_damaged_file_in_an_archive_is_refused(tmp_path):
    archive = bytearray(entry("a.csv", b"a line that is spoilt\n"))
    archive[archive.index(b"spoilt")] = ord("S")
    with pytest.raises(FileRefused, match="CRC"):
        opened(tmp_path, bytes(archive))


def test_an_encrypted_file_is_refused(tmp_path):
    archive = bytearray(entry("a.csv"))
    # The flag stands in the file's own header and once more in the directory at the end.
    archive[6] |= 1
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(FileRefused, match="encrypted"):
        opened(tmp_path, bytes(archive))


def test_files_that_are_too_large_together_are_refused_while_they_unpack(tmp_path):
    archive = packed({"a.csv": bytes(600_000), "b.csv.gz": gzip.compress(bytes(600_000))})
    with pytest.raises(FileRefused, match=r"b\.csv\.gz: more than 1,000,000 bytes") as refused:
        opened(tmp_path, archive, max_bytes=1_000_000)
    assert refused.value.rule == "too_large"


def test_related_files_land_as_one_archive_that_replaces_the_earlier_one(tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    first.write_text("one\n")
    second.write_bytes(gzip.compress(b"two\n"))
    [(landed, verdict)] = land_bundle([first, second], tmp_path / "landing" / "olist")
    assert (landed.name, verdict) == ("olist.zip", "landed")
    before = read_delivery(landed, max_bytes=GB)
    assert [(file.name, file.data) for file in before.files] == [("a.csv", b"one\n"), ("b.csv.gz", b"two\n")]
    assert land_bundle([second, first], landed.parent) == [(landed, "already there")]
    first.write_text("more\n")
    assert land_bundle([first, second], landed.parent) == [(landed, "landed as a new version")]
    assert read_delivery(landed, max_bytes=GB).content_hash != before.content_hash
    with pytest.raises(FileNotFoundError):
        land_bundle([first, tmp_path / "gone.csv"], landed.parent)
