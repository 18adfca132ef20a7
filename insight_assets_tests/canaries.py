"""Personal values planted in deliveries, and the search for them through everything a home holds."""

import gzip
import sqlite3
import zipfile
from collections.abc import Collection
from pathlib import Path

import polars as pl

CANARIES = {
    "email": "canary.bird7391@example.com",
    "customer": "canarycustomer5521",
    "device": "canarydevice8812",
    "phone": "13900417736",
    "name": "Canarina Birdsong",
    "address": "4471 Canarystreet Road",
    "order": "990417736155",
    "card": "4929 4177 3612 5366",
}
SAID = (
    f"Hello, my name is {CANARIES['name']}, I live at {CANARIES['address']}, order number {CANARIES['order']} is late; "
    f"call {CANARIES['phone']} or write to {CANARIES['email']}, card {CANARIES['card']}"
)
WHO = {"userId": CANARIES["customer"], "anonymousId": CANARIES["device"]}
WRITTEN = {"query": SAID, "review_body": SAID, "text": SAID}


def sightings(data: bytes) -> set[str]:
    return {name for name, value in CANARIES.items() if value.encode() in data}


def content(path: Path) -> bytes:
    """Give the bytes of a file; of Parquet also what its pages hold, of SQLite its rows, of packed files what is in."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data += gzip.decompress(data)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            data += b"\n".join(archive.read(name) for name in archive.namelist())
    if path.suffix == ".parquet":
        data += pl.read_parquet(path, hive_partitioning=False).write_json().encode()
    if data.startswith(b"SQLite format 3"):
        with sqlite3.connect(path) as connection:
            data += "\n".join(connection.iterdump()).encode("utf-8", "surrogateescape")
    return data


def canaries_in(root: Path, *, sources: Collection[str], may_hold: Collection[str]) -> dict[str, set[str]]:
    """Look through every file of a home but what was landed.

    Args:
        root: the home folder.
        sources: names of the landing folders that are passed over.
        may_hold: tables whose rows are passed over; their transaction logs are not.

    Returns:
        File to the names of the canaries that are in it, for files that hold any.
    """
    allowed = [root / "landing" / source for source in sources]
    found = {}
    for path in root.rglob("*"):
        if not path.is_file() or any(place in path.parents for place in allowed):
            continue
        inside = path.relative_to(root).parts
        if inside[:1] == ("lake",) and inside[1] in may_hold and "_delta_log" not in inside:
            continue
        if seen := sightings(str(path).encode() + content(path)):
            found[str(path.relative_to(root))] = seen
    return found
