"""Keyed pseudonyms: the only form in which an identifier of a person leaves raw.

The key is one of the home's, see `key_ring.py`. A pseudonym does not say which key made it, since the lake packs keys
of people into 63 bits; the partitions that hold it do, in their metadata. Nothing here reads or writes files.
"""

import hashlib
import hmac
from collections.abc import Callable

import polars as pl

CUSTOMER = "customer"
VISITOR = "visitor"
IDENTITY = "identity"


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
