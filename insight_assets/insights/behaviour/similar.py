"""Products, and customers, that lie nearest each other in the space of the behaviour encoder.

Who bought what together belongs to `associations`; here two products are alike if they come in the same place of what
customers do, and if they are described alike.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from insight_assets.insights.behaviour.product_vectors import ProductVectors

MOST_SIMILAR = 10
AT_ONCE = 1_024
_DIGITS = 5


def similar_products(of: ProductVectors, categories: Sequence[str | None], *, most: int = MOST_SIMILAR) -> pl.DataFrame:
    """List the products nearest to each product.

    Args:
        of: What the encoder says of products.
        categories: Category of each product, in their order; None where unknown.
        most: Products listed of each.

    Returns:
        `product_id`, `rank` from 1, `similar_product_id`, `cosine` and `same_category`, null where either is unknown;
        by product and rank. Of equally near products the one with the lower identifier stands first. Costs the square
        of the number of products.
    """
    names = np.array(of.products, dtype=object)
    kept = min(most, len(names) - 1)
    schema = {
        "product_id": pl.String, "rank": pl.Int32, "similar_product_id": pl.String, "cosine": pl.Float64,
        "same_category": pl.Boolean,
    }  # fmt: skip
    if kept < 1:
        return pl.DataFrame(schema=schema)
    nearest, cosines = _nearest(of.vectors, of.vectors, most=kept + 1)
    # A product is no neighbour of itself; another with the same vector may stand before it.
    others = nearest != np.arange(len(names))[:, None]
    others[others.all(axis=1), -1] = False
    places, told = nearest[others].reshape(-1, kept), cosines[others].reshape(-1, kept)
    rows = np.repeat(np.arange(len(names)), kept)
    category = pl.Series(categories, dtype=pl.String)
    return pl.DataFrame(
        {
            "product_id": names[rows].tolist(),
            "rank": np.tile(np.arange(1, kept + 1), len(names)),
            "similar_product_id": names[places.ravel()].tolist(),
            "cosine": told.ravel(),
            "same_category": category.gather(rows) == category.gather(places.ravel()),
        },
        schema=schema,
    )


def category_lift(similar: pl.DataFrame, categories: Sequence[str | None]) -> float | None:
    """Say how much more often similar products share a category than two products at random would.

    Args:
        similar: As `similar_products` gives it.
        categories: Category of each product.

    Returns:
        The ratio of shares; None where fewer than two categories are known.
    """
    counts = pl.Series(categories, dtype=pl.String).drop_nulls().value_counts()["count"].cast(pl.Float64)
    known = similar["same_category"].drop_nulls()
    if len(counts) < 2 or not len(known):
        return None
    by_chance = float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1)))
    return float(known.mean()) / by_chance if by_chance else None


def similar_customers(vectors: pl.DataFrame, customer_key: int, *, most: int = MOST_SIMILAR) -> pl.DataFrame:
    """List the customers whose behaviour is most like one customer's.

    Args:
        vectors: Rows of the contract `behaviour_vectors` of one day, the customer's among them.
        customer_key: The customer.
        most: Customers listed.

    Returns:
        `customer_key` and `cosine` of vectors beside the mean of all, the nearest first; the customer is not listed.

    Raises:
        ValueError: If the customer has no vector.
    """
    told = vectors.sort("customer_key")
    place = told["customer_key"].index_of(customer_key)
    if place is None:
        message = f"customer {customer_key} has no vector"
        raise ValueError(message)
    # All vectors have much in common, which says nothing of who is like whom.
    all_vectors = np.array(told["vector"].to_list(), dtype=np.float32)
    apart = all_vectors - all_vectors.mean(axis=0)
    apart /= np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
    nearest, cosines = _nearest(apart[[place]], apart, most=min(most + 1, len(told)))
    listed = pl.DataFrame({"customer_key": told["customer_key"].gather(nearest[0]), "cosine": cosines[0]})
    return listed.filter(pl.col("customer_key") != customer_key).head(most)


def _nearest(asked: np.ndarray, among: np.ndarray, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and cosines of the nearest rows, each of shape (asked, most), nearest first and then by place."""
    places, cosines = (np.empty((len(asked), most), dtype=kind) for kind in (np.int64, np.float64))
    for start in range(0, len(asked), AT_ONCE):
        part = (asked[start : start + AT_ONCE] @ among.T).astype(np.float64).round(_DIGITS)
        order = np.argsort(-part, axis=1, kind="stable")[:, :most]
        places[start : start + AT_ONCE] = order
        cosines[start : start + AT_ONCE] = np.take_along_axis(part, order, axis=1)
    return places, cosines
