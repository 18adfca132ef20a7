"""Pictures of product associations: how strong the surest are. Shows products, never a customer."""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt

MOST_LETTERS = 24
"""Letters of a product's name in tables and pictures."""


def strongest(associations: pl.DataFrame, *, rows: int) -> pl.DataFrame:
    """The first associations in words, each set of products once.

    Args:
        associations: rows of the contract `product_associations` of one day.
        rows: sets shown.

    Returns:
        Columns bought, then, baskets, customers, confidence, lift, low, high, q; by rank.
    """

    def label(role: str) -> pl.Expr:
        return pl.coalesce(f"{role}_name", f"{role}_id").str.slice(0, MOST_LETTERS)

    members = pl.concat_list(pl.col("product_id"), pl.col("with_product_id").fill_null(""), pl.col("then_product_id"))
    return (
        associations.sort("rank")
        .unique(members.list.sort().list.join("\n"), keep="first", maintain_order=True)
        .head(rows)
        .select(
            bought=pl.concat_str(label("product"), label("with_product"), separator=" + ", ignore_nulls=True),
            then=label("then_product"),
            baskets="baskets_together",
            customers="customers",
            confidence="confidence",
            lift="lift",
            low="lift_low",
            high="lift_high",
            q=pl.col("q_value").map_elements(lambda value: f"{value:.1g}", return_dtype=pl.String),
        )
    )


def lift_chart(shown: pl.DataFrame) -> "alt.LayerChart":
    """Draw the table of `strongest`: lift with its 95 % interval."""
    import altair as alt

    rows = shown.select(pl.format("{} → {}", "bought", "then").alias("set"), "lift", "low", "high").to_dicts()
    base = alt.Chart(alt.Data(values=rows), title="Bought together, times more often than by chance").encode(
        y=alt.Y("set:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    )
    points = base.mark_point(filled=True).encode(x=alt.X("lift:Q", title="lift", scale=alt.Scale(type="log")))
    intervals = base.mark_rule().encode(x="low:Q", x2="high:Q")
    return alt.layer(intervals, points).properties(width=240, height=16 * max(len(rows), 1))
