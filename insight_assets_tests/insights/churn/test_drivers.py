import numpy as np
import polars as pl
import pytest

from insight_assets.insights.churn.drivers import DRIVERS, _effects, _stories, churn_drivers
from insight_assets.insights.churn.models import LIGHTGBM, METHODS

PATTERN = r"^[a-z0-9 ]+( -?[0-9.]+| unknown| [a-z]+)? \((raises|lowers)\)$"


@pytest.mark.parametrize("method", [method.name for method in METHODS if method != LIGHTGBM])
def test_drivers_are_words_with_a_direction(trained, method):
    drivers = churn_drivers(trained.models, trained.features, trained.sequences, method=method)
    assert drivers.columns == list(DRIVERS)
    assert drivers.height == trained.features.height
    told = drivers["driver_1"].drop_nulls()
    assert len(told) > (0.3 if method == "tree" else 0.9) * drivers.height
    assert told.str.contains(PATTERN).all(), told.filter(~told.str.contains(PATTERN)).head(3)


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
    stories = _stories(matrix, matrix.scale(matrix.raw(features)), log_odds)
    name = next(
        n for n in effects if n in stories and stories[n] == [n] and features[n].null_count() == 0
    )
    typical = features.with_columns(pl.col(name).cast(pl.Float64).median())
    changed = trained.models.log_odds(typical, trained.sequences)[method]
    assert np.allclose(effects[name], log_odds - changed, atol=1e-4)


def test_features_that_say_the_same_are_one_story(trained):
    matrix = trained.models.matrix
    log_odds = trained.models.log_odds(trained.features, trained.sequences)["logistic"]
    stories = _stories(matrix, matrix.scale(matrix.raw(trained.features)), log_odds)
    told = [name for members in stories.values() for name in members]
    assert sorted(told) == sorted(matrix.features)
    of = {name: head for head, members in stories.items() for name in members}
    assert of["orders_lifetime"] == of["purchase_days_lifetime"]
    assert "x_repeat_purchases" not in stories


def test_an_unknown_method_is_refused(trained):
    with pytest.raises(ValueError, match="know no churn method 'oracle'"):
        churn_drivers(trained.models, trained.features, trained.sequences, method="oracle")
