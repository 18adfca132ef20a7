"""Pictures of the recommendation assets: methods compared, and what lists rest on.

Draws aggregated tables; shows no customer.
"""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt


def comparison_chart(scorecard: pl.DataFrame, *, metric: str) -> "alt.LayerChart":
    """Draw every method under one metric with its 95 % interval.

    Args:
        scorecard: One scorecard, not empty.
        metric: Name of a metric that has intervals.

    Returns:
        A layered chart; the champion has another colour.
    """
    import altair as alt

    rows = scorecard.filter(pl.col("metric") == metric).select(
        "method", "value", "low", "high", "is_champion"
    )
    base = alt.Chart(alt.Data(values=rows.to_dicts())).encode(
        y=alt.Y("method:N", sort=rows["method"].to_list(), title=None)
    )
    bars = base.mark_bar().encode(
        x=alt.X("value:Q", title=metric),
        color=alt.Color("is_champion:N", title="champion"),
    )
    intervals = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    return alt.layer(bars, intervals).properties(width=320, height=18 * rows.height)


def evidence_chart(shares: pl.DataFrame) -> "alt.Chart":
    """Draw how many places in the lists rest on what.

    Args:
        shares: Columns evidence and places.

    Returns:
        A bar chart.
    """
    import altair as alt

    return (
        alt.Chart(alt.Data(values=shares.to_dicts()))
        .mark_bar()
        .encode(
            x=alt.X("places:Q", title="places in lists"),
            y=alt.Y("evidence:N", sort="-x", title=None),
        )
        .properties(width=320, height=90)
    )
