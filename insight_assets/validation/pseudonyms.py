"""Keyed pseudonyms: the only form in which an identifier of a person leaves raw.

The key is a secret of the home folder, made on first use. Nothing else here reads or writes files.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import polars as pl

KEY_BYTES = 32
CUSTOMER = "customer"
VISITOR = "visitor"
IDENTITY = "identity"


def read_key(path: Path) -> bytes:
    """Read the key, making it with mode 0600 when there is none.

    Args:
        path: file of the key.

    Returns:
        The key, 32 bytes.

    Raises:
        PermissionError: if others may read the file.
        ValueError: if the file does not hold a key.
    """
    if not path.exists():
        _make_key(path)
    if path.stat().st_mode & 0o077:
        message = f"{path} can be read by others; run: chmod 600 {path}"
        raise PermissionError(message)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        message = f"{path} does not hold a key of {KEY_BYTES} bytes; restore it, or all pseudonyms change"
        raise ValueError(message)
    return key


def _make_key(path: Path) -> None:
    """Make a key that appears whole; of several processes that make one at the same time, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def pseudonymiser(key: bytes) -> Callable[[str, str], int]:
    """Give the function from an identifier to its pseudonym.

    Args:
        key: the secret.

    Returns:
        A function of (kind, identifier) to the first 63 bits of HMAC-SHA256; equal identifiers of different kinds
        have different pseudonyms. Identifiers are compared without surrounding blanks.
    """

    def pseudonym(kind: str, identifier: str) -> int:
        digest = hmac.digest(key, f"{kind}\0{identifier.strip()}".encode(), hashlib.sha256)
        return int.from_bytes(digest[:8], "big") >> 1

    return pseudonym


def replace_identifiers(ids: pl.Series, kind: str, pseudonym: Callable[[str, str], int]) -> pl.Series:
    """Replace identifiers by pseudonyms.

    Args:
        ids: identifiers as text; null or blank where nobody is named.
        kind: what they identify.
        pseudonym: function given by `pseudonymiser`.

    Returns:
        Int64 pseudonyms, null where nobody is named.
    """
    named = ids.str.strip_chars()
    known = named.filter(named.is_not_null() & (named != "")).unique()
    keys = pl.Series([pseudonym(kind, identifier) for identifier in known], dtype=pl.Int64)
    if known.is_empty():
        return pl.Series([None] * len(ids), dtype=pl.Int64)
    return named.replace_strict(known, keys, default=None, return_dtype=pl.Int64)


def hide_identity(ids: pl.Series, pseudonym: Callable[[str, str], int]) -> pl.Series:
    """Replace identities of rows that are put together from what identifies a person.

    Args:
        ids: identities as text.
        pseudonym: function given by `pseudonymiser`.

    Returns:
        Text of 16 hex digits; null stays null.
    """
    hidden = [None if identity is None else f"{pseudonym(IDENTITY, identity):016x}" for identity in ids.cast(pl.String)]
    return pl.Series(ids.name, hidden, dtype=pl.String)
