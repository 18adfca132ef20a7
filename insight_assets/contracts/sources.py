"""Source contracts: what a source delivers, and how canonical rows follow from it.

One YAML file a source, in `data_contracts/sources/` or in a user's own folder. The first schema
object, `delivered`, lists what a file holds; each further one maps it to a canonical table by SQL
expressions over the delivered columns, all of which are text. A source of related files (format
`bundle`) has one object `delivered_<member>` for each file instead, which says what its rows look up
in the others. Reading files and running the expressions belongs in ingestion and validation.
"""

import functools
import itertools
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl
from open_data_contract_standard.model import CustomProperty, SchemaObject, SchemaProperty

from insight_assets.contracts.catalogue import contract, shipped_folder
from insight_assets.contracts.documents import (
    Document,
    Place,
    check_name,
    custom_properties,
    read_model,
    sql_expression,
    sql_expressions,
)
from insight_assets.contracts.paths import shape_of
from insight_assets.contracts.types import (
    Classification,
    Contract,
    ContractError,
    castable,
    logical_type,
)

Format = Literal["csv", "ndjson", "parquet", "bundle"]

# The engine fills these from the file, the clock columns and the pseudonym key.
ENGINE_FILLED = frozenset(
    {
        "event_day", "event_time", "known_at", "actor_key", "visitor_key", "customer_key",
        "source", "file_hash", "line", "clock_skew", "duplicate_of", "traffic",
        "gross_base", "discount_base", "tax_base", "shipping_base", "refunded_base", "cancelled_base", "net_base",
        "base_currency", "exchange_rate",
    }
)  # fmt: skip
# Amounts of an order line that are 0, or follow from the others, where a source does not map them.
LEFT_OUT = frozenset({"discount", "tax", "shipping", "refunded", "cancelled", "net"})
# What a source may say of a whole order; the engine spreads it over the lines or holds them against it. A rate of tax
# tells how much tax is in prices that include it.
OF_THE_ORDER: Mapping[str, pl.DataType] = {
    **dict.fromkeys(
        ("order_discount", "order_tax", "order_shipping", "delivered_revenue", "delivered_total"), pl.Decimal(18, 4)
    ),
    "tax_rate": pl.Decimal(18, 8),
}
# Raw identifiers of people, which the engine turns into keys, and what robots are told by; it drops them all.
PSEUDO_COLUMNS = dict.fromkeys(
    ("customer_id", "visitor_id", "email", "phone", "device_id", "user_agent", "ip"), pl.String()
)
# What describes a person, for linkage alone; the engine seals it into the identity vault and drops it.
PERSON_COLUMNS = dict.fromkeys(("person_name", "postcode", "birth_date", "street"), pl.String())
EPOCHS: Mapping[str, int] = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Times written as counts since 1970 in UTC, and the microseconds of one count."""
# What SQL may name beside delivered columns: where the row stood, for sources whose rows have no
# identity of their own, and the element's place in `rows`, from 1.
POSITION = {"file_hash": pl.String(), "line": pl.Int64(), "item": pl.Int64()}
# What ingestion and validation put beside the delivered columns.
BESIDE_DELIVERED = frozenset(
    {
        "file_name", "extra", "broken", "payload", "malformed", "filed_day", "filed_known_at", "landed_at",
        "replaced_at", "is_correction", "contract_version", "identity",
    }
)  # fmt: skip
CANONICAL_TABLES = ("events", "order_lines", "payments", "reference_rows")
DELIVERED = "delivered"
# What the reader of a bundle puts beside the columns of its members.
MEMBER, MEMBER_TIME, NOT_FOUND = "member", "member_time", "not_found"
BUNDLE_COLUMNS = {
    MEMBER: "Which of the related files the row stood in, by its name in the contract",
    MEMBER_TIME: "When the row happened: its own time or that of what it looked up; a dictionary's rows, the beginning",
    NOT_FOUND: "Rules of the related rows that had to be there and were not, separated by a blank",
}
DEFAULTS: Mapping[str, Any] = {
    "format": None,
    "delimiter": ",",
    "encoding": "auto",
    "header": True,
    "time_column": None,
    "timezone": "UTC",
    "time_format": "iso",
    "known_at": "event_time",
    "clock_sent": None,
    "clock_received": None,
    "clock_created": None,
    "late_days": None,
    "reject_budget": 0.05,
    "prices_include_tax": False,
    "carry_down": None,
    "source": None,
    "valid_from": None,
    "valid_to": None,
}
DELIVERED_KEYS = (
    "name", "physicalName", "logicalType", "required", "classification", "description", "items",
    "examples",
)  # fmt: skip
MEMBER_KEYS = ("files", "reads", "optional", "lookups", "where", "time", "format", "delimiter", "encoding", "header")
LOOKUP_KEYS = frozenset({"from", "on", "take", "sum", "required"})
# What rows that a mapping makes only for want of others are looked for by, beside their order.
TOLD_BY = ("order_line_id", "product_id")
MAPPED_KEYS = ("name", "logicalType", "description", "transformLogic", "transformDescription")
# Text that no careful expression may fall over: a value it cannot read must become null.
NASTY_TEXT = ("", "x", "-1.5", "2020-13-01", "\u4f60", "1e400", None)


@dataclass(frozen=True)
class CarryDown:
    """Values that a csv writes only in the first row of each group, and every row of the group means.

    Attributes:
        by: delivered column whose equal values make a group, e.g. the order number.
        columns: delivered columns that are filled from the group's first value where they are empty.
    """

    by: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class DeliveredColumn:
    """One value that a source delivers, always read as text.

    Attributes:
        name: Short name, used in SQL.
        path: Column of a csv file, or path (`contracts.paths`) into the rows of other files.
        required: Whether a file without it is refused.
        classification: Privacy class.
        description: What it holds.
        items: For a list of objects: the fields of each; empty for a plain value.
    """

    name: str
    path: str
    required: bool
    classification: Classification
    description: str
    items: tuple["DeliveredColumn", ...] = ()


@dataclass(frozen=True)
class Lookup:
    """What rows of one member of a bundle get from the rows of another.

    Attributes:
        member: Member that is looked into.
        on: Column that both have.
        take: Columns taken over: the value on which all found rows agree, null where they differ.
        sum: Columns of amounts added up over all found rows.
        required: Whether a row that finds nothing is quarantined, as `<member>.not_found`.
    """

    member: str
    on: str
    take: tuple[str, ...]
    sum: tuple[str, ...]
    required: bool


@dataclass(frozen=True)
class Member:
    """One of the related files that a bundle holds.

    Attributes:
        name: Short name.
        files: Pattern of its file's name, e.g. `orders*.csv*`.
        reads: Member whose file it reads once more, because rows tell of several moments; None for its own.
        optional: Whether a bundle without it is complete.
        columns: Delivered columns in file order.
        lookups: What its rows get from other members, in this order.
        where: SQL test of the rows that count in a second reading; None for all.
        time: SQL expression for when a row happened; None for rows of a dictionary, which have no time.
        reading: How its file is written: format, delimiter, encoding, header.
    """

    name: str
    files: str
    reads: str | None
    optional: bool
    columns: tuple[DeliveredColumn, ...]
    lookups: tuple[Lookup, ...]
    where: str | None
    time: str | None
    reading: Mapping[str, Any] = field(hash=False)

    def row_columns(self) -> list[str]:
        """Name the columns of its rows, looked-up ones last."""
        return [c.name for c in self.columns] + [name for each in self.lookups for name in (*each.take, *each.sum)]


@dataclass(frozen=True)
class TableMapping:
    """How rows of one canonical table follow from delivered rows.

    Attributes:
        table: Canonical table.
        where: SQL test of the delivered rows that count; None for all.
        rows: Delivered list whose elements become rows; None for one row each.
        expressions: SQL expression by canonical column, in the contract's order.
        unless_told: One of `TOLD_BY`: its order lines are sales that other rows let conclude, and count only where no
            other mapping tells of a sale of the same order with the same value there. None: they count.
    """

    table: str
    where: str | None
    rows: str | None
    expressions: Mapping[str, str] = field(hash=False)
    unless_told: str | None = None


@dataclass(frozen=True, kw_only=True)
class SourceContract:
    """One source.

    Attributes:
        name: Name of the source, of its file and of its landing folder.
        version: Semantic version.
        description: What one delivered row means.
        owner: Team that answers for the source.
        format: How its files are written.
        delimiter: Of csv files.
        encoding: Of csv and ndjson files.
        header: Whether csv files begin with a line of names.
        time_column: Delivered column that holds the event time.
        timezone: Zone of times without offset; "shop" for the shop's own, "none" where there is to be none.
        time_format: "iso", one of `EPOCHS`, or a strptime format.
        known_at: "event_time", or the delivered column that says when the shop knew the row.
        clock_sent: Delivered column with the device's clock when it sent the row; None where there is none.
        clock_received: Delivered column with the server's clock when it received the row.
        clock_created: Delivered column with the device's clock when the event happened.
        late_days: Days after which a row comes too late; None for the shop's setting.
        reject_budget: Largest share of a day's rows that may be quarantined.
        prices_include_tax: Whether unit prices and what follows from them include tax, which is then taken out.
        carry_down: What a csv writes once a group of rows; None for a file that repeats everything.
        delivered: Columns in file order.
        mappings: Canonical tables that rows feed; a table may come more than once.
        path: File that the contract was read from.
        members: Related files of a bundle; `delivered` then holds the columns of all of them.
        valid_from: First event day whose rows it describes; None from the beginning.
        valid_to: Last such day; None until further notice.
        earlier: Contracts of the days before, the latest first.
    """

    name: str
    version: str
    description: str
    owner: str
    format: Format
    delimiter: str
    encoding: str
    header: bool
    time_column: str
    timezone: str
    time_format: str
    known_at: str
    clock_sent: str | None
    clock_received: str | None
    clock_created: str | None
    late_days: int | None
    reject_budget: float
    prices_include_tax: bool
    carry_down: CarryDown | None
    delivered: tuple[DeliveredColumn, ...]
    mappings: tuple[TableMapping, ...]
    path: Path
    members: tuple[Member, ...] = ()
    valid_from: date | None = None
    valid_to: date | None = None
    earlier: tuple["SourceContract", ...] = ()

    @property
    def versions(self) -> tuple["SourceContract", ...]:
        """Every contract of the source, the newest first."""
        return (self, *self.earlier)

    def covers(self, day: date) -> bool:
        """Whether the contract holds for the rows of an event day."""
        return (self.valid_from or date.min) <= day <= (self.valid_to or date.max)

    def of_member(self, member: Member) -> "SourceContract":
        """Give the contract by which the file of one member is read."""
        return replace(self, delivered=member.columns, members=(), **member.reading)


def load_source(path: Path, *, linted: bool = False) -> SourceContract:
    """Read the contract of one source.

    Args:
        path: File `<source>.odcs.yaml`.
        linted: Also hold it against the standard's JSON Schema.

    Raises:
        ContractError: If anything in the file is unknown, missing or contradictory.
    """
    document, model = read_model(path, linted=linted)
    document.demand_one_of(("domain",), "domain", model.domain, ["sources"])
    objects = model.schema_ or ()
    listed = [i for i, each in enumerate(objects) if str(each.name).startswith(DELIVERED)]
    if not listed or listed[-1] != len(listed) - 1 or len(listed) == len(objects):
        document.refuse(("schema",), "schema must list 'delivered', then canonical tables")
    owner = getattr(model.team, "name", None)
    purpose = model.description and model.description.purpose
    if not owner or not purpose:
        document.refuse((), "a source needs description.purpose and team.name")
    if model.slaProperties:
        document.refuse(("slaProperties",), "slaProperties belong in a table contract")
    members: tuple[Member, ...] = ()
    if objects[0].name == DELIVERED and len(listed) == 1:
        custom_properties(document, ("schema", 0), objects[0].customProperties, ())
        delivered = _delivered(document, ("schema", 0), objects[0].properties)
    else:
        members = _members(document, objects[: len(listed)])
        delivered = _joined_columns(document, members)
    reading = _reading(document, model.customProperties, delivered, is_bundle=bool(members))
    return SourceContract(
        name=reading.pop("source") or model.name,
        version=model.version,
        description=purpose,
        owner=owner,
        delivered=delivered,
        mappings=tuple(
            _mapping(document, ("schema", i), table, delivered, members)
            for i, table in enumerate(objects[len(listed) :], start=len(listed))
        ),
        path=path,
        members=members,
        **reading,
    )


def _members(document: Document, objects: Sequence[SchemaObject]) -> tuple[Member, ...]:
    """Read the related files of a bundle; each may look into those that stand anywhere in the contract."""
    columns: dict[str, tuple[DeliveredColumn, ...]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for i, item in enumerate(objects):
        at = ("schema", i)
        name = str(item.name).removeprefix(f"{DELIVERED}_")
        check_name(document, at, name, columns)
        custom = settings[name] = custom_properties(document, at, item.customProperties, MEMBER_KEYS)
        files, reads = custom.get("files"), custom.get("reads")
        if (files is None) == (reads is None) or not isinstance(files or reads, str):
            document.refuse(at, f"member {name!r} needs files, a pattern of file names, or reads, an earlier member")
        if reads is not None:
            document.demand_one_of((*at, "customProperties"), "earlier member", reads, columns)
            if item.properties or settings[reads].get("reads"):
                document.refuse(at, f"member {name!r} has the columns of the file that it reads once more")
        elif "where" in custom:
            document.refuse(at, "where belongs to a second reading: every row of a file counts once")
        columns[name] = columns[reads] if reads is not None else _delivered(document, at, item.properties)
    return tuple(_member(document, ("schema", i), name, settings, columns) for i, name in enumerate(columns))


def _member(
    document: Document,
    at: Place,
    name: str,
    settings: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, tuple[DeliveredColumn, ...]],
) -> Member:
    place, custom = (*at, "customProperties"), settings[name]
    known = [column.name for column in columns[name]]
    lookable = [other for other in columns if other != name and "reads" not in settings[other]]
    lookups = []
    for each in custom.get("lookups", []):
        if not isinstance(each, dict) or not {"from", "on"} <= each.keys() <= LOOKUP_KEYS:
            document.refuse(place, f"a lookup has the keys {', '.join(sorted(LOOKUP_KEYS))}; from and on are needed")
        document.demand_one_of(place, "member", each["from"], lookable)
        theirs = [column.name for column in columns[each["from"]]]
        document.demand_one_of(place, "column of both", each["on"], [column for column in known if column in theirs])
        for wanted in (*each.get("take", ()), *each.get("sum", ())):
            document.demand_one_of(place, f"column of {each['from']}", wanted, theirs)
            known.append(check_name(document, place, wanted, known))
        lookups.append(
            Lookup(
                each["from"], each["on"], tuple(each.get("take", ())), tuple(each.get("sum", ())),
                required=each.get("required", True) is True,
            )
        )
    probe = _probe(known)
    for key, wanted in (("time", pl.String), ("where", pl.Boolean)):
        if key in custom and sql_expression(document, place, custom[key], probe)[1] != wanted:
            document.refuse(place, f"{key} of member {name!r} becomes no {wanted}")
    reads = custom.get("reads")
    file = settings[reads] if reads is not None else custom
    reading = {key: file[key] for key in ("delimiter", "encoding", "header") if key in file}
    reading["format"] = file.get("format", "csv")
    document.demand_one_of(place, "format of a member", reading["format"], ["csv", "ndjson", "parquet"])
    return Member(
        name=name, files=file["files"], reads=reads, optional=file.get("optional", False) is True,
        columns=columns[name], lookups=tuple(lookups), where=custom.get("where"), time=custom.get("time"),
        reading=reading,
    )


def _joined_columns(document: Document, members: Sequence[Member]) -> tuple[DeliveredColumn, ...]:
    """Give the columns of a bundle's rows: those of all members, one a name, and what the reader puts beside them."""
    joined: dict[str, DeliveredColumn] = {}
    for i, member in enumerate(members):
        for column in member.columns:
            if column.items or column.name in BUNDLE_COLUMNS:
                document.refuse(("schema", i), f"column {column.name!r}: a bundle knows no lists and names it itself")
            if joined.setdefault(column.name, column).classification != column.classification:
                document.refuse(("schema", i), f"column {column.name!r} is classified differently in another member")
    beside = [
        DeliveredColumn(name, name, required=False, classification="internal", description=description)
        for name, description in BUNDLE_COLUMNS.items()
    ]
    return (*beside, *(replace(column, path=name, required=False) for name, column in joined.items()))


def _delivered(document: Document, at: Place, properties: list[SchemaProperty] | None) -> tuple[DeliveredColumn, ...]:
    # A delivered `event_time` is what the engine reads the event time from, or nothing can be.
    taken = set(ENGINE_FILLED | POSITION.keys() | BESIDE_DELIVERED) - {"event_time"}

    def columns(at: Place, properties: list[SchemaProperty], *, nested: bool) -> tuple[DeliveredColumn, ...]:
        found = []
        if not properties:
            document.refuse(at, "lists no properties")
        for i, item in enumerate(properties):
            place = (*at, "properties", i)
            _check_subset(document, place, item, "a delivered column", DELIVERED_KEYS)
            name = check_name(document, place, item.name, taken)
            taken.add(name)
            kinds = ["string"] if nested else ["string", "array"]
            document.demand_one_of(
                (*place, "logicalType"), "logicalType of a delivered column", item.logicalType, kinds
            )
            classes = get_args(Classification)
            document.demand_one_of((*place, "classification"), "classification", item.classification, classes)
            if not item.description:
                document.refuse(place, f"column {name!r} has no description")
            if (item.items is not None) != (item.logicalType == "array"):
                document.refuse(place, "items.properties belong to logicalType array, and it to them")
            fields = ()
            if item.items is not None:
                fields = columns((*place, "items"), item.items.properties, nested=True)
            found.append(
                DeliveredColumn(
                    name=name,
                    path=item.physicalName or name,
                    required=bool(item.required),
                    classification=item.classification,
                    description=item.description,
                    items=fields,
                )
            )
        return tuple(found)

    return columns(at, properties or [], nested=False)


def _check_subset(document: Document, at: Place, item: SchemaProperty, what: str, allowed: tuple[str, ...]) -> None:
    for key in item.model_dump(exclude_none=True):
        document.demand_one_of((*at, key), f"key of {what}", key, allowed)


def _reading(
    document: Document,
    given: list[CustomProperty] | None,
    delivered: tuple[DeliveredColumn, ...],
    *,
    is_bundle: bool,
) -> dict[str, Any]:
    """Return how files are read, with defaults, each value checked."""
    values = custom_properties(document, (), given, DEFAULTS)
    if is_bundle != (values.get("format") == "bundle"):
        document.refuse(("customProperties",), "format bundle and objects delivered_<member> belong together")
    if is_bundle and values.setdefault("time_column", MEMBER_TIME) != MEMBER_TIME:
        document.refuse(("customProperties",), "the members of a bundle say when their rows happened, by time")
    places = {item.property: ("customProperties", i, "value") for i, item in enumerate(given or ())}

    def place(key: str) -> Place:
        return places.get(key, ("customProperties",))

    for key in ("format", "time_column"):
        if key not in values:
            document.refuse(("customProperties",), f"custom property {key!r} is missing")
    reading = dict(DEFAULTS) | values
    names = [column.name for column in delivered if not column.items]
    document.demand_one_of(place("format"), "format", reading["format"], get_args(Format))
    document.demand_one_of(place("time_column"), "delivered column", reading["time_column"], names)
    if "event_time" in names and reading["time_column"] != "event_time":
        document.refuse(place("time_column"), "a delivered event_time must be the time_column")
    document.demand_one_of(place("known_at"), "delivered column", reading["known_at"], ["event_time", *names])
    clocks = [key for key in ("clock_sent", "clock_received", "clock_created") if reading[key] is not None]
    for key in clocks:
        document.demand_one_of(place(key), "delivered column", reading[key], names)
    if len(clocks) in (1, 2):
        document.refuse(place(clocks[0]), "clock_sent, clock_received and clock_created belong together")
    late = reading["late_days"]
    if late is not None and (isinstance(late, bool) or not isinstance(late, int) or late < 0):
        document.refuse(place("late_days"), "late_days is a number of days, 0 or more")
    try:
        zoneinfo.ZoneInfo("UTC" if reading["timezone"] in ("shop", "none") else reading["timezone"])
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        message = f"unknown timezone {reading['timezone']!r}; allowed: shop, none or an IANA name"
        document.refuse(place("timezone"), message)
    try:
        if reading["encoding"] != DEFAULTS["encoding"]:
            "".encode(reading["encoding"])
    except (LookupError, TypeError):
        document.refuse(place("encoding"), f"unknown encoding {reading['encoding']!r}")
    if not isinstance(reading["delimiter"], str) or len(reading["delimiter"].encode()) != 1:
        document.refuse(place("delimiter"), "a delimiter is one ASCII character")
    for key in ("header", "prices_include_tax"):
        if not isinstance(reading[key], bool):
            document.refuse(place(key), f"{key} is true or false")
    if not _is_time_format(reading["time_format"]):
        document.refuse(place("time_format"), f"time_format is {', '.join(EPOCHS)}, iso or a strptime format")
    zoned = reading["time_format"] in ("iso", *EPOCHS) or "%z" in reading["time_format"]
    if reading["timezone"] == "none" and not zoned:
        document.refuse(place("timezone"), "a time_format without %z needs a timezone")
    budget = reading["reject_budget"]
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget <= 1:
        document.refuse(place("reject_budget"), "reject_budget is a share from 0 to 1")
    for key in ("valid_from", "valid_to"):
        try:
            reading[key] = None if reading[key] is None else date.fromisoformat(str(reading[key]))
        except ValueError:
            document.refuse(place(key), f"{key} is a day, e.g. 2025-06-01")
    if reading["source"] is not None:
        check_name(document, place("source"), reading["source"], ())
    if reading["carry_down"] is not None:
        reading["carry_down"] = _carry_down(document, place("carry_down"), reading, names)
    if reading["format"] != "csv":
        _check_paths(document, delivered)
    return reading


def _is_time_format(written: object) -> bool:
    if not isinstance(written, str):
        return False
    if written == "iso" or written in EPOCHS:
        return True
    try:
        # An hour may stand without its minute; ingestion adds it.
        pl.Series(["x"]).str.to_datetime(written if "%M" in written else written.replace("%H", ""), strict=False)
    except pl.exceptions.PolarsError:
        return False
    return "%" in written


def _carry_down(document: Document, at: Place, reading: Mapping[str, Any], names: list[str]) -> CarryDown:
    given = reading["carry_down"]
    if not isinstance(given, dict) or given.keys() != {"by", "columns"} or not isinstance(given["columns"], list):
        document.refuse(at, "carry_down is a mapping of 'by', a delivered column, and 'columns', a list of others")
    if reading["format"] != "csv":
        document.refuse(at, "only rows of a csv carry values down")
    for name in (given["by"], *given["columns"]):
        document.demand_one_of(at, "delivered column", name, names)
    return CarryDown(given["by"], tuple(given["columns"]))


def _check_paths(document: Document, delivered: tuple[DeliveredColumn, ...]) -> None:
    try:
        shape_of(_paths(delivered))
    except ValueError:
        # Which column does not go with those before it.
        for i in range(len(delivered)):
            try:
                shape_of(_paths(delivered[: i + 1]))
            except ValueError as error:
                document.refuse(("schema", 0, "properties", i), str(error))


def _paths(delivered: tuple[DeliveredColumn, ...]) -> dict[str, dict[str, None] | None]:
    return {column.path: {field.path: None for field in column.items} if column.items else None for column in delivered}


def _mapping(
    document: Document,
    at: Place,
    table: SchemaObject,
    delivered: tuple[DeliveredColumn, ...],
    members: tuple[Member, ...] = (),
) -> TableMapping:
    document.demand_one_of((*at, "name"), "canonical table", table.name, CANONICAL_TABLES)
    if table.quality:
        document.refuse((*at, "quality"), "rules belong in the canonical table's contract")
    custom = custom_properties(document, at, table.customProperties, ("where", "rows", "from", "unless_told"))
    rows_of = {member.name: member for member in members}
    if members or "from" in custom:
        document.demand_one_of((*at, "customProperties"), "member in from", custom.get("from"), rows_of)
        seen = {*BUNDLE_COLUMNS, *rows_of[custom["from"]].row_columns()}
        delivered = tuple(column for column in delivered if column.name in seen)
    lists = {column.name: column for column in delivered if column.items}
    rows, where, unless_told = custom.get("rows"), custom.get("where"), custom.get("unless_told")
    if unless_told is not None:
        document.demand_one_of((*at, "customProperties"), "column in unless_told", unless_told, TOLD_BY)
        if table.name != "order_lines":
            document.refuse((*at, "customProperties"), "unless_told belongs to order_lines: only a sale is concluded")
    if rows is not None:
        document.demand_one_of((*at, "customProperties"), "delivered list", rows, lists)
    leaves = [c.name for c in delivered if not c.items and c.name != "event_time"]
    leaves += [column.name for column in lists[rows].items] if rows is not None else []
    probe = _probe(leaves)
    if where is not None:
        _, dtype = sql_expression(document, (*at, "customProperties"), where, probe)
        if dtype != pl.Boolean:
            document.refuse((*at, "customProperties"), "where is no test of a row")
    if members:
        where = f"{MEMBER} = '{custom['from']}'" + (f" AND ({where})" if where is not None else "")

    canonical = contract(table.name)
    wanted = {column.name: column.dtype for column in canonical.columns} | PSEUDO_COLUMNS | PERSON_COLUMNS
    wanted |= OF_THE_ORDER if table.name == "order_lines" else {}
    mappable = [name for name in wanted if name not in ENGINE_FILLED]
    expressions: dict[str, str] = {}
    written: dict[Place, object] = {}
    for i, item in enumerate(table.properties or ()):
        place = (*at, "properties", i)
        _check_subset(document, place, item, "a mapped column", MAPPED_KEYS)
        document.demand_one_of((*place, "name"), f"column of {table.name}", item.name, mappable)
        name = check_name(document, place, item.name, expressions)
        if item.logicalType is not None:
            document.demand_one_of(
                (*place, "logicalType"), "logicalType", item.logicalType, [logical_type(wanted[name])]
            )
        if item.transformLogic is None:
            document.refuse(place, f"column {name!r} has no transformLogic")
        written[(*place, "transformLogic")] = expressions[name] = item.transformLogic
    parsed = sql_expressions(document, written, probe)
    for name, place, (_, dtype) in zip(expressions, written, parsed, strict=True):
        if dtype != wanted[name] and not castable(dtype, wanted[name]):
            message = f"{name} becomes {dtype}, which is no {wanted[name]}: TRY_CAST it"
            document.refuse(place, message)
    _demand_required(document, at, canonical, expressions)
    return TableMapping(table.name, where, rows, expressions, unless_told)


def _probe(names: Sequence[str]) -> pl.DataFrame:
    text, place = pl.Series(NASTY_TEXT, dtype=pl.String), pl.Series(range(len(NASTY_TEXT)))
    columns = {name: text.alias(name) for name in names}
    columns |= {name: place.cast(dtype).alias(name) for name, dtype in POSITION.items()}
    return pl.DataFrame(list(columns.values()))


def _demand_required(document: Document, at: Place, canonical: Contract, expressions: Mapping[str, str]) -> None:
    missing = [
        column.name
        for column in canonical.columns
        if column.required and column.name not in ENGINE_FILLED | LEFT_OUT and column.name not in expressions
    ]
    if missing:
        document.refuse(at, f"required columns of {canonical.name} unmapped: {', '.join(missing)}")


@functools.cache
def _shipped_sources() -> dict[str, SourceContract]:
    return _sources_in(shipped_folder() / "sources", linted=False)


def _sources_in(folder: Path, *, linted: bool) -> dict[str, SourceContract]:
    files = sorted(folder.glob("*.odcs.yaml"))
    found: dict[str, list[SourceContract]] = {}
    for source in (load_source(file, linted=linted) for file in files):
        found.setdefault(source.name, []).append(source)
    return {name: _put_in_order(contracts) for name, contracts in found.items()}


def _put_in_order(contracts: list[SourceContract]) -> SourceContract:
    """Give the newest contract of a source, with the earlier ones; their periods must follow on each other."""
    ordered = sorted(contracts, key=lambda each: each.valid_from or date.min)
    for before, after in itertools.pairwise(ordered):
        if before.valid_to is None or after.valid_from != before.valid_to + timedelta(days=1):
            message = (
                f"{before.path.name} holds until {before.valid_to or 'further notice'} and {after.path.name} from "
                f"{after.valid_from or 'the beginning'}: the periods of source {after.name!r} must follow on each other"
            )
            raise ContractError(message, after.path)
        if before.version == after.version:
            message = f"two contracts of source {after.name!r} have version {after.version}; give each its own"
            raise ContractError(message, after.path)
    return replace(ordered[-1], earlier=tuple(reversed(ordered[:-1])))


def source_contracts(extra_folder: Path | None = None) -> dict[str, SourceContract]:
    """Return every source contract by name.

    Args:
        extra_folder: A user's own contracts; a file there replaces a shipped one of the same name
            if its version is higher.

    Raises:
        ContractError: If a file is refused, the folder does not exist, or a user's file has the
            name of a shipped one without a higher version.
    """
    found = dict(_shipped_sources())
    if extra_folder is None:
        return found
    if not extra_folder.is_dir():
        message = "the folder of your own source contracts does not exist"
        raise ContractError(message, extra_folder)
    for name, source in _sources_in(extra_folder, linted=True).items():
        shipped = found.get(name)
        if shipped is not None and _version(source) <= _version(shipped):
            message = (
                f"source {name!r} is shipped in version {shipped.version}; "
                "give yours a higher version to replace it, or another name"
            )
            raise ContractError(message, source.path)
        found[name] = source
    return dict(sorted(found.items()))


def _version(source: SourceContract) -> tuple[int, ...]:
    return tuple(map(int, source.version.split(".")))
