"""From delivered rows to canonical rows: mapping, judging, and telling duplicates.

Works on the rows of one source and one event day. A delivered row is judged as a whole: if any canonical row made from
it breaks a rule, the delivered row is rejected. What the shop's ledger makes of accepted rows is in `ledger.py`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.rules import judge
from insight_assets.contracts.sources import SourceContract, TableMapping
from insight_assets.contracts.types import RowRule
from insight_assets.ingestion.readers import decode_rows, json_field
from insight_assets.ingestion.times import event_day, parse_time
from insight_assets.validation.pseudonyms import CUSTOMER, VISITOR, replace_identifiers

ROW = ["file_hash", "line"]
_TRY_CAST = re.compile(r"TRY_CAST\(\s*\"?(\w+)\"?\s+AS\s+(\w+(?:\([\d, ]+\))?)\s*\)", re.IGNORECASE)


@dataclass(frozen=True)
class MappedRows:
    """What became of the rows of one source and day.

    Attributes:
        tables: canonical table to its accepted rows.
        rejected: one row per rejected delivered row: file_hash, line, rule, column, rules.
        read: delivered rows.
        accepted: delivered rows that are in a canonical table.
        duplicate: delivered rows dropped because an earlier one has the same identity.
        quarantined: delivered rows that were rejected.
    """

    tables: Mapping[str, pl.DataFrame]
    rejected: pl.DataFrame
    read: int
    accepted: int
    duplicate: int
    quarantined: int


def map_rows(
    raw: pl.DataFrame, source: SourceContract, *, pseudonym: Callable[[str, str], int], shop_timezone: str
) -> MappedRows:
    """Make canonical rows of the raw rows of one source and day.

    Args:
        raw: rows of the source's raw table, of one event day.
        source: the source's contract.
        pseudonym: function given by `pseudonymiser`.
        shop_timezone: the shop's time zone.

    Returns:
        Accepted rows by canonical table, and the account of every delivered row.
    """
    rows = decode_rows(raw.sort("known_at", "file_hash", "line", nulls_last=True), source)
    time = parse_time(pl.col(source.time_column), source, shop_timezone=shop_timezone)
    rows = rows.rename({"event_day": "filed_day", "known_at": "filed_known_at"}).with_columns(event_time=time)
    rows = rows.with_columns(
        event_day=event_day(pl.col("event_time"), shop_timezone),
        known_at=pl.coalesce("filed_known_at", "event_time"),
        source=pl.lit(source.name),
    )
    misfiled = pl.col("event_time").is_not_null() & (pl.col("event_day") != pl.col("filed_day"))
    verdicts = [
        rows.filter(pl.col("malformed")).select(*ROW, **_verdict("malformed", None)),
        rows.filter(misfiled).select(*ROW, **_verdict("event_time.out_of_range", "event_time")),
    ]
    rows = rows.filter(~pl.col("malformed") & ~misfiled)
    mapped: dict[str, list[pl.DataFrame]] = {}
    reached = []
    for mapping in source.mappings:
        judged = _map_table(rows, source, mapping, pseudonym)
        reached.append(judged.select(ROW))
        verdicts.append(judged.filter(pl.col("rule").is_not_null()).select(*ROW, "rule", "column", "rules"))
        mapped.setdefault(mapping.table, []).append(judged.drop("rule", "column", "rules"))
    stranded = rows.join(pl.concat(reached).unique(), on=ROW, how="anti")
    verdicts.append(stranded.select(*ROW, **_verdict("not_mapped", None)))
    rejected = (
        pl.concat(verdicts)
        .group_by(ROW, maintain_order=True)
        .agg(pl.col("rule").first(), pl.col("column").first(), pl.col("rules").str.join(" "))
    )
    tables = {
        table: pl.concat(frames).join(rejected.select(ROW), on=ROW, how="anti") for table, frames in mapped.items()
    }
    repeats = _repeated_rows(tables, source)
    tables = {table: frame.join(repeats, on=ROW, how="anti") for table, frame in tables.items()}
    accepted = pl.concat([frame.select(ROW) for frame in tables.values()]).unique().height
    return MappedRows(tables, rejected, raw.height, accepted, repeats.height, rejected.height)


def _verdict(rule: str, column: str | None) -> dict[str, pl.Expr]:
    return {"rule": pl.lit(rule), "column": pl.lit(column, dtype=pl.String), "rules": pl.lit(rule)}


def _repeated_rows(tables: Mapping[str, pl.DataFrame], source: SourceContract) -> pl.DataFrame:
    """Find delivered rows whose identity an earlier delivered row already has (rows are in order of knowledge)."""
    found = [pl.DataFrame(schema={"file_hash": pl.String, "line": pl.Int64})]
    for table, frame in tables.items():
        key = [name for name in contract(table).primary_key if name != "source"]
        first = pl.struct(ROW) == pl.struct(ROW).first().over(key)
        again = pl.int_range(pl.len()).over(key) > 0
        found.append(frame.filter(~first | again).select(ROW))
    return pl.concat(found).unique(maintain_order=True)


def _map_table(
    rows: pl.DataFrame, source: SourceContract, mapping: TableMapping, pseudonym: Callable[[str, str], int]
) -> pl.DataFrame:
    of = contract(mapping.table)
    rows = rows.with_columns(item=pl.lit(1, dtype=pl.Int64))
    if mapping.rows is not None:
        fields = next(column.items for column in source.delivered if column.name == mapping.rows)
        rows = (
            rows.filter(pl.col(mapping.rows).list.len() > 0)
            .with_columns(item=pl.int_ranges(1, pl.col(mapping.rows).list.len() + 1, dtype=pl.Int64))
            .explode(mapping.rows, "item")
            .with_columns(json_field(pl.col(mapping.rows), field.path).alias(field.name) for field in fields)
        )
    if mapping.where is not None:
        rows = rows.filter(pl.sql_expr(mapping.where))
    expressions = {name: pl.sql_expr(sql) for name, sql in mapping.expressions.items()}
    casts = _type_rules(mapping)
    made = rows.select(
        "file_hash", "line", "item", "source", "event_time", "event_day", "known_at",
        *(rule.passes.alias(rule.name) for rule in casts),
        *(expression.alias(name) for name, expression in expressions.items() if name not in ROW),
    )
    for pseudo, kind, key in (("customer_id", CUSTOMER, "customer_key"), ("visitor_id", VISITOR, "visitor_key")):
        ids = made[pseudo] if pseudo in made.columns else pl.Series([None] * made.height, dtype=pl.String)
        made = made.with_columns(replace_identifiers(ids.cast(pl.String), kind, pseudonym).alias(key))
    made = made.with_columns(actor_key=pl.coalesce("customer_key", "visitor_key"))
    made = made.with_columns(
        pl.col(column.name).cast(column.dtype) for column in of.columns if column.name in made.columns
    )
    missing = [pl.lit(None, dtype=c.dtype).alias(c.name) for c in of.columns if c.name not in made.columns]
    already = tuple(RowRule(r.name, r.column, r.description, pl.col(r.name)) for r in casts)
    judged = judge(made.with_columns(missing).lazy(), (*already, *of.row_rules())).collect()
    return judged.select(*of.polars_schema(), "rule", "column", "rules")


def _type_rules(mapping: TableMapping) -> tuple[RowRule, ...]:
    """Rules that forbid a cast to make a null of something that was written."""
    rules = []
    for name, sql in mapping.expressions.items():
        casts: Sequence[tuple[str, str]] = _TRY_CAST.findall(sql)
        if not casts:
            continue
        passes = pl.lit(value=True)
        for column, wanted in dict.fromkeys(casts):
            blank = pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")
            passes &= blank | pl.sql_expr(f'TRY_CAST("{column}" AS {wanted})').is_not_null()
        rules.append(RowRule(f"{name}.type", name, f"{name} is written as its type", passes))
    return tuple(rules)
