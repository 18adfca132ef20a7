"""The intent assets, run by Dagster on a simulated shop as of its last day, and held against its hidden truth."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.intent import assets
from insight_assets.insights.intent.examples import HORIZONS, LABEL, LABEL_GUARDS
from insight_assets.insights.intent.model_card import customers_card
from insight_assets.insights.intent.models import (
    GRADED,
    PUBLISHED,
    TASK,
    Pair,
    load_models,
    prefix_of,
    teaching_rows,
    train_intent_models,
    write_pair,
)
from insight_assets.insights.intent.rules import OF_CUSTOMERS, OF_VISITS
from insight_assets.insights.intent.visit_models import QUESTION
from insight_assets.insights.intent.visits import SEEN
from insight_assets.ml.guards import MODEL_GUARDS, NO_GIVEAWAY
from insight_assets.ml.metrics import auc
from insight_assets.ml.model_card import CARD_FILE, card_text
from insight_assets.resources import ModelStore
from insight_assets.simulator.customers import FIRST_CUSTOMER_NUMBER, expected_order_days
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.simulation import open_shop
from insight_assets.validation.pseudonyms import CUSTOMER
from insight_assets_tests.insights.intent.conftest import (
    CUSTOMERS,
    CUSTOMERS_ASSETS,
    LENGTH,
    SEED,
    materialize,
)
from insight_assets_tests.model_cards import MAKING, demand_sound, in_one_line, number, section, tables
from insight_assets_tests.monitoring.simulated_shop import FIRST_DAY
from insight_assets_tests.validation.judging import PSEUDONYM


def test_scores_follow_the_scorecard_and_cover_every_customer(built):
    card, scores = built.table("intent_scorecard"), built.table("intent_scores")
    known = built.table("customer_features")["customer_key"]
    for days in HORIZONS:
        own = scores.filter(pl.col("horizon_days") == days)
        assert own["customer_key"].sort().equals(known.sort())
        of_task = card.filter(pl.col("task") == TASK.format(days), "is_champion")
        champion = of_task.select("method", "grade", "origin").unique()
        assert own.select("method", "grade", "graded_origin").unique().rows() == champion.rows()
        assert own["purchase_decile"].n_unique() == 10
    # Within 30 days at least as many buy as within 7.
    totals = scores.group_by("horizon_days").agg(pl.col("purchase_probability").sum()).sort("horizon_days")
    assert totals["purchase_probability"].is_sorted()


def test_nobody_is_learnt_from_and_graded_over_the_same_days(built):
    card = built.table("intent_scorecard")
    for days in HORIZONS:
        origin = built.as_of - timedelta(days=days)
        assert card.filter(pl.col("task") == TASK.format(days))["origin"].unique().to_list() == [origin]
        graded = load_models(
            built.models.reading(assets.MODELS, built.as_of), OF_CUSTOMERS, task=TASK.format(days), which=GRADED
        )
        examples = built.table("intent_examples")
        teach = examples.filter(
            (pl.col("origin") <= origin - timedelta(days=days)) & (pl.col("role") != "calibrate")
        )
        assert graded.config["rows"]["learnt"] == teach.height
        assert graded.config["rows"]["learnt_with_label"] == teach[LABEL.format(days)].sum()


def test_with_few_rows_the_rule_speaks_and_with_more_all_rivals_are_graded(built):
    methods = built.table("intent_scorecard").group_by("task").agg(pl.col("method").unique())
    counts = {task: len(names) for task, names in methods.rows()}
    assert counts == {"purchase_7d": 5, "purchase_30d": 1}


def test_visits_of_the_day_are_scored_after_each_number_of_events(built):
    examples, scores = built.table("session_intent_examples"), built.table("session_intent_scores")
    card = built.table("session_intent_scorecard")
    today = examples.filter(pl.col("session_day") == built.as_of)
    key = ["session_id", "events_seen"]
    assert_frame_equal(scores.select(key), today.select(key).sort(key))
    for seen in SEEN:
        own = scores.filter(pl.col("events_seen") == seen)
        champion = card.filter(pl.col("task") == f"order_after_{seen}_events", "is_champion")["method"].unique()
        assert own["method"].unique().to_list() == (champion.to_list() if own.height else [])
    assert card["customers"].min() > 10
    # Sessions and visits are told by the same identity where a visit begins.
    assert set(today["session_id"]) <= set(built.tables["sessions"]["session_id"])


def test_reasons_are_words_in_both_languages(built):
    for table in ("intent_scores", "session_intent_scores"):
        reasons = built.table(table).select(
            en=pl.col("reasons_en").list.first(), zh=pl.col("reasons_zh").list.first()
        ).drop_nulls()
        assert reasons.height > 0.5 * built.table(table).height
        assert reasons["en"].str.contains(r" \((raises|lowers)\)$").all()
        assert reasons["zh"].str.contains("（(推高|降低)购买可能）$").all()
        # What is told is Chinese; a value may be a name, such as that of a campaign.
        assert reasons["zh"].str.contains("^[^ ]*\\p{Han}[^ ]* .+（").all(), reasons["zh"].unique().to_list()


def test_every_check_is_reported_and_holds(built):
    checks = built.result.get_asset_check_evaluations()
    found = {(each.asset_key.to_user_string(), each.check_name): each for each in checks}
    expected = {("intent_examples", name) for name in LABEL_GUARDS}
    expected |= {(name, guard) for name in (assets.MODELS, assets.VISIT_MODELS) for guard in MODEL_GUARDS}
    expected |= {(assets.SCORES, assets.ONE_ROW_PER_CUSTOMER), (assets.VISIT_SCORES, assets.ONE_ROW_PER_VISIT)}
    assert set(found) == expected
    assert all(each.passed for each in found.values())


def test_scorecards_and_pictures_are_in_the_metadata(built):
    def told(name: str) -> dict:
        return dict(built.result.asset_materializations_for_node(name)[0].metadata)

    card = told("intent_scorecard")
    assert "(champion)" in card["purchase_7d"].value
    for picture in (card["reliability_purchase_7d"], card["lift_purchase_7d"]):
        assert picture.value.startswith("![chart](data:image/png;base64,")
    visits = told("session_intent_scorecard")
    assert " visits as of " in visits["order_after_3_events"].value
    assert len(str(card)) + len(str(visits)) < 150_000
    assert "| purchase_7d | graded |" in told(assets.MODELS)["learnt_from"].value


def card_of(built, name: str) -> str:
    return built.result.asset_materializations_for_node(name)[0].metadata["model_card"].value


def test_cards_tell_the_rows_that_taught_and_the_settings_that_were_chosen(built):
    for name, rule, questions in (
        (assets.MODELS, OF_CUSTOMERS, [TASK.format(days) for days in HORIZONS]),
        (assets.VISIT_MODELS, OF_VISITS, [QUESTION]),
    ):
        card, folder = card_of(built, name), built.models.reading(name, built.as_of)
        assert card == (folder / CARD_FILE).read_text(encoding="utf-8")
        examples = built.table(name.replace("models", "examples"))
        columns = [name for name in ("customer_key", "actor_key") if name in examples.columns]
        keys = pl.concat([examples[column].drop_nulls() for column in columns])
        demand_sound(card, keys, asset=name, told={"as of": str(built.as_of), "code version": "2"})
        for question in questions:
            for which in (GRADED, PUBLISHED):
                models = load_models(folder, rule, task=question, which=which)
                (groups,) = tables(section(card, "Taught by", f"{question}, {which}"))
                for role, counted in (("learnt from", "learnt"), ("calibrates", "apart")):
                    shown = [row.get("rows", row.get("customers")) for row in groups if row["role"] == role]
                    told = [number(rows) for rows in shown if rows.replace(",", "").isdigit()]
                    # What is missing is hidden with its group.
                    assert models.config["rows"][counted] >= sum(told)
                    if len(told) == len(shown):
                        assert models.config["rows"][counted] == sum(told)
                (methods,) = tables(section(card, "Methods", f"{question}, {which}"))
                assert [row["method"] for row in methods] == models.config["methods"]
                for row in methods:
                    if row["method"] in models.classifiers:
                        assert row["settings"] == in_one_line(models.classifiers[row["method"]].settings)
        assert {row["guard"] for row in tables(section(card, "Guards"))[0]} == set(MODEL_GUARDS)


def test_a_card_of_other_rows_or_a_larger_smallest_group_is_another(built):
    examples = built.table("intent_examples")
    folder = built.models.reading(assets.MODELS, built.as_of)
    pair = Pair(load_models(folder, OF_CUSTOMERS, task="purchase_30d", which=PUBLISHED), None, None)

    def card(rows: pl.DataFrame, smallest_group: int) -> str:
        taught = {"purchase_30d": teaching_rows(rows, 30)}
        return card_text(customers_card({"purchase_30d": pair}, taught, smallest_group=smallest_group), MAKING)

    whole = card(examples, 10)
    assert whole == card(examples.sample(fraction=1, shuffle=True, seed=4), 10)
    assert whole != card(examples.filter(pl.col("customer_key") != examples["customer_key"].min()), 10)
    hidden = section(card(examples, 1_000_000), "Taught by", f"purchase_30d, {PUBLISHED}")
    assert {row["customers"] for row in tables(hidden)[0]} == {"fewer than 1000000"}


def test_scoring_again_from_shuffled_rows_gives_the_same(built):
    before = {name: built.table(name) for name in ("intent_scorecard", "intent_scores")}
    for name in ("intent_examples", "customer_features"):
        key = (name, built.as_of.isoformat())
        built.lake.frames[key] = built.lake.frames[key].sample(fraction=1, shuffle=True, seed=2)
    materialize(built.lake, built.models, built.as_of, *before)
    for name, frame in before.items():
        assert_frame_equal(built.table(name), frame)


def test_training_again_from_shuffled_rows_gives_the_same(built, tmp_path):
    # The horizon with the rule alone: fitting all rivals twice over would cost seconds, and is told by `ml`.
    examples = built.table("intent_examples").with_columns(bought_7d=pl.lit(None, pl.Boolean))
    texts = []
    for seed in (1, 2):
        pair = train_intent_models(examples.sample(fraction=1, shuffle=True, seed=seed), seed=1)[30]
        write_pair(pair, tmp_path, task="again")
        texts.append((tmp_path / f"{prefix_of('again', PUBLISHED)}models.json").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]


def test_a_leaking_feature_keeps_models_from_being_published(built, monkeypatch):
    version = built.models.version(assets.MODELS, built.as_of)
    folder = built.models.reading(assets.MODELS, built.as_of)
    honest = load_models(folder, OF_CUSTOMERS, task="purchase_30d", which=PUBLISHED)
    alarm = {"feature_alarms": [{"feature": "tickets_90d", "auc": 0.999}]}
    leaking = Pair(replace(honest, config={**honest.config, **alarm}), None, None)
    monkeypatch.setattr(assets, "train_intent_models", lambda *_, **__: {7: Pair(honest, None, None), 30: leaking})
    result = materialize(built.lake, built.models, built.as_of, "intent_models", raise_on_error=False)
    assert not result.success
    failed = {check.check_name: check for check in result.get_asset_check_evaluations() if not check.passed}
    assert set(failed) == {NO_GIVEAWAY}
    assert failed[NO_GIVEAWAY].metadata["purchase_30d_features"].value == "tickets_90d (0.999)"
    assert built.models.version(assets.MODELS, built.as_of) == version


def test_a_shop_without_a_closed_horizon_scores_nobody(built, tmp_path):
    young = FIRST_DAY + timedelta(days=5)
    features = built.table("customer_features").with_columns(as_of=pl.lit(young), first_seen_day=pl.lit(young))
    built.lake.put("customer_features", young, features)
    models = ModelStore(root=str(tmp_path))
    result = materialize(built.lake, models, young, *CUSTOMERS_ASSETS)
    assert result.success
    for name in ("intent_examples", "intent_scorecard", "intent_scores"):
        assert built.lake.frames[name, young.isoformat()].equals(contract(name).empty())
    card = (models.reading(assets.MODELS, young) / CARD_FILE).read_text(encoding="utf-8")
    assert "there is no model" in section(card, "Taught by")


@pytest.fixture(scope="module")
def hidden(built) -> pl.DataFrame:
    """What nobody in the shop can see: each customer's expected orders in the 7 days after the graded origin."""
    plan = SimulationPlan(customers=CUSTOMERS, days=LENGTH, products=120, seed=SEED, start=FIRST_DAY)
    index = LENGTH - 1 - HORIZONS[0]
    customers = open_shop(plan).customers
    expected = customers.order_rate * expected_order_days(replace(plan, days=index + 1), customers, horizon=HORIZONS[0])
    keys = [PSEUDONYM(CUSTOMER, f"c{number + FIRST_CUSTOMER_NUMBER}") for number in range(CUSTOMERS)]
    return pl.DataFrame({"customer_key": keys, "expected": expected})


def test_customers_are_ranked_as_the_hidden_propensity_does(built, hidden):
    origin = built.as_of - timedelta(days=HORIZONS[0])
    graded = built.table("intent_examples").filter(pl.col("origin") == origin).join(hidden, on="customer_key")
    models = load_models(
        built.models.reading(assets.MODELS, built.as_of), OF_CUSTOMERS, task="purchase_7d", which=GRADED
    )
    told = models.predict(graded)
    truth, expected = graded["bought_7d"].cast(pl.Float64).to_numpy(), graded["expected"].to_numpy()
    best = auc(truth, expected)
    ranks = {name: np.corrcoef(_ranks(values), _ranks(expected))[0, 1] for name, values in told.items()}
    reached = {name: auc(truth, values) for name, values in told.items()}
    assert ranks["blend"] > 0.5
    # Nobody foretells better than who knows each customer's pace; much better would be a leak.
    assert reached["blend"] > 0.5 + 0.6 * (best - 0.5)
    assert max(reached.values()) < best + 0.06


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
