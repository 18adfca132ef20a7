"""What assets hand over and get, and what Dagster records of it."""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import ContractViolation
from insight_assets.io_managers import LakeIOManager, TableWriter
from insight_assets.lake import DailyFrames, Lake
from insight_assets.metadata import (
    CARD_KEY,
    HASH_KEY,
    PARTITION_CARD_KEY,
    ROWS_KEY,
    SINCE_KEY,
    partition_states,
    published_days,
    table_asset,
)
from insight_assets.partitions import DAYS, HISTORY, WITH_DAY_BEFORE

HISTORY_TABLE, PRODUCTS = contract("product_history"), contract("products")
FIRST = date(2025, 1, 1)
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def day(ahead: int) -> date:
    return FIRST + timedelta(days=ahead)


def seen(key: date, count: int = 2, price: str = "1") -> pl.DataFrame:
    """Give rows of the table product_history of one day."""
    return pl.DataFrame(
        {
            "product_id": [f"p{n}" for n in range(count)],
            "source": ["shop"] * count,
            "event_day": [key] * count,
            "price": [price] * count,
        }
    ).with_columns(
        pl.col("product_id", "source").cast(pl.String),
        pl.col("event_day").cast(pl.Date),
        pl.col("price").cast(pl.String).cast(pl.Decimal(18, 4)),
        observed_at=pl.lit(key).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )


class Shop:
    """A lake, an instance, and assets made of functions."""

    def __init__(self, folder, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance = Lake(folder), instance
        self.read: list[pl.DataFrame] = []
        self.make = seen

    def assets(self) -> list[dg.AssetsDefinition]:
        @dg.asset(**table_asset("product_history", layer="validated", purpose="operations"), backfill_policy=dg.BackfillPolicy.single_run())
        def product_history() -> DailyFrames:
            return DailyFrames(self.make)

        @dg.asset(
            **table_asset("products", layer="validated", purpose="operations"), ins={"product_history": dg.AssetIn(partition_mapping=HISTORY)}
        )
        def products(context: dg.AssetExecutionContext, product_history: pl.LazyFrame) -> pl.LazyFrame:
            self.read.append(product_history.collect())
            key = date.fromisoformat(context.partition_key)
            return product_history.group_by("product_id").agg(
                as_of=pl.lit(key), first_seen=pl.col("event_day").min(), last_seen=pl.col("event_day").max()
            )

        @dg.asset(partitions_def=DAYS, ins={"product_history": dg.AssetIn(partition_mapping=WITH_DAY_BEFORE)})
        def neighbours(product_history: pl.LazyFrame) -> None:
            self.read.append(product_history.collect())

        return [product_history, products, neighbours]

    def run(self, name: str, first: int, last: int | None = None, *, check: bool = True) -> dg.ExecuteInProcessResult:
        tags = {} if last is None else dict(zip(RANGE, (day(first).isoformat(), day(last).isoformat()), strict=True))
        return dg.materialize(
            self.assets(), selection=[name], instance=self.instance, tags=tags, raise_on_error=check,
            partition_key=None if tags else day(first).isoformat(), resources={"lake": LakeIOManager(root=str(self.lake.root))},
        )  # fmt: skip


@pytest.fixture
def shop(tmp_path) -> Iterator[Shop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shop(tmp_path / "lake", instance)


def test_a_range_is_made_one_day_at_a_time_and_each_day_is_recorded(shop):
    shop.make = lambda key: seen(key, count=key.day)
    shop.run("product_history", 0, 4)
    states = partition_states(shop.instance, "product_history")
    assert {key: state.rows for key, state in states.items()} == {day(n).isoformat(): n + 1 for n in range(5)}
    assert len({state.content_hash for state in states.values()}) == 5
    assert published_days(shop.instance, "product_history") == {day(n) for n in range(5)}
    assert shop.lake.scan(HISTORY_TABLE).collect().height == 15
    assert set(partition_states(shop.instance, "product_history", [day(1).isoformat()])) == {day(1).isoformat()}


def test_inputs_hold_the_mapped_days_alone(shop):
    shop.run("product_history", 0, 5)
    shop.run("products", 3)
    assert set(shop.read[0]["event_day"]) == {day(n) for n in range(4)}
    shop.run("neighbours", 4)
    assert set(shop.read[1]["event_day"]) == {day(3), day(4)}


def test_inputs_that_were_never_written_hold_no_rows(shop):
    shop.run("products", 3)
    assert shop.read[0].is_empty()
    assert shop.read[0].schema == HISTORY_TABLE.polars_schema()
    assert partition_states(shop.instance, "products")[day(3).isoformat()].rows == 0


def test_a_frame_for_a_range_is_cut_into_its_days(shop):
    shop.make = lambda key: seen(key)
    frame = pl.concat([seen(day(n)) for n in range(3)])

    @dg.asset(**table_asset("product_history", layer="validated", purpose="operations"), backfill_policy=dg.BackfillPolicy.single_run())
    def product_history() -> pl.DataFrame:
        return frame

    tags = dict(zip(RANGE, (day(0).isoformat(), day(2).isoformat()), strict=True))
    dg.materialize(
        [product_history],
        instance=shop.instance,
        tags=tags,
        resources={"lake": LakeIOManager(root=str(shop.lake.root))},
    )
    assert {key: state.rows for key, state in partition_states(shop.instance, "product_history").items()} == {
        day(n).isoformat(): 2 for n in range(3)
    }


def test_unchanged_content_keeps_its_age_and_is_not_written(shop):
    shop.run("product_history", 0, 2)
    before, versions = partition_states(shop.instance, "product_history"), shop.lake.versions("product_history")
    shop.make = lambda key: seen(key, price="2") if key == day(1) else seen(key)
    shop.run("product_history", 0, 2)
    after = partition_states(shop.instance, "product_history")
    for key, state in after.items():
        assert state.at > before[key].at
        assert (state.since == before[key].since) is (key != day(1).isoformat())
    assert shop.lake.versions("product_history") == versions + 1
    shop.run("product_history", 0, 2)
    assert shop.lake.versions("product_history") == versions + 1


def test_a_lake_that_lost_its_table_is_written_again(shop):
    import shutil

    shop.run("product_history", 0, 1)
    shutil.rmtree(shop.lake.root)
    shop.run("product_history", 0, 1)
    assert shop.lake.scan(HISTORY_TABLE).collect().height == 4


def test_what_breaks_its_contract_is_refused_and_no_value_is_told(shop):
    shop.run("product_history", 0)
    shop.make = lambda key: seen(key, price="-7.7777")
    result = shop.run("product_history", 0, 1, check=False)
    assert not result.success
    assert shop.lake.scan(HISTORY_TABLE).collect()["price"].min() == 1
    assert published_days(shop.instance, "product_history") == {day(0)}
    told = "\n".join(str(entry) for run in shop.instance.get_runs() for entry in shop.instance.all_logs(run.run_id))
    assert "price.minimum (4 rows)" in told
    assert "7.7777" not in told


def test_repeated_keys_are_refused(shop):
    writer = TableWriter(shop.lake, shop.instance, smallest_group=10)
    with pytest.raises(ContractViolation, match=r"primary_key \(4 rows\)"):
        writer.write(HISTORY_TABLE, [FIRST], DailyFrames(lambda key: pl.concat([seen(key), seen(key)])))


def test_what_is_recorded_of_a_partition(shop):
    writer = TableWriter(shop.lake, shop.instance, smallest_group=10)
    recorded = writer.write(HISTORY_TABLE, [day(1), day(0)], DailyFrames(seen))
    assert list(recorded) == [day(0).isoformat(), day(1).isoformat()]
    assert {each[ROWS_KEY] for each in recorded.values()} == {2}
    for key, each in recorded.items():
        card = each[PARTITION_CARD_KEY].value
        assert card.startswith(f"2 rows of {key}; all keep the {len(HISTORY_TABLE.rules)} rules of product_history")
        empty = len(HISTORY_TABLE.columns) - seen(day(0)).width
        assert card.count(" all") == 1 + min(empty, 8)
        assert f"{seen(day(0)).width} columns are full." in card
    assert len({each[HASH_KEY] for each in recorded.values()}) == 2


def test_gaps_are_counted_a_day_and_told_by_their_share(shop):
    writer = TableWriter(shop.lake, shop.instance, smallest_group=5)

    def gaps(key: date) -> pl.DataFrame:
        without = 10 * key.day if key.day < 3 else 4
        price = pl.when(pl.col("product_id").str.slice(1).cast(pl.Int64) >= without).then("price")
        return seen(key, count=40).with_columns(price)

    recorded = writer.write(HISTORY_TABLE, [day(n) for n in range(3)], DailyFrames(gaps))
    told = [each[PARTITION_CARD_KEY].value for each in recorded.values()]
    assert ["`price` 25.0%" in told[0], "`price` 50.0%" in told[1], "`price` in few rows" in told[2]] == [True] * 3
    again = writer.write(HISTORY_TABLE, [day(1)], DailyFrames(gaps))
    assert again[day(1).isoformat()][PARTITION_CARD_KEY].value == told[1]


def test_what_holds_on_every_day_stands_on_the_asset_and_not_on_its_partitions(shop):
    (table, *_), rules = shop.assets(), len(HISTORY_TABLE.rules)
    card = table.metadata_by_key[table.key][CARD_KEY].value
    assert card.startswith(HISTORY_TABLE.description)
    result = shop.run("product_history", 0, 2)
    events = result.asset_materializations_for_node("product_history")
    assert len(events) == 3
    for event in events:
        assert CARD_KEY not in event.metadata
        assert f"all keep the {rules} rules" in event.metadata[PARTITION_CARD_KEY].value


def test_rows_of_another_meaning_are_other_content(shop):
    writer = TableWriter(shop.lake, shop.instance, smallest_group=10)

    def record(meaning: str) -> tuple[str, float]:
        metadata = writer.write(HISTORY_TABLE, [FIRST], DailyFrames(seen), meaning=lambda _: meaning)[FIRST.isoformat()]
        shop.instance.report_runless_asset_event(
            dg.AssetMaterialization("product_history", partition=FIRST.isoformat(), metadata=metadata)
        )
        return metadata[HASH_KEY], metadata[SINCE_KEY].value

    first, again, other = record("contract a"), record("contract a"), record("contract b")
    assert first == again
    assert other[0] != first[0]
    assert other[1] > first[1]


def test_what_was_recorded_of_one_home_is_not_taken_for_that_of_another(shop):
    shop.run("product_history", 0, 2)
    assert len(partition_states(shop.instance, "product_history")) == 3
    with dg.DagsterInstance.ephemeral() as other:
        assert partition_states(other, "product_history") == {}
    shop.instance.wipe_assets([dg.AssetKey("product_history")])
    assert partition_states(shop.instance, "product_history") == {}
    shop.run("product_history", 1)
    assert set(partition_states(shop.instance, "product_history")) == {day(1).isoformat()}
