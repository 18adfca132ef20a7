"""The identity vault: who stands behind a pseudonym, the identifier encrypted with a key of its own.

Beside raw and quarantine the one place that holds raw identifiers. A day of it follows from the day's raw rows and the
keys alone, so that it can be made again; whoever may not read it finds nobody behind a pseudonym.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import date

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.validation.attributes import ATTRIBUTES
from insight_assets.validation.key_ring import Key, KeyRing
from insight_assets.validation.pseudonyms import IDENTITY

IDENTITY_VAULT = "identity_vault"


class Witness:
    """A pseudonymiser that remembers for whom it was asked.

    Attributes:
        seen: kind and identifier to pseudonym. What identifies a row, not a person, is left out.
    """

    def __init__(self, pseudonym: Callable[[str, str], int]) -> None:
        """Take the function given by `pseudonymiser`."""
        self._pseudonym = pseudonym
        self.seen: dict[tuple[str, str], int] = {}

    def __call__(self, kind: str, identifier: str) -> int:
        """Give the pseudonym of an identifier."""
        found = self._pseudonym(kind, identifier)
        if kind != IDENTITY:
            self.seen[kind, identifier.strip()] = found
        return found


def seal_identifiers(
    seen: Mapping[tuple[str, str], int],
    day: date,
    *,
    pseudonym_key: str,
    vault_key: Key,
    attributes: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Make a day's rows of the vault.

    Args:
        seen: kind and identifier to pseudonym.
        day: the event day on which they were seen.
        pseudonym_key: id of the key that made the pseudonyms.
        vault_key: key that encrypts the identifiers.
        attributes: customer_key, kind and value of what describes customers, as `collect_attributes` gives it.

    Returns:
        Rows of the contract `identity_vault`. Equal identifiers are encrypted to equal text, so that a day made again
        has the content it had; equal attributes of two customers are not, so that nobody counts the like.
    """
    cipher = _cipher(vault_key)
    named = [(kind, pseudonym, identifier) for (kind, identifier), pseudonym in seen.items()]
    if attributes is not None:
        named += attributes.select("kind", "customer_key", "value").rows()
    sealed = [
        (kind, pseudonym, base64.b64encode(cipher.encrypt(text.encode(), _bound_to(kind, pseudonym))).decode())
        for kind, pseudonym, text in named
    ]
    schema = {"kind": pl.String, "pseudonym": pl.Int64, "identifier": pl.String}
    rows = pl.DataFrame(sealed, schema=schema, orient="row")
    of = contract(IDENTITY_VAULT)
    keys = {"pseudonym_key": pl.lit(pseudonym_key), "vault_key": pl.lit(vault_key.id)}
    return of.conform(rows.lazy().with_columns(event_day=pl.lit(day), **keys)).collect()


def open_identifiers(rows: pl.DataFrame, ring: KeyRing) -> pl.DataFrame:
    """Decrypt identifiers of the vault.

    Args:
        rows: rows of the contract `identity_vault`.
        ring: the home's keys.

    Returns:
        The distinct kind, pseudonym and identifier of the rows, identifiers as the shop delivered them; the pseudonym
        of an attribute is the customer's.

    Raises:
        KeyError: if a key that encrypted them is no longer on the ring.
        cryptography.exceptions.InvalidTag: if a row was tampered with.
    """
    distinct = rows.select("kind", "pseudonym", "identifier", "vault_key").unique().sort("kind", "pseudonym")
    ciphers = {name: _cipher(ring.find(name)) for name in distinct["vault_key"].unique()}
    opened = [
        ciphers[name].decrypt(base64.b64decode(sealed), _bound_to(kind, pseudonym)).decode()
        for kind, pseudonym, sealed, name in distinct.iter_rows()
    ]
    plain = distinct.with_columns(identifier=pl.Series(opened, dtype=pl.String)).drop("vault_key")
    return plain.unique(maintain_order=True)


def _bound_to(kind: str, pseudonym: int) -> list[bytes]:
    """Say what a sealed text is of, so that it opens nowhere else: its kind, for an attribute also whose it is."""
    return [kind.encode(), str(pseudonym).encode()] if kind in ATTRIBUTES else [kind.encode()]


def _cipher(key: Key) -> "AESSIV":  # noqa: F821
    # Deterministic and authenticated (RFC 5297): no nonce, of which a day made again would need the one it had.
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(key.secret)
