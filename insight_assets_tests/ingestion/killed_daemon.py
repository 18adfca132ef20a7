"""A daemon of one sensor: it evaluates `landed_files`, does what that asks for, and may be killed at any moment.

It keeps what the daemon of Dagster keeps, and no more: the cursor after each tick, in a file, and the keys of runs, in
the home's own instance; a key that was seen is not launched again. Only the contract of one source is loaded and only
raw is made, so that starting it is cheap.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

RUN_KEY = "dagster/run_key"
SOURCE = "segment"


def tick_for_ever(home: str, started: Callable[[], None], idle: Callable[[], None]) -> None:
    """Tick until killed.

    Args:
        home: the home folder, with its instance.
        started: called before the first tick.
        idle: called after each tick that finds nothing to do.
    """
    os.environ |= {"INSIGHT_HOME": home, "INSIGHT_START_DATE": "2025-01-01", "INSIGHT_SETTLE_SECONDS": "0"}
    from insight_assets.contracts import sources
    from insight_assets.contracts.catalogue import shipped_folder

    only = {SOURCE: sources.load_source(shipped_folder() / "sources" / f"{SOURCE}.odcs.yaml")}
    sources._shipped_sources = lambda: only

    from insight_assets.ingestion import assets as ingestion
    from insight_assets.ingestion.sensors import landed_files
    from insight_assets.killed_runs import PID_TAG
    from insight_assets.resources import LakeFolder, LandingFolder
    from insight_assets.settings import settings
    from insight_assets.whole_files import write_whole

    shop = settings()
    landing = LandingFolder(
        root=str(shop.landing), timezone=shop.timezone, max_file_bytes=shop.max_file_bytes, settle_seconds=0
    )
    resources = {"tables": LakeFolder(root=str(shop.lake)), "landing": landing}
    defs = dg.Definitions(assets=[*ingestion.landing_specs, *ingestion.raw_assets], resources=resources)
    job, repository = defs.resolve_implicit_global_asset_job_def(), defs.get_repository_def()
    place = Path(home) / "cursor"
    with dg.DagsterInstance.from_config(str(shop.dagster_home)) as instance:
        # A run that was asked for and not begun is begun by the next daemon.
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED])):
            instance.delete_run(run.run_id)
        started()
        while True:
            cursor = place.read_text() if place.exists() else None
            with dg.build_sensor_context(
                instance=instance, cursor=cursor, repository_def=repository, resources=resources
            ) as context:
                result = landed_files(context)
                asked = [] if isinstance(result, dg.SkipReason) else result.run_requests
                for request in asked:
                    if not instance.get_runs(dg.RunsFilter(tags={RUN_KEY: request.run_key}), limit=1):
                        job.execute_in_process(
                            instance=instance, asset_selection=request.asset_selection,
                            tags=dict(request.tags) | {RUN_KEY: request.run_key, PID_TAG: str(os.getpid())},
                            raise_on_error=False,
                        )
                if context.cursor is not None and context.cursor != cursor:
                    write_whole(place, context.cursor)
            if not asked:
                idle()
                time.sleep(0.05)
