"""Propensity models as a whole: trained from examples, stored in a directory, loaded, asked for probabilities.

One directory holds the methods of all kinds of one as-of day, rules and rivals beside each other, so that the scorecard
grades and the scores publish exactly what was trained together. A kind has one model for all its targets. Files are
JSON and skops; opening one runs no code. Which method is published is not decided here.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from insight_assets.features.examples import CALIBRATE
from insight_assets.insights.propensity.examples import LABEL, Examples
from insight_assets.insights.propensity.measures import mean_auc
from insight_assets.insights.propensity.nearness import NEAR
from insight_assets.insights.propensity.pairs import FEATURES
from insight_assets.insights.propensity.rivals import habit_score, popularity_score
from insight_assets.insights.propensity.stacking import Stack, fit_stack
from insight_assets.insights.propensity.targets import KINDS
from insight_assets.ml import classifiers as families
from insight_assets.ml.calibration import Calibrator, fit_calibrator, logistic, logit
from insight_assets.ml.classifiers import (
    FAMILIES,
    Classifier,
    fit_classifier,
    make_folds,
    read_classifier,
    write_classifier,
)
from insight_assets.ml.costs import Cost, measured
from insight_assets.ml.guards import feature_alarms, shuffled_control
from insight_assets.ml.referee import Method
from insight_assets.ml.splits import customer_groups
from insight_assets.ml.tabular import FeatureMatrix, fit_feature_matrix

POPULARITY = Method("popularity", "rule", 0)
HABIT = Method("habit", "rival", 1)
LOGISTIC = Method(families.LOGISTIC, "rival", 2)
BOOSTING = Method(families.BOOSTING, "rival", 3)
ENCODER = Method("encoder", "model", 4)
"""Both classifiers and what the behaviour encoder says, put together (see `stacking`); where vectors of one horizon ago
are there to learn it by, and of kinds whose targets are products or made of products."""

METHODS = (POPULARITY, HABIT, LOGISTIC, BOOSTING, ENCODER)
RULES: Mapping[str, Callable[[pl.DataFrame], np.ndarray]] = {
    POPULARITY.name: popularity_score,
    HABIT.name: habit_score,
}
LEARNT = (LOGISTIC, BOOSTING)

CONFIG_FILE = "config.json"
CODE_VERSION = "2"
"""Raised by hand when training changes what it makes of the same examples."""

MIN_LEARNT = 1_000
MIN_BOUGHT = 200
"""Pairs, and pairs with a purchase, to learn from below which only the rules are kept: there are sixty features."""

STACK_SALT = 13

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KindModels:
    """Methods of one kind.

    Attributes:
        kind: Name of the kind.
        methods: Methods that can be asked, least complex first; the rules always can.
        calibrators: Calibrator per method name.
        matrix: How features become matrices; None when only the rules were kept.
        classifiers: The classifiers by method name.
        stack: How they and the behaviour encoder are put together; None where it is no method.
        typical: What stands for "nothing special" in each column of the raw matrix: medians of the rows learnt from,
            NaN where most are missing.
        config: What training noted down: rows, settings, guards.
    """

    kind: str
    methods: tuple[Method, ...]
    calibrators: Mapping[str, Calibrator]
    matrix: FeatureMatrix | None
    classifiers: Mapping[str, Classifier]
    stack: Stack | None
    typical: np.ndarray
    config: Mapping[str, Any]

    def predict(self, pairs: pl.DataFrame, *, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Give the probability of buying by every method.

        Args:
            pairs: Rows as `pairs.describe_pairs` gives them, n of them.
            only: Names of the methods asked; None asks all.

        Returns:
            Method name to an array of shape (n,).
        """
        asked = [method.name for method in self.methods if only is None or method.name in only]
        raw = self.matrix.raw(pairs) if self.matrix is not None and set(asked) - set(RULES) else None
        return {
            name: self.calibrators[name](
                RULES[name](pairs) if name in RULES else logistic(self.columns_log_odds(name, raw, pairs))
            )
            for name in asked
        }

    def columns_log_odds(self, method: str, raw: np.ndarray, pairs: pl.DataFrame) -> np.ndarray:
        """Give the uncalibrated log odds of a method other than the rules.

        Args:
            method: Name of the method.
            raw: Shape (n, f), columns of the features.
            pairs: The rows, which tell what the behaviour encoder says.

        Returns:
            Shape (n,).
        """
        if method == ENCODER.name:
            return self.stack({part.name: self.columns_log_odds(part.name, raw, pairs) for part in LEARNT}, pairs)
        scaled = self.matrix.scale(raw) if FAMILIES[method].scaled else raw
        return self.classifiers[method].log_odds(raw, scaled)


@dataclass(frozen=True)
class PropensityModels:
    """Methods of all kinds of one as-of day.

    Attributes:
        horizon_days: Length of the label window that was learnt.
        kinds: By kind, its methods.
        costs: What training each method took, by kind and method; empty for loaded models.
    """

    horizon_days: int
    kinds: Mapping[str, KindModels]
    costs: Mapping[str, Cost] = field(default_factory=dict)


def train_propensity_models(
    examples: Examples,
    *,
    directory: Path,
    horizon_days: int,
    seed: int,
    log: Callable[[str], None] = _log.info,
) -> PropensityModels:
    """Train all methods of all kinds and store them.

    Scaling, imputation and models are fitted on the pairs whose customers do not calibrate; settings are chosen by
    cross-validation among these, no customer on both sides. Calibrators are fitted on the customers kept apart. With
    too few pairs to learn from, the rules alone are stored: there is always something to publish.

    Args:
        examples: By kind, rows as `build_pair_examples` gives them; may be without rows.
        directory: Existing folder for the files.
        horizon_days: Length of the label window.
        seed: Seed of everything random.
        log: Takes lines of progress.

    Returns:
        The models.
    """
    costs: dict[str, Cost] = {}
    kinds = {}
    for kind in KINDS:
        rows = examples[kind].sort("origin", "customer_key", "target")
        if _too_little(rows):
            log(f"{kind}: too few closed labels to learn from, the rules alone are kept")
            kinds[kind] = _rules_alone(kind, rows)
        else:
            kinds[kind] = _trained(kind, rows, seed % 2**32, costs, log)
    models = PropensityModels(horizon_days, kinds, costs)
    _write(models, directory)
    return models


def load_propensity_models(directory: Path) -> PropensityModels:
    """Load models that `train_propensity_models` stored.

    Args:
        directory: The model's folder; its hashes have been verified by the model store.

    Returns:
        The models.

    Raises:
        UntrustedFileError: If a scikit-learn file is not what this project writes.
        OSError: If a file is missing.
        ValueError: If the JSON file is not what this project writes.
    """
    stored = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    return PropensityModels(
        stored["horizon_days"],
        {kind: _kind_of(kind, stored["kinds"][kind], directory) for kind in KINDS},
    )


def _kind_of(kind: str, stored: Mapping[str, Any], directory: Path) -> KindModels:
    return KindModels(
        kind=kind,
        methods=tuple(method for method in METHODS if method.name in stored["methods"]),
        calibrators={name: Calibrator.from_json(each) for name, each in stored["calibrators"].items()},
        matrix=None if stored["matrix"] is None else FeatureMatrix.from_json(stored["matrix"]),
        classifiers={
            name: read_classifier(name, each, directory, prefix=f"{kind}.")
            for name, each in stored["classifiers"].items()
        },
        stack=Stack.from_json(stored["stack"]) if stored.get("stack") else None,
        typical=np.array([np.nan if value is None else value for value in stored["typical"]], dtype=np.float64),
        config=stored["config"],
    )


def _too_little(rows: pl.DataFrame) -> bool:
    learnt = rows.filter(pl.col("role") != CALIBRATE)
    bought = int(learnt[LABEL].sum())
    return learnt.height < MIN_LEARNT or min(bought, learnt.height - bought) < MIN_BOUGHT


def _rules_alone(kind: str, rows: pl.DataFrame) -> KindModels:
    apart = rows.filter(pl.col("role") == CALIBRATE)
    return KindModels(
        kind=kind,
        methods=(POPULARITY, HABIT),
        calibrators={name: fit_calibrator(rule(apart), apart[LABEL].to_numpy()) for name, rule in RULES.items()},
        matrix=None,
        classifiers={},
        stack=None,
        typical=np.empty(0),
        config={"examples": _counts(rows)},
    )


def _trained(
    kind: str, rows: pl.DataFrame, seed: int, costs: dict[str, Cost], log: Callable[[str], None]
) -> KindModels:
    apart = (rows["role"] == CALIBRATE).to_numpy()
    truth, keys = rows[LABEL].cast(pl.Float64).to_numpy(), rows["customer_key"].to_numpy()
    log(f"{kind}: {int((~apart).sum()):,} pairs to learn from, {int(apart.sum()):,} to calibrate")
    learnt = rows.filter(pl.Series(~apart))
    names = sorted(FEATURES)
    matrix = fit_feature_matrix(learnt, names=names)
    raw = matrix.raw(rows)
    scaled = matrix.scale(raw)
    folds = make_folds(learnt, truth[~apart], keys[~apart], names=names)
    fitted: dict[str, Classifier] = {}
    for method in LEARNT:
        with measured(costs, f"{kind} {method.name}"):
            fitted[method.name] = fit_classifier(
                method.name, raw=raw[~apart], scaled=scaled[~apart], truth=truth[~apart], groups=keys[~apart],
                folds=folds, seed=seed,
            )  # fmt: skip
        log(f"{kind}: {method.name} is fitted: {fitted[method.name].settings}")
    held = rows.filter(pl.Series(apart))
    scores = {name: rule(held) for name, rule in RULES.items()}
    log_odds = {name: model.log_odds(raw[apart], scaled[apart]) for name, model in fitted.items()}
    # Weights learnt on the customers that calibrate and judge the stack would flatter it.
    weighing = customer_groups(keys[apart], 2, salt=STACK_SALT) == 0
    stack = fit_stack(
        {name: values[weighing] for name, values in log_odds.items()}, held.filter(pl.Series(weighing)),
        truth[apart][weighing],
    )  # fmt: skip
    if stack is not None:
        log_odds[ENCODER.name] = stack(log_odds, held)
    # As `predict` will see them, after the way through log odds.
    scores |= {name: logistic(values) for name, values in log_odds.items()}
    judged = {name: ~weighing if name == ENCODER.name else np.ones(len(weighing), dtype=bool) for name in scores}
    with measured(costs, f"{kind} controls"):
        control = shuffled_control(keys, raw, apart=apart, share=0.5, seed=seed)
        alarms = feature_alarms(held, [*names, *(NEAR if stack is not None else ())], label=LABEL)
    return KindModels(
        kind=kind,
        methods=tuple(method for method in METHODS if method.name in scores),
        calibrators={
            name: fit_calibrator(score[judged[name]], truth[apart][judged[name]]) for name, score in scores.items()
        },
        matrix=matrix,
        classifiers=fitted,
        stack=stack,
        typical=_typical(raw[~apart]),
        config={
            "examples": _counts(rows),
            "kept_apart": {
                name: _rounded(
                    mean_auc(
                        truth[apart][judged[name]], logit(score[judged[name]]), held["target"].to_numpy()[judged[name]]
                    )
                )
                for name, score in scores.items()
            },
            "shuffled_labels": control,
            "feature_alarms": alarms,
        },
    )


def _typical(raw: np.ndarray) -> np.ndarray:
    mostly_missing = np.isnan(raw).mean(axis=0) > 0.5
    typical = np.full(raw.shape[1], np.nan)
    typical[~mostly_missing] = np.nanmedian(raw[:, ~mostly_missing], axis=0)
    return typical


def _write(models: PropensityModels, directory: Path) -> None:
    stored = {
        "horizon_days": models.horizon_days,
        "code_version": CODE_VERSION,
        "kinds": {
            kind: {
                "methods": [method.name for method in each.methods],
                "calibrators": {name: calibrator.to_json() for name, calibrator in each.calibrators.items()},
                "matrix": None if each.matrix is None else each.matrix.to_json(),
                "classifiers": {name: model.to_json() for name, model in each.classifiers.items()},
                "stack": None if each.stack is None else each.stack.to_json(),
                "typical": [None if np.isnan(value) else float(value) for value in each.typical],
                "config": dict(each.config),
            }
            for kind, each in models.kinds.items()
        },
    }
    (directory / CONFIG_FILE).write_text(json.dumps(stored, indent=1, sort_keys=True), encoding="utf-8")
    for kind, each in models.kinds.items():
        for classifier in each.classifiers.values():
            write_classifier(classifier, directory, prefix=f"{kind}.")


def _counts(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Pairs, customers and the share bought, per origin and role."""
    counted = (
        rows.group_by("origin", "role")
        .agg(rows=pl.len(), customers=pl.col("customer_key").n_unique(), bought=pl.col(LABEL).mean().round(6))
        .sort("origin", "role")
    )
    return [row | {"origin": row["origin"].isoformat()} for row in counted.iter_rows(named=True)]


def _rounded(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
