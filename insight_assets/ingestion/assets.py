"""Assets of the group `raw`: one append-only table a source, by event day, and the landing folders they read."""

from datetime import date

import dagster as dg

from insight_assets.contracts.sources import SourceContract, source_contracts
from insight_assets.discretion import without_values
from insight_assets.ingestion.landing import contract_digest
from insight_assets.ingestion.raw import PREFIX, RawLoader, raw_contract, sources_in_use
from insight_assets.io_managers import TableWriter
from insight_assets.lake import DailyFrames, Lake
from insight_assets.metadata import OWNER, table_asset
from insight_assets.resources import LakeFolder, LandingFolder
from insight_assets.settings import settings

LANDING_PREFIX = "landing_"
READABLE = "landed_files_are_readable"


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
    of, meaning = raw_contract(source), contract_digest(source)
    arguments = table_asset(
        PREFIX + source.name, layer="raw", purpose="operations", kinds={source.format}, of=of,
        deps=[LANDING_PREFIX + source.name],
    )  # fmt: skip
    arguments.pop("io_manager_key")
    # Rows that stay as they are mean something else once their contract is mended: what follows from them is made anew.
    arguments["code_version"] += f"-{meaning}"

    readable = dg.AssetCheckSpec(
        READABLE, asset=arguments["name"], description="Every file in the landing folder could be read; refused ones are left out"
    )

    @dg.asset(
        **arguments,
        check_specs=[readable],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def raw(context: dg.AssetExecutionContext, tables: LakeFolder, landing: LandingFolder) -> dg.MaterializeResult:
        store = tables.open()
        inventory = landing.open()
        with without_values(f"reading the files of {source.name}"):
            inventory.refresh(source)
        loader = RawLoader(source, inventory, store)
        days = [date.fromisoformat(key) for key in context.partition_keys]
        with without_values(f"loading {source.name}"):
            recorded = TableWriter(store, context.instance).write(of, days, DailyFrames(loader.rows_of), meaning=meaning)
        for key, metadata in recorded.items():
            context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)
        refused = [file for file in inventory.files(source.name) if file.status == "refused"]
        told = {
            "files_landed": len(inventory.files(source.name)),
            "files_refused": len(refused),
            "refused": dg.MetadataValue.json([{"file": file.name, "reason": file.reason} for file in refused[:20]]),
        }
        advice = {"next": "mend the files or the contract and deliver again, or take the files away"} if refused else {}
        check = dg.AssetCheckResult(check_name=READABLE, passed=not refused, metadata=told | advice)
        return dg.MaterializeResult(metadata=told, check_results=[check])

    return raw


_SHOP = settings()
# A graph with a branch for every system that exists would hide the few that a shop has.
SOURCES = sources_in_use(source_contracts(_SHOP.sources), _SHOP.landing, Lake(_SHOP.lake))
landing_specs = [landing_spec(source) for source in SOURCES.values()]
raw_assets = [raw_asset(source) for source in SOURCES.values()]
