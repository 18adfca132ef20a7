"""RFM: recency, frequency and money scores, and the named segment that follows from them.

Scores are fifths of the customers by rank. The segment is a total function of the three scores, so
each of the 125 cells has exactly one name. Clusters found from data belong to `clusters`.
"""

from dataclasses import dataclass
from datetime import date

import polars as pl

from insight_assets.insights.segmentation.small_groups import hidden_cells

_HIGHEST = 5
_RECENT = 4
_GOOD = 3
_ONE_PURCHASE_DAY = 1
_MONEY_DIGITS = 4


@dataclass(frozen=True)
class Segment:
    """A named segment.

    Attributes:
        code: name in tables.
        zh: Chinese name.
        en: English name.
    """

    code: str
    zh: str
    en: str


CHAMPIONS = Segment("champions", "重要价值客户", "Champions")
LOYAL = Segment("loyal", "忠诚客户", "Loyal")
POTENTIAL_LOYALIST = Segment("potential_loyalist", "潜力忠诚客户", "Potential loyalist")
NEW = Segment("new", "新客户", "New")
PROMISING = Segment("promising", "有望客户", "Promising")
NEED_ATTENTION = Segment("need_attention", "需关注客户", "Need attention")
ABOUT_TO_SLEEP = Segment("about_to_sleep", "即将沉睡客户", "About to sleep")
AT_RISK = Segment("at_risk", "流失风险客户", "At risk")
CANNOT_LOSE_THEM = Segment("cannot_lose_them", "重要挽留客户", "Cannot lose them")
HIBERNATING = Segment("hibernating", "沉睡客户", "Hibernating")
LOST = Segment("lost", "已流失客户", "Lost")

NO_PURCHASE = Segment("no_purchase", "尚未购买", "No purchase yet")
"""Who is seen but never bought: no segment of buyers, but a place that buyers come from."""

SEGMENTS = (
    CHAMPIONS,
    LOYAL,
    POTENTIAL_LOYALIST,
    NEW,
    PROMISING,
    NEED_ATTENTION,
    ABOUT_TO_SLEEP,
    AT_RISK,
    CANNOT_LOSE_THEM,
    HIBERNATING,
    LOST,
)
"""All segments of buyers, from the most to the least valuable to keep warm."""


def segment_of(r: int, f: int, m: int) -> Segment:
    """Name the segment of a customer.

    The grid is the customary one over recency and the mean of frequency and money. A single
    purchase day (f = 1) that is recent is always a new customer, however large it was: one purchase
    is no loyalty.

    Args:
        r: recency score, 1 to 5 (5 bought last).
        f: frequency score, 1 to 5 (1 is one purchase day).
        m: money score, 1 to 5.

    Raises:
        ValueError: a score is not in 1 to 5.
    """
    if not all(score in range(1, _HIGHEST + 1) for score in (r, f, m)):
        message = f"scores must be 1 to 5, got r={r}, f={f}, m={m}"
        raise ValueError(message)
    weight = (f + m) / 2
    if r >= _RECENT:
        return _recent(r, f, weight)
    if r == _GOOD:
        if weight >= 4:
            return LOYAL
        return NEED_ATTENTION if weight >= 2.5 else ABOUT_TO_SLEEP
    if weight >= 4 and r == 1:
        return CANNOT_LOSE_THEM
    if weight >= 2.5:
        return AT_RISK
    return HIBERNATING if r == 2 or weight >= 2 else LOST


def _recent(r: int, f: int, weight: float) -> Segment:
    if f == _ONE_PURCHASE_DAY:
        return NEW if r == _HIGHEST else PROMISING
    if weight >= 4:
        return CHAMPIONS
    return LOYAL if weight >= 3 else POTENTIAL_LOYALIST


def rank_scores(values: pl.Expr, *, groups: int = _HIGHEST) -> pl.Expr:
    """Score values from 1 to `groups` by equal shares of rows, ascending.

    Equal values get equal scores: the middle of a tie decides for all of it. So scores do not
    depend on the order of rows, and when all values are equal all get the middle score.

    Args:
        values: an orderable expression without nulls.
        groups: number of scores.

    Returns:
        Expression of Int8 scores.
    """
    middle = (values.rank("average") - 0.5) / values.len()
    return (1 + (middle * groups).floor()).clip(1, groups).cast(pl.Int8)


def score_rfm(customer_features: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Score and name the segment of each customer who has bought.

    Frequency counts days with a purchase. Customers of one purchase day, often most of a shop,
    score 1; those who came back are split into equal quarters from 2 to 5.

    Args:
        customer_features: rows of one as-of day with customer_key, days_since_last_order,
            purchase_days_lifetime and net_lifetime.
        as_of: that day.

    Returns:
        Rows of the contract `rfm_segments`, ascending by key.
    """
    came_back = pl.col("frequency") > _ONE_PURCHASE_DAY
    table = pl.LazyFrame(
        [
            {
                "r": r,
                "f": f,
                "m": m,
                "segment": segment.code,
                "segment_zh": segment.zh,
                "segment_en": segment.en,
            }
            for r in range(1, _HIGHEST + 1)
            for f in range(1, _HIGHEST + 1)
            for m in range(1, _HIGHEST + 1)
            for segment in (segment_of(r, f, m),)
        ],
        schema_overrides={"r": pl.Int8, "f": pl.Int8, "m": pl.Int8},
    )
    scored = (
        customer_features.filter(pl.col("purchase_days_lifetime") > 0)
        .select(
            "customer_key",
            pl.lit(as_of, dtype=pl.Date).alias("as_of"),
            pl.col("days_since_last_order").cast(pl.Int32).alias("recency_days"),
            pl.col("purchase_days_lifetime").cast(pl.Int32).alias("frequency"),
            # Sums of money differ in the last bits by the order of adding; equal sums must tie.
            pl.col("net_lifetime").round(_MONEY_DIGITS).alias("monetary"),
        )
        .with_columns(
            rank_scores(-pl.col("recency_days")).alias("r"),
            rank_scores(pl.col("frequency"), groups=_HIGHEST - 1).over(came_back).alias("f"),
            rank_scores(pl.col("monetary")).alias("m"),
        )
        .with_columns(
            pl.when(came_back)
            .then(pl.col("f") + 1)
            .otherwise(pl.lit(_ONE_PURCHASE_DAY))
            .cast(pl.Int8)
            .alias("f")
        )
        .with_columns(pl.concat_str("r", "f", "m").alias("rfm_score"))
    )
    return scored.join(table, on=["r", "f", "m"], how="left").sort("customer_key")


def segment_sizes(segments: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Summarise `rfm_segments`: customers, share and means of each segment, in the named order.

    Args:
        segments: rows of one as-of day.
        smallest_group: k of k-anonymity; a segment of fewer customers, but not of none, is shown
            without its numbers, and one more where these could be computed.

    Returns:
        Columns segment_en, segment_zh, customers, share, recency_days, frequency, monetary (means);
        all eleven segments.
    """
    names = pl.DataFrame(
        {
            "segment": [segment.code for segment in SEGMENTS],
            "segment_en": [segment.en for segment in SEGMENTS],
            "segment_zh": [segment.zh for segment in SEGMENTS],
        }
    )
    sizes = (
        segments.sort("customer_key")
        .group_by("segment")
        .agg(
            pl.len().cast(pl.Int64).alias("customers"),
            pl.col("recency_days", "frequency", "monetary").mean(),
        )
    )
    shown = names.join(sizes, on="segment", how="left", maintain_order="left").select(
        "segment_en",
        "segment_zh",
        pl.col("customers").fill_null(0),
        (pl.col("customers").fill_null(0) / max(segments.height, 1)).alias("share"),
        "recency_days",
        "frequency",
        "monetary",
    )
    hidden = hidden_cells(shown["customers"].to_list(), [range(len(SEGMENTS))], smallest_group=smallest_group)
    return shown.with_columns(
        pl.when(~pl.Series(hidden)).then(pl.col(name)).alias(name) for name in shown.columns[2:]
    )
