"""Churn models as a whole: trained from examples, stored in a directory, loaded, asked for scores.

One directory holds all methods of one as-of day, rule and rivals beside the network, so that the
scorecard grades and the scores publish exactly what was trained together. Files are JSON,
safetensors, skops and LightGBM's text; opening one runs no code. Which method is published is not
decided here.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.features.examples import CALIBRATE, FIT, STOP, feature_names
from insight_assets.features.vocabulary import event_kinds
from insight_assets.insights.behaviour.orders import ORDER_CHANCE
from insight_assets.insights.churn.rivals import recency_score
from insight_assets.insights.churn.survival import ReturnModel, asked_horizons, fit_returns
from insight_assets.lake import hash_frame, sort_rows
from insight_assets.ml import classifiers as families
from insight_assets.ml.blending import Blend, fit_blend
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
from insight_assets.ml.metrics import auc
from insight_assets.ml.progress import Watch
from insight_assets.ml.referee import Method
from insight_assets.ml.sequences import JaggedEvents, jagged_events
from insight_assets.ml.splits import customer_groups
from insight_assets.ml.tabular import FeatureMatrix, fit_feature_matrix

if TYPE_CHECKING:
    from insight_assets.insights.churn.network import ChurnNetwork, NetworkSettings
    from insight_assets.ml.training import Epoch

RECENCY = Method("recency", "rule", 0)
BAYES = Method(families.BAYES, "rival", 1)
LOGISTIC = Method(families.LOGISTIC, "rival", 2)
TREE = Method(families.TREE, "rival", 3)
SVM = Method(families.SVM, "rival", 4)
FOREST = Method(families.FOREST, "rival", 5)
BOOSTING = Method(families.BOOSTING, "rival", 6)
LIGHTGBM = Method(families.LIGHTGBM, "rival", 7)
NETWORK = Method("network", "model", 8)
ENCODER = Method("encoder", "model", 9)
"""The behaviour encoder's chance of no order (see `insights.behaviour.orders`), where chances of one horizon ago are
there to calibrate it by."""

BLEND = Method("blend", "model", 10)

RIVALS = (BAYES, LOGISTIC, TREE, SVM, FOREST, BOOSTING)
METHODS = (RECENCY, *RIVALS, LIGHTGBM, NETWORK, ENCODER, BLEND)
BLENDED = (LOGISTIC, FOREST, BOOSTING, NETWORK, ENCODER)
"""Methods that the blend puts together, as far as they are there: the best of each kind, linear, bagged, boosted, and
those that read events in their order."""

CONFIG_FILE = "config.json"
FEATURES_FILE = "features.json"
CALIBRATORS_FILE = "calibrators.json"
RETURNS_FILE = "returns.json"
NETWORK_FILE = "network.safetensors"

CODE_VERSION = "3"
"""Raised by hand when training changes what it makes of the same examples."""

MIN_LEARNT = 50
MIN_STOPPING = 5
"""Rows to learn from and to stop by below which only the recency rule is kept."""

MIN_CALIBRATED = 30
"""Customers kept apart with a chance by the behaviour encoder below which it is no method."""

BLEND_SALT = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Read:
    """What was read of the events of n customers.

    Attributes:
        by_network: Shape (n, 2 width), what the churn network needs of them; None where it is not asked.
        away: Shape (n,), log odds of no order by the behaviour encoder; None where it is not asked.
    """

    by_network: np.ndarray | None
    away: np.ndarray | None

    def at(self, rows: np.ndarray) -> "Read":
        """Give what was read of some of the customers."""
        return Read(*(None if each is None else each[rows] for each in (self.by_network, self.away)))


@dataclass(frozen=True)
class ChurnModels:
    """Methods of one as-of day.

    Attributes:
        methods: Methods that can be asked, least complex first; the recency rule always can.
        horizon_days: Length of the label window that was learnt.
        calibrators: Calibrator per method name.
        matrix: How features become matrices; None when only the rule was kept.
        classifiers: The classical rivals by method name.
        network: The sequence network; None when only the rule was kept, or when it was not loaded.
        network_settings: What the network was built with; None without one.
        typical_away: Log odds of no order of customers of whom the behaviour encoder says nothing; None without it.
        blend: How methods are put together; None when only the rule was kept, or when it was not loaded.
        returns: When customers return; None when only the rule was kept.
        config: What training noted down: rows, settings, losses, guards.
        costs: What training each method took; empty for loaded models.
    """

    methods: tuple[Method, ...]
    horizon_days: int
    calibrators: Mapping[str, Calibrator]
    matrix: FeatureMatrix | None
    classifiers: Mapping[str, Classifier]
    network: "ChurnNetwork | None"
    network_settings: "NetworkSettings | None"
    typical_away: float | None
    blend: Blend | None
    returns: ReturnModel | None
    config: Mapping[str, Any]
    costs: Mapping[str, Cost] = field(default_factory=dict)

    def predict(
        self, features: pl.DataFrame, sequences: pl.DataFrame, *, only: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Give the probability of churning by every method.

        Args:
            features: Rows of the contract `customer_features`, n customers as of one day, joined by
                `with_order_chances` where the behaviour encoder is among the methods.
            sequences: Rows of the contract `event_sequences` as of that day; customers without a
                row have no events.
            only: Names of the methods asked; None asks all.

        Returns:
            Method name to an array of shape (n,), in the order of `features`.
        """
        return {
            name: self.calibrators[name](logistic(log_odds))
            for name, log_odds in self.log_odds(features, sequences, only=only).items()
        }

    def log_odds(
        self, features: pl.DataFrame, sequences: pl.DataFrame, *, only: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Give the uncalibrated log odds of churning by every method.

        Args:
            features: As for `predict`.
            sequences: As for `predict`.
            only: As for `predict`.

        Returns:
            Method name to an array of shape (n,), in the order of `features`.
        """
        asked = [method.name for method in self.methods if only is None or method.name in only]
        log_odds: dict[str, np.ndarray] = {}
        raw = np.empty((features.height, 0))
        if asked != [RECENCY.name]:
            raw = self.matrix.raw(features)
        read = self.read(features, sequences, asked)
        for name in asked:
            if name == RECENCY.name:
                log_odds[name] = self.recency_log_odds(features)
            elif name == BLEND.name:
                # The parts were asked before, as the blend is the most complex; else they are now.
                parts = {
                    part: log_odds[part] if part in log_odds else self.columns_log_odds(part, raw, read)
                    for part in self.blend.weights
                }
                log_odds[name] = self.blend(parts)
            else:
                log_odds[name] = self.columns_log_odds(name, raw, read)
        return log_odds

    def columns_log_odds(self, method: str, raw: np.ndarray, read: "Read") -> np.ndarray:
        """Give the log odds of a method other than the recency rule, from columns.

        Args:
            method: Name of the method.
            raw: Shape (n, f), features as they are.
            read: What was read of the same rows' events.

        Returns:
            Shape (n,).
        """
        if method == BLEND.name:
            return self.blend({part: self.columns_log_odds(part, raw, read) for part in self.blend.weights})
        if method == NETWORK.name:
            return self.network_log_odds(read.by_network, self.matrix.scale(raw))
        if method == ENCODER.name:
            return read.away
        scaled = self.matrix.scale(raw) if FAMILIES[method].scaled else raw
        return self.classifiers[method].log_odds(raw, scaled)

    def read(self, features: pl.DataFrame, sequences: pl.DataFrame, asked: Collection[str]) -> "Read":
        """Read the customers' events as far as some methods need it; arguments as for `predict`."""
        needed = self._parts(asked)
        by_network = self.read_sequences(features, sequences) if NETWORK.name in needed else None
        return Read(by_network, away_log_odds(features, self.typical_away) if ENCODER.name in needed else None)

    def weight_in(self, method: str, part: str) -> float:
        """Say how much a method's log odds move with those of a part: 1 for itself, its weight in a blend, else 0."""
        return self.blend.weights.get(part, 0.0) if method == BLEND.name else float(method == part)

    def shorter_horizons(self, features: pl.DataFrame, probability: np.ndarray) -> dict[int, np.ndarray]:
        """Give the probability of no order within each horizon shorter than the one that was learnt.

        Args:
            features: Rows of the contract `customer_features`, n customers.
            probability: Shape (n,), probability of churning within the whole horizon, by any method.

        Returns:
            Days to an array of shape (n,); nothing when only the rule was kept.
        """
        if self.returns is None:
            return {}
        scaled = self.matrix.scale(self.matrix.raw(features))
        return {
            day: self.returns.away_given(probability, scaled, day, horizon_days=self.horizon_days)
            for day in asked_horizons(self.horizon_days)[:-1]
        }

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

    def _parts(self, asked: Collection[str]) -> set[str]:
        """Methods that must compute for those asked."""
        return {*asked, *(self.blend.weights if BLEND.name in asked else ())}


def train_churn_models(
    examples: pl.DataFrame,
    *,
    directory: Path,
    work_directory: Path,
    horizon_days: int,
    seed: int,
    max_epochs: int = 12,
    with_lightgbm: bool = False,
    chances: pl.DataFrame | None = None,
    log: Callable[[str], None] = _log.info,
    watch: Watch | None = None,
) -> ChurnModels:
    """Train all methods and store them.

    Scaling, imputation and models are fitted on the rows with role `fit` or `stop`; settings of the
    rivals are chosen by cross-validation among these rows, no customer on both sides. Calibrators
    and the weights of the blend are fitted on the rows with role `calibrate`, the blend's each on one
    half of them. With too few rows or only one outcome to learn from, the recency rule alone is stored:
    there is always something to publish.

    Args:
        examples: Rows of the contract `churn_examples`; may be empty.
        directory: Existing folder for the model's files.
        work_directory: Folder for checkpoints; a training that was killed goes on from there.
        horizon_days: Length of the label window.
        seed: Seed of everything random.
        max_epochs: Most passes of the network over the rows.
        with_lightgbm: Whether LightGBM is a rival too.
        chances: What `known_chances` gives as of the newest origin, by an encoder that has seen nothing after it;
            without enough of them the encoder is no method.
        log: Takes lines of progress.
        watch: Is told how far the training of the network is, see `train_network`.

    Returns:
        The models.

    Raises:
        ClassifierMissingError: If LightGBM is wanted and not installed.
    """
    if not examples.is_empty():
        examples = examples.sort("origin", "customer_key")
    if _too_little(examples):
        log("too few closed labels to learn from: the recency rule alone is kept")
        models = _rule_alone(examples, horizon_days)
    else:
        rivals = (*RIVALS, LIGHTGBM) if with_lightgbm else RIVALS
        models = _trained(examples, work_directory, horizon_days, seed, max_epochs, rivals, chances, log, watch)
    _write(models, directory)
    return models


def stored_methods(directory: Path) -> tuple[Method, ...]:
    """Give the methods that a model's folder holds, least complex first.

    Args:
        directory: The model's folder.

    Raises:
        OSError: If the config is missing.
        ValueError: If it is not what this project writes.
    """
    stored = _read_json(directory / CONFIG_FILE)["methods"]
    return tuple(method for method in METHODS if method.name in stored)


def load_churn_models(directory: Path, *, only: Collection[str] | None = None) -> ChurnModels:
    """Load models that `train_churn_models` stored.

    Args:
        directory: The model's folder; its hashes have been verified by the model store.
        only: Names of the methods that will be asked; None loads all. Their parts are loaded with them.

    Returns:
        The models.

    Raises:
        UntrustedFileError: If a scikit-learn file is not what this project writes.
        safetensors.SafetensorError: If the network file is not what this project writes.
        ClassifierMissingError: If LightGBM made one of them and is not installed.
        OSError: If a file is missing.
        ValueError: If a JSON file is not what this project writes.
    """
    config = _read_json(directory / CONFIG_FILE)
    calibrators = {
        name: Calibrator.from_json(stored)
        for name, stored in _read_json(directory / CALIBRATORS_FILE).items()
    }
    methods = tuple(
        method
        for method in METHODS
        if method.name in config["methods"] and (only is None or method.name in only)
    )
    needed = {method.name for method in methods}
    blend = matrix = network = settings = returns = None
    if BLEND.name in needed:
        blend = Blend.from_json(config["blend"])
        needed |= set(blend.weights)
    if NETWORK.name in config["methods"]:
        matrix = FeatureMatrix.from_json(_read_json(directory / FEATURES_FILE))
        returns = ReturnModel.from_json(_read_json(directory / RETURNS_FILE))
    if NETWORK.name in needed:
        from insight_assets.insights.churn.network import ChurnNetwork, NetworkSettings
        from insight_assets.ml.training import read_weights

        settings = NetworkSettings(**config["network"])
        network = read_weights(ChurnNetwork(settings, features=matrix.scaled_width), directory / NETWORK_FILE)
    return ChurnModels(
        methods=methods,
        horizon_days=config["horizon_days"],
        calibrators=calibrators,
        matrix=matrix,
        classifiers={
            name: read_classifier(name, stored, directory)
            for name, stored in config.get("classifiers", {}).items()
            if name in needed
        },
        network=network,
        network_settings=settings,
        typical_away=config.get("typical_away"),
        blend=blend,
        returns=returns,
        config=config,
    )


def away_log_odds(features: pl.DataFrame, typical: float) -> np.ndarray:
    """Give the log odds of no order by the behaviour encoder.

    Args:
        features: n rows with the column `order_chance`.
        typical: What stands for customers of whom it says nothing.

    Returns:
        Shape (n,).
    """
    away = -logit(features[ORDER_CHANCE].cast(pl.Float64).to_numpy())
    return np.where(np.isnan(away), typical, away)


def _typical_away(chances: pl.Series) -> float | None:
    """Mean log odds of no order; None where too few are known to calibrate by."""
    known = chances.drop_nulls().to_numpy()
    return None if len(known) < MIN_CALIBRATED else float(round(-logit(known).mean(), 6))


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
        classifiers={},
        network=None,
        network_settings=None,
        typical_away=None,
        blend=None,
        returns=None,
        config={
            "methods": [RECENCY.name],
            "horizon_days": horizon_days,
            "code_version": CODE_VERSION,
            "data_hash": _data_hash(examples),
            "examples": _counts(examples),
        },
    )


def _trained(
    examples: pl.DataFrame,
    work_directory: Path,
    horizon_days: int,
    seed: int,
    max_epochs: int,
    rivals: tuple[Method, ...],
    chances: pl.DataFrame | None,
    log: Callable[[str], None],
    watch: Watch | None,
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
    keys = examples["customer_key"].to_numpy()
    learnt = np.flatnonzero(role != CALIBRATE)
    apart = np.flatnonzero(role == CALIBRATE)
    log(f"{len(learnt):,} rows to learn from, {len(apart):,} to calibrate")

    names = feature_names(examples)
    matrix = fit_feature_matrix(examples[learnt], names=names)
    raw = matrix.raw(examples)
    scaled = matrix.scale(raw)
    folds = make_folds(examples[learnt], churned[learnt], keys[learnt], names=names)
    costs: dict[str, Cost] = {}
    fitted: dict[str, Classifier] = {}
    for rival in rivals:
        with measured(costs, rival.name):
            fitted[rival.name] = fit_classifier(
                rival.name,
                raw=raw[learnt],
                scaled=scaled[learnt],
                truth=churned[learnt],
                groups=keys[learnt],
                folds=folds,
                seed=_seed32(seed),
            )
        log(f"{rival.name} is fitted: {_told(fitted[rival.name])}")

    with measured(costs, "returns"):
        returns = fit_returns(
            scaled[learnt],
            examples["return_days"].cast(pl.Float64).to_numpy()[learnt],
            horizon_days=horizon_days,
        )
    settings = NetworkSettings(kinds=len(event_kinds()))
    rows = ChurnRows(
        events=_events(examples, as_of="origin", settings=settings),
        features=scaled.astype(np.float32),
        churned=churned.astype(np.float32),
    )
    with measured(costs, NETWORK.name):
        network, epochs = train_churn_network(
            rows,
            fit=np.flatnonzero(role == FIT),
            stop=np.flatnonzero(role == STOP),
            settings=settings,
            max_epochs=max_epochs,
            seed=seed,
            work_directory=work_directory,
            log=lambda line: log(f"network: {line}"),
            watch=watch,
        )

    at_newest = examples[apart]
    days = at_newest["days_since_last_order"].cast(pl.Float64).to_numpy()
    log_odds = {RECENCY.name: logit(recency_score(days, horizon_days=horizon_days))}
    log_odds |= {name: rival.log_odds(raw[apart], scaled[apart]) for name, rival in fitted.items()}
    log_odds[NETWORK.name] = join_features(
        network,
        read_events(network, _events(at_newest, as_of="origin", settings=settings)),
        scaled[apart],
    )
    typical_away, alarms = None, feature_alarms(examples, names, label="churned")
    if chances is not None:
        told = chances.select("customer_key", ORDER_CHANCE)
        at_newest = at_newest.join(told, on="customer_key", how="left", maintain_order="left")
        typical_away = _typical_away(at_newest[ORDER_CHANCE])
    if typical_away is not None:
        log_odds[ENCODER.name] = away_log_odds(at_newest, typical_away)
        alarms = alarms + feature_alarms(at_newest, [ORDER_CHANCE], label="churned")
    with measured(costs, BLEND.name):
        # Weights learnt on the rows that calibrate and judge the blend would flatter it.
        weighing = customer_groups(keys[apart], 2, salt=BLEND_SALT) == 0
        parts = {part.name: log_odds[part.name][weighing] for part in BLENDED if part.name in log_odds}
        blend = fit_blend(parts, churned[apart][weighing])
    log_odds[BLEND.name] = blend(log_odds)
    judged = {name: ~weighing if name == BLEND.name else np.ones(len(apart), dtype=bool) for name in log_odds}
    control = shuffled_control(
        keys, raw, apart=role == CALIBRATE, share=float(churned.mean()), seed=_seed32(seed)
    )
    log("calibrated; the control with shuffled labels is done")
    methods = tuple(method for method in METHODS if method.name in log_odds)
    return ChurnModels(
        methods=methods,
        horizon_days=horizon_days,
        calibrators={
            name: fit_calibrator(logistic(values[judged[name]]), churned[apart][judged[name]])
            for name, values in log_odds.items()
        },
        matrix=matrix,
        classifiers=fitted,
        network=network,
        network_settings=settings,
        typical_away=typical_away,
        blend=blend,
        returns=returns,
        costs=costs,
        config={
            "methods": [method.name for method in methods],
            "horizon_days": horizon_days,
            "seed": seed,
            "max_epochs": max_epochs,
            "code_version": CODE_VERSION,
            "data_hash": _data_hash(examples),
            "features": names,
            "network": asdict(settings),
            "epochs": [_losses(epoch) for epoch in epochs],
            "classifiers": {name: rival.to_json() for name, rival in fitted.items()},
            "blend": blend.to_json(),
            "typical_away": typical_away,
            "kept_apart": {
                name: _rounded(auc(churned[apart][judged[name]], values[judged[name]]))
                for name, values in log_odds.items()
            },
            "shuffled_labels": control,
            "feature_alarms": alarms,
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
    from insight_assets.ml.training import write_weights

    _write_json(directory / FEATURES_FILE, models.matrix.to_json())
    _write_json(directory / RETURNS_FILE, models.returns.to_json())
    for classifier in models.classifiers.values():
        write_classifier(classifier, directory)
    write_weights(models.network, directory / NETWORK_FILE)


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


def _data_hash(examples: pl.DataFrame) -> str:
    """Hash of the examples as learnt from: equal rows in any order give the same."""
    table = contract("churn_examples")
    rows = table.empty() if examples.is_empty() else table.conform(examples.lazy()).collect()
    return hash_frame(sort_rows(rows, table), table)[:16]


def _told(classifier: Classifier) -> str:
    return ", ".join(f"{name} {value}" for name, value in classifier.settings.items())


def _losses(epoch: "Epoch") -> list[float]:
    return [epoch.number, round(epoch.training_loss, 6), round(epoch.validation_loss, 6)]


def _rounded(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _as_predicted(score: np.ndarray) -> np.ndarray:
    """A raw score as `predict` will see it, after the way through log odds."""
    return logistic(logit(score))


def _seed32(seed: int) -> int:
    return seed % 2**32


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
