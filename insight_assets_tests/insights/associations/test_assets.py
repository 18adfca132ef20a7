"""The asset, run by Dagster on one partition."""

from datetime import date

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.associations import assets, recounting, rules
from insight_assets.insights.associations.baskets import basket_rows, baskets_of
from insight_assets.partitions import DAYS
from insight_assets_tests.insights.associations.orders import DAY, order_lines, planted_orders

NO_NAMES = pl.DataFrame(schema={"product_id": pl.String, "product_name": pl.String})


class Kept(dg.IOManager):
    """Keeps frames by asset in memory."""

    def __init__(self, **frames: pl.DataFrame) -> None:
        self.frames = frames

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        self.frames[context.asset_key.path[-1]] = obj

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        return self.frames[context.asset_key.path[-1]].lazy()


def materialized(lines: pl.DataFrame) -> tuple[pl.DataFrame, dg.ExecuteInProcessResult]:
    names = lines.select("product_id").unique().with_columns(product_name=pl.col("product_id").str.to_uppercase())
    kept = Kept(order_lines=lines, products=names)
    inputs = [
        dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake") for name in ("order_lines", "products")
    ]
    result = dg.materialize(
        [assets.product_associations, *inputs],
        partition_key=DAY.isoformat(),
        resources={"lake": kept},
        selection=dg.AssetSelection.assets("product_associations"),
    )
    return kept.frames["product_associations"], result


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


@pytest.fixture(scope="module")
def lines():
    return planted_orders(orders=900, customers=250)


@pytest.mark.parametrize("planted", [True, False])
def test_the_table_keeps_its_contract(lines, planted):
    rows, result = materialized(lines if planted else order_lines([(1, "a", "x", 0)]))
    of = contract("product_associations")
    validate_frame(of, of.conform(rows.lazy()).collect())
    assert rows["as_of"].unique().to_list() == ([DAY] if planted else [])
    assert rows.is_empty() != planted
    assert verdicts(result) == dict.fromkeys((assets.CHANCE_CHECK, assets.RECOUNT_CHECK, assets.GROUPS_CHECK), True)
    metadata = result.asset_materializations_for_node("product_associations")[0].metadata
    assert ("lifts" in metadata) == planted
    if planted:
        assert metadata["lifts"].value.startswith("![chart](data:image/png;base64,")
        # Each set once, by name, and never a customer.
        assert (
            "| BREAD | BUTTER |" in metadata["strongest"].value or "| BUTTER | BREAD |" in metadata["strongest"].value
        )
        assert "customer_key" not in metadata["strongest"].value


def test_every_check_can_fail(lines, monkeypatch):
    orders = basket_rows(lines.lazy(), as_of=DAY, window_days=180).collect()
    baskets = baskets_of(orders)

    def failed(rows: pl.DataFrame) -> set[str]:
        return {each.check_name for each in assets._checks(rows, orders, baskets) if not each.passed}

    def found(smallest_group: int) -> pl.DataFrame:
        return rules.named(rules.associate(baskets, as_of=DAY, smallest_group=smallest_group).rows, NO_NAMES)

    assert failed(found(10)) == set()
    assert failed(found(10).with_columns(pl.col("customers") + 1)) == {assets.RECOUNT_CHECK}
    # In a shop that shows larger groups alone, these are too small.
    monkeypatch.setenv("INSIGHT_K_ANONYMITY", "100000")
    assert failed(found(10)) == {assets.GROUPS_CHECK}
    monkeypatch.delenv("INSIGHT_K_ANONYMITY")
    search = rules.associate
    monkeypatch.setattr(
        recounting, "associate", lambda mixed, **given: search(mixed, **given | {"false_discoveries": 1.0})
    )
    assert failed(found(10)) == {assets.CHANCE_CHECK}


def test_an_as_of_day_reads_its_window_alone():
    mapping = assets.product_associations.get_partition_mapping(dg.AssetKey("order_lines"))
    subset = mapping.get_upstream_mapped_partitions_result_for_partitions(
        DAYS.subset_with_partition_keys([DAY.isoformat()]), DAYS, DAYS
    ).partitions_subset
    days = sorted(date.fromisoformat(key) for key in subset.get_partition_keys())
    assert (days[-1], (days[-1] - days[0]).days) == (DAY, rules.WINDOW_DAYS - 1)
