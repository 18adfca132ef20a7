"""What products are like: category, brand and price band, as the shop describes them.

Known of a product before anybody had to do with it, so that new products can be recommended. How likeness becomes a
score is in `content`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

PRICE_BANDS = 5
"""Fifths of the products of a category by price."""

UNKNOWN = -1
"""Stands for what the shop does not say of a product."""


@dataclass(frozen=True)
class Attributes:
    """Categories, brands and price bands of products as codes, one array each.

    Attributes:
        categories: names, ascending; a code is a place here.
        brands: names, ascending.
        category: int32, shape (products,), `UNKNOWN` where not told.
        brand: the same.
        band: `category * PRICE_BANDS + fifth`, the same; known only together with the category.
    """

    categories: tuple[str, ...]
    brands: tuple[str, ...]
    category: np.ndarray
    brand: np.ndarray
    band: np.ndarray

    @cached_property
    def kinds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three arrays, in the order category, brand, band."""
        return self.category, self.brand, self.band


def attributes_of(products: pl.DataFrame | None, catalogue: tuple[str, ...]) -> Attributes:
    """Line up what the shop says of products with the products of a catalogue.

    Prices are compared within a category and within the currency that most products are priced in; others have no band.

    Args:
        products: columns product_id, category, brand, price and currency, one row a product; None where nothing is
            told.
        catalogue: product ids.

    Returns:
        The attributes in the order of the catalogue.
    """
    ids = pl.DataFrame({"product_id": pl.Series(catalogue, dtype=pl.String)})
    if products is None:
        unknown = np.full(len(catalogue), UNKNOWN, dtype=np.int32)
        return Attributes((), (), unknown, unknown, unknown)
    priced = products.drop_nulls(["price", "currency"]).group_by("currency").len()
    usual = priced.sort("len", "currency", descending=[True, False])
    currency = usual["currency"][0] if usual.height else None
    price = pl.when(pl.col("currency") == pl.lit(currency, pl.String)).then(pl.col("price").cast(pl.Float64))
    described = products.select("product_id", "category", "brand", price=price)
    told = ids.join(described, on="product_id", how="left", maintain_order="left")
    middle = (pl.col("price").rank("average") - 0.5) / pl.col("price").count()
    fifth = (middle * PRICE_BANDS).floor().clip(0, PRICE_BANDS - 1).over("category")
    categories, brands = (tuple(told[name].drop_nulls().unique().sort().to_list()) for name in ("category", "brand"))
    coded = told.with_columns(
        pl.col(name).replace_strict(list(names), range(len(names)), default=None, return_dtype=pl.Int32).alias(name)
        for name, names in (("category", categories), ("brand", brands))
        if names
    ).with_columns(fifth=fifth)
    unknown = pl.lit(None, pl.Int32)
    codes = (
        coded.with_columns(
            category=pl.col("category") if categories else unknown,
            brand=pl.col("brand") if brands else unknown,
            band=(pl.col("category") * PRICE_BANDS + pl.col("fifth")) if categories else unknown,
        )
        .select("category", "brand", "band")
        .select(pl.all().cast(pl.Int32).fill_null(UNKNOWN))
    )
    arrays = (codes[name].to_numpy().astype(np.int32) for name in ("category", "brand", "band"))
    return Attributes(categories, brands, *arrays)
