"""Strict reading of Open Data Contract Standard 3.x files, whatever they describe.

Contracts use a closed part of the standard; whatever lies outside it is refused with file, line and the allowed
values, because a demand that is silently ignored is worse than none. The standard's own JSON Schema costs 0.1 to
0.2 s a file, so it is asked only for files that did not pass our tests (`lint`). What a table's contract demands is
read in `loading`, what a source's contract demands in `sources`.
"""

import difflib
import functools
import importlib.resources
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl
import yaml
from open_data_contract_standard.model import CustomProperty, OpenDataContractStandard
from pydantic import ValidationError

from insight_assets.contracts.types import ContractError

if TYPE_CHECKING:
    import jsonschema

Place = tuple[str | int, ...]

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

    def demand_one_of(self, place: Sequence[str | int], what: str, value: object, allowed: Iterable[object]) -> None:
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
    # A column without logicalType, which the standard's text allows, meets every type's demands.
    errors = [
        error
        for error in _standard().iter_errors(document.data)
        if error.validator != "required" or error.validator_value not in (["map"], ["dimensions"])
    ]
    if errors:
        deepest = max(errors, key=lambda error: len(error.absolute_path))
        place, message = deepest.absolute_path, deepest.message
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
    check_name(document, (), model.name, ())
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


def sql_expression(document: Document, place: Place, sql: object, probe: pl.DataFrame) -> tuple[pl.Expr, pl.DataType]:
    """Parse one SQL expression over one row of frames like `probe`.

    Args:
        document: File that holds the expression.
        place: Where it stands there.
        sql: The expression.
        probe: Some unlike rows with the columns that it may name.

    Returns:
        The expression and the type of its result.

    Raises:
        ContractError: If Polars cannot parse it, it names an unknown column, its types do not
            fit, it raises on a value of the probe, or it looks at more than one row.
    """
    expression = _parsed(document, place, sql, probe)
    try:
        dtype = _types_of([expression], probe)[0]
    except pl.exceptions.PolarsError as error:
        document.refuse(place, f"SQL does not fit the columns: {first_line(error)}")
    try:
        by_row = _looks_at_one_row([expression], probe)
    except pl.exceptions.PolarsError:
        document.refuse(place, "SQL raises on values it cannot read: use TRY_CAST")
    if not by_row:
        document.refuse(place, "SQL must look at one row only, without aggregates or windows")
    return expression, dtype


def sql_expressions(
    document: Document, written: Mapping[Place, object], probe: pl.DataFrame
) -> list[tuple[pl.Expr, pl.DataType]]:
    """Parse SQL expressions as `sql_expression` does, trying them on the probe together.

    A contract holds dozens: one pass for all of them costs a tenth of one for each.

    Args:
        document: File that holds the expressions.
        written: The expressions by the place where they stand.
        probe: Some unlike rows with the columns that they may name.

    Raises:
        ContractError: As `sql_expression` does, at the first one that is refused.
    """
    if not written:
        return []
    expressions = [_parsed(document, place, sql, probe) for place, sql in written.items()]
    try:
        dtypes = _types_of(expressions, probe)
        good = _looks_at_one_row(expressions, probe)
    except pl.exceptions.PolarsError:
        good = False
    if good:
        return list(zip(expressions, dtypes, strict=True))
    return [sql_expression(document, place, sql, probe) for place, sql in written.items()]


def _parsed(document: Document, place: Place, sql: object, probe: pl.DataFrame) -> pl.Expr:
    if not isinstance(sql, str):
        document.refuse(place, f"{sql!r} is no SQL text")
    try:
        expression = pl.sql_expr(sql)
    except pl.exceptions.PolarsError as error:
        document.refuse(place, f"SQL cannot be parsed: {first_line(error)}")
    for name in expression.meta.root_names():
        document.demand_one_of(place, "column in SQL", name, probe.columns)
    return expression


def _numbered(expressions: Sequence[pl.Expr]) -> list[pl.Expr]:
    return [expression.alias(f"_result_{i}") for i, expression in enumerate(expressions)]


def _types_of(expressions: Sequence[pl.Expr], probe: pl.DataFrame) -> list[pl.DataType]:
    return list(probe.clear().select(_numbered(expressions)).schema.values())


def _looks_at_one_row(expressions: Sequence[pl.Expr], probe: pl.DataFrame) -> bool:
    if any(".over(" in str(expression) for expression in expressions):
        return False
    numbered = _numbered(expressions)
    names = [f"_result_{i}" for i in range(len(numbered))]
    frames = [probe, *probe.iter_slices(1)]
    together, *alone = pl.collect_all(
        [frame.lazy().with_columns(numbered).select(names) for frame in frames], optimizations=pl.QueryOptFlags.none()
    )
    return together.equals(pl.concat(alone))


def first_line(error: Exception) -> str:
    """Return what an error says, without the plan that Polars appends."""
    return str(error).strip().splitlines()[0]
