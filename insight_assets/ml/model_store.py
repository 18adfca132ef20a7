"""Model directories on disk: written whole, verified before they are opened, free of anything that runs code.

Knows files and hashes. What the files mean belongs to the capability that writes them.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from insight_assets.disk_room import telling_of_full_disk

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
LOCK = ".lock"
_HASH = re.compile(r"[0-9a-f]{32}")
_LEFTOVER = re.compile(r"\.(?:CURRENT\.)?(\d+)\.[0-9a-f]+(?:\.tmp)?$")
_TRIES = 5
ALLOWED_SUFFIXES = frozenset({".json", ".md", ".safetensors", ".skops", ".npy", ".onnx", ".txt"})


class ModelMissing(Exception):
    """There is no model at the place asked for."""


class ModelDamaged(Exception):
    """A model's files differ from what was written, or are of a kind that is never opened."""


@dataclass(frozen=True)
class Manifest:
    """Files of a model with their hashes.

    Attributes:
        files: file name to SHA-256 of its bytes.
        content_hash: hash over names and hashes, 32 hex digits.
    """

    files: dict[str, str]
    content_hash: str


@contextmanager
def write_model(place: Path) -> Iterator[Path]:
    """Write a model that appears whole or not at all.

    The files go to `place/<content hash>/`; the file `place/CURRENT` then names them, by an atomic rename.

    Args:
        place: where the model will lie; an older one is replaced.

    Yields:
        A temporary folder to write into.

    Raises:
        ModelDamaged: if a file of a kind other than JSON, Markdown, text, safetensors, skops, npy or onnx was written.
        DiskFull: if there is no room for it; an older model stays.
    """
    place.mkdir(parents=True, exist_ok=True)
    temporary = place / f".{os.getpid()}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir()
    try:
        with telling_of_full_disk(f"model {place.parent.name}/{place.name}"):
            yield temporary
            manifest = _hash_files(temporary)
            (temporary / MANIFEST).write_text(
                json.dumps({"files": manifest.files, "content_hash": manifest.content_hash}, indent=1), encoding="utf-8"
            )
            for path in temporary.iterdir():
                _flush(path)
            # Of two writers one must not tidy away what the other is about to name.
            with (place / LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _publish(place, temporary, manifest.content_hash)
                _tidy(place, keep=manifest.content_hash)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(place: Path, temporary: Path, content_hash: str) -> None:
    final = place / content_hash
    try:
        # The same model again: what is whole stays, so that at no moment there is none.
        _verify(final)
    except (ModelMissing, ModelDamaged):
        if final.exists():
            final.rename(place / f"damaged-{secrets.token_hex(4)}")
        temporary.rename(final)
    pointer = place / f".{CURRENT}.{os.getpid()}.{secrets.token_hex(4)}"
    pointer.write_text(content_hash, encoding="utf-8")
    _flush(pointer)
    pointer.replace(place / CURRENT)


def _tidy(place: Path, *, keep: str) -> None:
    """Remove replaced models and what killed writers left; a folder that another process writes into stays."""
    for path in place.iterdir():
        writer = _LEFTOVER.match(path.name)
        if path.name in {keep, CURRENT, LOCK} or (writer and psutil.pid_exists(int(writer[1]))):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_model(place: Path) -> tuple[Path, Manifest]:
    """Find a model and verify it against its manifest.

    Args:
        place: the folder given to `write_model`.

    Returns:
        The folder that holds the files, and the manifest.

    Raises:
        ModelMissing: if there is no model.
        ModelDamaged: if a file is missing, added or changed.
    """
    for _ in range(_TRIES - 1):
        # Another model may just have taken its place; what is damaged stays damaged.
        with suppress(ModelMissing, ModelDamaged):
            folder = place / _current(place)
            return folder, _verify(folder)
    folder = place / _current(place)
    return folder, _verify(folder)


def _current(place: Path) -> str:
    called = f"{place.parent.name}/{place.name}"
    try:
        name = (place / CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        message = f"no model at {called}: materialize {place.parent.name} for that day"
        raise ModelMissing(message) from None
    except (OSError, UnicodeDecodeError):
        name = ""
    if not _HASH.fullmatch(name):
        message = f"model {called} was changed on disk ({CURRENT}): materialize it again"
        raise ModelDamaged(message)
    return name


def _verify(folder: Path) -> Manifest:
    called = f"{folder.parent.parent.name}/{folder.parent.name}"
    try:
        recorded = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = _hash_files(folder)
    except FileNotFoundError as error:
        message = f"no model at {called}: materialize {folder.parent.parent.name} for that day"
        raise ModelMissing(message) from error
    except (OSError, ValueError) as error:
        message = f"model {called} was changed on disk ({type(error).__name__}): materialize it again"
        raise ModelDamaged(message) from error
    files = recorded.get("files") if isinstance(recorded, dict) else None
    if not isinstance(files, dict) or found.files != files or found.content_hash != folder.name:
        changed = {file for file, _ in set(found.files.items()) ^ set((files or {}).items())} or {MANIFEST}
        message = f"model {called} was changed on disk ({', '.join(sorted(changed))}): materialize it again"
        raise ModelDamaged(message)
    return found


def _hash_files(folder: Path) -> Manifest:
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST and path.is_file() and not path.is_symlink():
            continue
        if path.suffix not in ALLOWED_SUFFIXES or not path.is_file() or path.is_symlink():
            message = f"{path.name}: a model holds only {', '.join(sorted(ALLOWED_SUFFIXES))} files"
            raise ModelDamaged(message)
        # A skops file is a zip whose member times differ on each dump; what it stores is what counts.
        files[path.name] = _zip_hash(path) if path.suffix == ".skops" else hashlib.sha256(path.read_bytes()).hexdigest()
    joined = "\n".join(f"{name} {digest}" for name, digest in files.items())
    return Manifest(files, hashlib.sha256(joined.encode()).hexdigest()[:32])


def _zip_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                digest.update(name.encode() + b"\0" + hashlib.sha256(archive.read(name)).digest())
    except OSError:
        raise
    except Exception as error:  # (a damaged archive fails in more ways than `zipfile` documents)
        message = f"{path.name}: no readable archive ({type(error).__name__})"
        raise ModelDamaged(message) from error
    return digest.hexdigest()
