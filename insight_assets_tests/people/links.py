"""Links and events with only the values that a test speaks of."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.people.identities import Identities, IdentityRules, resolve_identities
from insight_assets.validation.identifiers import LINK_KINDS
from insight_assets_tests.profiles.people import rows

FIRST = date(2025, 1, 1)
NUMBER = {"customer": 1000, "visitor": 2000, "email": 3000, "phone": 4000, "device": 5000}
"""Keys of identifiers start here, so that a key tells its kind; customer 1 has the key 1001."""


def day(ahead: int) -> date:
    return FIRST + timedelta(days=ahead)


def link(kind: str, identifier: int, linked: int, *ahead: int, source: str = "segment") -> list[dict]:
    """Tie two identifiers by their numbers on each of some days, the first by default."""
    lesser, greater = LINK_KINDS[kind]
    return [
        {
            "event_day": day(each), "source": source, "kind": kind, "identifier_type": lesser, "linked_type": greater,
            "identifier_key": NUMBER[lesser] + identifier, "linked_key": NUMBER[greater] + linked, "rows": 1,
            "first_at": datetime.combine(day(each), datetime.min.time(), UTC) + timedelta(hours=linked),
        }
        for each in (ahead or (0,))
    ]  # fmt: skip


def login(visitor: int, customer: int, *ahead: int) -> list[dict]:
    return link("login", visitor, customer, *ahead)


def table(*links: list[dict]) -> pl.LazyFrame:
    """Make a table of links; a pair that comes twice on a day is one row."""
    of = contract("identity_links")
    every = [row for each in links for row in each]
    frame = pl.DataFrame(every, schema=of.polars_schema(), orient="row") if every else of.empty()
    return frame.unique(of.primary_key, maintain_order=True).lazy()


def resolve(*links: list[dict], ahead: int = 100, **rules: object) -> Identities:
    return resolve_identities(table(*links), as_of=day(ahead), rules=IdentityRules(**rules))


def people(found: Identities) -> Mapping[int, int]:
    """Give the person of each identifier."""
    return dict(found.people.select("identifier_key", "customer_key").rows())


def reasons(found: Identities) -> set[tuple[str, int, int, str]]:
    return set(found.quarantined.select("kind", "identifier_key", "linked_key", "reason").rows())


def word(
    purpose: str,
    granted: bool,
    ahead: float,
    *,
    customer: int | None = None,
    visitor: int | None = None,
    **more: object,
) -> dict:
    """Write a consent event; customers and visitors by their numbers."""
    account = None if customer is None else NUMBER["customer"] + customer
    actor = account if account is not None else NUMBER["visitor"] + (visitor or 0)
    moment = datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=ahead)
    return {
        "event": "consent_updated", "purpose": purpose, "granted": granted, "event_time": moment, "known_at": moment,
        "event_day": moment.date(), "customer_key": account, "actor_key": actor, "source": "segment",
    } | more  # fmt: skip


def events(*given: dict) -> pl.LazyFrame:
    return rows("events", given).lazy()
