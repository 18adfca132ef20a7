from datetime import date

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.ml.sequences import LengthBuckets, jagged_events, padded_positions

AS_OF = date(1970, 1, 10)
DAY = 86_400
SCHEMA = {
    "as_of": pl.Date,
    "kinds": pl.List(pl.Int16),
    "times": pl.List(pl.Int64),
    "products": pl.List(pl.String),
    "categories": pl.List(pl.String),
    "values": pl.List(pl.Float32),
}
EVENT = st.tuples(
    st.integers(0, 26),
    st.integers(0, 10 * DAY - 1),
    st.sampled_from([None, "kettle", "mug", "vase"]),
    st.sampled_from([None, "kitchen"]),
    st.floats(-100, 100, width=32),
)


def sequences(rows) -> pl.DataFrame:
    columns = {name: [] for name in SCHEMA}
    for events in rows:
        events = None if events is None else sorted(events, key=lambda event: event[1])
        columns["as_of"].append(AS_OF)
        for place, name in enumerate(list(SCHEMA)[1:]):
            columns[name].append(None if events is None else [event[place] for event in events])
    return pl.DataFrame(columns, schema=SCHEMA)


def laid_out(frame: pl.DataFrame, *, max_events: int = 4):
    return jagged_events(
        frame, as_of="as_of", max_events=max_events, product_buckets=50, category_buckets=9
    )


@given(st.lists(st.none() | st.lists(EVENT, max_size=6), min_size=1, max_size=6))
def test_flat_events_are_the_last_ones_of_each_row(rows):
    jagged = laid_out(sequences(rows))
    assert jagged.lengths.tolist() == [min(4, len(events or [])) for events in rows]
    for row, events in enumerate(rows):
        kept = sorted(events or [], key=lambda event: event[1])[-4:]
        own = slice(jagged.offsets[row], jagged.offsets[row + 1])
        assert jagged.kinds[own].tolist() == [event[0] for event in kept]
        assert (jagged.products[own] > 0).tolist() == [event[2] is not None for event in kept]
        times = np.array([event[1] for event in kept], dtype=float)
        gaps = np.diff(times, prepend=times[:1])
        numbers = jagged.numbers[own]
        assert np.allclose(numbers[:, 0], np.log1p(gaps / DAY), atol=1e-6)
        assert np.allclose(numbers[:, 1], np.log1p((10 * DAY - times) / DAY), atol=1e-6)
        assert np.allclose(np.abs(numbers[:, 2]), [np.log1p(abs(e[4])) for e in kept], atol=1e-5)


def test_products_keep_their_buckets_whoever_else_is_there():
    kettle = [(3, DAY, "kettle", None, 1.0)]
    others = [(3, DAY, f"p{n}", None, 1.0) for n in range(30)]
    alone, together = laid_out(sequences([kettle])), laid_out(sequences([others, kettle]))
    assert together.products[-1] == alone.products[0]
    # Written down: weights of stored models mean these buckets.
    assert alone.products.tolist() == [35]


def test_padding_finds_each_event_once():
    offsets = np.array([0, 2, 2, 5])
    at, present = padded_positions(offsets, np.array([2, 0, 1]))
    assert at[present].tolist() == [2, 3, 4, 0, 1]
    assert present.tolist() == [[True] * 3, [True, True, False], [False] * 3]
    assert padded_positions(offsets, np.array([1]))[0].shape == (1, 1)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(1, 20))
def test_an_epoch_holds_every_row_once(lengths, batch_size):
    order = LengthBuckets(np.array(lengths), batch_size=batch_size, seed=4, epoch=lambda: 2)
    batches = list(order)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == len(order)
    assert max(len(batch) for batch in batches) <= batch_size
    assert batches == list(order)


def test_epochs_differ_and_batches_hold_rows_of_like_length():
    lengths = np.random.default_rng(0).integers(0, 100, 1_000)
    first = list(LengthBuckets(lengths, batch_size=20, seed=4, epoch=lambda: 0))
    assert first != list(LengthBuckets(lengths, batch_size=20, seed=4, epoch=lambda: 1))
    spread = np.mean([np.ptp(lengths[batch]) for batch in first])
    assert spread < 15
