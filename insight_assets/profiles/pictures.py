"""Pictures of the profile assets: segments in size and worth.

Draws tables that are safe to show; never one row per customer.
"""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt


def segment_chart(summary: pl.DataFrame) -> "alt.HConcatChart":
    """Draw the customers and the expected value of every segment side by side.

    Args:
        summary: Rows of the contract `segment_summary`, not empty.

    Returns:
        Two bar charts over the same segments, the largest first.
    """
    import altair as alt

    rows = summary.sort("customers", descending=True)
    data = alt.Data(values=rows.select("segment_en", "customers", "net_365d_mean").to_dicts())
    order = rows["segment_en"].to_list()
    bars = alt.Chart(data).mark_bar().properties(width=170, height=170)
    return alt.hconcat(
        bars.encode(
            x=alt.X("customers:Q", title="customers"),
            y=alt.Y("segment_en:N", sort=order, title=None),
        ),
        bars.encode(
            x=alt.X("net_365d_mean:Q", title="net value per customer, 365 days"),
            y=alt.Y("segment_en:N", sort=order, title=None, axis=None),
        ),
    )
