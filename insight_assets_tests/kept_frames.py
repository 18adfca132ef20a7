"""An IO manager that keeps tables in memory and holds them against their contracts, for tests of assets."""

from datetime import date

import dagster as dg
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame


class KeptFrames(dg.IOManager):
    """Keeps frames by asset and partition in memory; a partition never written holds no rows."""

    def __init__(self) -> None:
        self.frames: dict[tuple[str, str], pl.DataFrame] = {}

    def put(self, name: str, day: date, frame: pl.LazyFrame | pl.DataFrame) -> None:
        frame = contract(name).conform(frame.lazy()).collect()
        validate_frame(contract(name), frame)
        self.frames[name, day.isoformat()] = frame

    def handle_output(self, context: dg.OutputContext, obj: pl.LazyFrame | pl.DataFrame) -> None:
        self.put(context.asset_key.path[-1], date.fromisoformat(context.partition_key), obj)

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        name = context.asset_key.path[-1]
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        found = [self.frames[name, key] for key in keys if (name, key) in self.frames]
        return pl.concat(found or [contract(name).empty()]).lazy()
