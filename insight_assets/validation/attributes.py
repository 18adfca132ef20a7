"""What describes a customer in a delivered row, for linkage alone: name, postcode, birth date and street.

Attributes leave raw only for the identity vault, sealed under the pseudonym of the customer. Whether two customers who
are described alike are one person is decided in `people.linkage`.
"""

from collections.abc import Callable, Mapping

import polars as pl

SAID: Mapping[str, pl.DataType] = {
    "event_day": pl.Date(), "event_time": pl.Datetime("us", "UTC"), "customer_key": pl.Int64(), "kind": pl.String(),
    "value": pl.String(),
}  # fmt: skip
"""Columns of a statement of a customer: when it was made, of whom, of what kind, and what it says."""


def _words(text: pl.Expr) -> pl.Expr:
    """Leave letters and digits in lower case, one blank between words."""
    return text.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ").str.strip_chars()


def _postcode(text: pl.Expr) -> pl.Expr:
    return _words(text).str.replace_all(" ", "")


def _birth_date(text: pl.Expr) -> pl.Expr:
    """Keep a day written as ISO 8601 has it; any other way of writing could mean another day."""
    return text.str.strip_chars().str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).dt.strftime("%Y-%m-%d")


ATTRIBUTES: Mapping[str, tuple[str, Callable[[pl.Expr], pl.Expr]]] = {
    "name": ("person_name", _words),
    "postcode": ("postcode", _postcode),
    "birth_date": ("birth_date", _birth_date),
    "street": ("street", _words),
}
"""Kind of attribute to the column that a source contract maps to it, and what brings it to its one way of writing."""


def collect_attributes(rows: pl.DataFrame) -> pl.DataFrame:
    """Give what rows say of customers.

    Args:
        rows: accepted rows: event_day, event_time, customer_key and, as delivered, those columns of `ATTRIBUTES` that
            were mapped.

    Returns:
        Columns `SAID`, one row per statement. Rows that name no customer say nothing.
    """
    named = rows.lazy().filter(pl.col("customer_key").is_not_null())
    said = [
        named.select("event_day", "event_time", "customer_key", kind=pl.lit(kind), value=written(pl.col(mapped)))
        for kind, (mapped, written) in ATTRIBUTES.items()
        if mapped in rows.columns
    ]
    return pl.concat([pl.LazyFrame(schema=SAID), *said]).filter(pl.col("value") != "").unique().collect()


def last_said(said: pl.DataFrame) -> pl.DataFrame:
    """Keep what was said last of each customer and kind, the greatest text of a moment; sorted by both."""
    latest = said.sort("event_time", "value").group_by("customer_key", "kind").agg(pl.all().last())
    return latest.select(list(SAID)).sort("customer_key", "kind")
