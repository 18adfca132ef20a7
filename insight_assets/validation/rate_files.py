"""Files of exchange rates: what they quote, what in them cannot be used, and which days they would change.

Reads the folder `currency_rates` of the landing folder, CSV files with the columns `date`, `currency`, `base_currency`
and `rate`, and writes nothing. Which rate is in force on a day is decided in `currencies.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.rules import judge
from insight_assets.ingestion.landing import complete_files
from insight_assets.lake import hash_frame
from insight_assets.validation.currencies import RATE, rates_in_force

RATES = "currency_rates"
COLUMNS = ("date", "currency", "base_currency", "rate")
Signature = tuple[tuple[str, int, int], ...]
_QUOTED = pl.Schema({"rate_date": pl.Date, "currency": pl.String, "base_currency": pl.String, "exchange_rate": RATE})
_KEY = [name for name in _QUOTED if name != "exchange_rate"]
_TOLD = 20


@dataclass(frozen=True)
class Quotes:
    """What rate files say.

    Attributes:
        rates: `rate_date`, `currency`, `base_currency`, `exchange_rate`; one row a pair and date, that of the file
            that was delivered last.
        refused: what could not be used, as `file:line: why`; at most `_TOLD` of them.
        refused_lines: number of lines that could not be used.
    """

    rates: pl.DataFrame
    refused: tuple[str, ...]
    refused_lines: int


def rate_signature(folder: Path) -> Signature:
    """Name, size and time of change of each rate file, the earliest delivered first."""
    if not folder.is_dir():
        return ()
    files = [(path, path.stat()) for path in complete_files(folder) if path.suffix == ".csv"]
    ordered = sorted(files, key=lambda each: (each[1].st_mtime_ns, each[0].name))
    return tuple((path.name, stat.st_size, stat.st_mtime_ns) for path, stat in ordered)


def read_quotes(folder: Path) -> Quotes:
    """Read all rate files of a folder; a folder that does not exist quotes nothing."""
    read, refused = _read(folder)
    quoted = read.select(_QUOTED.names()).unique(_KEY, keep="last", maintain_order=True)
    return Quotes(quoted, tuple(refused[:_TOLD]), len(refused))


def known_quotes(folder: Path, known_by: datetime) -> pl.DataFrame:
    """Give the rates as they were known at a moment, as the columns of a rate file.

    A rate is known from its own date on, however late its history was delivered; a correction of it is known once it
    has landed.

    Args:
        folder: folder of the rate files.
        known_by: the moment, in the shop's time zone.
    """
    read, _ = _read(folder)
    read = read.filter(pl.col("rate_date") <= known_by.date())
    in_time = pl.col("landed_at") <= known_by
    # Of what landed in time the last word counts, else the first that came after.
    return (
        pl.concat([read.filter(~in_time).reverse(), read.filter(in_time)])
        .unique(_KEY, keep="last", maintain_order=True)
        .select(date="rate_date", currency="currency", base_currency="base_currency", rate="exchange_rate")
        .sort(COLUMNS)
    )


def _read(folder: Path) -> tuple[pl.DataFrame, list[str]]:
    """Give every usable line in the order of delivery, and why the others are not."""
    good, refused = [pl.DataFrame(schema={**_QUOTED, "landed_at": pl.Datetime("us", "UTC")})], []
    for name, _, landed in rate_signature(folder):
        try:
            text = pl.read_csv(folder / name, infer_schema=False, truncate_ragged_lines=True)
        except pl.exceptions.PolarsError:
            refused.append(f"{name}: no csv file in UTF-8")
            continue
        if missing := [column for column in COLUMNS if column not in text.columns]:
            refused.append(f"{name}: lacks {', '.join(missing)}; the columns are {', '.join(COLUMNS)}")
            continue
        read = text.with_row_index("at", offset=2).select(
            "at",
            pl.col("date").str.to_date("%Y-%m-%d", strict=False).alias("rate_date"),
            pl.col("currency", "base_currency").str.strip_chars(),
            pl.col("rate").str.strip_chars().cast(RATE, strict=False).alias("exchange_rate"),
        )
        judged = judge(read.lazy().with_columns(event_day="rate_date"), contract(RATES).row_rules()).collect()
        bad = judged.filter(pl.col("rule").is_not_null())
        refused += [f"{name}:{at}: {rules}" for at, rules in bad.select("at", "rules").iter_rows()]
        landed_at = pl.lit(datetime.fromtimestamp(landed / 1e9, tz=UTC), dtype=pl.Datetime("us", "UTC"))
        usable = judged.filter(pl.col("rule").is_null())
        good.append(usable.select(*_QUOTED.names(), landed_at=landed_at))
    return pl.concat(good), refused


def changed_days(folder: Path, recorded: Mapping[date, str], days: Sequence[date], *, max_age_days: int) -> set[date]:
    """Find the days whose rates in force are not those that were published.

    Args:
        folder: folder of the rate files.
        recorded: day to the content hash of its published partition.
        days: days to look at.
        max_age_days: how many days a rate stays in force after its own.
    """
    if not days:
        return set()
    wanted = _hashes(folder, rate_signature(folder), min(days), max(days), max_age_days)
    return {day for day in days if day in recorded and recorded[day] != wanted[day]}


@lru_cache(maxsize=4)
def _hashes(folder: Path, signature: Signature, first: date, last: date, max_age_days: int) -> dict[date, str]:
    of, days = contract(RATES), pl.date_range(first, last, eager=True)
    if not signature:
        return dict.fromkeys(days, hash_frame(of.empty(), of))
    quoted = read_quotes(folder).rates.lazy()
    return {
        day: hash_frame(of.conform(rates_in_force(quoted, day, max_age_days=max_age_days)).collect(), of)
        for day in days
    }
