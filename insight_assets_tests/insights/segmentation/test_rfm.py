"""RFM scores and the names that follow from them."""

from datetime import date
from itertools import product

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.charts import chart_markdown
from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation.pictures import segment_chart
from insight_assets.insights.segmentation.rfm import (
    SEGMENTS,
    rank_scores,
    score_rfm,
    segment_of,
    segment_sizes,
)

AS_OF = date(2026, 3, 1)
CELLS = list(product(range(1, 6), repeat=3))

customers = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(1, 4),
        st.floats(-100, 1e6, allow_nan=False) | st.sampled_from([0.0, 10.0]),
    ),
    max_size=40,
)


def features(rows: list[tuple[int, int, float]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(key, *row) for key, row in enumerate(rows)],
        schema={
            "customer_key": pl.Int64,
            "days_since_last_order": pl.Int32,
            "purchase_days_lifetime": pl.Int32,
            "net_lifetime": pl.Float64,
        },
        orient="row",
    )


def scored(frame: pl.DataFrame) -> pl.DataFrame:
    return score_rfm(frame.lazy(), as_of=AS_OF).collect()


def test_every_cell_has_one_name_and_every_name_a_cell():
    named = {cell: segment_of(*cell) for cell in CELLS}
    assert len(named) == 125
    assert set(named.values()) == set(SEGMENTS)
    assert len({s.code for s in SEGMENTS}) == len({s.zh for s in SEGMENTS}) == 11


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ((5, 5, 5), "Champions"),
        ((4, 4, 4), "Champions"),
        ((3, 5, 5), "Loyal"),
        ((5, 3, 3), "Loyal"),
        ((5, 2, 2), "Potential loyalist"),
        ((5, 1, 1), "New"),
        ((5, 1, 5), "New"),
        ((4, 1, 2), "Promising"),
        ((3, 3, 3), "Need attention"),
        ((3, 1, 1), "About to sleep"),
        ((2, 4, 4), "At risk"),
        ((1, 3, 3), "At risk"),
        ((1, 5, 5), "Cannot lose them"),
        ((2, 1, 1), "Hibernating"),
        ((1, 1, 3), "Hibernating"),
        ((1, 1, 1), "Lost"),
    ],
)
def test_names_of_known_cells(cell, name):
    assert segment_of(*cell).en == name


@pytest.mark.parametrize("cell", [(0, 1, 1), (1, 6, 1), (1, 1, -1)])
def test_scores_outside_one_to_five_are_refused(cell):
    with pytest.raises(ValueError, match="1 to 5"):
        segment_of(*cell)


@settings(max_examples=60, deadline=None)
@given(rows=customers, seed=st.integers(0, 99))
def test_scores_are_total_monotone_tie_fair_and_blind_to_order(rows, seed):
    frame = features(rows)
    result = scored(frame)
    assert result.height == len(rows)
    assert result.select(pl.exclude("customer_key")).null_count().sum_horizontal().item() == 0
    for value, score, sign in (("recency_days", "r", -1), ("frequency", "f", 1), ("monetary", "m", 1)):
        pairs = result.select((pl.col(value) * sign).alias("v"), score).unique().sort("v")
        assert pairs["v"].is_unique().all()
        assert pairs[score].is_sorted()
        assert result[score].is_between(1, 5).all()
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=seed) if rows else frame
    assert scored(mixed).equals(result)
    table = contract("rfm_segments")
    validate_frame(table, table.conform(result.lazy()).collect())


def test_scores_without_ties_are_equal_fifths():
    result = scored(features([(day, 2 + day, float(day)) for day in range(100)]))
    for score in ("r", "m"):
        assert result[score].value_counts()["count"].to_list() == [20] * 5
    assert result["f"].value_counts()["count"].to_list() == [25] * 4
    first = result.row(0, named=True)
    assert (first["recency_days"], first["r"], first["m"]) == (0, 5, 1)


def test_one_purchase_day_always_scores_one():
    rows = [(1, 1, 50.0)] * 90 + [(1, times, 60.0) for times in range(2, 12)]
    result = scored(features(rows))
    assert result.filter(pl.col("frequency") == 1)["f"].unique().to_list() == [1]
    assert result.filter(pl.col("frequency") > 1)["f"].min() == 2
    assert result["f"].max() == 5


def test_all_equal_get_the_middle():
    scores = pl.DataFrame({"v": [7.0] * 6}).select(v=rank_scores(pl.col("v")))["v"]
    assert scores.unique().to_list() == [3]


def test_visitors_without_a_purchase_are_left_out():
    frame = features([(3, 1, 5.0)]).with_columns(purchase_days_lifetime=pl.lit(0))
    assert scored(frame).is_empty()


def test_sizes_hide_small_segments():
    result = scored(features([(day % 50, 1 + day % 9, float(day)) for day in range(300)]))
    sizes = segment_sizes(result, smallest_group=10)
    assert sizes["segment_en"].to_list() == [segment.en for segment in SEGMENTS]
    true = result["segment_en"].value_counts()
    for name, count in true.iter_rows():
        shown = sizes.row(by_predicate=pl.col("segment_en") == name, named=True)
        assert shown["customers"] == (count if count >= 10 else None)
        assert (shown["monetary"] is None) == (count < 10)
    assert chart_markdown(segment_chart(sizes)).startswith("![chart](data:image/png")
