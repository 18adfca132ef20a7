"""Models that are trained, stored, graded and asked; what is published follows from the grades."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.propensity.examples import empty_examples
from insight_assets.insights.propensity.grading import TASKS, grade_propensity
from insight_assets.insights.propensity.guards import (
    PROBABILITIES_CHECK,
    PURCHASES_CHECK,
    TOO_GOOD_CHECK,
    judge_models,
    judge_scorecard,
)
from insight_assets.insights.propensity.model_card import model_card
from insight_assets.insights.propensity.models import (
    BOOSTING,
    ENCODER,
    HABIT,
    LOGISTIC,
    METHODS,
    POPULARITY,
    RULES,
    load_propensity_models,
    train_propensity_models,
)
from insight_assets.insights.propensity.nearness import NEAR, ORDER
from insight_assets.insights.propensity.pairs import all_pairs, describe_pairs
from insight_assets.insights.propensity.reasons import BEHAVIOUR, EVIDENCE, OWN_PURCHASE, tell_reasons
from insight_assets.insights.propensity.scoring import TOP, choose_methods, score_propensity
from insight_assets.insights.propensity.stacking import Stack
from insight_assets.insights.propensity.targets import CATEGORY, KINDS, PRICE_BAND, PRODUCT
from insight_assets.ml.blending import Blend
from insight_assets.ml.guards import MODEL_GUARDS, NO_GIVEAWAY
from insight_assets.ml.metrics import brier
from insight_assets.ml.model_card import card_text
from insight_assets_tests.insights.propensity import shop
from insight_assets_tests.insights.propensity.conftest import HORIZON, ORIGIN, SEED, known_of
from insight_assets_tests.model_cards import MAKING, demand_sound, in_one_line, section, tables

VERSION = "0123456789ab"
NAMES = shop.products_on(ORIGIN).select("product_id", "product_name").collect()


@pytest.fixture(scope="module")
def graded(trained):
    return grade_propensity(
        trained.models, trained.known, trained.bought, seed=1, model_version=VERSION, resamples=100
    )


@pytest.fixture(scope="module")
def scores(trained, graded):
    publications = choose_methods(trained.models, graded.scorecard)
    return score_propensity(trained.models, trained.known, NAMES, publications, model_version=VERSION)


def names_of(kind: str) -> list[str]:
    """Methods of a kind: a band of price is no set of products, so that no vector lies near it."""
    return [method.name for method in METHODS if not (kind == PRICE_BAND and method == ENCODER)]


def values(card: pl.DataFrame, kind: str, metric: str) -> dict[str, float]:
    return dict(card.filter(pl.col("task") == TASKS[kind], pl.col("metric") == metric).select("method", "value").rows())


def test_habits_are_found_and_popularity_orders_nobody(graded):
    validate_frame(contract("propensity_scorecard"), graded.scorecard)
    for kind in KINDS:
        reached = values(graded.scorecard, kind, "auc")
        assert set(reached) == set(names_of(kind))
        assert reached[POPULARITY.name] == 0.5
        assert min(reached[name.name] for name in (HABIT, LOGISTIC, BOOSTING)) > 0.75
        (champion,) = graded.scorecard.filter("is_champion", pl.col("task") == TASKS[kind])["method"].unique()
        assert champion != POPULARITY.name
        errors = values(graded.scorecard, kind, "brier")
        assert errors[champion] < errors[POPULARITY.name]


def test_values_are_those_of_the_pairs(graded):
    for kind in KINDS:
        truth, told = graded.truth[kind], graded.predictions[kind][LOGISTIC.name]
        assert values(graded.scorecard, kind, "brier")[LOGISTIC.name] == pytest.approx(
            brier(truth.ravel(), told.ravel()), abs=1e-6
        )


def test_a_challenger_that_is_not_surely_better_is_not_published(graded):
    deciding = graded.scorecard.filter(pl.col("metric") == "auc")
    for (_,), card in deciding.group_by(["task"], maintain_order=True):
        surely = card.filter(pl.col("gain_low") > 0)["complexity"].max()
        assert card.filter("is_champion")["complexity"].item() == surely


def test_loaded_models_tell_the_same(trained):
    loaded = load_propensity_models(trained.directory)
    pairs = describe_pairs(trained.known, PRODUCT, all_pairs(trained.known, PRODUCT))
    for name, told in trained.models.kinds[PRODUCT].predict(pairs).items():
        assert np.array_equal(told, loaded.kinds[PRODUCT].predict(pairs, only=[name])[name])
        assert np.all((told >= 0) & (told <= 1))
    assert card_of(loaded) == card_of(trained.models)


def card_of(models, **changed) -> str:
    making = replace(MAKING, asset="propensity_models", **changed)
    return card_text(model_card(models, smallest_group=10), making, judge_models(models))


def test_the_card_tells_pairs_and_methods_of_each_kind(trained):
    card = card_of(trained.models)
    keys = pl.concat([rows["customer_key"] for rows in trained.examples.values()])
    demand_sound(card, keys, asset="propensity_models", told={"horizon": f"{HORIZON} days after the as-of day"})
    for kind, rows in trained.examples.items():
        (groups,) = tables(section(card, "Taught by", kind))
        counted = rows.group_by("origin", "role").agg(pl.col("customer_key").n_unique(), pl.len())
        told = {(row["origin"], row["role"]): (row["customers"], row["rows"]) for row in groups}
        assert len(told) == counted.height
        for origin, role, customers, pairs in counted.rows():
            if customers >= 10:
                assert told[str(origin), role] == (f"{customers:,}", f"{pairs:,}")
            else:
                assert told[str(origin), role][0] == "fewer than 10"
        (methods,) = tables(section(card, "Methods", kind))
        assert [row["method"] for row in methods] == names_of(kind)
        models = trained.models.kinds[kind]
        settings = {name: classifier.settings for name, classifier in models.classifiers.items()}
        settings |= {} if models.stack is None else {ENCODER.name: models.stack.blend.weights}
        for row in methods[2:]:
            assert row["settings"] == in_one_line(settings[row["method"]])
    assert len({card, card_of(trained.models, seed=6), card_of(replace(trained.models, horizon_days=7))}) == 3


def test_training_passes_its_guards_and_a_leak_does_not(trained, tmp_path):
    passed = {verdict.guard: verdict.passed for verdict in judge_models(trained.models)}
    assert passed == dict.fromkeys(MODEL_GUARDS, True)
    for kind, name in ((PRICE_BAND, "own_due"), (CATEGORY, "near_mean")):
        leaking = trained.examples[kind].with_columns(pl.col("bought").cast(pl.Float64).alias(name))
        examples = dict.fromkeys(KINDS, empty_examples()) | {kind: leaking}
        models = train_propensity_models(examples, directory=tmp_path, horizon_days=HORIZON, seed=SEED)
        failed = [verdict for verdict in judge_models(models) if not verdict.passed]
        assert NO_GIVEAWAY in {verdict.guard for verdict in failed}
        assert name in failed[0].figures[f"{kind}_features"]


def test_neither_the_order_of_examples_nor_another_training_changes_a_model(trained, tmp_path):
    rows = dict.fromkeys(KINDS, empty_examples()) | {PRICE_BAND: trained.examples[PRICE_BAND]}
    told = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        shuffled = {kind: each.sample(fraction=1, shuffle=True, seed=number) for kind, each in rows.items()}
        train_propensity_models(shuffled, directory=folder, horizon_days=HORIZON, seed=SEED)
        told.append((folder / "config.json").read_text(encoding="utf-8"))
    assert told[0] == told[1]


def test_with_too_little_to_learn_from_the_rules_speak(trained, tmp_path):
    models = train_propensity_models(
        dict.fromkeys(KINDS, empty_examples()), directory=tmp_path, horizon_days=HORIZON, seed=SEED
    )
    loaded = load_propensity_models(tmp_path)
    publications = choose_methods(loaded, pl.DataFrame(schema=contract("propensity_scorecard").polars_schema()))
    found = score_propensity(models, trained.known, NAMES, publications, model_version=VERSION)
    validate_frame(contract("propensity_scores"), contract("propensity_scores").conform(found).collect())
    assert set(found["method"]) == {POPULARITY.name}
    assert set(found["grade"]) == {"ungraded"}
    assert set(found["evidence"]) == {"popular"}
    one = found.filter(kind=CATEGORY, rank=1)
    assert one["target"].n_unique() == 1
    assert found["rule_target"].equals(found["target"].rename("rule_target"))
    assert one["probability"].equals(one["rule_probability"].rename("probability"))


def test_scores_are_the_likeliest_targets_with_their_reasons(trained, scores, graded):
    validate_frame(contract("propensity_scores"), contract("propensity_scores").conform(scores).collect())
    for kind in KINDS:
        of_kind = scores.filter(pl.col("kind") == kind)
        top = min(TOP[kind], trained.known.targets[kind].height)
        ranks = of_kind.group_by("customer_key").agg("rank", falling=(pl.col("probability").diff() <= 0).all())
        assert ranks["customer_key"].sort().equals(trained.known.customers["customer_key"])
        assert ranks["falling"].all()
        assert set(map(tuple, ranks["rank"].to_list())) == {tuple(range(1, top + 1))}
        champion = graded.scorecard.filter("is_champion", pl.col("task") == TASKS[kind])["method"][0]
        assert set(of_kind["method"]) == {champion}
        best = graded.predictions[kind][champion].max(axis=1)
        assert of_kind.filter(rank=1)["probability"].to_numpy() == pytest.approx(best, abs=1e-6)
    assert set(scores["evidence"]) <= set(EVIDENCE)


def test_the_rule_would_have_told_everybody_of_what_most_bought(trained, scores):
    for kind in KINDS:
        of_kind = scores.filter(pl.col("kind") == kind)
        told = of_kind.group_by("rank").agg(pl.col("rule_target").unique()).sort("rank")["rule_target"].to_list()
        assert [len(each) for each in told] == [1] * len(told)
        rates = dict(trained.known.targets[kind].select("target", "target_rate").rows())
        of_told = [rates[each[0]] for each in told]
        rule = RULES[POPULARITY.name](trained.known.targets[kind])
        calibrated = trained.models.kinds[kind].calibrators[POPULARITY.name]
        assert calibrated(np.array(of_told)) == pytest.approx(np.sort(calibrated(rule))[::-1][: len(told)])


def test_who_bought_is_told_so_and_who_did_not_is_not(trained, scores):
    of_products = scores.filter(kind=PRODUCT).select("customer_key", "target", "evidence", "reason_en")
    own = describe_pairs(trained.known, PRODUCT, of_products)
    said = own.filter(evidence=OWN_PURCHASE)
    assert said.height > 0
    assert (said["own_days_365d"] > 0).all()
    several = said.filter(pl.col("own_days_365d") > 1).row(0, named=True)
    assert several["reason_en"] == (
        f"bought on {several['own_days_365d']} days within a year, last {several['days_since_own']} days ago"
    )
    looked = own.filter(evidence="own_look")
    assert (looked["looked_days_90d"] > 0).all()


def test_the_encoder_adds_what_it_says_to_the_classifiers(trained):
    known = trained.known
    pairs = describe_pairs(known, PRODUCT, all_pairs(known, PRODUCT))
    models = trained.models.kinds[PRODUCT]
    assert min(models.stack.blend.weights.values()) > 0
    weights = {LOGISTIC.name: 0.5, BOOSTING.name: 0.5, "near_mean": 0.1, "near_best": 0.2, ORDER: 0.25}
    typical = {"near_mean": 0.1, "near_best": 0.2, ORDER: -1.0}
    models = replace(models, stack=Stack(Blend(weights, 0.0), typical))
    raw = models.matrix.raw(pairs)
    farther = pairs.with_columns(pl.col("near_mean", "near_best") - 0.1)
    moved = models.columns_log_odds(ENCODER.name, raw, pairs) - models.columns_log_odds(ENCODER.name, raw, farther)
    assert np.allclose(moved, 0.3)
    told = pairs.hstack(tell_reasons(models, pairs, known.groups, method=ENCODER.name))
    spoken = told.filter(evidence=BEHAVIOUR)
    assert spoken.height > 0
    assert (spoken["near_mean"] + 2 * spoken["near_best"] > 0.5).all()
    assert spoken["reason_en"].unique().to_list() == ["near what the customer did lately, in its order"]
    # Of whom or of what it says nothing, it says what is typical.
    unknown = pairs.with_columns(pl.lit(None, pl.Float64).alias(name) for name in NEAR)
    assert BEHAVIOUR not in tell_reasons(models, unknown, known.groups, method=ENCODER.name)["evidence"]
    for method in (LOGISTIC, HABIT):
        assert BEHAVIOUR not in tell_reasons(models, pairs, known.groups, method=method.name)["evidence"]


def test_without_vectors_of_one_horizon_ago_the_encoder_is_no_method(trained, tmp_path):
    blind = trained.examples[CATEGORY].with_columns(pl.lit(None, pl.Float64).alias(name) for name in NEAR)
    examples = dict.fromkeys(KINDS, empty_examples()) | {CATEGORY: blind}
    models = train_propensity_models(examples, directory=tmp_path, horizon_days=HORIZON, seed=SEED).kinds[CATEGORY]
    assert [method.name for method in METHODS if method not in models.methods] == [ENCODER.name]
    told = models.predict(describe_pairs(trained.known, CATEGORY, all_pairs(trained.known, CATEGORY)))
    assert set(told) == {method.name for method in models.methods}


def test_the_habit_rule_gives_own_purchases_as_its_reason(trained):
    pairs = describe_pairs(trained.known, CATEGORY, all_pairs(trained.known, CATEGORY))
    told = tell_reasons(trained.models.kinds[CATEGORY], pairs, trained.known.groups, method=HABIT.name)
    bought = pairs["own_days_365d"] > 0
    assert ((told["evidence"] == OWN_PURCHASE) == bought).all()
    assert told["reason_zh"].null_count() == 0


def test_scores_do_not_change_with_what_comes_later_nor_with_slices(trained, scores, graded, monkeypatch):
    monkeypatch.setattr("insight_assets.insights.propensity.grading.PAIRS_AT_ONCE", 500)
    known = known_of(trained.lines.filter(pl.col("event_day") <= ORIGIN).sample(fraction=1, shuffle=True, seed=8))
    publications = choose_methods(trained.models, graded.scorecard)
    again = score_propensity(trained.models, known, NAMES, publications, model_version=VERSION)
    assert_frame_equal(again, scores)


def test_a_suspicious_scorecard_is_named(graded):
    assert all(verdict.passed for verdict in judge_scorecard(graded) if verdict.guard != PROBABILITIES_CHECK)
    too_good, off = (
        graded.scorecard.with_columns(value=pl.when(pl.col("metric") == metric).then(value).otherwise("value"))
        for metric, value in (("auc", 0.99), ("calibration_error", 0.3))
    )
    nothing = {kind: np.zeros_like(truth) for kind, truth in graded.truth.items()}
    for changed, check in (
        (type(graded)(too_good, graded.truth, {}), TOO_GOOD_CHECK),
        (type(graded)(off, graded.truth, {}), PROBABILITIES_CHECK),
        (type(graded)(graded.scorecard, nothing, {}), PURCHASES_CHECK),
    ):
        assert check in {verdict.guard for verdict in judge_scorecard(changed) if not verdict.passed}
