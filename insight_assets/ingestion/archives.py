"""Zip archives: packing files into one, opening those in one as streams, and the refusal of what is hostile or cut.

Nothing is ever unpacked to disk. Which files belong together is in `bundles.py`; sizes are limited by who reads.
"""

import re
import shutil
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

ZIP = b"PK\x03\x04"
MOST_FILES = 1_000
_PASSED_OVER = re.compile(r"(^|/)(\.(?!\.)|__MACOSX/)")
_SAFE_NAME = re.compile(r"[^\x00-\x1f\\:]{1,200}")


def opened_files(file: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """Open the files of a zip archive one after the other, by name.

    Folders, hidden files and what a desktop adds are passed over.

    Args:
        file: the archive, from its beginning or any place in it.

    Yields:
        The name without its folders, and a stream of the content.

    Raises:
        zipfile.BadZipFile: if it is cut or damaged, or a file in it is encrypted, a link, outside the archive by its
            name, there twice or one too many.
    """
    with zipfile.ZipFile(file) as archive:
        entries = [each for each in archive.infolist() if not each.is_dir() and not _PASSED_OVER.search(each.filename)]
        if len(entries) > MOST_FILES:
            message = f"it holds {len(entries)} files, more than {MOST_FILES}"
            raise zipfile.BadZipFile(message)
        names = [Path(entry.filename).name for entry in entries]
        for entry, name in zip(entries, names, strict=True):
            if reason := _hostile(entry) or ("a name is there twice" if names.count(name) > 1 else None):
                raise zipfile.BadZipFile(reason)
        for name, entry in sorted(zip(names, entries, strict=True), key=lambda pair: pair[0]):
            with archive.open(entry) as stream:
                yield name, stream


def pack_files(paths: Sequence[Path], archive: Path) -> None:
    """Pack files into an archive, under their names; the same files give the same bytes.

    Args:
        paths: the files.
        archive: the archive to write.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for path in sorted(paths, key=lambda each: each.name):
            entry = zipfile.ZipInfo(path.name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as file, writer.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(file, target)


def _hostile(entry: zipfile.ZipInfo) -> str | None:
    parts = entry.filename.split("/")
    if not _SAFE_NAME.fullmatch(entry.filename) or ".." in parts or not all(parts):
        return "a name in it leads outside of it"
    if entry.flag_bits & 1:
        return "it is encrypted"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "it holds a link"
    return None
