"""Turns a table of features into matrices: once as they are, once scaled for linear models and nets.

Everything learnt (which columns vary, medians, means, scales, levels) comes from the rows given to
`fit_feature_matrix` and is kept as plain numbers. Which columns are features is the caller's choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

MAX_LEVELS = 24
"""Levels of a text feature that get a column of their own."""

SKEWED_ABOVE = 10.0
"""Columns whose values pass this are counts, days or money with long tails: scaled as logarithms."""


@dataclass(frozen=True)
class FeatureMatrix:
    """How feature columns become the columns of a matrix.

    Attributes:
        numeric: Names of numeric features, in matrix order.
        levels: Text feature to its levels; each level is one 0/1 column after the numeric ones.
        skewed: Per matrix column, whether it is scaled as sign(x) log(1 + |x|).
        medians: Per matrix column, what a missing value becomes, after the logarithm.
        means: Per matrix column, mean after imputation.
        scales: Per matrix column, standard deviation after imputation, 1 where it is 0.
        with_gaps: Matrix columns that were missing in some fitted rows and get a 0/1 column of
            their own; columns that were always missing together share one.
        gap_rates: Share of missing values in each of these.
    """

    numeric: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    skewed: tuple[bool, ...]
    medians: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    with_gaps: tuple[int, ...]
    gap_rates: tuple[float, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that are read, numeric ones first."""
        return (*self.numeric, *self.levels)

    @property
    def width(self) -> int:
        """Number of columns of `raw`."""
        return len(self.numeric) + sum(len(levels) for levels in self.levels.values())

    @property
    def scaled_width(self) -> int:
        """Number of columns of `scaled`."""
        return self.width + len(self.with_gaps)

    def columns_of(self, feature: str) -> list[int]:
        """Columns of `raw` that hold a feature.

        Args:
            feature: Name of a feature.

        Returns:
            Positions: one for a numeric feature, one a level for a text.
        """
        if feature in self.numeric:
            return [self.numeric.index(feature)]
        start = len(self.numeric)
        for name, levels in self.levels.items():
            if name == feature:
                return list(range(start, start + len(levels)))
            start += len(levels)
        raise KeyError(feature)

    def raw(self, features: pl.DataFrame) -> np.ndarray:
        """Give the features as they are.

        Args:
            features: Has at least the columns `self.features`; n rows.

        Returns:
            Float64 of shape (n, width); missing values are NaN, missing texts match no level.
        """
        texts = [
            (pl.col(name).cast(pl.String) == level).fill_null(value=False).cast(pl.Float64)
            .alias(f"{name}={level}")
            for name, levels in self.levels.items()
            for level in levels
        ]  # fmt: skip
        selected = features.select(*(pl.col(self.numeric).cast(pl.Float64),), *texts)
        return np.ascontiguousarray(selected.to_numpy())

    def scale(self, raw: np.ndarray) -> np.ndarray:
        """Scale a matrix for models that need columns of like size and no gaps.

        Args:
            raw: Shape (n, width), as `raw` gives it.

        Returns:
            Float64 of shape (n, scaled_width): mean 0 and deviation 1 on the fitted rows, medians
            in place of missing values, then the columns that say where values were missing.
        """
        skewed = np.asarray(self.skewed, dtype=bool)
        values = np.where(skewed, _logarithm(raw), raw)
        missing = np.isnan(values)
        values = np.where(missing, np.asarray(self.medians), values)
        values = (values - np.asarray(self.means)) / np.asarray(self.scales)
        gaps = missing[:, list(self.with_gaps)] - np.asarray(self.gap_rates)
        return np.hstack([values, gaps])

    def to_json(self) -> dict[str, Any]:
        """Give the matrix recipe as plain JSON values."""
        stored = asdict(self)
        stored["levels"] = [[name, list(levels)] for name, levels in self.levels.items()]
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "FeatureMatrix":
        """Make a matrix recipe from what `to_json` gave.

        Args:
            stored: Plain JSON values.

        Returns:
            An equal recipe.
        """
        fields = {name: tuple(values) for name, values in stored.items() if name != "levels"}
        return cls(**fields, levels={name: tuple(levels) for name, levels in stored["levels"]})


def fit_feature_matrix(features: pl.DataFrame, *, names: Sequence[str]) -> FeatureMatrix:
    """Learn how to turn features into matrices.

    Args:
        features: Rows that may be learnt from, at least one.
        names: Features in order: numbers, booleans or texts. Those that never vary are dropped.

    Returns:
        The recipe.

    Raises:
        ValueError: If there is no row or no feature varies.
    """
    if features.is_empty():
        raise ValueError("feature scaling needs at least one row to learn from")
    varying = [name for name in names if features[name].n_unique() > 1]
    if not varying:
        raise ValueError("no feature varies over the rows to learn from")
    texts = [name for name in varying if features.schema[name] == pl.String]
    numeric = tuple(name for name in varying if name not in texts)
    levels = {name: _levels(features[name]) for name in texts}
    width = len(numeric) + sum(len(kept) for kept in levels.values())
    unscaled = FeatureMatrix(numeric, levels, (), (), (), (), (), ())
    raw = unscaled.raw(features)
    finite = np.where(np.isnan(raw), 0.0, raw)
    skewed = np.abs(finite).max(axis=0) > SKEWED_ABOVE
    values = np.where(skewed, _logarithm(raw), raw)
    missing = np.isnan(values)
    medians = np.array([_median(values[:, column]) for column in range(width)])
    values = np.where(missing, medians, values)
    scales = values.std(axis=0)
    scales[scales < 1e-12] = 1.0
    rates = missing.mean(axis=0)
    gaps = [column for column in range(width) if 0 < rates[column] < 1]
    distinct = {missing[:, column].tobytes(): column for column in reversed(gaps)}
    with_gaps = tuple(sorted(distinct.values()))
    return FeatureMatrix(
        numeric=numeric,
        levels=levels,
        skewed=tuple(bool(flag) for flag in skewed),
        medians=_floats(medians),
        means=_floats(values.mean(axis=0)),
        scales=_floats(scales),
        with_gaps=with_gaps,
        gap_rates=_floats(rates[list(with_gaps)]),
    )


def _levels(texts: pl.Series) -> tuple[str, ...]:
    """The most frequent texts; ties in alphabetical order."""
    counts = (
        texts.drop_nulls()
        .value_counts(name="rows")
        .sort(["rows", texts.name], descending=[True, False])
    )
    return tuple(counts[texts.name].head(MAX_LEVELS))


def _logarithm(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


def _median(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(np.median(present)) if present.size else 0.0


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
