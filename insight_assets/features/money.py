"""Money as features see it: in the base currency, and how often a customer bought when orders were given back.

Everything to the right of the validated tables reads the ledger through here, so that no sum mixes currencies.
"""

import polars as pl


def in_base_currency(ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Give rows of `orders` or `order_lines` with their money in the base currency, under the plain names.

    What was cancelled counts as given back: `refunded` holds both, so that net is gross less discount less refunded.
    """
    return ledger.with_columns(
        *(pl.col(f"{name}_base").alias(name) for name in ("gross", "discount", "net")),
        refunded=pl.col("refunded_base") + pl.col("cancelled_base"),
    )
