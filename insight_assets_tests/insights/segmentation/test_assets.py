"""The segmentation assets, run by Dagster on two partitions a migration apart."""

from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation import assets
from insight_assets.partitions import DAYS
from insight_assets.settings import settings
from insight_assets_tests.insights.segmentation.planted_customers import planted_customers
from insight_assets_tests.model_cards import demand_sound, number, section, tables
from insight_assets_tests.profiles.people import days, rows

THEN = date.fromisoformat(DAYS.get_first_partition_key())
NOW = THEN + timedelta(days=settings().migration_days)
TABLES = (
    "rfm_segments",
    "clustering_scorecard",
    "customer_clusters",
    "cluster_descriptions",
    "lifecycle_states",
    "previous_segments",
    "segment_transitions",
    "cohort_retention",
)
OF_STEP = {"customer_clusters": "clusters", "cluster_descriptions": "clusters"}
GIVEN = ("customer_features", "customer_labels", "customer_days", "orders")


class KeptFrames(dg.IOManager):
    """Keeps frames by asset in memory; of the lake's behaviour, days that were never written hold no rows."""

    def __init__(self, frames: dict[str, pl.DataFrame]) -> None:
        self.frames = frames

    def handle_output(self, context: dg.OutputContext, obj: pl.LazyFrame | pl.DataFrame) -> None:
        name = context.asset_key.path[-1]
        frame = contract(name).conform(obj.lazy()).collect()
        self.frames[name] = pl.concat([self.frames.get(name, frame.clear()), frame])

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        name = context.asset_key.path[-1]
        frame = self.frames.get(name, contract(name).empty())
        wanted = [date.fromisoformat(key) for key in context.asset_partition_keys]
        return frame.lazy().filter(pl.col(contract(name).partition_column).is_in(wanted))


def shop(size: int) -> dict[str, pl.DataFrame]:
    """A shop on both days; on the later one everybody bought in between, and a quarter are new."""
    customers = planted_customers(size, seed=5)[0].with_columns(as_of=pl.lit(THEN))
    newcomers = customers.head(size // 4).with_columns(pl.col("customer_key") + 1_000_000)
    later = pl.concat([customers, newcomers]).with_columns(
        as_of=pl.lit(NOW), days_since_last_order=(pl.col("days_since_last_order") + 10).cast(pl.Int32)
    )
    bought = [
        {"customer_key": key, "event_day": THEN + timedelta(days=key % 30), "orders": 1}
        for key in later["customer_key"].to_list()
    ]
    labels = customers.select("customer_key", "as_of", net=pl.col("net_lifetime") / 10)
    return {
        "customer_features": pl.concat([customers, later]),
        "customer_labels": labels,
        "customer_days": days(*bought).collect(),
        "orders": rows("orders", []),
    }


def materialized(size: int) -> tuple[dict[str, pl.DataFrame], list[dg.ExecuteInProcessResult]]:
    frames = shop(size)
    sources = [dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake") for name in GIVEN]
    results = [
        dg.materialize(
            [*dg.load_assets_from_modules([assets]), *sources],
            partition_key=day.isoformat(),
            resources={"lake": KeptFrames(frames)},
            selection=dg.AssetSelection.assets(*selection),
        )
        for day, selection in ((THEN, TABLES), (NOW, [name for name in TABLES if name != "clustering_scorecard"]))
    ]
    return frames, results


@pytest.fixture(scope="module")
def built():
    return materialized(120)


@pytest.mark.parametrize("size", [0, 3])
def test_tables_keep_their_contracts_in_the_smallest_shops(size):
    frames, _ = materialized(size)
    _obey_their_contracts(frames)


def test_tables_keep_their_contracts(built):
    frames, _ = built
    _obey_their_contracts(frames)
    sizes = {name: frames[name].filter(pl.col("as_of") == NOW).height for name in TABLES}
    assert sizes["rfm_segments"] == sizes["customer_clusters"] == sizes["lifecycle_states"] == 150
    assert sizes["previous_segments"] == 120
    assert sizes["segment_transitions"] >= 2


def _obey_their_contracts(frames: dict[str, pl.DataFrame]) -> None:
    for name in TABLES:
        of = contract(name)
        validate_frame(of, frames[name])
        for rule in of.row_rules():
            assert frames[name].select(rule.passes.all()).item(), (name, rule.name)


def test_the_first_day_has_nothing_to_compare_with(built):
    frames, _ = built
    for name in ("previous_segments", "segment_transitions"):
        assert frames[name].filter(pl.col("as_of") == THEN).is_empty()


def test_moves_count_everybody_of_either_day(built):
    moves = built[0]["segment_transitions"].filter(pl.col("as_of") == NOW)
    assert moves["previous_day"].unique().to_list() == [THEN]
    assert moves["customers"].min() >= settings().k_anonymity
    assert moves.group_by("kind").agg(pl.col("customers").sum())["customers"].to_list() == [150, 150]


def test_every_check_is_judged_and_holds(built):
    for result in built[1]:
        found = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
        assert found == {"one_state_per_customer": True, "customers_are_conserved": True, "no_small_group": True}


def test_states_that_miss_a_customer_are_not_published(monkeypatch):
    whole = assets.lifecycle.lifecycle_states
    monkeypatch.setattr(
        assets.lifecycle, "lifecycle_states", lambda *args, **more: whole(*args, **more).slice(1)
    )
    with pytest.raises(dg.Failure, match="one_state_per_customer"):
        materialized(12)


def card_of(built) -> str:
    events = built[1][1].asset_materializations_for_node("clusters")
    return next(each for each in events if each.asset_key.path[-1] == "customer_clusters").metadata["model_card"].value


def test_the_card_tells_clusters_their_method_and_how_sound_they_are(built):
    card, found = card_of(built), built[0]["customer_clusters"].filter(pl.col("as_of") == NOW)
    demand_sound(card, found["customer_key"], asset="customer_clusters", told={"as of": str(NOW), "code version": "2"})
    told = {row["cluster"]: row["customers"] for row in tables(section(card, "Taught by"))[0]}
    assert told.pop("all customers") == "150"
    sizes = dict(found.group_by("cluster").len().rows())
    assert {int(cluster): number(size) for cluster, size in told.items()} == sizes
    methods = tables(section(card, "Methods"))[0]
    (asked,) = [row for row in methods if row["tries"] != "not asked"]
    assert asked["method"] == found["method"].unique().item()
    assert asked["chosen"] == f"k={len(sizes)}"
    assert card == card_of(materialized(120))
    assert card != card_of(materialized(116))


def test_a_card_of_three_customers_counts_none_of_them():
    card = card_of(materialized(3))
    assert {row["customers"] for row in tables(section(card, "Taught by"))[0]} == {"fewer than 10"}
    assert "one single cluster" in section(card, "Methods")


def test_metadata_shows_pictures_and_tables_but_no_customer(built):
    result = built[1][1]
    shown = {
        name: event.metadata
        for name in TABLES
        if name != "clustering_scorecard"
        for event in result.asset_materializations_for_node(OF_STEP.get(name, name))
        if event.asset_key.path[-1] == name
    }
    shown["clustering_scorecard"] = built[1][0].asset_materializations_for_node("clustering_scorecard")[0].metadata
    assert {"segments", "sizes"} <= set(shown["rfm_segments"])
    assert {"trials", "choice_of_k", "method"} <= set(shown["customer_clusters"])
    assert "buys" in shown["cluster_descriptions"]["clusters"].value
    assert "(champion)" in shown["clustering_scorecard"]["scorecard"].value
    assert {"states", "sizes"} <= set(shown["lifecycle_states"])
    assert {"rfm_segment_moves", "lifecycle_state_moves"} <= set(shown["segment_transitions"])
    assert "retention" not in shown["cohort_retention"]  # one month is no retention yet
    for metadata in shown.values():
        text = " ".join(str(value.value) for value in metadata.values())
        assert "customer_key" not in text
        assert len(text) < 100_000
