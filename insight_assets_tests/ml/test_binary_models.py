from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from insight_assets.ml.binary_models import (
    BLEND,
    BOOSTING,
    LIGHTGBM,
    LOGISTIC,
    METHODS,
    RULE,
    Rows,
    Rule,
    load_binary_models,
    stored_binary_models,
    train_binary_models,
    write_binary_models,
)
from insight_assets.ml.metrics import auc

OF_COLOUR = Rule(lambda features: features["colour"].fill_null("none"), "colour")
NAMES = ["colour", "noise", "size"]


def some_rows(customers: int, *, seed: int = 0) -> Rows:
    """Two rows a customer whose answer follows the size, and a little the colour."""
    generator = np.random.default_rng(seed)
    key = np.repeat(np.arange(customers), 2)
    size, colour = generator.normal(size=2 * customers), generator.choice(["red", "blue"], 2 * customers)
    chance = 1 / (1 + np.exp(-(1.5 * size + 0.8 * (colour == "red") - 1)))
    rows = pl.DataFrame(
        {
            "key": key, "size": size, "colour": colour, "noise": generator.normal(size=2 * customers),
            "yes": generator.random(2 * customers) < chance,
        }
    )  # fmt: skip
    return Rows(rows, NAMES, "yes", "key", key % 3 == 0)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return some_rows(450)


@pytest.fixture(scope="module")
def models(rows):
    return train_binary_models(rows, OF_COLOUR, seed=1)


def test_every_rival_is_trained_and_beats_the_rule_on_others(models):
    assert models.methods == tuple(method for method in METHODS if method != LIGHTGBM)
    others = some_rows(400, seed=9)
    told = models.predict(others.examples)
    reached = {name: auc(others.truth, values) for name, values in told.items()}
    assert min(reached[name] for name in reached if name != RULE.name) > reached[RULE.name] + 0.1
    assert all(np.abs(values.mean() - others.truth.mean()) < 0.08 for values in told.values())
    low, high = models.interval(others.examples, BLEND.name)
    assert ((low <= told[BLEND.name]) & (told[BLEND.name] <= high)).all()


def test_training_again_gives_the_same(rows, models):
    again = train_binary_models(rows, OF_COLOUR, seed=1)
    for name, told in models.predict(rows.examples).items():
        assert np.array_equal(again.predict(rows.examples)[name], told)


def test_rows_kept_apart_teach_nothing_but_probabilities(rows, models):
    turned = rows.examples.with_columns(yes=pl.when(pl.Series(rows.apart)).then(~pl.col("yes")).otherwise("yes"))
    others = train_binary_models(replace(rows, examples=turned), OF_COLOUR, seed=1)
    assert np.array_equal(
        others.log_odds(rows.examples)[BLEND.name], models.log_odds(rows.examples)[BLEND.name]
    )
    assert others.calibrators[BLEND.name] != models.calibrators[BLEND.name]


def test_stored_models_say_the_same(models, rows, tmp_path):
    assert not stored_binary_models(tmp_path, prefix="a-")
    write_binary_models(models, tmp_path, prefix="a-")
    assert stored_binary_models(tmp_path, prefix="a-")
    loaded = load_binary_models(tmp_path, OF_COLOUR, prefix="a-")
    for name, told in models.predict(rows.examples).items():
        assert np.allclose(loaded.predict(rows.examples)[name], told, atol=1e-12)
    some = load_binary_models(tmp_path, OF_COLOUR, prefix="a-", only=[LOGISTIC.name])
    assert [method.name for method in some.methods] == [RULE.name, LOGISTIC.name]
    assert set(some.classifiers) == {LOGISTIC.name}


def test_newer_rows_are_taught_with_the_settings_that_were_graded(models):
    newer = some_rows(400, seed=4)
    again = train_binary_models(newer, OF_COLOUR, seed=1, chosen_before=models)
    assert again.blend == models.blend
    assert {name: each.settings for name, each in again.classifiers.items()} == {
        name: each.settings for name, each in models.classifiers.items()
    }
    assert again.rates != models.rates
    assert not np.array_equal(
        again.log_odds(newer.examples)[LOGISTIC.name], models.log_odds(newer.examples)[LOGISTIC.name]
    )


def test_too_few_rows_keep_the_rule_alone():
    few = train_binary_models(some_rows(60), OF_COLOUR, seed=1)
    assert few.methods == (RULE,)
    rate = few.predict(pl.DataFrame({"colour": ["red", None]}))[RULE.name]
    assert (rate > 0).all()
    assert (rate < 1).all()


def test_the_reasons_of_the_linear_model_add_up_and_the_others_name_what_matters(models, rows):
    told = rows.examples.head(50)
    log_odds = models.log_odds(told)
    parts = np.sum(list(models.effects(told, LOGISTIC.name).values()), axis=0)
    assert np.allclose(parts + models.classifiers[LOGISTIC.name].model.intercept_, log_odds[LOGISTIC.name])
    effects = models.effects(told, BOOSTING.name)
    assert max(effects, key=lambda name: np.abs(effects[name]).mean()) == "size"
    assert list(models.effects(told, RULE.name)) == ["colour"]
