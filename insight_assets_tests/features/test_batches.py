"""Batches: how days are put together, and that each is built once and given back alone."""

from datetime import date, timedelta

import polars as pl
import pytest

from insight_assets.features.batches import batch_days, build_in_batches

DAYS = [date(2025, 1, 1) + timedelta(days=number) for number in range(5)]


@pytest.mark.parametrize(
    ("rows", "cuts"),
    [
        ([1, 1, 1, 1, 1], [(0, 1), (2, 3), (4, 4)]),
        ([9, 1, 1, 9, 0], [(0, 0), (1, 2), (3, 3), (4, 4)]),
        ([0, 0, 0, 0, 0], [(0, 4)]),
        ([2, 2, 2, 2, 2], [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]),
    ],
)
def test_days_are_put_together_up_to_the_limit(
    rows: list[int], cuts: list[tuple[int, int]]
) -> None:
    found = batch_days(DAYS[::-1], dict(zip(DAYS, rows, strict=True)), limit=2)
    assert found == [(DAYS[first], DAYS[last]) for first, last in cuts]


def test_every_day_comes_from_one_build_of_its_batch() -> None:
    built = []

    def build(first: date, last: date) -> pl.LazyFrame:
        built.append((first, last))
        return rows.filter(pl.col("event_day").is_between(first, last))

    rows = pl.LazyFrame({"event_day": [DAYS[0], DAYS[0], DAYS[2]], "n": [1, 2, 3]})
    frames = build_in_batches(build, rows, DAYS[:3])
    assert [frames.frame_of(day)["n"].to_list() for day in DAYS[:3]] == [[1, 2], [], [3]]
    assert built == [(DAYS[0], DAYS[2])]
