"""The rules that learned propensity must beat: what everybody buys, and what the customer always bought.

Both are rates already. Classifiers come from `ml.classifiers`; calibration, files and who may be learnt from belong to
`models`.
"""

import numpy as np
import polars as pl


def popularity_score(pairs: pl.DataFrame) -> np.ndarray:
    """The naive rule: as many customers will buy the target as did in the horizon before.

    Args:
        pairs: Rows as `pairs.describe_pairs` gives them, n of them.

    Returns:
        Shape (n,), in [0, 1]; the same for all customers.
    """
    return _rate(pairs["target_rate"])


def habit_score(pairs: pl.DataFrame) -> np.ndarray:
    """The personal rule: the customer's own share of the target times the customer's own pace.

    Args:
        pairs: Rows as `pairs.describe_pairs` gives them, n of them.

    Returns:
        Shape (n,), in [0, 1].
    """
    return _rate(pairs["habit_rate"])


def _rate(values: pl.Series) -> np.ndarray:
    return np.clip(values.cast(pl.Float64).fill_null(0.0).to_numpy(), 0.0, 1.0)
