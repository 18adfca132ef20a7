"""All rivals for one question with yes or no for an answer: trained together, stored together, asked alike.

The naive rule is a table of rates; the rivals are families of `ml.classifiers`, and their blend. Settings are chosen by
folds that never part a customer, inside the rows that are learnt from; probabilities are calibrated on rows of other
customers. Which rows these are, which method may be published, and what the question is belong to the capability.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from insight_assets.ml import classifiers as families
from insight_assets.ml.blending import Blend, fit_blend
from insight_assets.ml.calibration import Calibrator, fit_calibrator, logistic, logit
from insight_assets.ml.classifiers import (
    FAMILIES,
    Classifier,
    Fold,
    fit_classifier,
    held_out_scores,
    make_folds,
    read_classifier,
    refit_classifier,
    write_classifier,
)
from insight_assets.ml.costs import Cost, measured
from insight_assets.ml.drivers import Effects, columns_of_stories, linear_effects, occluded, tell_stories
from insight_assets.ml.guards import feature_alarms, shuffled_control
from insight_assets.ml.metrics import auc
from insight_assets.ml.rate_tables import RateTable, fit_rate_table
from insight_assets.ml.referee import Method
from insight_assets.ml.tabular import FeatureMatrix, fit_feature_matrix

RULE = Method("rule", "rule", 0)
LOGISTIC = Method(families.LOGISTIC, "rival", 1)
FOREST = Method(families.FOREST, "rival", 2)
BOOSTING = Method(families.BOOSTING, "rival", 3)
LIGHTGBM = Method(families.LIGHTGBM, "rival", 4)
BLEND = Method("blend", "rival", 5)

RIVALS = (LOGISTIC, FOREST, BOOSTING)
METHODS = (RULE, *RIVALS, LIGHTGBM, BLEND)
BLENDED = RIVALS
"""Methods that the blend puts together: the best of each kind, linear, bagged and boosted."""

MIN_LEARNT = 300
MIN_OF_A_CLASS = 30
"""Rows to learn from, and of either answer, below which only the rule is kept: fewer say too little about so many
features to be surely better than it, and a small shop need not wait for what is not published."""


@dataclass(frozen=True)
class Rule:
    """The naive rule of a task.

    Attributes:
        cells: Gives the cell of each row of features.
        story: Feature that names the rule's reason.
    """

    cells: Callable[[pl.DataFrame], pl.Series]
    story: str


@dataclass(frozen=True)
class Rows:
    """Rows that teach and calibrate one question.

    Attributes:
        examples: n rows, in an order that does not depend on how they were stored.
        names: Features among their columns.
        label: Column of the answer, true or false.
        key: Column of the integer key of the customer.
        apart: Shape (n,), True for rows of customers who calibrate and are not learnt from.
    """

    examples: pl.DataFrame
    names: Sequence[str]
    label: str
    key: str
    apart: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """The answers, shape (n,), 0 or 1."""
        return self.examples[self.label].cast(pl.Float64).to_numpy()

    @property
    def keys(self) -> np.ndarray:
        """Key of the customer of each row, shape (n,)."""
        return self.examples[self.key].to_numpy()

    def enough(self) -> bool:
        """Say whether there is enough to learn more than the rule."""
        ones, rows = int(self.truth[~self.apart].sum()), int((~self.apart).sum())
        return rows >= MIN_LEARNT and min(ones, rows - ones) >= MIN_OF_A_CLASS


@dataclass(frozen=True)
class BinaryModels:
    """All methods for one question.

    Attributes:
        methods: Methods that can be asked, least complex first; the rule always can.
        rule: The naive rule.
        rates: What it learnt.
        calibrators: Calibrator per method name.
        matrix: How features become matrices; None when only the rule was kept.
        classifiers: The rivals by method name.
        blend: How rivals are put together; None when only the rule was kept.
        config: What training noted down: rows, settings, guards.
        costs: What training each method took; empty for loaded models.
    """

    methods: tuple[Method, ...]
    rule: Rule
    rates: RateTable
    calibrators: Mapping[str, Calibrator]
    matrix: FeatureMatrix | None
    classifiers: Mapping[str, Classifier]
    blend: Blend | None
    config: Mapping[str, Any]
    costs: Mapping[str, Cost] = field(default_factory=dict)

    def predict(self, features: pl.DataFrame, *, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Give the calibrated probability by every method.

        Args:
            features: n rows with the features that were learnt from.
            only: Names of the methods asked; None asks all.

        Returns:
            Method name to an array of shape (n,), in the order of `features`.
        """
        return {
            name: self.calibrators[name](logistic(log_odds))
            for name, log_odds in self.log_odds(features, only=only).items()
        }

    def interval(self, features: pl.DataFrame, method: str) -> tuple[np.ndarray, np.ndarray]:
        """Give the bounds between which the rate of rows that score alike lies, by one method."""
        return self.calibrators[method].interval(logistic(self.log_odds(features, only=[method])[method]))

    def log_odds(self, features: pl.DataFrame, *, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Give the uncalibrated log odds by every method; arguments and result as for `predict`."""
        asked = [method.name for method in self.methods if only is None or method.name in only]
        raw = None if asked == [RULE.name] else self.matrix.raw(features)
        return {
            name: logit(self.rates(self.rule.cells(features)))
            if name == RULE.name
            else self.columns_log_odds(name, raw, self.matrix.scale(raw))
            for name in asked
        }

    def columns_log_odds(self, method: str, raw: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        """Give the log odds of a method other than the rule from columns, shape (n,)."""
        if method == BLEND.name:
            return self.blend({part: self.columns_log_odds(part, raw, scaled) for part in self.blend.weights})
        return self.classifiers[method].log_odds(raw, scaled)

    def effects(self, features: pl.DataFrame, method: str) -> Effects:
        """Give what each story of the features did to the log odds (see `ml.drivers`).

        Args:
            features: n rows, at least one.
            method: Name of a method.
        """
        if method == RULE.name:
            log_odds = self.log_odds(features, only=[method])[method]
            return {self.rule.story: log_odds - np.median(log_odds)}
        raw = self.matrix.raw(features)
        scaled = self.matrix.scale(raw)
        stories = tell_stories(self.matrix, scaled, self.columns_log_odds(method, raw, scaled))
        if method == LOGISTIC.name:
            return linear_effects(self.matrix, scaled, self.classifiers[method].model.coef_[0], stories)
        return occluded(
            lambda _, values: self.columns_log_odds(method, values, self.matrix.scale(values)), raw,
            columns_of_stories(self.matrix, stories),
        )  # fmt: skip


def train_binary_models(
    rows: Rows,
    rule: Rule,
    *,
    seed: int,
    with_lightgbm: bool = False,
    chosen_before: BinaryModels | None = None,
    guarded: bool = True,
) -> BinaryModels:
    """Train all methods.

    Args:
        rows: At least one row that is learnt from.
        rule: The naive rule.
        seed: Seed of everything random, below 2**32.
        with_lightgbm: Whether LightGBM is a rival too.
        chosen_before: Models of the same question that were graded: their settings and the weights of their blend are
            taken, so that what is published is what was graded, taught by newer rows. None chooses anew.
        guarded: Whether what guards look at is noted down; models that are never published need it not.

    Returns:
        The models; the rule alone where there is too little to learn more.

    Raises:
        ClassifierMissingError: If LightGBM is wanted and not installed.
    """
    learnt = rows.examples.filter(~rows.apart)
    apart = rows.examples.filter(rows.apart)
    truth, costs = rows.truth, {}
    rates = fit_rate_table(rule.cells(learnt), truth[~rows.apart])
    log_odds = {RULE.name: logit(rates(rule.cells(apart)))}
    noted: dict[str, Any] = {"rows": _counted(rows)}
    if not rows.enough():
        return BinaryModels(
            (RULE,), rule, rates, _calibrators(log_odds, truth[rows.apart]), None, {}, None,
            noted | {"methods": [RULE.name]}, costs,
        )  # fmt: skip
    matrix = fit_feature_matrix(learnt, names=rows.names)
    raw = matrix.raw(rows.examples)
    scaled = matrix.scale(raw)
    fitting = {
        "raw": raw[~rows.apart], "scaled": scaled[~rows.apart], "truth": truth[~rows.apart],
        "groups": rows.keys[~rows.apart], "seed": seed,
    }  # fmt: skip
    rivals = (*RIVALS, LIGHTGBM) if with_lightgbm else RIVALS
    if chosen_before is None or chosen_before.blend is None:
        folds = make_folds(learnt, fitting["truth"], fitting["groups"], names=rows.names)
        fitted = {}
        for rival in rivals:
            with measured(costs, rival.name):
                fitted[rival.name] = fit_classifier(rival.name, folds=folds, **fitting)
        with measured(costs, BLEND.name):
            blend = _blended(fitted, folds, seed)
    else:
        blend, fitted = chosen_before.blend, {}
        for name, before in chosen_before.classifiers.items():
            with measured(costs, name):
                fitted[name] = refit_classifier(before, **fitting)
    for name, classifier in fitted.items():
        log_odds[name] = classifier.log_odds(raw[rows.apart], scaled[rows.apart])
    log_odds[BLEND.name] = blend(log_odds)
    kept_apart = {name: _rounded(auc(truth[rows.apart], values)) for name, values in log_odds.items()}
    return BinaryModels(
        methods=tuple(method for method in METHODS if method.name in log_odds),
        rule=rule,
        rates=rates,
        calibrators=_calibrators(log_odds, truth[rows.apart]),
        matrix=matrix,
        classifiers=fitted,
        blend=blend,
        config=noted
        | {
            "methods": [method.name for method in METHODS if method.name in log_odds],
            "kept_apart": kept_apart,
            **(_for_guards(rows, raw, matrix, seed) if guarded else {}),
        },
        costs=costs,
    )


def write_binary_models(models: BinaryModels, directory: Path, *, prefix: str) -> None:
    """Store models in files of JSON, skops and LightGBM's text; opening one runs no code.

    Args:
        models: The models.
        directory: Existing folder.
        prefix: What the names of the files begin with: a folder may hold the models of several questions.
    """
    stored = {
        "config": dict(models.config),
        "rates": models.rates.to_json(),
        "calibrators": {name: calibrator.to_json() for name, calibrator in models.calibrators.items()},
        "matrix": None if models.matrix is None else models.matrix.to_json(),
        "classifiers": {name: classifier.to_json() for name, classifier in models.classifiers.items()},
        "blend": None if models.blend is None else models.blend.to_json(),
    }
    text = json.dumps(stored, indent=1, sort_keys=True)
    (directory / f"{prefix}models.json").write_text(text, encoding="utf-8")
    for classifier in models.classifiers.values():
        write_classifier(classifier, directory, prefix=prefix)


def stored_binary_models(directory: Path, *, prefix: str) -> bool:
    """Say whether a folder holds models under a prefix."""
    return (directory / f"{prefix}models.json").is_file()


def load_binary_models(
    directory: Path, rule: Rule, *, prefix: str, only: Collection[str] | None = None
) -> BinaryModels:
    """Load models that `write_binary_models` stored.

    Args:
        directory: The folder; its hashes have been verified by the model store.
        rule: The naive rule of the task.
        prefix: What the names of the files begin with.
        only: Names of the methods that will be asked; None loads all. The rule is always loaded.

    Returns:
        The models.

    Raises:
        UntrustedFileError: If a scikit-learn file is not what this project writes.
        ClassifierMissingError: If LightGBM made one of them and is not installed.
        OSError: If a file is missing.
        ValueError: If a JSON file is not what this project writes.
    """
    stored = json.loads((directory / f"{prefix}models.json").read_text(encoding="utf-8"))
    blend = None if stored["blend"] is None else Blend.from_json(stored["blend"])
    names = set(stored["config"]["methods"])
    asked = names if only is None else names & {*only, RULE.name}
    needed = asked | (set(blend.weights) if BLEND.name in asked else set())
    return BinaryModels(
        methods=tuple(method for method in METHODS if method.name in asked),
        rule=rule,
        rates=RateTable.from_json(stored["rates"]),
        calibrators={name: Calibrator.from_json(each) for name, each in stored["calibrators"].items()},
        matrix=None if stored["matrix"] is None else FeatureMatrix.from_json(stored["matrix"]),
        classifiers={
            name: read_classifier(name, each, directory, prefix=prefix)
            for name, each in stored["classifiers"].items()
            if name in needed
        },
        blend=blend,
        config=stored["config"],
    )


def _for_guards(rows: Rows, raw: np.ndarray, matrix: FeatureMatrix, seed: int) -> dict[str, Any]:
    return {
        "shuffled_labels": shuffled_control(
            rows.keys, raw, apart=rows.apart, share=float(rows.truth.mean()), seed=seed
        ),
        "feature_alarms": feature_alarms(rows.examples, matrix.features, label=rows.label, key=rows.key),
    }


def _blended(fitted: Mapping[str, Classifier], folds: Sequence[Fold], seed: int) -> Blend:
    """Weigh the rivals by what they said of the judging rows of folds; equally where there are none."""
    parts = [method.name for method in BLENDED if method.name in fitted]
    # Every family is weighed on the folds that all of them were chosen by.
    shared = folds[: min(FAMILIES[name].folds for name in parts)]
    if not shared:
        return Blend(dict.fromkeys(parts, round(1 / len(parts), 3)), 0.0)
    inside = {name: held_out_scores(fitted[name], shared, seed=seed, draft=True) for name in parts}
    return fit_blend(inside, np.concatenate([fold.judged_truth for fold in shared]))


def _calibrators(log_odds: Mapping[str, np.ndarray], truth: np.ndarray) -> dict[str, Calibrator]:
    return {name: fit_calibrator(logistic(values), truth) for name, values in log_odds.items()}


def _counted(rows: Rows) -> dict[str, int | float | None]:
    truth, apart = rows.truth, rows.apart
    return {
        "learnt": int((~apart).sum()),
        "learnt_with_label": int(truth[~apart].sum()),
        "apart": int(apart.sum()),
        "apart_with_label": int(truth[apart].sum()),
    }


def _rounded(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
