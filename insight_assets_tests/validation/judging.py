"""Validation without a lake: delivered text in, validated days out."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import polars as pl

from insight_assets.contracts.sources import SourceContract
from insight_assets.ingestion.landing import locate_rows
from insight_assets.ingestion.raw import raw_contract, stamp_rows
from insight_assets.ingestion.readers import Delivery, read_rows
from insight_assets.validation.currencies import Exchange
from insight_assets.validation.pseudonyms import pseudonymiser
from insight_assets.validation.publishing import ValidatedDay, validate_day

KEY = b"a key for tests, 32 bytes long.."
PSEUDONYM = pseudonymiser(KEY)
SHOP = "Asia/Shanghai"
LANDED_AT = datetime(2025, 6, 1, tzinfo=UTC)
LANDED_ON = LANDED_AT.date()


def raw_rows(source: SourceContract, *files: str | bytes | Delivery, shop: str = SHOP) -> pl.DataFrame:
    """Read the raw rows of files named by their place, or of deliveries."""
    read = []
    for place, content in enumerate(files):
        delivery = content if isinstance(content, Delivery) else _delivery(f"file {place}", content)
        digest = delivery.content_hash
        rows = read_rows(delivery, source)
        placed = locate_rows(rows, source, shop_timezone=shop, landed_on=LANDED_ON)
        read.append(
            stamp_rows(
                placed, source, content_hash=digest, name=f"file {place}", landed_at=LANDED_AT, is_correction=False
            )
        )
    of = raw_contract(source)
    return pl.concat([of.empty(), *(of.conform(rows).collect() for rows in read)]).unique(["file_hash", "line"])


def _delivery(name: str, content: str | bytes) -> Delivery:
    data = content.encode() if isinstance(content, str) else content
    return Delivery(name, hashlib.sha256(data).hexdigest()[:32], data)


def validate(
    source: SourceContract, *files: str | bytes | Delivery, shop: str = SHOP, order: Iterable[int] | None = None,
    exchange: Exchange = Exchange(),
) -> dict[date, ValidatedDay]:
    """Validate the days of files; `order` shuffles the raw rows first."""
    raw = raw_rows(source, *files, shop=shop)
    if order is not None:
        raw = raw.with_columns(pl.Series("shuffled", list(order)[: raw.height])).sort("shuffled").drop("shuffled")
    return validate_raw(source, raw, shop=shop, exchange=exchange)


def validate_raw(
    source: SourceContract, raw: pl.DataFrame, *, shop: str = SHOP, exchange: Exchange = Exchange()
) -> dict[date, ValidatedDay]:
    """Validate the days of raw rows, each with a look back at the days before it."""
    days = {key[0]: rows for key, rows in raw.partition_by("event_day", as_dict=True).items()}
    return {
        day: validate_day(
            day, {source.name: rows}, {source.name: source}, pseudonym=PSEUDONYM, shop_timezone=shop, budgets={},
            exchange=exchange, earlier={source.name: _before(raw, day, rows["identity"])},
        )
        for day, rows in days.items()
    }  # fmt: skip


def _before(raw: pl.DataFrame, day: date, identities: pl.Series) -> pl.DataFrame:
    window = pl.col("event_day").is_between(day - timedelta(days=30), day - timedelta(days=1))
    return raw.filter(window & pl.col("identity").is_in(identities.drop_nulls().implode()))


def verdicts(days: dict[date, ValidatedDay]) -> dict[tuple[str, int], str]:
    """Give file name and line of each quarantined row, and the rules it broke."""
    found = pl.concat([day.tables["quarantine"] for day in days.values()])
    return {(name, line): rules for name, line, rules in found.select("file_name", "line", "rules").iter_rows()}


def totals(days: dict[date, ValidatedDay]) -> tuple[int, int, int, int]:
    """Give delivered, accepted, duplicate and quarantined rows."""
    accounts = [account for day in days.values() for account in day.accounts]
    return (
        sum(a.read for a in accounts), sum(a.accepted for a in accounts), sum(a.duplicate for a in accounts),
        sum(a.quarantined for a in accounts),
    )  # fmt: skip


def content(days: dict[date, ValidatedDay], table: str) -> list[tuple]:
    """Give the rows of a table, leaving out where they stood in which file."""
    frame = pl.concat([day.tables[table] for day in days.values()]).drop("file_hash", "line", strict=False)
    return sorted(frame.rows(), key=repr)
