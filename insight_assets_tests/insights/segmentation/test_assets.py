"""The segmentation assets, run by Dagster on one partition."""

from datetime import date

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation.assets import customer_clusters, rfm_segments
from insight_assets.partitions import DAYS
from insight_assets_tests.insights.segmentation.planted_customers import planted_customers

KEY = DAYS.get_first_partition_key()
TABLES = ("rfm_segments", "customer_clusters", "cluster_descriptions")


class KeptFrames(dg.IOManager):
    """Keeps frames by asset in memory."""

    def __init__(self, frames: dict[str, pl.DataFrame]) -> None:
        self.frames = frames

    def handle_output(self, context: dg.OutputContext, obj: pl.LazyFrame | pl.DataFrame) -> None:
        self.frames[context.asset_key.path[-1]] = obj.lazy().collect()

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        return self.frames[context.asset_key.path[-1]].lazy()


def materialized(size: int) -> tuple[dict[str, pl.DataFrame], dg.ExecuteInProcessResult]:
    frames = {"customer_features": planted_customers(size, seed=5)[0]}
    features = dg.AssetSpec("customer_features", partitions_def=DAYS).with_io_manager_key("lake")
    result = dg.materialize(
        [rfm_segments, customer_clusters, features],
        partition_key=KEY,
        resources={"lake": KeptFrames(frames)},
        selection=dg.AssetSelection.assets(*TABLES),
    )
    return frames, result


@pytest.mark.parametrize("size", [0, 3, 200])
def test_tables_keep_their_contracts_for_shops_of_any_size(size):
    frames, _ = materialized(size)
    for name in TABLES:
        of = contract(name)
        frame = of.conform(frames[name].lazy()).collect()
        validate_frame(of, frame)
        assert frame["as_of"].unique().to_list() in ([], [date.fromisoformat(KEY)])
    assert frames["rfm_segments"].height == frames["customer_clusters"].height == size


def test_metadata_shows_pictures_and_tables_but_no_customer():
    _, result = materialized(200)
    shown = {
        name: event.metadata
        for name in TABLES
        for event in result.asset_materializations_for_node(
            "rfm_segments" if name == "rfm_segments" else "clusters"
        )
        if event.asset_key.path[-1] == name
    }
    assert {"segments", "sizes"} <= set(shown["rfm_segments"])
    assert {"trials", "choice_of_k"} <= set(shown["customer_clusters"])
    assert "buys" in shown["cluster_descriptions"]["clusters"].value
    for metadata in shown.values():
        text = " ".join(str(value.value) for value in metadata.values())
        assert "customer_key" not in text
        assert len(text) < 100_000
