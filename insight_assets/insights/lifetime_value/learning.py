"""What lifetime value learns from closed horizons: the learned methods, and how far to believe every method.

The probabilistic models need no labels and belong to `model`. Here examples (customers at closed origins, with what
they bought next) teach gradient boosting and the value network to correct them, and the newest closed origin says by
how much the forecasts of each method are off in total, and between which bounds outcomes lie around them. The same
season of a year ago has half a say in totals.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from insight_assets.features.examples import CALIBRATE, FIT, STOP, feature_names
from insight_assets.insights.lifetime_value.boosting import correct, fit_correction
from insight_assets.insights.lifetime_value.customers import Buyers, buyers
from insight_assets.insights.lifetime_value.forecasts import (
    BOOSTED,
    TAUGHT,
    UNTAUGHT,
    Forecast,
    ProbabilisticModel,
    fit_probabilistic,
    forecast,
    probabilistic_forecast,
)
from insight_assets.ml.conformal import ConformalBounds, fit_conformal_bounds
from insight_assets.ml.sklearn_files import read_sklearn, write_sklearn
from insight_assets.ml.tabular import FeatureMatrix, fit_feature_matrix

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

    from insight_assets.insights.lifetime_value.ziln import ZilnNetwork, ZilnRows, ZilnSettings

MIN_LEARNT = 200
MIN_BOUGHT = 50
"""Rows to learn from, and rows with a purchase among them, below which only the probabilistic models are kept."""

INTERVAL_LEVEL = 0.9
MOST_SCALE = 3.0
"""Totals are never corrected by more: beyond that the newest horizon was another world."""

ORDERS_FILE, VALUE_FILE = "boosting_orders.skops", "boosting_value.skops"
NETWORK_FILE = "value_network.safetensors"
LEARNT_FILE = "learnt.json"

_SCALE_DIGITS = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learnt:
    """The learned methods. They foretell one horizon.

    Attributes:
        matrix: how features become matrices.
        orders: boosting of the expected purchase days.
        value: boosting of the expected value.
        network: the value network.
        settings: what the network was built with.
        notes: what training noted down: rows, losses.
    """

    matrix: FeatureMatrix
    orders: "HistGradientBoostingRegressor"
    value: "HistGradientBoostingRegressor"
    network: "ZilnNetwork"
    settings: "ZilnSettings"
    notes: Mapping[str, Any]

    def forecast(self, method: str, customers: Buyers, expected: Forecast) -> Forecast:
        """Give what a learned method expects in the horizon.

        Args:
            method: `boosting` or `ziln`.
            customers: customers with their features.
            expected: what the probabilistic model expects of them in the horizon.
        """
        raw = self.matrix.raw(customers.features)
        if method == BOOSTED.name:
            return Forecast(
                orders=correct(self.orders, raw, expected.orders), value=correct(self.value, raw, expected.value)
            )
        from insight_assets.insights.lifetime_value.ziln import expect

        return Forecast(*expect(self.network, _network_rows(self.matrix.scale(raw), expected)))


@dataclass(frozen=True)
class Calibration:
    """How far the forecasts of one method are to be believed, learnt at the newest closed origin.

    Attributes:
        orders_scale: what expected purchase days of the horizon are multiplied by, the season of a year ago included.
        value_scale: what expected values are multiplied by, likewise.
        orders_season: the part of `orders_scale` that is owed to the season of a year ago.
        value_season: the same of `value_scale`.
        orders: bounds of purchase days around the scaled forecast; None where too few customers tell.
        value: bounds of the value around the scaled forecast; None where too few customers tell.
    """

    orders_scale: float = 1.0
    value_scale: float = 1.0
    orders_season: float = 1.0
    value_season: float = 1.0
    orders: ConformalBounds | None = None
    value: ConformalBounds | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the calibration as plain JSON values."""
        bounds = {"orders": self.orders, "value": self.value}
        scales = ("orders_scale", "value_scale", "orders_season", "value_season")
        told = {name: None if of is None else of.to_json() for name, of in bounds.items()}
        return {name: getattr(self, name) for name in scales} | told

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Calibration":
        """Make a calibration from what `to_json` gave."""
        bounds = {name: stored[name] and ConformalBounds.from_json(stored[name]) for name in ("orders", "value")}
        return cls(**{**stored, **bounds})


def learn(
    examples: pl.DataFrame,
    *,
    horizon_days: int,
    last_year: pl.DataFrame,
    work_directory: Path,
    seed: int,
    max_epochs: int = 12,
    log: Callable[[str], None] = _log.info,
) -> tuple[Learnt | None, dict[str, Calibration]]:
    """Train the learned methods and calibrate all.

    At each origin the probabilistic models are fitted on what was known then, so that learned methods correct the same
    kind of expectation that they will be given. They learn from the rows with role `fit`, and `stop` where nothing is
    to be stopped. At the newest closed origin totals of methods without labels are calibrated on everybody. Those of
    methods that learn from labels are set, on the customers with role `calibrate`, from whom no method learnt, to what
    BG/NBD with Gamma-Gamma expects of them once calibrated: what so few bought would say little of a total. All totals
    then move halfway to the season ahead, where a year ago is known. Bounds are calibrated on the customers with role
    `calibrate`.

    Args:
        examples: rows of the contract `churn_examples`; may be empty.
        horizon_days: length H of the horizon.
        last_year: what `season.horizon_of_last_year` gives; may be empty.
        work_directory: folder for checkpoints; a training that was killed goes on from there.
        seed: seed of everything random.
        max_epochs: most passes of the network over the rows.
        log: takes lines of progress.

    Returns:
        The learned methods, None where there is too little to learn from; and the calibration of each method, none
        while no horizon has closed.
    """
    if examples.is_empty():
        return None, {}
    examples = examples.sort("origin", "customer_key")
    names = [name for name in feature_names(examples) if name != "horizon_days"]
    parts = examples.partition_by("origin", maintain_order=True)
    at_origins = [_AtOrigin.of(part, horizon_days, newest=part is parts[-1]) for part in parts]
    learnt = None
    if _enough(examples):
        learnt = _train(examples, at_origins, names, work_directory, seed=seed, max_epochs=max_epochs, log=log)
    else:
        log("too few closed horizons to learn from: the probabilistic models alone are kept")
    newest = at_origins[-1]
    forecasts = {
        method.name: probabilistic_forecast(
            newest.model, newest.customers, method.name, days=horizon_days, horizon_days=horizon_days
        )
        for method in UNTAUGHT
    }
    if learnt is not None:
        for method in TAUGHT:
            forecasts[method.name] = learnt.forecast(method.name, newest.customers, newest.expected)
    season, taught = _season(newest, last_year, horizon_days), {method.name for method in TAUGHT}
    calibrations = {
        name: _calibrate(expected, newest, taught=name in taught, season=season)
        for name, expected in forecasts.items()
    }
    log("totals and intervals are calibrated")
    return learnt, calibrations


@dataclass(frozen=True)
class _AtOrigin:
    """Customers of one closed origin, what was expected of them then and what they did."""

    customers: Buyers
    model: ProbabilisticModel
    expected: Forecast
    orders: np.ndarray
    value: np.ndarray
    apart: np.ndarray

    @classmethod
    def of(cls, rows: pl.DataFrame, horizon_days: int, *, newest: bool) -> "_AtOrigin":
        customers = buyers(rows.lazy())
        model = fit_probabilistic(customers, with_rival=newest)
        told = customers.features
        return cls(
            customers=customers,
            model=model,
            expected=forecast(model, customers, days=horizon_days),
            orders=told["horizon_purchase_days"].cast(pl.Float64).to_numpy(),
            value=np.maximum(told["horizon_net"].to_numpy(), 0.0),
            apart=(told["role"] == CALIBRATE).to_numpy(),
        )


def _enough(examples: pl.DataFrame) -> bool:
    rows = examples.filter(pl.col("role") != CALIBRATE)
    bought = rows.filter(pl.col("horizon_net") > 0).height
    return rows.height >= MIN_LEARNT and bought >= MIN_BOUGHT and STOP in rows["role"]


def _train(
    examples: pl.DataFrame,
    at_origins: list[_AtOrigin],
    names: list[str],
    work_directory: Path,
    *,
    seed: int,
    max_epochs: int,
    log: Callable[[str], None],
) -> Learnt:
    from insight_assets.insights.lifetime_value.ziln import ZilnSettings, train_ziln

    role = examples["role"].to_numpy()
    told = np.flatnonzero(role != CALIBRATE)
    expected = Forecast(
        orders=np.concatenate([each.expected.orders for each in at_origins]),
        value=np.concatenate([each.expected.value for each in at_origins]),
    )
    orders = np.concatenate([each.orders for each in at_origins])
    value = np.concatenate([each.value for each in at_origins])
    matrix = fit_feature_matrix(examples[told], names=names)
    raw = matrix.raw(examples)
    boosted = [
        fit_correction(raw[told], outcome[told], of[told], seed=seed % 2**32)
        for outcome, of in ((orders, expected.orders), (value, expected.value))
    ]
    log(f"boosting is fitted on {len(told):,} rows")
    settings = ZilnSettings()
    network, epochs = train_ziln(
        _network_rows(matrix.scale(raw), expected, orders, value),
        fit=np.flatnonzero(role == FIT),
        stop=np.flatnonzero(role == STOP),
        settings=settings,
        max_epochs=max_epochs,
        seed=seed,
        work_directory=work_directory,
        log=lambda line: log(f"value network: {line}"),
    )
    losses = [[e.number, round(e.training_loss, 6), round(e.validation_loss, 6)] for e in epochs]
    return Learnt(matrix, *boosted, network, settings, {"rows": len(told), "epochs": losses})


def _network_rows(
    scaled: np.ndarray, expected: Forecast, orders: np.ndarray | None = None, value: np.ndarray | None = None
) -> "ZilnRows":
    from insight_assets.insights.lifetime_value.ziln import ZilnRows

    nothing = np.zeros(len(scaled))
    columns = (
        scaled,
        expected.orders,
        expected.value / np.maximum(expected.orders, 1e-12),
        nothing if orders is None else orders,
        nothing if value is None else value,
    )
    return ZilnRows(*(column.astype(np.float32) for column in columns))


def _season(newest: _AtOrigin, last_year: pl.DataFrame, horizon_days: int) -> tuple[float, float]:
    """Give by how much purchase days and value grow from the newest closed horizon to the season ahead, half believed.

    What a forecast of the newest horizon was off by holds the season of that horizon, and what it was off by a year ago
    the shop of a year ago: the geometric mean of both is off by less than either. Measured by BG/NBD with Gamma-Gamma,
    which needs no labels, on four simulated shops of 2,500 customers and two years: totals off by -1, 0, +1 and +11 %
    instead of +5, +12, +8 and +30 %.
    """
    if last_year.is_empty():
        return 1.0, 1.0
    before = _AtOrigin.of(last_year.with_columns(role=pl.lit(CALIBRATE)), horizon_days, newest=False)
    orders, value = (
        round(math.sqrt(_scale(forecasts, outcome) / _scale(latest, came)), _SCALE_DIGITS)
        for forecasts, outcome, latest, came in (
            (before.expected.orders, before.orders, newest.expected.orders, newest.orders),
            (before.expected.value, before.value, newest.expected.value, newest.value),
        )
    )
    return orders, value


def _calibrate(expected: Forecast, at: _AtOrigin, *, taught: bool, season: tuple[float, float]) -> Calibration:
    scales, bounds = [], []
    for forecasts, plain, outcome, growth in (
        (expected.orders, at.expected.orders, at.orders, season[0]),
        (expected.value, at.expected.value, at.value, season[1]),
    ):
        if taught:
            scale = _scale(plain, outcome) * _ratio(plain[at.apart], forecasts[at.apart])
        else:
            scale = _scale(forecasts, outcome)
        scales.append(round(float(np.clip(scale * growth, 1 / MOST_SCALE, MOST_SCALE)), _SCALE_DIGITS))
        bounds.append(fit_conformal_bounds(forecasts[at.apart] * scale, outcome[at.apart], level=INTERVAL_LEVEL))
    return Calibration(*scales, *season, *bounds)


def _ratio(expected: np.ndarray, forecasts: np.ndarray) -> float:
    total, foretold = float(expected.sum()), float(forecasts.sum())
    return total / foretold if total > 0 and foretold > 0 else 1.0


def _scale(forecasts: np.ndarray, outcome: np.ndarray) -> float:
    """Give the ratio of sums, as far as the customers behind it make it sure.

    A total is often made by a handful of customers. The logarithm of the ratio is shrunk towards 0 by its sampling
    variance, against a spread of a third, which is how far whole seasons of a shop lie apart.
    """
    total, expected = float(outcome.sum()), float(forecasts.sum())
    if total <= 0 or expected <= 0:
        return 1.0
    ratio = total / expected
    variance = float(np.square(outcome - ratio * forecasts).sum()) / total**2
    shrunk = np.log(ratio) / (1 + variance / (1 / 3) ** 2)
    return round(float(np.clip(np.exp(shrunk), 1 / MOST_SCALE, MOST_SCALE)), _SCALE_DIGITS)


def write_learnt(learnt: Learnt | None, calibrations: Mapping[str, Calibration], directory: Path) -> None:
    """Write the learned methods and the calibrations into a model directory."""
    content: dict[str, Any] = {"calibrations": {name: of.to_json() for name, of in calibrations.items()}}
    if learnt is not None:
        from insight_assets.ml.training import write_weights

        write_sklearn(learnt.orders, directory / ORDERS_FILE)
        write_sklearn(learnt.value, directory / VALUE_FILE)
        write_weights(learnt.network, directory / NETWORK_FILE)
        content |= {
            "matrix": learnt.matrix.to_json(), "network": asdict(learnt.settings), "notes": dict(learnt.notes),
        }  # fmt: skip
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (directory / LEARNT_FILE).write_text(text, encoding="utf-8")


def read_learnt(directory: Path) -> tuple[Learnt | None, dict[str, Calibration]]:
    """Read what `write_learnt` wrote.

    Raises:
        UntrustedFileError: if a scikit-learn file is not what this project writes.
        KeyError: the file lacks an entry.
    """
    content = json.loads((directory / LEARNT_FILE).read_text(encoding="utf-8"))
    calibrations = {name: Calibration.from_json(of) for name, of in content["calibrations"].items()}
    if "matrix" not in content:
        return None, calibrations
    from insight_assets.insights.lifetime_value.ziln import ZilnNetwork, ZilnSettings
    from insight_assets.ml.training import read_weights

    matrix, settings = FeatureMatrix.from_json(content["matrix"]), ZilnSettings(**content["network"])
    learnt = Learnt(
        matrix=matrix,
        orders=read_sklearn(directory / ORDERS_FILE),
        value=read_sklearn(directory / VALUE_FILE),
        network=read_weights(ZilnNetwork(settings, features=matrix.scaled_width), directory / NETWORK_FILE),
        settings=settings,
        notes=content["notes"],
    )
    return learnt, calibrations
