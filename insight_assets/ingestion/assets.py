"""Assets of the group `raw`: one append-only table a source, by event day, and the landing folders they read."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import dagster as dg

from insight_assets.contracts.proposals import propose_columns
from insight_assets.contracts.sources import SourceContract, source_contracts
from insight_assets.discretion import without_values
from insight_assets.disk_room import demand_room
from insight_assets.ingestion.housekeeping import sweep_landing, sweep_table
from insight_assets.ingestion.landing import LandedFile, contract_digest
from insight_assets.ingestion.raw import PREFIX, RawLoader, name_meaning, raw_contract, sources_in_use
from insight_assets.io_managers import TableWriter
from insight_assets.lake import DailyFrames, Lake
from insight_assets.metadata import OWNER, table_asset
from insight_assets.resources import LakeFolder, LandingFolder
from insight_assets.settings import settings
from insight_assets.whole_files import write_whole

LANDING_PREFIX = "landing_"
READABLE = "landed_files_are_readable"
NO_UNKNOWN_COLUMNS = "no_unknown_columns"
PROPOSALS = "proposals"


def landing_spec(source: SourceContract) -> dg.AssetSpec:
    """Describe the landing folder of a source, which the outside world fills."""
    return dg.AssetSpec(
        key=LANDING_PREFIX + source.name,
        description=f"Files landed for {source.name}: {source.format}, plain or compressed. {source.description}",
        owners=[OWNER],
        group_name="landing",
        kinds={source.format},
        tags={"layer": "landing", "purpose": "operations"},
    )


def raw_asset(source: SourceContract) -> dg.AssetsDefinition:
    """Make the raw asset of a source.

    Args:
        source: the source contract.

    Returns:
        An asset by event day; one run serves any range of days.
    """
    of = raw_contract(source)
    arguments = table_asset(
        PREFIX + source.name, layer="raw", purpose="operations", kinds={source.format}, of=of,
        deps=[LANDING_PREFIX + source.name],
    )  # fmt: skip
    arguments.pop("io_manager_key")
    # Rows that stay as they are mean something else once their contract is mended: what follows from them is made anew.
    arguments["code_version"] += f"-{contract_digest(source)}"

    checks = [
        dg.AssetCheckSpec(
            READABLE,
            asset=arguments["name"],
            description="Every file in the landing folder could be read; days of refused ones are held back",
        ),
        dg.AssetCheckSpec(
            NO_UNKNOWN_COLUMNS,
            asset=arguments["name"],
            description="The contract knows every delivered column; others are kept, and proposed for the contract",
        ),
    ]

    @dg.asset(
        **arguments,
        check_specs=checks,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def raw(context: dg.AssetExecutionContext, tables: LakeFolder, landing: LandingFolder) -> dg.MaterializeResult:
        store = tables.open()
        inventory = landing.open()
        with without_values(f"reading the files of {source.name}"):
            inventory.refresh(source)
        now = inventory.clock()
        swept = sweep_landing(inventory.root / source.name, now=now) + sweep_table(store.path(of.name), now=now)
        loader = RawLoader(source, inventory, store)
        days = [date.fromisoformat(key) for key in context.partition_keys]
        demand_room(store.root, loader.bytes_to_load(days))
        with without_values(f"loading {source.name}"):
            writer = TableWriter(store, context.instance, smallest_group=settings().k_anonymity)
            files = inventory.files(source.name)
            recorded = writer.write(
                of, days, DailyFrames(loader.rows_of), meaning=lambda day: name_meaning(source, files, day)
            )
        for key, metadata in recorded.items():
            context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)
        told, readable = _told_of_files(files)
        told["leftovers_removed"] = swept
        unknown = _told_of_columns(files, source, Path(landing.root).parent / PROPOSALS)
        return dg.MaterializeResult(metadata=told, check_results=[readable, unknown])

    return raw


def _told_of_files(files: Sequence[LandedFile]) -> tuple[dict[str, object], dg.AssetCheckResult]:
    refused = [file for file in files if file.status == "refused"]
    empty = [file.name for file in files if file.status == "empty"]
    told = {
        "files_landed": len(files),
        "files_refused": len(refused),
        "refused": dg.MetadataValue.json([{"file": file.name, "reason": file.reason} for file in refused[:20]]),
    }
    advice = {"next": "mend the files or the contract and deliver again, or take the files away"} if refused else {}
    # An empty file is no fault, and still worth a look.
    warned = {"warning": f"{len(empty)} files hold no row", "empty": ", ".join(empty[:20])} if empty else {}
    return told, dg.AssetCheckResult(check_name=READABLE, passed=not refused, metadata=told | warned | advice)


def _told_of_columns(files: Sequence[LandedFile], source: SourceContract, folder: Path) -> dg.AssetCheckResult:
    unknown = {name: kind for file in files for name, kind in file.unknown.items()}
    told: dict[str, object] = {}
    if unknown:
        place = folder / source.path.name
        write_whole(place, propose_columns(source, unknown))
        told = {
            "columns": ", ".join(sorted(unknown)[:50]),
            "proposal": str(place),
            "next": "review the proposed contract, and put it among your own source contracts if it is right",
        }
    severity = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(check_name=NO_UNKNOWN_COLUMNS, passed=not unknown, severity=severity, metadata=told)


_SHOP = settings()
# A graph with a branch for every system that exists would hide the few that a shop has.
SOURCES = sources_in_use(source_contracts(_SHOP.sources), _SHOP.landing, Lake(_SHOP.lake))
landing_specs = [landing_spec(source) for source in SOURCES.values()]
raw_assets = [raw_asset(source) for source in SOURCES.values()]
