"""Reading of written times: formats, offsets, zones, and the shop's day.

Only expressions over text; which column holds the time is in the source contract.
"""

import polars as pl

from insight_assets.contracts.sources import SourceContract

SHOP = "shop"
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
        source: declares `time_format` (`iso` or a strftime format) and `timezone`, the zone of times without offset.
        shop_timezone: zone meant by `timezone: shop`.

    Returns:
        Times in UTC, microseconds; null where a time cannot be read or never was (the hour that daylight saving
        skips). Of an hour that daylight saving repeats, the earlier one is taken.
    """
    zone = shop_timezone if source.timezone == SHOP else source.timezone
    text = text.str.strip_chars()
    if source.time_format != "iso":
        return _localise(text.str.to_datetime(source.time_format, strict=False, time_unit="us"), zone)
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


def _localise(naive: pl.Expr, zone: str) -> pl.Expr:
    return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


def event_day(time: pl.Expr, shop_timezone: str) -> pl.Expr:
    """Give the calendar day of a UTC time in the shop's time zone."""
    return time.dt.convert_time_zone(shop_timezone).dt.date()
