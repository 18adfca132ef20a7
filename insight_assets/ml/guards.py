"""What must hold before models of a yes or no may be published: observed windows, and no feature that tells the label.

Guards look at examples and at what training noted down; they decide nothing about how good a method is. Each gives a
verdict with figures that hold no customer. What else labels of a task must obey belongs to the task.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from insight_assets.ml.classifiers import memorising_boosting
from insight_assets.ml.metrics import auc
from insight_assets.ml.origins import Origin
from insight_assets.ml.splits import customer_groups, mixed_keys

WINDOWS_OBSERVED = "label_windows_were_observed"
BASE_RATE = "base_rate_within_its_band"
NO_GIVEAWAY = "no_feature_gives_the_label_away"
NOT_TOO_GOOD = "not_too_good_to_be_learnt"
SHUFFLED = "shuffled_labels_are_not_learnt"

MODEL_GUARDS: Mapping[str, str] = {
    NO_GIVEAWAY: "No feature by itself tells the label with an AUC surely above 0.95, by order, gaps or any curve",
    NOT_TOO_GOOD: "No method foretells customers kept apart with an AUC surely above 0.97: a leak is likelier",
    SHUFFLED: "Trained on shuffled labels, AUC on customers kept apart is one half within four standard errors",
}

GIVEAWAY = 0.95
TOO_GOOD = 0.97
BAND = (0.001, 0.999)
"""Shares of rows with the label outside which a label partition is likelier broken than a shop is: an empty day labels all.

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
CONTROL_SALT = 3


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


def judge_windows(
    origins: Sequence[Origin], *, as_of: date, published: Collection[date], strange_rows: int = 0
) -> Verdict:
    """Say whether all label windows had closed by a day and were observed on each of their days.

    Args:
        origins: Origins of the examples.
        as_of: As-of day of the examples.
        published: Days of the table that labels come from which are published.
        strange_rows: Rows with another horizon than was asked for.
    """
    still_open = [origin for origin in origins if not origin.is_closed_by(as_of)]
    unseen = sorted({day for origin in origins for day in origin.unseen(published)})
    observed: dict[str, Any] = {
        "origins": len(origins), "days_not_published": len(unseen), "still_open": len(still_open)
    }  # fmt: skip
    if unseen:
        observed["first_day_not_published"] = str(unseen[0])
    return Verdict(WINDOWS_OBSERVED, not (still_open or unseen or strange_rows), observed)


def judge_base_rate(rows: int, rate: float, *, named: str) -> Verdict:
    """Say whether neither nearly all nor nearly none of the rows have the label.

    Args:
        rows: Number of rows.
        rate: Share of them with the label.
        named: What the rate is called.
    """
    passed = rows < FEWEST_ROWS or BAND[0] <= rate <= BAND[1]
    return Verdict(BASE_RATE, passed, {"rows": rows, named: round(rate, 6), "band": f"{BAND[0]} to {BAND[1]}"})


def judge_learning(
    alarms: Sequence[Mapping[str, Any]],
    control: Mapping[str, float | None],
    reached: Mapping[str, float | None],
    *,
    apart: tuple[int, int] | None,
) -> list[Verdict]:
    """Hold what training noted down against what no honest training shows.

    Args:
        alarms: As `feature_alarms` gives them.
        control: As `shuffled_control` gives it; empty when nothing was trained.
        reached: AUC of each method on rows kept apart; None where undefined.
        apart: How many of these rows have the label and how many do not; None when nothing was kept apart.

    Returns:
        A verdict for each of `MODEL_GUARDS`; all passed where nothing was trained.
    """
    defined = {name: value for name, value in reached.items() if value is not None}
    best = max(defined, key=lambda name: defined[name], default=None)
    surely = best is not None and apart is not None and _surely_above(defined[best], TOO_GOOD, *apart)
    named = ", ".join(f"{each['feature']} ({each['auc']})" for each in alarms)
    return [
        Verdict(NO_GIVEAWAY, not alarms, {"features": named or "none"}),
        Verdict(NOT_TOO_GOOD, not surely, {"method": best or "none", "auc": defined.get(best or "", 0.5)}),
        Verdict(SHUFFLED, _at_half(control), {name: value for name, value in control.items() if value is not None}),
    ]


def over_models(judged: Mapping[str, Sequence[Verdict]]) -> list[Verdict]:
    """Put the verdicts on several models together.

    Args:
        judged: Name of a model to its verdicts, as `judge_learning` gives them.

    Returns:
        A verdict for each of `MODEL_GUARDS`: passed where it is for every model, with the figures of all by their
        models' names.
    """
    return [
        Verdict(
            guard,
            all(verdict.passed for verdicts in judged.values() for verdict in verdicts if verdict.guard == guard),
            {
                f"{model}_{name}": figure
                for model, verdicts in judged.items()
                for verdict in verdicts
                if verdict.guard == guard
                for name, figure in verdict.figures.items()
            },
        )
        for guard in MODEL_GUARDS
    ]


def shuffled_control(
    keys: np.ndarray, raw: np.ndarray, *, apart: np.ndarray, share: float, seed: int
) -> dict[str, float | None]:
    """Learn labels that mean nothing and see whether the rows kept apart are foretold all the same.

    Every customer gets one random label for all rows. Boosting can then only remember customers,
    and must fail on those it never saw: an AUC away from one half means that customers stand on
    both sides of the split, or that the grading is broken.

    Args:
        keys: Shape (n,), integer key of the customer of each row.
        raw: Shape (n, f), features as they are.
        apart: Shape (n,), True for rows that are not learnt from.
        share: Share of the customers who get the label.
        seed: Seed of the labels.

    Returns:
        `auc` on the rows kept apart and its standard error under chance (`standard_error`), or
        both None when they are undefined. A customer of many rows is one draw of chance: the error counts
        customers, by Kish's effective number.
    """
    label = (mixed_keys(keys, salt=CONTROL_SALT + seed) / np.float64(2**64) < share).astype(np.float64)
    ones, rows = int(label[apart].sum()), int(apart.sum())
    if min(ones, rows - ones) == 0 or np.unique(label[~apart]).size < 2:
        return {"auc": None, "standard_error": None}
    model = memorising_boosting(raw[~apart], label[~apart], seed=seed)
    with_label, without = (_effective(keys[apart & (label == value)]) for value in (1.0, 0.0))
    error = float(np.sqrt((with_label + without + 1) / (12 * with_label * without)))
    foretold = auc(label[apart], model.log_odds(raw[apart], raw[apart]))
    return {"auc": round(foretold, 6), "standard_error": round(error, 6)}


def feature_alarms(
    examples: pl.DataFrame, names: Collection[str], *, label: str, key: str = "customer_key"
) -> list[dict[str, Any]]:
    """Name the features that tell the label by themselves.

    A leak shows in the order of the values, in where they are missing, or in a curve that no order follows, such as a
    text or a number that stands for an outcome. The curve is learnt on one half of the customers and asked of the
    other.

    Args:
        examples: Rows that are learnt from or kept apart.
        names: Features to look at.
        label: Column of the label, true or false.
        key: Column of the customer's key.

    Returns:
        One entry a feature with its AUC, the worst first; none when there are too few rows to tell.
    """
    labelled = examples[label].cast(pl.Float64).to_numpy()
    ones = int(labelled.sum())
    if examples.height < FEWEST_ROWS or min(ones, examples.height - ones) < FEWEST_OF_A_CLASS:
        return []
    half = customer_groups(examples[key].to_numpy(), 2, salt=CURVE_SALT) == 0
    found = []
    for name in names:
        reached, told, untold = _best_order(examples[name], labelled), ones, len(labelled) - ones
        if not _surely_above(reached, GIVEAWAY, told, untold):
            told = int(labelled[~half].sum())
            untold = int((~half).sum()) - told
            reached = _curve(examples[name], labelled, learnt=half)
        if _surely_above(reached, GIVEAWAY, told, untold):
            found.append({"feature": name, "auc": round(reached, 4)})
    return sorted(found, key=lambda each: (-each["auc"], each["feature"]))


def _effective(keys: np.ndarray) -> float:
    """Number of customers of one row each that would tell as much as these (Kish, "Survey sampling", 1965)."""
    counts = np.unique(keys, return_counts=True)[1].astype(np.float64)
    return float(counts.sum() ** 2 / np.square(counts).sum())


def _best_order(values: pl.Series, labelled: np.ndarray) -> float:
    """AUC of the values in either direction, with gaps before or behind all of them."""
    if values.dtype == pl.String:
        return 0.5
    numbers = values.cast(pl.Float64).to_numpy()
    missing = np.isnan(numbers)
    if missing.all():
        return 0.5
    reached = []
    for edge in (numbers[~missing].min() - 1, numbers[~missing].max() + 1):
        one = auc(labelled, np.where(missing, edge, numbers))
        reached += [one, 1 - one]
        if not missing.any():
            break
    return max(reached)


def _curve(values: pl.Series, labelled: np.ndarray, *, learnt: np.ndarray) -> float:
    """AUC on other customers of the rate of the label among rows with like values."""
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
    hits = np.bincount(codes[learnt], weights=labelled[learnt], minlength=size)
    rate = (hits + labelled.mean()) / (rows + 1)
    reached = auc(labelled[~learnt], rate[codes[~learnt]])
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
