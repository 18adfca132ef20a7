"""Pictures of the people stage, drawn from counts of groups."""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt


def sizes_chart(sizes: pl.DataFrame) -> "alt.Chart":
    """Draw how many identifiers people have.

    Args:
        sizes: result of `cluster_sizes`, with at least one row.
    """
    import altair as alt

    x = alt.X("identifiers:N", title="identifiers of a person", sort=sizes["identifiers"].to_list())
    y = alt.Y("people:Q", title="people")
    return alt.Chart(alt.Data(values=sizes.to_dicts())).mark_bar().encode(x=x, y=y).properties(width=300, height=180)
