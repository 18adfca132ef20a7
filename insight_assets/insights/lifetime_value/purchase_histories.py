"""What the purchase models see of customers: repeat purchases, time of the last one, time observed.

Counted from the first purchase, in one unit of time throughout. Likelihoods belong to the models.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PurchaseHistories:
    """What the model sees of customers; arrays of equal shape (n,).

    Attributes:
        repeats: number of repeat purchases x, at least 0.
        last: time of the last purchase t_x after the first, 0 when there was no repeat.
        age: time observed T since the first purchase, at least `last`.
    """

    repeats: np.ndarray
    last: np.ndarray
    age: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: arrays of unequal length, or a history that cannot be.
        """
        for name in ("repeats", "last", "age"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if not self.repeats.shape == self.last.shape == self.age.shape:
            message = "repeats, last and age must have equal shapes"
            raise ValueError(message)
        possible = (self.repeats >= 0) & (self.last >= 0) & (self.last <= self.age)
        if not possible.all():
            worst = int(np.flatnonzero(~possible)[0])
            message = (
                f"impossible purchase history at position {worst}: repeats {self.repeats[worst]}, "
                f"last {self.last[worst]}, age {self.age[worst]}; expected 0 <= last <= age"
            )
            raise ValueError(message)


def distinct_states(histories: PurchaseHistories) -> tuple[np.ndarray, np.ndarray]:
    """Put equal customers together, so that a likelihood is worked out once for each state.

    Returns:
        Distinct states (repeats, last, age), ascending, shape (m, 3), and how many customers are in each, shape (m,).
    """
    states = np.column_stack([histories.repeats, histories.last, histories.age])
    if not len(states):
        return states.reshape(0, 3), np.zeros(0)
    order = np.lexsort(states.T[::-1])
    states = states[order]
    first = np.ones(len(states), dtype=bool)
    first[1:] = (states[1:] != states[:-1]).any(axis=1)
    counts = np.diff(np.append(np.flatnonzero(first), len(states)))
    return states[first], counts.astype(np.float64)
