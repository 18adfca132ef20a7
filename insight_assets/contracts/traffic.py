"""Traffic rules: which events were not done by a person, as their contract says.

Reads and checks one contract file, shipped or a shop's own. Judging events by the rules belongs in validation.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from open_data_contract_standard.model import SchemaObject

from insight_assets.contracts.catalogue import shipped_folder
from insight_assets.contracts.documents import Document, check_name, read_model, sql_expression
from insight_assets.contracts.sources import NASTY_TEXT

PERSON, BOT, INTERNAL = "person", "bot", "internal"
EVENT_COLUMNS: Mapping[str, pl.DataType] = dict.fromkeys(
    ("user_agent", "ip", "event", "channel", "device", "country", "campaign_source", "campaign_medium"), pl.String()
)
"""What a rule may say about one event; addresses and browsers are known only before identifiers are dropped."""
ACTOR_DAY_COLUMNS: Mapping[str, pl.DataType] = {
    "events": pl.Int64(),
    "product_views": pl.Int64(),
    "distinct_products": pl.Int64(),
    "orders": pl.Int64(),
    "median_seconds_between": pl.Float64(),
    "signed_in": pl.Boolean(),
}
"""What a rule may say about all that an actor did on a day."""
_PROPERTY_KEYS = ("name", "logicalType", "physicalType", "classification", "description")
_RULE_KEYS = ("name", "type", "engine", "implementation", "description")
_NUMBERS = (0, 1, 99, 1_000_000, None)
_YES_OR_NO = (False, True, False, True, None)


@dataclass(frozen=True)
class TrafficRule:
    """One rule.

    Attributes:
        name: its name, which begins with the verdict.
        verdict: `bot` or `internal`.
        description: what it says, for people.
        sql: test over the columns of one event, or of one actor and day.
    """

    name: str
    verdict: str
    description: str
    sql: str

    @property
    def holds(self) -> pl.Expr:
        """Whether the rule holds; what it cannot tell it does not hold for."""
        return pl.sql_expr(self.sql).fill_null(value=False)


@dataclass(frozen=True)
class TrafficRules:
    """The rules of one contract, each kind in the order in which it is asked.

    Attributes:
        version: version of the contract.
        digest: names the text of the contract.
        events: rules over one event.
        actor_days: rules over what one actor did on one day, asked of events that no rule of `events` holds for.
    """

    version: str
    digest: str
    events: tuple[TrafficRule, ...]
    actor_days: tuple[TrafficRule, ...]


@functools.cache
def traffic_rules(own: Path | None = None) -> TrafficRules:
    """Return the traffic rules.

    Args:
        own: a shop's own contract, which replaces the shipped one.

    Raises:
        ContractError: If anything in the file is unknown, missing or contradictory.
    """
    return load_traffic(own or shipped_folder() / "traffic" / "traffic.odcs.yaml", linted=own is not None)


def load_traffic(path: Path, *, linted: bool = False) -> TrafficRules:
    """Read a contract of traffic rules.

    Args:
        path: File `traffic.odcs.yaml`.
        linted: Also hold it against the standard's JSON Schema.

    Raises:
        ContractError: If anything in the file is unknown, missing or contradictory.
    """
    document, model = read_model(path, linted=linted)
    document.demand_one_of(("domain",), "domain", model.domain, ["traffic"])
    objects = model.schema_ or ()
    if [each.name for each in objects] != ["event", "actor_day"]:
        document.refuse(("schema",), "schema must list 'event', then 'actor_day'")
    probes = (
        pl.DataFrame(dict.fromkeys(EVENT_COLUMNS, NASTY_TEXT), schema=EVENT_COLUMNS),
        pl.DataFrame(
            {name: _YES_OR_NO if dtype == pl.Boolean else _NUMBERS for name, dtype in ACTOR_DAY_COLUMNS.items()},
            schema=ACTOR_DAY_COLUMNS,
        ),
    )
    events, actor_days = (
        _rules(document, place, each, probe) for place, (each, probe) in enumerate(zip(objects, probes, strict=True))
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return TrafficRules(model.version, digest, events, actor_days)


def _rules(document: Document, at: int, given: SchemaObject, probe: pl.DataFrame) -> tuple[TrafficRule, ...]:
    named = []
    for i, column in enumerate(given.properties or ()):
        place = ("schema", at, "properties", i)
        for key in column.model_dump(exclude_none=True):
            document.demand_one_of((*place, key), "key of a traffic column", key, _PROPERTY_KEYS)
        document.demand_one_of((*place, "name"), f"column of {given.name}", column.name, probe.columns)
        if column.physicalType != str(probe.schema[column.name]):
            document.refuse((*place, "physicalType"), f"{column.name} is {probe.schema[column.name]}")
        named.append(check_name(document, place, column.name, named))
    found: dict[str, TrafficRule] = {}
    for i, item in enumerate(given.quality or ()):
        place = ("schema", at, "quality", i)
        for key in item.model_dump(exclude_none=True):
            document.demand_one_of((*place, key), "key of a traffic rule", key, _RULE_KEYS)
        name = check_name(document, place, item.name, found)
        verdict = name.partition("_")[0]
        what = "verdict before the first _ of a rule's name"
        document.demand_one_of((*place, "name"), what, verdict, [BOT, INTERNAL])
        if (item.type, item.engine) != ("custom", "polars_sql") or not item.description:
            document.refuse(place, f"rule {name!r} needs type custom, engine polars_sql and a description")
        _, dtype = sql_expression(document, (*place, "implementation"), item.implementation, probe.select(named))
        if dtype != pl.Boolean:
            document.refuse((*place, "implementation"), f"rule {name!r} is no test")
        found[name] = TrafficRule(name, verdict, item.description, item.implementation)
    return tuple(found.values())
