"""Of whom an asset may read: purposes, the people behind actors, and those who gave no consent.

Pure and shared: the IO manager applies it to everything that an asset with a purpose loads, so that no asset can
forget; assets that look at several days at once call `as_people` themselves. How identities and consents come about is
in the stage `people`.

Tables by event day keep actors as they were delivered, so that what becomes known later changes nothing before it.
Snapshots see people: rows of an actor count for the customer whom the identities of the as-of day name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

OPERATIONS = "operations"
CONSENTED_PURPOSES = ("analytics", "personalise", "marketing")
PURPOSES = (OPERATIONS, *CONSENTED_PURPOSES)
"""What data is used for. `operations` needs no consent: keeping the shop's books, and those of who allowed what."""


WITHOUT_RECORD: Mapping[str, bool] = {"analytics": True, "personalise": True, "marketing": False}
"""Whether people who never said anything are taken to agree, where the shop does not say otherwise."""

LEFT_AS_DELIVERED = {"actors": "as_delivered"}
"""Metadata of an input whose actors the asset itself puts together to people, because it looks at several days."""


def as_people(rows: pl.LazyFrame, identities: pl.LazyFrame) -> pl.LazyFrame:
    """Let rows of actors count for the people behind them.

    Args:
        rows: rows with `actor_key` and `customer_key`.
        identities: rows of the contract `identities` of one as-of day; an actor who is not in it and signed in is a
            person of their own.

    Returns:
        The rows of people who are known as customers, with the person in `customer_key` and the account that was signed
        in, if any, in `account_key`.
    """
    person = identities.select(actor_key="identifier_key", _person="customer_key")
    return (
        rows.join(person, on="actor_key", how="left", maintain_order="none")
        .with_columns(account_key=pl.col("customer_key"), customer_key=pl.coalesce("_person", "customer_key"))
        .drop("_person")
        .filter(pl.col("customer_key").is_not_null())
    )


def as_people_before(rows: pl.LazyFrame, *, before: pl.LazyFrame, now: pl.LazyFrame) -> pl.LazyFrame:
    """Let rows of people count for the people they were held to be earlier.

    So that what happened until now can be told of the people of an origin. Where two people of then turned out to be
    one, what that one did is told of both.

    Args:
        rows: rows with `customer_key`, as of the later day.
        before: rows of the contract `identities` as of the earlier day.
        now: rows of the contract `identities` as of the later day.
    """
    accounts = [
        each.filter(pl.col("identifier_type") == "customer").select("identifier_key", **{name: "customer_key"})
        for each, name in ((before, "_before"), (now, "customer_key"))
    ]
    pairs = accounts[0].join(accounts[1], on="identifier_key").select("_before", "customer_key").unique()
    return (
        rows.join(pairs, on="customer_key", how="left", maintain_order="none")
        .with_columns(customer_key=pl.coalesce("_before", "customer_key"))
        .drop("_before")
    )


@dataclass(frozen=True)
class View:
    """What an asset sees of tables about people.

    Attributes:
        purpose: what it uses them for, one of `PURPOSES`.
        identities: rows of the contract `identities` as of its day.
        consents: rows of the contract `consents` as of its day.
        without_record: by purpose, whether people who never said anything are taken to agree.
    """

    purpose: str
    identities: pl.LazyFrame
    consents: pl.LazyFrame
    without_record: Mapping[str, bool]

    def people(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Give the rows of people who agreed, each person under one key.

        Args:
            rows: rows with `customer_key`, and with `actor_key` where actors are as they were delivered.
        """
        seen = as_people(rows, self.identities) if "actor_key" in rows.collect_schema() else rows
        return self._agreed(seen, "customer_key", self._verdicts())

    def actors(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Give the rows of actors behind whom are people who agreed, actors left as they were delivered.

        Args:
            rows: rows with `actor_key`; those that name nobody are kept where silence counts as consent.
        """
        verdicts = self._verdicts()
        theirs = self.identities.join(verdicts, on="customer_key", how="semi").select(customer_key="identifier_key")
        return self._agreed(rows, "actor_key", pl.concat([verdicts, theirs]).unique())

    def without_consent(self) -> int | None:
        """Count the people who refused; None where only those who agreed are known."""
        return self._verdicts().collect().height if self.without_record[self.purpose] else None

    def _verdicts(self) -> pl.LazyFrame:
        """List the people who spoke against what silence means: column customer_key."""
        against = pl.col("granted") != self.without_record[self.purpose]
        return self.consents.filter((pl.col("purpose") == self.purpose) & against).select("customer_key")

    def _agreed(self, rows: pl.LazyFrame, person: str, verdicts: pl.LazyFrame) -> pl.LazyFrame:
        how = "anti" if self.without_record[self.purpose] else "semi"
        return rows.join(verdicts, left_on=person, right_on="customer_key", how=how, maintain_order="none")
