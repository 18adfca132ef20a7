"""People whose rows are left out: the list of them, and which delivered rows name one.

The list holds keyed hashes, never identifiers, so it may outlive everything that is known of these people. Delivered
rows that name one are left out before anything else is done with them, quarantine included.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from insight_assets.contracts.sources import PSEUDO_COLUMNS, SourceContract
from insight_assets.ingestion.readers import text_columns
from insight_assets.validation.key_ring import SUPPRESSION, Key, KeyRing, write_private

_DIGITS_OF_DIGEST = 8
_WORD = r"""[^\s,;"'{}\[\]<>()\\|]+"""


@dataclass(frozen=True)
class SuppressionList:
    """People whose rows are left out.

    Attributes:
        hashes: key id and HMAC of each identifier.
    """

    hashes: frozenset[tuple[str, str]] = frozenset()

    @property
    def digest(self) -> str:
        """What tells one list from another; empty for an empty list."""
        if not self.hashes:
            return ""
        return hashlib.sha256(json.dumps(sorted(self.hashes)).encode()).hexdigest()[:_DIGITS_OF_DIGEST]

    def recogniser(self, ring: KeyRing) -> Callable[[str], bool] | None:
        """Give the test of whether an identifier is on the list; None for an empty list.

        Raises:
            KeyError: if a key that made an entry is no longer on the ring.
        """
        if not self.hashes:
            return None
        keys = [ring.find(each) for each in sorted({made_by for made_by, _ in self.hashes})]
        return lambda identifier: any((key.id, _hash(key, identifier)) in self.hashes for key in keys)


def list_beside(key_file: Path) -> Path:
    """Give the place of a home's list, which lies beside its keys."""
    return key_file.with_name("suppressed.json")


def read_suppressed(path: Path) -> SuppressionList:
    """Read the list; a file that is not there is an empty list.

    Raises:
        ValueError: if the file does not hold a list.
    """
    if not path.exists():
        return SuppressionList()
    try:
        return SuppressionList(frozenset((each["key"], each["hash"]) for each in json.loads(path.read_bytes())))
    except (ValueError, KeyError, TypeError):
        message = f"{path} does not hold the list of suppressed people; restore it from your backup, or they come back"
        raise ValueError(message) from None


def suppress(path: Path, identifier: str, ring: KeyRing) -> bool:
    """Put a person on the list.

    Args:
        path: file of the list, made with mode 0600 on first use.
        identifier: customer number, visitor, e-mail or telephone as the shop's files write it.
        ring: the home's keys.

    Returns:
        Whether they were not on it yet.
    """
    before = read_suppressed(path)
    recognised = before.recogniser(ring)
    if recognised is not None and recognised(identifier):
        return False
    key = ring.current(SUPPRESSION)
    hashes = sorted({*before.hashes, (key.id, _hash(key, identifier))})
    write_private(path, json.dumps([{"key": made_by, "hash": each} for made_by, each in hashes], indent=1).encode())
    return True


def rows_naming(rows: pl.DataFrame, source: SourceContract, recognised: Callable[[str], bool]) -> pl.DataFrame:
    """Find the delivered rows that name somebody.

    Args:
        rows: raw rows with their decoded columns, as `decode_rows` gives them.
        source: how the source delivers.
        recognised: tells whether an identifier is one of those looked for.

    Returns:
        Their file_hash and line. Looked at are the columns classified as personal, what the contract maps to an
        identifier, and every word of what cannot be read as columns.
    """
    place = ["file_hash", "line"]
    personal = [column for column in source.delivered if column.classification == "personal" and not column.items]
    exprs = [pl.col(column.name) for column in personal]
    exprs += [
        mapped
        for mapping in source.mappings
        for name, sql in mapping.expressions.items()
        if name in PSEUDO_COLUMNS and set((mapped := pl.sql_expr(sql)).meta.root_names()) <= set(rows.columns)
    ]
    named = [rows.select(*place, expr.cast(pl.String).alias("word")) for expr in exprs]
    hidden = any(field.classification == "personal" for column in source.delivered for field in column.items)
    # A list of objects is looked through word by word, as is what is no row of the declared shape.
    unread = rows if hidden else rows.filter("malformed")
    texts = [name for name in text_columns(source) if name in {"payload", "broken", "extra"}]
    for name in texts:
        of = rows if name == "extra" else unread
        split = of.select(*place, pl.col(name).str.extract_all(_WORD).alias("word"))
        words = split.explode("word", empty_as_null=False)
        named.append(words.with_columns(pl.col("word").str.strip_chars(".:=!?")))
    words = pl.concat(named).filter(pl.col("word").str.strip_chars() != "")
    distinct = words["word"].unique()
    found = distinct.filter(pl.Series([recognised(word) for word in distinct], dtype=pl.Boolean))
    return words.filter(pl.col("word").is_in(found.implode())).select(place).unique(maintain_order=True)


def _hash(key: Key, identifier: str) -> str:
    return hmac.digest(key.secret, _canonical(identifier).encode(), hashlib.sha256).hex()


def _canonical(identifier: str) -> str:
    """Bring the ways of writing one e-mail or telephone together; other identifiers stay as they are."""
    text = identifier.strip()
    if "@" in text:
        return text.lower()
    if text.startswith("+"):
        return "".join(sign for sign in text if sign.isdigit())
    return text
