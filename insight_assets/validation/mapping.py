"""From delivered rows to canonical rows: mapping, judging, and counting what became of each.

Works on the rows of one source and one event day. A delivered row is judged as a whole: if any canonical row made from
it breaks a rule, the delivered row is rejected. Which of several rows with one identity counts is said in `repeats`,
who is a robot in `traffic`; what the shop's ledger makes of accepted rows is in `ledger`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.paths import field_at
from insight_assets.contracts.rules import judge
from insight_assets.contracts.sources import NOT_FOUND, PERSON_COLUMNS, SourceContract, TableMapping
from insight_assets.contracts.traffic import PERSON, TrafficRules, traffic_rules
from insight_assets.contracts.types import RowRule
from insight_assets.ingestion.lines import BROKEN, SIZE_VIOLATION
from insight_assets.ingestion.readers import decode_rows
from insight_assets.ingestion.times import event_day, parse_time, read_moments, time_fault, transport_columns
from insight_assets.validation.attributes import collect_attributes
from insight_assets.validation.currencies import Exchange
from insight_assets.validation.identifiers import KEYS, link_identifiers, replace_all_identifiers
from insight_assets.validation.ledger import IN_BASE, OF_DOCUMENT, complete_amounts, settle_lines
from insight_assets.validation.masking import mask_text
from insight_assets.validation.pseudonyms import hide_identity
from insight_assets.validation.repeats import ROW, settle_repeats
from insight_assets.validation.suppression import rows_naming
from insight_assets.validation.traffic import JUDGED_ONLY, judge_events

CLOCK_AHEAD, TOO_LATE = "clock_ahead", "too_late"
OUTSIDE_PERIOD = "outside_contract_period"
LATE_DAYS = 7
_CLOCKS_AGREE = timedelta(hours=1)
_CLOCK_IS_WRONG = timedelta(hours=24)
_TRY_CAST = re.compile(r"\bTRY_CAST\s*\(", re.IGNORECASE)
_AS = re.compile(r"(.*)\sAS\s(.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class MappedRows:
    """What became of the rows of one source and day.

    Attributes:
        tables: canonical table to its accepted rows.
        rejected: one row per rejected delivered row: file_hash, line, rule, column, rules.
        read: delivered rows.
        accepted: delivered rows that are in a canonical table.
        duplicate: delivered rows dropped because another one with the same identity counts.
        quarantined: delivered rows that were rejected.
        suppressed: delivered rows left out because they speak of somebody who is to be forgotten.
        superseded: of the duplicates, those that say something else than the row that counts.
        renamed: of the accepted rows, those kept under an identity of their own.
        late: of the accepted rows, those known after the end of their event day.
        skewed: of the accepted rows, those of a device whose clock was more than a day off.
        identity_links: pairs of identifiers in accepted rows, as the contract `identity_links` has them.
        attributes: what accepted rows say of customers, as `collect_attributes` gives it; for the vault alone.
    """

    tables: Mapping[str, pl.DataFrame]
    rejected: pl.DataFrame
    identity_links: pl.DataFrame
    attributes: pl.DataFrame
    read: int
    accepted: int
    duplicate: int
    quarantined: int
    suppressed: int
    superseded: int
    renamed: int
    late: int
    skewed: int


@dataclass(frozen=True)
class _Judged:
    """Delivered rows held against the rules, before any is compared with another.

    Attributes:
        rows: decoded delivered rows with their moments, those of people who are to be forgotten left out.
        tables: canonical table to the rows that obey its rules, with the columns `KEYS`.
        rejected: as in `MappedRows`.
    """

    rows: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    rejected: pl.DataFrame


def map_rows(
    raw: pl.DataFrame,
    source: SourceContract,
    *,
    pseudonym: Callable[[str, str], int],
    shop_timezone: str,
    suppressed: Callable[[str], bool] | None = None,
    earlier: pl.DataFrame | None = None,
    late_days: int = LATE_DAYS,
    traffic: TrafficRules | None = None,
    exchange: Exchange = Exchange(),
) -> MappedRows:
    """Make canonical rows of the raw rows of one source and day.

    Args:
        raw: rows of the source's raw table, of one event day.
        source: the source's contract.
        pseudonym: function given by `pseudonymiser`.
        shop_timezone: the shop's time zone.
        suppressed: tells whether an identifier is that of somebody who is to be forgotten; rows that name them are
            left out of every table, quarantine included, and counted. None when nobody is.
        earlier: raw rows of earlier event days that may have an identity of this day's rows.
        late_days: days after which a row comes too late, where the contract says nothing else.
        traffic: rules by which events are told from those of robots; the shipped ones by default.
        exchange: what money of the day is converted with.

    Returns:
        Accepted rows by canonical table, and the account of every delivered row.
    """
    rules = traffic or traffic_rules()
    late = timedelta(days=late_days if source.late_days is None else source.late_days)

    def judged(rows: pl.DataFrame) -> _Judged:
        return _judge_rows(rows, source, pseudonym, shop_timezone, suppressed, late, rules)

    today = judged(raw)
    past = judged(earlier) if earlier is not None and earlier.height else None
    told = pl.concat([_sayings(each.rows, source) for each in (today, past) if each is not None])
    settled = settle_repeats(
        today.tables, past.tables if past else {},
        lambda wanted: told.join(wanted.lazy(), on=ROW, how="semi").collect(), pseudonym=pseudonym,
    )  # fmt: skip
    tables, rejected = settled.tables, today.rejected
    if "order_lines" in tables:
        # Only now is it settled which lines an order has.
        lines, refused = settle_lines(tables["order_lines"], exchange)
        tables = {**tables, "order_lines": lines}
        tables = {name: frame.join(refused, on=ROW, how="anti") for name, frame in tables.items()}
        rejected = _one_a_row([rejected, refused])
    # A delivered row that feeds two tables is one row in which its identifiers were seen together.
    seen = [*ROW, "event_day", "event_time", "source", *KEYS]
    met = pl.concat([frame.select(seen) for frame in tables.values()]).unique()
    people = met
    if "events" in tables:
        # Robots and the shop's own staff sign in as others; what they carry along says nothing of who is who.
        machines = tables["events"].filter(pl.col("traffic") != PERSON).select(ROW)
        people = met.join(machines, on=ROW, how="anti")
    spoken = [*ROW, "event_day", "event_time", "customer_key", *_describing(source)]
    said = pl.concat([frame.select(spoken) for frame in tables.values()]).join(people, on=ROW, how="semi")
    accepted = today.rows.select(*ROW, "event_day", "known_at", "clock_skew").join(met, on=ROW, how="semi")
    return MappedRows(
        tables={table: frame.select(contract(table).polars_schema().names()) for table, frame in tables.items()},
        rejected=rejected,
        identity_links=link_identifiers(people),
        attributes=collect_attributes(said),
        read=raw.height,
        accepted=accepted.height,
        duplicate=settled.repeats.height,
        quarantined=rejected.height,
        suppressed=raw.height - today.rows.height,
        superseded=int(settled.repeats["superseded"].sum()),
        renamed=settled.renamed.height,
        late=accepted.filter(event_day(pl.col("known_at"), shop_timezone) > pl.col("event_day")).height,
        skewed=accepted.filter(pl.col("clock_skew").abs() > _CLOCK_IS_WRONG.total_seconds()).height,
    )


def _sayings(rows: pl.DataFrame, source: SourceContract) -> pl.LazyFrame:
    """Give what delivered rows say: all their delivered columns but those of their journey."""
    # A device that sends again may do so from another network.
    networks = [pl.sql_expr(mapping.expressions["ip"]) for mapping in source.mappings if "ip" in mapping.expressions]
    journey = transport_columns(source).union(*(network.meta.root_names() for network in networks))
    says = [pl.col(column.name) for column in source.delivered if column.name not in journey]
    if source.clock_created is not None:
        says.append(pl.coalesce(source.clock_created, source.time_column).alias("created or corrected"))
    return rows.lazy().select(*ROW, "landed_at", content=pl.struct(says).struct.json_encode())


def _judge_rows(
    raw: pl.DataFrame,
    source: SourceContract,
    pseudonym: Callable[[str, str], int],
    shop_timezone: str,
    suppressed: Callable[[str], bool] | None,
    late: timedelta,
    rules: TrafficRules,
) -> _Judged:
    moments = read_moments(source, shop_timezone=shop_timezone)
    decoded = decode_rows(raw, source)
    if suppressed is not None:
        decoded = decoded.join(rows_naming(decoded, source, suppressed), on=ROW, how="anti")
    decoded = decoded.rename({"event_day": "filed_day", "known_at": "filed_known_at"})
    delivered = decoded.with_columns(event_time=moments.event_time, clock_skew=moments.clock_skew).with_columns(
        event_day=event_day(pl.col("event_time"), shop_timezone),
        known_at=pl.coalesce("filed_known_at", "event_time"),
        source=pl.lit(source.name),
    )
    broken = pl.col("malformed")
    timeless = decoded.filter(delivered["event_time"].is_null() & ~delivered["malformed"])
    waited = pl.col("known_at") - pl.col("event_time")
    in_period = pl.col("event_day").is_between(source.valid_from or date.min, source.valid_to or date.max)
    fault = (
        pl.when(pl.col("event_time").is_null()).then(None)
        .when(~in_period).then(pl.lit(OUTSIDE_PERIOD))
        .when(waited < -_CLOCKS_AGREE).then(pl.lit(CLOCK_AHEAD))
        .when(waited > late).then(pl.lit(TOO_LATE))
        .when(pl.col("event_day") != pl.col("filed_day")).then(pl.lit("event_time.out_of_range"))
    )  # fmt: skip
    timed = delivered.with_columns(fault=fault)
    verdicts = []
    if source.members:
        # Without what it names, a row of a bundle says too little to be judged any further.
        orphaned = pl.col(NOT_FOUND).is_not_null()
        first = pl.col(NOT_FOUND).str.split(" ").list.first()
        about = pl.lit(None, dtype=pl.String)
        verdicts.append(timed.filter(orphaned).select(*ROW, rule=first, column=about, rules=NOT_FOUND))
        timed, timeless = timed.filter(~orphaned), timeless.filter(~orphaned)
    kept = pl.col(BROKEN if BROKEN in timed.columns else "payload")
    giant = kept.str.starts_with(SIZE_VIOLATION).fill_null(value=False)
    malformed = pl.when(giant).then(pl.lit(SIZE_VIOLATION)).otherwise(pl.lit("malformed"))
    verdicts += [
        timed.filter(broken).select(*ROW, **_verdict(malformed, None)),
        timeless.select(*ROW, **_verdict(time_fault(source, shop_timezone=shop_timezone), "event_time")),
        timed.filter(~broken & pl.col("fault").is_not_null()).select(*ROW, **_verdict(pl.col("fault"), "event_time")),
    ]
    rows = timed.filter(~broken & pl.col("event_time").is_not_null() & pl.col("fault").is_null()).drop("fault")
    if source.known_at != "event_time":
        written = pl.col(source.known_at)
        unreadable = ~_is_blank(written) & parse_time(written, source, shop_timezone=shop_timezone).is_null()
        verdicts.append(rows.filter(unreadable).select(*ROW, **_verdict("known_at.type", "known_at")))
    mapped: dict[str, list[pl.DataFrame]] = {}
    reached = []
    for mapping in source.mappings:
        judged = _map_table(rows, source, mapping, pseudonym, rules)
        reached.append(judged.select(ROW))
        verdicts.append(judged.filter(pl.col("rule").is_not_null()).select(*ROW, "rule", "column", "rules"))
        mapped.setdefault(mapping.table, []).append(judged.drop("rule", "column", "rules"))
    stranded = rows.select(ROW).join(pl.concat(reached).unique(), on=ROW, how="anti")
    verdicts.append(stranded.select(*ROW, **_verdict("not_mapped", None)))
    made = {table: pl.concat(frames) for table, frames in mapped.items()}
    for table, frame in made.items():
        # Two canonical rows of one delivered row with one identity: neither is a repeat of an earlier delivery.
        ambiguous = frame.filter(pl.struct(*ROW, *_identity(table)).is_duplicated())
        verdicts.append(ambiguous.select(*ROW, **_verdict("primary_key", None)))
    rejected = _one_a_row(verdicts)
    tables = {table: frame.join(rejected.select(ROW), on=ROW, how="anti") for table, frame in made.items()}
    return _Judged(delivered, tables, rejected)


def _one_a_row(verdicts: list[pl.DataFrame]) -> pl.DataFrame:
    return (
        pl.concat(verdicts)
        .group_by(ROW, maintain_order=True)
        .agg(
            pl.col("rule").first(),
            pl.col("column").first(),
            pl.col("rules").str.split(" ").explode().unique(maintain_order=True).str.join(" "),
        )
    )


def _verdict(rule: str | pl.Expr, column: str | None) -> dict[str, pl.Expr]:
    rule = pl.lit(rule) if isinstance(rule, str) else rule
    return {"rule": rule, "column": pl.lit(column, dtype=pl.String), "rules": rule}


def _identity(table: str) -> list[str]:
    return [name for name in contract(table).primary_key if name != "source"]


def _is_blank(text: pl.Expr) -> pl.Expr:
    return text.is_null() | (text.str.strip_chars() == "")


def _map_table(
    rows: pl.DataFrame,
    source: SourceContract,
    mapping: TableMapping,
    pseudonym: Callable[[str, str], int],
    rules: TrafficRules,
) -> pl.DataFrame:
    of = contract(mapping.table)
    rows = rows.with_columns(item=pl.lit(1, dtype=pl.Int64))
    if mapping.rows is not None:
        fields = next(column.items for column in source.delivered if column.name == mapping.rows)
        rows = (
            rows.filter(pl.col(mapping.rows).list.len() > 0)
            .with_columns(item=pl.int_ranges(1, pl.col(mapping.rows).list.len() + 1, dtype=pl.Int64))
            .explode(mapping.rows, "item")
            .with_columns(field_at(pl.col(mapping.rows), field.path).alias(field.name) for field in fields)
        )
    if mapping.where is not None:
        rows = rows.filter(pl.sql_expr(mapping.where))
    keys = {key: pl.Int64() for key in KEYS if key not in of.polars_schema()}
    beside = _describing(source) | (OF_DOCUMENT if mapping.table == "order_lines" else {})
    schema = of.polars_schema() | beside | keys | dict.fromkeys(("rule", "column", "rules"), pl.String())
    if rows.is_empty():
        # Most mappings of a source of many files have nothing to do on most days.
        return pl.DataFrame(schema=schema)
    expressions = {name: pl.sql_expr(sql) for name, sql in mapping.expressions.items()}
    casts = _type_rules(mapping)
    made = rows.select(
        "file_hash", "line", "item", "source", "event_time", "event_day", "known_at", "clock_skew",
        *(rule.passes.alias(rule.name) for rule in casts),
        *(expression.alias(name) for name, expression in expressions.items() if name not in ROW),
    )
    made = replace_all_identifiers(made, pseudonym)
    made = made.with_columns(
        hide_identity(made[name], pseudonym).alias(name) for name in _telling_identities(source, mapping, expressions)
    )
    written = [name for name in _written_by_people(source, mapping, expressions) if made.schema[name] == pl.String]
    made = made.with_columns(mask_text(pl.col(name)) for name in written)
    made = made.with_columns(actor_key=pl.coalesce("customer_key", "visitor_key"))
    if mapping.table == "events":
        made = made.with_columns(judge_events(made, rules.events)).drop(JUDGED_ONLY, strict=False)
    columns = [column for column in of.columns if column.name in made.columns]
    typed = [pl.col(column.name).cast(column.dtype, strict=False) for column in columns]
    # What a type cannot hold, a product of large numbers for one, is no reason to lose the day.
    fits = tuple(
        RowRule(f"{c.name}.too_large", c.name, f"{c.name} fits its type", pl.col(c.name).is_null() | cast.is_not_null())
        for c, cast in zip(columns, typed, strict=True)
        if made.schema[c.name] != c.dtype
    )
    made = made.with_columns(*typed, *(rule.passes.alias(rule.name) for rule in fits))
    if mapping.table == "order_lines":
        made = complete_amounts(made, taxed=source.prices_include_tax, nested=mapping.rows is not None)
        # Who placed an order is judged once the whole day is known.
        made = made.with_columns(traffic=pl.lit(PERSON), unless_told=pl.lit(mapping.unless_told, dtype=pl.String))
    missing = [pl.lit(None, dtype=c.dtype).alias(c.name) for c in of.columns if c.name not in made.columns]
    described = (
        (pl.col(name).cast(pl.String) if name in made.columns else pl.lit(None, dtype=dtype)).alias(name)
        for name, dtype in _describing(source).items()
    )
    already = tuple(RowRule(r.name, r.column, r.description, pl.col(r.name)) for r in (*casts, *fits))
    rules_now = (rule for rule in of.row_rules() if rule.column not in IN_BASE)
    judged = judge(made.with_columns(*missing, *described).lazy(), (*already, *rules_now)).collect()
    return judged.select(*schema)


def _describing(source: SourceContract) -> dict[str, pl.DataType]:
    """Give the columns, with their types, in which any mapping of a source describes people."""
    mapped = {name for mapping in source.mappings for name in mapping.expressions}
    return {name: dtype for name, dtype in PERSON_COLUMNS.items() if name in mapped}


def _written_by_people(
    source: SourceContract, mapping: TableMapping, expressions: Mapping[str, pl.Expr]
) -> Iterator[str]:
    """Name the columns of canonical rows that hold, or are made from, what people wrote."""
    free = {
        each.name
        for column in source.delivered
        for each in (column, *column.items)
        if each.classification == "free_text"
    }
    for column in contract(mapping.table).columns:
        if column.name in expressions and (
            column.classification == "free_text" or free & set(expressions[column.name].meta.root_names())
        ):
            yield column.name


def _telling_identities(
    source: SourceContract, mapping: TableMapping, expressions: Mapping[str, pl.Expr]
) -> Iterator[str]:
    """Name the identities of canonical rows that are put together from what identifies a person."""
    personal = {
        each.name
        for column in source.delivered
        for each in (column, *column.items)
        if each.classification == "personal"
    }
    for column in contract(mapping.table).columns:
        is_identity = column.name.endswith("_id") or column.name == "delivered_session"
        if is_identity and column.name in expressions and personal & set(expressions[column.name].meta.root_names()):
            yield column.name


def _type_rules(mapping: TableMapping) -> tuple[RowRule, ...]:
    """Rules that forbid a cast to make a null of something that was written, one a delivered column."""
    passes: dict[str, pl.Expr] = {}
    for inner, wanted in dict.fromkeys(cast for sql in mapping.expressions.values() for cast in _casts(sql)):
        value = pl.sql_expr(inner)
        kept = _is_blank(value.cast(pl.String)) | pl.sql_expr(f"TRY_CAST({inner} AS {wanted})").is_not_null()
        for name in value.meta.root_names()[:1]:
            passes[name] = passes.get(name, pl.lit(value=True)) & kept
    return tuple(
        RowRule(f"{name}.type", name, f"{name} is written as its type", kept) for name, kept in passes.items()
    )


def _casts(sql: str) -> Iterator[tuple[str, str]]:
    """Find what a SQL expression tries to cast, and to which type: pairs of expression and type."""
    for start in _TRY_CAST.finditer(sql):
        depth, quoted = 1, False
        for end in range(start.end(), len(sql)):
            quoted ^= sql[end] == "'"
            depth += 0 if quoted else (sql[end] == "(") - (sql[end] == ")")
            if depth == 0:
                if found := _AS.fullmatch(sql[start.end() : end]):
                    yield found[1].strip(), found[2].strip()
                break
