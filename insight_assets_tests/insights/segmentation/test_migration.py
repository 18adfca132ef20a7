"""Moves between segments: pairing, conservation, and what stays hidden."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation import migration
from insight_assets.insights.segmentation.pictures import moves_chart
from insight_assets.insights.segmentation.small_groups import hidden_cells
from insight_assets_tests.profiles.people import rows

NOW, LAG = date(2025, 3, 1), 30
THEN = NOW - timedelta(days=LAG)


def tables(people: dict[int, tuple[str, str | None]], day: date) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Segments and states of one day from customer to (state, RFM segment or None)."""
    segments = [
        {"customer_key": key, "as_of": day, "segment": segment, "f": 1, "frequency": 1}
        for key, (_, segment) in people.items()
        if segment
    ]
    known = [{"customer_key": key, "as_of": day, "state": state} for key, (state, _) in people.items()]
    return rows("rfm_segments", segments).lazy(), rows("lifecycle_states", known).lazy()


def moves(before: dict, after: dict) -> dict[str, pl.DataFrame]:
    previous = migration.previous_segments(*tables(before, THEN), as_of=NOW, lag_days=LAG)
    return migration.count_moves(*tables(after, NOW), previous)


BEFORE = {1: ("active", "loyal"), 2: ("active", "loyal"), 3: ("prospect", None), 4: ("lapsed", "lost")}
AFTER = {1: ("loyal", "champions"), 2: ("active", "loyal"), 3: ("new", "new"), 5: ("prospect", None)}


def test_moves_pair_what_customers_were_and_are():
    counted = moves(BEFORE, AFTER)
    assert counted["rfm_segment"].rows() == [
        ("arrived", "no_purchase", 1),
        ("lost", "gone", 1),
        ("loyal", "champions", 1),
        ("loyal", "loyal", 1),
        ("no_purchase", "new", 1),
    ]
    assert counted["lifecycle_state"].rows() == [
        ("active", "active", 1),
        ("active", "loyal", 1),
        ("arrived", "prospect", 1),
        ("lapsed", "gone", 1),
        ("prospect", "new", 1),
    ]


def test_nothing_is_compared_when_the_earlier_day_was_never_published():
    counted = moves({}, AFTER)
    assert all(table.is_empty() for table in counted.values())
    shown = migration.transition_rows(counted, as_of=NOW, lag_days=LAG, smallest_group=1)
    assert shown.is_empty()
    assert set(shown.columns) == set(contract("segment_transitions").polars_schema())


def test_rows_of_other_days_are_no_previous_ones():
    other = migration.previous_segments(*tables(BEFORE, NOW), as_of=NOW, lag_days=LAG)
    assert other.collect().is_empty()


def test_previous_segments_keep_their_contract():
    found = migration.previous_segments(*tables(BEFORE, THEN), as_of=NOW, lag_days=LAG).collect()
    of = contract("previous_segments")
    assert set(found.columns) == set(of.polars_schema())
    validate_frame(of, of.conform(found.lazy()).collect())
    assert found["previous_day"].unique().to_list() == [THEN]
    assert found["rfm_segment"].to_list() == ["loyal", "loyal", None, "lost"]


places = st.sampled_from([("active", "loyal"), ("new", "new"), ("cooling", "at_risk"), ("prospect", None)])
crowds = st.dictionaries(st.integers(0, 60), places, max_size=60)


@given(crowds, crowds, st.integers(1, 6))
@settings(max_examples=25)
def test_everybody_is_counted_once_and_no_row_speaks_of_few(before, after, smallest):
    for table in moves(before, after).values():
        if not before:
            continue
        assert migration.conservation(table, before=len(before), after=len(after)).holds
        shown = migration.published_moves(table, smallest_group=smallest)
        assert shown.filter(pl.col("customers") < smallest).is_empty()
        everybody = len(before.keys() | after.keys())
        hidden = everybody - shown["customers"].sum()
        assert hidden == 0 or everybody < smallest
        told = shown.filter(pl.col("from_segment") != "other").group_by("from_segment").agg(pl.col("customers").sum())
        true = table.group_by("from_segment").agg(pl.col("customers").sum())
        assert told.join(true, on=["from_segment", "customers"], how="anti").is_empty()


def test_a_lost_customer_breaks_conservation():
    table = moves(BEFORE, AFTER)["rfm_segment"]
    assert migration.conservation(table, before=4, after=4).holds
    assert not migration.conservation(table.slice(1), before=4, after=4).holds
    assert not migration.conservation(table, before=5, after=4).holds


def test_transitions_keep_their_contract_and_become_a_picture():
    before = {key: ("active", "loyal") if key % 2 else ("new", "new") for key in range(600)}
    after = {key: ("active", "loyal") if key % 3 else ("cooling", "at_risk") for key in range(100, 700)}
    of = contract("segment_transitions")
    found = migration.transition_rows(moves(before, after), as_of=NOW, lag_days=LAG, smallest_group=10)
    assert set(found.columns) == set(of.polars_schema())
    frame = of.conform(found.lazy()).collect()
    validate_frame(of, frame)
    assert {"arrived", "loyal"} <= set(frame["from_segment"])
    shares = frame.group_by("kind", "from_segment").agg(pl.col("share").sum())["share"].to_list()
    assert shares == pytest.approx([1.0] * len(shares), abs=1e-5)
    chart = moves_chart(frame.filter(pl.col("kind") == "lifecycle_state"), title="Moves")
    assert chart_markdown(chart).startswith("![chart](data:image/png")


def test_order_of_rows_changes_nothing():
    before = {key: ("active", "loyal") if key % 2 else ("new", "new") for key in range(60)}
    backwards = dict(reversed(before.items()))
    for one, other in zip(moves(before, AFTER).values(), moves(backwards, AFTER).values(), strict=True):
        assert one.equals(other)


matrices = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 15) | st.just(0) | st.integers(10, 60), min_size=width, max_size=width),
        min_size=1,
        max_size=5,
    )
)


@given(matrices, st.integers(2, 10))
@settings(max_examples=80)
def test_no_small_cell_can_be_computed_from_the_sums(matrix, smallest):
    counts = np.array(matrix)
    numbers = np.arange(counts.size).reshape(counts.shape)
    lines = [*numbers.tolist(), *numbers.T.tolist()]
    hidden = hidden_cells(counts.ravel(), lines, smallest_group=smallest)
    sizes = counts.ravel()
    assert hidden[(sizes > 0) & (sizes < smallest)].all()
    for line in lines:
        together = sizes[line][hidden[line]].sum()
        # A line of which everything is hidden has a small sum itself; there is nothing left to hide it behind.
        assert together == 0 or together >= smallest or not (sizes[line][~hidden[line]] > 0).any()
    cells = np.flatnonzero(hidden)
    if not len(cells):
        return
    sums = np.array([np.isin(cells, line) for line in lines], dtype=float)
    for position, cell in enumerate(cells):
        if not 0 < sizes[cell] < smallest:
            continue
        unit = np.eye(len(cells))[position]
        fixed = np.linalg.matrix_rank(np.vstack([sums, unit])) == np.linalg.matrix_rank(sums)
        alone = all(not (sizes[line][~hidden[line]] > 0).any() for line in lines if cell in line)
        assert not fixed or alone
