"""The referee: grades rivals and models on one task and origin, and names what may be published.

Every capability hands its methods' predictions for the same customers to `grade_methods` and stores
the returned scorecard. The referee decides by one rule for all of them: a method is published only
if it is surely better than every simpler one. How predictions are made, and which metrics suit a
task, does not belong here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import polars as pl

MetricFunction = Callable[[np.ndarray, np.ndarray], float]
"""A measure of (truth, prediction), both of shape (n,); NaN where it is undefined."""

WeightedMetricFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""A measure of (truth, prediction, weight), all of shape (n,), such as the money that a campaign would reach."""

SCORECARD_SCHEMA = pl.Schema(
    {
        "as_of": pl.Date,
        "task": pl.String,
        "method": pl.String,
        "kind": pl.String,
        "complexity": pl.Int32,
        "metric": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "customers": pl.Int64,
        "is_champion": pl.Boolean,
        "grade": pl.String,
        "model_version": pl.String,
    }
)

CONFIDENCE_TAILS = (2.5, 97.5)
"""Percentiles that bound every interval: 95 % in the middle."""

MOST_RESAMPLED = 20_000
"""Customers that a resample draws from; of more, a fixed part is drawn once for all resamples.

The deviations are then scaled by the square root of the part (subsampling; Politis, Romano and
Wolf, 1999), so that a million customers are graded in seconds instead of an hour.
"""

_DIGITS = 6
"""Stored precision: far finer than any interval, coarse enough to be equal on every machine."""


_Measure = WeightedMetricFunction


@dataclass(frozen=True)
class Method:
    """A way to predict.

    Attributes:
        name: Name in the scorecard and, when it is the champion, in the published scores.
        kind: `rule` for the naive rule that all must beat, `rival` for classical methods, `model`
            for learned deep ones.
        complexity: Order in which methods challenge; 0 is the naive rule.
    """

    name: str
    kind: Literal["rule", "rival", "model"]
    complexity: int


@dataclass(frozen=True)
class _Measured:
    """One method under one metric: the value on all customers and on each resample."""

    value: float
    resampled: np.ndarray


def grade_methods(
    *,
    task: str,
    origin: date,
    methods: Sequence[Method],
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    metrics: Mapping[str, MetricFunction],
    primary: str,
    higher_is_better: Mapping[str, bool],
    resamples: int = 400,
    seed: int,
    model_version: str | None = None,
    weights: np.ndarray | None = None,
    weighted_metrics: Mapping[str, WeightedMetricFunction] | None = None,
) -> pl.DataFrame:
    """Grade methods on the same customers and name the champion.

    Intervals are percentiles of a bootstrap over customers (Efron and Tibshirani, "An introduction
    to the bootstrap", 1993, chapter 13). It is paired: each resample draws the same customers for
    all methods, so that the interval of a gain is not widened by differences between customers.

    Methods challenge in the order of their complexity. A challenger becomes champion only if the
    95 % interval of its gain on the primary metric over the champion so far lies wholly above 0.
    A method's grade compares it with the rule (the first method): `A` when the interval of the gain
    lies wholly above 0, `B` when only the gain itself does, `C` otherwise; the rule is a `C`.

    Args:
        task: Name of the task, e.g. `churn`.
        origin: As-of day of the predictions.
        methods: At least one; the least complex is the rule. Names must differ.
        truth: Shape (n,), n > 0. Rows in a fixed order (ascending customer key), so that the same
            customers always give the same intervals.
        predictions: One array of shape (n,) per method name, in the order of `truth`, finite.
        metrics: Metric functions by name.
        primary: Name of the metric that decides.
        higher_is_better: Direction per metric name.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
        model_version: Version of the graded models; stored with all methods but rules.
        weights: Shape (n,), what each customer weighs in weighted metrics, at least 0; None without any.
        weighted_metrics: Metric functions of truth, prediction and weights, by name; `higher_is_better`
            states their direction too. None of them can be the primary metric.

    Returns:
        One row per method and metric in `SCORECARD_SCHEMA`, ordered by complexity, method, metric.
        `gain` and its interval are stated on rows of the primary metric, against the champion that
        the method challenged; positive is better, whatever the direction of the metric. A value
        that is undefined is null.

    Raises:
        ValueError: If the input is empty, incomplete, of unequal length or not finite.
    """
    ranked = sorted(methods, key=lambda method: method.complexity)
    _refuse_bad_input(ranked, truth, predictions, metrics, primary, higher_is_better)
    measures: dict[str, _Measure] = {name: _unweighted(function) for name, function in metrics.items()}
    if weighted_metrics:
        _refuse_bad_weights(weights, truth, metrics, weighted_metrics, higher_is_better)
        measures |= weighted_metrics
    weighed = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    measured = _measure(ranked, truth, predictions, weighed, measures, resamples=resamples, seed=seed)
    sign = 1.0 if higher_is_better[primary] else -1.0

    rule = champion_method = ranked[0]
    gains: dict[str, tuple[float, float, float]] = {}
    grades = {rule.name: "C"}
    for challenger in ranked[1:]:
        challenged = measured[champion_method.name][primary]
        gain = _gain(measured[challenger.name][primary], challenged, sign)
        gains[challenger.name] = gain
        grades[challenger.name] = _grade(
            _gain(measured[challenger.name][primary], measured[rule.name][primary], sign)
        )
        if gain[1] > 0:
            champion_method = challenger

    undefined = (float("nan"),) * 3
    rows = []
    for method in ranked:
        for metric in sorted(measures):
            result = measured[method.name][metric]
            low, high = _interval(result.resampled)
            gain = gains.get(method.name, undefined) if metric == primary else undefined
            rows.append(
                {
                    "as_of": origin,
                    "task": task,
                    "method": method.name,
                    "kind": method.kind,
                    "complexity": method.complexity,
                    "metric": metric,
                    "value": stored(result.value),
                    "low": stored(low),
                    "high": stored(high),
                    "gain": stored(gain[0]),
                    "gain_low": stored(gain[1]),
                    "gain_high": stored(gain[2]),
                    "customers": len(truth),
                    "is_champion": method is champion_method,
                    "grade": grades[method.name],
                    "model_version": None if method.kind == "rule" else model_version,
                }
            )
    return pl.DataFrame(rows, schema=SCORECARD_SCHEMA)


def champion(scorecard: pl.DataFrame) -> str:
    """Name of the method that the scorecard allows to be published.

    Args:
        scorecard: One scorecard as made by `grade_methods`.

    Returns:
        The method's name.

    Raises:
        ValueError: If the scorecard does not name exactly one champion.
    """
    return _champion_row(scorecard)["method"]


def champion_grade(scorecard: pl.DataFrame) -> str:
    """Grade of the champion against the rule: `A`, `B` or `C`.

    Args:
        scorecard: One scorecard as made by `grade_methods`.

    Returns:
        The grade.

    Raises:
        ValueError: If the scorecard does not name exactly one champion.
    """
    return _champion_row(scorecard)["grade"]


def scorecard_markdown(scorecard: pl.DataFrame, *, graded: str = "customers") -> str:
    """The scorecard as a markdown table: one line per method, one column per metric.

    Args:
        scorecard: One scorecard as made by `grade_methods`; may be empty.
        graded: What was graded, in the plural.

    Returns:
        Markdown; values with their 95 % intervals, the champion in bold.
    """
    if scorecard.is_empty():
        return f"Nothing graded: no {graded.removesuffix('s')} has a closed label window."
    metrics = scorecard["metric"].unique(maintain_order=True).to_list()
    header = ["method", *metrics, "gain over the champion before", "grade"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for (_,), rows in scorecard.group_by(["method"], maintain_order=True):
        by_metric = {row["metric"]: row for row in rows.iter_rows(named=True)}
        first = rows.row(0, named=True)
        name = f"**{first['method']}** (champion)" if first["is_champion"] else first["method"]
        cells = [_cell(by_metric[m], "value", "low", "high") for m in metrics]
        gained = [row for row in by_metric.values() if row["gain"] is not None]
        gain = _cell(gained[0], "gain", "gain_low", "gain_high") if gained else ""
        lines.append("| " + " | ".join([name, *cells, gain, first["grade"]]) + " |")
    first = scorecard.row(0, named=True)
    lines.append("")
    lines.append(f"{first['customers']:,} {graded} as of {first['as_of']}; 95 % intervals.")
    return "\n".join(lines)


def _refuse_bad_input(
    methods: Sequence[Method],
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    metrics: Mapping[str, MetricFunction],
    primary: str,
    higher_is_better: Mapping[str, bool],
) -> None:
    if not methods:
        raise ValueError("grading needs at least one method")
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise ValueError(f"method names must differ, got {names}")
    if len(truth) == 0:
        raise ValueError("grading needs at least one customer")
    if primary not in metrics:
        raise ValueError(f"primary metric {primary!r} is not among {sorted(metrics)}")
    if undirected := sorted(set(metrics) - set(higher_is_better)):
        raise ValueError(f"higher_is_better does not state a direction for {undirected}")
    for name in names:
        if name not in predictions:
            raise ValueError(f"method {name!r} has no predictions")
        if np.shape(predictions[name]) != np.shape(truth):
            raise ValueError(
                f"predictions of {name!r} have shape {np.shape(predictions[name])}, "
                f"truth has {np.shape(truth)}"
            )
        if not np.isfinite(np.asarray(predictions[name], dtype=np.float64)).all():
            raise ValueError(f"predictions of {name!r} are not all finite")


def _refuse_bad_weights(
    weights: np.ndarray | None,
    truth: np.ndarray,
    metrics: Mapping[str, MetricFunction],
    weighted_metrics: Mapping[str, WeightedMetricFunction],
    higher_is_better: Mapping[str, bool],
) -> None:
    if weights is None or np.shape(weights) != np.shape(truth):
        raise ValueError("weighted metrics need one weight a customer")
    if not (np.isfinite(weights).all() and (np.asarray(weights) >= 0).all()):
        raise ValueError("weights are finite and at least 0")
    if twice := sorted(set(metrics) & set(weighted_metrics)):
        raise ValueError(f"metric names must differ, got {twice} twice")
    if undirected := sorted(set(weighted_metrics) - set(higher_is_better)):
        raise ValueError(f"higher_is_better does not state a direction for {undirected}")


def _unweighted(function: MetricFunction) -> _Measure:
    return lambda truth, prediction, _: function(truth, prediction)


def _measure(
    methods: Sequence[Method],
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    weights: np.ndarray,
    measures: Mapping[str, _Measure],
    *,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, _Measured]]:
    resampled = {
        (method.name, metric): np.empty(resamples) for method in methods for metric in measures
    }
    generator = np.random.default_rng(seed)
    part = np.arange(len(truth))
    if len(truth) > MOST_RESAMPLED:
        part = np.sort(generator.choice(len(truth), size=MOST_RESAMPLED, replace=False))
    # Each method's rows in ascending order of its predictions: a resample, told as how often each row is drawn, is then
    # in order as well, and no measure has to sort anything anew. Measures do not depend on the order of the rows.
    ranked = {}
    for method in methods:
        order = part[np.argsort(predictions[method.name][part], kind="stable")]
        place = np.empty(len(truth), dtype=np.int64)
        place[order] = np.arange(len(order))
        ranked[method.name] = (truth[order], predictions[method.name][order], weights[order], place)
    for number in range(resamples):
        drawn = part[generator.integers(0, len(part), size=len(part))]
        for method in methods:
            *columns, place = ranked[method.name]
            times = np.bincount(place[drawn], minlength=len(part))
            drawn_columns = [np.repeat(column, times) for column in columns]
            for metric, function in measures.items():
                resampled[method.name, metric][number] = function(*drawn_columns)
    measured: dict[str, dict[str, _Measured]] = {}
    for method in methods:
        prediction = predictions[method.name]
        measured[method.name] = {}
        for metric, function in measures.items():
            value, values = function(truth, prediction, weights), resampled[method.name, metric]
            if len(part) < len(truth):
                deviation = values - function(truth[part], prediction[part], weights[part])
                values = value + deviation * np.sqrt(len(part) / len(truth))
            measured[method.name][metric] = _Measured(value=value, resampled=values)
    return measured


def _gain(challenger: _Measured, challenged: _Measured, sign: float) -> tuple[float, float, float]:
    difference = sign * (challenger.resampled - challenged.resampled)
    return (sign * (challenger.value - challenged.value), *_interval(difference))


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    """Bounds of the middle 95 %; undefined when more than one resample in ten is undefined."""
    defined = resampled[np.isfinite(resampled)]
    if defined.size == 0 or defined.size < 0.9 * resampled.size:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, CONFIDENCE_TAILS)
    return float(low), float(high)


def _grade(gain: tuple[float, float, float]) -> str:
    if gain[1] > 0:
        return "A"
    return "B" if gain[0] > 0 else "C"


def stored(value: float) -> float | None:
    """Give a figure as tables hold it: rounded, and null where it is undefined."""
    return round(float(value), _DIGITS) if np.isfinite(value) else None


def _champion_row(scorecard: pl.DataFrame) -> dict[str, str]:
    rows = scorecard.filter(pl.col("is_champion")).select("method", "grade").unique()
    if rows.height != 1:
        raise ValueError(f"a scorecard names exactly one champion, this one names {rows.height}")
    return rows.row(0, named=True)


def _cell(row: Mapping[str, float | None], value: str, low: str, high: str) -> str:
    if row[value] is None:
        return "undefined"
    if row[low] is None or row[high] is None:
        return f"{row[value]:.4g}"
    return f"{row[value]:.4g} [{row[low]:.4g}, {row[high]:.4g}]"
