"""Summaries of segments that are safe to show: no row speaks of a small group of customers.

Counting and k-anonymity of the published summary. Where a segment comes from is said in the
segmentation capability.
"""

from datetime import date

import polars as pl

from insight_assets.insights.segmentation.rfm import NO_PURCHASE as NEVER_BOUGHT

OTHER = ("other", "Other", "其他")
NO_PURCHASE = (NEVER_BOUGHT.code, NEVER_BOUGHT.en, NEVER_BOUGHT.zh)

_PRECISION = 1e6
_DECIMALS = 4
_NAMES = ("segment", "segment_en", "segment_zh")


def summarise_segments(profiles: pl.LazyFrame, *, as_of: date, smallest_group: int) -> pl.DataFrame:
    """Summarise the RFM segments without showing a small group.

    Segments of fewer than `smallest_group` customers are shown together as `other`. Should these
    be too few as well, they are left out together with the smallest segment shown, so that whoever
    knows the number of all customers can compute only the size of a group that is large enough.
    Figures that rest on fewer than `smallest_group` customers of a segment are null, and so is a
    figure if those it does not rest on are few but not none.

    Args:
        profiles: Rows of the contract `customer_profiles` as of the day.
        as_of: The as-of day.
        smallest_group: Smallest number of customers that may be spoken of, at least 1.

    Returns:
        The columns of the contract `segment_summary`, sorted by segment; may be empty.
    """
    customers = profiles.select(
        "customer_key",
        *(
            pl.coalesce(f"rfm_{name}", pl.lit(text)).alias(name)
            for name, text in zip(_NAMES, NO_PURCHASE, strict=True)
        ),
        "net_90d",
        "net_365d",
        "churn_probability",
        "expected_value_365d",
        "favourite_category",
    ).collect()
    sizes = customers.group_by("segment").agg(customers=pl.len().cast(pl.Int64))
    shown = customers.join(
        published_groups(sizes, smallest_group=smallest_group), on="segment"
    ).with_columns(
        pl.when(pl.col("published") == OTHER[0]).then(pl.lit(text)).otherwise(name).alias(name)
        for name, text in zip(_NAMES, OTHER, strict=True)
    )
    tops = _top_categories(shown, smallest_group=smallest_group)
    count = pl.len().cast(pl.Int64)
    return (
        shown.group_by(_NAMES)
        .agg(
            customers=count,
            net_90d_sum=_sum("net_90d"),
            net_365d_sum=_sum("net_365d"),
            churn=_if_many("churn_probability", smallest_group),
            value=_if_many("expected_value_365d", smallest_group),
            scored=pl.col("expected_value_365d").count(),
            churn_scored=pl.col("churn_probability").count(),
        )
        .join(tops, on="segment", how="left")
        .select(
            pl.lit(as_of).alias("as_of"),
            *_NAMES,
            "customers",
            share=(pl.col("customers") / pl.col("customers").sum()).round(6),
            net_90d_sum=pl.col("net_90d_sum").round(_DECIMALS),
            net_90d_mean=(pl.col("net_90d_sum") / pl.col("customers")).round(_DECIMALS),
            net_365d_sum=pl.col("net_365d_sum").round(_DECIMALS),
            net_365d_mean=(pl.col("net_365d_sum") / pl.col("customers")).round(_DECIMALS),
            mean_churn_probability=(pl.col("churn") / pl.col("churn_scored")).round(6),
            expected_value_365d_sum=pl.col("value").round(_DECIMALS),
            expected_value_365d_mean=(pl.col("value") / pl.col("scored")).round(_DECIMALS),
            top_category="top_category",
        )
        .sort("segment")
    )


def published_groups(sizes: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Decide under which name each segment may be shown.

    Args:
        sizes: Columns segment and customers (at least 1), one row per segment.
        smallest_group: Smallest number of customers that may be spoken of.

    Returns:
        Columns segment and published (the segment itself or `other`); segments that are left out
        are absent.

    Raises:
        ValueError: If `smallest_group` is below 1.
    """
    if smallest_group < 1:
        message = f"the smallest group has at least 1 customer, not {smallest_group}"
        raise ValueError(message)
    ordered = sizes.sort("customers", "segment")
    small = ordered.filter(pl.col("customers") < smallest_group)
    large = ordered.filter(pl.col("customers") >= smallest_group)
    together = small["customers"].sum()
    if 0 < together < smallest_group:
        small, large = small.clear(), large.slice(1)
    return pl.concat(
        [
            large.select("segment", published="segment"),
            small.select("segment", published=pl.lit(OTHER[0])),
        ]
    ).sort("segment")


def _sum(column: str) -> pl.Expr:
    """Sum in whole millionths: exact, so that the order of rows cannot change the last digit."""
    return (pl.col(column) * _PRECISION).round().cast(pl.Int64).sum() / _PRECISION


def _if_many(column: str, smallest_group: int) -> pl.Expr:
    """Sum of the known values, null if the customers with or without one are a small group."""
    known, unknown = pl.col(column).count(), pl.col(column).null_count()
    enough = (known >= smallest_group) & ((unknown == 0) | (unknown >= smallest_group))
    return pl.when(enough).then(_sum(column))


def _top_categories(shown: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Favourite category of most customers of each segment, if enough of them share it."""
    return (
        shown.drop_nulls("favourite_category")
        .group_by("segment", top_category="favourite_category")
        .agg(fans=pl.len())
        .filter(pl.col("fans") >= smallest_group)
        .sort("segment", "fans", "top_category", descending=[False, True, False])
        .unique("segment", keep="first", maintain_order=True)
        .select("segment", "top_category")
    )
