"""Migration: how customers moved between segments and lifecycle states from one as-of day to a later one.

Pairs the segments of two days, counts, and hides what would speak of a small group. What a segment or a state is
belongs to `rfm` and `lifecycle`, which counts stay hidden to `small_groups`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from insight_assets.insights.segmentation.lifecycle import STATES
from insight_assets.insights.segmentation.rfm import NO_PURCHASE, SEGMENTS, Segment
from insight_assets.insights.segmentation.small_groups import hidden_cells

ARRIVED = Segment("arrived", "新出现", "Not there before")
GONE = Segment("gone", "不再出现", "No longer there")
OTHER = Segment("other", "其他", "Other")

RFM, LIFECYCLE = "rfm_segment", "lifecycle_state"
PLACES: Mapping[str, Sequence[Segment]] = {RFM: (*SEGMENTS, NO_PURCHASE), LIFECYCLE: STATES}
"""What is compared, and the places customers can be in, in the order in which they are shown."""

_DIGITS = 6


@dataclass(frozen=True)
class Conservation:
    """Whether a matrix counts everybody once.

    Attributes:
        before: customers of the earlier day.
        after: customers of the later day.
        counted_before: customers in the rows of places of the earlier day.
        counted_after: customers in the columns of places of the later day.
    """

    before: int
    after: int
    counted_before: int
    counted_after: int

    @property
    def holds(self) -> bool:
        """Whether nobody was lost or counted twice."""
        return (self.before, self.after) == (self.counted_before, self.counted_after)


def previous_segments(
    rfm_segments: pl.LazyFrame, lifecycle_states: pl.LazyFrame, *, as_of: date, lag_days: int
) -> pl.LazyFrame:
    """Give the segments of an earlier day as what they are on the later one: the previous ones.

    Args:
        rfm_segments: rows of that contract; those of other days than the earlier one are ignored.
        lifecycle_states: rows of that contract; those of other days than the earlier one are ignored.
        as_of: the later day.
        lag_days: days between the two.

    Returns:
        Rows of the contract `previous_segments`, ascending by key; none when the earlier day was never published.
    """
    earlier = as_of - timedelta(days=lag_days)
    segments, states = (table.filter(pl.col("as_of") == earlier) for table in (rfm_segments, lifecycle_states))
    known = segments.select(
        "customer_key", rfm_segment="segment", rfm_segment_en="segment_en", rfm_segment_zh="segment_zh"
    )
    return (
        states.select(
            "customer_key",
            pl.lit(as_of).alias("as_of"),
            pl.lit(earlier).alias("previous_day"),
            lifecycle_state="state",
            lifecycle_state_en="state_en",
            lifecycle_state_zh="state_zh",
        )
        .join(known, on="customer_key", how="left")
        .sort("customer_key")
    )


def count_moves(
    rfm_segments: pl.LazyFrame, lifecycle_states: pl.LazyFrame, previous: pl.LazyFrame
) -> dict[str, pl.DataFrame]:
    """Count who moved where.

    Args:
        rfm_segments: rows of that contract as of the later day.
        lifecycle_states: rows of that contract as of the later day.
        previous: rows of the contract `previous_segments` as of the later day.

    Returns:
        For each of `PLACES`, the columns from_segment, to_segment and customers (at least 1). Who is only there on the
        later day comes from `ARRIVED`, who is only there on the earlier one, as who turned out to
        be the same person as another, went to `GONE`; who never bought is in the
        RFM place `NO_PURCHASE`. All empty when nothing is known of the earlier day.
    """
    now = lifecycle_states.select("customer_key", pl.col("state").alias(LIFECYCLE)).join(
        rfm_segments.select("customer_key", pl.col("segment").alias(RFM)), on="customer_key", how="left"
    )
    before = previous.select("customer_key", LIFECYCLE, RFM)
    nowhere = {RFM: pl.lit(NO_PURCHASE.code), LIFECYCLE: pl.lit(None, dtype=pl.String)}
    known = [
        table.with_columns(pl.coalesce(name, otherwise).alias(name) for name, otherwise in nowhere.items())
        for table in (before, now)
    ]
    pairs = known[0].join(known[1], on="customer_key", how="full", suffix="_now").collect()
    if pairs["customer_key"].null_count() == pairs.height:
        pairs = pairs.clear()
    return {
        name: pairs.group_by(
            pl.col(name).fill_null(ARRIVED.code).alias("from_segment"),
            pl.col(f"{name}_now").fill_null(GONE.code).alias("to_segment"),
        )
        .agg(pl.len().cast(pl.Int64).alias("customers"))
        .sort("from_segment", "to_segment")
        for name in PLACES
    }


def conservation(moves: pl.DataFrame, *, before: int, after: int) -> Conservation:
    """Compare a matrix with the customers of its two days.

    Args:
        moves: one table of `count_moves`, not empty.
        before: customers of the earlier day.
        after: customers of the later day.
    """
    return Conservation(
        before=before,
        after=after,
        counted_before=int(moves.filter(pl.col("from_segment") != ARRIVED.code)["customers"].sum()),
        counted_after=int(moves.filter(pl.col("to_segment") != GONE.code)["customers"].sum()),
    )


def published_moves(moves: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Hide what would speak of a small group.

    The sums of rows, of columns and of everything count as known, for the sizes of segments are published. Hidden
    cells of a row are shown together as a move to `OTHER`; rows that are hidden whole, together as a move from `OTHER`
    to `OTHER`. So rows still add up to the customers that were there.

    Args:
        moves: one table of `count_moves`.
        smallest_group: smallest number of customers that may be spoken of.

    Returns:
        Columns from_segment, to_segment, customers, each at least `smallest_group`, and share of the row; sorted by
        name. Empty when all customers together are too few.
    """
    counted = moves.sort("from_segment", "to_segment")
    lines = [
        counted.with_row_index("cell").filter(pl.col(column) == place)["cell"].to_list()
        for column in ("from_segment", "to_segment")
        for place in counted[column].unique(maintain_order=True)
    ]
    hidden = pl.Series(
        hidden_cells(
            counted["customers"].to_list(), [*lines, list(range(counted.height))], smallest_group=smallest_group
        )
    )
    counted = counted.with_columns(hidden=hidden)
    rows = counted.group_by("from_segment").agg(
        row=pl.col("customers").sum(), concealed=pl.col("customers").filter("hidden").sum()
    )
    whole = concealed_rows(rows, smallest_group=smallest_group)
    other = pl.lit(OTHER.code)
    return (
        counted.join(rows.with_columns(whole=pl.col("from_segment").is_in(whole)), on="from_segment")
        .with_columns(
            from_segment=pl.when("whole").then(other).otherwise("from_segment"),
            to_segment=pl.when(pl.col("hidden") | pl.col("whole")).then(other).otherwise("to_segment"),
        )
        .group_by("from_segment", "to_segment")
        .agg(pl.col("customers").sum())
        .filter(pl.col("customers") >= smallest_group)
        .with_columns(share=(pl.col("customers") / pl.col("customers").sum().over("from_segment")).round(_DIGITS))
        .sort("from_segment", "to_segment")
    )


def concealed_rows(rows: pl.DataFrame, *, smallest_group: int) -> list[str]:
    """Name the rows that are not told apart: those of too few customers, and one more where these are too few.

    Args:
        rows: columns from_segment, row (its customers) and concealed (those in hidden cells).
        smallest_group: smallest number of customers that may be spoken of.
    """
    ordered = rows.sort("row", "from_segment")
    # A row whose hidden cells are too few even together could not be hidden better: it is small itself.
    small = ordered.filter(
        (pl.col("row") < smallest_group)
        | ((pl.col("concealed") > 0) & (pl.col("concealed") < smallest_group))
        | (pl.col("concealed") == pl.col("row"))
    )
    rest = ordered.join(small, on="from_segment", how="anti", maintain_order="left")
    names, together = small["from_segment"].to_list(), small["row"].sum()
    for name, size in rest.select("from_segment", "row").iter_rows():
        if not 0 < together < smallest_group:
            break
        names.append(name)
        together += size
    return names


def transition_rows(
    moves: Mapping[str, pl.DataFrame], *, as_of: date, lag_days: int, smallest_group: int
) -> pl.DataFrame:
    """Give the rows of the contract `segment_transitions`, in the order of `PLACES`, the most customers first."""
    names = pl.DataFrame(
        [
            {"kind": kind, "code": place.code, "en": place.en, "zh": place.zh, "place": number}
            for kind, places in PLACES.items()
            for number, place in enumerate((*places, ARRIVED, GONE, OTHER))
        ],
        schema_overrides={"place": pl.Int32},
    )
    shown = pl.concat(
        [
            published_moves(table, smallest_group=smallest_group).with_columns(kind=pl.lit(kind))
            for kind, table in moves.items()
        ]
    )
    for side in ("from", "to"):
        of_side = {"code": "segment", "en": "en", "zh": "zh", "place": "place"}
        named = names.rename({name: f"{side}_{told}" for name, told in of_side.items()})
        shown = shown.join(named, on=["kind", f"{side}_segment"], how="left")
    order = pl.col("kind").replace_strict(list(PLACES), list(range(len(PLACES))))
    return shown.sort(order, "from_place", "to_place").select(
        pl.lit(as_of).alias("as_of"),
        pl.lit(as_of - timedelta(days=lag_days)).alias("previous_day"),
        "kind",
        *(f"{side}_{what}" for side in ("from", "to") for what in ("segment", "en", "zh")),
        "customers",
        "share",
    )
