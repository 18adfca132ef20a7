"""Pictures of churn models: how they learnt. How far their probabilities hold is drawn by `ml.pictures`.

Draws aggregates only, never one mark per customer. Altair is imported inside functions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

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
