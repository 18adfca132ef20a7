"""Measures of propensity that are means over customers, so that the referee can draw customers and not pairs.

A pair is no independent case: a customer who buys nothing buys none of fifty targets. So each measure is cut up into
one number a customer whose mean is the measure, and intervals come from drawing customers.
"""

import numpy as np

from insight_assets.ml.metrics import auc, average_ranks

FEWEST_OF_A_CLASS = 5
"""Buyers, and customers who did not buy, below which the order of a target's customers says nothing."""


def customer_aucs(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Cut the mean over targets of the AUC within a target up into one number a customer.

    The AUC of a target is the mean over its buyers of the share of the others whom they outrank, and the mean over the
    others of the share of buyers above them (DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more
    correlated receiver operating characteristic curves", 1988). What a customer adds beyond the mean, once for each
    target, is added to the mean: the variance of these numbers is DeLong's, with targets of one customer kept together.

    Args:
        truth: Shape (n, k), whether each of n customers bought each of k targets.
        score: Shape (n, k), higher is likelier.

    Returns:
        Shape (n,); its mean is the mean AUC over the targets with enough buyers and others. NaN where there are none.
    """
    bought = np.asarray(truth, dtype=bool)
    customers, values = len(bought), []
    for column, scored in zip(bought.T, np.asarray(score, dtype=np.float64).T, strict=True):
        buyers = int(column.sum())
        others = customers - buyers
        if min(buyers, others) < FEWEST_OF_A_CLASS:
            continue
        within = np.empty(customers)
        within[column], within[~column] = average_ranks(scored[column]), average_ranks(scored[~column])
        # Rank among all less rank among one's like: how many of the others one stands above, ties one half.
        above = average_ranks(scored) - within
        outranked = above[column] / others
        reached = float(outranked.mean())
        value = np.empty(customers)
        value[column] = reached + (outranked - reached) * customers / buyers
        value[~column] = reached + ((1 - above[~column] / buyers) - reached) * customers / others
        values.append(value)
    return np.mean(values, axis=0) if values else np.full(customers, np.nan)


def customer_briers(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Give each customer's mean squared difference between outcome and probability over the targets.

    Args:
        truth: Shape (n, k).
        probability: Shape (n, k).

    Returns:
        Shape (n,).
    """
    return np.square(np.asarray(truth, dtype=np.float64) - probability).mean(axis=1)


def likeliest_bought(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Say of the customers who bought any target whether the likeliest one was among them.

    Args:
        truth: Shape (n, k).
        probability: Shape (n, k); of equal ones the first counts.

    Returns:
        Shape (m,), 0 or 1, of the m customers who bought any, in their order.
    """
    bought = np.asarray(truth, dtype=bool)
    some = bought.any(axis=1)
    first = np.argmax(probability[some], axis=1)
    return bought[some][np.arange(int(some.sum())), first].astype(np.float64)


def mean_auc(truth: np.ndarray, score: np.ndarray, target: np.ndarray) -> float:
    """Mean over targets of the AUC within a target, of pairs in any order.

    Args:
        truth: Shape (n,), 0 or 1.
        score: Shape (n,).
        target: Shape (n,), what each pair's target is.

    Returns:
        A number from 0 to 1; NaN where no target has enough buyers and others.
    """
    reached = []
    for each in np.unique(target):
        rows = target == each
        buyers = int(truth[rows].sum())
        if min(buyers, int(rows.sum()) - buyers) >= FEWEST_OF_A_CLASS:
            reached.append(auc(truth[rows], score[rows]))
    return float(np.mean(reached)) if reached else float("nan")
