"""What identifies a person in a delivered row, how it is written, and which identifiers were seen together.

Raw identifiers are normalised here and leave only as keyed pseudonyms. Which links make one person of several
identifiers is decided in `identities`, as of a day; here is only what was delivered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.validation.pseudonyms import CUSTOMER, VISITOR, replace_identifiers

EMAIL, PHONE, DEVICE = "email", "phone", "device"
PHONE_DIGITS = (7, 15)
"""Fewest and most digits of a telephone number (E.164 allows 15)."""


@dataclass(frozen=True)
class Identifier:
    """One kind of identifier.

    Attributes:
        kind: what it names; also the kind of its pseudonym.
        mapped: column that a source contract maps to it.
        key: column of its pseudonym.
        written: brings the raw text to its one way of writing; null for what identifies nobody.
    """

    kind: str
    mapped: str
    key: str
    written: Callable[[pl.Expr], pl.Expr]


def _as_delivered(text: pl.Expr) -> pl.Expr:
    return text


def _email(text: pl.Expr) -> pl.Expr:
    address = text.str.strip_chars().str.to_lowercase()
    return pl.when(address.str.contains(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")).then(address)


def _phone(text: pl.Expr) -> pl.Expr:
    """Keep the digits, without the sign or zeros of an international call, e.g. 8613812345678.

    A number without country code stays one of its own: guessing the country could make one person of two.
    """
    digits = text.str.replace_all(r"[^0-9]", "").str.replace(r"^00", "")
    return pl.when(digits.str.len_chars().is_between(*PHONE_DIGITS)).then(digits)


def _device(text: pl.Expr) -> pl.Expr:
    """Leave out the zeros that a device gives when it may not be told from others."""
    identity = text.str.strip_chars().str.to_lowercase()
    return pl.when(identity.str.contains(r"[^0\-]")).then(identity)


IDENTIFIERS = (
    Identifier(CUSTOMER, "customer_id", "customer_key", _as_delivered),
    Identifier(VISITOR, "visitor_id", "visitor_key", _as_delivered),
    Identifier(EMAIL, "email", "email_key", _email),
    Identifier(PHONE, "phone", "phone_key", _phone),
    Identifier(DEVICE, "device_id", "device_key", _device),
)
KEYS = tuple(each.key for each in IDENTIFIERS)

LINK_KINDS: Mapping[str, tuple[str, str]] = {
    "login": (VISITOR, CUSTOMER),
    "email_of_customer": (EMAIL, CUSTOMER),
    "phone_of_customer": (PHONE, CUSTOMER),
    "device_of_customer": (DEVICE, CUSTOMER),
    "email_of_visitor": (EMAIL, VISITOR),
    "phone_of_visitor": (PHONE, VISITOR),
    "device_of_visitor": (DEVICE, VISITOR),
}
"""Kind of link to the kinds of identifiers that it ties together.

Everything hangs on the customer where one is named, else on the visitor. Devices are tied to visitors in either case.
"""


def replace_all_identifiers(rows: pl.DataFrame, pseudonym: Callable[[str, str], int]) -> pl.DataFrame:
    """Replace every raw identifier by its pseudonym.

    Args:
        rows: mapped rows; columns of identifiers that were not mapped are absent.
        pseudonym: function given by `pseudonymiser`.

    Returns:
        The rows with the columns `KEYS` (Int64) and without raw identifiers.
    """
    for each in IDENTIFIERS:
        ids = pl.Series([None] * rows.height, dtype=pl.String)
        if each.mapped in rows.columns:
            text = pl.col(each.mapped).cast(pl.String)
            ids = rows.select(each.written(text)).to_series()
        rows = rows.with_columns(replace_identifiers(ids, each.kind, pseudonym).alias(each.key))
    return rows.drop((each.mapped for each in IDENTIFIERS), strict=False)


def link_identifiers(rows: pl.DataFrame) -> pl.DataFrame:
    """List the pairs of identifiers that were delivered together.

    Args:
        rows: accepted rows of one or more days: event_day, event_time, source and the columns `KEYS`.

    Returns:
        Rows of the contract `identity_links`: one per day, source, kind and pair.
    """
    key_of = {each.kind: pl.col(each.key) for each in IDENTIFIERS}
    parts = []
    for kind, (lesser, greater) in LINK_KINDS.items():
        seen = key_of[lesser].is_not_null() & key_of[greater].is_not_null()
        if greater == VISITOR and lesser != DEVICE:
            seen &= key_of[CUSTOMER].is_null()
        parts.append(
            rows.lazy()
            .filter(seen)
            .group_by("event_day", "source", identifier_key=key_of[lesser], linked_key=key_of[greater])
            .agg(first_at=pl.col("event_time").min(), rows=pl.len().cast(pl.Int64))
            .with_columns(kind=pl.lit(kind), identifier_type=pl.lit(lesser), linked_type=pl.lit(greater))
        )
    return contract("identity_links").conform(pl.concat(parts)).collect()
