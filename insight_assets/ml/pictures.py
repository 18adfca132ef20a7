"""Pictures of how far probabilities hold and how many of those who are sought the best scores hold.

Draws aggregates only, never one mark per customer. Altair is imported inside functions.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.ml.metrics import reliability

if TYPE_CHECKING:
    import altair as alt

HEIGHT = 180


def reliability_table(
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], *, smallest_group: int
) -> pl.DataFrame:
    """Compare predicted with observed rates in groups of rows of like prediction.

    Args:
        truth: Shape (n,), 0 or 1.
        predictions: Probabilities per method, each of shape (n,).
        smallest_group: Fewest rows a group may show.

    Returns:
        Columns `method`, `predicted`, `observed`, `customers`; nothing for too few rows.
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


def reliability_chart(table: pl.DataFrame, *, of: str) -> "alt.LayerChart":
    """Draw observed over predicted rates; on the diagonal, probabilities hold.

    Args:
        table: As `reliability_table` gives it.
        of: What is foretold, in a word or two.

    Returns:
        A line chart with the diagonal.
    """
    import altair as alt

    axis = alt.Scale(domain=[0, 1])
    curve = (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(
            x=alt.X("predicted:Q", title=f"predicted {of}", scale=axis),
            y=alt.Y("observed:Q", title=f"observed {of}", scale=axis),
            color="method:N",
        )
    )
    diagonal = (
        alt.Chart(pl.DataFrame({"predicted": [0.0, 1.0], "observed": [0.0, 1.0]}))
        .mark_line(strokeDash=[4, 4], color="grey")
        .encode(x="predicted:Q", y="observed:Q")
    )
    return alt.layer(diagonal, curve).properties(width=HEIGHT + 40, height=HEIGHT + 40)


def lift_table(truth: np.ndarray, predictions: Mapping[str, np.ndarray], *, smallest_group: int) -> pl.DataFrame:
    """Give how many times as many of those who are sought each tenth by prediction holds as a random tenth.

    Args:
        truth: Shape (n,), 0 or 1.
        predictions: Probabilities per method, each of shape (n,).
        smallest_group: Fewest rows a tenth may have.

    Returns:
        Columns `method`, `tenth` (1 the most likely) and `lift`; nothing for too few rows or without any one sought.
    """
    schema = {"method": pl.String, "tenth": pl.Int64, "lift": pl.Float64}
    if len(truth) < 10 * max(1, smallest_group) or not truth.sum() > 0:
        return pl.DataFrame(schema=schema)
    tables = []
    for method, probability in predictions.items():
        number, observed, _, rows = reliability(truth, probability, bins=10)
        tables.append(
            pl.DataFrame(
                {"method": [method] * len(rows), "tenth": 10 - number, "lift": observed / truth.mean()}, schema=schema
            ).filter(pl.Series(rows >= smallest_group))
        )
    return pl.concat(tables)


def lift_chart(table: pl.DataFrame) -> "alt.Chart":
    """Draw the lift of each tenth, the most likely first.

    Args:
        table: As `lift_table` gives it.
    """
    import altair as alt

    return (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(
            x=alt.X("tenth:O", title="tenth by prediction", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("lift:Q", title="lift"),
            color="method:N",
        )
        .properties(width=HEIGHT + 40, height=HEIGHT)
    )
