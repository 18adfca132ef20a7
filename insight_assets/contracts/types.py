"""What a table contract is once it is read: columns, row rules and the checks they stand for.

Holds the frozen records and the physical types. Reading files belongs in `loading`, finding them in
`catalogue`, turning columns into rules in `rules`. Nothing here imports Dagster, Pandera or Great
Expectations before a method that needs them is called.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    import great_expectations as gx
    import pandera.polars as pa

Classification = Literal["public", "internal", "pseudonym", "personal", "free_text"]
Scalar = str | int | float | bool | Decimal | date | datetime

SIMPLE_TYPES: Mapping[str, pl.DataType] = {
    "String": pl.String(),
    "Int64": pl.Int64(),
    "Int32": pl.Int32(),
    "Int16": pl.Int16(),
    "Int8": pl.Int8(),
    "Float64": pl.Float64(),
    "Float32": pl.Float32(),
    "Boolean": pl.Boolean(),
    "Date": pl.Date(),
    "Datetime(UTC)": pl.Datetime("us", "UTC"),
}
PHYSICAL_TYPES = (*SIMPLE_TYPES, "Decimal(precision,scale)", "List(type)")


class ContractError(ValueError):
    """A contract, or a frame held against it, is not what it must be.

    Attributes:
        path: File of the contract; None when no file is to blame.
        line: 1-based line in that file; None when unknown.
    """

    def __init__(self, message: str, path: Path | None = None, line: int | None = None) -> None:
        """Put where it stands before what is wrong."""
        self.path = path
        self.line = line
        where = "".join(f"{part}:" for part in (path, line) if part is not None)
        super().__init__(f"{where} {message}" if where else message)


def physical_type(text: str) -> pl.DataType | None:
    """Return the Polars type that a contract's `physicalType` names, or None when it names none."""
    if text in SIMPLE_TYPES:
        return SIMPLE_TYPES[text]
    if decimal := re.fullmatch(r"Decimal\((\d+), ?(\d+)\)", text):
        precision, scale = int(decimal[1]), int(decimal[2])
        return pl.Decimal(precision, scale) if scale <= precision <= 38 and precision else None
    if nested := re.fullmatch(r"List\((.+)\)", text):
        inner = physical_type(nested[1])
        return None if inner is None else pl.List(inner)
    return None


def logical_type(dtype: pl.DataType) -> str:
    """Return the ODCS `logicalType` that goes with a Polars type."""
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "number"
    return {
        pl.String: "string",
        pl.Boolean: "boolean",
        pl.Date: "date",
        pl.Datetime: "timestamp",
        pl.List: "array",
    }[dtype.base_type()]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Limits are in the column's own type: `Decimal` for decimals, `date` and aware `datetime` for
    times. `pattern` is found anywhere in the text unless it is anchored. Lengths count characters,
    items count list elements. Of a feature, `leakage` says whose past it tells of, `nulls` what a missing value means,
    and `since` which version of the contract first had it.
    """

    name: str
    dtype: pl.DataType
    physical_type: str
    required: bool
    description: str
    classification: Classification
    unit: str | None = None
    window: str | None = None
    leakage: str | None = None
    nulls: str | None = None
    since: str | None = None
    allowed: tuple[Scalar, ...] | None = None
    pattern: str | None = None
    minimum: Scalar | None = None
    maximum: Scalar | None = None
    exclusive_minimum: Scalar | None = None
    exclusive_maximum: Scalar | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None


@dataclass(frozen=True)
class RowRule:
    """One rule that every row must keep.

    Attributes:
        name: `column.kind` for a rule about one column, else the rule's own name.
        column: Column the rule is about; None for a rule over several columns.
        description: What the rule demands, for people.
        passes: Boolean expression, never null: true for a good row. A null value is good, except
            under the rule `required`.
    """

    name: str
    column: str | None
    description: str
    passes: pl.Expr = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One table that crosses a stage.

    Attributes:
        name: Table name, unique in the project.
        version: Semantic version of the contract.
        stage: Folder of the contract: validated, features, insights, profiles or monitoring.
        description: What one row means.
        owner: Team that answers for the table.
        columns: In the table's order.
        primary_key: Names of the columns that identify a row, in key order.
        partition_column: Date column that names the partition; None for an unpartitioned table.
        rules: Row rules in the order in which they are tried.
        rows: Least and most rows of the table or partition; None where unbounded.
        retention_days: How long rows are kept; None for ever.
        path: File that the contract was read from.
    """

    name: str
    version: str
    stage: str
    description: str
    owner: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    partition_column: str | None
    rules: tuple[RowRule, ...]
    rows: tuple[int | None, int | None]
    retention_days: int | None
    path: Path

    def column(self, name: str) -> Column:
        """Return the column of that name.

        Raises:
            ContractError: If there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        message = f"table {self.name} has no column {name!r}"
        raise ContractError(message, self.path)

    @property
    def table_key(self) -> tuple[str, ...]:
        """Columns that identify a row in the whole table.

        The primary key alone identifies it within a partition.
        """
        partition = self.partition_column
        extra = () if partition is None or partition in self.primary_key else (partition,)
        return (*self.primary_key, *extra)

    def polars_schema(self) -> pl.Schema:
        """Return the table's columns and types."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def row_rules(self) -> tuple[RowRule, ...]:
        """Return the row rules in the order in which they are tried."""
        return self.rules

    def empty(self) -> pl.DataFrame:
        """Return the table without rows."""
        return self._no_rows.clone()

    @functools.cached_property
    def _no_rows(self) -> pl.DataFrame:
        # Building a day asks for it a hundred times, and making it costs 2 ms.
        return pl.DataFrame(schema=self.polars_schema())

    def conform(self, frame: pl.LazyFrame | pl.DataFrame) -> pl.LazyFrame:
        """Select exactly the contract's columns, in its order and types.

        A missing nullable column is filled with null. Types are widened or narrowed within their
        family (numbers, times, lists of them) and overflow raises when the frame is collected.

        Raises:
            ContractError: If a required column is missing, or a type cannot become the
                contract's without parsing, rounding or guessing a time zone.
        """
        lazy = frame.lazy()
        delivered = lazy.collect_schema()
        chosen = []
        for column in self.columns:
            actual = delivered.get(column.name)
            if actual is None and column.required:
                known = ", ".join(delivered) or "none"
                message = f"table {self.name}: required column {column.name!r} is missing ({known})"
                raise ContractError(message, self.path)
            if actual is None:
                chosen.append(pl.lit(None, column.dtype).alias(column.name))
            elif actual == column.dtype:
                chosen.append(pl.col(column.name))
            elif castable(actual, column.dtype):
                chosen.append(_cast(column.name, actual, column.dtype))
            else:
                message = (
                    f"table {self.name}: column {column.name!r} is {actual}, "
                    f"which cannot become {column.physical_type} without parsing or loss"
                )
                raise ContractError(message, self.path)
        return lazy.select(chosen)

    def pandera_schema(self) -> "pa.DataFrameSchema":
        """Return the Pandera schema that holds the same types, nulls, rules and key."""
        from insight_assets.contracts.pandera_schemas import schema_of

        return schema_of(self)

    def expectation_suite(self) -> "gx.ExpectationSuite":
        """Return the Great Expectations suite that holds the same demands."""
        from insight_assets.contracts.expectations import suite_of

        return suite_of(self)


def float_of(money: pl.Expr) -> pl.Expr:
    """Turn decimals into the nearest floats.

    Polars' own cast gives 25.5007 or 25.500700000000002 for the same decimal, depending on where in a
    plan it stands; by way of text the result depends on the value alone.
    """
    return money.cast(pl.String).cast(pl.Float64)


def _cast(name: str, actual: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    if isinstance(actual, pl.Decimal) and wanted.is_float():
        return float_of(pl.col(name)).cast(wanted)
    return pl.col(name).cast(wanted)


def castable(actual: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether a cast keeps the meaning: no parsing, no truncation, no guessed time zone."""
    if actual == pl.Null:
        return True
    if isinstance(actual, pl.List) and isinstance(wanted, pl.List):
        return actual.inner == wanted.inner or castable(actual.inner, wanted.inner)
    if isinstance(actual, pl.Datetime) and isinstance(wanted, pl.Datetime):
        return actual.time_zone is not None
    if isinstance(actual, pl.Categorical | pl.Enum):
        return wanted == pl.String
    if wanted.is_integer():
        return actual.is_integer() or actual == pl.Boolean
    return wanted.is_numeric() and (actual.is_numeric() or actual == pl.Boolean)
