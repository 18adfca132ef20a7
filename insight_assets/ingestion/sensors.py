"""The sensor that turns landed files into runs.

It decides nothing itself: the plan is the same one that `insight build` follows, one step a tick. Its place is kept in
the tables and in the history of runs, not in a cursor over file names, so that no name order and no kill loses a file.
"""

import hashlib
import json

import dagster as dg

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.assets import SOURCES
from insight_assets.ingestion.raw import PREFIX, pending_days, sources_in_use
from insight_assets.killed_runs import close_killed_runs, count_kills
from insight_assets.metadata import RANGE_END, RANGE_START
from insight_assets.picture import Picture
from insight_assets.resources import LakeFolder, LandingFolder
from insight_assets.settings import settings
from insight_assets.validation.rate_files import RATES, rate_signature

LANDING_TAG = "insight/landing"
NEED_TAG = "insight/need"
# A run that is killed as often as this has something in it that kills.
_MOST_KILLS = 5


@dg.sensor(
    name="landed_files",
    target=dg.AssetSelection.groups("raw", "validated", "features")
    - dg.AssetSelection.assets(
        "products", "customer_state", "customer_features", "product_features", "event_sequences", "customer_labels"
    ),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Builds the event days that newly landed files touch: raw, validated, sessions and daily aggregates",
)
def landed_files(
    context: dg.SensorEvaluationContext, landing: LandingFolder, tables: LakeFolder
) -> dg.SensorResult | dg.SkipReason:
    """Request the next run that landed files make necessary, one at a time."""
    new = sources_in_use(source_contracts(settings().sources), settings().landing, tables.open()).keys() - SOURCES.keys()
    if new:
        context.log.warning(f"{', '.join(sorted(new))} began to deliver; reload the code location to build from it")
    if close_killed_runs(context.instance, {LANDING_TAG: "true"}):
        return dg.SkipReason("a run for landed files is under way")
    try:
        inventory = landing.open()
        for source in SOURCES.values():
            inventory.refresh(source)
        files = inventory.files()
    except OSError as error:
        # A folder that cannot be listed is not an empty folder.
        return dg.SkipReason(f"the landing folder cannot be read: {error}")
    store = tables.open()
    # Days that only an earlier version of a file touched are built again, too.
    pending = {day for source in SOURCES.values() for day in pending_days(inventory, store, source)}
    days = sorted(day for day in pending.union(*(file.days for file in files)) if day >= settings().start_date)
    if not days:
        return dg.SkipReason("nothing has landed since INSIGHT_START_DATE")
    # Once all is built, only new content or another run can change that; no need to look at the history again.
    contents = sorted((file.source, file.name, file.content_hash, file.status) for file in files)
    contents += rate_signature(inventory.root / RATES)
    seen = hashlib.sha256(json.dumps([contents, context.instance.get_runs_count()]).encode()).hexdigest()[:16]
    if context.cursor == seen:
        return dg.SkipReason("nothing new has landed and every landed row is built")
    picture = Picture(context.repository_def.asset_graph, context.instance)
    step = picture.next_rows(days[0], days[-1], inventory, store, SOURCES.values())
    if step is None:
        context.update_cursor(seen)
        return dg.SkipReason("every landed row is built")
    tags = {LANDING_TAG: "true", RANGE_START: step.days[0].isoformat(), RANGE_END: step.days[-1].isoformat()}
    # The same step is asked for again only when what it would read has changed. A file that is put back as it was
    # before is a change, too: what raw holds has moved on.
    raw = [name for name in step.assets if name.startswith(PREFIX) or name == RATES]
    # A day that was held back for a refused file is tried again once another is refused, or none.
    refused = sorted((file.source, file.name, file.reason) for file in files if file.status == "refused")
    reads = [picture.newest(step), contents if raw else [], [store.versions(name) for name in raw], refused]
    need = hashlib.sha256(json.dumps([step.assets, tags, reads]).encode()).hexdigest()[:16]
    tags[NEED_TAG] = need
    # What was killed on its way is asked for again, since Dagster launches no run of a key that it has seen.
    kills = count_kills(context.instance, {NEED_TAG: need})
    if kills >= _MOST_KILLS:
        return dg.SkipReason(
            f"the run of {step.days[0]} to {step.days[-1]} was ended from outside {kills} times (tag {NEED_TAG}={need}): "
            "see its last messages and the memory of the machine, then run `insight build`, or land what changes it"
        )
    key = f"{need}-{kills}" if kills else need
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=key, asset_selection=[dg.AssetKey(name) for name in step.assets], tags=tags)]
    )


sensors = [landed_files]
