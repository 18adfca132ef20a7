import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.profiles.summary import published_groups, summarise_segments
from insight_assets_tests.profiles.people import AS_OF

NAMES = ("loyal", "new", "lost", "at_risk", None)
PROFILE = {
    "customer_key": pl.Int64,
    "rfm_segment": pl.String,
    "rfm_segment_en": pl.String,
    "rfm_segment_zh": pl.String,
    "net_90d": pl.Float64,
    "net_365d": pl.Float64,
    "churn_probability": pl.Float64,
    "expected_value_365d": pl.Float64,
    "favourite_category": pl.String,
}


def people(counts: dict[str | None, int], **values: object) -> pl.DataFrame:
    """Profiles with so many customers in each segment; columns may be given as constants."""
    segments = [segment for segment, count in counts.items() for _ in range(count)]
    frame = pl.DataFrame({"rfm_segment": segments}, schema={"rfm_segment": pl.String})
    usual = {
        "net_90d": 10.0,
        "net_365d": 20.0,
        "churn_probability": 0.5,
        "expected_value_365d": 30.0,
        "favourite_category": "tea",
    }
    return (
        frame.with_row_index("customer_key")
        .with_columns(
            rfm_segment_en=pl.col("rfm_segment").str.to_titlecase(),
            rfm_segment_zh=pl.col("rfm_segment"),
            **{name: pl.lit(value) for name, value in {**usual, **values}.items()},
        )
        .select(pl.col(name).cast(dtype) for name, dtype in PROFILE.items())
    )


def summary(profiles: pl.DataFrame, k: int = 10) -> pl.DataFrame:
    found = summarise_segments(profiles.lazy(), as_of=AS_OF, smallest_group=k)
    return contract("segment_summary").conform(found).collect()


def sizes(profiles: pl.DataFrame, k: int = 10) -> dict[str, int]:
    found = summary(profiles, k)
    return dict(found.select("segment", "customers").iter_rows())


def test_figures_of_large_segments():
    profiles = people({"loyal": 12, None: 36}).with_columns(
        net_90d=pl.col("customer_key").cast(pl.Float64)
    )
    found = summary(profiles)
    loyal, none = found.iter_rows(named=True)
    assert loyal == {
        "as_of": AS_OF,
        "segment": "loyal",
        "segment_en": "Loyal",
        "segment_zh": "loyal",
        "customers": 12,
        "share": 0.25,
        "net_90d_sum": 66.0,
        "net_90d_mean": 5.5,
        "net_365d_sum": 240.0,
        "net_365d_mean": 20.0,
        "mean_churn_probability": 0.5,
        "expected_value_365d_sum": 360.0,
        "expected_value_365d_mean": 30.0,
        "top_category": "tea",
    }
    assert (none["segment"], none["segment_en"]) == ("no_purchase", "No purchase yet")
    for rule in contract("segment_summary").row_rules():
        assert found.select(rule.passes.all()).item(), rule.name


def test_small_segments_are_shown_together():
    assert sizes(people({"loyal": 40, "new": 6, "lost": 7})) == {"loyal": 40, "other": 13}


def test_other_is_left_out_with_the_next_smallest_when_it_is_small_too():
    assert sizes(people({"loyal": 40, "at_risk": 11, "new": 3, "lost": 4})) == {"loyal": 40}


def test_nothing_is_shown_of_a_tiny_shop():
    assert sizes(people({"loyal": 4, "new": 3})) == {}
    assert sizes(people({"loyal": 40, "new": 3})) == {}
    assert sizes(people({})) == {}


def test_figures_that_rest_on_few_customers_are_withheld():
    scored = pl.col("customer_key") < 9
    few = people({"loyal": 30}).with_columns(
        churn_probability=pl.when(scored).then(0.5),
        expected_value_365d=pl.when(~scored).then(30.0),
        favourite_category=pl.when(scored).then(pl.lit("rare")),
    )
    row = summary(few).row(0, named=True)
    assert row["mean_churn_probability"] is None
    # 21 customers have a value, but the figures would tell that 9 have none.
    assert row["expected_value_365d_sum"] is None
    assert row["top_category"] is None
    assert row["net_90d_sum"] == 300.0


def test_the_top_category_is_the_first_by_name_on_a_tie():
    halves = people({"loyal": 40}).with_columns(
        favourite_category=pl.when(pl.col("customer_key") < 20)
        .then(pl.lit("tea"))
        .otherwise(pl.lit("cups"))
    )
    assert summary(halves)["top_category"].to_list() == ["cups"]


def test_a_group_has_at_least_one_customer():
    with pytest.raises(ValueError, match="at least 1"):
        published_groups(
            pl.DataFrame(schema={"segment": pl.String, "customers": pl.Int64}), smallest_group=0
        )


COUNTS = st.fixed_dictionaries({name: st.integers(0, 25) for name in NAMES})


@given(COUNTS, st.integers(1, 12))
def test_no_small_group_is_shown_nor_left_over(counts, k):
    profiles = people(counts)
    found = sizes(profiles, k)
    assert all(count >= k for count in found.values())
    # Whoever knows how many customers there are learns the size of one group that is large enough.
    hidden = profiles.height - sum(found.values())
    assert hidden == 0 or hidden >= k or not found
    # Whoever knows that all but one segment is shown learns nothing of the last one alone.
    missing = {str(name or "no_purchase") for name, count in counts.items() if count} - set(found)
    if found and "other" not in found and missing:
        assert len(missing) >= 2


@given(COUNTS, COUNTS, st.integers(2, 12))
def test_two_reports_of_nested_shops_do_not_isolate_a_segment(counts, more, k):
    """Every figure of a report speaks of at least k customers, whichever report is read."""
    larger = {name: counts[name] + more[name] for name in NAMES}
    for report in (counts, larger):
        found = summary(people(report), k)
        shares = found["share"].sum()
        assert shares == pytest.approx(1.0, abs=1e-5) or found.is_empty()
        assert (found["customers"] >= k).all()


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_summary_does_not_depend_on_the_order_of_rows(counts, random):
    profiles = people(counts).with_columns(
        net_90d=pl.col("customer_key") * 0.1,
        churn_probability=(pl.col("customer_key") % 7) / 7,
    )
    order = list(range(profiles.height))
    random.shuffle(order)
    assert_frame_equal(summary(profiles), summary(profiles[order]))
