"""One fast and exact way to put events in time order within a customer or actor.

Order only: what is done with the ordered rows belongs to the feature that asks.
"""

import polars as pl

_SECOND_BITS = 31
TIES = ("event_time", "event_id", "source")


def time_order(frame: pl.DataFrame, key: str) -> pl.Series:
    """Give the positions of the rows in the order of (key, `event_time`, `event_id`, `source`).

    One sort of a packed integer (key, second) is many times faster than one over four columns; only
    the rows that share key and second are then put in order by the rest.

    Args:
        frame: events with `event_time`, `event_id`, `source` and the key; no nulls; times within
            68 years.
        key: integer column that comes first in the order.

    Returns:
        Row positions, UInt32, as long as the frame.
    """
    seconds = pl.col("event_time").dt.epoch("s")
    packed = frame.select(
        packed=pl.col(key).rank("dense").cast(pl.Int64) * 2**_SECOND_BITS + seconds - seconds.min()
    )["packed"]
    order = packed.arg_sort()
    placed = pl.DataFrame({"packed": packed[order], "row": order}).with_row_index("at")
    as_before = (pl.col("packed") == pl.col("packed").shift(1)).fill_null(value=False)
    tied = placed.filter(as_before | as_before.shift(-1, fill_value=False))
    if tied.is_empty():
        return order
    exact = tied.with_columns(frame.select(TIES)[tied["row"]]).sort("packed", *TIES)
    return order.scatter(tied["at"], exact["row"])
