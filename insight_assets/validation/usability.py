"""How usable a file is before it is landed: rows, span, missing values, broken rules and what to do about each.

Reads one file and writes nothing.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import MEMBER, SourceContract
from insight_assets.ingestion.landing import locate_rows
from insight_assets.ingestion.readers import FileRefused, Limits, decode_rows, read_delivery, read_rows
from insight_assets.validation.mapping import map_rows
from insight_assets.validation.pseudonyms import pseudonymiser

_FIXES = {
    "malformed": (
        "the line has not the columns of the header, is no JSON object, or is not written in the encoding of the "
        "file: mend the export"
    ),
    "event_time.required": "the time cannot be read: set time_format and timezone in the contract",
    "event_time.out_of_range": "the time lies before 1990 or after today: mend the clock or the export",
    "clock_ahead": "the event lies after the moment at which it was known: mend the clock, or name known_at in the contract",
    "too_late": "the row came later than late_days allows: raise it in the contract, or INSIGHT_LATE_DAYS",
    "naive_timestamp": "the time has no offset: deliver one, or name the zone as timezone in the contract",
    "nonexistent_time": "daylight saving skips that time: mend the clock, or the timezone in the contract",
    "not_found": "a row that it names is not in the bundle: deliver the files of one moment together",
    "ambiguous": "rows that it names contradict each other: mend the export",
    "not_mapped": "no mapping of the contract takes the row: widen its `where`",
    "currency.no_rate": "no exchange rate is in force: land date,currency,base_currency,rate in landing/currency_rates",
    "order.one_currency": "lines of one order are in several currencies: mend the export",
    "order.total_differs": "the lines do not add up to what the order says of itself: deliver all lines, or map the amounts anew",
    "type": "a value is not written as its type: mend the export or the transformLogic",
    "required": "a value is missing: deliver it, or map another column",
    "enum": "a value is not in the list: map it in the transformLogic",
    "minimum": "a value is below the smallest allowed: mend the export",
    "maximum": "a value is above the largest allowed: mend the export",
    "pattern": "a value is not written as demanded: mend the export or the transformLogic",
}
_MEANINGS = {
    "malformed": "the row has the shape that the contract declares",
    "event_time.out_of_range": "the event lies between 1990 and the day on which its file arrived",
    "clock_ahead": "the event happened at most an hour after it was known",
    "too_late": "the row was known within late_days of its event",
    "naive_timestamp": "the time says its offset from UTC",
    "nonexistent_time": "the time is one that the zone's clocks showed",
    "not_mapped": "a mapping of the contract takes the row",
    "not_found": "what the row names is in the same bundle",
    "ambiguous": "the rows that it names agree",
    "type": "what is written can be read as the type of its column",
}


@dataclass(frozen=True)
class BrokenRule:
    """A rule that rows broke, how many, and what to do."""

    rule: str
    rows: int
    meaning: str
    fix: str


@dataclass(frozen=True)
class Usability:
    """What a file holds, read against a source contract.

    Attributes:
        file: file name.
        source: source contract.
        refused: why the whole file cannot be read; empty when it can.
        rows: delivered rows.
        first: first event day.
        last: last event day.
        accepted: rows that would be accepted.
        duplicate: rows delivered twice within the file.
        quarantined: rows that would be quarantined.
        budget: largest share of a day that may be quarantined.
        refused_days: days that would not be published.
        missing: delivered column to the share of rows without a value.
        broken: rules that rows broke, most frequent first.
    """

    file: str
    source: str
    refused: str = ""
    rows: int = 0
    first: date | None = None
    last: date | None = None
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    budget: float = 0.0
    refused_days: tuple[str, ...] = ()
    missing: dict[str, float] = dataclasses.field(default_factory=dict)
    broken: tuple[BrokenRule, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the file could be landed and all its days published."""
        return not self.refused and not self.refused_days and self.rows > 0

    def as_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        plain = dataclasses.asdict(self) | {"usable": self.usable}
        return plain | {"first": str(self.first or ""), "last": str(self.last or "")}

    def lines(self) -> Iterator[str]:
        """Tell the report to a person, and what to do next."""
        yield from self.findings()
        if self.refused_days:
            yield f"not publishable: {', '.join(self.refused_days[:10])} above the budget"
        elif self.usable:
            yield f"usable; next: insight land {self.source} {self.file}"

    def findings(self) -> Iterator[str]:
        """Tell what was found."""
        if self.refused:
            yield f"{self.file}: refused: {self.refused}"
            return
        if not self.rows:
            yield f"{self.file}: no rows; nothing to land"
            return
        yield f"{self.file}: {self.rows:,} rows from {self.first} to {self.last}, read as {self.source}"
        yield f"accepted {self.accepted:,}, duplicate {self.duplicate:,}, quarantined {self.quarantined:,} (budget {self.budget:.1%} a day)"
        for name, share in self.missing.items():
            if share > 0:
                yield f"  column {name}: {share:.1%} missing"
        for broken in self.broken:
            yield f"  rule {broken.rule}: {broken.rows:,} rows. {broken.meaning}. Fix: {broken.fix}"


def check_source(
    path: Path,
    source: SourceContract,
    *,
    shop_timezone: str,
    max_file_bytes: int,
    limits: Limits | None = None,
    budget: float | None = None,
) -> Usability:
    """Read a file against a source contract.

    Args:
        path: the file.
        source: the contract.
        shop_timezone: the shop's time zone.
        max_file_bytes: decompressed size above which it is refused.
        limits: what else it may not exceed.
        budget: largest share of a day that may be quarantined; the contract's by default.
    """
    budget = source.reject_budget if budget is None else budget
    try:
        raw = read_rows(read_delivery(path, max_bytes=max_file_bytes, limits=limits), source, limits)
        landed_at = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        raw = locate_rows(raw, source, shop_timezone=shop_timezone, landed_on=landed_at.date())
    except FileRefused as refusal:
        return Usability(path.name, source.name, refused=f"{refusal.rule}: {refusal}")
    if raw.is_empty():
        return Usability(path.name, source.name)
    raw = raw.with_columns(file_hash=pl.lit(path.name), landed_at=pl.lit(landed_at))
    # Identities only have to be told apart here, so any key will do.
    mapped = map_rows(raw, source, pseudonym=pseudonymiser(b"check"), shop_timezone=shop_timezone)
    decoded = decode_rows(raw, source)
    rules = mapped.rejected.group_by("rule").len().sort(["len", "rule"], descending=[True, False])
    by_day = raw.join(mapped.rejected.select("file_hash", "line", rejected=True), on=["file_hash", "line"], how="left")
    over = (
        by_day.group_by("event_day")
        .agg(share=pl.col("rejected").fill_null(value=False).mean())
        .filter(pl.col("share") > budget)
        .sort("event_day")
    )
    meanings = _meanings(source)
    return Usability(
        path.name, source.name, rows=raw.height, first=raw["event_day"].min(), last=raw["event_day"].max(),
        accepted=mapped.accepted, duplicate=mapped.duplicate, quarantined=mapped.quarantined,
        budget=budget, refused_days=tuple(str(day) for day in over["event_day"]),
        missing=_missing(decoded, source),
        broken=tuple(
            BrokenRule(rule, rows, meanings.get(rule) or _meaning(rule), _fix(rule)) for rule, rows in rules.iter_rows()
        ),
    )


def _missing(decoded: pl.DataFrame, source: SourceContract) -> dict[str, float]:
    """Give the share of rows without a value, by column; in a bundle by file and column."""
    parts = [("", source.delivered, decoded)]
    if source.members:
        files = [member for member in source.members if member.reads is None]
        parts = [(f"{m.name}.", m.columns, decoded.filter(pl.col(MEMBER) == m.name)) for m in files]
    return {
        before + column.name: rows[column.name].is_null().mean()
        for before, columns, rows in parts
        for column in columns
        if not column.items and rows.height
    }


def _meanings(source: SourceContract) -> dict[str, str]:
    return {
        rule.name: rule.description
        for table in dict.fromkeys(mapping.table for mapping in source.mappings)
        for rule in contract(table).row_rules()
    }


def _meaning(rule: str) -> str:
    return _MEANINGS.get(rule) or _MEANINGS.get(rule.rsplit(".", 1)[-1]) or _MEANINGS["type"]


def _fix(rule: str) -> str:
    return _FIXES.get(rule) or _FIXES.get(rule.rsplit(".", 1)[-1]) or "mend the export, or the mapping in the contract"
