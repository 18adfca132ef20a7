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
    rows = days.select(key, *{"age", *wanted}).collect()
    placed = rows.lazy().select(key, "age").join(place, on=key, how="left", maintain_order="left").collect()
    if placed["place"].has_nulls():
        known = placed["place"].is_not_null()
        rows, placed = rows.filter(known), placed.filter(known)
    ages, places = (placed[name].to_numpy() for name in ("age", "place"))
    slots: dict[tuple[int, ...], np.ndarray] = {}
    found: dict[str, np.ndarray] = {}
    for name, windows in wanted.items():
        spans = tuple(sorted(windows))
        if spans not in slots:
            slots[spans] = np.searchsorted(spans, ages, side="right") * len(keys) + places
        # Most keys have few days and most numbers are 0: a group by would hash every row to add next to nothing up.
        numbers = rows[name].cast(pl.Int64).fill_null(0).to_numpy()
        told = np.flatnonzero(numbers)
        # What is older than the longest window goes into a last line, which nobody reads.
        table = np.zeros((len(spans) + 1, len(keys)), dtype=np.int64)
        np.add.at(table.reshape(-1), slots[spans][told], numbers[told])
        for number, window in enumerate(spans):
            if number:
                table[number] += table[number - 1]
            found[windowed(name, window)] = table[number]
    return found


def ratio(part: pl.Expr, whole: pl.Expr, *, when: pl.Expr | None = None) -> pl.Expr:
    """Divide one sum by another; null where the whole is nothing, or the condition does not hold."""
    held = whole > 0
    return pl.when(held if when is None else held & when).then(part / whole)
