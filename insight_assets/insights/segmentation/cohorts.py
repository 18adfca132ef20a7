"""Cohorts: what became of the customers who first bought in the same month.

Follows each cohort month by month, in the shop's calendar, and hides what would speak of a small group. Which further
numbers stay hidden so that nothing small can be computed is decided in `small_groups`.
"""

from datetime import date

import polars as pl

from insight_assets.insights.segmentation.small_groups import hidden_cells

_DIGITS = 6
_MONEY = pl.Decimal(18, 4)


def follow_cohorts(customer_days: pl.LazyFrame, *, as_of: date) -> pl.DataFrame:
    """Count what each cohort did in each month since its first purchase.

    Args:
        customer_days: rows of that contract, `customer_key` being the person; days after `as_of` are ignored, order
            does not matter.
        as_of: as-of day.

    Returns:
        One row a cohort and month up to that of `as_of`, sorted: cohort_month, months_since, month, customers of the
        cohort, retained (those who bought in the month), concerned (those who bought or got money back), orders and
        net, exact sums. Not safe to show.
    """
    past = customer_days.filter(pl.col("event_day") <= as_of)
    month = pl.col("event_day").dt.truncate("1mo")
    first = (
        past.filter(pl.col("orders") > 0)
        .group_by("customer_key")
        .agg(cohort_month=pl.col("event_day").min().dt.truncate("1mo"))
    )
    monthly = (
        past.filter((pl.col("orders") > 0) | (pl.col("net") != 0))
        .group_by("customer_key", month.alias("month"))
        .agg(pl.col("orders").cast(pl.Int64).sum(), pl.col("net").cast(pl.Decimal(38, 4)).sum())
        .join(first, on="customer_key")
        .filter(pl.col("month") >= pl.col("cohort_month"))
        .group_by("cohort_month", "month")
        .agg(
            retained=(pl.col("orders") > 0).sum().cast(pl.Int64),
            concerned=pl.len().cast(pl.Int64),
            orders=pl.col("orders").sum(),
            net=pl.col("net").sum(),
        )
    )
    sizes = first.group_by("cohort_month").agg(customers=pl.len().cast(pl.Int64))
    months = sizes.select(
        "cohort_month",
        "customers",
        month=pl.date_ranges("cohort_month", pl.lit(as_of).dt.truncate("1mo"), interval="1mo"),
    ).explode("month")
    since = (pl.col("month").dt.year() - pl.col("cohort_month").dt.year()) * 12 + (
        pl.col("month").dt.month().cast(pl.Int32) - pl.col("cohort_month").dt.month().cast(pl.Int32)
    )
    return (
        months.join(monthly, on=["cohort_month", "month"], how="left")
        .select(
            "cohort_month",
            since.cast(pl.Int32).alias("months_since"),
            "month",
            "customers",
            *(pl.col(name).fill_null(0) for name in ("retained", "concerned", "orders")),
            pl.col("net").fill_null(0).cast(_MONEY),
        )
        .sort("cohort_month", "months_since")
        .collect()
    )


def retention_rows(followed: pl.DataFrame, *, as_of: date, smallest_group: int) -> pl.DataFrame:
    """Give what may be shown of the cohorts.

    Cohorts of too few customers are left out; should all that are left out be too few together, the smallest cohort
    shown is left out as well. What a month brought is hidden when those who bought, those who did not or those whose
    money it is are a small group, and where a hidden number would follow from what all cohorts did in the month.

    Args:
        followed: what `follow_cohorts` gives.
        as_of: as-of day.
        smallest_group: smallest number of customers that may be spoken of.

    Returns:
        Rows of the contract `cohort_retention`, sorted by cohort and month.
    """
    sizes = followed.select("cohort_month", "customers").unique().sort("customers", "cohort_month")
    shown = sizes.filter(pl.col("customers") >= smallest_group)
    together = sizes["customers"].sum() - shown["customers"].sum()
    if 0 < together < smallest_group:
        shown = shown.slice(1)
    cells = followed.with_columns(published=pl.col("cohort_month").is_in(shown["cohort_month"].implode()))
    absent = pl.col("customers") - pl.col("retained")
    small = pl.any_horizontal(
        (who > 0) & (who < smallest_group) for who in (pl.col("retained"), absent, pl.col("concerned"))
    )
    also = cells.select(~pl.col("published") | small).to_series()
    numbered = cells.with_row_index("cell")
    lines = [
        numbered.filter(pl.col("month") == month)["cell"].to_list() for month in cells["month"].unique().sort()
    ]
    hidden = hidden_cells(
        cells["concerned"].to_list(), lines, smallest_group=smallest_group, also=also.to_list()
    )
    open_ = ~pl.Series("hidden", hidden)
    last = pl.lit(as_of).dt.month_end()
    return (
        cells.with_columns(
            retention=(pl.col("retained") / pl.col("customers")).round(_DIGITS),
            complete=(pl.col("month") < pl.lit(as_of).dt.truncate("1mo")) | (last == pl.lit(as_of)),
        )
        .with_columns(
            pl.when(open_).then(pl.col(name)).alias(name) for name in ("retained", "retention", "orders", "net")
        )
        .filter("published")
        .select(
            pl.lit(as_of).alias("as_of"),
            "cohort_month",
            "months_since",
            "month",
            "complete",
            "customers",
            "retained",
            "retention",
            "orders",
            "net",
        )
        .sort("cohort_month", "months_since")
    )
