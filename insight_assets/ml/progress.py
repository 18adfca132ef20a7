"""How far a training is, told to whoever watches while it goes on. No network belongs here, and no torch."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        passes: Passes over the rows that are made, parts of one included.
        most_passes: Passes after which it ends; rows kept apart may end it earlier.
        loss: Mean loss of the rows learnt from since it was told last.
        rows_per_second: Rows learnt from in a second since then, pauses to look at rows kept apart included.
        seconds_left: Seconds until all passes are made, at the pace so far.
        part: Which of several trainings in a row this is; empty where there is one.
    """

    passes: float
    most_passes: int
    loss: float
    rows_per_second: float
    seconds_left: float
    part: str = ""


Watch = Callable[[Progress], None]
