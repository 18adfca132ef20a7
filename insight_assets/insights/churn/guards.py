"""What must hold before churn models and scores may be published: honest labels, and no feature that tells them.

Guards look at examples and at what training noted down; they decide nothing about how good a method is. Each gives a
verdict with figures that hold no customer.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from insight_assets.ml.metrics import auc
from insight_assets.ml.origins import Origin
from insight_assets.ml.splits import customer_groups

LABELS_OBEY = "the_active_have_not_churned"
WINDOWS_OBSERVED = "label_windows_were_observed"
BASE_RATE = "base_rate_within_its_band"
SOMEONE_TO_LEARN_FROM = "someone_is_labelled"
NO_GIVEAWAY = "no_feature_gives_the_label_away"
NOT_TOO_GOOD = "not_too_good_to_be_learnt"
SHUFFLED = "shuffled_labels_are_not_learnt"

LABEL_GUARDS: Mapping[str, str] = {
    SOMEONE_TO_LEARN_FROM: "Where somebody had bought by a closed origin, there are labels",
    LABELS_OBEY: "Who ordered in the label window has not churned and who did not has, told by the days of the orders",
    WINDOWS_OBSERVED: "All label windows had closed by the as-of day and each of their days is published",
    BASE_RATE: "Neither nearly all nor nearly none of the labels say that somebody churned",
}
MODEL_GUARDS: Mapping[str, str] = {
    NO_GIVEAWAY: "No feature by itself tells the label with an AUC surely above 0.95, by order, gaps or any curve",
    NOT_TOO_GOOD: "No method foretells customers kept apart with an AUC surely above 0.97: a leak is likelier",
    SHUFFLED: "Trained on shuffled labels, AUC on customers kept apart is one half within four standard errors",
}

GIVEAWAY = 0.95
TOO_GOOD = 0.97
BAND = (0.001, 0.999)
"""Shares of churned rows outside which a label partition is likelier broken than a shop is: an empty day labels all.

Shops where next to nobody returns within the horizon exist (an agency of fridges); their share is a few in a hundred.
"""

FEWEST_ROWS = 100
FEWEST_OF_A_CLASS = 10
"""Rows below which a guard on shares or ranks would cry wolf by chance."""

SURE = 1.645
"""Standard errors by which an AUC must pass its bound: one-sided 95 %."""

SHUFFLED_ERRORS = 4.0
CURVE_BINS = 16
CURVE_SALT = 4


@dataclass(frozen=True)
class Verdict:
    """What a guard found.

    Attributes:
        guard: Name of the guard.
        passed: Whether publication may go on.
        figures: Numbers and names for people, without any customer.
    """

    guard: str
    passed: bool
    figures: Mapping[str, Any] = field(default_factory=dict)


def judge_labels(
    examples: pl.DataFrame, *, as_of: date, horizon_days: int, published: Collection[date], buyers: int
) -> list[Verdict]:
    """Hold examples against what labels must obey.

    Args:
        examples: Rows of the contract `churn_examples`; may be empty.
        as_of: As-of day of the examples.
        horizon_days: Length of the label windows.
        published: Days of `customer_days` that are published.
        buyers: Customers who had bought by the newest closed origin; 0 when there is no such origin.

    Returns:
        A verdict for each of `LABEL_GUARDS`.
    """
    verdicts = [
        Verdict(SOMEONE_TO_LEARN_FROM, bool(examples.height or not buyers), {"rows": examples.height, "buyers": buyers})
    ]
    if examples.is_empty():
        return [*verdicts, *(Verdict(guard, passed=True) for guard in LABEL_GUARDS if guard != SOMEONE_TO_LEARN_FROM)]
    wrong = examples.filter(
        (pl.col("return_days").is_null() != pl.col("churned")) | (pl.col("return_days") > pl.col("horizon_days"))
    ).height
    origins = [Origin(day, horizon_days) for day in examples["origin"].unique().sort()]
    still_open = [origin for origin in origins if not origin.is_closed_by(as_of)]
    other = examples.filter(pl.col("horizon_days") != horizon_days).height
    unseen = sorted({day for origin in origins for day in origin.unseen(published)})
    rate = float(examples["churned"].mean())
    observed: dict[str, Any] = {
        "origins": len(origins), "days_not_published": len(unseen), "still_open": len(still_open)
    }  # fmt: skip
    if unseen:
        observed["first_day_not_published"] = str(unseen[0])
    return [
        *verdicts,
        Verdict(LABELS_OBEY, wrong == 0, {"rows": examples.height, "rows_with_a_wrong_label": wrong}),
        Verdict(WINDOWS_OBSERVED, not (still_open or unseen or other), observed),
        Verdict(
            BASE_RATE,
            examples.height < FEWEST_ROWS or BAND[0] <= rate <= BAND[1],
            {"rows": examples.height, "churn_rate": round(rate, 6), "band": f"{BAND[0]} to {BAND[1]}"},
        ),
    ]


def judge_training(config: Mapping[str, Any]) -> list[Verdict]:
    """Hold what training noted down against what no honest training shows.

    Args:
        config: The config of `ChurnModels`.

    Returns:
        A verdict for each of `MODEL_GUARDS`; all passed where the rule alone was kept.
    """
    alarms, control = config.get("feature_alarms", []), config.get("shuffled_labels") or {}
    apart = next((count for count in config["examples"] if count["role"] == "calibrate"), None)
    reached = {name: value for name, value in config.get("kept_apart", {}).items() if value is not None}
    best = max(reached, key=lambda name: reached[name], default=None)
    surely = False
    if best is not None and apart is not None:
        churned = round(apart["rows"] * apart["churned"])
        surely = _surely_above(reached[best], TOO_GOOD, churned, apart["rows"] - churned)
    named = ", ".join(f"{each['feature']} ({each['auc']})" for each in alarms)
    return [
        Verdict(NO_GIVEAWAY, not alarms, {"features": named or "none"}),
        Verdict(NOT_TOO_GOOD, not surely, {"method": best or "none", "auc": reached.get(best or "", 0.5)}),
        Verdict(SHUFFLED, _at_half(control), {name: value for name, value in control.items() if value is not None}),
    ]


def feature_alarms(examples: pl.DataFrame, names: Collection[str]) -> list[dict[str, Any]]:
    """Name the features that tell the label by themselves.

    A leak shows in the order of the values, in where they are missing, or in a curve that no order follows, such as a
    text or a number that stands for an outcome. The curve is learnt on one half of the customers and asked of the
    other.

    Args:
        examples: Rows of the contract `churn_examples`.
        names: Features to look at.

    Returns:
        One entry a feature with its AUC, the worst first; none when there are too few rows to tell.
    """
    churned = examples["churned"].cast(pl.Float64).to_numpy()
    ones = int(churned.sum())
    if examples.height < FEWEST_ROWS or min(ones, examples.height - ones) < FEWEST_OF_A_CLASS:
        return []
    half = customer_groups(examples["customer_key"].to_numpy(), 2, salt=CURVE_SALT) == 0
    found = []
    for name in names:
        reached, told, untold = _best_order(examples[name], churned), ones, len(churned) - ones
        if not _surely_above(reached, GIVEAWAY, told, untold):
            told = int(churned[~half].sum())
            untold = int((~half).sum()) - told
            reached = _curve(examples[name], churned, learnt=half)
        if _surely_above(reached, GIVEAWAY, told, untold):
            found.append({"feature": name, "auc": round(reached, 4)})
    return sorted(found, key=lambda each: (-each["auc"], each["feature"]))


def _best_order(values: pl.Series, churned: np.ndarray) -> float:
    """AUC of the values in either direction, with gaps before or behind all of them."""
    if values.dtype == pl.String:
        return 0.5
    numbers = values.cast(pl.Float64).to_numpy()
    missing = np.isnan(numbers)
    if missing.all():
        return 0.5
    reached = []
    for edge in (numbers[~missing].min() - 1, numbers[~missing].max() + 1):
        one = auc(churned, np.where(missing, edge, numbers))
        reached += [one, 1 - one]
        if not missing.any():
            break
    return max(reached)


def _curve(values: pl.Series, churned: np.ndarray, *, learnt: np.ndarray) -> float:
    """AUC on other customers of the churn rate of rows with like values."""
    if values.dtype == pl.String:
        codes = np.unique(values.fill_null("").to_numpy().astype(str), return_inverse=True)[1]
    else:
        numbers = values.cast(pl.Float64).to_numpy()
        known = np.sort(numbers[learnt & ~np.isnan(numbers)])
        if known.size == 0:
            return 0.5
        # Values that many rows share have a bin of their own; the others are cut by their ranks.
        edges = np.unique(known[np.linspace(0, known.size - 1, CURVE_BINS).astype(np.int64)])
        below, upto = np.searchsorted(edges, numbers, side="left"), np.searchsorted(edges, numbers, side="right")
        codes = np.where(np.isnan(numbers), 2 * edges.size + 1, below + upto)
    size = int(codes.max()) + 1
    rows = np.bincount(codes[learnt], minlength=size)
    hits = np.bincount(codes[learnt], weights=churned[learnt], minlength=size)
    rate = (hits + churned.mean()) / (rows + 1)
    reached = auc(churned[~learnt], rate[codes[~learnt]])
    return reached if np.isfinite(reached) else 0.5


def _surely_above(reached: float, bound: float, ones: int, zeros: int) -> bool:
    """Whether an AUC passes a bound by more than chance (Hanley and McNeil, 1982); never with few of a class."""
    if not reached > bound or min(ones, zeros) < FEWEST_OF_A_CLASS:
        return False
    # The error at the bound itself: at an AUC of 1 it would be 0, however few the rows.
    first, second = bound / (2 - bound), 2 * bound**2 / (1 + bound)
    variance = bound * (1 - bound) + (ones - 1) * (first - bound**2) + (zeros - 1) * (second - bound**2)
    return reached > min(0.999, bound + SURE * np.sqrt(variance / (ones * zeros)))


def _at_half(control: Mapping[str, float | None]) -> bool:
    if control.get("auc") is None:
        return True
    return abs(control["auc"] - 0.5) <= SHUFFLED_ERRORS * control["standard_error"]
