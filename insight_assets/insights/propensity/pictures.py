"""Pictures of propensity: how far probabilities hold, methods side by side, and what published reasons rest on.

Draws aggregates only, never one mark per customer. Altair is imported inside functions.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.insights.recommendation.pictures import comparison_chart
from insight_assets.ml.pictures import reliability_table

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 260, 220


def kinds_reliability(
    truth: Mapping[str, np.ndarray], champions: Mapping[str, np.ndarray], *, smallest_group: int
) -> pl.DataFrame:
    """Compare predicted with observed purchases in groups of pairs of like prediction.

    Args:
        truth: By kind, shape (customers, targets), whether bought.
        champions: By kind, the champion's probabilities of the same shape.
        smallest_group: Fewest customers that a group may speak of.

    Returns:
        Columns kind, predicted, observed and pairs; no rows where there are too few customers.
    """
    tables = []
    for kind, probability in champions.items():
        # A group of pairs speaks of at least as many customers as its pairs over its targets.
        smallest = smallest_group * probability.shape[1]
        told = reliability_table(truth[kind].ravel(), {kind: probability.ravel()}, smallest_group=smallest)
        tables.append(told.rename({"method": "kind", "customers": "pairs"}))
    schema = {"kind": pl.String, "predicted": pl.Float64, "observed": pl.Float64, "pairs": pl.Int64}
    return pl.concat([pl.DataFrame(schema=schema), *tables])


def reliability_chart(table: pl.DataFrame) -> "alt.LayerChart":
    """Draw the observed over the predicted share of purchases; on the diagonal, probabilities hold.

    Args:
        table: As `kinds_reliability` gives it, not empty.
    """
    import altair as alt

    most = float(table.select(pl.max_horizontal("predicted", "observed").max()).item())
    axis = alt.Scale(domain=[0, max(most, 0.01)])
    curve = (
        alt.Chart(alt.Data(values=table.to_dicts()))
        .mark_line(point=True)
        .encode(
            x=alt.X("predicted:Q", title="predicted to buy", scale=axis),
            y=alt.Y("observed:Q", title="bought", scale=axis),
            color="kind:N",
        )
    )
    ends = [{"predicted": 0.0, "observed": 0.0}, {"predicted": most, "observed": most}]
    diagonal = (
        alt.Chart(alt.Data(values=ends))
        .mark_line(strokeDash=[4, 4], color="grey")
        .encode(x="predicted:Q", y="observed:Q")
    )
    return alt.layer(diagonal, curve).properties(width=WIDTH, height=HEIGHT)


def methods_chart(scorecard: pl.DataFrame, *, metric: str) -> "alt.VConcatChart":
    """Draw every method of every kind under one metric with its 95 % interval, one panel a kind.

    Args:
        scorecard: Rows of `propensity_scorecard`, not empty.
        metric: Name of a metric that has intervals.
    """
    import altair as alt

    panels = [
        comparison_chart(card, metric=metric).properties(title=str(task))
        for (task,), card in scorecard.group_by(["task"], maintain_order=True)
    ]
    return alt.vconcat(*panels)


def evidence_chart(shares: pl.DataFrame) -> "alt.Chart":
    """Draw how many published places rest on what, kind by kind.

    Args:
        shares: Columns kind, evidence and places, not empty.
    """
    import altair as alt

    return (
        alt.Chart(alt.Data(values=shares.to_dicts()))
        .mark_bar()
        .encode(
            x=alt.X("places:Q", stack="normalize", title="share of places"), y=alt.Y("kind:N", title=None),
            color="evidence:N",
        )
        .properties(width=WIDTH + 60, height=90)
    )  # fmt: skip
