"""What every asset says about itself in Dagster, and what Dagster remembers about its partitions.

Turns contracts into asset arguments (description, owner, column schema) and reads back the content hashes recorded by
materializations. No table is read or written here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
import polars as pl
from dagster._core.storage.event_log.base import EventLogStorage

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.data_cards import table_card
from insight_assets.contracts.types import Contract, ContractError
from insight_assets.ml.model_card import Making
from insight_assets.ml.progress import Progress, Watch
from insight_assets.partitions import DAYS
from insight_assets.purposes import CONSENTED_PURPOSES, WITHOUT_RECORD
from insight_assets.settings import Settings

OWNER = "team:insight"
PEOPLE = ("identities", "consents")
CODE_VERSION_TAG = "dagster/code_version"
HASH_KEY = "content_hash"
SINCE_KEY = "content_since"
ROWS_KEY = "dagster/partition_row_count"
READ_KEY = "content_read"
CARD_KEY = "data_card"
PARTITION_CARD_KEY = "partition_card"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
GPU_POOL = "gpu"
"""Pool of the steps that train networks on whatever device there is; its limit says how many do so at once."""


@dataclass(frozen=True)
class PartitionState:
    """What is known of one published partition.

    Attributes:
        content_hash: hash of its rows.
        rows: number of its rows.
        since: Unix time at which it first held this content.
        at: Unix time of its latest materialization.
        read_at: Unix time at which its latest making began to read; what changed later it may not have seen.
        code_version: code version that made it.
    """

    content_hash: str
    rows: int
    since: float
    at: float
    read_at: float
    code_version: str | None


def table_schema(of: Contract) -> dg.TableSchema:
    """Describe the columns of a contract for the UI's Columns tab."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.dtype),
                description=f"{column.description} [{column.unit}]" if column.unit else column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=not column.required, unique=list(of.primary_key) == [column.name]
                ),
                tags={"pii": column.classification} if column.classification in {"personal", "pseudonym", "free_text"} else {},
            )
            for column in of.columns
        ]
    )


def table_asset(
    name: str,
    *,
    layer: str,
    purpose: str,
    kinds: Iterable[str] = ("polars",),
    code_version: str = "1",
    deps: Iterable[str] = (),
    of: Contract | None = None,
    needs_closed_origin: bool = False,
) -> dict[str, Any]:
    """Give the arguments of an asset whose rows follow a contract.

    Args:
        name: asset and table name.
        layer: place in the flow, shown as the tag `layer`.
        purpose: what the asset uses data for, one of `purposes.PURPOSES`; shown as the tag `purpose`. Whatever it loads
            is without the people who gave no consent to it.
        kinds: technologies shown in the UI; `deltalake` is added.
        code_version: raised by hand when the code changes what the rows hold.
        deps: assets that it reads by itself, beside its inputs.
        of: the contract; by default the shipped one of that name.
        needs_closed_origin: whether the table cannot be made before a label horizon has closed.

    Returns:
        Keyword arguments for `dagster.asset`.
    """
    table = of or contract(name)
    return {
        "name": name,
        "description": table.description,
        "owners": [OWNER],
        "tags": {"layer": layer, "purpose": purpose},
        "deps": reads(purpose, deps),
        "kinds": {*kinds, "deltalake"},
        "partitions_def": DAYS,
        "code_version": f"{code_version}-{table.version}",
        "io_manager_key": "lake",
        "metadata": table_metadata(table, purpose) | ({"needs_closed_origin": True} if needs_closed_origin else {}),
    }


def table_metadata(table: Contract, purpose: str) -> dict[str, Any]:
    """Give the definition metadata of a table: columns, names, the contract's version, and what holds on every day.

    The data card is in two halves. This one follows from the contract alone: it stands on the asset, where Dagster
    shows it whichever partition is looked at, and is not stored again with each of thousands of days. What a run knew
    of one partition stands on its materialization (see `io_managers`).
    """
    return {
        CARD_KEY: dg.MetadataValue.md(table_card(table, purpose)),
        "dagster/column_schema": table_schema(table),
        "dagster/table_name": f"lake.{table.name}",
        "dagster/storage_kind": "deltalake",
        "contract": f"{table.name} {table.version}",
        "partition_column": table.partition_column,
    }


def reads(purpose: str, deps: Iterable[str] = ()) -> list[dg.AssetDep]:
    """Give the assets that an asset with a purpose reads beside its inputs.

    Who is who, and who allowed what, decides what it sees of its inputs (see `io_managers`).

    Args:
        purpose: its purpose.
        deps: names of further assets that it reads by itself.
    """
    people = PEOPLE if purpose in CONSENTED_PURPOSES else ()
    return [dg.AssetDep(name) for name in (*people, *deps)]


def table_out(
    name: str, *, layer: str, purpose: str, kinds: Iterable[str] = ("polars",), code_version: str = "1"
) -> dg.AssetSpec:
    """Give the spec of one table of a multi-asset that writes its tables itself."""
    arguments = table_asset(name, layer=layer, purpose=purpose, kinds=kinds, code_version=code_version)
    manager = arguments.pop("io_manager_key")
    return dg.AssetSpec(key=arguments.pop("name"), **arguments).with_io_manager_key(manager)


def managed_table_out(
    name: str, *, layer: str, purpose: str, kinds: Iterable[str] = ("polars",), code_version: str = "1"
) -> dg.AssetOut:
    """Give the output of one table of a multi-asset that leaves the writing to the lake's IO manager."""
    arguments = table_asset(name, layer=layer, purpose=purpose, kinds=kinds, code_version=code_version)
    return dg.AssetOut(
        **{key: value for key, value in arguments.items() if key not in {"name", "partitions_def", "deps"}}
    )


def model_asset(
    name: str,
    *,
    layer: str = "model",
    purpose: str,
    kinds: Iterable[str],
    description: str,
    code_version: str = "1",
    deps: Iterable[str] = (),
) -> dict[str, Any]:
    """Give the arguments of an asset whose output is a model directory."""
    return {
        "name": name,
        "description": description,
        "owners": [OWNER],
        "tags": {"layer": layer, "purpose": purpose},
        "deps": reads(purpose, deps),
        "kinds": set(kinds),
        "partitions_def": DAYS,
        "code_version": code_version,
    }


def observing(context: dg.AssetExecutionContext, name: str, *, rows: str) -> Watch:
    """Give what shows how far a training is on its asset, while the step that trains goes on.

    Each report is an observation of the asset's partition, which Dagster stores at once and draws over time; it makes
    nothing stale and stands for no materialization.

    Args:
        context: the step.
        name: the asset that is trained.
        rows: what the rows are that are learnt from, for people.
    """

    def observe(progress: Progress) -> None:
        told: dict[str, float | int | str] = {
            "passes": round(progress.passes, 2),
            "most_passes": progress.most_passes,
            f"{rows}_per_second": round(progress.rows_per_second),
            "seconds_left_at_most": round(progress.seconds_left),
        }
        # A loss that is no number ends the training at the end of the pass, and is none to draw.
        if math.isfinite(progress.loss):
            told["loss"] = round(progress.loss, 5)
        if progress.part:
            told["part"] = progress.part
        context.log_event(dg.AssetObservation(asset_key=name, partition=context.partition_key, metadata=told))

    return observe


def making_of(context: dg.AssetExecutionContext, name: str, shop: Settings) -> Making:
    """Tell what a running step knows of the model that it makes, for the model's card.

    Args:
        context: the step.
        name: the asset whose card is written.
        shop: the settings that hold.
    """
    spec = context.assets_def.get_asset_spec(dg.AssetKey(name))
    purpose = spec.tags["purpose"]
    consents = dict(WITHOUT_RECORD) | shop.consent_without_record
    return Making(
        asset=name,
        as_of=date.fromisoformat(context.partition_key),
        owners=tuple(spec.owners),
        purpose=purpose,
        silence_is_consent=consents.get(purpose),
        # What `definitions.versioned` adds to it are settings and keys: a card that named them would give a model that
        # learnt the same another hash.
        code_version=str(spec.code_version).partition("-")[0],
        reads=tuple(sorted(filter(None, (_under_contract(dep.asset_key.path[-1]) for dep in spec.deps)))),
        seed=shop.seed,
        smallest_group=shop.k_anonymity,
    )


def _under_contract(name: str) -> str | None:
    try:
        return f"{name} {contract(name).version}"
    except ContractError:
        return None


# What was recorded stays as it was: reading years of history anew at each tick of a daemon would cost seconds.
_READ: WeakKeyDictionary[EventLogStorage, dict[str, dict[int, PartitionState]]] = WeakKeyDictionary()


def partition_states(
    instance: dg.DagsterInstance, key: str, keys: Iterable[str] | None = None
) -> dict[str, PartitionState]:
    """Read what is known of the published partitions of an asset.

    Args:
        instance: the Dagster instance that recorded the materializations.
        key: asset name.
        keys: partitions to look at; None looks at all of them.

    Returns:
        Partition key to its state; partitions that were never published are absent.
    """
    storage = instance.event_log_storage
    latest = storage.get_latest_storage_id_by_partition(
        dg.AssetKey(key), dg.DagsterEventType.ASSET_MATERIALIZATION, set(keys) if keys is not None else None
    )
    read = _READ.setdefault(storage, {})
    held = read.get(key, {})
    known = {number: held[number] for number in latest.values() if number in held}
    unread = sorted(set(latest.values()) - known.keys())
    for start in range(0, len(unread), 500):
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(key), storage_ids=unread[start : start + 500]), limit=500
        ).records
        known |= {record.storage_id: _state(record) for record in records}
    # Another thread may be reading the same: what it holds is replaced, never changed.
    read[key] = known if keys is None else held | known
    return {partition: known[number] for partition, number in latest.items() if number in known}


def _state(record: dg.EventLogRecord) -> PartitionState:
    event = record.asset_materialization
    found, tags = _plain(event.metadata), event.tags or {}
    return PartitionState(
        content_hash=str(found.get(HASH_KEY) or tags.get("dagster/data_version", "")),
        rows=int(found.get(ROWS_KEY, 0)),
        since=float(found.get(SINCE_KEY, record.timestamp)),
        at=record.timestamp,
        read_at=float(found.get(READ_KEY, record.timestamp)),
        code_version=tags.get(CODE_VERSION_TAG),
    )


def published_days(instance: dg.DagsterInstance, key: str) -> set[date]:
    """Give the days of a table that are published."""
    return {date.fromisoformat(day) for day in instance.get_materialized_partitions(dg.AssetKey(key))}


def _plain(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def markdown_table(frame: pl.DataFrame) -> str:
    """Write a small frame as a Markdown table; floats with three decimals."""
    shown = frame.with_columns(pl.col(pl.Float64, pl.Float32).round(3))
    head = "| " + " | ".join(shown.columns) + " |"
    rule = "|" + " --- |" * shown.width
    rows = ("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in shown.iter_rows())
    return "\n".join([head, rule, *rows])
