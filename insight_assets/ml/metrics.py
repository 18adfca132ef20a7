"""Measures of how well predictions meet the truth, as plain functions on NumPy arrays.

Every function takes `(truth, prediction)`, two arrays of shape (n,) in the same customer order, some
a third one with the weight of each customer, and returns one float, so that the referee can call any
of them on resampled rows. Results do not depend on the order of the rows: ties are averaged, never
broken. A measure that is undefined for its input (no row, or only one class) is NaN, so that a
resample without a positive does not stop a grading.

Ranking measures of recommendations do not belong here: they score lists, not numbers.
"""

from collections.abc import Callable, Mapping

import numpy as np

TOP_SHARE = 0.1
"""Share of the customers that a campaign is taken to reach."""


def auc(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive is ranked above a negative, ties one half.

    Args:
        truth: Shape (n,), 1 or True for positives.
        prediction: Shape (n,), higher means more likely positive.

    Returns:
        A number from 0 to 1; NaN without a positive or without a negative.
    """
    positive = np.asarray(truth, dtype=bool)
    positives = int(positive.sum())
    negatives = positive.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = average_ranks(np.asarray(prediction, dtype=np.float64))[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean precision over the recall steps, one step per distinct prediction (no interpolation).

    Args:
        truth: Shape (n,), 1 or True for positives.
        prediction: Shape (n,), higher means more likely positive.

    Returns:
        A number from 0 to 1; NaN without a positive.
    """
    positive = np.asarray(truth, dtype=bool)
    positives = int(positive.sum())
    if positives == 0:
        return float("nan")
    score = np.asarray(prediction, dtype=np.float64)
    # Ascending and read from the end, as the referee hands its resamples in ascending order.
    order = np.argsort(score, kind="stable")
    score, hits = score[order][::-1], np.cumsum(positive[order][::-1])
    last_of_tie = np.append(np.flatnonzero(np.diff(score)), score.size - 1)
    found = hits[last_of_tie]
    precision = found / (last_of_tie + 1)
    return float(np.sum(np.diff(found, prepend=0) * precision) / positives)


def lift_at_top_decile(truth: np.ndarray, prediction: np.ndarray) -> float:
    """How many times as many positives the tenth with the highest predictions holds as a random tenth.

    Args:
        truth: Shape (n,), 1 or True for positives.
        prediction: Shape (n,), higher means more likely positive.

    Returns:
        A number from 0 to 10; NaN without a positive.
    """
    value = _as_float(truth)
    if not value.sum() > 0:
        return float("nan")
    return float(_sum_of_top(value, prediction, TOP_SHARE) / (value.sum() * TOP_SHARE))


def captured_at_top_decile(truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> float:
    """Share of the positives' weight, such as money, that the tenth with the highest predictions holds.

    Args:
        truth: Shape (n,), 1 or True for positives.
        prediction: Shape (n,), higher means more likely positive.
        weight: Shape (n,), at least 0.

    Returns:
        A number from 0 to 1; NaN when no positive weighs anything.
    """
    value = _as_float(truth) * _as_float(weight)
    if not value.sum() > 0:
        return float("nan")
    return float(_sum_of_top(value, prediction, TOP_SHARE) / value.sum())


def _sum_of_top(value: np.ndarray, prediction: np.ndarray, share: float) -> float:
    """Sum of the values of the top share of rows; of rows that tie at its edge, each counts by the same part."""
    score = np.asarray(prediction, dtype=np.float64)
    room = share * score.size
    order = np.argsort(score, kind="stable")
    score, total = score[order][::-1], np.cumsum(value[order][::-1])
    last_of_tie = np.append(np.flatnonzero(np.diff(score)), score.size - 1)
    return float(np.interp(room, np.append(0, last_of_tie + 1), np.append(0.0, total[last_of_tie])))


def brier(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean squared difference between the outcome (0 or 1) and its predicted probability.

    Args:
        truth: Shape (n,), 0 or 1.
        prediction: Shape (n,), probabilities.

    Returns:
        A number from 0 (perfect) to 1; NaN for no rows.
    """
    if len(truth) == 0:
        return float("nan")
    return float(np.mean(np.square(_as_float(prediction) - _as_float(truth))))


def expected_calibration_error(
    truth: np.ndarray, prediction: np.ndarray, *, bins: int = 10
) -> float:
    """Mean gap between predicted and observed rate over bins of equal numbers of rows.

    Bins of equal mass, not of equal width, because scores crowd in a part of [0, 1] and empty bins
    would hide error (Nixon et al., "Measuring calibration in deep learning", 2019, adaptive ECE).
    Equal predictions share a bin, so the value does not depend on the order of the rows.

    Args:
        truth: Shape (n,), 0 or 1.
        prediction: Shape (n,), probabilities.
        bins: Number of bins; fewer are used when predictions tie.

    Returns:
        A number from 0 to 1; NaN for no rows.
    """
    _, observed, predicted, rows = reliability(truth, prediction, bins=bins)
    if rows.size == 0:
        return float("nan")
    return float(np.sum(rows * np.abs(observed - predicted)) / rows.sum())


def reliability(
    truth: np.ndarray, prediction: np.ndarray, *, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Observed and predicted rate in bins of equal numbers of rows: the reliability curve.

    Args:
        truth: Shape (n,), 0 or 1.
        prediction: Shape (n,), probabilities.
        bins: Number of bins asked for.

    Returns:
        Four arrays of shape (k,), k <= bins: bin number, observed rate, mean prediction, rows.
    """
    score = _as_float(prediction)
    if score.size == 0:
        empty = np.empty(0)
        return empty, empty, empty, empty
    ranks = average_ranks(score)
    number = np.minimum(((ranks - 0.5) * bins / score.size).astype(np.int64), bins - 1)
    rows = np.bincount(number, minlength=bins).astype(np.float64)
    used = np.flatnonzero(rows)
    observed = np.bincount(number, weights=_as_float(truth), minlength=bins)[used] / rows[used]
    predicted = np.bincount(number, weights=score, minlength=bins)[used] / rows[used]
    return used, observed, predicted, rows[used]


def normalised_gini(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Gini index of the truth ordered by prediction, over that of a perfect order.

    The ranking measure for values that are never below 0, such as spend (Wang et al., "A deep
    probabilistic model for customer lifetime value prediction", 2019). For a 0/1 truth it equals
    2 AUC - 1.

    Args:
        truth: Shape (n,), what happened.
        prediction: Shape (n,), higher means more.

    Returns:
        1 for a perfect order, 0 for a random one; NaN when all true values are equal.
    """
    value = _as_float(truth)
    if value.size == 0:
        return float("nan")
    middle = (value.size + 1) / 2
    perfect = float(np.sum(value * (average_ranks(value) - middle)))
    if perfect <= 0:
        return float("nan")
    return float(np.sum(value * (average_ranks(_as_float(prediction)) - middle)) / perfect)


def sum_ratio(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Sum of the predictions over the sum of the truth.

    Args:
        truth: Shape (n,).
        prediction: Shape (n,).

    Returns:
        1 where totals agree; NaN where the sum of the truth is not above 0.
    """
    total = float(np.sum(truth))
    return float(np.sum(prediction)) / total if total > 0 else float("nan")


def mean_absolute_error(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute difference between prediction and truth, in the unit of the truth.

    Args:
        truth: Shape (n,).
        prediction: Shape (n,).

    Returns:
        A number of at least 0; NaN for no rows.
    """
    if len(truth) == 0:
        return float("nan")
    return float(np.mean(np.abs(_as_float(prediction) - _as_float(truth))))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 to n in ascending order; equal values share the mean of their ranks.

    Args:
        values: Shape (n,), without NaN.

    Returns:
        Float64 ranks of shape (n,), in the order of `values`.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))[: values.size]
    sizes = np.diff(np.append(starts, values.size))
    ranks = np.empty(values.size)
    ranks[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    return ranks


def _as_float(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


METRICS_OF_CHANCES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc": auc,
    "average_precision": average_precision,
    "brier": brier,
    "calibration_error": expected_calibration_error,
    "lift_at_top_decile": lift_at_top_decile,
}
"""What every task that foretells a chance is graded by."""

ERRORS_OF_CHANCES = frozenset({"brier", "calibration_error"})
"""Those of them of which less is better."""
