"""Why a customer's churn score is what it is: the features that moved it most, in words.

Features that tell the same story (strongly correlated ones, such as one count over two windows) are
moved together and named by the one that follows the score best, so that three drivers are three
stories. For the logistic regression the parts are exact: coefficients times distances from the
mean. For every other method, the blend as a whole included, a part is what the log odds lose when
the features are set to the medians of all scored customers and the others left as they are
(occlusion). Drivers are reasons of the score, not causes of the churn.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from insight_assets.insights.churn.driver_words import (
    LOWERS_ZH,
    RAISES_ZH,
    RECENT_EVENTS_ZH,
    UNKNOWN_ZH,
    feature_zh,
)
from insight_assets.insights.churn.models import LOGISTIC, RECENCY, ChurnModels
from insight_assets.ml.tabular import FeatureMatrix

DRIVERS = ("driver_1", "driver_2", "driver_3")
DRIVERS_ZH = tuple(f"{name}_zh" for name in DRIVERS)
RECENT_EVENTS = "recent_events"

SAMPLE_ROWS = 1_000
CANDIDATES = 16
"""Stories that are tried on every customer: those that move a sample of the scores most."""

SAME_STORY = 0.7
"""Mean absolute correlation from which features tell the same story."""

TERSE = ("x_repeat_purchases", "t_x_days")
"""Features that never name a story they share: inputs of BG/NBD, said better by the others."""

LEAST_EFFECT = 1e-6
"""Log odds below which nothing was moved."""

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Log odds of some rows, given their row numbers and their columns."""

Effects = dict[str, np.ndarray]
"""Effect on the log odds per story, each of shape (n,); a story is named by a feature."""


def churn_drivers(
    models: ChurnModels, features: pl.DataFrame, sequences: pl.DataFrame, *, method: str
) -> pl.DataFrame:
    """Name the features that moved each customer's score most.

    Args:
        models: The models.
        features: Rows of `customer_features`, n of them, at least one.
        sequences: Rows of `event_sequences` as of the same day.
        method: Name of the published method.

    Returns:
        Columns `driver_1` to `driver_3`, n rows in the order of `features`, such as
        "days since last order 63 (raises)", and `driver_1_zh` to `driver_3_zh` with the same in
        Chinese; null where nothing more moved the score.

    Raises:
        ValueError: If the models do not know the method.
    """
    effects = _effects(models, features, sequences, method)
    moved = np.column_stack(list(effects.values()))
    order = np.argsort(-np.abs(moved), axis=1, kind="stable")[:, : len(DRIVERS)]
    texts = features.select(_text(features, name).alias(name) for name in effects)
    texts_zh = features.select(_text_zh(features, name).alias(name) for name in effects)
    columns = {name: [None] * features.height for name in (*DRIVERS, *DRIVERS_ZH)}
    for place in range(order.shape[1]):
        effect = np.take_along_axis(moved, order, axis=1)[:, place]
        columns[DRIVERS[place]] = _words(texts, order[:, place], effect, "{} (raises)", "{} (lowers)")
        columns[DRIVERS_ZH[place]] = _words(
            texts_zh, order[:, place], effect, f"{{}}（{RAISES_ZH}）", f"{{}}（{LOWERS_ZH}）"
        )
    return pl.DataFrame(columns, schema=dict.fromkeys((*DRIVERS, *DRIVERS_ZH), pl.String))


def _effects(
    models: ChurnModels, features: pl.DataFrame, sequences: pl.DataFrame, method: str
) -> Effects:
    if method == RECENCY.name:
        log_odds = models.recency_log_odds(features)
        return {"days_since_last_order": log_odds - np.median(log_odds)}
    if method not in {known.name for known in models.methods}:
        raise ValueError(f"these models know no churn method {method!r}")
    matrix = models.matrix
    raw = matrix.raw(features)
    scaled = matrix.scale(raw)
    read = models.read_sequences(features, sequences) if models.reads_sequences(method) else None
    log_odds = models.columns_log_odds(method, raw, read)
    stories = _stories(matrix, scaled, log_odds)
    if method == LOGISTIC.name:
        parts = scaled * models.classifiers[method].model.coef_[0]
        return {
            name: parts[:, _scaled_columns(matrix, told)].sum(axis=1)
            for name, told in stories.items()
        }
    columns = {
        name: [at for feature in told for at in matrix.columns_of(feature)]
        for name, told in stories.items()
    }

    def score(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        return models.columns_log_odds(method, values, None if read is None else read[rows])

    effects = _occluded(score, raw, columns)
    if read is not None:
        typical = np.broadcast_to(read.mean(axis=0), read.shape)
        effects[RECENT_EVENTS] = log_odds - models.columns_log_odds(method, raw, typical)
    return effects


def _stories(
    matrix: FeatureMatrix, scaled: np.ndarray, log_odds: np.ndarray
) -> dict[str, list[str]]:
    """Group features that tell the same story, each under the one that follows the score best."""
    rows = slice(None, None, max(1, len(scaled) // SAMPLE_ROWS))
    first = [matrix.columns_of(name)[0] for name in matrix.features]
    unit = _standardised(scaled[rows, first])
    story = _groups(np.abs(unit.T @ unit))
    follows = np.abs(unit.T @ _standardised(log_odds[rows, None]))[:, 0].round(6)
    follows[np.isin(matrix.features, TERSE)] -= 1
    stories = {}
    for number in np.unique(story):
        members = np.flatnonzero(story == number)
        head = members[np.argmax(follows[members])]
        stories[matrix.features[head]] = [matrix.features[at] for at in members]
    return stories


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


def _occluded(score: Score, values: np.ndarray, columns: Mapping[str, Sequence[int]]) -> Effects:
    """What the log odds lose when the columns of one story after another are set to medians."""
    typical = _medians(values)
    every = np.arange(len(values))
    sample = every[:: max(1, len(every) // SAMPLE_ROWS)]
    on_sample = _losses(score, values, sample, columns, typical)
    strength = {name: float(np.abs(effect).mean()) for name, effect in on_sample.items()}
    tried = sorted(columns, key=lambda name: -strength[name])[:CANDIDATES]
    return _losses(score, values, every, {name: columns[name] for name in tried}, typical)


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
    """For each row the text of its chosen column, and whether its effect raises or lowers churn."""
    rows = texts.with_columns(chosen=pl.Series(chosen), effect=pl.Series(effect))
    text = pl.coalesce(
        pl.when(pl.col("chosen") == place).then(pl.col(name))
        for place, name in enumerate(texts.columns)
    )
    told = pl.when(pl.col("effect") > 0).then(pl.format(raises, text)).otherwise(pl.format(lowers, text))
    worth_telling = pl.col("effect").abs() >= LEAST_EFFECT
    return rows.select(pl.when(worth_telling).then(told).alias("words"))["words"]


def _text(features: pl.DataFrame, name: str) -> pl.Expr:
    """A feature in words: its name and value."""
    words = name.replace("_", " ")
    if name == RECENT_EVENTS:
        return pl.lit(words)
    return pl.format("{} {}", pl.lit(words), _shown(features, name).fill_null("unknown"))


def _text_zh(features: pl.DataFrame, name: str) -> pl.Expr:
    """The same in Chinese."""
    if name == RECENT_EVENTS:
        return pl.lit(RECENT_EVENTS_ZH)
    return pl.format("{} {}", pl.lit(feature_zh(name)), _shown(features, name).fill_null(UNKNOWN_ZH))


def _shown(features: pl.DataFrame, name: str) -> pl.Expr:
    """A value as people read it; null where it is missing."""
    value = pl.col(name)
    if features.schema[name].is_float():
        # Four digits are more than anyone reads; large numbers need no decimals.
        value = pl.when(value.abs() >= 100).then(value.round(0)).otherwise(value.round(2))
        return value.cast(pl.String).str.replace(r"\.0$", "")
    return value.cast(pl.String)
