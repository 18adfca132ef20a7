"""The map of the behaviour encoder: where products lie.

Shows products, no customer.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import altair as alt

PRODUCTS_DRAWN = 400
CATEGORIES_DRAWN = 9


def product_map(vectors: np.ndarray, categories: Sequence[str | None]) -> "alt.Chart":
    """Draw products by the two directions in which their vectors differ most, coloured by category.

    Args:
        vectors: Shape (products, width), at least two products.
        categories: Category of each; the rarer ones share a colour.

    Returns:
        A scatter chart of at most `PRODUCTS_DRAWN` products, evenly chosen.
    """
    import altair as alt

    centred = vectors - vectors.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    # A direction is known up to its sign; so that a picture can be made again, its largest part is positive.
    directions *= np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])[:, None]
    places = centred @ directions[:2].T
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places))])
    told = pl.Series("category", categories, dtype=pl.String).fill_null("unknown")
    counted = told.value_counts(name="products").sort("products", "category", descending=[True, False])
    frequent = set(counted["category"][:CATEGORIES_DRAWN])
    drawn = np.unique(np.linspace(0, len(vectors) - 1, PRODUCTS_DRAWN).astype(int))
    rows = pl.DataFrame(
        {
            "one": np.round(places[drawn, 0], 4),
            "other": np.round(places[drawn, 1], 4),
            "category": [name if name in frequent else "others" for name in told.gather(drawn)],
        }
    )
    share = (spread[:2] ** 2).sum() / max((spread**2).sum(), 1e-12)
    return (
        alt.Chart(rows)
        .mark_circle(size=40)
        .encode(
            x=alt.X("one:Q", title=f"{share:.0%} of how products differ", axis=None),
            y=alt.Y("other:Q", axis=None),
            color="category:N",
        )
        .properties(width=320, height=240)
    )


def left_chart(left: Sequence[float]) -> "alt.Chart":
    """Draw how much of the loss of a forecast that is the same for everybody was left after each pass.

    Args:
        left: Share after each pass, on the days kept apart.
    """
    import altair as alt

    return (
        alt.Chart(pl.DataFrame({"pass": range(1, len(left) + 1), "left": left}))
        .mark_line(point=True)
        .encode(
            x=alt.X("pass:O", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("left:Q", title="loss left on days kept apart", scale=alt.Scale(zero=False)),
        )
        .properties(width=300, height=180)
    )
