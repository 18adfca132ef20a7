"""The rivals of the churn network: the recency rule, logistic regression and gradient boosting.

Fits on matrices and gives raw scores; calibration, files and who may be learnt from belong to
`models`. scikit-learn is imported inside functions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

PENALTY = 0.01
"""Inverse penalty of the logistic regression.

The best of .001 to .1 on UCI Online Retail, trained on origins before 2011-06-12 and graded there on
other customers: AUC .7612, against .7594 at .001 and .7584 at .1.
"""

LEAVES = (4, 16)
"""Leaves of a tree that are tried: 4 for shops with little to learn from, 16 for more."""

MOST_TREES = 300
PATIENCE = 20
LEARNING_RATE = 0.05
LEAST_LEAF = 50

ROWS_FOR_MORE_CORES = 100_000
"""Rows from which boosting computes on all cores.

Below it threads wait for each other longer than they work: where other processes wanted the cores,
scoring 2,821 customers for their drivers took 102 s on two cores and 4 s on one.
"""


def recency_score(days_since_last_order: np.ndarray, *, horizon_days: int) -> np.ndarray:
    """The naive rule: the longer ago the last purchase, the likelier the customer is gone.

    Args:
        days_since_last_order: Shape (n,); NaN for customers who never bought.
        horizon_days: Length of the label window; sets where the score bends.

    Returns:
        Shape (n,), in [0, 1], strictly increasing with recency; 1 for those who never bought. It is
        an order, not a probability, until it is calibrated.
    """
    days = np.nan_to_num(np.asarray(days_since_last_order, dtype=np.float64), nan=np.inf)
    return 1 - np.exp(-np.maximum(days, 0) / horizon_days)


def fit_logistic(scaled: np.ndarray, churned: np.ndarray) -> "LogisticRegression":
    """Fit a ridge-penalised logistic regression.

    Args:
        scaled: Shape (n, f), standardised features without gaps.
        churned: Shape (n,), 0 or 1, both present.

    Returns:
        The fitted model.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    # One thread: sums come out the same on machines with any number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        return LogisticRegression(C=PENALTY, max_iter=1000).fit(scaled, churned)


def fit_boosting(
    raw: np.ndarray, churned: np.ndarray, *, stop: np.ndarray, seed: int
) -> "HistGradientBoostingClassifier":
    """Fit histogram gradient boosting, its size chosen on customers kept apart.

    Each tree size is grown on the other rows until the log loss of the rows kept apart gets no
    better; the best size and number of trees are then fitted on all rows. scikit-learn's own early
    stopping draws single rows, so that one customer would stand on both sides.

    Args:
        raw: Shape (n, f), features as they are, NaN where missing.
        churned: Shape (n,), 0 or 1, both present.
        stop: Shape (n,), True for the rows kept apart; without both classes among them and among
            the others, a fixed size is fitted.
        seed: Seed of the binning.

    Returns:
        The fitted model.
    """
    leaves, trees = _boosting_size(raw, churned, stop=stop, seed=seed)
    with _cores_for(len(raw)):
        model = _boosting(leaves, trees, seed=seed).fit(raw, churned)
    # The number of cores is no part of the model: it would change the content hash.
    model._bin_mapper.n_threads = 1
    return model


def boosting_log_odds(model: "HistGradientBoostingClassifier", raw: np.ndarray) -> np.ndarray:
    """Give the log odds of a fitted boosting.

    Args:
        model: The fitted model.
        raw: Shape (n, f), features as they are.

    Returns:
        Shape (n,).
    """
    with _cores_for(len(raw)):
        return model.decision_function(raw)


def memorising_boosting(
    raw: np.ndarray, labels: np.ndarray, *, seed: int
) -> "HistGradientBoostingClassifier":
    """Fit boosting with room to remember single customers, for controls that must find nothing.

    Args:
        raw: Shape (n, f), features as they are.
        labels: Shape (n,), 0 or 1, both present.
        seed: Seed of the binning.

    Returns:
        The fitted model.
    """
    with _cores_for(len(raw)):
        return _boosting(31, 50, seed=seed).set_params(min_samples_leaf=20).fit(raw, labels)


@contextmanager
def _cores_for(rows: int) -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1 if rows < ROWS_FOR_MORE_CORES else None, user_api="openmp"):
        yield


def _boosting_size(
    raw: np.ndarray, churned: np.ndarray, *, stop: np.ndarray, seed: int
) -> tuple[int, int]:
    if any(np.unique(churned[rows]).size < 2 for rows in (stop, ~stop)):
        return LEAVES[0], MOST_TREES // 3
    sizes = []
    for leaves in LEAVES:
        model = _boosting(leaves, MOST_TREES, seed=seed).set_params(
            early_stopping=True, n_iter_no_change=PATIENCE
        )
        with _cores_for(len(raw)):
            model.fit(raw[~stop], churned[~stop], X_val=raw[stop], y_val=churned[stop])
        losses = -np.asarray(model.validation_score_)
        sizes.append((float(losses.min()), leaves, max(1, int(losses.argmin()))))
    _, leaves, trees = min(sizes)
    return leaves, trees


def _boosting(leaves: int, trees: int, *, seed: int) -> "HistGradientBoostingClassifier":
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=LEARNING_RATE,
        max_iter=trees,
        max_leaf_nodes=leaves,
        min_samples_leaf=LEAST_LEAF,
        early_stopping=False,
        random_state=seed,
    )
