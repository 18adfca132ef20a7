"""Why a score is what it is: the features that moved it most, in words, whatever model made it.

Features that tell the same story (strongly correlated ones, such as one count over two windows) are
moved together and named by the one that follows the score best, so that three drivers are three
stories. For a linear model the parts are exact: coefficients times distances from the
mean. For every other one, a blend as a whole included, a part is what the log odds lose when
the features are set to the medians of all scored rows and the others left as they are
(occlusion). Drivers are reasons of the score, not causes of what it foretells. What a task's features are called
is told by the task.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from insight_assets.ml.tabular import FeatureMatrix

DRIVERS = ("driver_1", "driver_2", "driver_3")
DRIVERS_ZH = tuple(f"{name}_zh" for name in DRIVERS)

SAMPLE_ROWS = 1_000
CANDIDATES = 16
"""Stories that are tried on every row: those that move a sample of the scores most."""

SAME_STORY = 0.7
"""Mean absolute correlation from which features tell the same story."""

LEAST_EFFECT = 1e-6
"""Log odds below which nothing was moved."""

UNKNOWN_ZH = "未知"

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Log odds of some rows, given their row numbers and their columns."""

Effects = dict[str, np.ndarray]
"""Effect on the log odds per story, each of shape (n,); a story is named by a feature."""


@dataclass(frozen=True)
class Wording:
    """How effects are said.

    Attributes:
        feature_zh: Gives the Chinese name of a feature.
        raises_zh: What is said in Chinese of an effect that raises the score.
        lowers_zh: What is said of one that lowers it.
        without_value: Stories that are no feature, to their Chinese names.
        values_zh: Values that are words, to their Chinese names; others are said as they are.
    """

    feature_zh: Callable[[str], str]
    raises_zh: str
    lowers_zh: str
    without_value: Mapping[str, str] = field(default_factory=dict)
    values_zh: Mapping[str, str] = field(default_factory=dict)


def name_drivers(effects: Effects, features: pl.DataFrame, wording: Wording) -> pl.DataFrame:
    """Name the stories that moved each score most.

    Args:
        effects: At least one story.
        features: The scored rows, n of them, with the features that stories are named by.
        wording: How effects are said.

    Returns:
        Columns `driver_1` to `driver_3`, n rows in the order of `features`, such as
        "days since last order 63 (raises)", and `driver_1_zh` to `driver_3_zh` with the same in
        Chinese; null where nothing more moved the score.
    """
    moved = np.column_stack(list(effects.values()))
    order = np.argsort(-np.abs(moved), axis=1, kind="stable")[:, : len(DRIVERS)]
    texts = features.select(_text(features, name, wording).alias(name) for name in effects)
    texts_zh = features.select(_text_zh(features, name, wording).alias(name) for name in effects)
    columns = {name: [None] * features.height for name in (*DRIVERS, *DRIVERS_ZH)}
    for place in range(order.shape[1]):
        effect = np.take_along_axis(moved, order, axis=1)[:, place]
        columns[DRIVERS[place]] = _words(texts, order[:, place], effect, "{} (raises)", "{} (lowers)")
        columns[DRIVERS_ZH[place]] = _words(
            texts_zh, order[:, place], effect, f"{{}}（{wording.raises_zh}）", f"{{}}（{wording.lowers_zh}）"
        )
    return pl.DataFrame(columns, schema=dict.fromkeys((*DRIVERS, *DRIVERS_ZH), pl.String))


def linear_effects(
    matrix: FeatureMatrix, scaled: np.ndarray, coefficients: np.ndarray, stories: Mapping[str, Sequence[str]]
) -> Effects:
    """Give the exact parts of a linear model's log odds by story.

    Args:
        matrix: How features became columns.
        scaled: Shape (n, g).
        coefficients: Shape (g,).
        stories: As `tell_stories` gives them.
    """
    parts = scaled * coefficients
    return {name: parts[:, _scaled_columns(matrix, told)].sum(axis=1) for name, told in stories.items()}


def columns_of_stories(matrix: FeatureMatrix, stories: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Give the columns of the raw matrix that each story is told by."""
    return {name: [at for feature in told for at in matrix.columns_of(feature)] for name, told in stories.items()}


def tell_stories(
    matrix: FeatureMatrix, scaled: np.ndarray, log_odds: np.ndarray, *, terse: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Group features that tell the same story, each under the one that follows the score best.

    Args:
        matrix: How features became columns.
        scaled: Shape (n, g).
        log_odds: Shape (n,), of the same rows.
        terse: Features that never name a story they share.
    """
    rows = slice(None, None, max(1, len(scaled) // SAMPLE_ROWS))
    first = [matrix.columns_of(name)[0] for name in matrix.features]
    unit = _standardised(scaled[rows, first])
    story = _groups(np.abs(unit.T @ unit))
    follows = np.abs(unit.T @ _standardised(log_odds[rows, None]))[:, 0].round(6)
    follows[np.isin(matrix.features, terse)] -= 1
    stories = {}
    for number in np.unique(story):
        members = np.flatnonzero(story == number)
        head = members[np.argmax(follows[members])]
        stories[matrix.features[head]] = [matrix.features[at] for at in members]
    return stories


def occluded(score: Score, values: np.ndarray, columns: Mapping[str, Sequence[int]]) -> Effects:
    """Give what the log odds lose when the columns of one story after another are set to medians.

    Args:
        score: Gives the log odds.
        values: Shape (n, f), n > 0.
        columns: Story to its columns.

    Returns:
        Effects of the stories that move a sample of the scores most.
    """
    typical = _medians(values)
    every = np.arange(len(values))
    sample = every[:: max(1, len(every) // SAMPLE_ROWS)]
    on_sample = _losses(score, values, sample, columns, typical)
    strength = {name: float(np.abs(effect).mean()) for name, effect in on_sample.items()}
    tried = sorted(columns, key=lambda name: -strength[name])[:CANDIDATES]
    return _losses(score, values, every, {name: columns[name] for name in tried}, typical)


def _standardised(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1, so that their products are correlations; constant ones 0."""
    centred = columns - columns.mean(axis=0)
    lengths = np.sqrt(np.square(centred).sum(axis=0))
    return centred / np.where(lengths > 1e-12, lengths, np.inf)


def _groups(correlation: np.ndarray) -> np.ndarray:
    """Number of the group of each feature: average linkage of absolute correlations.

    Single linkage would chain recency, frequency and money into one story of everything.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    apart = 1 - np.clip(correlation[np.triu_indices(len(correlation), k=1)], 0, 1)
    if apart.size == 0:
        return np.zeros(len(correlation), dtype=np.int64)
    return fcluster(linkage(apart, method="average"), t=1 - SAME_STORY, criterion="distance")


def _losses(
    score: Score,
    values: np.ndarray,
    rows: np.ndarray,
    columns: Mapping[str, Sequence[int]],
    typical: np.ndarray,
) -> Effects:
    changed = values[rows].copy()
    before = score(rows, changed)
    effects = {}
    for name, own in columns.items():
        changed[:, own] = typical[own]
        effects[name] = before - score(rows, changed)
        changed[:, own] = values[np.ix_(rows, own)]
    return effects


def _scaled_columns(matrix: FeatureMatrix, names: Sequence[str]) -> list[int]:
    """Columns of the scaled matrix that speak for features, their missing values included."""
    own = [at for name in names for at in matrix.columns_of(name)]
    gaps = [matrix.width + place for place, at in enumerate(matrix.with_gaps) if at in own]
    return [*own, *gaps]


def _medians(values: np.ndarray) -> np.ndarray:
    """Medians of the present values; NaN where most are missing, as that is what is typical."""
    mostly_missing = np.isnan(values).mean(axis=0) > 0.5
    medians = np.full(values.shape[1], np.nan)
    medians[~mostly_missing] = np.nanmedian(values[:, ~mostly_missing], axis=0)
    return medians


def _words(
    texts: pl.DataFrame, chosen: np.ndarray, effect: np.ndarray, raises: str, lowers: str
) -> pl.Series:
    """For each row the text of its chosen column, and whether its effect raises or lowers the score."""
    rows = texts.with_columns(chosen=pl.Series(chosen), effect=pl.Series(effect))
    text = pl.coalesce(
        pl.when(pl.col("chosen") == place).then(pl.col(name))
        for place, name in enumerate(texts.columns)
    )
    told = pl.when(pl.col("effect") > 0).then(pl.format(raises, text)).otherwise(pl.format(lowers, text))
    worth_telling = pl.col("effect").abs() >= LEAST_EFFECT
    return rows.select(pl.when(worth_telling).then(told).alias("words"))["words"]


def _text(features: pl.DataFrame, name: str, wording: Wording) -> pl.Expr:
    """A feature in words: its name and value."""
    words = name.replace("_", " ")
    if name in wording.without_value:
        return pl.repeat(words, pl.len())
    return pl.format("{} {}", pl.lit(words), _shown(features, name).fill_null("unknown"))


def _text_zh(features: pl.DataFrame, name: str, wording: Wording) -> pl.Expr:
    """The same in Chinese."""
    if name in wording.without_value:
        return pl.repeat(wording.without_value[name], pl.len())
    value = _shown(features, name).replace(dict(wording.values_zh)).fill_null(UNKNOWN_ZH)
    return pl.format("{} {}", pl.lit(wording.feature_zh(name)), value)


def _shown(features: pl.DataFrame, name: str) -> pl.Expr:
    """A value as people read it; null where it is missing."""
    value = pl.col(name)
    if features.schema[name].is_float():
        # Four digits are more than anyone reads; large numbers need no decimals.
        value = pl.when(value.abs() >= 100).then(value.round(0)).otherwise(value.round(2))
        return value.cast(pl.String).str.replace(r"\.0$", "")
    return value.cast(pl.String)
