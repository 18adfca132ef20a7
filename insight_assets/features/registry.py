"""The list of features: what each is, over which days, whose past it tells of, and what a missing value means.

All of it stands in the contract of a feature table, column by column; here it is read and asked for what is missing.
"""

import polars as pl

from insight_assets.contracts.types import Contract

TABLES = ("customer_features", "product_features")
LEAKAGE_CLASSES = {
    "key": "names the row; no feature",
    "own past": "tells of what the row's own subject did by the as-of day",
    "past of all": "tells also of what others did by the as-of day",
}
"""Whose past a feature tells of. No feature may tell of anything after its as-of day."""


def list_features(of: Contract) -> pl.DataFrame:
    """List the features of a table.

    Args:
        of: contract of a table whose columns are features.

    Returns:
        One row a column, in the table's order, all texts: feature, owner, definition, window, unit, leakage, nulls and
        since (the version of the contract that first had it); null where the contract does not say.
    """
    return pl.DataFrame(
        [
            {
                "feature": column.name,
                "owner": of.owner,
                "type": column.physical_type,
                "definition": column.description,
                "window": column.window,
                "unit": column.unit,
                "leakage": column.leakage,
                "nulls": column.nulls,
                "since": column.since,
            }
            for column in of.columns
        ],
        schema=dict.fromkeys(
            ("feature", "owner", "type", "definition", "window", "unit", "leakage", "nulls", "since"), pl.String
        ),
    )


def incomplete(features: pl.DataFrame) -> list[str]:
    """Name the features whose contract leaves something unsaid, or tells of a past that there is not.

    Args:
        features: as `list_features` gives them. Keys need no window and no unit.
    """
    key = pl.col("leakage") == "key"
    said = pl.all_horizontal(pl.col("owner", "definition", "leakage", "nulls", "since").is_not_null())
    measured = key | (pl.col("window").is_not_null() & pl.col("unit").is_not_null())
    known = pl.col("leakage").is_in(list(LEAKAGE_CLASSES))
    return features.filter(~(said & measured & known).fill_null(value=False))["feature"].to_list()
