"""Reading of written times: formats, offsets, zones, and the shop's day.

Only expressions over text; which column holds the time is in the source contract.
"""

import polars as pl

from insight_assets.contracts.sources import EPOCHS, SourceContract

SHOP = "shop"
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
            the zone of times without offset.
        shop_timezone: zone meant by `timezone: shop`.

    Returns:
        Times in UTC, microseconds; null where a time cannot be read or never was (the hour that daylight saving
        skips). Of an hour that daylight saving repeats, the earlier one is taken.
    """
    zone = shop_timezone if source.timezone == SHOP else source.timezone
    text = text.str.strip_chars()
    if source.time_format in EPOCHS:
        return _since_epoch(text, EPOCHS[source.time_format])
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


def event_day(time: pl.Expr, shop_timezone: str) -> pl.Expr:
    """Give the calendar day of a UTC time in the shop's time zone."""
    return time.dt.convert_time_zone(shop_timezone).dt.date()
