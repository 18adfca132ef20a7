"""Which graded method may speak, and how its scores are put in tenths, for every task that foretells a chance."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.ml.referee import champion, champion_grade

UNGRADED = "ungraded"
DECILES = 10


@dataclass(frozen=True)
class Publication:
    """Which method a scorecard lets be published.

    Attributes:
        method: Name of the method.
        grade: Its grade, or `UNGRADED`.
        origin: Origin of the scorecard; None when ungraded.
    """

    method: str
    grade: str
    origin: date | None


def publishable(scorecard: pl.DataFrame, *, known: Collection[str], rule: str, origin: str = "as_of") -> Publication:
    """Choose the method to publish.

    Args:
        scorecard: Rows of one task at one origin, as made by `grade_methods`; may be empty.
        known: Names of the methods that were trained.
        rule: Name of the naive rule.
        origin: Column of the scorecard that holds its origin.

    Returns:
        The champion; the rule, ungraded, where there is no scorecard or the champion could not be trained.
    """
    if not scorecard.is_empty() and (method := champion(scorecard)) in known:
        return Publication(method, champion_grade(scorecard), scorecard[origin][0])
    return Publication(rule, UNGRADED, None)


def deciles(probability: np.ndarray) -> np.ndarray:
    """Give tenths by rank, 10 the most likely; rows of equal probability by their order.

    Args:
        probability: Shape (n,).

    Returns:
        Shape (n,), from 1 to 10.
    """
    position = np.empty(len(probability), dtype=np.int64)
    position[np.argsort(probability, kind="stable")] = np.arange(len(probability))
    return position * DECILES // max(1, len(probability)) + 1
