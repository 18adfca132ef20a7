"""When Dagster's daemon makes as-of tables by itself: named conditions, each with the incident that it prevents.

Event days are brought in by the sensor of the landing folder. From there on these conditions decide. They look at what
partitions hold and since when, never at what happened since the last tick, so that a daemon that was down for a week
decides as one that never stopped. The judgement itself is `planning.judge_snapshots`.
"""

from collections.abc import Collection, Mapping
from datetime import date
from functools import lru_cache

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView

from insight_assets.picture import Picture
from insight_assets.planning import SnapshotVerdicts, judge_snapshots, need_snapshots
from insight_assets.settings import settings

# Published for every event day that went the whole way, also for one on which nothing happened.
ROWS = "customer_days"


@lru_cache(maxsize=1)
def _judge(view: AssetGraphView) -> SnapshotVerdicts:
    """Judge all as-of partitions, once a tick."""
    shop = settings()
    picture = Picture(view.asset_graph, view.instance)
    states = picture.read_states()
    today = view.effective_dt.astimezone(shop.zone).date()
    over = [day for day in states[ROWS] if day < today]
    wanted: Mapping[date, Collection[str]] = {}
    if over:
        wanted = need_snapshots(
            picture.nodes, max(over), states, first_day=min(states[ROWS]), horizon_days=shop.horizon_days,
            min_history_days=shop.min_history_days, selected={node.name for node in picture.nodes},
        ).wanted
    return judge_snapshots(picture.nodes, states, wanted)


class _Judged(dg.AutomationCondition):
    """A condition that is true of the as-of days that the judgement names."""

    def _days(self, verdicts: SnapshotVerdicts) -> Mapping[str, Collection[date]]:
        raise NotImplementedError

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        days = self._days(_judge(context.asset_graph_view)).get(context.key.to_user_string(), ())
        known = set(context.partitions_def.get_partition_keys()) if days else set()
        keys = {day.isoformat() for day in days} & known
        named = context.asset_graph_view.get_subset_from_partition_keys(context.key, context.partitions_def, keys)
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(named))


class ContentChanged(_Judged):
    """Something that a published partition was made from holds other content than when it was made.

    Prevents: a late order changed a day in March, and every profile since went on showing the old sum. And the other
    way round: with `any_deps_updated`, making a day again with the same content made a year of profiles anew.
    """

    @property
    def name(self) -> str:
        return "content_changed"

    def _days(self, verdicts: SnapshotVerdicts) -> Mapping[str, Collection[date]]:
        return verdicts.changed


class WantedForNewestDay(_Judged):
    """A partition that the newest whole event day needs is not there: its own, or that of an origin it is graded by.

    Prevents: `missing` asked for an as-of table of every day since the shop's first the moment it was switched on; and
    a profile was made of a day that was not over.
    """

    @property
    def name(self) -> str:
        return "wanted_for_newest_day"

    def _days(self, verdicts: SnapshotVerdicts) -> Mapping[str, Collection[date]]:
        return verdicts.missing


class InputsSettled(_Judged):
    """Everything the partition reads is published and as new as what it was itself made from.

    Prevents: scores were made of new features and the old scorecard, and an hour later once more of the new one.
    """

    @property
    def name(self) -> str:
        return "inputs_settled"

    def _days(self, verdicts: SnapshotVerdicts) -> Mapping[str, Collection[date]]:
        return verdicts.settled


def not_failing() -> dg.AutomationCondition:
    """The last attempt did not fail, or something it reads was made again since.

    Prevents: a partition that cannot be made was asked for every thirty seconds through the night.
    """
    mended = dg.AutomationCondition.any_deps_updated().since_last_handled()
    return (~dg.AutomationCondition.execution_failed() | mended).with_label("not_failing")


def not_under_way() -> dg.AutomationCondition:
    """No run makes the partition or something it reads just now.

    Prevents: two runs wrote one partition, and the one that had read less ended last.
    """
    busy = dg.AutomationCondition.in_progress() | dg.AutomationCondition.any_deps_in_progress()
    return (~busy).with_label("not_under_way")


def keep_current() -> dg.AutomationCondition:
    """Make what the newest whole day needs, and make again whatever late or mended rows changed."""
    due = (ContentChanged() | WantedForNewestDay()).with_label("due")
    return (due & InputsSettled() & not_under_way() & not_failing()).with_label("keep_current")


def automated(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Let the daemon keep an as-of asset current; assets by event day follow the landing folder's sensor."""
    if asset.backfill_policy is not None:
        return asset
    return asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=keep_current()))


automation_sensor = dg.AutomationConditionSensorDefinition(
    name="late_and_new_days",
    target=dg.AssetSelection.all() - dg.AssetSelection.groups("raw", "validated")
    | dg.AssetSelection.assets("products", "payment_settlement"),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    use_user_code_server=True,
    description="Makes as-of tables of the newest whole day, and anew the past ones that late or mended rows changed",
)
