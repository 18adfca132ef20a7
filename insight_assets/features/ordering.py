"""One fast and exact way to put events in time order within a customer or actor.

Order only: what is done with the ordered rows belongs to the feature that asks.
"""

import polars as pl

_SECOND_BITS = 31


def time_order(events: pl.DataFrame, key: str) -> pl.Series:
    """Give the positions of events in the order of (key, `event_time`, `event_id`, `source`).

    One sort of a packed integer (key, second) is many times faster than one over four columns; only
    the rows that share key and second are then put in order by the rest.

    Args:
        events: holds these columns, without nulls; times within 68 years.
        key: integer column that comes first in the order.

    Returns:
        Row positions, UInt32, as long as the frame.
    """
    seconds = pl.col("event_time").dt.epoch("s")
    packed = events.select(
        packed=pl.col(key).rank("dense").cast(pl.Int64) * 2**_SECOND_BITS + seconds - seconds.min()
    )["packed"]
    rows = packed.arg_sort()
    as_before = (pl.col("packed") == pl.col("packed").shift(1)).fill_null(value=False)
    tied = pl.DataFrame({"packed": packed[rows]}).select(
        as_before | as_before.shift(-1, fill_value=False)
    )["packed"]
    if not tied.any():
        return rows
    order = (key, "event_time", "event_id", "source")
    open_rows = rows.filter(tied)
    exact = events.select(order)[open_rows].with_columns(row=open_rows).sort(order)["row"]
    return rows.scatter(tied.arg_true(), exact)
