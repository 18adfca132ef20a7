"""Event sequences as jagged arrays, and padded batches of them without a Python loop per row.

Turns rows of the contract `event_sequences` into flat NumPy arrays with offsets, and those into
batches. No network and no label belongs here.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class JaggedEvents:
    """Events of n customers, one after the other.

    Attributes:
        offsets: Shape (n + 1,), int64: customer i owns events offsets[i] to offsets[i + 1].
        kinds: Shape (events,), int64, code of the kind from 0.
        products: Shape (events,), int64, bucket of the product; 0 when there is none.
        categories: Shape (events,), int64, bucket of the category; 0 when there is none.
        numbers: Shape (events, 3), float32: log(1 + days since the event before), log(1 + days to
            the end of the as-of day), sign(value) log(1 + |value|).
    """

    offsets: np.ndarray
    kinds: np.ndarray
    products: np.ndarray
    categories: np.ndarray
    numbers: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Events of each customer, shape (n,)."""
        return np.diff(self.offsets)


def jagged_events(
    sequences: pl.DataFrame,
    *,
    as_of: str,
    max_events: int,
    product_buckets: int,
    category_buckets: int,
) -> JaggedEvents:
    """Lay the last events of every row out flat.

    Args:
        sequences: Rows with the list columns of the contract `event_sequences` and a date column
            that says as of which day they are; n rows. A null list holds no event.
        as_of: Name of that date column.
        max_events: Most events kept of a row: the last ones.
        product_buckets: Products are hashed into buckets 1 to this number.
        category_buckets: Categories are hashed into buckets 1 to this number.

    Returns:
        The events in the order of the rows.
    """
    names = ("kinds", "times", "products", "categories", "values")
    cut = sequences.select(
        as_of, *(pl.col(name).fill_null([]).list.tail(max_events) for name in names)
    )
    lengths = cut["kinds"].list.len().to_numpy().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = {name: cut[name].explode(empty_as_null=False) for name in names}
    times = flat["times"].cast(pl.Int64).to_numpy()
    ends = np.array([_end_of_day(day) for day in cut[as_of]], dtype=np.int64)
    gaps = np.diff(times, prepend=times[:1])
    gaps[offsets[:-1][lengths > 0]] = 0
    ages = np.repeat(ends, lengths) - times
    values = flat["values"].cast(pl.Float64).fill_null(0).to_numpy()
    numbers = np.stack(
        [
            np.log1p(np.maximum(gaps, 0) / SECONDS_PER_DAY),
            np.log1p(np.maximum(ages, 0) / SECONDS_PER_DAY),
            np.sign(values) * np.log1p(np.abs(values)),
        ],
        axis=1,
    )
    return JaggedEvents(
        offsets=offsets,
        kinds=flat["kinds"].cast(pl.Int64).to_numpy(),
        products=_buckets(flat["products"], product_buckets),
        categories=_buckets(flat["categories"], category_buckets),
        numbers=numbers.astype(np.float32),
    )


def padded_positions(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the events of some rows as a rectangle.

    Args:
        offsets: Shape (n + 1,), as in `JaggedEvents`.
        rows: Shape (b,), row numbers.

    Returns:
        Two arrays of shape (b, t), t the longest of the rows but at least 1: position of the event
        in the flat arrays (0 where there is none), and whether there is one.
    """
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    steps = np.arange(max(1, int(lengths.max(initial=0))))
    present = steps < lengths[:, None]
    return np.where(present, starts[:, None] + steps, 0), present


class LengthBuckets:
    """Batches of rows of like length, in an order that depends on seed and epoch alone.

    Rows are shuffled, cut into pools of many batches, sorted by length within a pool and cut into
    batches, which are shuffled again: little padding, and yet other neighbours in every epoch.
    """

    POOL = 16

    def __init__(
        self, lengths: np.ndarray, *, batch_size: int, seed: int, epoch: Callable[[], int]
    ) -> None:
        """Take what decides the order.

        Args:
            lengths: Shape (n,), events of each row.
            batch_size: Rows of a batch.
            seed: Seed of all epochs.
            epoch: Gives the number of the epoch that is about to start.
        """
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return -(-len(self._lengths) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Give the row numbers of each batch of the epoch."""
        generator = np.random.default_rng([self._seed, self._epoch()])
        shuffled = generator.permutation(len(self._lengths))
        pool = self.POOL * self._batch_size
        pools = [shuffled[start : start + pool] for start in range(0, len(shuffled), pool)]
        by_length = np.concatenate(
            [rows[np.argsort(self._lengths[rows], kind="stable")] for rows in pools]
        )
        for number in generator.permutation(len(self)):
            start = int(number) * self._batch_size
            yield by_length[start : start + self._batch_size].tolist()


def _buckets(texts: pl.Series, buckets: int) -> np.ndarray:
    """Hash texts to 1..buckets by CRC-32, which is the same on every machine and version."""
    distinct = texts.drop_nulls().unique().sort()
    numbers = [zlib.crc32(text.encode()) % buckets + 1 for text in distinct]
    return (
        texts.replace_strict(distinct, numbers, default=0, return_dtype=pl.Int64)
        .fill_null(0)
        .to_numpy()
    )


def _end_of_day(day: date) -> int:
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return int(end.timestamp())
