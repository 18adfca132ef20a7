"""Whether a delivered file has arrived whole.

A file is whole when the sidecar that came with it says so, or, without one, when nobody has touched it for a while.
Which names count as files at all is in `landing`; what is in them in `readers`.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from insight_assets.ingestion.readers import FileRefused

SIDECARS = (".manifest.json", ".sha256")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_LARGEST_SIDECAR = 10_000


@dataclass(frozen=True)
class Arrival:
    """A file as it lies in the landing folder now.

    Attributes:
        path: the file.
        size: its bytes.
        modified: when it was last written, Unix time in nanoseconds.
        touched: when it or its sidecar last changed in any way, Unix time in seconds.
        sidecar: text of its sidecar; None without one.
    """

    path: Path
    size: int
    modified: int
    touched: float
    sidecar: str | None

    @property
    def mark(self) -> str:
        """Name of what the sidecar says, empty without one."""
        return "" if self.sidecar is None else hashlib.sha256(self.sidecar.encode()).hexdigest()[:12]

    def is_settled(self, *, now: float, settle_seconds: float) -> bool:
        """Whether nobody has touched it for a while."""
        return now - self.touched >= settle_seconds


def look_at(path: Path, *, now: float) -> Arrival:
    """Look at a file and its sidecar without opening the file.

    Args:
        path: the file.
        now: Unix time; a file from the future counts from the moment at which it was put there.

    Raises:
        FileNotFoundError: if it is gone.
    """
    stat = path.stat(follow_symlinks=False)
    touched = [stat.st_ctime, *([stat.st_mtime] if stat.st_mtime <= now else [])]
    text = None
    for ending in SIDECARS:
        beside = path.with_name(path.name + ending)
        if text is None and beside.is_file() and not beside.is_symlink():
            with beside.open("rb") as file:
                text = file.read(_LARGEST_SIDECAR).decode(errors="replace")
            touched.append(beside.stat().st_ctime)
    return Arrival(path, stat.st_size, stat.st_mtime_ns, max(touched), text)


def is_whole(arrival: Arrival) -> bool | None:
    """Compare a file with its sidecar.

    Returns:
        Whether it is what the sidecar says; None without a sidecar.
    """
    if arrival.sidecar is None:
        return None
    told = _read_sidecar(arrival.sidecar)
    if told is None or told.get("bytes", arrival.size) != arrival.size:
        return False
    with arrival.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == told["sha256"]


def _read_sidecar(text: str) -> dict[str, object] | None:
    """Read what a sidecar says; None if it says nothing that can be held against a file."""
    if found := _SHA256.match(text.strip()):
        return {"sha256": found[0].lower()}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    digest = told.get("sha256") if isinstance(told, dict) else None
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        return None
    return told | {"sha256": digest.lower()}


def refuse_incomplete(arrival: Arrival) -> None:
    """Refuse a file that nobody touches any more and that is not what its sidecar says.

    Raises:
        FileRefused: always.
    """
    told = _read_sidecar(arrival.sidecar or "")
    if told is None:
        why = 'its sidecar is neither a SHA-256 nor JSON with one; write {"bytes": n, "sha256": "..."}'
    elif "bytes" in told and told["bytes"] != arrival.size:
        why = f"it has {arrival.size:,} bytes and its sidecar promises {told['bytes']}"
    else:
        why = "its bytes are not those that its sidecar promises"
    message = f"{arrival.path.name}: {why}; deliver both again"
    raise FileRefused("incomplete", message)
