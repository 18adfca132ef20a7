"""Reading of contract files: Open Data Contract Standard 3.x YAML, strictly.

Contracts use a closed part of the standard; whatever lies outside it is refused with file, line and
the allowed values, because a demand that is silently ignored is worse than none. The standard's own
JSON Schema costs 0.1 to 0.2 s a file, so it is asked for files that did not pass our tests (`lint`).
What source contracts add to a table contract is in `sources`.
"""

import difflib
import functools
import importlib.resources
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import polars as pl
import yaml
from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)
from pydantic import ValidationError

from insight_assets.contracts.rules import column_rules
from insight_assets.contracts.types import (
    PHYSICAL_TYPES,
    Classification,
    Column,
    Contract,
    ContractError,
    RowRule,
    Scalar,
    logical_type,
    physical_type,
)

if TYPE_CHECKING:
    import jsonschema

Place = tuple[str | int, ...]

STAGES = ("validated", "features", "insights", "profiles")
SNAKE_CASE = re.compile(r"[a-z][a-z0-9_]*")
VERSION = re.compile(r"\d+\.\d+\.\d+")
COUNT_LIMITS = (
    "mustBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
)
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
KEYS: Mapping[str, Collection[str]] = {
    "contract": (
        "apiVersion", "kind", "id", "name", "version", "status", "domain", "tags", "description",
        "team", "schema", "slaProperties", "customProperties", "authoritativeDefinitions",
    ),
    "description": ("purpose", "usage", "limitations"),
    "team": ("name", "description"),
    "slaProperties": ("property", "value", "unit", "element", "description"),
    "customProperties": ("property", "value", "description"),
    "authoritativeDefinitions": ("url", "type", "description"),
    "schema": (
        "name", "logicalType", "physicalType", "description", "dataGranularityDescription",
        "businessName", "tags", "quality", "properties", "customProperties",
    ),
    "properties": (
        "name", "logicalType", "physicalType", "physicalName", "businessName", "description",
        "required", "primaryKey", "primaryKeyPosition", "partitioned", "partitionKeyPosition",
        "classification", "logicalTypeOptions", "quality", "customProperties", "examples", "tags",
        "transformLogic", "transformDescription", "items",
    ),
    "items": ("name", "logicalType", "physicalType", "description", "properties"),
    "quality": (
        "name", "type", "metric", "engine", "implementation", "arguments", "description",
        "dimension", "severity", *COUNT_LIMITS,
    ),
    "arguments": ("validValues", "pattern"),
}  # fmt: skip
TABLE_ONLY = ("physicalName", "transformLogic", "transformDescription", "items")


@dataclass(frozen=True)
class Document:
    """A YAML file read into plain data, with the line on which each value stands."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Place, int]

    def refuse(self, place: Sequence[str | int], message: str) -> NoReturn:
        """Raise a `ContractError` at the nearest known line of a place in the file."""
        place = tuple(place)
        while place not in self.lines:
            place = place[:-1]
        raise ContractError(message, self.path, self.lines[place])

    def demand_one_of(
        self, place: Sequence[str | int], what: str, value: object, allowed: Iterable[object]
    ) -> None:
        """Refuse a value that is not among the allowed ones, with the nearest of them."""
        allowed = tuple(allowed)
        if value not in allowed:
            self.refuse(place, f"unknown {what} {value!r}{suggestion(value, allowed)}")


def suggestion(value: object, allowed: Iterable[object]) -> str:
    """Return the end of a refusal: the nearest allowed value, then all of them."""
    names = [str(name) for name in allowed]
    nearest = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    return f"{hint} allowed: {', '.join(names) or 'nothing'}"


def read_document(path: Path) -> Document:
    """Read one YAML file, remembering lines and refusing duplicate keys.

    Raises:
        ContractError: If the file cannot be read, is no YAML, or is no mapping.
    """
    lines: dict[Place, int] = {}
    try:
        loader = yaml.CSafeLoader(path.read_bytes().decode("utf-8"))
        node = loader.get_single_node()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {type(error).__name__}"
        raise ContractError(message, path) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        message = f"is no YAML: {error.problem}"
        raise ContractError(message, path, line) from error

    def build(node: yaml.Node, place: Place) -> object:
        lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            return [build(child, (*place, i)) for i, child in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return loader.construct_object(node)
        found: dict[str, object] = {}
        for key_node, child in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in found:
                message = f"key {key!r} is given twice"
                raise ContractError(message, path, line)
            found[key] = build(child, (*place, key))
            lines[(*place, key)] = line
        return found

    if not isinstance(node, yaml.MappingNode):
        message = "is no mapping of keys to values"
        raise ContractError(message, path, 1)
    data = build(node, ())
    return Document(path, data, lines)


@functools.cache
def _standard() -> "jsonschema.protocols.Validator":
    """Return the validator of the standard's own JSON Schema, as the library ships it."""
    import jsonschema

    folder = importlib.resources.files("open_data_contract_standard")
    schema = json.loads(folder.joinpath("schema.json").read_text("utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


def lint(document: Document) -> None:
    """Hold a document against the standard's JSON Schema.

    Raises:
        ContractError: At the first place that the schema refuses.
    """
    errors = list(_standard().iter_errors(document.data))
    if errors:
        deepest = max(errors, key=lambda error: len(error.absolute_path))
        place, message = deepest.absolute_path, deepest.message
        if deepest.validator == "required" and "logicalType" not in deepest.instance:
            # The schema then tries every type's own demands and names whichever fails.
            message = "logicalType is missing"
        document.refuse(place, f"against the standard: {message[:300]}")


def read_model(path: Path, *, linted: bool) -> tuple[Document, OpenDataContractStandard]:
    """Read a file and check its keys and plain types.

    Args:
        path: The contract file.
        linted: Also hold it against the standard's JSON Schema.

    Raises:
        ContractError: If a key is unknown or a value has the wrong type.
    """
    document = read_document(path)
    _check_keys(document, document.data, (), "contract")
    for key in ("apiVersion", "kind", "id", "name", "version", "status", "domain", "schema"):
        if key not in document.data:
            document.refuse((), f"key {key!r} is missing")
    if linted:
        lint(document)
    try:
        model = OpenDataContractStandard.model_validate(document.data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        document.refuse(first["loc"], f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    if not str(model.apiVersion).startswith("v3."):
        document.refuse(("apiVersion",), f"apiVersion {model.apiVersion!r}; allowed: v3.x.y")
    if not VERSION.fullmatch(str(model.version)):
        document.refuse(("version",), f"version {model.version!r} is not like 1.0.0")
    document.demand_one_of(("kind",), "kind", model.kind, ["DataContract"])
    stem = path.name.removesuffix(".odcs.yaml")
    if model.name != stem:
        document.refuse(("name",), f"name {model.name!r} differs from the file's, {stem!r}")
    return document, model


def _check_keys(document: Document, value: object, place: Place, kind: str) -> None:
    """Refuse every key that the closed part of the standard does not know."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check_keys(document, item, (*place, i), kind)
    elif isinstance(value, dict):
        for key, child in value.items():
            document.demand_one_of((*place, key), f"key in {kind}", key, KEYS[kind])
            if key in KEYS:
                _check_keys(document, child, (*place, key), key)


def custom_properties(
    document: Document,
    place: Place,
    given: Sequence[CustomProperty] | None,
    allowed: Collection[str],
) -> dict[str, Any]:
    """Return custom properties as a mapping, refusing unknown and repeated ones."""
    values: dict[str, Any] = {}
    for i, item in enumerate(given or ()):
        at = (*place, "customProperties", i)
        document.demand_one_of((*at, "property"), "custom property", item.property, allowed)
        if item.property in values:
            document.refuse((*at, "property"), f"custom property {item.property!r} is given twice")
        values[item.property] = item.value
    return values


def check_name(document: Document, place: Place, name: str | None, taken: Collection[str]) -> str:
    """Return a column's name, refusing what is not snake_case or already there."""
    if name is None or not SNAKE_CASE.fullmatch(name):
        document.refuse((*place, "name"), f"name {name!r} is not snake_case")
    if name in taken:
        document.refuse((*place, "name"), f"column {name!r} is taken already")
    return name


def sql_expression(
    document: Document, place: Place, sql: str, schema: Mapping[str, pl.DataType]
) -> tuple[pl.Expr, pl.DataType]:
    """Parse one SQL expression over one row of a frame with that schema.

    Returns:
        The expression and the type of its result.

    Raises:
        ContractError: If Polars cannot parse it, it names an unknown column, its types do not
            fit, or it looks at more than one row.
    """
    try:
        expression = pl.sql_expr(sql)
    except pl.exceptions.PolarsError as error:
        document.refuse(place, f"SQL cannot be parsed: {_first_line(error)}")
    for name in expression.meta.root_names():
        document.demand_one_of(place, "column in SQL", name, schema)
    try:
        result = pl.DataFrame(schema=schema).select(expression.alias("_result"))
    except pl.exceptions.PolarsError as error:
        document.refuse(place, f"SQL does not fit the columns: {_first_line(error)}")
    # An aggregate makes one row of none; a literal does too, but names no column.
    if (result.height and expression.meta.root_names()) or ".over(" in str(expression):
        document.refuse(place, "SQL must look at one row only, without aggregates")
    return expression, result.schema["_result"]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


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


def _column(
    document: Document, at: Place, item: SchemaProperty, taken: Mapping[str, Column]
) -> Column:
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
    document.demand_one_of(
        (*at, "classification"), "classification", item.classification, classes
    )
    if not item.description:
        document.refuse(at, f"column {name!r} has no description")
    custom = custom_properties(document, at, item.customProperties, ("unit", "window"))
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
        **limits,
    )


def _limits(
    document: Document, at: Place, item: SchemaProperty, dtype: pl.DataType
) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    at = (*at, "logicalTypeOptions")
    for key, value in (item.logicalTypeOptions or {}).items():
        document.demand_one_of(
            (*at, key), f"option of {item.logicalType}", key, OPTIONS[item.logicalType]
        )
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
        document.refuse(at, f"pattern is no regular expression: {_first_line(error)}")
    return str(value)


def _scalar(document: Document, at: Place, value: object, dtype: pl.DataType) -> Scalar:
    """Return a limit or allowed value in the column's own type."""
    try:
        if dtype == pl.String and isinstance(value, str):
            return value
        if dtype == pl.Date and isinstance(value, str):
            return date.fromisoformat(value)
        if isinstance(dtype, pl.Datetime) and isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and dtype.is_integer() and int(value) == value:
            return pl.Series([int(value)], dtype=dtype)[0]
        if number and dtype.is_decimal():
            exact = Decimal(str(value))
            if pl.Series([exact], dtype=dtype)[0] == exact:
                return exact
        if number and dtype.is_float():
            return float(value)
    except (ValueError, OverflowError, TypeError, InvalidOperation, pl.exceptions.PolarsError):
        pass
    document.refuse(at, f"{value!r} is no value of {dtype}")


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
            allowed = tuple(
                _scalar(document, (*where, k), value, dtype) for k, value in enumerate(values)
            )
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
    schema = {name: column.dtype for name, column in columns.items()}
    seen: set[str] = set()
    for i, quality in enumerate(table.quality or ()):
        place = (*at, "quality", i)
        if (quality.type or "library") == "library":
            continue
        _check_kind(document, place, quality, "custom")
        document.demand_one_of(
            (*place, "engine"), "rule engine", quality.engine, ["polars_sql"]
        )
        name = check_name(document, place, quality.name, ())
        if name in seen or name in columns:
            document.refuse((*place, "name"), f"rule {name!r} is named like another or a column")
        seen.add(name)
        sql = quality.implementation
        if not isinstance(sql, str) or not quality.description:
            document.refuse(place, f"rule {name!r} needs implementation text and a description")
        expression, dtype = sql_expression(document, (*place, "implementation"), sql, schema)
        if dtype != pl.Boolean or not expression.meta.root_names():
            document.refuse((*place, "implementation"), f"rule {name!r} is no test of a row")
        yield RowRule(name, None, quality.description, expression.fill_null(value=True))


def _row_count(
    document: Document, at: Place, table: SchemaObject
) -> tuple[int | None, int | None]:
    least = most = None
    for i, quality in enumerate(table.quality or ()):
        place = (*at, "quality", i)
        document.demand_one_of(
            (*place, "type"), "quality type", quality.type or "library", ["library", "custom"]
        )
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


def _partition_column(
    document: Document, at: Place, table: SchemaObject, columns: Mapping[str, Column]
) -> str | None:
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
