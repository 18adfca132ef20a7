"""Pictures of churn models: how they learnt and how far their probabilities hold.

Draws aggregates only, never one mark per customer. Altair is imported inside functions.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.ml.metrics import reliability

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 300, 180


def loss_chart(epochs: Sequence[Sequence[float]]) -> "alt.Chart":
    """Draw the network's losses over the epochs.

    Args:
        epochs: Number, loss on the rows learnt from and loss on the rows kept apart, per epoch.

    Returns:
        A line chart.
    """
    import altair as alt

    losses = [
        {"epoch": int(number) + 1, "rows": rows, "log loss": loss}
        for number, *both in epochs
        for rows, loss in zip(("learnt from", "kept apart"), both, strict=True)
    ]
    return (
        alt.Chart(pl.DataFrame(losses))
        .mark_line(point=True)
        .encode(
            x=alt.X("epoch:O", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("log loss:Q", scale=alt.Scale(zero=False)),
            color="rows:N",
        )
        .properties(width=WIDTH, height=HEIGHT)
    )


def reliability_table(
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], *, smallest_group: int
) -> pl.DataFrame:
    """Compare predicted with observed churn in groups of customers of like prediction.

    Args:
        truth: Shape (n,), 1 for churned.
        predictions: Probabilities per method, each of shape (n,).
        smallest_group: Fewest customers a group may show.

    Returns:
        Columns `method`, `predicted`, `observed`, `customers`; no rows for too few customers.
    """
    bins = min(10, len(truth) // max(1, 2 * smallest_group))
    schema = {
        "method": pl.String, "predicted": pl.Float64, "observed": pl.Float64, "customers": pl.Int64
    }  # fmt: skip
    if bins == 0:
        return pl.DataFrame(schema=schema)
    tables = []
    for method, probability in predictions.items():
        _, observed, predicted, rows = reliability(truth, probability, bins=bins)
        tables.append(
            pl.DataFrame(
                {
                    "method": [method] * len(rows),
                    "predicted": predicted,
                    "observed": observed,
                    "customers": rows.astype(np.int64),
                },
                schema=schema,
            )
        )
    return pl.concat(tables).filter(pl.col("customers") >= smallest_group)


def reliability_chart(table: pl.DataFrame) -> "alt.LayerChart":
    """Draw observed over predicted churn; on the diagonal, probabilities hold.

    Args:
        table: As `reliability_table` gives it.

    Returns:
        A line chart with the diagonal.
    """
    import altair as alt

    axis = alt.Scale(domain=[0, 1])
    curve = (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(
            x=alt.X("predicted:Q", title="predicted churn", scale=axis),
            y=alt.Y("observed:Q", title="observed churn", scale=axis),
            color="method:N",
        )
    )
    diagonal = (
        alt.Chart(pl.DataFrame({"predicted": [0.0, 1.0], "observed": [0.0, 1.0]}))
        .mark_line(strokeDash=[4, 4], color="grey")
        .encode(x="predicted:Q", y="observed:Q")
    )
    return alt.layer(diagonal, curve).properties(width=HEIGHT + 40, height=HEIGHT + 40)
