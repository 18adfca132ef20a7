"""The naive rule that every churn method must beat: how long ago somebody last bought.

Classical rivals come from `ml.classifiers`; calibration, files and who may be learnt from belong to `models`.
"""

import numpy as np


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
