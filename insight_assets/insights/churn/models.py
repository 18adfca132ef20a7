"""Churn models as a whole: trained from examples, stored in a directory, loaded, asked for scores.

One directory holds all methods of one as-of day, rule and rivals beside the network, so that the
scorecard grades and the scores publish exactly what was trained together. Files are JSON,
safetensors and skops; opening one runs no code. Which method is published is not decided here.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from insight_assets.features.examples import CALIBRATE, FIT, STOP, feature_names
from insight_assets.features.vocabulary import event_kinds
from insight_assets.insights.churn.rivals import (
    boosting_log_odds,
    fit_boosting,
    fit_logistic,
    memorising_boosting,
    recency_score,
)
from insight_assets.ml.calibration import Calibrator, fit_calibrator, logistic, logit
from insight_assets.ml.metrics import auc
from insight_assets.ml.referee import Method
from insight_assets.ml.sequences import JaggedEvents, jagged_events
from insight_assets.ml.sklearn_files import read_sklearn, write_sklearn
from insight_assets.ml.splits import mixed_keys
from insight_assets.ml.tabular import FeatureMatrix, fit_feature_matrix

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    from insight_assets.insights.churn.network import ChurnNetwork, NetworkSettings
    from insight_assets.ml.training import Epoch

RECENCY = Method("recency", "rule", 0)
LOGISTIC = Method("logistic", "rival", 1)
BOOSTING = Method("boosting", "rival", 2)
NETWORK = Method("network", "model", 3)
METHODS = (RECENCY, LOGISTIC, BOOSTING, NETWORK)

CONFIG_FILE = "config.json"
FEATURES_FILE = "features.json"
CALIBRATORS_FILE = "calibrators.json"
LOGISTIC_FILE = "logistic.skops"
BOOSTING_FILE = "boosting.skops"
NETWORK_FILE = "network.safetensors"

MIN_LEARNT = 50
MIN_STOPPING = 5
"""Rows to learn from and to stop by below which only the recency rule is kept."""

CONTROL_SALT = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChurnModels:
    """All methods of one as-of day.

    Attributes:
        methods: Methods that can be asked, least complex first; the recency rule always can.
        horizon_days: Length of the label window that was learnt.
        calibrators: Calibrator per method name.
        matrix: How features become matrices; None when only the rule was kept.
        logistic: The logistic regression; None when only the rule was kept.
        boosting: The gradient boosting; None when only the rule was kept.
        network: The sequence network; None when only the rule was kept.
        network_settings: What the network was built with; None without one.
        config: What training noted down: rows, losses, the control with shuffled labels.
    """

    methods: tuple[Method, ...]
    horizon_days: int
    calibrators: Mapping[str, Calibrator]
    matrix: FeatureMatrix | None
    logistic: "LogisticRegression | None"
    boosting: "HistGradientBoostingClassifier | None"
    network: "ChurnNetwork | None"
    network_settings: "NetworkSettings | None"
    config: Mapping[str, Any]

    def predict(self, features: pl.DataFrame, sequences: pl.DataFrame) -> dict[str, np.ndarray]:
        """Give the probability of churning by every method.

        Args:
            features: Rows of the contract `customer_features`, n customers as of one day.
            sequences: Rows of the contract `event_sequences` as of that day; customers without a
                row have no events.

        Returns:
            Method name to an array of shape (n,), in the order of `features`.
        """
        return {
            name: self.calibrators[name](logistic(log_odds))
            for name, log_odds in self.log_odds(features, sequences).items()
        }

    def log_odds(self, features: pl.DataFrame, sequences: pl.DataFrame) -> dict[str, np.ndarray]:
        """Give the uncalibrated log odds of churning by every method.

        Args:
            features: As for `predict`.
            sequences: As for `predict`.

        Returns:
            Method name to an array of shape (n,), in the order of `features`.
        """
        log_odds = {RECENCY.name: self.recency_log_odds(features)}
        if self.matrix is None:
            return log_odds
        raw = self.matrix.raw(features)
        log_odds[LOGISTIC.name] = self.logistic.decision_function(self.matrix.scale(raw))
        log_odds[BOOSTING.name] = boosting_log_odds(self.boosting, raw)
        log_odds[NETWORK.name] = self.network_log_odds(
            self.read_sequences(features, sequences), self.matrix.scale(raw)
        )
        return log_odds

    def recency_log_odds(self, features: pl.DataFrame) -> np.ndarray:
        """Give the log odds of the recency rule, shape (n,)."""
        days = features["days_since_last_order"].cast(pl.Float64).to_numpy()
        return logit(recency_score(days, horizon_days=self.horizon_days))

    def read_sequences(self, features: pl.DataFrame, sequences: pl.DataFrame) -> np.ndarray:
        """Let the network read the customers' events; n rows, in the order of `features`."""
        from insight_assets.insights.churn.network import read_events

        joined = features.select("customer_key", "as_of").join(
            sequences.drop("as_of"), on="customer_key", how="left", maintain_order="left"
        )
        return read_events(
            self.network, _events(joined, as_of="as_of", settings=self.network_settings)
        )

    def network_log_odds(self, read: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        """Give the log odds of the network from what it read and scaled features, shape (n,)."""
        from insight_assets.insights.churn.network import join_features

        return join_features(self.network, read, scaled)


def train_churn_models(
    examples: pl.DataFrame,
    *,
    directory: Path,
    work_directory: Path,
    horizon_days: int,
    seed: int,
    max_epochs: int = 12,
    log: Callable[[str], None] = _log.info,
) -> ChurnModels:
    """Train all methods and store them.

    Scaling, imputation and models are fitted on the rows with role `fit` or `stop`, calibrators on
    those with role `calibrate`. With too few rows or only one outcome to learn from, the recency
    rule alone is stored: there is always something to publish.

    Args:
        examples: Rows of the contract `churn_examples`; may be empty.
        directory: Existing folder for the model's files.
        work_directory: Folder for checkpoints; a training that was killed goes on from there.
        horizon_days: Length of the label window.
        seed: Seed of everything random.
        max_epochs: Most passes of the network over the rows.
        log: Takes lines of progress.

    Returns:
        The models.
    """
    if not examples.is_empty():
        examples = examples.sort("origin", "customer_key")
    if _too_little(examples):
        log("too few closed labels to learn from: the recency rule alone is kept")
        models = _rule_alone(examples, horizon_days)
    else:
        models = _trained(examples, work_directory, horizon_days, seed, max_epochs, log)
    _write(models, directory)
    return models


def load_churn_models(directory: Path) -> ChurnModels:
    """Load models that `train_churn_models` stored.

    Args:
        directory: The model's folder; its hashes have been verified by the model store.

    Returns:
        The models.

    Raises:
        UntrustedFileError: If a scikit-learn file is not what this project writes.
        safetensors.SafetensorError: If the network file is not what this project writes.
        OSError: If a file is missing.
        ValueError: If a JSON file is not what this project writes.
    """
    config = _read_json(directory / CONFIG_FILE)
    calibrators = {
        name: Calibrator.from_json(stored)
        for name, stored in _read_json(directory / CALIBRATORS_FILE).items()
    }
    methods = tuple(method for method in METHODS if method.name in config["methods"])
    matrix = boosting = regression = network = settings = None
    if NETWORK in methods:
        from insight_assets.insights.churn.network import NetworkSettings, load_network

        matrix = FeatureMatrix.from_json(_read_json(directory / FEATURES_FILE))
        regression = read_sklearn(directory / LOGISTIC_FILE)
        boosting = read_sklearn(directory / BOOSTING_FILE)
        settings = NetworkSettings(**config["network"])
        network = load_network(directory / NETWORK_FILE, settings, features=matrix.scaled_width)
    return ChurnModels(
        methods=methods,
        horizon_days=config["horizon_days"],
        calibrators=calibrators,
        matrix=matrix,
        logistic=regression,
        boosting=boosting,
        network=network,
        network_settings=settings,
        config=config,
    )


def shuffled_control(examples: pl.DataFrame, matrix: FeatureMatrix, *, seed: int) -> dict[str, Any]:
    """Learn labels that mean nothing and see whether the rows kept apart are foretold all the same.

    Every customer gets one random label for all origins. Boosting can then only remember customers,
    and must fail on those it never saw: an AUC away from one half means that customers stand on
    both sides of the split, or that the grading is broken.

    Args:
        examples: Rows of the contract `churn_examples`.
        matrix: How features become a matrix.
        seed: Seed of the labels.

    Returns:
        `auc` on the calibration rows and its standard error under chance (`standard_error`), or
        both None when they are undefined.
    """
    drawn = mixed_keys(examples["customer_key"].to_numpy(), salt=CONTROL_SALT + seed)
    share = float(examples["churned"].mean())
    label = (drawn / np.float64(2**64) < share).astype(np.float64)
    apart = (examples["role"] == CALIBRATE).to_numpy()
    ones, rows = int(label[apart].sum()), int(apart.sum())
    if min(ones, rows - ones) == 0 or np.unique(label[~apart]).size < 2:
        return {"auc": None, "standard_error": None}
    raw = matrix.raw(examples)
    model = memorising_boosting(raw[~apart], label[~apart], seed=seed)
    error = float(np.sqrt((rows + 1) / (12 * ones * (rows - ones))))
    foretold = auc(label[apart], boosting_log_odds(model, raw[apart]))
    return {"auc": round(foretold, 6), "standard_error": round(error, 6)}


def _too_little(examples: pl.DataFrame) -> bool:
    if examples.is_empty():
        return True
    fit = examples.filter(pl.col("role") == FIT)
    stopping = examples.filter(pl.col("role") == STOP).height
    return fit.height < MIN_LEARNT or stopping < MIN_STOPPING or fit["churned"].n_unique() < 2


def _rule_alone(examples: pl.DataFrame, horizon_days: int) -> ChurnModels:
    calibrator = Calibrator()
    if not examples.is_empty():
        apart = examples.filter(pl.col("role") == CALIBRATE)
        days = apart["days_since_last_order"].cast(pl.Float64).to_numpy()
        calibrator = fit_calibrator(
            _as_predicted(recency_score(days, horizon_days=horizon_days)),
            apart["churned"].to_numpy(),
        )
    return ChurnModels(
        methods=(RECENCY,),
        horizon_days=horizon_days,
        calibrators={RECENCY.name: calibrator},
        matrix=None,
        logistic=None,
        boosting=None,
        network=None,
        network_settings=None,
        config={
            "methods": [RECENCY.name],
            "horizon_days": horizon_days,
            "examples": _counts(examples),
        },
    )


def _trained(
    examples: pl.DataFrame,
    work_directory: Path,
    horizon_days: int,
    seed: int,
    max_epochs: int,
    log: Callable[[str], None],
) -> ChurnModels:
    from insight_assets.insights.churn.network import (
        ChurnRows,
        NetworkSettings,
        join_features,
        read_events,
        train_churn_network,
    )

    role = examples["role"].to_numpy()
    churned = examples["churned"].cast(pl.Float64).to_numpy()
    learnt = np.flatnonzero(role != CALIBRATE)
    apart = np.flatnonzero(role == CALIBRATE)
    log(f"{len(learnt):,} rows to learn from, {len(apart):,} to calibrate")

    matrix = fit_feature_matrix(examples[learnt], names=feature_names(examples))
    raw = matrix.raw(examples)
    scaled = matrix.scale(raw)
    regression = fit_logistic(scaled[learnt], churned[learnt])
    log("logistic regression is fitted")
    boosting = fit_boosting(
        raw[learnt], churned[learnt], stop=role[learnt] == STOP, seed=_seed32(seed)
    )
    log(f"boosting is fitted: {boosting.n_iter_} trees of {boosting.max_leaf_nodes} leaves")

    settings = NetworkSettings(kinds=len(event_kinds()))
    rows = ChurnRows(
        events=_events(examples, as_of="origin", settings=settings),
        features=scaled.astype(np.float32),
        churned=churned.astype(np.float32),
    )
    network, epochs = train_churn_network(
        rows,
        fit=np.flatnonzero(role == FIT),
        stop=np.flatnonzero(role == STOP),
        settings=settings,
        max_epochs=max_epochs,
        seed=seed,
        work_directory=work_directory,
        log=lambda line: log(f"network: {line}"),
    )

    at_newest = examples[apart]
    log_odds = {
        RECENCY: logit(
            recency_score(
                at_newest["days_since_last_order"].cast(pl.Float64).to_numpy(),
                horizon_days=horizon_days,
            )
        ),
        LOGISTIC: regression.decision_function(scaled[apart]),
        BOOSTING: boosting_log_odds(boosting, raw[apart]),
        NETWORK: join_features(
            network,
            read_events(network, _events(at_newest, as_of="origin", settings=settings)),
            scaled[apart],
        ),
    }
    control = shuffled_control(examples, matrix, seed=_seed32(seed))
    log("calibrated; the control with shuffled labels is done")
    return ChurnModels(
        methods=METHODS,
        horizon_days=horizon_days,
        calibrators={
            method.name: fit_calibrator(logistic(values), churned[apart])
            for method, values in log_odds.items()
        },
        matrix=matrix,
        logistic=regression,
        boosting=boosting,
        network=network,
        network_settings=settings,
        config={
            "methods": [method.name for method in METHODS],
            "horizon_days": horizon_days,
            "seed": seed,
            "max_epochs": max_epochs,
            "network": asdict(settings),
            "epochs": [_losses(epoch) for epoch in epochs],
            "boosting": {"trees": boosting.n_iter_, "leaves": boosting.max_leaf_nodes},
            "shuffled_labels": control,
            "examples": _counts(examples),
        },
    )


def _write(models: ChurnModels, directory: Path) -> None:
    _write_json(directory / CONFIG_FILE, models.config)
    _write_json(
        directory / CALIBRATORS_FILE,
        {name: calibrator.to_json() for name, calibrator in models.calibrators.items()},
    )
    if models.matrix is None:
        return
    from insight_assets.insights.churn.network import write_network

    _write_json(directory / FEATURES_FILE, models.matrix.to_json())
    write_sklearn(models.logistic, directory / LOGISTIC_FILE)
    write_sklearn(models.boosting, directory / BOOSTING_FILE)
    write_network(models.network, directory / NETWORK_FILE)


def _events(rows: pl.DataFrame, *, as_of: str, settings: "NetworkSettings") -> JaggedEvents:
    return jagged_events(
        rows,
        as_of=as_of,
        max_events=settings.max_events,
        product_buckets=settings.product_buckets,
        category_buckets=settings.category_buckets,
    )


def _counts(examples: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows and churn rate per origin and role."""
    if examples.is_empty():
        return []
    counted = (
        examples.group_by("origin", "role")
        .agg(pl.len().alias("rows"), pl.col("churned").mean().round(6).alias("churned"))
        .sort("origin", "role")
    )
    return [
        {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in row.items()
        }
        for row in counted.iter_rows(named=True)
    ]


def _losses(epoch: "Epoch") -> list[float]:
    return [epoch.number, round(epoch.training_loss, 6), round(epoch.validation_loss, 6)]


def _as_predicted(score: np.ndarray) -> np.ndarray:
    """A raw score as `predict` will see it, after the way through log odds."""
    return logistic(logit(score))


def _seed32(seed: int) -> int:
    return seed % 2**32


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
