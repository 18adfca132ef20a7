"""Row rules: what a contract demands of one row, as Polars expressions, and the pass that judges.

Rules over several rows hold only the primary key (`duplicated`). How often a broken rule is too
often is the validation stage's business.
"""

from collections.abc import Iterator, Sequence

import polars as pl

from insight_assets.contracts.types import Column, RowRule

RULE, COLUMN, RULES = "rule", "column", "rules"


def column_rules(column: Column) -> Iterator[RowRule]:
    """Yield the rules that follow from one column, the plainest first."""
    value = pl.col(column.name)

    def rule(kind: str, demand: str, passes: pl.Expr) -> RowRule:
        return RowRule(
            f"{column.name}.{kind}",
            column.name,
            f"{column.name} {demand}",
            passes.fill_null(value=True),
        )

    if column.required:
        yield rule("required", "is never null", value.is_not_null())
    if column.dtype.is_float():
        yield rule("finite", "is a finite number", value.is_finite())
    if column.allowed is not None:
        names = ", ".join(map(str, column.allowed))
        members = pl.Series(column.allowed, dtype=column.dtype).implode()
        yield rule("enum", f"is one of {names}", value.is_in(members))
    if column.pattern is not None:
        yield rule("pattern", f"matches {column.pattern}", value.str.contains(column.pattern))
    length, items = value.str.len_chars(), value.list.len()
    limits = [
        ("minimum", "is at least", value, "ge", column.minimum, column.dtype),
        ("maximum", "is at most", value, "le", column.maximum, column.dtype),
        ("exclusive_minimum", "is above", value, "gt", column.exclusive_minimum, column.dtype),
        ("exclusive_maximum", "is below", value, "lt", column.exclusive_maximum, column.dtype),
        ("min_length", "has characters, at least", length, "ge", column.min_length, pl.UInt32()),
        ("max_length", "has characters, at most", length, "le", column.max_length, pl.UInt32()),
        ("min_items", "has items, at least", items, "ge", column.min_items, pl.UInt32()),
        ("max_items", "has items, at most", items, "le", column.max_items, pl.UInt32()),
    ]
    for kind, demand, measured, comparison, limit, dtype in limits:
        if limit is not None:
            bound = pl.lit(limit, dtype=dtype)
            yield rule(kind, f"{demand} {limit}", getattr(measured, comparison)(bound))
