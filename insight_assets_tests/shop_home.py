"""A home in a test's own folder: landing, lake, key and instance, with the raw and validated assets over them."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.definitions import versioned
from insight_assets.ingestion import assets as ingestion
from insight_assets.ingestion.raw import PREFIX, raw_contract
from insight_assets.io_managers import LakeIOManager
from insight_assets.lake import Lake
from insight_assets.metadata import PartitionState, partition_states
from insight_assets.resources import LakeFolder, LandingFolder, PseudonymKey
from insight_assets.settings import settings
from insight_assets.validation import assets as validation
from insight_assets.validation.rate_files import RATES

_MADE_HERE = (validation.currency_rates, validation.validated, validation.products, validation.payment_settlement)
DEFS = dg.Definitions(
    assets=[*ingestion.landing_specs, *ingestion.raw_assets, *(versioned(asset, settings()) for asset in _MADE_HERE)],
)
MAX_BYTES = 100_000_000
# Where a row stood is not what it says.
POSITION = ("file_hash", "line")


@dataclass
class ShopHome:
    """One home.

    Attributes:
        root: its folder.
        instance: where its runs are recorded.
        timezone: the shop's time zone.
        first_day: first day of its history, ISO; empty for none.
        base_currency: currency it counts in; empty for the only one it meets.
    """

    root: Path
    instance: dg.DagsterInstance
    timezone: str = settings().timezone
    first_day: str = ""
    base_currency: str = ""

    @property
    def lake(self) -> Lake:
        return Lake(self.root / "lake")

    @property
    def inventory(self) -> Any:
        return self.resources()["landing"].open()

    def folder(self, source: str) -> Path:
        path = self.root / "landing" / source
        path.mkdir(parents=True, exist_ok=True)
        return path

    def land(self, source: str, name: str, content: bytes | str) -> Path:
        """Put a file of that content into the landing folder."""
        path = self.folder(source) / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def land_calls(self, name: str, calls: Iterable[Mapping[str, Any]]) -> Path:
        """Land Segment calls as a file of lines of JSON."""
        return self.land("segment", name, "".join(json.dumps(call, ensure_ascii=False) + "\n" for call in calls))

    def build(
        self, first: str, last: str | None = None, *, sources: Iterable[str] = ("segment",), check: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Make raw and validated tables of days in one run."""
        keys = [dg.AssetKey(PREFIX + source) for source in sources] + [dg.AssetKey(name) for name in validation.PUBLISHED]
        keys.append(dg.AssetKey(RATES))
        defs = dg.Definitions.merge(DEFS, dg.Definitions(resources=self.resources()))
        job = defs.resolve_implicit_global_asset_job_def()
        with mock.patch.dict(os.environ, {"INSIGHT_TIMEZONE": self.timezone, "INSIGHT_BASE_CURRENCY": self.base_currency}):
            result = job.execute_in_process(
                instance=self.instance,
                asset_selection=keys,
                tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first},
                raise_on_error=False,
            )
        assert result.success or not check, failures(result)
        return result

    def resources(self) -> dict[str, Any]:
        return {
            "lake": LakeIOManager(root=str(self.lake.root)),
            "tables": LakeFolder(root=str(self.lake.root)),
            "landing": LandingFolder(
                root=str(self.root / "landing"),
                timezone=self.timezone,
                max_file_bytes=MAX_BYTES,
                first_day=self.first_day,
            ),
            "key": PseudonymKey(path=str(self.root / "pseudonym.key")),
        }

    def table(self, name: str, *days: str) -> pl.DataFrame:
        """Read a table, or some of its days, in the order of its key."""
        of = raw_contract(ingestion.SOURCES[name.removeprefix(PREFIX)]) if name.startswith(PREFIX) else contract(name)
        keys = [date.fromisoformat(day) for day in days] if days else None
        return self.lake.scan(of, keys).collect().sort(of.primary_key)

    def states(self, table: str) -> dict[str, PartitionState]:
        return partition_states(self.instance, table)

    def content(self, table: str) -> pl.DataFrame:
        """Read what a table says, leaving out where the rows stood in which file."""
        frame = self.table(table).drop(POSITION, strict=False)
        return frame.sort(frame.columns)


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """Give the messages with which steps failed."""
    told = []
    for event in result.get_step_failure_events():
        failure = event.step_failure_data
        described = failure.user_failure_data.description if failure.user_failure_data else None
        told.append(described or (failure.error.to_string() if failure.error else "failed"))
    return told


def accounts(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """Give delivered, accepted, duplicate and quarantined rows as the checks of a run counted them."""
    evaluation = next(each for each in result.get_asset_check_evaluations() if each.check_name == validation.CONSERVED)
    counted = ("delivered", "accepted", "duplicate", "quarantined")
    return {name: evaluation.metadata[name].value for name in counted}
