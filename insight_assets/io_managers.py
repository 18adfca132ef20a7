"""How asset values reach the lake and come back.

`LakeIOManager` is what assets see: lazy frames in, frames out. `TableWriter` is the shared way of writing a table's
partitions and recording their rows and hashes; assets that publish several tables in one pass use it directly.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field, PrivateAttr

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.data_cards import partition_card, people_left_out
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.contracts.types import Contract
from insight_assets.lake import DailyFrames, Lake, Partition
from insight_assets.metadata import (
    HASH_KEY,
    PARTITION_CARD_KEY,
    PEOPLE,
    READ_KEY,
    ROWS_KEY,
    SINCE_KEY,
    PartitionState,
    partition_states,
)
from insight_assets.purposes import LEFT_AS_DELIVERED, OPERATIONS, WITHOUT_RECORD, View
from insight_assets.settings import Settings


class TableWriter:
    """Writes partitions of tables within one run and tells what to record of them."""

    def __init__(self, lake: Lake, instance: dg.DagsterInstance, *, smallest_group: int) -> None:
        """Take the lake written to and the instance that knows what it held before.

        What is written counts as read when the writer was made, so it is made before the first table is read.

        Args:
            lake: where tables lie.
            instance: what knows of earlier runs.
            smallest_group: fewest rows or people that a data card counts.
        """
        self.lake = lake
        self.instance = instance
        self.smallest_group = smallest_group
        self.read_at = time.time()

    def write(
        self,
        of: Contract,
        keys: Sequence[date],
        frames: DailyFrames,
        *,
        meaning: Callable[[date], str] = lambda _: "",
        left_out: str = "",
    ) -> dict[str, dict[str, object]]:
        """Replace partitions and give the metadata of each.

        Args:
            of: the table's contract; rows are checked against its Pandera schema before they are written.
            keys: partitions to replace.
            frames: gives the rows of each partition.
            meaning: names what decides how the rows of a day are to be read, if they do not say it themselves; rows
                of another meaning count as other content.
            left_out: who is not in the rows, as a sentence for the data card.

        Returns:
            Partition key to the metadata that its materialization carries.
        """
        before = partition_states(self.instance, of.name, [key.isoformat() for key in keys])
        # A recorded hash only counts while the table it speaks of is there.
        known = before if self.lake.exists(of.name) else {}

        def unchanged(part: Partition) -> bool:
            state = known.get(part.key.isoformat())
            return state is not None and state.content_hash == _told_hash(part, meaning(part.key))

        written = self.lake.write(of, keys, frames, audit=lambda frame: validate_frame(of, frame), unchanged=unchanged)
        return {
            part.key.isoformat(): self._recorded(part, meaning(part.key), known)
            | {PARTITION_CARD_KEY: self._card(of, part, left_out)}
            for part in written
        }

    def _card(self, of: Contract, part: Partition, left_out: str) -> dg.MarkdownMetadataValue:
        return dg.MetadataValue.md(
            partition_card(
                of, partition=part.key.isoformat(), rows=part.rows, nulls=part.nulls,
                smallest_group=self.smallest_group, left_out=left_out,
            )
        )  # fmt: skip

    def _recorded(self, part: Partition, meaning: str, before: Mapping[str, PartitionState]) -> dict[str, object]:
        state, told = before.get(part.key.isoformat()), _told_hash(part, meaning)
        same = state is not None and state.content_hash == told
        return {
            ROWS_KEY: part.rows,
            HASH_KEY: told,
            SINCE_KEY: dg.MetadataValue.timestamp(state.since if state is not None and same else time.time()),
            READ_KEY: dg.MetadataValue.timestamp(self.read_at),
        }


def _told_hash(part: Partition, meaning: str) -> str:
    return f"{part.content_hash}-{meaning}" if meaning else part.content_hash


class LakeIOManager(dg.ConfigurableIOManager):
    """Reads and writes contract tables by partition.

    Attributes:
        root: folder of the lake.
        consent_without_record: by purpose, whether people who never said anything are taken to agree, where that
            differs from `purposes.WITHOUT_RECORD`.
        smallest_group: fewest rows or people that a data card counts.
    """

    root: str
    consent_without_record: dict[str, bool] = Field(default_factory=dict)
    smallest_group: int = Settings.model_fields["k_anonymity"].default
    _views: dict[str, View] = PrivateAttr(default_factory=dict)
    _left_out: dict[str, str] = PrivateAttr(default_factory=dict)
    _writers: dict[str, TableWriter] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: dg.OutputContext, obj: pl.LazyFrame | pl.DataFrame | DailyFrames) -> None:
        """Write the run's partitions of one table and record rows and hash of each."""
        of = contract(context.asset_key.path[-1])
        keys = [date.fromisoformat(key) for key in context.asset_partition_keys]
        frames = obj if isinstance(obj, DailyFrames) else _split(obj, of)
        left_out = self._left_out.get(_step(context.step_context), "")
        recorded = self._writer(context.step_context).write(of, keys, frames, left_out=left_out)
        for key, metadata in recorded.items():
            context.step_context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """Read the mapped partitions of one table lazily; partitions never written hold no rows.

        An asset with a purpose sees people, not actors, and only those who agreed as of its own day. That is done here,
        on the way in, so that no asset can forget it.
        """
        self._writer(context.step_context)
        of = contract(context.asset_key.path[-1])
        keys = [date.fromisoformat(key) for key in context.asset_partition_keys] if context.has_asset_partitions else []
        rows = Lake(Path(self.root)).scan(of, keys)
        if "customer_key" not in of.polars_schema() or _purpose(context.step_context) == OPERATIONS:
            return rows
        view = self._view(context.step_context)
        metadata = context.definition_metadata or {}
        return view.actors(rows) if LEFT_AS_DELIVERED.items() <= metadata.items() else view.people(rows)

    def _view(self, step: Any) -> View:
        """Give what a step may see of people, and record how many it may not see."""
        name = _step(step)
        if name not in self._views:
            lake, as_of = Lake(Path(self.root)), date.fromisoformat(step.partition_key)
            for table in PEOPLE if lake.exists("identity_links") else ():
                if not partition_states(step.instance, table, [step.partition_key]):
                    wanted = f"{table} as of {as_of} must be made before {step.step.key}"
                    raise dg.Failure(f"{wanted}. Next: materialize {table} of that day", allow_retries=False)
            identities, consents = (lake.scan(contract(table), [as_of]).collect().lazy() for table in PEOPLE)
            view = View(_purpose(step), identities, consents, dict(WITHOUT_RECORD) | self.consent_without_record)
            self._views.clear()
            self._views[name] = view
            left_out = view.without_consent()
            self._left_out.clear()
            self._left_out[name] = people_left_out(left_out, view.purpose, self.smallest_group)
            told = {"people_without_consent": left_out}
            for key in step.assets_def.keys if left_out is not None else ():
                step.add_asset_metadata(told, asset_key=key, partition_key=step.partition_key)
        return self._views[name]

    def _writer(self, step: Any) -> TableWriter:
        """Give the writer of a step, which is made when the step's first input is read."""
        name = _step(step)
        if name not in self._writers:
            self._writers[name] = TableWriter(
                Lake(Path(self.root)), step.instance, smallest_group=self.smallest_group
            )
        return self._writers[name]


def _step(step: Any) -> str:
    return f"{step.run_id} {step.step.key}"


def _purpose(step: Any) -> str:
    tags = next(iter(step.assets_def.tags_by_key.values()), {})
    return tags.get("purpose", OPERATIONS)


def _split(obj: pl.LazyFrame | pl.DataFrame, of: Contract) -> DailyFrames:
    return DailyFrames(lambda key: obj.lazy().filter(pl.col(of.partition_column) == key))
