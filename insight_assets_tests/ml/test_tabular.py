import json

import numpy as np
import polars as pl
import pytest

from insight_assets.ml.tabular import MAX_LEVELS, FeatureMatrix, fit_feature_matrix

FEATURES = pl.DataFrame(
    {
        "share": [0.1, 0.5, None, 0.9],
        "money": [0.0, 10.0, 1000.0, -50.0],
        "same": [1, 1, 1, 1],
        "never": pl.Series([None] * 4, dtype=pl.Float64),
        "source": ["mail", "ads", "mail", None],
        "gone": [True, False, True, True],
    }
)
NAMES = list(FEATURES.columns)


def test_scaled_columns_have_mean_0_and_deviation_1_on_the_fitted_rows():
    matrix = fit_feature_matrix(FEATURES, names=NAMES)
    scaled = matrix.scale(matrix.raw(FEATURES))
    assert scaled.shape == (4, matrix.scaled_width)
    assert scaled.mean(axis=0) == pytest.approx(0)
    assert scaled[:, : matrix.width].std(axis=0) == pytest.approx(1)


def test_constant_and_empty_features_are_dropped_and_texts_become_levels():
    matrix = fit_feature_matrix(FEATURES, names=NAMES)
    assert matrix.features == ("share", "money", "gone", "source")
    assert matrix.levels == {"source": ("mail", "ads")}
    assert matrix.columns_of("source") == [3, 4]
    assert matrix.raw(FEATURES)[:, 3:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 0]]


def test_what_is_missing_becomes_the_median_of_the_fitted_rows_and_is_marked():
    matrix = fit_feature_matrix(FEATURES, names=["share"])
    gap = pl.DataFrame({"share": [None, 0.5]}, schema={"share": pl.Float64})
    scaled = matrix.scale(matrix.raw(gap))
    assert scaled[0, 0] == scaled[1, 0]
    assert scaled[:, 1].tolist() == [0.75, -0.25]


def test_nothing_is_learnt_from_other_rows():
    matrix = fit_feature_matrix(FEATURES, names=NAMES)
    before = matrix.scale(matrix.raw(FEATURES[:1]))
    other = pl.concat([FEATURES[:1], FEATURES.with_columns(money=pl.lit(1e9))])
    assert (matrix.scale(matrix.raw(other))[:1] == before).all()


def test_columns_that_are_always_missing_together_are_marked_once():
    frame = pl.DataFrame({"a": [1.0, None, 3.0], "b": [5.0, None, 9.0], "c": [None, 1.0, 2.0]})
    matrix = fit_feature_matrix(frame, names=["a", "b", "c"])
    assert matrix.with_gaps == (0, 2)


def test_only_the_most_frequent_texts_get_a_column():
    texts = pl.DataFrame({"source": [f"s{n}" for n in range(40) for _ in range(n + 1)]})
    matrix = fit_feature_matrix(texts, names=["source"])
    assert matrix.levels["source"] == tuple(f"s{n}" for n in range(39, 39 - MAX_LEVELS, -1))


def test_the_recipe_survives_json():
    matrix = fit_feature_matrix(FEATURES, names=NAMES)
    again = FeatureMatrix.from_json(json.loads(json.dumps(matrix.to_json(), sort_keys=True)))
    assert again == matrix
    assert np.array_equal(again.raw(FEATURES), matrix.raw(FEATURES), equal_nan=True)


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [(FEATURES[:0], NAMES, "at least one row"), (FEATURES, ["same"], "no feature varies")],
)
def test_nothing_to_learn_from_is_refused(rows, names, message):
    with pytest.raises(ValueError, match=message):
        fit_feature_matrix(rows, names=names)
