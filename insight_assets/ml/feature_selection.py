"""What each feature tells of an outcome, and whether fewer columns would tell as much.

Judges features one by one (how much they vary, which other one says the same, what they tell of the outcome) and
compares ways to have fewer columns. Which rows may be looked at is the caller's choice: whatever is decided here must
never have seen a row that a model is graded on. No model that is published is fitted here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.ml.calibration import logistic
from insight_assets.ml.cores import one_core
from insight_assets.ml.metrics import auc
from insight_assets.ml.referee import SCORECARD_SCHEMA, Method, grade_methods
from insight_assets.ml.splits import customer_groups
from insight_assets.ml.tabular import FeatureMatrix, fit_feature_matrix

TASK = "feature_selection"
KEPT, CONSTANT, REPEATS, SILENT = "kept", "constant", "repeats", "silent"
"""Verdicts: worth its column; never varies; says what another one says; tells nothing of the outcome."""

SAME = 0.98
"""Correlation from which one of two features says what the other says."""

CHANCE = 0.05
"""Share of the features held to tell something that may do so by chance alone."""

BOTH = 2
BINS = 10
FOLDS = 5
SELECTION_SALT = 7
SHUFFLES = 3
MOST_ROWS = 20_000
MOST_SHUFFLED = 3_000
PENALTY = 0.01
KEPT_VARIANCE = 0.95
DIGITS = 6

FILTERED, COMPONENTS, DISCRIMINANT, EVERYTHING = "filtered", "principal_components", "discriminant", "all_features"
OPTIONS = (
    Method(FILTERED, "rule", 0), Method(COMPONENTS, "rival", 1), Method(DISCRIMINANT, "rival", 2),
    Method(EVERYTHING, "rival", 3),
)  # fmt: skip
"""Ways to learn from the features; more columns must surely gain on fewer."""

SCHEMA = {
    "feature": pl.String, "missing_share": pl.Float64, "variance": pl.Float64, "like": pl.String,
    "correlation": pl.Float64, "mutual_information": pl.Float64, "chi2": pl.Float64, "chi2_freedom": pl.Int64,
    "p_value": pl.Float64, "q_value": pl.Float64, "importance": pl.Float64, "importance_low": pl.Float64,
    "importance_high": pl.Float64, "verdict": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """What a feature tells of the outcome: mutual information in nats, chi-squared, degrees of freedom, its p."""

    information: float = 0.0
    chi2: float = 0.0
    freedom: int = 0
    p: float = 1.0


def judge_features(
    features: pl.DataFrame, truth: np.ndarray, customers: np.ndarray, *, names: Sequence[str], seed: int
) -> pl.DataFrame:
    """Judge features one by one.

    Mutual information and chi-squared are those of the table of outcome against tenths of the feature, missing values
    being one more group; p-values are corrected for the number of features (Benjamini and Hochberg, 1995). The
    permutation importance (Breiman, "Random forests", 2001, section 10) is what boosting, learnt on four fifths of the
    customers, loses in AUC on the others when the feature is shuffled among them.

    Args:
        features: n rows that may be learnt from, one a customer: p-values know of no rows that repeat each other.
        truth: Shape (n,), 0 or 1.
        customers: Shape (n,), key of the customer of each row.
        names: Features: numbers, booleans or texts.
        seed: Decides the shuffles.

    Returns:
        Columns of `SCHEMA`, one row a feature in the order of `names`: `variance` is that of the values as models see
        them (logarithms of what has a long tail; null for texts), `like` the feature most correlated with it,
        `importance_low` and `importance_high` the smallest and largest loss of `SHUFFLES` shuffles. None without both
        outcomes.
    """
    if np.unique(truth).size != BOTH:
        return pl.DataFrame(schema=SCHEMA)
    features, truth, customers = _bounded(features, truth, customers, most=MOST_ROWS)
    told = {name: _tell(features[name], truth) for name in names}
    q_values = dict(zip(names, _corrected(np.array([told[name].p for name in names])), strict=True))
    verdicts, like = _verdicts(features, told, q_values, names)
    matrix = _matrix(features, names)
    importances = {} if matrix is None else _importances(matrix, features, truth, customers, seed=seed)
    deviations = {} if matrix is None else dict(zip(matrix.numeric, matrix.scales, strict=False))
    rows = []
    for name in names:
        found = importances.get(name, (0.0, 0.0, 0.0))
        twin, correlation = like.get(name, (None, None))
        numeric = features.schema[name] != pl.String
        rows.append(
            (
                name, features[name].null_count() / features.height,
                deviations.get(name, 0.0) ** 2 if numeric else None, twin, correlation, told[name].information,
                told[name].chi2, told[name].freedom, told[name].p, q_values[name], *found, verdicts[name],
            )
        )  # fmt: skip
    numbers = [name for name, dtype in SCHEMA.items() if dtype == pl.Float64]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(pl.col(numbers).round(DIGITS) + 0.0)


def grade_options(
    features: pl.DataFrame, truth: np.ndarray, customers: np.ndarray, *, names: Sequence[str], origin: date, seed: int
) -> tuple[pl.DataFrame, Mapping[str, float]]:  # fmt: skip
    """Compare ways to have fewer columns: features that pass the filters, principal components, a discriminant.

    Every way, the choice of features included, is learnt anew inside each of `FOLDS` folds that part customers, and
    followed by the same logistic regression (Fisher's linear discriminant needs none).

    Args:
        features: n rows that may be learnt from, one a customer.
        truth: Shape (n,), 0 or 1.
        customers: Shape (n,), key of the customer of each row.
        names: Features: numbers, booleans or texts.
        origin: As-of day of the rows.
        seed: Of the bootstrap.

    Returns:
        A scorecard as `grade_methods` makes it, and for each option the mean number of columns it learnt from; no rows
        where too little can be learnt.
    """
    features, truth, customers = _bounded(features, truth, customers, most=MOST_ROWS)
    scores = {option.name: np.full(len(truth), np.nan) for option in OPTIONS}
    widths: dict[str, list[int]] = {option.name: [] for option in OPTIONS}
    place = customer_groups(customers, FOLDS, salt=SELECTION_SALT)
    for number in range(FOLDS):
        apart = place == number
        if apart.any() and np.unique(truth[~apart]).size > 1:
            learnt, judged = features.filter(~apart), features.filter(apart)
            for name, (found, width) in _options(learnt, truth[~apart], judged, names=names).items():
                scores[name][apart] = found
                widths[name].append(width)
    graded = ~np.isnan(scores[EVERYTHING])
    if np.unique(truth[graded]).size != BOTH:
        return pl.DataFrame(schema=SCORECARD_SCHEMA), {}
    card = grade_methods(
        task=TASK, origin=origin, methods=OPTIONS, truth=truth[graded],
        predictions={name: logistic(found[graded]) for name, found in scores.items()}, metrics={"auc": auc},
        primary="auc", higher_is_better={"auc": True}, seed=seed,
    )  # fmt: skip
    return card, {name: float(np.mean(each)) for name, each in widths.items()}


def _bounded(
    features: pl.DataFrame, truth: np.ndarray, customers: np.ndarray, *, most: int
) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Give the rows in the order of the customers; of more than `most`, about that many, drawn from the keys."""
    parts = max(1, -(-len(customers) // most))
    kept = np.flatnonzero(customer_groups(customers, parts, salt=SELECTION_SALT + 1) == 0)
    kept = kept[np.argsort(customers[kept], kind="stable")]
    return features[kept], truth[kept], customers[kept]


def _tell(values: pl.Series, truth: np.ndarray) -> _Told:
    """Measure what groups of like values tell of the outcome."""
    from scipy.stats import chi2_contingency
    from sklearn.metrics import mutual_info_score

    group = _groups(values)
    counts = np.stack([np.bincount(group[truth == outcome], minlength=group.max() + 1) for outcome in (0, 1)], axis=1)
    counts = counts[counts.sum(axis=1) > 0]
    if len(counts) == 1:
        return _Told()
    found = chi2_contingency(counts, correction=False)
    information = max(float(mutual_info_score(None, None, contingency=counts)), 0.0)
    return _Told(information, float(found.statistic), int(found.dof), float(found.pvalue))


def _groups(values: pl.Series) -> np.ndarray:
    """Put values into at most `BINS` groups of like size, or a text each; missing ones are group 0."""
    if values.dtype == pl.String:
        return values.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    numbers = values.cast(pl.Float64)
    present = numbers.drop_nulls().to_numpy()
    if not present.size:
        return np.zeros(len(numbers), dtype=np.int64)
    edges = np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="lower"))
    group = np.searchsorted(edges, numbers.fill_null(0.0).to_numpy(), side="right") + 1
    return np.where(numbers.is_null().to_numpy(), 0, group)


def _corrected(p_values: np.ndarray) -> np.ndarray:
    from scipy.stats import false_discovery_control

    return false_discovery_control(p_values) if p_values.size else p_values


def _verdicts(
    features: pl.DataFrame, told: Mapping[str, _Told], q_values: Mapping[str, float], names: Sequence[str]
) -> tuple[dict[str, str], dict[str, tuple[str, float]]]:
    """Judge by the filters alone; also give each number the one most correlated with it."""
    verdicts = {name: CONSTANT if features[name].n_unique() == 1 else KEPT for name in names}
    numbers = [name for name in names if verdicts[name] != CONSTANT and features.schema[name] != pl.String]
    like: dict[str, tuple[str, float]] = {}
    if len(numbers) > 1:
        matrix = fit_feature_matrix(features, names=numbers)
        # A column of one value, once its gaps are filled, goes with none.
        with np.errstate(invalid="ignore"):
            correlation = np.nan_to_num(np.corrcoef(matrix.scale(matrix.raw(features))[:, : len(numbers)], rowvar=False))
        np.fill_diagonal(correlation, 0.0)
        for row, name in enumerate(numbers):
            nearest = int(np.abs(correlation[row]).argmax())
            like[name] = (numbers[nearest], float(correlation[row, nearest]))
        # Who tells most stays; who says the same as one that stays goes.
        place = {name: row for row, name in enumerate(numbers)}
        stayed: list[int] = []
        for name in sorted(numbers, key=lambda each: (-round(told[each].information, DIGITS), each)):
            if stayed and np.abs(correlation[place[name], stayed]).max() >= SAME:
                verdicts[name] = REPEATS
            else:
                stayed.append(place[name])
    return {
        name: SILENT if verdict == KEPT and q_values[name] > CHANCE else verdict for name, verdict in verdicts.items()
    }, like


def _matrix(features: pl.DataFrame, names: Sequence[str]) -> FeatureMatrix | None:
    varying = [name for name in names if features[name].n_unique() > 1]
    return fit_feature_matrix(features, names=varying) if varying else None


def _importances(
    matrix: FeatureMatrix, features: pl.DataFrame, truth: np.ndarray, customers: np.ndarray, *, seed: int
) -> dict[str, tuple[float, float, float]]:
    """Give mean, smallest and largest loss of AUC when a feature is shuffled among customers kept apart."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    apart = customer_groups(customers, FOLDS, salt=SELECTION_SALT) == 0
    if any(np.unique(truth[rows]).size != BOTH for rows in (apart, ~apart)):
        return {}
    raw = matrix.raw(features)
    judged = np.flatnonzero(apart)[:MOST_SHUFFLED]
    generator = np.random.default_rng(seed)
    losses: dict[str, tuple[float, float, float]] = {}
    with one_core():
        model = HistGradientBoostingClassifier(
            max_leaf_nodes=8, min_samples_leaf=50, max_iter=100, early_stopping=False, random_state=seed % 2**32
        ).fit(raw[~apart], truth[~apart])
        rows, outcome = raw[judged], truth[judged]
        reached = auc(outcome, model.decision_function(rows))
        for name in matrix.features:
            columns, lost = matrix.columns_of(name), []
            for _ in range(SHUFFLES):
                shuffled = rows.copy()
                shuffled[:, columns] = rows[generator.permutation(len(rows))][:, columns]
                lost.append(reached - auc(outcome, model.decision_function(shuffled)))
            losses[name] = (float(np.mean(lost)), min(lost), max(lost))
    return losses


def _options(
    learnt: pl.DataFrame, truth: np.ndarray, judged: pl.DataFrame, *, names: Sequence[str]
) -> dict[str, tuple[np.ndarray, int]]:
    """Give every option's log odds for the judged rows, and the columns it learnt from."""
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    told = {name: _tell(learnt[name], truth) for name in names}
    q_values = dict(zip(names, _corrected(np.array([told[name].p for name in names])), strict=True))
    verdicts, _ = _verdicts(learnt, told, q_values, names)
    scaled = {}
    for option, chosen in (
        (EVERYTHING, names), (FILTERED, [name for name in names if verdicts[name] == KEPT])
    ):  # fmt: skip
        matrix = _matrix(learnt, chosen)
        if matrix is not None:
            scaled[option] = [matrix.scale(matrix.raw(rows)) for rows in (learnt, judged)]
    plain = LogisticRegression(C=PENALTY, max_iter=1_000)
    models = {
        EVERYTHING: (EVERYTHING, plain), FILTERED: (FILTERED, plain),
        COMPONENTS: (EVERYTHING, make_pipeline(PCA(KEPT_VARIANCE, svd_solver="full"), plain)),
        DISCRIMINANT: (EVERYTHING, LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
    }  # fmt: skip
    found = {}
    with one_core():
        for name, (columns, model) in models.items():
            if columns not in scaled:
                found[name] = (np.zeros(judged.height), 0)
                continue
            fitted = model.fit(scaled[columns][0], truth)
            width = int(fitted[0].n_components_) if name == COMPONENTS else scaled[columns][0].shape[1]
            found[name] = (fitted.decision_function(scaled[columns][1]), width)
    return found
