import re

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features.feature_words import MEASURES_ZH, feature_zh
from insight_assets.insights.behaviour.orders import EFFECTS
from insight_assets.insights.churn.drivers import TERSE, TOLD_BY_ENCODER, _effects, churn_drivers
from insight_assets.insights.churn.models import LIGHTGBM, METHODS
from insight_assets.ml.drivers import DRIVERS, DRIVERS_ZH, tell_stories

PATTERN = r"^[a-z0-9 ]+( -?[0-9.]+| unknown| [a-z]+)? \((raises|lowers)\)$"


@pytest.mark.parametrize("method", [method.name for method in METHODS if method != LIGHTGBM])
def test_drivers_are_words_with_a_direction(trained, method):
    drivers = churn_drivers(trained.models, trained.features, trained.sequences, method=method)
    assert drivers.columns == [*DRIVERS, *DRIVERS_ZH]
    assert drivers.height == trained.features.height
    told = drivers["driver_1"].drop_nulls()
    assert len(told) > (0.3 if method == "tree" else 0.9) * drivers.height
    assert told.str.contains(PATTERN).all(), told.filter(~told.str.contains(PATTERN)).head(3)
    for name, name_zh in zip(DRIVERS, DRIVERS_ZH, strict=True):
        raises, raises_zh = drivers[name].str.ends_with("(raises)"), drivers[name_zh].str.ends_with("（推高流失风险）")
        assert raises.equals(raises_zh.alias(name))
        assert not drivers[name_zh].drop_nulls().str.contains("[a-z]{4}").any()


def test_recency_raises_for_the_long_gone_and_lowers_for_the_recent(trained):
    drivers = churn_drivers(trained.models, trained.features, trained.sequences, method="recency")
    days = trained.features["days_since_last_order"]
    longest, shortest = int(days.arg_max()), int(days.arg_min())
    assert drivers["driver_1"][longest] == f"days since last order {days.max()} (raises)"
    assert drivers["driver_1"][shortest] == f"days since last order {days.min()} (lowers)"
    assert drivers["driver_2"].null_count() == drivers.height


def test_parts_of_the_logistic_regression_add_up_to_its_log_odds(trained):
    effects = _effects(trained.models, trained.features, trained.sequences, "logistic")
    log_odds = trained.models.log_odds(trained.features, trained.sequences)["logistic"]
    total = np.sum(list(effects.values()), axis=0) + trained.models.classifiers["logistic"].model.intercept_
    assert np.allclose(total, log_odds)


@pytest.mark.parametrize("method", ["svm", "boosting", "network", "blend"])
def test_occlusion_is_the_change_when_a_story_is_told_like_the_median(trained, method):
    effects = _effects(trained.models, trained.features, trained.sequences, method)
    matrix, features = trained.models.matrix, trained.features
    log_odds = trained.models.log_odds(features, trained.sequences)[method]
    stories = tell_stories(matrix, matrix.scale(matrix.raw(features)), log_odds, terse=TERSE)
    name = next(
        n for n in effects if n in stories and stories[n] == [n] and features[n].null_count() == 0
    )
    typical = features.with_columns(pl.col(name).cast(pl.Float64).median())
    changed = trained.models.log_odds(typical, trained.sequences)[method]
    assert np.allclose(effects[name], log_odds - changed, atol=1e-4)


def test_the_encoder_is_explained_by_what_it_read_and_the_blend_by_its_share_of_that(trained):
    assert tuple(TOLD_BY_ENCODER) == EFFECTS
    of_encoder = _effects(trained.models, trained.features, trained.sequences, "encoder")
    silence = -trained.features["effect_of_silence"].to_numpy()
    assert np.allclose(of_encoder["days_of_silence"], silence - np.median(silence))
    assert not of_encoder["visits_in_their_order"].any()
    of_blend = _effects(trained.models, trained.features, trained.sequences, "blend")
    weight = trained.models.blend.weights["encoder"]
    for story, effect in of_encoder.items():
        assert np.allclose(of_blend[story], weight * effect)
    drivers = churn_drivers(trained.models, trained.features, trained.sequences, method="encoder")
    longest = int(trained.features["days_since_last_order"].arg_max())
    assert drivers["driver_1"][longest] == "days of silence (raises)"
    assert drivers["driver_1_zh"][longest] == "沉默天数（推高流失风险）"
    assert drivers["driver_3"].null_count() == drivers.height


def test_features_that_say_the_same_are_one_story(trained):
    matrix = trained.models.matrix
    log_odds = trained.models.log_odds(trained.features, trained.sequences)["logistic"]
    stories = tell_stories(matrix, matrix.scale(matrix.raw(trained.features)), log_odds, terse=TERSE)
    told = [name for members in stories.values() for name in members]
    assert sorted(told) == sorted(matrix.features)
    of = {name: head for head, members in stories.items() for name in members}
    assert of["orders_lifetime"] == of["purchase_days_lifetime"]
    assert "x_repeat_purchases" not in stories


def test_a_feature_is_its_measure_and_window_in_chinese():
    assert feature_zh("sessions_30d") == "近30天访问次数"
    assert feature_zh("orders_lifetime") == "累计订单数"
    assert feature_zh("days_since_last_order") == "距上次下单天数"
    assert feature_zh("a_feature_yet_to_come_7d") == "a feature yet to come 7d"
    known = {column.name for column in contract("customer_features").columns}
    measures = {re.sub(r"_(lifetime|\d+d)$", "", name) for name in known} | known
    assert set(MEASURES_ZH) <= measures


def test_an_unknown_method_is_refused(trained):
    with pytest.raises(ValueError, match="know no churn method 'oracle'"):
        churn_drivers(trained.models, trained.features, trained.sequences, method="oracle")
