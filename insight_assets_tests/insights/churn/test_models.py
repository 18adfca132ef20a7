import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors import SafetensorError

from insight_assets.features.examples import feature_names
from insight_assets.insights.behaviour.orders import ORDER_CHANCE
from insight_assets.insights.churn.guards import judge_training
from insight_assets.insights.churn.model_card import model_card
from insight_assets.insights.churn.models import (
    CONFIG_FILE,
    LIGHTGBM,
    METHODS,
    MIN_CALIBRATED,
    NETWORK_FILE,
    RECENCY,
    load_churn_models,
    train_churn_models,
)
from insight_assets.ml.calibration import logistic
from insight_assets.ml.guards import MODEL_GUARDS, NO_GIVEAWAY, shuffled_control
from insight_assets.ml.metrics import auc
from insight_assets.ml.model_card import card_text
from insight_assets.ml.model_store import open_model, write_model
from insight_assets.ml.sklearn_files import UntrustedFileError
from insight_assets.ml.tabular import fit_feature_matrix
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.insights.churn.conftest import SEED, vectors_of
from insight_assets_tests.model_cards import MAKING, demand_sound, in_one_line, section, tables


class Evil:
    """Writes a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def train(examples: pl.DataFrame, folder: Path, **options):
    (folder / "models").mkdir(exist_ok=True)
    return train_churn_models(
        examples,
        directory=folder / "models",
        work_directory=folder / "work",
        horizon_days=shop.HORIZON,
        seed=SEED,
        **{"max_epochs": 4} | options,
    )


def chances_of(examples: pl.DataFrame) -> pl.DataFrame:
    newest = examples.filter(pl.col("origin") == pl.col("origin").max())
    return vectors_of(newest).select("customer_key", ORDER_CHANCE)


def test_every_method_foretells_better_than_chance(trained):
    graded = trained.labels.join(trained.features, on="customer_key")
    predictions = trained.models.predict(graded, trained.sequences)
    assert list(predictions) == [method.name for method in METHODS if method != LIGHTGBM]
    for probability in predictions.values():
        assert ((probability > 0) & (probability < 1)).all()
        assert auc(graded["churned"].to_numpy(), probability) > 0.6


def test_loaded_models_predict_the_same(trained):
    again = load_churn_models(trained.directory)
    assert again.methods == trained.models.methods
    before = trained.models.predict(trained.features, trained.sequences)
    after = again.predict(trained.features, trained.sequences)
    for name in before:
        assert np.array_equal(before[name], after[name])


@pytest.mark.parametrize("name", ["recency", "forest", "blend"])
def test_one_method_is_loaded_with_its_parts_alone(trained, name):
    alone = load_churn_models(trained.directory, only=[name])
    assert [method.name for method in alone.methods] == [name]
    parts = {"recency": set(), "forest": {"forest"}, "blend": {"logistic", "forest", "boosting"}}
    assert set(alone.classifiers) <= parts[name]
    assert (alone.network is None) == (name != "blend")
    whole = trained.models.predict(trained.features, trained.sequences)[name]
    assert np.array_equal(alone.predict(trained.features, trained.sequences)[name], whole)


def card_of(models, **changed) -> str:
    return card_text(model_card(models, smallest_group=10), replace(MAKING, **changed), judge_training(models.config))


def test_the_card_tells_what_taught_the_models_with_which_settings(trained):
    card, models = card_of(trained.models), trained.models
    demand_sound(
        card, trained.examples["customer_key"], asset="churn_models",
        told={"hash of the examples": f"`{models.config['data_hash']}`", "seed": "11"},
    )  # fmt: skip
    (groups,) = tables(section(card, "Taught by"))
    counted = trained.examples.group_by("origin", "role").agg(pl.len(), pl.col("churned").sum())
    told = {(row["origin"], row["role"]): row for row in groups}
    assert set(told) == {(str(origin), role) for origin, role, *_ in counted.rows()}
    for origin, role, rows, churned in counted.rows():
        row = told[str(origin), role]
        assert row["customers"] == (str(rows) if rows >= 10 else "fewer than 10")
        if rows >= 10 and min(churned, rows - churned) >= 10:
            assert float(row["churned"]) == pytest.approx(churned / rows, abs=1e-4)
    (methods,) = tables(section(card, "Methods"))
    assert [row["method"] for row in methods] == [method.name for method in models.methods]
    for row in methods:
        reached = models.config["kept_apart"][row["method"]]
        assert float(row["AUC on customers kept apart"]) == pytest.approx(reached, abs=1e-4)
    forest = next(row["settings"] for row in methods if row["method"] == "forest")
    assert forest == in_one_line(models.classifiers["forest"].settings)
    (guards,) = tables(section(card, "Guards"))
    assert {row["guard"]: row["verdict"] for row in guards} == dict.fromkeys(MODEL_GUARDS, "passed")
    (calibrated,) = tables(section(card, "Calibration"))
    for row in calibrated:
        assert f" {len(models.calibrators[row['method']].scores)} knots" in row["probability"]


def test_another_seed_horizon_or_rows_is_another_card_and_the_same_is_the_same(trained):
    card = card_of(trained.models)
    assert card == card_of(load_churn_models(trained.directory))
    fewer = [{**count, "rows": count["rows"] + 10} for count in trained.models.config["examples"]]
    others = [
        card_of(trained.models, seed=12),
        card_of(replace(trained.models, horizon_days=60)),
        card_of(replace(trained.models, config={**trained.models.config, "examples": fewer})),
    ]
    assert len({card, *others}) == 4
    assert "in the 60 days after" in others[1]
    assert ["`churn_30d_grades`" in each for each in (card, others[1])] == [False, True]


def test_training_again_gives_the_same_files(trained, tmp_path):
    mixed = trained.examples.sample(fraction=1, shuffle=True, seed=3)
    train(mixed, tmp_path, chances=chances_of(trained.examples).sample(fraction=1, shuffle=True, seed=4))
    hashes = []
    for directory in (trained.directory, tmp_path / "models"):
        place = tmp_path / "stored" / str(len(hashes))
        with write_model(place) as folder:
            for path in directory.iterdir():
                (folder / path.name).write_bytes(path.read_bytes())
        hashes.append(open_model(place)[1])
    assert hashes[0] == hashes[1]


def test_customers_without_events_and_in_another_order_are_scored_alike(trained):
    whole = trained.models.predict(trained.features, trained.sequences)
    backwards = trained.models.predict(trained.features.reverse(), trained.sequences.reverse())
    for name, probability in whole.items():
        assert np.allclose(probability, backwards[name][::-1], atol=1e-6)
    without = trained.models.predict(trained.features, trained.sequences.clear())
    assert np.isfinite(without["network"]).all()
    assert np.array_equal(without["boosting"], whole["boosting"])


@pytest.mark.parametrize("case", ["no rows", "few rows", "one outcome"])
def test_with_too_little_to_learn_from_the_rule_alone_is_kept(trained, tmp_path, case):
    examples = {
        "no rows": trained.examples.clear(),
        "few rows": trained.examples.head(20),
        "one outcome": trained.examples.with_columns(churned=pl.lit(value=False)),
    }[case]
    train(examples, tmp_path)
    models = load_churn_models(tmp_path / "models")
    assert models.methods == (RECENCY,)
    assert "recency: the longer ago" in section(card_of(models), "Methods")
    predictions = models.predict(trained.features, trained.sequences)
    recency = trained.features["days_since_last_order"].to_numpy()
    order = np.argsort(recency, kind="stable")
    assert (np.diff(predictions["recency"][order]) >= 0).all()
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "calibrators.json",
        "config.json",
    ]


def test_the_encoder_says_what_its_chances_say_and_is_in_the_blend(trained):
    models, features = trained.models, trained.features
    away = models.log_odds(features, trained.sequences, only=["encoder"])["encoder"]
    assert np.allclose(logistic(away), 1 - features[ORDER_CHANCE].to_numpy())
    assert models.blend.weights["encoder"] > 0
    # More silent customers are likelier gone, in the blend by the weight of the encoder alone.
    changed = features.with_columns((pl.col(ORDER_CHANCE) / 2).alias(ORDER_CHANCE))
    moved, before = (models.log_odds(of, trained.sequences, only=["blend", "encoder"]) for of in (changed, features))
    of_encoder = moved["encoder"] - before["encoder"]
    assert (of_encoder > 0).all()
    assert np.allclose(moved["blend"] - before["blend"], models.blend.weights["encoder"] * of_encoder)


def test_customers_of_whom_the_encoder_says_nothing_are_typical(trained):
    nobody = trained.features.with_columns(pl.lit(None, dtype=pl.Float64).alias(ORDER_CHANCE))
    away = trained.models.log_odds(nobody, trained.sequences, only=["encoder"])["encoder"]
    assert np.unique(away).tolist() == [trained.models.typical_away]


def test_without_chances_of_one_horizon_ago_the_encoder_is_no_method(trained, tmp_path):
    few = chances_of(trained.examples.filter(pl.col("role") == "calibrate")).head(MIN_CALIBRATED - 1)
    train(trained.examples, tmp_path, chances=few, max_epochs=1)
    models = load_churn_models(tmp_path / "models")
    assert [method.name for method in METHODS if method not in models.methods] == ["lightgbm", "encoder"]
    assert "encoder" not in models.blend.weights
    without = trained.features.drop(ORDER_CHANCE)
    assert set(models.predict(without, trained.sequences)) == {method.name for method in models.methods}


def test_chances_that_know_what_came_sound_the_alarm(trained, tmp_path):
    newest = trained.examples.filter(pl.col("origin") == pl.col("origin").max())
    knowing = newest.select("customer_key", pl.when("churned").then(0.1).otherwise(0.9).alias(ORDER_CHANCE))
    leaking = train(trained.examples, tmp_path, chances=knowing, max_epochs=1)
    (failed,) = [each for each in judge_training(leaking.config) if each.guard == NO_GIVEAWAY]
    assert not failed.passed
    assert ORDER_CHANCE in failed.figures["features"]
    honest = {each.guard: each.passed for each in judge_training(trained.models.config)}
    assert honest[NO_GIVEAWAY]


def test_shorter_horizons_keep_more_customers_away(trained):
    assert trained.models.horizon_days == shop.HORIZON == 30
    longer = replace(trained.models, horizon_days=60, returns=replace(trained.models.returns))
    probability = np.full(trained.features.height, 0.6)
    shorter = longer.shorter_horizons(trained.features, probability)
    assert list(shorter) == [30]
    assert (shorter[30] >= 0.6).all()
    assert trained.models.shorter_horizons(trained.features, probability) == {}


def control_of(examples, matrix, *, seed):
    return shuffled_control(
        examples["customer_key"].to_numpy(), matrix.raw(examples), apart=(examples["role"] == "calibrate").to_numpy(),
        share=float(examples["churned"].mean()), seed=seed,
    )  # fmt: skip


def test_shuffled_labels_are_not_foretold_unless_customers_stand_on_both_sides(trained):
    examples = trained.examples
    learnt = examples.filter(pl.col("role") != "calibrate")
    matrix = fit_feature_matrix(learnt, names=feature_names(examples))
    controls = [control_of(examples, matrix, seed=seed) for seed in range(10)]
    assert np.mean([control["auc"] for control in controls]) == pytest.approx(0.5, abs=0.07)
    newest = learnt.filter(pl.col("origin") == pl.col("origin").max())
    leaking = pl.concat([learnt, newest.with_columns(role=pl.lit("calibrate"))])
    assert control_of(leaking, matrix, seed=0)["auc"] > 0.7


def test_the_config_notes_what_was_learnt_from_and_no_customer(trained):
    text = (trained.directory / CONFIG_FILE).read_text(encoding="utf-8")
    config = json.loads(text)
    assert len(config["epochs"]) == 4
    assert {count["role"] for count in config["examples"]} == {"fit", "stop", "calibrate"}
    assert not any(str(key) in text for key in trained.examples["customer_key"].unique())


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("logistic.skops", UntrustedFileError),
        (NETWORK_FILE, SafetensorError),
        (CONFIG_FILE, ValueError),
    ],
)
def test_a_pickle_in_place_of_a_file_is_refused_and_not_run(trained, tmp_path, name, error):
    marker = tmp_path / "ran"
    for path in trained.directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(error):
        load_churn_models(tmp_path)
    assert not marker.exists()
