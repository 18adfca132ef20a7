"""Pictures of the lifetime value models and scorecards, from aggregates only.

Every bar and point stands for at least k customers. Turning a chart into metadata belongs to
`insight_assets.charts`.
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from insight_assets.insights.lifetime_value.bg_nbd import BgNbd, repeat_purchase_distribution
from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.grading import Grading

if TYPE_CHECKING:
    import altair as alt

_MOST_REPEATS = 7
_GROUPS = 10
_MOST_SIMULATED = 20_000
_WIDTH, _HEIGHT = 300, 180


def frequency_table(
    model: BgNbd, customers: Buyers, *, smallest_group: int, seed: int
) -> pl.DataFrame:
    """Count customers by repeat purchases, observed and expected under the model.

    Args:
        model: fitted purchase model.
        customers: customers it was fitted on.
        smallest_group: k of k-anonymity; rare counts are merged into the last class until each
            class holds that many observed customers.
        seed: seed of the simulation behind the expected counts.

    Returns:
        Columns repeats (text, `7+` for the open class), source, customers; empty when there are
        fewer customers than `smallest_group`.
    """
    repeats = customers.histories.repeats.astype(np.int64)
    schema = pl.Schema({"repeats": pl.String, "source": pl.String, "customers": pl.Float64})
    if repeats.size < smallest_group:
        return pl.DataFrame(schema=schema)
    most = _MOST_REPEATS
    counts = np.bincount(np.minimum(repeats, most), minlength=most + 1)
    while most > 0 and counts.min() < smallest_group:
        most -= 1
        counts = np.bincount(np.minimum(repeats, most), minlength=most + 1)
    ages = np.sort(customers.histories.age)
    if ages.size > _MOST_SIMULATED:
        ages = ages[np.linspace(0, ages.size - 1, _MOST_SIMULATED).astype(np.int64)]
    expected = repeat_purchase_distribution(model, ages, most=most, seed=seed)
    expected *= repeats.size / ages.size
    names = [str(number) for number in range(most)] + [f"{most}+"]
    return pl.concat(
        pl.DataFrame(
            {"repeats": names, "source": source, "customers": values.astype(np.float64)},
            schema=schema,
        )
        for source, values in (("observed", counts), ("model", expected))
    )


def frequency_chart(table: pl.DataFrame) -> "alt.Chart":
    """Draw `frequency_table` as paired bars."""
    import altair as alt

    return (
        alt.Chart(alt.Data(values=table.to_dicts()), title="Repeat purchases: observed and model")
        .mark_bar()
        .encode(
            x=alt.X(
                "repeats:N", title="repeat purchase days", sort=None, axis=alt.Axis(labelAngle=0)
            ),
            xOffset=alt.XOffset("source:N", sort=["observed", "model"]),
            y=alt.Y("customers:Q", title="customers"),
            color=alt.Color("source:N", title=None, sort=["observed", "model"]),
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )


def calibration_table(grading: Grading, *, smallest_group: int) -> pl.DataFrame:
    """Compare predicted and true mean net value in groups of equal size by prediction.

    Args:
        grading: grading of an origin.
        smallest_group: k of k-anonymity; there are ten groups, or fewer so that each holds k.

    Returns:
        Columns method, group (1 lowest), predicted, actual, customers; empty when there are fewer
        customers than `smallest_group`.
    """
    schema = pl.Schema(
        {
            "method": pl.String,
            "group": pl.Int64,
            "predicted": pl.Float64,
            "actual": pl.Float64,
            "customers": pl.Int64,
        }
    )
    size = grading.outcomes.value.size
    groups = min(_GROUPS, size // smallest_group)
    if groups < 1:
        return pl.DataFrame(schema=schema)
    rows = []
    for method, expected in grading.forecasts.items():
        # Ties are ordered by the truth only to make the groups the same for any order of rows;
        # they are of the same prediction, so this cannot flatter the curve between groups.
        order = np.lexsort((grading.outcomes.value, expected.value))
        for number, members in enumerate(np.array_split(order, groups), start=1):
            rows.append(
                {
                    "method": method,
                    "group": number,
                    "predicted": float(expected.value[members].mean()),
                    "actual": float(grading.outcomes.value[members].mean()),
                    "customers": members.size,
                }
            )
    return pl.DataFrame(rows, schema=schema)


def calibration_chart(table: pl.DataFrame) -> "alt.FacetChart":
    """Draw `calibration_table`: predicted and actual mean by group, one panel a method."""
    import altair as alt

    long = table.unpivot(
        ["predicted", "actual"], index=["method", "group"], variable_name="mean", value_name="value"
    )
    return (
        alt.Chart(alt.Data(values=long.to_dicts()))
        .mark_line(point=True)
        .encode(
            x=alt.X("group:O", title="tenth by prediction", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("value:Q", title="mean net value in the horizon"),
            color=alt.Color("mean:N", title=None),
        )
        .properties(width=200, height=_HEIGHT)
        .facet(alt.Column("method:N", title=None))
    )
