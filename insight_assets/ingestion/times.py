"""Reading of written times: formats, offsets, zones, clocks of devices, and the shop's day.

Only expressions over text; which columns hold the times is in the source contract. Landing, which files rows by day,
and validation, which judges them, read the same moments here.
"""

from dataclasses import dataclass, replace

import polars as pl

from insight_assets.contracts.sources import EPOCHS, SourceContract

SHOP = "shop"
NO_ZONE = "none"
NAIVE_TIMESTAMP = "naive_timestamp"
NONEXISTENT_TIME = "nonexistent_time"
NO_TIME = "event_time.required"
_COUNT = r"^-?\d{1,17}(?:\.\d+)?$"
_TO_MICRO = r"^-?\d+(?:\.\d{1,6})?"
# An offset stands after a time of day; "2025-01-01" ends with none.
_OFFSET = r":\d{2}(?:\.\d+)?\s?(?:[zZ]|[+-]\d{2}(?::?\d{2})?|UTC|GMT)$"
_OFFSETS = {
    r"\s?(?:UTC|GMT)$": "Z",
    r"([+-]\d{2})$": "${1}:00",
    # The parser wants seconds.
    r"([T\s]\d{2}:\d{2})(\s?(?:[zZ]|[+-]\d{2}:?\d{2}))$": "${1}:00${2}",
}


def parse_time(text: pl.Expr, source: SourceContract, *, shop_timezone: str) -> pl.Expr:
    """Parse a column of written times.

    Args:
        text: the written times.
        source: declares `time_format` (`iso`, `epoch_s`, `epoch_ms`, `epoch_us` or a strftime format) and `timezone`,
            the zone of times without offset; `none` reads no time without one.
        shop_timezone: zone meant by `timezone: shop`.

    Returns:
        Times in UTC, microseconds; null where a time cannot be read or never was (the hour that daylight saving
        skips). Of an hour that daylight saving repeats, the earlier one is taken.
    """
    zone = shop_timezone if source.timezone == SHOP else source.timezone
    text = text.str.strip_chars()
    if source.time_format in EPOCHS:
        return _since_epoch(text, EPOCHS[source.time_format])
    if "%z" in source.time_format:
        return text.str.to_datetime(source.time_format, strict=False, time_unit="us", time_zone="UTC")
    if source.time_format != "iso":
        wanted = source.time_format
        if "%H" in wanted and "%M" not in wanted:
            # Polars reads no hour without its minute.
            text, wanted = text + ":00", wanted + ":%M"
        return _localise(text.str.to_datetime(wanted, strict=False, time_unit="us"), zone)
    has_offset = text.str.contains(_OFFSET)
    # Each parser is given only what it may read: `when` alone would run all of them over every row.
    written = pl.when(has_offset).then(text)
    for pattern, plain in _OFFSETS.items():
        written = written.str.replace(pattern, plain)
    aware = written.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    if zone == NO_ZONE:
        return aware
    naive = pl.when(~has_offset).then(text.str.replace("T", " ", literal=True))
    to_second = naive.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    rest = pl.when(to_second.is_null()).then(naive)
    local = pl.coalesce(
        to_second,
        rest.str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="us"),
        rest.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    return pl.when(has_offset).then(aware).otherwise(_localise(local, zone))


def _since_epoch(text: pl.Expr, microseconds: int) -> pl.Expr:
    """Read a count since 1970 in UTC; what lies beyond a microsecond is cut off."""
    count = text.str.extract(_COUNT, 0).str.extract(_TO_MICRO, 0).cast(pl.Decimal(38, 6), strict=False)
    return (count * microseconds).cast(pl.Int64, strict=False).cast(pl.Datetime("us", "UTC"))


def _localise(naive: pl.Expr, zone: str) -> pl.Expr:
    return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


@dataclass(frozen=True)
class Moments:
    """When a row happened and when it was known, as expressions over its delivered columns.

    Attributes:
        event_time: received - (sent - created) where all three clocks can be read, else the time column; UTC.
        known_at: when the shop could have known the row, UTC; null where that is not delivered or cannot be read.
        clock_skew: seconds by which the device's clock was ahead when it sent, the way to the server included; null
            where the clocks cannot be read.
    """

    event_time: pl.Expr
    known_at: pl.Expr
    clock_skew: pl.Expr


def time_columns(source: SourceContract) -> set[str]:
    """Name the delivered columns that the moments of a row are read from."""
    named = {source.time_column, source.known_at, source.clock_sent, source.clock_received, source.clock_created}
    return named - {None, "event_time"}


def transport_columns(source: SourceContract) -> set[str]:
    """Name the delivered columns that tell how a row travelled, which a second delivery of it has anew.

    The time column is one of them where the device's own clock is delivered: the server corrects it with each journey.
    """
    travelled = {source.known_at, source.clock_sent, source.clock_received} - {None, "event_time"}
    return travelled | ({source.time_column} if source.clock_created is not None else set())


def read_moments(source: SourceContract, *, shop_timezone: str) -> Moments:
    """Give the moments of delivered rows.

    Args:
        source: names the columns and says how times are written.
        shop_timezone: the shop's time zone.

    Returns:
        Expressions over the columns that `time_columns` names. A device's clock may be hours or decades off: what
        counts is how long it waited before it sent, and when the server received that.
    """

    def read(name: str) -> pl.Expr:
        return parse_time(pl.col(name), source, shop_timezone=shop_timezone)

    event_time, skew = read(source.time_column), pl.lit(None, dtype=pl.Float64)
    if source.clock_sent and source.clock_received and source.clock_created:
        ahead = read(source.clock_sent) - read(source.clock_received)
        event_time = pl.coalesce(read(source.clock_created) - ahead, event_time)
        skew = ahead.dt.total_microseconds() / 1e6
    known_at = event_time if source.known_at == "event_time" else read(source.known_at)
    return Moments(event_time, known_at, skew)


def time_fault(source: SourceContract, *, shop_timezone: str) -> pl.Expr:
    """Name the rule that a row without a readable event time breaks.

    Args:
        source: names the time column and says how times are written.
        shop_timezone: the shop's time zone.

    Returns:
        `naive_timestamp` for a time without offset where the contract declares no zone, `nonexistent_time` for a
        moment that daylight saving skips, else `event_time.required`.
    """
    anywhere = parse_time(pl.col(source.time_column), replace(source, timezone="UTC"), shop_timezone=shop_timezone)
    rule = NAIVE_TIMESTAMP if source.timezone == NO_ZONE else NONEXISTENT_TIME
    return pl.when(anywhere.is_not_null()).then(pl.lit(rule)).otherwise(pl.lit(NO_TIME))


def event_day(time: pl.Expr, shop_timezone: str) -> pl.Expr:
    """Give the calendar day of a UTC time in the shop's time zone."""
    return time.dt.convert_time_zone(shop_timezone).dt.date()
