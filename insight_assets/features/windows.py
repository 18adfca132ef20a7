"""Sums over windows of days, all windows at once: by bucket of age first, then added up from the newest bucket on.

Whole numbers only, so that neither the order of rows nor the way they are cut changes a bit. What is summed, and what
becomes of it, belongs to the features that ask.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

WINDOWS = (1, 3, 7, 14, 30, 60, 90, 180, 365)
"""Lengths in days; a window of n days is the as-of day and the n - 1 days before it."""


def windowed(name: str, window: int | None) -> str:
    """Name a sum over a window; None is the whole past."""
    return f"{name}_lifetime" if window is None else f"{name}_{window}d"


def sum_windows(
    days: pl.LazyFrame, keys: pl.Series, *, key: str, wanted: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Add daily numbers up over windows.

    Args:
        days: rows with the key, `age` (days before the as-of day, from 0) and the columns of `wanted`, whole numbers;
            ages beyond the longest window are ignored.
        keys: distinct keys in ascending order; rows of other keys are ignored.
        key: name of the key column.
        wanted: column to the windows to add it up over, each one of `WINDOWS`.

    Returns:
        Name of each sum (see `windowed`) to its Int64 values, in the order of `keys`.
    """
    place = pl.DataFrame({key: keys, "place": np.arange(len(keys), dtype=np.int64)}).lazy()
    bucket = pl.lit(0, pl.Int64)
    for window in WINDOWS[:-1]:
        bucket = bucket + (pl.col("age") >= window).cast(pl.Int64)
    width = len(WINDOWS)
    sums = (
        days.filter(pl.col("age") < WINDOWS[-1])
        .join(place, on=key, maintain_order="none")
        .group_by(slot=pl.col("place") * width + bucket)
        .agg(pl.col(name).cast(pl.Int64).sum() for name in wanted)
        .collect()
    )
    slots = sums["slot"].to_numpy()
    found: dict[str, np.ndarray] = {}
    for name, windows in wanted.items():
        table = np.zeros(len(keys) * width, dtype=np.int64)
        table[slots] = sums[name].to_numpy()
        running = table.reshape(-1, width)
        np.cumsum(running, axis=1, out=running)
        for window in windows:
            found[windowed(name, window)] = running[:, WINDOWS.index(window)].copy()
    return found


def ratio(part: pl.Expr, whole: pl.Expr, *, when: pl.Expr | None = None) -> pl.Expr:
    """Divide one sum by another; null where the whole is nothing, or the condition does not hold."""
    held = whole > 0
    return pl.when(held if when is None else held & when).then(part / whole)
