"""The lifetime value assets, run by Dagster over two origins one horizon apart."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.lifetime_value.assets import (
    MODELS,
    REPEATS_CHECK,
    lifetime_value_models,
    lifetime_value_scorecard,
    lifetime_value_scores,
)
from insight_assets.insights.lifetime_value.model import load
from insight_assets.ml.model_card import CARD_FILE
from insight_assets.partitions import DAYS
from insight_assets.resources import ModelStore
from insight_assets.settings import settings
from insight_assets_tests.insights.lifetime_value.simulated_customers import simulate_customers
from insight_assets_tests.kept_frames import KeptFrames
from insight_assets_tests.model_cards import demand_sound, section, tables

HORIZON = timedelta(days=settings().horizon_days)
ORIGIN = date.fromisoformat(DAYS.get_first_partition_key()) + timedelta(days=30)
AS_OF = ORIGIN + HORIZON
READ = ("customer_features", "customer_labels", "churn_examples", "customer_days", "orders", "identity_links")
ASSETS = [lifetime_value_models, lifetime_value_scorecard, lifetime_value_scores]


@pytest.fixture
def shop(tmp_path):
    lake = KeptFrames()
    customers = simulate_customers(900, seed=3, ahead=float(HORIZON.days))
    for day in (ORIGIN, AS_OF):
        lake.frames["customer_features", day.isoformat()] = customers.features().collect()
    lake.frames["customer_labels", ORIGIN.isoformat()] = customers.labels().collect()
    return lake, ModelStore(root=str(tmp_path))


def materialize(shop, day: date, *names: str) -> dg.ExecuteInProcessResult:
    lake, models = shop
    specs = [
        dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake")
        for name in READ
    ]
    return dg.materialize(
        [*ASSETS, *specs],
        partition_key=day.isoformat(),
        resources={"lake": lake, "models": models},
        selection=dg.AssetSelection.assets(*names),
    )


def test_scores_follow_the_scorecard_of_one_horizon_ago(shop):
    lake, models = shop
    materialize(shop, ORIGIN, MODELS, "lifetime_value_scorecard")
    materialize(shop, AS_OF, MODELS, "lifetime_value_scores")
    card = lake.frames["lifetime_value_scorecard", ORIGIN.isoformat()]
    scores = lake.frames["lifetime_value_scores", AS_OF.isoformat()]
    champion = card.filter("is_champion").select("method", "grade").unique().row(0)
    assert scores.select("method", "grade").unique().row(0) == champion
    assert scores["graded_origin"].unique().to_list() == [ORIGIN]
    assert scores["as_of"].unique().to_list() == [AS_OF]
    assert scores["model_version"].unique().to_list() == [models.version(MODELS, AS_OF)]
    assert scores["horizon_days"].unique().to_list() == [HORIZON.days]
    assert scores.height == 900
    for name, frame in (("lifetime_value_scorecard", card), ("lifetime_value_scores", scores)):
        validate_frame(contract(name), frame)


def test_without_a_scorecard_the_rule_is_published_ungraded(shop):
    lake, _ = shop
    materialize(shop, AS_OF, MODELS, "lifetime_value_scores")
    scores = lake.frames["lifetime_value_scores", AS_OF.isoformat()]
    assert scores.select("method", "grade").unique().row(0) == ("history_rule", "ungraded")
    assert scores["graded_origin"].null_count() == 900


def test_open_horizon_gives_an_empty_scorecard(shop):
    lake, _ = shop
    result = materialize(shop, AS_OF, MODELS, "lifetime_value_scorecard")
    assert lake.frames["lifetime_value_scorecard", AS_OF.isoformat()].is_empty()
    event = result.asset_materializations_for_node("lifetime_value_scorecard")[0]
    assert "Nothing graded" in event.metadata["scorecard"].value


def test_model_is_checked_pictured_and_the_same_twice(shop):
    _, models = shop
    first = materialize(shop, ORIGIN, MODELS)
    version = models.version(MODELS, ORIGIN)
    again = materialize(shop, ORIGIN, MODELS)
    assert models.version(MODELS, ORIGIN) == version
    assert load(Path(models.reading(MODELS, ORIGIN))).purchase.customers == 900
    check = first.get_asset_check_evaluations()[0]
    assert (check.check_name, check.passed) == (REPEATS_CHECK, True)
    metadata = again.asset_materializations_for_node(MODELS)[0].metadata
    assert metadata["repeat_purchases"].value.startswith("![chart](data:image/png")
    assert metadata["customers"].value == 900
    card = metadata["model_card"].value
    assert card == (models.reading(MODELS, ORIGIN) / CARD_FILE).read_text(encoding="utf-8")
    demand_sound(
        card, shop[0].frames["customer_features", ORIGIN.isoformat()]["customer_key"], asset=MODELS,
        told={"as of": str(ORIGIN), "code version": "4", "seed": str(settings().seed)},
    )  # fmt: skip
    fitted = {row["fitted on"]: row["customers"] for row in tables(section(card, "Taught by"))[0]}
    assert fitted["customers who have bought (purchase models)"] == "900"
    assert fitted["of them with a repeat purchase"] == str(metadata["repeat_customers"].value)
    assert "nothing calibrated" in section(card, "Taught by")
    assert tables(section(card, "Guards"))[0][0]["guard"] == REPEATS_CHECK


def test_a_shop_before_its_first_sale_has_model_and_no_scores(shop):
    lake, _ = shop
    lake.frames["customer_features", AS_OF.isoformat()] = (
        simulate_customers(0, seed=1).features().collect()
    )
    result = materialize(shop, AS_OF, MODELS, "lifetime_value_scores")
    assert result.success
    assert lake.frames["lifetime_value_scores", AS_OF.isoformat()].is_empty()
