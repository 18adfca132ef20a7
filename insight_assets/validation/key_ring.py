"""The home's secrets: one key per purpose, in one file that only its owner may read.

Two purposes never share a key, so tables of one cannot be joined with tables of the other by their pseudonyms. What is
made with a key is in `pseudonyms.py`, `vault.py` and `suppression.py`; nobody but these is given a secret, and only the
id of a key is ever recorded anywhere.
"""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

KEY_BYTES = 32
ANALYTICS = "analytics"
VAULT = "vault"
SUPPRESSION = "suppression"
PURPOSES: Mapping[str, str] = {
    ANALYTICS: "pseudonyms in the tables of the lake",
    "personalise": "pseudonyms for what is shown to a customer",
    "marketing": "pseudonyms in exports to advertisers and mailers",
    "test": "pseudonyms in data given to developers",
    VAULT: "encryption of raw identifiers in identity_vault",
    SUPPRESSION: "the list of people whose rows are left out",
}


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        purpose: what it is for, one of `PURPOSES`.
        number: 1 for the first key of its purpose, 2 for the one that replaced it.
        secret: 32 bytes.
        retired: whether another key has taken its place.
    """

    purpose: str
    number: int
    secret: bytes = field(repr=False)
    retired: bool = False

    @property
    def id(self) -> str:
        """Name under which it is recorded."""
        return key_id(self.purpose, self.number)


def key_id(purpose: str, number: int) -> str:
    """Give the name of a key."""
    return f"{purpose}-{number}"


@dataclass(frozen=True)
class KeyRing:
    """All keys of a home."""

    keys: tuple[Key, ...]

    def current(self, purpose: str) -> Key:
        """Give the key that is in use for a purpose.

        Raises:
            KeyError: if there is no such purpose.
        """
        for key in self.keys:
            if key.purpose == purpose and not key.retired:
                return key
        message = f"no key for the purpose {purpose!r}; one of {', '.join(PURPOSES)}"
        raise KeyError(message)

    def find(self, wanted: str) -> Key:
        """Give a key by its id, also a retired one.

        Raises:
            KeyError: if it is not on the ring (any more).
        """
        for key in self.keys:
            if key.id == wanted:
                return key
        message = f"the key {wanted} is not on the ring; restore the key file that held it"
        raise KeyError(message)


def read_ring(path: Path) -> KeyRing:
    """Read the keys; make the file, mode 0600, when there is none.

    A file with the 32 bytes of a single key, as homes held it before there was a ring, becomes a ring whose first
    analytics key it is, so that the pseudonyms of that home stay.

    Args:
        path: file of the keys.

    Raises:
        PermissionError: if others may read the file.
        ValueError: if the file does not hold the keys.
    """
    if not path.exists():
        _write(path, _new_ring(secrets.token_bytes(KEY_BYTES)), only_first=True)
    if path.stat().st_mode & 0o077:
        message = f"{path} can be read by others; run: chmod 600 {path}"
        raise PermissionError(message)
    content = path.read_bytes()
    if len(content) == KEY_BYTES:
        with _held(path):
            content = path.read_bytes()
            # Of two processes that take the same file over, the second finds the ring of the first.
            if len(content) == KEY_BYTES:
                _write(path, _new_ring(content))
        return read_ring(path)
    return _parsed(path, content)


def rotate_key(path: Path, purpose: str) -> Key:
    """Put a new key in the place of a purpose's current one, which is kept as retired.

    Args:
        path: file of the keys.
        purpose: one of `PURPOSES`.

    Returns:
        The new key.

    Raises:
        KeyError: if there is no such purpose.
    """
    ring = read_ring(path)
    with _held(path):
        before = ring.current(purpose)
        made = Key(purpose, before.number + 1, secrets.token_bytes(KEY_BYTES))
        kept = tuple(replace(key, retired=True) if key is before else key for key in ring.keys)
        _write(path, KeyRing((*kept, made)))
    return made


def drop_retired_keys(path: Path, purpose: str) -> list[str]:
    """Take the retired keys of a purpose off the ring: what was made with them can never be re-mapped again.

    Args:
        path: file of the keys.
        purpose: one of `PURPOSES`.

    Returns:
        Ids of the keys that are gone.
    """
    ring = read_ring(path)
    with _held(path):
        gone = [key for key in ring.keys if key.purpose == purpose and key.retired]
        if gone:
            _write(path, KeyRing(tuple(key for key in ring.keys if key not in gone)))
    return [key.id for key in gone]


def current_number(path: Path, purpose: str) -> int:
    """Give the number of a purpose's current key without making or opening any secret.

    A file that is missing or damaged counts as one with first keys: to say so is for whoever uses a key.
    """
    try:
        return _parsed(path, path.read_bytes()).current(purpose).number
    except (OSError, ValueError):
        return 1


def _new_ring(analytics: bytes) -> KeyRing:
    return KeyRing(
        tuple(Key(each, 1, analytics if each == ANALYTICS else secrets.token_bytes(KEY_BYTES)) for each in PURPOSES)
    )


def _parsed(path: Path, content: bytes) -> KeyRing:
    try:
        keys = tuple(
            Key(each["purpose"], each["number"], bytes.fromhex(each["secret"]), each["retired"])
            for each in json.loads(content)["keys"]
        )
        lengths = {len(key.secret) for key in keys}
        if lengths != {KEY_BYTES} or set(PURPOSES) - {key.purpose for key in keys if not key.retired}:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        # The content is a secret: neither it nor where parsing failed is told.
        message = f"{path} does not hold the keys of a home; restore it from your backup, or all pseudonyms change"
        raise ValueError(message) from None
    return KeyRing(keys)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the key file against other processes that would change it."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, ring: KeyRing, *, only_first: bool = False) -> None:
    """Put a ring into its file, which appears whole; with `only_first` a file that is there already stays."""
    keys = [
        {"purpose": key.purpose, "number": key.number, "secret": key.secret.hex(), "retired": key.retired}
        for key in ring.keys
    ]
    write_private(path, json.dumps({"keys": keys}, indent=1).encode() + b"\n", only_first=only_first)


def write_private(path: Path, content: bytes, *, only_first: bool = False) -> None:
    """Write a file, mode 0600, that appears whole.

    Args:
        path: the file; its folder is made with mode 0700.
        content: what it is to hold.
        only_first: leave a file alone that is there already; of several processes the first one's stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if only_first:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
