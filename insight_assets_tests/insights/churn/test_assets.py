"""The churn assets, run by Dagster over two as-of days one horizon apart."""

from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import FIT, build_examples, feature_names
from insight_assets.features.labels import label_customers
from insight_assets.features.sequences import build_event_sequences
from insight_assets.insights.behaviour.orders import ORDER_CHANCE
from insight_assets.insights.churn import assets
from insight_assets.insights.churn.guards import LABEL_GUARDS, LABELS_OBEY
from insight_assets.insights.churn.models import ENCODER, stored_methods
from insight_assets.ml import training
from insight_assets.ml.guards import BASE_RATE, MODEL_GUARDS, NO_GIVEAWAY, WINDOWS_OBSERVED
from insight_assets.ml.model_card import CARD_FILE
from insight_assets.partitions import DAYS
from insight_assets.resources import ModelStore
from insight_assets.settings import settings
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.insights.churn.conftest import vectors_of
from insight_assets_tests.kept_frames import KeptFrames
from insight_assets_tests.model_cards import demand_sound, facts, section

HORIZON = settings().horizon_days
AS_OF = shop.FIRST_DAY + timedelta(days=50 + 2 * HORIZON)
ORIGIN = AS_OF - timedelta(days=HORIZON)
INPUTS = (
    "customer_days", "orders", "events", "identity_links", "customer_features", "event_sequences", "customer_labels",
    "behaviour_vectors",
)  # fmt: skip
ALL = [
    assets.churn_examples, assets.churn_models, assets.churn_scorecard, assets.churn_slices,
    assets.churn_horizon_scorecard, assets.churn_scores, assets.churn_feature_selection,
]  # fmt: skip

INSTANCE = dg.DagsterInstance.ephemeral()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both days built: the origin with its scorecard, then the as-of day with its scores."""
    orders = shop.simulate_orders(260, last_day=AS_OF)
    days, events = shop.customer_days_of(orders), shop.events_of(orders)
    lake = KeptFrames()
    for name, frame in (("customer_days", days), ("events", events)):
        for (day,), rows in frame.collect().group_by("event_day"):
            lake.frames[name, day.isoformat()] = rows
    for day in (ORIGIN - timedelta(days=HORIZON), ORIGIN, AS_OF):
        features = build_customer_features(days, as_of=day).collect()
        lake.put("customer_features", day, features)
        lake.put("behaviour_vectors", day, whole_vectors(features, day))
        lake.put("event_sequences", day, build_event_sequences(events, as_of=day))
    labels = label_customers(days, days, origin=ORIGIN, horizon_days=HORIZON)
    lake.put("customer_labels", ORIGIN, labels)
    models = ModelStore(root=str(tmp_path_factory.mktemp("models")))
    for ahead in range((AS_OF - shop.FIRST_DAY).days + 1):
        day = shop.FIRST_DAY + timedelta(days=ahead)
        INSTANCE.report_runless_asset_event(dg.AssetMaterialization("customer_days", partition=day.isoformat()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PROGRESS_SECONDS", 0)
        at_origin = materialize(
            lake, models, ORIGIN, "churn_examples", "churn_models", "churn_scorecard", "churn_slices",
            "churn_horizon_scorecard",
        )
    results = {
        ORIGIN: at_origin,
        AS_OF: materialize(
            lake, models, AS_OF, "churn_examples", "churn_models", "churn_scores", "churn_feature_selection"
        ),
    }
    return lake, models, results


def whole_vectors(features: pl.DataFrame, day: date) -> pl.DataFrame:
    """Rows of the contract `behaviour_vectors`; churn reads none of what is the same for everybody here."""
    return vectors_of(features, horizon_days=HORIZON).with_columns(
        pl.col(ORDER_CHANCE).alias(f"{ORDER_CHANCE}_7d"),
        pl.col(ORDER_CHANCE).alias(f"{ORDER_CHANCE}_30d"),
        as_of=pl.lit(day),
        vector=pl.lit([0.0], dtype=pl.List(pl.Float32)),
        last_event_at=pl.lit(0, dtype=pl.Int64),
        events_read=pl.lit(1, dtype=pl.Int32),
        model_version=pl.lit("0123456789ab"),
    )


def materialize(lake: KeptFrames, models: ModelStore, day: date, *names: str, raise_on_error: bool = True):
    specs = [dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake") for name in INPUTS]
    return dg.materialize(
        [*ALL, *specs],
        partition_key=day.isoformat(),
        resources={"lake": lake, "models": models},
        selection=dg.AssetSelection.assets(*names),
        instance=INSTANCE,
        raise_on_error=raise_on_error,
    )


def metadata_of(result: dg.ExecuteInProcessResult, name: str) -> dict:
    return dict(result.asset_materializations_for_node(name)[0].metadata)


def test_scores_follow_the_scorecard_of_one_horizon_ago(built):
    lake, models, _ = built
    card = lake.frames["churn_scorecard", ORIGIN.isoformat()]
    scores = lake.frames["churn_scores", AS_OF.isoformat()]
    champion = card.filter("is_champion").select("method", "grade").unique().row(0)
    assert scores.select("method", "grade").unique().row(0) == champion
    assert scores["graded_origin"].unique().to_list() == [ORIGIN]
    assert scores["model_version"].unique().to_list() == [models.version(assets.MODELS, AS_OF)]
    assert card["model_version"].drop_nulls().unique().to_list() == [
        models.version(assets.MODELS, ORIGIN)
    ]


def test_the_progress_of_the_network_is_observed(built):
    records = INSTANCE.fetch_observations(dg.AssetKey(assets.MODELS), limit=1_000).records
    observed = [record.asset_observation for record in records]
    # The second training took less than half a minute.
    assert {each.partition for each in observed} == {ORIGIN.isoformat()}
    told = {name: of.value for name, of in observed[0].metadata.items()}
    assert set(told) == {"passes", "most_passes", "examples_per_second", "seconds_left_at_most", "loss"}


def test_examples_see_nothing_after_their_as_of_day(built):
    lake, _, _ = built
    examples = lake.frames["churn_examples", ORIGIN.isoformat()]
    closes = pl.col("origin") + pl.duration(days=pl.col("horizon_days"))
    assert examples.select((closes <= ORIGIN).all()).item()


def test_pictures_and_tables_are_in_the_metadata(built):
    _, _, results = built
    models = metadata_of(results[ORIGIN], "churn_models")
    scorecard = metadata_of(results[ORIGIN], "churn_scorecard")
    for picture in (models["loss"], scorecard["loss"], scorecard["reliability"]):
        assert picture.value.startswith("![chart](data:image/png;base64,")
    assert "(champion)" in scorecard["scorecard"].value
    text = str(models) + str(scorecard)
    assert len(text) < 100_000


def test_every_check_is_reported_once(built):
    _, _, results = built
    checks = results[ORIGIN].get_asset_check_evaluations()
    names = [assets.TOO_GOOD_CHECK, assets.SHUFFLED_CHECK, assets.LABELS_CHECK, *LABEL_GUARDS, *MODEL_GUARDS]
    assert sorted(check.check_name for check in checks) == sorted(names)
    assert all(check.passed for check in checks)


def test_the_model_card_and_the_costs_are_shown(built):
    lake, models, results = built
    told = metadata_of(results[ORIGIN], "churn_models")
    card = told["model_card"].value
    assert card == (models.reading(assets.MODELS, ORIGIN) / CARD_FILE).read_text(encoding="utf-8")
    demand_sound(
        card, lake.frames["churn_examples", ORIGIN.isoformat()]["customer_key"], asset="churn_models",
        told={
            "as of": str(ORIGIN), "horizon": f"{HORIZON} days after the as-of day", "owner": "team:insight",
            "code version": "4", "seed": str(settings().seed),
        },
    )  # fmt: skip
    assert "churn_examples" in facts(card)["reads"]
    assert all(f"- `churn_{day}d_grades`: " in section(card, "Grades") for day in (30, 60))
    assert facts(card)["purpose"].startswith("analytics: without the people who refused it")
    assert "| network |" in told["costs"].value


def test_what_features_tell_is_judged_on_those_who_are_learnt_from(built):
    lake, models, results = built
    judged = lake.frames["churn_feature_selection", AS_OF.isoformat()]
    examples = lake.frames["churn_examples", AS_OF.isoformat()]
    assert judged["feature"].to_list() == feature_names(examples)
    kept = judged.filter(verdict="kept").sort("mutual_information", descending=True)
    assert kept["feature"].str.contains("last|net|active|events").any()
    told = metadata_of(results[AS_OF], "churn_feature_selection")
    assert "principal_components" in told["fewer_columns"].value
    spoilt = examples.with_columns(
        tickets_90d=pl.when(pl.col("role") == FIT).then(pl.col("tickets_90d")).otherwise(pl.col("churned").cast(pl.Int32))
    )
    lake.frames["churn_examples", AS_OF.isoformat()] = spoilt
    materialize(lake, models, AS_OF, "churn_feature_selection")
    lake.frames["churn_examples", AS_OF.isoformat()] = examples
    assert lake.frames["churn_feature_selection", AS_OF.isoformat()].equals(judged)


def test_the_encoder_is_graded_where_chances_of_one_horizon_ago_are_there(built):
    lake, models, _ = built
    card = lake.frames["churn_scorecard", ORIGIN.isoformat()].filter(metric="auc", method="encoder")
    assert card["value"].item() > 0.55
    assert ENCODER in stored_methods(models.reading(assets.MODELS, AS_OF))
    version = models.version(assets.MODELS, AS_OF)
    day = (ORIGIN.isoformat(), lake.frames["behaviour_vectors", ORIGIN.isoformat()])
    of_another_horizon = day[1].with_columns(horizon_days=pl.lit(HORIZON + 1, dtype=pl.Int32))
    lake.frames["behaviour_vectors", day[0]] = of_another_horizon
    materialize(lake, models, AS_OF, "churn_models")
    assert ENCODER not in stored_methods(models.reading(assets.MODELS, AS_OF))
    lake.frames["behaviour_vectors", day[0]] = day[1]
    materialize(lake, models, AS_OF, "churn_models")
    assert models.version(assets.MODELS, AS_OF) == version


def test_slices_show_the_champion_in_groups_large_enough(built):
    lake, _, _ = built
    slices = lake.frames["churn_slices", ORIGIN.isoformat()]
    card = lake.frames["churn_scorecard", ORIGIN.isoformat()].filter("is_champion")
    assert slices["method"].unique().to_list() == card["method"].unique().to_list()
    assert slices["customers"].min() >= settings().k_anonymity
    everybody = slices.filter(dimension="everybody").row(0, named=True)
    assert everybody["auc"] == pytest.approx(card.filter(metric="auc")["value"].item(), abs=2e-6)
    orders = slices.filter(dimension="orders")
    assert orders["customers"].sum() == everybody["customers"]


def test_shorter_horizons_are_graded_and_published_in_agreement(built):
    lake, _, _ = built
    card = lake.frames["churn_horizon_scorecard", ORIGIN.isoformat()]
    assert HORIZON == 90
    assert card["task"].unique(maintain_order=True).to_list() == ["churn_30d", "churn_60d", "churn_90d"]
    assert set(card["method"]) == {"everybody", "hazards", "published"}
    ranked = card.filter(pl.col("metric") == "concordance", pl.col("method") == "published")["value"]
    assert ranked.min() > 0.6
    whole = card.filter(task="churn_90d", method="published", metric="auc")["value"].item()
    primary = lake.frames["churn_scorecard", ORIGIN.isoformat()].filter("is_champion", metric="auc")["value"].item()
    assert whole == pytest.approx(primary, abs=2e-6)
    scores = lake.frames["churn_scores", AS_OF.isoformat()]
    worse = card.filter(method="published", grade="C")["task"].unique().to_list()
    for day in (30, 60):
        told = scores[f"churn_probability_{day}d"]
        assert told.null_count() == (scores.height if f"churn_{day}d" in worse else 0)
        assert ((told >= scores["churn_probability"]) | told.is_null()).all()
        by_rule = scores[f"rule_probability_{day}d"]
        assert by_rule.is_null().equals(told.is_null())
        assert ((by_rule >= scores["rule_probability"]) | by_rule.is_null()).all()


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    return [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]


def test_a_leaking_feature_keeps_models_and_scores_from_being_published(built, tmp_path):
    lake, models, _ = built
    before = models.version(assets.MODELS, AS_OF), lake.frames["churn_scores", AS_OF.isoformat()]
    honest = lake.frames["churn_examples", AS_OF.isoformat()]
    leaking = honest.with_columns(tickets_90d=pl.col("churned").cast(pl.Int32))
    lake.frames["churn_examples", AS_OF.isoformat()] = leaking
    result = materialize(lake, models, AS_OF, "churn_models", "churn_scores", raise_on_error=False)
    lake.frames["churn_examples", AS_OF.isoformat()] = honest
    assert not result.success
    assert NO_GIVEAWAY in failed_checks(result)
    assert (models.version(assets.MODELS, AS_OF), lake.frames["churn_scores", AS_OF.isoformat()]) == before
    assert not result.asset_materializations_for_node("churn_scores")


def test_a_wrong_label_or_an_unpublished_day_keeps_examples_from_being_published(built, monkeypatch):
    lake, models, _ = built
    before = lake.frames["churn_examples", AS_OF.isoformat()]
    everything = assets.published_days

    def all_but_one(instance, key):
        return everything(instance, key) - {ORIGIN - timedelta(days=3)}

    monkeypatch.setattr(assets, "published_days", all_but_one)
    result = materialize(lake, models, AS_OF, "churn_examples", raise_on_error=False)
    assert failed_checks(result) == [WINDOWS_OBSERVED]
    monkeypatch.undo()

    def all_gone(*arguments, **options):
        return build_examples(*arguments, **options).with_columns(churned=pl.lit(value=True))

    monkeypatch.setattr(assets, "build_examples", all_gone)
    result = materialize(lake, models, AS_OF, "churn_examples", raise_on_error=False)
    assert set(failed_checks(result)) == {LABELS_OBEY, BASE_RATE}
    assert lake.frames["churn_examples", AS_OF.isoformat()] is before


def test_building_again_gives_the_same_model_and_scores(built):
    lake, models, _ = built
    before = models.version(assets.MODELS, AS_OF), lake.frames["churn_scores", AS_OF.isoformat()]
    materialize(lake, models, AS_OF, "churn_examples", "churn_models", "churn_scores")
    assert models.version(assets.MODELS, AS_OF) == before[0]
    assert lake.frames["churn_scores", AS_OF.isoformat()].equals(before[1])


def test_a_young_shop_publishes_the_rule_ungraded(built, tmp_path):
    lake, _, _ = built
    young = shop.FIRST_DAY + timedelta(days=20)
    orders = shop.simulate_orders(260, last_day=AS_OF)
    days, events = shop.customer_days_of(orders), shop.events_of(orders)
    lake.put("customer_features", young, build_customer_features(days, as_of=young))
    lake.put("event_sequences", young, build_event_sequences(events, as_of=young))
    models = ModelStore(root=str(tmp_path))
    materialize(lake, models, young, "churn_examples", "churn_models", "churn_scores")
    assert lake.frames["churn_examples", young.isoformat()].is_empty()
    scores = lake.frames["churn_scores", young.isoformat()]
    assert scores.select("method", "grade", "graded_origin").unique().row(0) == (
        "recency",
        "ungraded",
        None,
    )


def test_an_origin_without_labels_gets_an_empty_scorecard_and_a_warning(built):
    lake, models, _ = built
    result = materialize(lake, models, AS_OF, "churn_scorecard")
    assert lake.frames["churn_scorecard", AS_OF.isoformat()].is_empty()
    failed = [c.check_name for c in result.get_asset_check_evaluations() if not c.passed]
    assert failed == [assets.LABELS_CHECK]
