"""What is unusual about a published partition, against what was learned from the accepted days before it.

Pure functions over `partition_profiles`. How a verdict is shown is in `suites` and `checks`; what is measured is in
`partition_profiles`.

The rule. Each figure is brought to a scale on which its noise is even: counts, distinct counts and medians to the
logarithm, shares to the angle asin(sqrt(p)), whose binomial error is 1 / (2 sqrt(n)) whatever p (Freeman and Tukey
1950). On that scale a day is expected at the median of the accepted days of the last four weeks, plus the median
offset of its weekday, shrunk by e^2 / (e^2 + s^2/m) (empirical Bayes; m days of that weekday). Around it lies the
prediction interval of one more day, half as wide as t(1 - alpha/2M) * s * sqrt(1 + 1/n + w/m): Student's t with
Bonferroni's correction for the M figures of the table, so that a clean day alarms with probability `ALPHA` however
many figures there are. The spread s is (P90 - P10) / 2.563 of what the weekday leaves, which one strange day in ten
does not move, and never below the error of counting. A band is never narrower than `NARROWEST`: smaller changes are of
no interest even where they are certain.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.monitoring.partition_profiles import DAY, FEWEST_ROWS, is_enumerated

Severity = Literal["WARN", "ERROR"]
Scale = Literal["log", "angle", "hours"]

WINDOW_DAYS = 28
FEWEST_DAYS = 14
LOOKBACK_DAYS = 2 * WINDOW_DAYS
"""Days before a judged day that a verdict may depend on: its window, and the window of each day in it."""
ALPHA = 0.0005
"""Wanted probability that a clean day of a table raises an alarm."""
FAR = 2.0
"""Half-widths from the expected value from which a finding is an ERROR; below it is a WARN."""
SCALES: Mapping[str, Scale] = {
    "rows": "log", "distinct": "log", "median": "log",
    "null_share": "angle", "zero_share": "angle", "share": "angle", "repeated_share": "angle",
    "quarantined_share": "angle", "busiest_hour_share": "angle", "last_hour": "hours",
}
"""Figures that are judged. The others, e.g. high quantiles that jump in small shops, are for people to look at."""
NARROWEST: Mapping[str, tuple[float, float]] = {
    "rows": (math.log(1.5), math.log(2.5)), "distinct": (math.log(1.5), math.log(2.5)),
    "median": (math.log(2), math.log(2)),
    "null_share": (0.6, 0.06), "zero_share": (0.25, 0.25), "share": (0.06, 0.3),
    "repeated_share": (0.06, 0.06), "quarantined_share": (0.06, 0.06), "busiest_hour_share": (0.25, 0.25),
    "last_hour": (5.0, 5.0),
}
"""Smallest fall and rise of interest, on the figure's scale.

Campaigns bring more people, more sales and new kinds of events; faults take away, leave empty and repeat. So a rise of
rows and of shares must be large to be told, a fall need not be.
"""
LEAST_OPEN_SHARE = 0.06
"""Share that an item of an open column, e.g. a product category, must have or have had to be judged."""

_TEN_NINETY = 2.563  # P90 - P10 of a normal distribution, in standard deviations
_MAD = 1.4826  # standard deviations in a median absolute deviation of a normal distribution
_WEEK = 7


@dataclass(frozen=True)
class Figure:
    """Which figure of a table: `null_share` of `price`, `share` of `channel` `app`."""

    metric: str
    column: str
    item: str

    @property
    def name(self) -> str:
        """Name for people and for the column of a one-row profile."""
        return f"{self.metric}{f' of {self.column}' if self.column else ''}{f' = {self.item}' if self.item else ''}"


@dataclass(frozen=True)
class Band:
    """What a figure is expected to be on one day, in its own unit."""

    figure: Figure
    lower: float
    upper: float
    expected: float
    found: float
    distance: float
    since: date

    @property
    def outside(self) -> bool:
        """Whether the figure lies outside its band."""
        return self.distance > 1

    @property
    def severity(self) -> Severity:
        """How much a figure outside its band matters: by how far outside it lies."""
        return "ERROR" if self.distance >= FAR else "WARN"


@dataclass(frozen=True)
class DayVerdict:
    """What is to be said of one table on one day.

    Attributes:
        table: the table.
        day: the event day.
        history: accepted days that were learned from.
        bands: one for each judged figure; none while too little is known.
    """

    table: str
    day: date
    history: int
    bands: tuple[Band, ...]

    @property
    def learned(self) -> bool:
        """Whether enough accepted days were known to expect anything."""
        return self.history >= FEWEST_DAYS

    @property
    def findings(self) -> tuple[Band, ...]:
        """The figures outside their bands, the farthest first."""
        return tuple(sorted((band for band in self.bands if band.outside), key=lambda band: -band.distance))

    @property
    def severity(self) -> Severity | None:
        """The worst of its findings; None when there are none."""
        found = {band.severity for band in self.findings}
        return "ERROR" if "ERROR" in found else "WARN" if found else None


@dataclass(frozen=True)
class _History:
    """The judged figures of one table, one row a day, on their even scales; NaN where a day has none."""

    table: str
    days: np.ndarray
    figures: tuple[Figure, ...]
    values: np.ndarray
    errors: np.ndarray
    open_items: np.ndarray


def judge_days(
    profiles: pl.DataFrame, table: str, days: Sequence[date], *, relearn_from: date | None = None
) -> list[DayVerdict]:
    """Judge days of one table by the accepted days before each of them.

    A day is accepted when it was published and nothing about it was an ERROR, judged by all published days before it
    and their median absolute deviation. A change that stays is hence alarmed about for two weeks, or until it is
    said with `relearn_from` that it is meant.

    Args:
        profiles: rows of `partition_profiles`; those of `LOOKBACK_DAYS` before the first day are needed.
        table: the table to judge.
        days: days to judge; days without a profile are left out.
        relearn_from: earliest day to learn from, after a change that is meant to stay.

    Returns:
        One verdict a day, in order.
    """
    history = _read_history(profiles.filter(pl.col("table_name") == table), table)
    numbers = {int(day): row for row, day in enumerate(history.days)}
    wanted = [numbers[_ordinal(day)] for day in sorted(set(days)) if _ordinal(day) in numbers]
    if not wanted:
        return []
    floor = _ordinal(relearn_from) if relearn_from else 0
    published = history.days >= floor
    first = history.days[wanted[0]] - WINDOW_DAYS
    distances = {
        row: _expect(history, row, published, _central_spread)[3]
        for row in range(len(history.days))
        if history.days[row] >= first
    }
    accepted = published.copy()
    for row, far in distances.items():
        accepted[row] &= not np.any(far >= FAR)
    return [_verdict(history, row, accepted, distances) for row in wanted]


def _verdict(history: _History, row: int, accepted: np.ndarray, distances: Mapping[int, np.ndarray]) -> DayVerdict:
    used, centre, half, distance = _expect(history, row, accepted, _spread)
    bands = []
    for place, figure in enumerate(history.figures):
        if np.isnan(distance[place]):
            continue
        scale = SCALES[figure.metric]
        lower, expected, upper = (
            _unscale(scale, centre[place] + away) for away in (-half[0, place], 0.0, half[1, place])
        )
        start = row
        while start - 1 in distances and distances[start - 1][place] > 1:
            start -= 1
        bands.append(
            Band(
                figure, lower, upper, expected, _unscale(scale, history.values[row, place]), float(distance[place]),
                date.fromordinal(int(history.days[start])),
            )
        )
    return DayVerdict(history.table, date.fromordinal(int(history.days[row])), used, tuple(bands))


def _expect(
    history: _History, row: int, accepted: np.ndarray, spread_of: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Give days learned from, and per figure the centre, half-width and distance in half-widths; NaN where unknown."""
    day = history.days[row]
    inside = accepted & (history.days < day) & (history.days >= day - WINDOW_DAYS)
    past, used = history.values[inside], int(inside.sum())
    unknown = np.full(len(history.figures), np.nan)
    if used < FEWEST_DAYS:
        return used, unknown, unknown, unknown
    known = np.count_nonzero(~np.isnan(past), axis=0)
    centre = _quantile(past, 0.5)
    weekday = (history.days[inside] - day) % _WEEK
    offsets, counts = np.zeros((_WEEK, past.shape[1])), np.zeros((_WEEK, past.shape[1]))
    for which in range(_WEEK):
        same = past[weekday == which]
        counts[which] = np.count_nonzero(~np.isnan(same), axis=0)
        offsets[which] = np.nan_to_num(_quantile(same, 0.5) - centre)
    rough = spread_of(past - centre - offsets[weekday])
    with np.errstate(divide="ignore", invalid="ignore"):
        trust = np.nan_to_num(offsets**2 / (offsets**2 + rough**2 / counts))
        spread = spread_of(past - centre - (trust * offsets)[weekday])
        # Weekday offsets that were believed cost a degree of freedom each.
        freedom = np.maximum(known - 1 - (_WEEK - 1) * trust.mean(axis=0), FEWEST_DAYS / 2)
        spread *= np.sqrt(known / freedom)
        centre = centre + trust[0] * offsets[0]
        usual = _quantile(history.errors[inside], 0.5)
        variance = np.maximum(spread**2, usual) + np.maximum(history.errors[row] - usual, 0)
        more = 1 + 1 / known + np.nan_to_num(trust[0] / counts[0], posinf=0)
        half = np.maximum(_times(freedom) * np.sqrt(variance * more), _narrowest(history.figures))
        away = history.values[row] - centre
        distance = np.where(away < 0, -away / half[0], away / half[1])
    little = np.fmax(history.values[row], centre) < math.asin(math.sqrt(LEAST_OPEN_SHARE))
    distance[(known < FEWEST_DAYS) | (history.open_items & little)] = np.nan
    return used, centre, half, distance


def _times(freedom: np.ndarray) -> np.ndarray:
    """Give Student's t for one of so many figures."""
    from scipy.special import stdtrit

    return stdtrit(freedom, 1 - ALPHA / (2 * len(freedom)))


def _narrowest(figures: Sequence[Figure]) -> np.ndarray:
    return np.array([NARROWEST[figure.metric] for figure in figures]).reshape(-1, 2).T


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """Give a quantile of each column, over its numbers; NumPy's own walks through the columns in Python."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    ordered = np.sort(values, axis=0)
    last = np.maximum(np.count_nonzero(~np.isnan(values), axis=0) - 1, 0)
    place = share * last
    low = np.floor(place).astype(int)
    at = np.arange(values.shape[1])
    below, above = ordered[low, at], ordered[np.minimum(low + 1, last), at]
    return below + (place - low) * (above - below)


def _spread(values: np.ndarray) -> np.ndarray:
    return (_quantile(values, 0.9) - _quantile(values, 0.1)) / _TEN_NINETY


def _central_spread(values: np.ndarray) -> np.ndarray:
    """Give the median absolute deviation, scaled to the normal: two weeks of strange days do not widen it."""
    return _quantile(np.abs(values - _quantile(values, 0.5)), 0.5) * _MAD


def _read_history(profiles: pl.DataFrame, table: str) -> _History:
    judged = profiles.filter(pl.col("metric").is_in(list(SCALES)))
    key = ["metric", "column_name", "item"]
    days = judged[DAY].unique().sort()
    told = judged.select(key).unique().sort(key)
    figures = tuple(Figure(*row) for row in told.iter_rows())
    wide = np.full((len(days), len(figures)), np.nan)
    places = {day: row for row, day in enumerate(days)}
    columns = {(f.metric, f.column, f.item): place for place, f in enumerate(figures)}
    for day, *names, value in judged.select(DAY, *key, "value").iter_rows():
        wide[places[day], columns[tuple(names)]] = value
    _fill_silent(wide, figures)
    rows = wide[:, columns["rows", "", ""]] if len(figures) else np.zeros(len(days))
    few = rows < FEWEST_ROWS
    for place, figure in enumerate(figures):
        if figure.metric != "rows":
            wide[few, place] = np.nan
    counted = np.maximum(rows, 1)
    errors, shares = np.empty_like(wide), wide.copy()
    for place, figure in enumerate(figures):
        scale = SCALES[figure.metric]
        nulls = columns.get(("null_share", figure.column, ""))
        filled = counted if nulls is None else np.maximum(counted * (1 - np.nan_to_num(shares[:, nulls])), 1)
        errors[:, place] = {"log": 1 / filled, "angle": 1 / (4 * counted), "hours": 0 * counted}[scale]
        wide[:, place] = _rescale(scale, wide[:, place])
    open_items = np.array([_is_open(table, figure) for figure in figures], dtype=bool)
    return _History(table, np.array([_ordinal(day) for day in days]), figures, wide, errors, open_items)


def _fill_silent(wide: np.ndarray, figures: Sequence[Figure]) -> None:
    """Let an item be 0 on days on which other items of its column were told."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, figure in enumerate(figures):
        if figure.item:
            groups.setdefault((figure.metric, figure.column), []).append(place)
    for places in groups.values():
        part = wide[:, places]
        told = ~np.isnan(part).all(axis=1)
        part[np.isnan(part) & told[:, None]] = 0.0
        wide[:, places] = part


def _is_open(table: str, figure: Figure) -> bool:
    return figure.metric == "share" and not is_enumerated(contract(table).column(figure.column))


def _rescale(scale: Scale, values: np.ndarray) -> np.ndarray:
    if scale == "angle":
        return np.arcsin(np.sqrt(np.clip(values, 0, 1)))
    return np.sign(values) * np.log1p(np.abs(values)) if scale == "log" else values


def _unscale(scale: Scale, value: float) -> float:
    if scale == "angle":
        return math.sin(min(max(value, 0.0), math.pi / 2)) ** 2
    return math.copysign(math.expm1(abs(value)), value) if scale == "log" else float(value)


def _ordinal(day: date) -> int:
    return day.toordinal()
