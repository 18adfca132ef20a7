"""What a customer likes: categories and brands by what was spent on them, and how dear within its category they buy.

Reads daily sums of one year. Which customers there are, and all else about them, belongs to `customer_features`.
"""

import polars as pl

from insight_assets.features.money import whole_units

DAYS = 365
TOP = 3
HALF_LIFE_DAYS = 90
"""Days after which a purchase counts half in the recency of a taste."""

RECENCY_SCALE = 2**16
"""Fixed-point scale of these weights: whole numbers add up to the same sum in any order."""

BANDS = 5
FEWEST_PRICES = 10
"""Fewest purchases of a category by which its prices are cut into bands."""



def favourites(days: pl.LazyFrame, *, items: str, spent: str, name: str) -> pl.LazyFrame:
    """Rank what a customer spent most on within a year.

    Args:
        days: rows of the contract `customer_days` with `age`.
        items: list column that is ranked.
        spent: list column beside it: goods before discount.
        name: what the items are, in column names.

    Returns:
        One row a customer who bought any: `top_<name>_<n>` for n from 1, with `_share` of what was spent and
        `_recency`, from 0 to 1: 1 where all of it was spent on the as-of day, half of that `HALF_LIFE_DAYS` before.
    """
    weights = pl.DataFrame(
        {
            "age": pl.Series(range(DAYS), dtype=pl.Int32),
            "weight": [round(RECENCY_SCALE * 0.5 ** (age / HALF_LIFE_DAYS)) for age in range(DAYS)],
        }
    ).lazy()
    units = whole_units(pl.col("spent"))
    sums = (
        days.filter((pl.col(items).list.len() > 0) & (pl.col("age") < DAYS))
        .select("customer_key", "age", item=pl.col(items), spent=pl.col(spent))
        .explode("item", "spent")
        .join(weights, on="age")
        .group_by("customer_key", "item")
        .agg(spent=units.sum(), recent=(units * pl.col("weight")).sum())
    )
    ranked = (
        sums.sort("customer_key", "spent", "item", descending=[False, True, False])
        .group_by("customer_key", maintain_order=True)
        .agg(pl.col("item", "spent", "recent").head(TOP), total=pl.col("spent").sum())
    )
    columns: list[pl.Expr] = []
    for place in range(TOP):
        item, spent_on, recent = (
            pl.col(each).list.get(place, null_on_oob=True) for each in ("item", "spent", "recent")
        )
        columns += [
            item.alias(f"top_{name}_{place + 1}"),
            pl.when(pl.col("total") > 0).then(spent_on / pl.col("total")).alias(f"top_{name}_{place + 1}_share"),
            pl.when(spent_on > 0).then(recent / (spent_on * RECENCY_SCALE)).alias(f"top_{name}_{place + 1}_recency"),
        ]
    return ranked.select("customer_key", *columns)


def viewed(days: pl.LazyFrame, *, window: int) -> pl.LazyFrame:
    """Find the category whose pages a customer viewed on most days, the first by name of several such.

    Args:
        days: rows of the contract `customer_days` with `age`.
        window: days to look at.

    Returns:
        One row a customer who viewed any: `categories`, how many; `category`, the one; `share`, its part of all days on
        which categories were viewed.
    """
    items = (
        days.filter((pl.col("viewed_categories").list.len() > 0) & (pl.col("age") < window))
        .select("customer_key", category="viewed_categories")
        .explode("category")
        .collect()
    )
    # A number that stands for count and name at once finds the largest in the pass that counts; names would need a join.
    names = items["category"].unique().sort()
    code, size = pl.col("category").cast(pl.Enum(names)).to_physical().cast(pl.Int64), len(names)
    best = pl.col("best")
    return (
        items.lazy()
        .group_by("customer_key", code=code)
        .agg(n=pl.len().cast(pl.Int64))
        .group_by("customer_key")
        .agg(
            categories=pl.len(),
            all=pl.col("n").sum(),
            best=(pl.col("n") * size + (size - 1 - pl.col("code"))).max(),
        )
        .select(
            "customer_key",
            "categories",
            category=pl.lit(names).gather(size - 1 - best % size),
            share=best // size / pl.col("all"),
        )
    )


def price_cuts(days: pl.LazyFrame) -> pl.DataFrame:
    """Cut the prices paid within a year into bands, category by category.

    Args:
        days: rows of the contract `customer_days` with `age`, of everybody whose prices are to count.

    Returns:
        `category` and `cut_1` to `cut_4`: the unit prices, in ten-thousandths, that part fifths of its purchases.
        Categories of fewer than `FEWEST_PRICES` purchases are left out.
    """
    price = pl.col("price")
    return (
        _prices(days)
        .group_by("category")
        .agg(pl.len().alias("n"), *(price.quantile(n / BANDS, "lower").alias(f"cut_{n}") for n in range(1, BANDS)))
        .filter(pl.col("n") >= FEWEST_PRICES)
        .drop("n")
        .sort("category")
        .collect()
    )


def price_band(days: pl.LazyFrame, cuts: pl.DataFrame) -> pl.LazyFrame:
    """Tell how dear a customer buys: mean band of what they bought within a year, weighted by units.

    Args:
        days: rows of the contract `customer_days` with `age`.
        cuts: as `price_cuts` gives them.

    Returns:
        Columns customer_key and price_band, from 1 for the cheapest fifth to 5 for the dearest.
    """
    return (
        banded(days, cuts)
        .group_by("customer_key")
        .agg(part=(pl.col("band") * pl.col("units")).sum(), whole=pl.col("units").sum())
        .filter(pl.col("whole") > 0)
        .select("customer_key", price_band=pl.col("part") / pl.col("whole"))
    )


def banded(days: pl.LazyFrame, cuts: pl.DataFrame) -> pl.LazyFrame:
    """Put each category that a customer bought on a day into the band of what it cost.

    Args:
        days: rows of the contract `customer_days` with `age`.
        cuts: as `price_cuts` gives them; purchases of other categories are left out.

    Returns:
        Columns customer_key, age, category, units and band, from 1 for the cheapest fifth to 5 for the dearest.
    """
    band = pl.lit(1, pl.Int64)
    for number in range(1, BANDS):
        band = band + (pl.col("price") > pl.col(f"cut_{number}")).cast(pl.Int64)
    return (
        _prices(days)
        .join(cuts.lazy(), on="category")
        .select("customer_key", "age", "category", "units", band=band)
    )


def _prices(days: pl.LazyFrame) -> pl.LazyFrame:
    """Give the mean unit price of each category that a customer bought on a day, in ten-thousandths."""
    return (
        days.filter((pl.col("bought_categories").list.len() > 0) & (pl.col("age") < DAYS))
        .select(
            "customer_key",
            "age",
            category="bought_categories",
            units="bought_category_units",
            gross="bought_category_gross",
        )
        .explode("category", "units", "gross")
        .filter(pl.col("units") > 0)
        .with_columns(price=whole_units(pl.col("gross")) // pl.col("units"))
    )
