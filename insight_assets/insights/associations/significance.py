"""How far to believe that products stand together: lift with interval, exact tests, control of false discoveries.

Pure numbers over counts of baskets. Which sets are counted is decided in `counting`, which are published in `rules`.
"""

import numpy as np

_Z = 1.959964
"""Normal quantile of a two-sided 95 % interval."""


def chance_p(together: np.ndarray, first: np.ndarray, second: np.ndarray, baskets: np.ndarray | int) -> np.ndarray:
    """Probability of so many baskets with both, or more, if one had nothing to do with the other.

    Fisher's exact test, one-sided: with the number of baskets of each fixed, the number with both is hypergeometric.

    Args:
        together: baskets with both.
        first: baskets with the one.
        second: baskets with the other.
        baskets: all baskets.

    Returns:
        Float64 in [0, 1], of the broadcast shape.
    """
    from scipy.stats import hypergeom

    return np.clip(hypergeom.sf(np.asarray(together) - 1, baskets, first, second), 0.0, 1.0)


def chance_p_by_size(
    together: np.ndarray, first: np.ndarray, second: np.ndarray, baskets: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same question where baskets of different sizes are compared with their like alone.

    Large baskets hold much of everything, so over all baskets almost any two products stand together more often than
    Fisher's test expects: on the baskets of a grocery nine in ten of its findings stay when products are exchanged at
    random between baskets. Here each class of baskets of about one size expects what chance would put into it: who has
    the one product has a place less for the other. The number with both is then a sum of rare and nearly independent
    events, and its tail at most that of the binomial distribution of the same mean over as many events as could have
    happened (Hoeffding, "On the distribution of the number of successes in independent trials", Ann. Math. Stat. 27,
    1956, theorem 5), which needs no class to be large.

    Args:
        together: baskets with both, shape (n,).
        first: baskets of each class with the one, shape (n, classes).
        second: baskets of each class with the other, shape (n, classes).
        baskets: baskets of each class, shape (classes,) or (n, classes).
        places: mean number of products in a basket of each class that may be either, shape (classes,).

    Returns:
        Baskets with both that chance would have given, and the p-value; both float64, shape (n,).
    """
    from scipy.stats import binom

    one, other = first.astype(np.float64), second.astype(np.float64)
    filled = places * baskets
    # The mean of what the one expects of the other, and the other of the one: they differ only where one is frequent.
    shares = 1 / np.maximum(filled - one, 1) + 1 / np.maximum(filled - other, 1)
    most = np.minimum(one, other)
    expected = np.minimum(one * other * np.maximum(places - 1, 0) * shares / 2, most).sum(axis=1)
    events = np.maximum(most.sum(axis=1), 1)
    p_values = binom.sf(np.asarray(together) - 1, events, np.minimum(expected / events, 1.0))
    # The bound holds from one above the mean on.
    return expected, np.where(together >= expected + 1, np.clip(p_values, 0.0, 1.0), 1.0)


def adjusted(p_values: np.ndarray, *, tests: int) -> np.ndarray:
    """Benjamini-Hochberg q-values where only the smaller p-values of a family are known.

    The least share of false discoveries at which each would be reported (Benjamini and Hochberg, "Controlling the
    false discovery rate", JRSS B 57, 1995). Tests that were not carried out count with p = 1, which can only make the
    others' q-values larger.

    Args:
        p_values: shape (n,).
        tests: size of the family, at least n.

    Returns:
        Q-values in the order of `p_values`, in [0, 1].

    Raises:
        ValueError: if there are more p-values than tests.
    """
    if tests < len(p_values):
        message = f"{len(p_values)} p-values are more than the family of {tests} tests"
        raise ValueError(message)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * tests / np.arange(1, len(p_values) + 1)
    smallest_after = np.minimum.accumulate(scaled[::-1])[::-1]
    q_values = np.empty(len(p_values))
    q_values[order] = np.minimum(smallest_after, 1.0)
    return q_values


def lift_interval(
    together: np.ndarray, first: np.ndarray, second: np.ndarray, baskets: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lift, how many times more often than by chance, with its 95 % interval.

    With baskets drawn independently the logarithm of the lift has, by the delta method over the four cells of the
    table, the variance 1/n_ab - 1/n_a - 1/n_b + (2 lift - 1) / n.

    Args:
        together: baskets with both, at least 1.
        first: baskets with the one.
        second: baskets with the other.
        baskets: all baskets.

    Returns:
        The lift, and the lower and upper end of its interval.
    """
    n_ab, n_a, n_b = (np.asarray(counts, dtype=np.float64) for counts in (together, first, second))
    lift = n_ab * baskets / (n_a * n_b)
    variance = 1 / n_ab - 1 / n_a - 1 / n_b + (2 * lift - 1) / baskets
    spread = np.exp(_Z * np.sqrt(np.maximum(variance, 0.0)))
    return lift, lift / spread, lift * spread
