from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.churn.grading import (
    WEIGHTED_METRICS,
    GradedChurn,
    grade_churn,
    labels_plausible,
    shuffled_at_half,
    too_good,
)
from insight_assets.ml.metrics import METRICS_OF_CHANCES
from insight_assets_tests.insights.churn.conftest import ORIGIN, SEED


@pytest.fixture(scope="module")
def graded(trained) -> GradedChurn:
    return grade(trained)


def grade(trained, **options) -> GradedChurn:
    return grade_churn(
        trained.models,
        **{
            "features": trained.features,
            "sequences": trained.sequences,
            "labels": trained.labels,
            "origin": ORIGIN,
            "seed": SEED,
            "model_version": "0123456789ab",
            "resamples": 60,
        }
        | options,
    )


def test_the_scorecard_follows_its_contract_and_grades_every_method(graded, trained):
    table = contract("churn_scorecard")
    validate_frame(table, table.conform(graded.scorecard.lazy()).collect())
    assert set(graded.scorecard["method"]) == {method.name for method in trained.models.methods}
    assert set(graded.scorecard["metric"]) == {*METRICS_OF_CHANCES, *WEIGHTED_METRICS}
    assert graded.scorecard["customers"].unique().to_list() == [trained.labels.height]


def test_row_order_changes_no_grade(graded, trained):
    again = grade(
        trained,
        features=trained.features.reverse(),
        labels=trained.labels.sample(fraction=1, shuffle=True, seed=1),
    )
    for column in ("method", "metric", "is_champion", "grade"):
        assert again.scorecard[column].equals(graded.scorecard[column])
    assert np.allclose(again.scorecard["value"], graded.scorecard["value"], atol=2e-6)


def test_nobody_labelled_gives_an_empty_scorecard(trained):
    empty = grade(trained, labels=trained.labels.clear())
    assert empty.scorecard.is_empty()
    assert (empty.champion, empty.base_rate, empty.champion_metric("auc")) == (None, None, None)
    assert not too_good(empty)
    assert not labels_plausible(empty)


def test_an_auc_above_090_is_too_good_to_be_true(graded):
    def reaching(value: float) -> GradedChurn:
        return replace(graded, scorecard=graded.scorecard.with_columns(value=pl.lit(value)))

    assert too_good(reaching(0.91))
    assert not too_good(reaching(0.9))


@pytest.mark.parametrize(("churned", "plausible"), [(1, False), (30, True), (99, False)])
def test_base_rates_must_leave_something_to_foretell(graded, churned, plausible):
    truth = (np.arange(100) < churned).astype(float)
    assert labels_plausible(replace(graded, truth=truth)) == plausible


@pytest.mark.parametrize(
    ("auc", "error", "passed"),
    [(0.529, 0.001, True), (0.54, 0.001, False), (0.46, 0.001, False), (0.54, 0.02, True)],
)
def test_shuffled_labels_must_be_foretold_by_chance_only(auc, error, passed):
    assert shuffled_at_half({"auc": auc, "standard_error": error}) == passed


def test_a_control_that_could_not_be_run_fails_nothing():
    assert shuffled_at_half(None)
    assert shuffled_at_half({"auc": None, "standard_error": None})
