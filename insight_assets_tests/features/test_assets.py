"""The features group in Dagster: partitions, order of days, the horizon, and what is recorded."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features import assets
from insight_assets.io_managers import LakeIOManager
from insight_assets.lake import DailyFrames, Lake
from insight_assets.metadata import partition_states
from insight_assets.partitions import DAYS
from insight_assets.resources import LakeFolder
from insight_assets.settings import settings
from insight_assets.validation import assets as validation
from insight_assets_tests.features.shop import Shop, broken_rules, document, event

FIRST = settings().start_date + timedelta(days=30)
DAILY = ("sessions", "customer_days", "product_days")


def key(ahead: int) -> str:
    return (FIRST + timedelta(days=ahead)).isoformat()


def small_shop() -> Shop:
    """Three days: customer 1 shops through midnight, customer 2 buys once, a visitor looks."""
    first, lines = document("sale", "o1", f"{key(0)} 12:00", 1, ("a1", 1, "9.90"))
    second, more = document("sale", "o2", f"{key(2)} 12:00", 2, ("b1", 2, "5"))
    third, last = document("sale", "o3", f"{key(2)} 12:00", 1, ("b1", 1, "5"))
    events = [
        event("product_viewed", f"{key(0)} 23:50", product_id="a1", category="a"),
        event("product_added", f"{key(1)} 00:05", product_id="a1", category="a"),
        event("page_viewed", f"{key(1)} 10:00", customer=None, visitor_key=9),
        event("products_searched", f"{key(2)} 10:00", customer=2, query="tea", results=0),
    ]
    return Shop(events, [first, second, third], lines + more + last)


class Home(SimpleNamespace):
    """A lake with validated rows and an instance that records what is built from them."""

    lake: Lake
    instance: dg.DagsterInstance

    def build(
        self, *names: str, first: int, last: int | None = None, code_version: str = "1"
    ) -> dg.ExecuteInProcessResult:
        """Materialize assets for one partition, or in one run for a range of them."""
        made = dg.load_assets_from_modules([assets])
        tags = (
            {
                "dagster/asset_partition_range_start": key(first),
                "dagster/asset_partition_range_end": key(last),
            }
            if last is not None
            else {}
        )
        return dg.materialize(
            [
                *dg.map_asset_specs(lambda spec: spec.replace_attributes(code_version=code_version), made),
                validation.validated,
                validation.products,
            ],
            selection=list(names),
            partition_key=None if tags else key(first),
            tags=tags,
            instance=self.instance,
            resources={
                "lake": LakeIOManager(root=str(self.lake.root)),
                "tables": LakeFolder(root=str(self.lake.root)),
                "key": dg.ResourceDefinition.none_resource(),
                "landing": dg.ResourceDefinition.none_resource(),
            },
            raise_on_error=False,
        )

    def hashes(self, name: str) -> dict[str, str]:
        return {
            day: state.content_hash for day, state in partition_states(self.instance, name).items()
        }

    def rows(self, name: str) -> pl.LazyFrame:
        return self.lake.scan(contract(name))


def make_home(root: Path, instance: dg.DagsterInstance, shop: Shop) -> Home:
    lake = Lake(root)
    for name, rows in shop.tables().items():
        frames = DailyFrames(lambda day, rows=rows: rows.filter(pl.col("event_day") == day))
        list(lake.write(contract(name), shop.days(), frames))
    return Home(lake=lake, instance=instance)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_home(tmp_path / "lake", instance, small_shop())


def materialization(result: dg.ExecuteInProcessResult, name: str) -> Mapping[str, Any]:
    return result.asset_materializations_for_node(name)[0].metadata


def test_a_range_in_one_run_equals_days_in_reverse_order(tmp_path: Path, home: Home) -> None:
    assert home.build(*DAILY, first=0, last=2).success
    with dg.DagsterInstance.ephemeral() as instance:
        other = make_home(tmp_path / "other", instance, small_shop())
        for ahead in (2, 1, 0):
            assert other.build(*DAILY, first=ahead).success
        for name in DAILY:
            assert other.hashes(name) == home.hashes(name)
            assert set(home.hashes(name)) == {key(0), key(1), key(2)}
            assert broken_rules(name, home.rows(name)) == []
    # Times of the small shop are eight hours ahead of the default zone, its days are kept.
    visit = home.rows("sessions").filter(pl.col("actor_key") == 1).sort("event_day").collect()
    assert visit["continued"].to_list() == [False, True]
    assert visit["session_id"].n_unique() == 1


def test_building_again_changes_no_hash(home: Home) -> None:
    for _ in range(2):
        assert home.build(*DAILY, "customer_features", "event_sequences", first=1).success
        found = [home.hashes(name) for name in (*DAILY, "customer_features", "event_sequences")]
    assert home.build(*DAILY, "customer_features", "event_sequences", first=1).success
    assert found == [home.hashes(name) for name in (*DAILY, "customer_features", "event_sequences")]


def test_snapshots_see_nothing_after_their_day(home: Home) -> None:
    assert home.build(*DAILY, first=0, last=2).success
    for ahead in (2, 0):
        assert home.build("customer_features", "event_sequences", first=ahead).success
    features = home.rows("customer_features").sort("as_of", "customer_key").collect()
    told = features.select("as_of", "customer_key", "orders_lifetime").rows()
    first, last = FIRST, FIRST + timedelta(days=2)
    assert told == [(first, 1, 1), (last, 1, 2), (last, 2, 1)]
    sequences = home.rows("event_sequences").sort("as_of", "customer_key").collect()
    assert sequences.select("customer_key", "events").rows() == [(1, 1), (1, 2), (2, 1)]


def test_features_tell_of_groups_and_never_of_a_customer(home: Home) -> None:
    assert home.build(*DAILY, first=0, last=2).success
    result = home.build("customer_features", first=2)
    metadata = materialization(result, "customer_features")
    assert metadata["customers"].value == 2
    assert "last_seen" not in metadata, "groups below the smallest size are not drawn"


def test_label_of_an_open_horizon_is_refused_with_the_day_it_closes(home: Home) -> None:
    assert home.build(*DAILY, first=0, last=2).success
    result = home.build("customer_labels", first=0)
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure).event_specific_data
    closes = FIRST + timedelta(days=settings().horizon_days)
    assert str(closes) in failure.user_failure_data.description
    assert not home.lake.exists("customer_labels")


def test_label_of_a_closed_horizon(home: Home) -> None:
    horizon = settings().horizon_days
    if FIRST + timedelta(days=horizon) > date.fromisoformat(
        DAYS.get_last_partition_key() or key(0)
    ):
        pytest.skip("the horizon of the first day is still in the future")
    assert home.build(*DAILY, first=0, last=2).success
    for ahead in range(3, horizon + 1):
        home.instance.report_runless_asset_event(
            dg.AssetMaterialization("customer_days", partition=key(ahead))
        )
    result = home.build("customer_labels", first=0)
    assert result.success
    labels = home.rows("customer_labels").collect()
    assert labels.select("customer_key", "as_of", "purchases", "churned").rows() == [
        (1, FIRST, 1, False)
    ]
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert checks == {"someone_is_labelled": True, "both_outcomes_occur": False}


SNAPSHOTS = ("customer_state", "customer_features", "product_features")


def told(result: dg.ExecuteInProcessResult, name: str, what: str) -> str:
    return materialization(result, name)[what].value


def test_states_and_features_hold_the_same_in_whatever_order_they_are_built(tmp_path: Path, home: Home) -> None:
    assert home.build(*DAILY, first=0, last=2).success
    ways = [home.build(*SNAPSHOTS, first=ahead) for ahead in (0, 1, 2)]
    assert [told(each, "customer_state", "rolled_on_from") for each in ways] == ["nothing", key(0), key(1)]
    assert {told(each, "customer_features", "past_from") for each in ways} == {"state"}
    with dg.DagsterInstance.ephemeral() as instance:
        other = make_home(tmp_path / "other", instance, small_shop())
        assert other.build(*DAILY, first=0, last=2).success
        alone = other.build("customer_features", first=2)
        assert told(alone, "customer_features", "past_from") == "days"
        assert other.hashes("customer_features")[key(2)] == home.hashes("customer_features")[key(2)]
        backwards = [other.build(*SNAPSHOTS, first=ahead) for ahead in (2, 0, 1)]
        assert [told(each, "customer_state", "rolled_on_from") for each in backwards] == ["nothing", "nothing", key(0)]
        for name in SNAPSHOTS:
            assert other.hashes(name) == home.hashes(name)
            assert broken_rules(name, home.rows(name)) == []


def test_a_state_of_days_that_changed_since_is_not_rolled_on(home: Home) -> None:
    shop = small_shop()
    assert home.build(*DAILY, first=0, last=2).success
    assert home.build(*SNAPSHOTS, first=1).success
    late, lines = document("sale", "late", f"{key(0)} 13:00", 2, ("a1", 1, "7"))
    changed = Shop(shop.events, [*shop.orders, late], [*shop.order_lines, *lines])
    for name, rows in changed.tables().items():
        day = FIRST
        frames = DailyFrames(lambda _, rows=rows, day=day: rows.filter(pl.col("event_day") == day))
        list(home.lake.write(contract(name), [day], frames))
    assert home.build(*DAILY, first=0).success
    alone = home.build("customer_features", first=1)
    assert told(alone, "customer_features", "past_from") == "days", "the state is older than the day"
    after = home.build(*SNAPSHOTS, first=2)
    assert told(after, "customer_state", "rolled_on_from") == "nothing"
    rows = home.rows("customer_features").filter(pl.col("customer_key") == 2).sort("as_of").collect()
    assert rows.select("orders_lifetime", "gross_lifetime").rows() == [(1, 7.0), (2, 17.0)]


def test_a_state_of_other_code_is_not_rolled_on(home: Home) -> None:
    assert home.build(*DAILY, first=0, last=2).success
    home.build(*SNAPSHOTS, first=0)
    other = home.build("customer_features", first=0, code_version="2")
    assert told(other, "customer_features", "past_from") == "days"
    assert told(home.build(*SNAPSHOTS, first=1, code_version="2"), "customer_state", "rolled_on_from") == "nothing"
    assert told(home.build(*SNAPSHOTS, first=2), "customer_state", "rolled_on_from") == key(0)
