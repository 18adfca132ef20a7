import json

import numpy as np
import polars as pl
import pytest

from insight_assets.ml.classifiers import (
    BOOSTING,
    FAMILIES,
    LIGHTGBM,
    NOISE,
    Classifier,
    ClassifierMissingError,
    available,
    classifier_file,
    fit_classifier,
    make_folds,
    read_classifier,
    refit_classifier,
    write_classifier,
)
from insight_assets.ml.metrics import auc
from insight_assets.ml.tabular import fit_feature_matrix

NAMES = ("number", "gap", "text")
INSTALLED = [name for name in FAMILIES if available(name)]


def labelled(rows: int, *, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Rows of customers with two rows each, whose class shows in a number, a number with gaps and a text."""
    generator = np.random.default_rng(seed)
    number, gap = generator.normal(size=(2, rows))
    text = generator.choice(["a", "b", "c"], rows)
    chance = 1 / (1 + np.exp(-1.5 * number - gap - (text == "a")))
    shown = [None if missing else value for missing, value in zip(generator.random(rows) < 0.2, gap, strict=True)]
    frame = pl.DataFrame({"number": number, "gap": shown, "text": text})
    return frame, (generator.random(rows) < chance).astype(float), np.arange(rows) // 2 + seed * 10**6


def fitted(family: str, rows: int = 500, *, shuffled: bool = False):
    features, truth, groups = labelled(rows)
    if shuffled:
        truth = np.random.default_rng(1).permutation(truth)
    matrix = fit_feature_matrix(features, names=NAMES)
    raw = matrix.raw(features)
    classifier = fit_classifier(
        family, raw=raw, scaled=matrix.scale(raw), truth=truth, groups=groups,
        folds=make_folds(features, truth, groups, names=NAMES), seed=1,
    )  # fmt: skip
    return matrix, classifier


@pytest.mark.parametrize("family", [family for family in INSTALLED if "boost" in family])
def test_boosting_stops_growing_on_noise(family):
    others, truth, _ = labelled(500, seed=1)
    spread = {}
    for shuffled in (False, True):
        matrix, classifier = fitted(family, 800, shuffled=shuffled)
        raw = matrix.raw(others)
        spread[shuffled] = classifier.log_odds(raw, matrix.scale(raw)).std()
    assert spread[True] < spread[False] / 2


def test_boosting_that_draws_columns_is_stored_and_fitted_alike(tmp_path):
    features, truth, groups = labelled(500)
    matrix = fit_feature_matrix(features, names=NAMES)
    raw = matrix.raw(features)
    drawing = next(tried for tried in FAMILIES[BOOSTING].grid if tried["columns"] < 1)
    chosen = Classifier(BOOSTING, {**drawing, "trees": 20}, (), 1.0, None)
    parts = {"raw": raw, "scaled": matrix.scale(raw), "truth": truth, "groups": groups, "seed": 1}
    one, two = (refit_classifier(chosen, **parts) for _ in range(2))
    assert np.array_equal(one.log_odds(raw, raw), two.log_odds(raw, raw))
    write_classifier(one, tmp_path, prefix="some-")
    again = read_classifier(BOOSTING, one.to_json(), tmp_path, prefix="some-")
    assert np.array_equal(again.log_odds(raw, raw), one.log_odds(raw, raw))


@pytest.mark.parametrize("family", INSTALLED)
def test_a_family_is_chosen_fitted_stored_and_read(tmp_path, family):
    matrix, classifier = fitted(family)
    others, truth, _ = labelled(500, seed=1)
    raw = matrix.raw(others)
    scores = classifier.log_odds(raw, matrix.scale(raw))
    assert auc(truth, scores) > 0.7
    assert len(classifier.judged) == len(FAMILIES[family].grid)
    best = max(score for _, score in classifier.judged)
    assert classifier.settings == next(tried for tried, score in classifier.judged if score >= best - NOISE)
    write_classifier(classifier, tmp_path)
    again = read_classifier(family, json.loads(json.dumps(classifier.to_json())), tmp_path)
    assert np.array_equal(again.log_odds(raw, matrix.scale(raw)), scores)
    content = (tmp_path / classifier_file(family)).read_bytes()
    write_classifier(fitted(family)[1], tmp_path)
    assert (tmp_path / classifier_file(family)).read_bytes() == content
    assert classifier.log_odds(raw[:0], matrix.scale(raw)[:0]).shape == (0,)


def test_folds_part_no_customer_and_learn_nothing_from_those_who_judge():
    features, truth, groups = labelled(300)
    odd = features.with_columns(text=pl.when(pl.Series(groups) == groups[0]).then(pl.lit("rare")).otherwise("text"))
    folds = make_folds(odd, truth, groups, names=NAMES)
    assert len(folds) == 3
    assert sum(len(fold.judged_truth) for fold in folds) == 300
    for fold in folds:
        assert len(set(fold.groups)) * 2 == len(fold.groups)
        assert np.allclose(fold.scaled[:, : fold.matrix.width].mean(axis=0), 0, atol=1e-9)
        assert ("rare" in fold.matrix.levels["text"]) == (groups[0] in fold.groups)


def test_without_folds_the_simplest_settings_are_fitted():
    features, truth, groups = labelled(80)
    assert make_folds(features, np.zeros(80), groups, names=NAMES) == ()
    matrix = fit_feature_matrix(features, names=NAMES)
    raw = matrix.raw(features)
    tree = fit_classifier("tree", raw=raw, scaled=raw, truth=truth, groups=groups, folds=(), seed=1)
    assert tree.settings == FAMILIES["tree"].grid[0]


def test_a_bounded_family_is_fitted_on_a_part_drawn_from_the_keys():
    features, truth, groups = labelled(3_000)
    matrix = fit_feature_matrix(features, names=NAMES)
    scaled = matrix.scale(matrix.raw(features))
    order = np.random.default_rng(3).permutation(3_000)
    whole, shuffled = (
        fit_classifier(
            "svm", raw=scaled[rows], scaled=scaled[rows], truth=truth[rows], groups=groups[rows], folds=(), seed=1
        ).log_odds(scaled, scaled)
        for rows in (np.arange(3_000), order)
    )
    assert np.allclose(whole, shuffled, atol=1e-6)


@pytest.mark.skipif(available(LIGHTGBM), reason="LightGBM is installed")
def test_without_lightgbm_its_family_says_what_to_install():
    with pytest.raises(ClassifierMissingError, match=r"insight-assets\[gbm\]"):
        fitted(LIGHTGBM)
