"""What people have allowed, as of a day: the last word of each person on each purpose.

Whose data an asset leaves out because of it is decided in `insight_assets.purposes`.

Within one account the later word counts, and refusal on the same instant. What was said before anybody signed in counts
as a word of every account of the person. Where several accounts have become one person, the stricter counts: a merge
must never turn a refusal into a consent.
"""

from datetime import date

import polars as pl

from insight_assets.purposes import CONSENTED_PURPOSES

_SPELLINGS = {"personalisation": "personalise", "personalization": "personalise", "personalize": "personalise"}
_VERDICT = ("customer_key", "purpose")


def last_consents(events: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Give each person's consents as of a day.

    Args:
        events: rows of the contract `events` with `customer_key` as the person and `account_key` as the account that
            was signed in (null for none); days after `as_of` and other kinds of events are ignored.
        as_of: as-of day.

    Returns:
        Columns of the contract `consents`: customer_key, purpose, granted, given_at and source of the word that counts,
        and as_of. People and purposes without a word have no row.
    """
    purpose = pl.col("purpose").str.strip_chars().str.to_lowercase()
    words = events.filter(
        (pl.col("event_day") <= as_of)
        & (pl.col("event") == "consent_updated")
        & pl.col("customer_key").is_not_null()
        & pl.col("granted").is_not_null()
    ).select(
        "customer_key", "account_key", "granted", "source", given_at="event_time", purpose=purpose.replace(_SPELLINGS)
    )
    words = words.filter(pl.col("purpose").is_in(CONSENTED_PURPOSES))
    signed_in = pl.col("account_key").is_not_null()
    accounts = words.filter(signed_in).select(*_VERDICT, "account_key").unique()
    before = words.filter(~signed_in).drop("account_key").join(accounts, on=_VERDICT, how="left")
    order = ["given_at", "granted", "source"]
    columns = [*_VERDICT, "account_key", *order]
    return (
        pl.concat([words.filter(signed_in).select(columns), before.select(columns)])
        .sort(order, descending=[True, False, False])
        .unique([*_VERDICT, "account_key"], keep="first", maintain_order=True)
        .sort("granted", "given_at", "source", descending=[False, True, False])
        .unique(_VERDICT, keep="first", maintain_order=True)
        .select(*_VERDICT, "granted", "given_at", "source", as_of=pl.lit(as_of))
        .sort(_VERDICT)
    )


def consent_counts(consents: pl.DataFrame) -> pl.DataFrame:
    """Count people by purpose and word: columns purpose, granted, people."""
    return (
        consents.group_by("purpose", "granted")
        .agg(people=pl.len())
        .sort("purpose", "granted", descending=[False, True])
    )
