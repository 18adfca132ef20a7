"""Table contracts: from a strictly read file to columns, row rules, key and partition."""

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

import polars as pl
from open_data_contract_standard.model import DataQuality, OpenDataContractStandard, SchemaObject, SchemaProperty

from insight_assets.contracts.documents import (
    COUNT_LIMITS,
    Document,
    Place,
    check_name,
    custom_properties,
    first_line,
    read_model,
    sql_expression,
    suggestion,
)
from insight_assets.contracts.rules import column_rules
from insight_assets.contracts.types import (
    PHYSICAL_TYPES,
    Classification,
    Column,
    Contract,
    RowRule,
    Scalar,
    logical_type,
    physical_type,
)

STAGES = ("validated", "features", "insights", "profiles", "monitoring")
NUMBER_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
OPTIONS = {
    "string": ("pattern", "minLength", "maxLength"),
    "integer": NUMBER_LIMITS,
    "number": NUMBER_LIMITS,
    "date": NUMBER_LIMITS,
    "timestamp": NUMBER_LIMITS,
    "array": ("minItems", "maxItems"),
    "boolean": (),
}
TABLE_ONLY = ("physicalName", "transformLogic", "transformDescription", "items")


def load_table(path: Path, *, linted: bool = False) -> Contract:
    """Read the contract of one table.

    Args:
        path: File `<stage>/<table>.odcs.yaml`.
        linted: Also hold it against the standard's JSON Schema.

    Raises:
        ContractError: If anything in the file is unknown, missing or contradictory.
    """
    document, model = read_model(path, linted=linted)
    document.demand_one_of(("domain",), "domain", model.domain, STAGES)
    if len(model.schema_ or ()) != 1:
        document.refuse(("schema",), "a table contract has exactly one schema object")
    table, at = model.schema_[0], ("schema", 0)
    if table.name != model.name:
        document.refuse((*at, "name"), f"schema is named {table.name!r}, not {model.name!r}")
    description = table.description or (model.description and model.description.purpose)
    owner = getattr(model.team, "name", None)
    if not description or not owner or not table.properties:
        document.refuse(at, "a table needs a description, a team's name and properties")
    custom_properties(document, (), model.customProperties, ())
    custom_properties(document, at, table.customProperties, ())

    columns: dict[str, Column] = {}
    for i, item in enumerate(table.properties):
        column = _column(document, (*at, "properties", i), item, columns)
        columns[column.name] = column
    rules = [rule for column in columns.values() for rule in column_rules(column)]
    rules += _table_rules(document, at, table, columns)
    return Contract(
        name=model.name,
        version=model.version,
        stage=model.domain,
        description=description,
        owner=owner,
        columns=tuple(columns.values()),
        primary_key=_primary_key(document, at, table),
        partition_column=_partition_column(document, at, table, columns),
        rules=tuple(rules),
        rows=_row_count(document, at, table),
        retention_days=_retention(document, model),
        path=path,
    )


def _column(document: Document, at: Place, item: SchemaProperty, taken: Mapping[str, Column]) -> Column:
    name = check_name(document, at, item.name, taken)
    for key in TABLE_ONLY:
        if getattr(item, key) is not None:
            document.refuse((*at, key), f"key {key!r} belongs in a source contract only")
    dtype = physical_type(item.physicalType or "")
    if dtype is None:
        hint = suggestion(item.physicalType, PHYSICAL_TYPES)
        document.refuse((*at, "physicalType"), f"unknown physicalType {item.physicalType!r}{hint}")
    logical = logical_type(dtype)
    if item.logicalType != logical:
        message = f"logicalType {item.logicalType!r} does not fit {item.physicalType}; use {logical!r}"
        document.refuse((*at, "logicalType"), message)
    classes = get_args(Classification)
    document.demand_one_of((*at, "classification"), "classification", item.classification, classes)
    if not item.description:
        document.refuse(at, f"column {name!r} has no description")
    custom = custom_properties(document, at, item.customProperties, ("unit", "window", "leakage", "nulls", "since"))
    limits = _limits(document, at, item, dtype)
    limits.update(_valid_values(document, at, item, dtype, limits))
    return Column(
        name=name,
        dtype=dtype,
        physical_type=item.physicalType,
        required=bool(item.required or item.primaryKey or item.partitioned),
        description=item.description,
        classification=item.classification,
        unit=custom.get("unit"),
        window=custom.get("window"),
        leakage=custom.get("leakage"),
        nulls=custom.get("nulls"),
        since=custom.get("since"),
        **limits,
    )


def _limits(document: Document, at: Place, item: SchemaProperty, dtype: pl.DataType) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    at = (*at, "logicalTypeOptions")
    for key, value in (item.logicalTypeOptions or {}).items():
        document.demand_one_of((*at, key), f"option of {item.logicalType}", key, OPTIONS[item.logicalType])
        name = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key)
        if key == "pattern":
            limits[name] = _pattern(document, (*at, key), value)
        elif key in NUMBER_LIMITS:
            limits[name] = _scalar(document, (*at, key), value, dtype)
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            document.refuse((*at, key), f"{key} {value!r} is not a count")
        else:
            limits[name] = value
    for least, most in (
        ("minimum", "maximum"),
        ("exclusive_minimum", "exclusive_maximum"),
        ("min_length", "max_length"),
        ("min_items", "max_items"),
    ):
        if least in limits and most in limits and limits[least] > limits[most]:
            document.refuse(at, f"{least} is above {most}: no value can pass")
    return limits


def _pattern(document: Document, at: Place, value: object) -> str:
    try:
        re.compile(str(value))
        pl.Series([""]).str.contains(str(value))
    except (re.error, pl.exceptions.PolarsError) as error:
        document.refuse(at, f"pattern is no regular expression: {first_line(error)}")
    return str(value)


def _scalar(document: Document, at: Place, value: object, dtype: pl.DataType) -> Scalar:
    """Return a limit or allowed value in the column's own type."""
    try:
        scalar = _as_type(value, dtype)
    except (ValueError, OverflowError, TypeError, InvalidOperation, pl.exceptions.PolarsError):
        scalar = None
    if scalar is None:
        document.refuse(at, f"{value!r} is no value of {dtype}")
    return scalar


# Contracts say `minimum: 0` hundreds of times.
@functools.lru_cache(maxsize=10_000, typed=True)
def _as_type(value: object, dtype: pl.DataType) -> Scalar | None:
    """Return the value without loss in that type, or None or an error where there is none."""
    if isinstance(value, str):
        if dtype == pl.String:
            return value
        if dtype == pl.Date:
            return date.fromisoformat(value)
        moment = datetime.fromisoformat(value) if isinstance(dtype, pl.Datetime) else None
        return moment if moment is None or moment.tzinfo is not None else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if dtype.is_float():
        return float(value)
    exact = Decimal(str(value))
    held = pl.Series([exact], dtype=pl.Decimal(38, 10)).cast(dtype)[0]
    return held if held == exact else None


def _valid_values(
    document: Document, at: Place, item: SchemaProperty, dtype: pl.DataType, limits: Mapping
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i, quality in enumerate(item.quality or ()):
        place = (*at, "quality", i)
        _check_kind(document, place, quality, "library")
        document.demand_one_of((*place, "metric"), "metric", quality.metric, ["invalidValues"])
        if quality.mustBe != 0 or any(getattr(quality, key) is not None for key in COUNT_LIMITS[1:]):
            document.refuse(place, "a row rule tolerates no row: write mustBe: 0")
        arguments = quality.arguments or {}
        if "validValues" in arguments and dtype.base_type() not in (pl.List, pl.Boolean):
            values = arguments["validValues"]
            where = (*place, "arguments", "validValues")
            if not isinstance(values, list) or not values:
                document.refuse(where, "validValues is an empty or no list")
            allowed = tuple(_scalar(document, (*where, k), value, dtype) for k, value in enumerate(values))
            if len(set(allowed)) < len(allowed):
                document.refuse(where, "validValues names a value twice")
            new = {"allowed": allowed}
        elif "pattern" in arguments and dtype == pl.String:
            pattern = _pattern(document, (*place, "arguments", "pattern"), arguments["pattern"])
            new = {"pattern": pattern}
        else:
            message = "invalidValues needs arguments validValues, or pattern for a String column"
            document.refuse(place, message)
        if len(arguments) > 1 or new.keys() & (limits.keys() | found.keys()):
            document.refuse(place, f"{next(iter(new))} is given more than once")
        found |= new
    return found


def _check_kind(document: Document, place: Place, quality: DataQuality, kind: str) -> None:
    document.demand_one_of((*place, "type"), "quality type", quality.type or "library", [kind])
    unused = {"library": ("engine", "implementation"), "custom": ("metric", "arguments")}[kind]
    for key in unused:
        if getattr(quality, key) is not None:
            document.refuse((*place, key), f"key {key!r} does not belong in a {kind} rule")


def _table_rules(
    document: Document, at: Place, table: SchemaObject, columns: Mapping[str, Column]
) -> Iterable[RowRule]:
    probe = pl.DataFrame([_unlike_values(column) for column in columns.values()])
    seen: set[str] = set()
    for i, quality in enumerate(table.quality or ()):
        place = (*at, "quality", i)
        if (quality.type or "library") == "library":
            continue
        _check_kind(document, place, quality, "custom")
        document.demand_one_of((*place, "engine"), "rule engine", quality.engine, ["polars_sql"])
        name = check_name(document, place, quality.name, ())
        if name in seen or name in columns:
            document.refuse((*place, "name"), f"rule {name!r} is named like another or a column")
        seen.add(name)
        if not quality.description:
            document.refuse(place, f"rule {name!r} has no description")
        place = (*place, "implementation")
        expression, dtype = sql_expression(document, place, quality.implementation, probe)
        if dtype != pl.Boolean or not expression.meta.root_names():
            document.refuse(place, f"rule {name!r} is no test of a row")
        yield RowRule(name, None, quality.description, expression.fill_null(value=True))


def _unlike_values(column: Column) -> pl.Series:
    """Return four values of a column for `sql_expression` to try: three unlike ones and null."""
    numbers = pl.Series(column.name, [1, 2, 3, None])
    if isinstance(column.dtype, pl.List):
        return pl.Series(column.name, [[], None, [None], None], dtype=column.dtype)
    if column.dtype == pl.Date:
        return numbers.cast(pl.Int32).cast(pl.Date)
    return (numbers > 1 if column.dtype == pl.Boolean else numbers).cast(column.dtype)


def _row_count(document: Document, at: Place, table: SchemaObject) -> tuple[int | None, int | None]:
    least = most = None
    for i, quality in enumerate(table.quality or ()):
        place = (*at, "quality", i)
        document.demand_one_of((*place, "type"), "quality type", quality.type or "library", ["library", "custom"])
        if quality.type == "custom":
            continue
        _check_kind(document, place, quality, "library")
        document.demand_one_of((*place, "metric"), "metric", quality.metric, ["rowCount"])
        limits = {key: getattr(quality, key) for key in COUNT_LIMITS}
        given = {key: value for key, value in limits.items() if value is not None}
        counts = [n for value in given.values() for n in (value if isinstance(value, list) else [value])]
        if len(given) != 1 or not all(type(n) is int for n in counts):
            document.refuse(place, f"rowCount needs one whole number under {', '.join(COUNT_LIMITS)}")
        key = next(iter(given))
        least, most = {
            "mustBe": (counts[0], counts[0]),
            "mustBeGreaterThan": (counts[0] + 1, most),
            "mustBeGreaterOrEqualTo": (counts[0], most),
            "mustBeLessThan": (least, counts[0] - 1),
            "mustBeLessOrEqualTo": (least, counts[0]),
            "mustBeBetween": (counts[0], counts[-1]),
        }[key]
    return least, most


def _primary_key(document: Document, at: Place, table: SchemaObject) -> tuple[str, ...]:
    key: dict[int, str] = {}
    for i, item in enumerate(table.properties):
        place = (*at, "properties", i, "primaryKeyPosition")
        if bool(item.primaryKey) != (item.primaryKeyPosition is not None):
            document.refuse(place, "primaryKey and primaryKeyPosition belong together")
        if item.primaryKey:
            if item.primaryKeyPosition in key:
                document.refuse(place, f"primaryKeyPosition {item.primaryKeyPosition} is taken")
            key[item.primaryKeyPosition] = item.name
    if sorted(key) != list(range(1, len(key) + 1)) or not key:
        document.refuse(at, "the primary key names no column, or its positions are not 1, 2, ...")
    return tuple(key[position] for position in sorted(key))


def _partition_column(document: Document, at: Place, table: SchemaObject, columns: Mapping[str, Column]) -> str | None:
    marked = [i for i, item in enumerate(table.properties) if item.partitioned]
    if len(marked) > 1:
        document.refuse((*at, "properties", marked[1]), "a table has at most one partition column")
    for i in marked:
        item = table.properties[i]
        if columns[item.name].dtype != pl.Date or item.partitionKeyPosition != 1:
            message = "a partition column is a Date with partitionKeyPosition: 1"
            document.refuse((*at, "properties", i), message)
        return item.name
    return None


def _retention(document: Document, model: OpenDataContractStandard) -> int | None:
    days = None
    for i, sla in enumerate(model.slaProperties or ()):
        place = ("slaProperties", i)
        document.demand_one_of((*place, "property"), "sla property", sla.property, ["retention"])
        document.demand_one_of((*place, "unit"), "unit of retention", sla.unit, ["d"])
        if type(sla.value) is not int or sla.value < 1:
            document.refuse((*place, "value"), f"retention {sla.value!r} is no number of days")
        days = sla.value
    return days
