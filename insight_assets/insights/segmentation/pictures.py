"""Pictures of segments, moves, cohorts and the choice of the number of clusters, from aggregates only."""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 300, 180
_HEAT_WIDTH, _HEAT_HEIGHT = 420, 260
_COHORTS = 12


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
    ).drop_nulls("value")
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


def state_chart(sizes: pl.DataFrame) -> "alt.Chart":
    """Draw the table of `lifecycle.state_sizes` as bars in its order; hidden sizes have no bar."""
    import altair as alt

    shown = sizes.select("state_en", "customers").to_dicts()
    return (
        alt.Chart(alt.Data(values=shown), title="Customers by lifecycle state")
        .mark_bar()
        .encode(
            x=alt.X("customers:Q", title="customers"),
            y=alt.Y("state_en:N", title=None, sort=None),
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )


def moves_chart(transitions: pl.DataFrame, *, title: str) -> "alt.LayerChart":
    """Draw rows of `segment_transitions` of one kind as a heat map: where each row's customers went, in shares."""
    sources, targets = (transitions[f"{side}_en"].unique(maintain_order=True).to_list() for side in ("from", "to"))
    order = [place for place in sources if place in targets] + [place for place in targets if place not in sources]
    return _heat_map(
        transitions.select(row="from_en", column="to_en", value="share"),
        title=title,
        rows=sources,
        columns=order,
        axes=("from", "to"),
    )


def retention_chart(retention: pl.DataFrame) -> "alt.LayerChart":
    """Draw rows of `cohort_retention` as a heat map, the newest cohorts; hidden and first months have no cell."""
    newest = retention["cohort_month"].unique().sort().tail(_COHORTS)
    shown = (
        retention.filter(
            pl.col("cohort_month").is_in(newest.implode()), pl.col("months_since").is_between(1, _COHORTS)
        )
        .drop_nulls("retention")
        .select(
            row=pl.col("cohort_month").dt.strftime("%Y-%m"),
            column=pl.col("months_since").cast(pl.String),
            value="retention",
        )
    )
    return _heat_map(
        shown,
        title="Share of a cohort that bought, by months since its first purchase",
        rows=newest.dt.strftime("%Y-%m").to_list(),
        columns=[str(number) for number in range(1, _COHORTS + 1)],
        axes=("first purchase", "months since"),
    )


def _heat_map(
    cells: pl.DataFrame, *, title: str, rows: list[str], columns: list[str], axes: tuple[str, str]
) -> "alt.LayerChart":
    import altair as alt

    base = alt.Chart(alt.Data(values=cells.to_dicts()), title=title).encode(
        x=alt.X("column:N", title=axes[1], sort=columns),
        y=alt.Y("row:N", title=axes[0], sort=rows),
    )
    squares = base.mark_rect().encode(
        color=alt.Color("value:Q", title=None, scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True), legend=None)
    )
    shares = base.mark_text(fontSize=9).encode(
        text=alt.Text("value:Q", format=".0%"),
        color=alt.condition("datum.value > 0.5", alt.value("white"), alt.value("black")),
    )
    return (squares + shares).properties(width=_HEAT_WIDTH, height=_HEAT_HEIGHT)
