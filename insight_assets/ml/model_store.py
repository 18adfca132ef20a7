"""Model directories on disk: written whole, verified before they are opened, free of anything that runs code.

Knows files and hashes. What the files mean belongs to the capability that writes them.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
ALLOWED_SUFFIXES = frozenset({".json", ".safetensors", ".skops", ".npy"})


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
        ModelDamaged: if a file of a kind other than JSON, safetensors, skops or npy was written.
    """
    place.mkdir(parents=True, exist_ok=True)
    temporary = place / f".{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        manifest = _hash_files(temporary)
        (temporary / MANIFEST).write_text(
            json.dumps({"files": manifest.files, "content_hash": manifest.content_hash}, indent=1), encoding="utf-8"
        )
        final = place / manifest.content_hash
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        pointer = place / f".{CURRENT}.{os.getpid()}"
        pointer.write_text(manifest.content_hash, encoding="utf-8")
        pointer.replace(place / CURRENT)
        for other in place.iterdir():
            if other.is_dir() and other != final:
                shutil.rmtree(other, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    name = f"{place.parent.name}/{place.name}"
    try:
        folder = place / (place / CURRENT).read_text(encoding="utf-8").strip()
        recorded = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"no model at {name}: materialize {place.parent.name} for that day"
        raise ModelMissing(message) from error
    found = _hash_files(folder)
    if found.files != recorded["files"] or found.content_hash != recorded["content_hash"]:
        changed = {file for file, _ in set(found.files.items()) ^ set(recorded["files"].items())}
        message = f"model {name} was changed on disk ({', '.join(sorted(changed))}): materialize it again"
        raise ModelDamaged(message)
    return folder, found


def _hash_files(folder: Path) -> Manifest:
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST:
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
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(archive.read(name)).digest())
    return digest.hexdigest()
