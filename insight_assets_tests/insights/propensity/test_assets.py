"""The propensity assets, run by Dagster over two as-of days one horizon apart."""

from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.labels import HorizonOpenError
from insight_assets.insights.propensity import assets
from insight_assets.insights.propensity.grading import TASKS
from insight_assets.insights.propensity.guards import MODEL_GUARDS, SCORECARD_CHECKS, WINDOWS_OBSERVED
from insight_assets.insights.propensity.targets import KINDS
from insight_assets.ml.model_card import CARD_FILE
from insight_assets.partitions import DAYS
from insight_assets.resources import ModelStore
from insight_assets.settings import settings
from insight_assets_tests.insights.propensity import shop
from insight_assets_tests.model_cards import facts, section, tables

HORIZON = settings().horizon_days
LENGTH = 40 + 2 * HORIZON
AS_OF = shop.day(LENGTH - 1)
ORIGIN = AS_OF - timedelta(days=HORIZON)
INPUTS = (
    "customer_days", "orders", "events", "identity_links", "customer_features", "products", "behaviour_vectors",
    "behaviour_encoder",
)  # fmt: skip
ALL = [assets.propensity_models, assets.propensity_scorecard, assets.propensity_scores]


class KeptFrames(dg.IOManager):
    """Keeps frames by asset and partition in memory; a partition never written holds no rows."""

    def __init__(self) -> None:
        self.frames: dict[tuple[str, str], pl.DataFrame] = {}

    def put(self, name: str, day: date, frame: pl.LazyFrame | pl.DataFrame) -> None:
        self.frames[name, day.isoformat()] = contract(name).conform(frame.lazy()).collect()

    def handle_output(self, context: dg.OutputContext, obj: pl.LazyFrame | pl.DataFrame) -> None:
        name = context.asset_key.path[-1]
        self.put(name, date.fromisoformat(context.partition_key), obj)
        validate_frame(contract(name), self.frames[name, context.partition_key])

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        name = context.asset_key.path[-1]
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        found = [self.frames[name, key] for key in keys if (name, key) in self.frames]
        return pl.concat(found or [contract(name).empty()]).lazy()


class Shop:
    """A lake in memory with all that the assets read."""

    def __init__(self, home) -> None:
        lines = shop.simulate_lines(60, days=LENGTH)
        days, events = shop.customer_days_of(lines), shop.events_of(lines)
        self.lake, self.models = KeptFrames(), ModelStore(root=str(home))
        self.instance = dg.DagsterInstance.ephemeral()
        for name, frame in (("customer_days", days), ("events", events)):
            for (day,), rows in frame.collect().group_by("event_day"):
                self.lake.frames[name, day.isoformat()] = rows
        for day in (ORIGIN, AS_OF):
            self.lake.put("customer_features", day, build_customer_features(days, as_of=day))
            self.lake.put("products", day, shop.products_on(day))
        for number in range(LENGTH):
            published = dg.AssetMaterialization("customer_days", partition=shop.day(number).isoformat())
            self.instance.report_runless_asset_event(published)

    def run(self, day: date, *names: str, instance: dg.DagsterInstance | None = None, raise_on_error: bool = True):
        specs = [
            dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake")
            for name in (*INPUTS, "identities", "consents")
        ]
        return dg.materialize(
            [*ALL, *specs], partition_key=day.isoformat(), resources={"lake": self.lake, "models": self.models},
            selection=dg.AssetSelection.assets(*names), instance=instance or self.instance,
            raise_on_error=raise_on_error,
        )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Shop, dict[date, dg.ExecuteInProcessResult]]:
    made = Shop(tmp_path_factory.mktemp("models"))
    results = {
        ORIGIN: made.run(ORIGIN, "propensity_models", "propensity_scorecard"),
        AS_OF: made.run(AS_OF, "propensity_models", "propensity_scores"),
    }
    return made, results


def metadata_of(result: dg.ExecuteInProcessResult, name: str) -> dict:
    return dict(result.asset_materializations_for_node(name)[0].metadata)


def test_scores_follow_the_scorecard_of_one_horizon_ago(built):
    made, _ = built
    card = made.lake.frames["propensity_scorecard", ORIGIN.isoformat()]
    scores = made.lake.frames["propensity_scores", AS_OF.isoformat()]
    for kind in KINDS:
        champion = card.filter("is_champion", pl.col("task") == TASKS[kind]).select("method", "grade").unique().row(0)
        assert scores.filter(pl.col("kind") == kind).select("method", "grade").unique().row(0) == champion
    assert scores["graded_origin"].unique().to_list() == [ORIGIN]
    assert scores["model_version"].unique().to_list() == [made.models.version(assets.MODELS, AS_OF)]
    known = made.lake.frames["customer_features", AS_OF.isoformat()]
    assert scores["customer_key"].unique().sort().equals(known["customer_key"])


def test_every_check_is_reported_once(built):
    _, results = built
    checks = results[ORIGIN].get_asset_check_evaluations()
    assert sorted(check.check_name for check in checks) == sorted([*MODEL_GUARDS, *SCORECARD_CHECKS])
    assert all(check.passed for check in checks if check.check_name in MODEL_GUARDS)


def test_pictures_and_tables_are_in_the_metadata(built):
    _, results = built
    models, card = (metadata_of(results[ORIGIN], name) for name in ("propensity_models", "propensity_scorecard"))
    scores = metadata_of(results[AS_OF], "propensity_scores")
    for picture in (card["methods"], card["reliability"], scores["reasons"]):
        assert picture.value.startswith("![chart](data:image/png;base64,")
    assert "(champion)" in card["category_propensity"].value
    told = models["model_card"].value
    assert told == (built[0].models.reading(assets.MODELS, ORIGIN) / CARD_FILE).read_text(encoding="utf-8")
    assert facts(told)["purpose"].startswith("personalise: ")
    assert {row["guard"] for row in tables(section(told, "Guards"))[0]} == set(MODEL_GUARDS)
    assert "| category |" in scores["published"].value
    assert len(str(models) + str(card) + str(scores)) < 200_000


def test_an_open_horizon_is_not_graded(built):
    made, _ = built
    with pytest.raises(HorizonOpenError, match=str(AS_OF + timedelta(days=HORIZON))):
        made.run(AS_OF, "propensity_scorecard")


def test_models_are_not_trained_on_days_that_nobody_published(built):
    made, _ = built
    before = made.models.version(assets.MODELS, AS_OF)
    result = made.run(
        AS_OF, "propensity_models", instance=dg.DagsterInstance.ephemeral(), raise_on_error=False
    )
    assert not result.success
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == [WINDOWS_OBSERVED]
    assert made.models.version(assets.MODELS, AS_OF) == before
