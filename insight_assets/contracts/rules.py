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


def judge(frame: pl.LazyFrame, rules: Sequence[RowRule]) -> pl.LazyFrame:
    """Add to each row what it broke, in one pass over the columns.

    The names are put together for broken rows only: on a million rows and 34 rules that costs
    0.1 s clean and 0.25 s at 2 % broken, against 0.4 s for naming in plain expressions.

    Args:
        frame: Rows with the columns that the rules look at.
        rules: In the order in which they are tried.

    Returns:
        The frame with three String columns more, null for a good row: `rule` (the first one
        broken), `column` (what that rule is about, null for a rule over several columns) and
        `rules` (all broken ones, separated by a blank).
    """
    names = [rule.name for rule in rules]
    columns = pl.Series([rule.column for rule in rules], dtype=pl.String)
    verdict = pl.Struct(dict.fromkeys((RULE, COLUMN, RULES), pl.String))
    if not rules:
        nothing = pl.lit(None, pl.String)
        return frame.with_columns(nothing.alias(name) for name in (RULE, COLUMN, RULES))

    def name_broken(passed: Sequence[pl.Series]) -> pl.Series:
        # A rule over literals or a frame of one row may come as one value for all rows.
        table = pl.DataFrame([mask.alias(name) for mask, name in zip(passed, names, strict=True)])
        good = table.select(pl.all_horizontal(pl.all())).to_series()
        if good.all():
            return pl.Series([None], dtype=verdict).new_from_index(0, len(good))
        broken = table.filter(~good).select(
            pl.coalesce(pl.when(~pl.col(name)).then(pl.lit(name)) for name in names).alias(RULE),
            pl.concat_str(
                (pl.when(~pl.col(name)).then(pl.lit(name)) for name in names),
                separator=" ",
                ignore_nulls=True,
            ).alias(RULES),
        )
        about = pl.col(RULE).replace_strict(names, columns, return_dtype=pl.String).alias(COLUMN)
        told = broken.select(RULE, about, RULES).to_struct()
        place = pl.select(pl.when(~good).then((~good).cast(pl.UInt32).cum_sum() - 1)).to_series()
        return told.gather(place)

    told = pl.map_batches([rule.passes for rule in rules], name_broken, return_dtype=verdict, is_elementwise=True)
    return frame.with_columns(told.alias("_verdict")).unnest("_verdict")


def duplicated(key: Sequence[str]) -> pl.Expr:
    """Return the test of a row that shares its key with another row of the frame."""
    return pl.struct(key).is_duplicated()
