"""Classical classifiers behind one interface: chosen, fitted, stored and asked for log odds alike.

A family names a kind of classifier, the settings that are tried, and how many rows it can bear. What is tried is
decided by cross-validation over groups of rows (all rows of a customer in one fold); scaling, imputation and levels are
learnt anew inside every fold. Whose rows these are, calibration and grading belong to the caller. scikit-learn and
LightGBM are imported inside functions.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from insight_assets.ml.calibration import logit
from insight_assets.ml.cores import one_core
from insight_assets.ml.metrics import auc
from insight_assets.ml.splits import customer_groups, mixed_keys
from insight_assets.ml.tabular import FeatureMatrix, fit_feature_matrix

LOGISTIC, BAYES, TREE, SVM, FOREST, BOOSTING, LIGHTGBM = (
    "logistic", "bayes", "tree", "svm", "forest", "boosting", "lightgbm",
)  # fmt: skip

FOLDS = 3
FOLD_SALT = 5
ROWS_SALT = 6
SCORE_DIGITS = 4
NOISE = 0.002
"""AUC by which settings must be better than simpler ones to be chosen: less is noise of the folds, and the simpler
settings age better. It also lets machines that sum in another order choose alike."""

ROWS_FOR_MORE_CORES = 100_000
"""Rows from which boosting computes on all cores.

Below it threads wait for each other longer than they work: where other processes wanted the cores,
scoring 2,821 customers for their drivers took 102 s on two cores and 4 s on one.
"""

BOUNDED_ROWS = 100_000
PURE_LEAF = 1e-3
"""Log odds of trees and forests are bounded as if this share of a leaf were of the other class."""

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """A kind of classifier.

    Attributes:
        name: Name in files and scorecards.
        grid: Settings that are tried, the simplest first.
        scaled: Whether it reads the scaled matrix, without gaps, instead of the raw one.
        most_rows: Most rows it is fitted on; of more, a fixed part drawn from the groups.
        folds: Folds its settings are judged on, at most `FOLDS`: dear families look at fewer.
        draft: Settings that replace those of the grid while the grid is judged, such as fewer trees.
    """

    name: str
    grid: tuple[Settings, ...]
    scaled: bool
    most_rows: int = BOUNDED_ROWS
    folds: int = FOLDS
    draft: Settings | None = None


_GROWN = (
    {"leaves": 4, "trees": 300, "rate": 0.05, "least_leaf": 50, "columns": 1.0},
    {"leaves": 16, "trees": 600, "rate": 0.02, "least_leaf": 50, "columns": 0.3},
)
"""Small trees of all columns, or larger and slower ones that each see a random part of the columns at a split."""


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(LOGISTIC, tuple({"penalty": penalty} for penalty in (0.001, 0.01, 0.1, 1.0)), scaled=True),
        Family(BAYES, tuple({"smoothing": smoothing} for smoothing in (1.0, 0.1, 1e-3)), scaled=True),
        Family(TREE, tuple({"leaves": leaves, "least_leaf": 20} for leaves in (4, 8, 16, 32)), scaled=False),
        Family(
            SVM,
            (
                *({"kernel": "linear", "penalty": penalty} for penalty in (0.0003, 0.003)),
                *({"kernel": "rbf", "penalty": penalty} for penalty in (0.3, 2.0)),
            ),
            scaled=True,
            most_rows=2_000,
            folds=2,
        ),
        Family(
            FOREST,
            tuple({"least_leaf": least, "trees": 100} for least in (20, 5)),
            scaled=False,
            most_rows=20_000,
            folds=2,
            draft={"trees": 30},
        ),
        Family(BOOSTING, _GROWN, scaled=False, folds=2),
        Family(LIGHTGBM, _GROWN, scaled=False, folds=2),
    )
}
"""Declared once for all tasks; every grid is small, so that a training costs seconds."""

PATIENCE = 20
"""Trees without a better log loss on the rows kept apart after which boosting stops growing."""


class ClassifierMissingError(RuntimeError):
    """A classifier needs a package that is not installed."""


@dataclass(frozen=True)
class Fold:
    """Rows to fit on and other groups' rows to judge by, as matrices made from the first alone.

    Attributes:
        matrix: What was learnt from the fitting rows.
        raw: Shape (n, f), the fitting rows.
        scaled: Shape (n, g), the same rows scaled.
        truth: Shape (n,), 0 or 1.
        groups: Shape (n,), group of each fitting row.
        judged_raw: Shape (m, f), the rows that judge.
        judged_scaled: Shape (m, g), the same rows scaled.
        judged_truth: Shape (m,), 0 or 1.
    """

    matrix: FeatureMatrix
    raw: np.ndarray
    scaled: np.ndarray
    truth: np.ndarray
    groups: np.ndarray
    judged_raw: np.ndarray
    judged_scaled: np.ndarray
    judged_truth: np.ndarray


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier.

    Attributes:
        family: Name of its family.
        settings: Settings it was fitted with, those that cross-validation found included.
        judged: Settings and their mean AUC over the folds, in the order of the grid.
        unit: What its scores are divided by to be of the size of log odds.
        model: The fitted estimator or booster.
    """

    family: str
    settings: Settings
    judged: tuple[tuple[Settings, float], ...]
    unit: float
    model: Any

    def log_odds(self, raw: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        """Give the log odds, or for families that know no odds a score of that size.

        Args:
            raw: Shape (n, f), features as they are.
            scaled: Shape (n, g), the same rows scaled.

        Returns:
            Shape (n,).
        """
        values = scaled if FAMILIES[self.family].scaled else raw
        if len(values) == 0:
            return np.empty(0)
        return _score(self.family, self.model, values) / self.unit

    def to_json(self) -> dict[str, Any]:
        """Give everything but the model as plain JSON values."""
        return {
            "settings": dict(self.settings),
            "judged": [[dict(tried), score] for tried, score in self.judged],
            "unit": self.unit,
        }


def available(family: str) -> bool:
    """Say whether the packages of a family are installed."""
    return family != LIGHTGBM or find_spec("lightgbm") is not None


def make_folds(
    features: pl.DataFrame, truth: np.ndarray, groups: np.ndarray, *, names: Sequence[str], folds: int = FOLDS
) -> tuple[Fold, ...]:
    """Split rows into folds that never part a group, and make matrices inside each.

    Args:
        features: n rows.
        truth: Shape (n,), 0 or 1.
        groups: Shape (n,), integer key of the customer of each row.
        names: Features in order.
        folds: Number of folds, at least 2.

    Returns:
        The folds in which both classes stand on both sides; none when there is too little to split.
    """
    place = customer_groups(groups, folds, salt=FOLD_SALT)
    made = []
    for number in range(folds):
        apart = place == number
        if any(np.unique(truth[rows]).size < 2 for rows in (apart, ~apart)):
            continue
        fitted = features.filter(~apart)
        if not any(fitted[name].n_unique() > 1 for name in names):
            continue
        matrix = fit_feature_matrix(fitted, names=names)
        raw, judged = matrix.raw(fitted), matrix.raw(features.filter(apart))
        learnt = (raw, matrix.scale(raw), truth[~apart], groups[~apart])
        made.append(Fold(matrix, *learnt, judged, matrix.scale(judged), truth[apart]))
    return tuple(made)


def fit_classifier(
    family: str,
    *,
    raw: np.ndarray,
    scaled: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    folds: Sequence[Fold],
    seed: int,
) -> Classifier:
    """Choose the settings of a family by cross-validation and fit them on all rows.

    Args:
        family: Name of the family.
        raw: Shape (n, f), features as they are, NaN where missing.
        scaled: Shape (n, g), the same rows scaled, without gaps.
        truth: Shape (n,), 0 or 1, both present.
        groups: Shape (n,), integer key of the customer of each row.
        folds: As `make_folds` gives them for these rows; without any, the first settings of the grid are fitted.
        seed: Seed of everything random, below 2**32.

    Returns:
        The fitted classifier; equal input in equal order gives an equal one.

    Raises:
        ClassifierMissingError: If the family's package is not installed.
    """
    if not available(family):
        message = f"{family} is not installed. Next: pip install 'insight-assets[gbm]'"
        raise ClassifierMissingError(message)
    known = FAMILIES[family]
    settings, judged = _chosen(known, folds[: known.folds], seed)
    kept = _bounded(groups, known.most_rows)
    values = (scaled if known.scaled else raw)[kept]
    model = _fit(family, settings, values, truth[kept], seed)
    unit = 1.0
    if family == BAYES:
        # Features that say the same are counted twice, so that odds pass any bound and would all become 1.
        unit = max(1.0, float(np.std(_score(family, model, values)).round(3)))
    return Classifier(family, settings, judged, unit, model)


def refit_classifier(
    classifier: Classifier, *, raw: np.ndarray, scaled: np.ndarray, truth: np.ndarray, groups: np.ndarray, seed: int
) -> Classifier:
    """Fit a classifier anew on other rows, with the settings that were chosen for it before.

    Args:
        classifier: Whose family, settings and unit are taken.
        raw: Shape (n, f), features as they are, NaN where missing.
        scaled: Shape (n, g), the same rows scaled, without gaps.
        truth: Shape (n,), 0 or 1, both present.
        groups: Shape (n,), integer key of the customer of each row.
        seed: Seed of everything random, below 2**32.

    Returns:
        The fitted classifier.
    """
    known = FAMILIES[classifier.family]
    kept = _bounded(groups, known.most_rows)
    values = (scaled if known.scaled else raw)[kept]
    model = _fit(classifier.family, classifier.settings, values, truth[kept], seed)
    return Classifier(classifier.family, classifier.settings, classifier.judged, classifier.unit, model)


def held_out_scores(
    classifier: Classifier, folds: Sequence[Fold], *, seed: int, draft: bool = False
) -> np.ndarray:
    """Give scores of the judging rows of each fold, by the classifier's settings fitted on the fold's other rows.

    Args:
        classifier: Whose family, settings and unit are taken.
        folds: As `make_folds` gives them.
        seed: Seed of everything random, below 2**32.
        draft: Whether the settings that grids are judged with, such as fewer trees, are enough.

    Returns:
        Scores of all judging rows, fold after fold.
    """
    family, scores = FAMILIES[classifier.family], []
    settings = {**classifier.settings, **((family.draft or {}) if draft else {})}
    for fold in folds:
        kept = _bounded(fold.groups, family.most_rows)
        values, judged = (fold.scaled, fold.judged_scaled) if family.scaled else (fold.raw, fold.judged_raw)
        model = _fit(family.name, settings, values[kept], fold.truth[kept], seed)
        scores.append(_score(family.name, model, judged) / classifier.unit)
    return np.concatenate(scores)


def write_classifier(classifier: Classifier, folder: Path, *, prefix: str = "") -> None:
    """Store the model of a classifier in a file of its own, which runs no code when it is opened.

    Args:
        classifier: The classifier; what else belongs to it is given by `to_json`.
        folder: Existing folder.
        prefix: What the file's name begins with, where a folder holds several of a family.
    """
    path = folder / classifier_file(classifier.family, prefix=prefix)
    if classifier.family == LIGHTGBM:
        path.write_text(classifier.model.model_to_string(), encoding="utf-8")
        return
    from insight_assets.ml.sklearn_files import write_sklearn

    write_sklearn(classifier.model, path)


def read_classifier(family: str, stored: Mapping[str, Any], folder: Path, *, prefix: str = "") -> Classifier:
    """Load a classifier that `write_classifier` stored.

    Args:
        family: Name of the family.
        stored: What `to_json` gave.
        folder: Folder of the file.
        prefix: What the file's name begins with.

    Returns:
        The classifier.

    Raises:
        UntrustedFileError: If the file is not what this project writes.
        ClassifierMissingError: If the family's package is not installed.
        OSError: If the file is missing.
    """
    path = folder / classifier_file(family, prefix=prefix)
    if family == LIGHTGBM:
        if not available(family):
            message = f"{path.name} needs LightGBM. Next: pip install 'insight-assets[gbm]'"
            raise ClassifierMissingError(message)
        import lightgbm

        model = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    else:
        from insight_assets.ml.sklearn_files import read_sklearn

        model = read_sklearn(path)
    judged = tuple((dict(tried), float(score)) for tried, score in stored["judged"])
    return Classifier(family, dict(stored["settings"]), judged, float(stored["unit"]), model)


def classifier_file(family: str, *, prefix: str = "") -> str:
    """Name of the file of a family's model."""
    return f"{prefix}{family}.txt" if family == LIGHTGBM else f"{prefix}{family}.skops"


def memorising_boosting(raw: np.ndarray, labels: np.ndarray, *, seed: int) -> Classifier:
    """Fit boosting with room to remember single customers, for controls that must find nothing.

    Args:
        raw: Shape (n, f), features as they are.
        labels: Shape (n,), 0 or 1, both present.
        seed: Seed of the binning.

    Returns:
        The fitted classifier.
    """
    settings = {"leaves": 31, "trees": 50, "rate": 0.05, "least_leaf": 20, "columns": 1.0}
    return Classifier(BOOSTING, settings, (), 1.0, _fit(BOOSTING, settings, raw, labels, seed))


def _chosen(family: Family, folds: Sequence[Fold], seed: int) -> tuple[Settings, tuple[tuple[Settings, float], ...]]:
    if not folds:
        return family.grid[0], ()
    judge = _judged_while_growing if family.name in {BOOSTING, LIGHTGBM} else _judged
    judged = [judge(family, tried, folds, seed) for tried in family.grid]
    best = max(score for _, score in judged)
    return next(tried for tried, score in judged if score >= best - NOISE), tuple(judged)


def _judged(family: Family, tried: Settings, folds: Sequence[Fold], seed: int) -> tuple[Settings, float]:
    draft = {**tried, **(family.draft or {})}
    reached = []
    for fold in folds:
        kept = _bounded(fold.groups, family.most_rows)
        values, judged = (fold.scaled, fold.judged_scaled) if family.scaled else (fold.raw, fold.judged_raw)
        model = _fit(family.name, draft, values[kept], fold.truth[kept], seed)
        reached.append(auc(fold.judged_truth, _score(family.name, model, judged)))
    return tried, round(float(np.mean(reached)), SCORE_DIGITS)


def _judged_while_growing(family: Family, tried: Settings, folds: Sequence[Fold], seed: int) -> tuple[Settings, float]:
    """Grow trees until the log loss of the rows that judge gets no better; that many are fitted."""
    grow = _grow_lightgbm if family.name == LIGHTGBM else _grow_boosting
    trees, reached = [], []
    for fold in folds:
        kept = _bounded(fold.groups, family.most_rows)
        model, best = grow(tried, fold.raw[kept], fold.truth[kept], fold.judged_raw, fold.judged_truth, seed)
        trees.append(best)
        reached.append(auc(fold.judged_truth, model(fold.judged_raw)))
    return {**tried, "trees": max(1, round(float(np.mean(trees))))}, round(float(np.mean(reached)), SCORE_DIGITS)


def _grow_boosting(
    tried: Settings, raw: np.ndarray, truth: np.ndarray, judged: np.ndarray, judged_truth: np.ndarray, seed: int
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    model = _boosting(tried, seed).set_params(early_stopping=True, n_iter_no_change=PATIENCE)
    with _cores_for(len(raw)):
        model.fit(raw, truth, X_val=judged, y_val=judged_truth)
    return lambda values: _score(BOOSTING, model, values), int(np.argmax(model.validation_score_))


def _grow_lightgbm(
    tried: Settings, raw: np.ndarray, truth: np.ndarray, judged: np.ndarray, judged_truth: np.ndarray, seed: int
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    import lightgbm

    learnt = lightgbm.Dataset(raw, truth, params=_lightgbm_settings(tried, seed))
    model = lightgbm.train(
        _lightgbm_settings(tried, seed), learnt, num_boost_round=tried["trees"],
        valid_sets=[lightgbm.Dataset(judged, judged_truth, reference=learnt)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )  # fmt: skip
    return lambda values: model.predict(values, raw_score=True, num_threads=1), int(model.best_iteration)


def _fit(family: str, settings: Settings, values: np.ndarray, truth: np.ndarray, seed: int) -> Any:
    if family == LIGHTGBM:
        import lightgbm

        learnt = lightgbm.Dataset(values, truth, params=_lightgbm_settings(settings, seed))
        return lightgbm.train(_lightgbm_settings(settings, seed), learnt, num_boost_round=settings["trees"])
    model = _estimator(family, settings, seed)
    with _cores_for(len(values) if family == BOOSTING else 0):
        model.fit(values, truth)
    if family == BOOSTING:
        # The number of cores is no part of the model: it would change the content hash. Nor is what drew the columns.
        model._bin_mapper.n_threads = 1
        model._feature_subsample_rng = None
    return model


def _estimator(family: str, settings: Settings, seed: int) -> Any:
    if family == LOGISTIC:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=settings["penalty"], max_iter=1000)
    if family == BAYES:
        from sklearn.naive_bayes import GaussianNB

        return GaussianNB(var_smoothing=settings["smoothing"])
    if family == TREE:
        from sklearn.tree import DecisionTreeClassifier

        return DecisionTreeClassifier(
            max_leaf_nodes=settings["leaves"], min_samples_leaf=settings["least_leaf"], random_state=seed
        )
    if family == SVM:
        from sklearn.svm import SVC, LinearSVC

        if settings["kernel"] == "linear":
            return LinearSVC(C=settings["penalty"], dual=False, random_state=seed)
        return SVC(C=settings["penalty"], kernel="rbf", gamma="scale")
    if family == FOREST:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            settings["trees"], min_samples_leaf=settings["least_leaf"], max_features="sqrt", random_state=seed, n_jobs=1
        )
    return _boosting(settings, seed)


def _boosting(settings: Settings, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=settings["rate"], max_iter=settings["trees"], max_leaf_nodes=settings["leaves"],
        min_samples_leaf=settings["least_leaf"], max_features=settings["columns"], early_stopping=False,
        random_state=seed,
    )  # fmt: skip


def _lightgbm_settings(settings: Settings, seed: int) -> dict[str, Any]:
    return {
        "objective": "binary", "learning_rate": settings["rate"], "num_leaves": settings["leaves"],
        "min_data_in_leaf": settings["least_leaf"], "feature_fraction_bynode": settings["columns"], "seed": seed % 2**31, "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "verbosity": -1,
    }  # fmt: skip


def _score(family: str, model: Any, values: np.ndarray) -> np.ndarray:
    if family == LIGHTGBM:
        return model.predict(values, raw_score=True, num_threads=1)
    with _cores_for(len(values) if family == BOOSTING else 0):
        if family in {TREE, FOREST}:
            return logit(np.clip(model.predict_proba(values)[:, 1], PURE_LEAF, 1 - PURE_LEAF))
        if family == BAYES:
            joint = model.predict_joint_log_proba(values)
            return joint[:, 1] - joint[:, 0]
        return model.decision_function(values)


def _bounded(groups: np.ndarray, most: int) -> np.ndarray:
    """Rows of a fixed part of the groups, `most` at most, in their order; drawn from the keys, not from the rows."""
    if len(groups) <= most:
        return np.arange(len(groups))
    drawn = mixed_keys(groups, salt=ROWS_SALT)
    return np.sort(np.argsort(drawn, kind="stable")[:most])


def _cores_for(rows: int) -> AbstractContextManager[None]:
    return one_core(openmp=None if rows >= ROWS_FOR_MORE_CORES else 1)
