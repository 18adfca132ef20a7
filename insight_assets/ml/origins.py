"""Origins: the days at which models are trained and graded, each with the window that its labels come from.

Every task that foretells what happens within a horizon asks this one class which days its labels need, when they are
known, and whether one origin may teach a model that is graded at another. What is labelled belongs to the task.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, order=True)
class Origin:
    """A day with a label window after it.

    Attributes:
        as_of: The day: features know nothing after it.
        horizon_days: Length H of the window (as_of, as_of + H], at least 1.
    """

    as_of: date
    horizon_days: int

    def __post_init__(self) -> None:
        """Refuse a window without days.

        Raises:
            ValueError: If `horizon_days` is below 1.
        """
        if self.horizon_days < 1:
            message = f"a horizon has at least 1 day, not {self.horizon_days}"
            raise ValueError(message)

    @property
    def closes(self) -> date:
        """Last day of the window: its labels are known at the end of this day, and not before."""
        return self.as_of + timedelta(days=self.horizon_days)

    @property
    def window(self) -> tuple[date, ...]:
        """The days of the window, in order."""
        return tuple(self.as_of + timedelta(days=ahead) for ahead in range(1, self.horizon_days + 1))

    def is_closed_by(self, day: date) -> bool:
        """Say whether all labels of the window are known at the end of a day."""
        return self.closes <= day

    def unseen(self, published: Collection[date]) -> tuple[date, ...]:
        """Give the days of the window that are not among the published ones, in order."""
        return tuple(day for day in self.window if day not in set(published))

    def embargo_days(self, graded: "Origin") -> int:
        """Give the days between the end of this window and the window of an origin that a model is graded at.

        Args:
            graded: The origin whose labels grade what was learnt from this one.

        Returns:
            0 when the one window ends where the other begins; negative when they share days, so that what is graded
            was partly learnt.
        """
        return (graded.as_of - self.closes).days

    def may_teach(self, graded: "Origin") -> bool:
        """Say whether a model graded at an origin may have learnt from this one: their windows share no day."""
        return self.embargo_days(graded) >= 0


def closed_origins(
    as_of: date,
    *,
    horizon_days: int,
    spacing_days: int,
    first_day: date,
    min_history_days: int,
    max_origins: int = 4,
) -> list[Origin]:
    """List the origins that can be learnt from as of a day.

    Args:
        as_of: As-of day T.
        horizon_days: Length H of the label window (O, O + H].
        spacing_days: Days between two origins, at least 1.
        first_day: First day with data.
        min_history_days: Days of data that an origin needs, counting itself.
        max_origins: Most origins listed.

    Returns:
        Origins T - H, T - H - spacing, ..., newest first: each has its horizon closed at T and
        enough history. Empty while the history is too short.
    """
    origins = []
    origin = Origin(as_of - timedelta(days=horizon_days), horizon_days)
    while len(origins) < max_origins and (origin.as_of - first_day).days + 1 >= min_history_days:
        origins.append(origin)
        origin = Origin(origin.as_of - timedelta(days=spacing_days), horizon_days)
    return origins
