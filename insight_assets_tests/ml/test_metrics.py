import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from insight_assets.ml.metrics import (
    auc,
    average_precision,
    average_ranks,
    brier,
    captured_at_top_decile,
    expected_calibration_error,
    lift_at_top_decile,
    mean_absolute_error,
    normalised_gini,
    reliability,
    sum_ratio,
)

LABELLED_SCORES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def arrays(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, dtype=float), np.array(scores) / 7


@given(LABELLED_SCORES)
def test_agrees_with_scikit_learn_also_when_scores_tie(rows):
    truth, score = arrays(rows)
    assert auc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))
    assert average_precision(truth, score) == pytest.approx(
        reference.average_precision_score(truth, score)
    )
    assert brier(truth, score) == pytest.approx(reference.brier_score_loss(truth, score))
    assert mean_absolute_error(truth, score) == pytest.approx(
        reference.mean_absolute_error(truth, score)
    )


@given(LABELLED_SCORES, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_row_order_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    for metric in (auc, average_precision, brier, expected_calibration_error, normalised_gini):
        assert metric(*arrays(rows)) == pytest.approx(metric(*arrays(shuffled)))


@given(LABELLED_SCORES)
def test_gini_of_a_binary_truth_is_twice_the_auc_less_one(rows):
    truth, score = arrays(rows)
    assert normalised_gini(truth, score) == pytest.approx(2 * auc(truth, score) - 1)


def test_gini_is_one_for_a_perfect_order_and_minus_one_for_the_reverse():
    spend = np.array([0.0, 5.0, 1.0, 100.0])
    assert normalised_gini(spend, spend * 3 + 1) == pytest.approx(1)
    assert normalised_gini(spend, -spend) == pytest.approx(-1)


@pytest.mark.parametrize("metric", [auc, average_precision, brier, expected_calibration_error])
def test_no_rows_are_undefined(metric):
    assert np.isnan(metric(np.empty(0), np.empty(0)))


@pytest.mark.parametrize("label", [0, 1])
def test_auc_of_one_class_is_undefined(label):
    assert np.isnan(auc(np.full(4, label), np.arange(4.0)))


def test_calibration_error_of_calibrated_and_of_shifted_scores():
    generator = np.random.default_rng(5)
    score = generator.uniform(0.2, 0.6, 50_000)
    truth = generator.random(50_000) < score
    assert expected_calibration_error(truth, score) < 0.01
    assert expected_calibration_error(truth, score + 0.2) == pytest.approx(0.2, abs=0.01)


def test_reliability_bins_hold_equal_numbers_and_tied_scores_share_a_bin():
    _, _, _, rows = reliability(np.zeros(100), np.arange(100) / 100, bins=10)
    assert rows.tolist() == [10] * 10
    number, observed, predicted, rows = reliability(np.array([0, 1, 1, 1]), np.full(4, 0.5))
    assert (len(number), observed[0], predicted[0], rows[0]) == (1, 0.75, 0.5, 4)


def test_equal_values_share_their_mean_rank():
    assert average_ranks(np.array([2.0, 1.0, 2.0, 0.0])).tolist() == [3.5, 2.0, 3.5, 1.0]
    assert average_ranks(np.empty(0)).size == 0


def test_lift_is_how_much_denser_positives_are_on_top():
    truth = np.repeat([1.0, 0.0], [20, 80])
    assert lift_at_top_decile(truth, truth) == pytest.approx(5.0)
    assert lift_at_top_decile(truth, -truth) == 0
    assert lift_at_top_decile(truth, np.zeros(100)) == pytest.approx(1.0)
    assert np.isnan(lift_at_top_decile(np.zeros(5), np.arange(5)))


@given(LABELLED_SCORES, st.randoms())
def test_rows_that_tie_at_the_edge_count_alike_in_any_order(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    weight = np.ones(len(rows))
    for one, other in zip(arrays(rows), arrays(shuffled), strict=True):
        assert sorted(one) == sorted(other)
    assert lift_at_top_decile(*arrays(rows)) == pytest.approx(lift_at_top_decile(*arrays(shuffled)))
    lift = lift_at_top_decile(*arrays(rows))
    assert captured_at_top_decile(*arrays(rows), weight) == pytest.approx(lift / 10)


def test_money_is_captured_from_those_who_churn():
    truth, weight = np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), np.array([300.0, 100, 900, 0, 0, 0, 0, 0, 0, 0])
    assert captured_at_top_decile(truth, np.arange(10)[::-1], weight) == 0.75
    assert captured_at_top_decile(truth, np.roll(np.arange(10)[::-1], 1), weight) == 0.25
    assert np.isnan(captured_at_top_decile(truth, truth, np.zeros(10)))


def test_sum_ratio():
    truth = np.array([0.0, 0.0, 5.0, 9.0])
    assert sum_ratio(truth, truth / 2) == 0.5
    assert np.isnan(sum_ratio(np.zeros(3), np.ones(3)))
