"""What a published partition looks like in figures: one pass over its rows, a few hundred numbers out.

Which columns are measured and how follows from the table's contract. No figure is a value of a customer: columns of
persons are only counted, items are told of enumerated columns and of public ones with few values, and quantiles only
of enough rows. What is unusual about the figures is judged in `drift`.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import PRIMARY_KEY
from insight_assets.contracts.types import Column, Contract, RowRule

PROFILED = ("events", "order_lines", "orders")
QUARANTINE = "quarantine"
FEWEST_ROWS = 20
"""Rows below which a day has no quantiles and no shares of items: they would be those of a few people."""
MOST_ITEMS = 24
"""Values above which an open column is no category, e.g. a name or an identifier."""
LEAST_SHARE = 0.01
"""Share of the rows below which an item of an open column is not told."""
ANY_RULE = "any rule"

TIME, DAY = "event_time", "event_day"
# Where a row stood and when it came says nothing of what it says.
_PLACE = frozenset({"file_hash", "line", "known_at", "landed_at", "clock_skew", "duplicate_of", DAY})
_CURRENCY = "^[A-Z]{3}$"
_KEY = ("table_name", "metric", "column_name", "item")


def profile_days(name: str, rows: pl.LazyFrame, days: Sequence[date], *, timezone: str) -> pl.DataFrame:
    """Measure the partitions of one table.

    Args:
        name: name of its contract.
        rows: rows of those days, as the contract has them.
        days: event days to measure; a day without rows has the one figure `rows`.
        timezone: the shop's time zone, in which hours are told.

    Returns:
        Rows of the contract `partition_profiles`.
    """
    of = contract(name)
    measured = dict(_measures(of, timezone))
    plain = {key: expr for key, expr in measured.items() if key[0] != "share"}
    names = {key: str(place) for place, key in enumerate(measured)}
    wide = rows.group_by(DAY).agg(expr.alias(names[key]) for key, expr in measured.items()).collect()
    told = pl.DataFrame([(number, *key) for key, number in names.items()], orient="row", schema=["number", *_KEY[1:]])
    figures = (
        wide.select(DAY, *(pl.col(names[key]).cast(pl.Float64) for key in plain))
        .unpivot(index=DAY, variable_name="number").drop_nulls().join(told, on="number")
    )
    counts = wide.select(DAY, rows=pl.col(names["rows", "", ""]))
    shares = [
        _item_shares(wide.select(DAY, counted=names[key]), of.column(key[1]), counts)
        for key in measured
        if key not in plain
    ]
    empty = pl.DataFrame({DAY: sorted(set(days) - set(wide[DAY]))}, schema={DAY: pl.Date}).with_columns(
        metric=pl.lit("rows"), column_name=pl.lit(""), item=pl.lit(""), value=pl.lit(0.0)
    )
    return _conform([figures, *shares, empty], name)


def profile_quarantine(
    quarantine: pl.LazyFrame, tables: Sequence[pl.LazyFrame], days: Sequence[date]
) -> pl.DataFrame:
    """Measure which share of each day's delivered rows was quarantined, by rule.

    Args:
        quarantine: rows of the contract `quarantine`.
        tables: canonical tables with `source`, `file_hash` and `line`, which name the delivered row.
        days: event days to measure.

    Returns:
        Rows of the contract `partition_profiles` for the table `quarantine`. The share is of the rows that are in a
        table or in quarantine; duplicates, which are in neither, do not count.
    """
    place = [DAY, "source", "file_hash", "line"]
    accepted = pl.concat([table.filter(pl.col("file_hash") != "derived").select(place) for table in tables])
    read = pl.concat([accepted, quarantine.select(place)]).unique().group_by(DAY).agg(read=pl.len())
    counts = pl.LazyFrame({DAY: sorted(set(days))}, schema={DAY: pl.Date}).join(read, on=DAY, how="left")
    any_rule = quarantine.select(DAY, item=pl.lit(ANY_RULE))
    rejected = pl.concat([any_rule, quarantine.select(DAY, item=pl.col("rule"))]).group_by(DAY, "item").agg(n=pl.len())
    # A day on which nothing was rejected says so.
    every_day = counts.select(DAY, item=pl.lit(ANY_RULE))
    items = pl.concat([every_day, rejected.select(DAY, "item")]).unique()
    shares = (
        items.join(rejected, on=[DAY, "item"], how="left").join(counts.filter(pl.col("read") > 0), on=DAY)
        .select(
            DAY, metric=pl.lit("quarantined_share"), column_name=pl.lit(""), item="item",
            value=pl.col("n").fill_null(0) / pl.col("read"),
        )
    )
    rows = counts.select(
        DAY, metric=pl.lit("rows"), column_name=pl.lit(""), item=pl.lit(""),
        value=pl.col("read").fill_null(0).cast(pl.Float64),
    )
    return _conform([rows.collect(), shares.collect()], QUARANTINE)


def quality_rules(of: Contract) -> Iterator[RowRule]:
    """Give the row rules of a contract's quality section: those over several columns, enumerations and patterns."""
    for rule in of.row_rules():
        if rule.column is None or rule.name.endswith((".enum", ".pattern")):
            yield rule


def is_enumerated(column: Column) -> bool:
    """Whether a column's values are names that the contract or a standard fixes."""
    return column.allowed is not None or column.dtype == pl.Boolean or column.pattern == _CURRENCY


def _measures(of: Contract, timezone: str) -> Iterator[tuple[tuple[str, str, str], pl.Expr]]:
    """Yield (metric, column, item) and how it is computed; a `share` gives counts by item instead of a number."""
    rows = pl.len()
    yield ("rows", "", ""), rows
    for rule in quality_rules(of):
        yield ("broken", rule.column or "", rule.name), (~rule.passes).sum()
    key = pl.struct([name for name in of.table_key if name != DAY])
    yield ("broken", "", PRIMARY_KEY), rows - key.n_unique()
    said = [c.name for c in of.columns if c.name not in {*of.primary_key, *_PLACE} and c.classification != "free_text"]
    yield ("repeated_share", "", ""), 1 - pl.struct(said).hash(seed=0).n_unique() / rows
    if TIME in of.polars_schema():
        yield from _hours(timezone)
    for column in of.columns:
        value = pl.col(column.name)
        if not column.required:
            yield ("null_share", column.name, ""), value.null_count() / rows
        if column.name in _PLACE or column.classification in {"personal", "free_text"}:
            continue
        if column.classification == "pseudonym" or column.name == "product_id":
            yield ("distinct", column.name, ""), value.drop_nulls().n_unique()
        elif is_enumerated(column) or _may_be_category(of, column):
            yield ("share", column.name, ""), value.drop_nulls().value_counts()
        elif column.dtype.is_numeric():
            number = value.to_physical() if isinstance(column.dtype, pl.Decimal) else value
            unit = 10.0**column.dtype.scale if isinstance(column.dtype, pl.Decimal) else 1.0
            # Refunds of most lines are 0: how many are is one figure, how large the others are is another.
            given = number.filter(number != 0)
            yield ("zero_share", column.name, ""), (number == 0).sum() / rows
            for metric, share in (("median", 0.5), ("quantile_90", 0.9)):
                quantile = given.quantile(share, "lower") / unit
                yield (metric, column.name, ""), pl.when(given.len() >= FEWEST_ROWS).then(quantile)


def _hours(timezone: str) -> Iterator[tuple[tuple[str, str, str], pl.Expr]]:
    local = pl.col(TIME).dt.convert_time_zone(timezone)
    hour = local.dt.hour().cast(pl.Int32)
    moment = hour + local.dt.minute().cast(pl.Float64) / 60
    yield ("first_hour", TIME, ""), moment.min()
    yield ("last_hour", TIME, ""), moment.max()
    yield ("hours_covered", TIME, ""), hour.n_unique()
    yield ("busiest_hour_share", TIME, ""), hour.unique_counts().max() / pl.len()


def _may_be_category(of: Contract, column: Column) -> bool:
    identity = column.name.endswith(("_id", "_name")) or (column.name in of.primary_key and column.name != "source")
    fit = column.classification == "public" or column.name == "source"
    return fit and column.dtype == pl.String and not identity


def _item_shares(counted: pl.DataFrame, column: Column, rows: pl.DataFrame) -> pl.DataFrame:
    """Turn the counts of a column's values into shares of its days' rows."""
    items = (
        counted.explode("counted").drop_nulls().unnest("counted").rename({column.name: "item"})
        .join(rows, on=DAY).filter(pl.col("rows") >= FEWEST_ROWS)
        .with_columns(pl.col("item").cast(pl.String), value=pl.col("count") / pl.col("rows"))
    )
    if not is_enumerated(column):
        few = pl.len().over(DAY) <= MOST_ITEMS
        items = items.filter(few).filter(pl.col("value") >= LEAST_SHARE)
    return items.select(DAY, "item", "value", metric=pl.lit("share"), column_name=pl.lit(column.name))


def _conform(parts: Sequence[pl.DataFrame], name: str) -> pl.DataFrame:
    of = contract("partition_profiles")
    frame = pl.concat([part.with_columns(table_name=pl.lit(name)).select(DAY, *_KEY, "value") for part in parts])
    return of.conform(frame).collect()
