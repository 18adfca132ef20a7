"""Pictures of segments and of the choice of the number of clusters, from aggregates only."""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 300, 180


def segment_chart(sizes: pl.DataFrame) -> "alt.Chart":
    """Draw the table of `rfm.segment_sizes` as bars in its order; hidden sizes have no bar."""
    import altair as alt

    shown = sizes.select("segment_en", "customers").to_dicts()
    return (
        alt.Chart(alt.Data(values=shown), title="Customers by segment")
        .mark_bar()
        .encode(
            x=alt.X("customers:Q", title="customers"),
            y=alt.Y("segment_en:N", title=None, sort=None),
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )


def trials_chart(trials: pl.DataFrame) -> "alt.LayerChart":
    """Draw the table of `clusters.trials_table`: silhouette and stability by k, the choice ringed."""
    import altair as alt

    long = trials.unpivot(
        ["silhouette", "stability"],
        index=["k", "chosen"],
        variable_name="measure",
        value_name="value",
    )
    base = alt.Chart(alt.Data(values=long.to_dicts()), title="Choice of the number of clusters")
    x = alt.X("k:O", title="clusters", axis=alt.Axis(labelAngle=0))
    lines = base.mark_line(point=True).encode(
        x=x,
        y=alt.Y("value:Q", title=None),
        color=alt.Color("measure:N", title=None),
    )
    ring = (
        base.mark_point(size=150, color="black")
        .encode(x=x, y="value:Q")
        .transform_filter("datum.chosen")
    )
    return (lines + ring).properties(width=_WIDTH, height=_HEIGHT)
