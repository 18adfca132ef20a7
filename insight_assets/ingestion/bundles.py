"""Related files delivered together: what the rows of one file look up in the others.

A shop's database exports a table a file, and only some tables know when something happened and to whom. Such files
land as one zip archive, a *bundle*. We weighed landing each file as a source of its own, rows waiting until what they
name has landed elsewhere, and decided against it: whether a row is an orphan or only early could then never be told,
so its outcome would depend on the order of arrival. A folder would need a rule for when it is whole; an archive
ends with its own table of contents, so that a cut one cannot be opened. It is one delivery with one identity, and an
archive that lands under the same name, mended or with the orders of another month beside the old ones, replaces the
whole of it.

Each delivered row becomes one raw row: the columns of its file, then what it looked up, then the time it happened. The
rest of the flow reads a bundle as it reads a csv file. Opening archives is in `archives.py`, reading a single file in
`readers.py`; what the rows mean is in the contract and in `validation`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl

from insight_assets.contracts.sources import MEMBER, MEMBER_TIME, NOT_FOUND, Lookup, Member, SourceContract
from insight_assets.ingestion.lines import BROKEN
from insight_assets.ingestion.times import parse_time

# A raw row is known by its file and line; in a bundle the digits above these say which member.
LINES_OF_A_MEMBER = 1_000_000_000
_AMOUNT = pl.Decimal(38, 4)
_FOUND = "found"
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
# Fewer than one row in a thousand with a wrong clock do not decide when a shop began.
_STRAY_SHARE = 0.001


def join_members(files: Mapping[str, pl.DataFrame], source: SourceContract) -> pl.DataFrame:
    """Put the rows of related files together, each beside what it looks up.

    Args:
        files: member to the rows of its file: `line`, the delivered columns as text, `extra` and `broken`; members
            that read another's file again and optional ones may be missing.
        source: a contract with members.

    Returns:
        Rows by member and line, with the columns of `source.delivered`, `extra`, `broken` and a `line` that no other
        row of the bundle has: its member's place in the contract times a thousand million, plus its line. `not_found`
        names the rules of lookups that had to find something and did not, or found rows that disagree. Rows of
        dictionaries happen when the bundle's other rows begin.
    """
    nothing = {column.name: pl.String() for column in source.delivered}
    joined = [pl.DataFrame(schema={"line": pl.Int64()} | nothing | {"extra": pl.String(), BROKEN: pl.String()})]
    for place, member in enumerate(source.members, start=1):
        rows = files.get(member.reads or member.name)
        if rows is not None:
            numbered = _join_member(rows, files, member).with_columns(pl.col("line") + place * LINES_OF_A_MEMBER)
            joined.append(numbered)
    together = pl.concat(joined, how="diagonal")
    timeless = [member.name for member in source.members if member.time is None]
    beginning = pl.lit(_beginning(together, source), dtype=pl.String)
    is_timeless = pl.col(MEMBER).is_in(timeless) & pl.col(BROKEN).is_null()
    return together.with_columns(pl.when(is_timeless).then(beginning).otherwise(MEMBER_TIME).alias(MEMBER_TIME))


def _join_member(rows: pl.DataFrame, files: Mapping[str, pl.DataFrame], member: Member) -> pl.DataFrame:
    missed = [pl.lit(None, dtype=pl.String)]
    for place, lookup in enumerate(member.lookups):
        outcome = f"outcome {place}"
        answers = _answers(files.get(lookup.member), lookup, outcome)
        rows = rows.join(answers, on=lookup.on, how="left", maintain_order="left")
        if lookup.required:
            told = pl.col(outcome).fill_null(pl.lit(f"{lookup.member}.not_found"))
            missed.append(pl.when(told != _FOUND).then(told))
    whole = pl.col(BROKEN).is_null()
    rules = pl.concat_str(missed, separator=" ", ignore_nulls=True)
    rows = rows.with_columns(
        pl.lit(member.name).alias(MEMBER),
        (pl.lit(None, dtype=pl.String) if member.time is None else pl.sql_expr(member.time)).alias(MEMBER_TIME),
        pl.when(whole & (rules != "")).then(rules).alias(NOT_FOUND),
    ).drop(pl.selectors.starts_with("outcome "))
    if member.reads is not None:
        rows = rows.filter(whole)
    return rows if member.where is None else rows.filter(pl.sql_expr(member.where))


def _answers(theirs: pl.DataFrame | None, lookup: Lookup, outcome: str) -> pl.DataFrame:
    """Give what one lookup finds, one row a value that is looked up; `outcome` is the rule where rows disagree."""
    names = [lookup.on, *lookup.take, *lookup.sum, BROKEN]
    theirs = pl.DataFrame(schema=dict.fromkeys(names, pl.String())) if theirs is None else theirs
    amounts = {name: pl.col(name).str.strip_chars().cast(_AMOUNT, strict=False) for name in lookup.sum}
    # What cannot be read must not pass for nothing: it stands in for the sum, and its type is refused.
    sums = {
        name: pl.when(amount.is_null().any())
        .then(pl.col(name).filter(amount.is_null()).fill_null("").min())
        .otherwise(amount.sum().cast(pl.String))
        for name, amount in amounts.items()
    }
    disagree = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).n_unique() > 1 for name in lookup.take))
    return (
        theirs.filter(pl.col(BROKEN).is_null() & pl.col(lookup.on).is_not_null())
        .group_by(lookup.on)
        .agg(
            *(pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name) for name in lookup.take),
            *(total.alias(name) for name, total in sums.items()),
            pl.when(disagree).then(pl.lit(f"{lookup.member}.ambiguous")).otherwise(pl.lit(_FOUND)).alias(outcome),
        )
    )


def _beginning(rows: pl.DataFrame, source: SourceContract) -> str | None:
    """Find when a bundle's rows begin, as it is written there."""
    written = pl.col(MEMBER_TIME)
    times = (
        rows.select(written, at=parse_time(written, source, shop_timezone="UTC"))
        .filter(pl.col("at") >= _EARLIEST)
        .sort("at", MEMBER_TIME)
    )
    return times[MEMBER_TIME][int(_STRAY_SHARE * (times.height - 1))] if times.height else None
