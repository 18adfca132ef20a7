"""Reading of written times: formats, offsets, zones, and the shop's day.

Only expressions over text; which column holds the time is in the source contract.
"""

import polars as pl

from insight_assets.contracts.sources import SourceContract

SHOP = "shop"
_OFFSET = r"(?:[zZ]|[+-]\d{2}:?\d{2}|\sUTC)$"


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
    plain = text.str.replace(r"\sUTC$", "Z")
    aware = plain.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    naive = text.str.replace("T", " ", literal=True)
    local = pl.coalesce(
        naive.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us"),
        naive.str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="us"),
        naive.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    return pl.when(text.str.contains(_OFFSET)).then(aware).otherwise(_localise(local, zone))


def _localise(naive: pl.Expr, zone: str) -> pl.Expr:
    return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


def event_day(time: pl.Expr, shop_timezone: str) -> pl.Expr:
    """Give the calendar day of a UTC time in the shop's time zone."""
    return time.dt.convert_time_zone(shop_timezone).dt.date()
