"""The trained lifetime value model: all methods of one as-of day, how they are stored and how they predict.

One directory holds them together, so that the scorecard grades and the scores publish exactly what was trained. What
the methods are belongs to `forecasts` and `learning`, which of them is published to `grading`.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.insights.lifetime_value.bg_nbd import BgNbd, BgNbdFit
from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.forecasts import (
    TAUGHT,
    UNTAUGHT,
    Forecast,
    ProbabilisticModel,
    fit_probabilistic,
    forecast,
    probabilistic_forecast,
)
from insight_assets.insights.lifetime_value.gamma_gamma import GammaGamma, GammaGammaFit
from insight_assets.insights.lifetime_value.learning import Calibration, Learnt, learn, read_learnt, write_learnt
from insight_assets.insights.lifetime_value.pareto_nbd import ParetoNbd, ParetoNbdFit
from insight_assets.ml.referee import Method

PARAMETERS_FILE = "parameters.json"

# Ten digits are far below the statistical error and far above what differs between machines, so
# that the same data give the same file.
_STORED_DIGITS = 10
_SMALLEST = 1e-12
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LifetimeValueModel(ProbabilisticModel):
    """All methods of one as-of day.

    Attributes:
        seen_days: days from the first purchase of anybody to the as-of day.
        learnt: the learned methods; None where there is too little to learn from.
        calibrations: calibration by method; none while no horizon has closed.
    """

    seen_days: int = 0
    learnt: Learnt | None = None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[Method, ...]:
        """Methods that can be asked, least complex first."""
        return (*UNTAUGHT, *(TAUGHT if self.learnt is not None else ()))


def train(
    customers: Buyers,
    examples: pl.DataFrame | None = None,
    *,
    horizon_days: int = 90,
    last_year: pl.DataFrame | None = None,
    work_directory: Path | None = None,
    seed: int = 0,
    max_epochs: int = 12,
    log: Callable[[str], None] = _log.info,
) -> LifetimeValueModel:
    """Train all methods.

    Args:
        customers: customers as of the day; without any, the probabilistic models are their priors.
        examples: rows of the contract `churn_examples`; without any, no method is learned or calibrated.
        horizon_days: label horizon H of the examples.
        last_year: what `season.horizon_of_last_year` gives; without it, totals know nothing of the season.
        work_directory: folder for checkpoints; a temporary one when not given.
        seed: seed of everything random.
        max_epochs: most passes of the network over the examples.
        log: takes lines of progress.

    Raises:
        FitFailedError: an optimiser found no finite mode.
    """
    fitted = fit_probabilistic(customers)
    log("probabilistic models are fitted")
    with tempfile.TemporaryDirectory() as spare:
        learnt, calibrations = learn(
            pl.DataFrame() if examples is None else examples,
            horizon_days=horizon_days,
            last_year=pl.DataFrame() if last_year is None else last_year,
            work_directory=work_directory or Path(spare),
            seed=seed,
            max_epochs=max_epochs,
            log=log,
        )
    seen = int(customers.histories.age.max(initial=0)) + 1 if customers.keys.size else 0
    return LifetimeValueModel(**vars(fitted), seen_days=seen, learnt=learnt, calibrations=calibrations)


def forecast_method(
    model: LifetimeValueModel, customers: Buyers, method: str, *, days: float, horizon_days: int
) -> Forecast:
    """Return what a method expects in the `days` after the as-of day, its total calibrated.

    Learned methods foretell the horizon they were taught. For another window each customer's forecast grows or shrinks
    as that of BG/NBD with Gamma-Gamma does. The season of a year ago is that of the horizon: what lies beyond it is
    calibrated without.

    Raises:
        KeyError: there is no such method, or it could not be trained.
    """
    if method not in {known.name for known in model.methods}:
        raise KeyError(method)
    of = model.calibrations.get(method, Calibration())
    expected = _uncalibrated(model, customers, method, days, horizon_days)
    within = _uncalibrated(model, customers, method, horizon_days, horizon_days) if days > horizon_days else expected
    orders, value = (
        (inside + (whole - inside) / season) * scale
        for whole, inside, scale, season in (
            (expected.orders, within.orders, of.orders_scale, of.orders_season),
            (expected.value, within.value, of.value_scale, of.value_season),
        )
    )
    return Forecast(orders=orders, value=value)


def _uncalibrated(
    model: LifetimeValueModel, customers: Buyers, method: str, days: float, horizon_days: int
) -> Forecast:
    if method in {each.name for each in UNTAUGHT}:
        return probabilistic_forecast(model, customers, method, days=days, horizon_days=horizon_days)
    horizon = forecast(model, customers, days=horizon_days)
    expected = model.learnt.forecast(method, customers, horizon)
    if days == horizon_days:
        return expected
    growth = forecast(model, customers, days=days).orders / np.maximum(horizon.orders, _SMALLEST)
    return Forecast(orders=expected.orders * growth, value=expected.value * growth)


def forecast_by_method(
    model: LifetimeValueModel, customers: Buyers, *, days: float, horizon_days: int
) -> dict[str, Forecast]:
    """Return what each method expects in the `days` after the as-of day."""
    return {
        method.name: forecast_method(model, customers, method.name, days=days, horizon_days=horizon_days)
        for method in model.methods
    }


def save(model: LifetimeValueModel, directory: Path) -> None:
    """Write the model into a model directory: JSON, skops and safetensors."""
    purchase, value = model.purchase, model.value
    content = {
        "purchase_model": {
            "name": "BG/NBD",
            "unit_of_time": "days",
            "parameters": _numbers(
                {
                    "r": purchase.model.r,
                    "alpha": purchase.model.alpha,
                    "a": purchase.model.a,
                    "b": purchase.model.b,
                }
            ),
            "log_covariance": _matrix(purchase.covariance),
            "log_likelihood": _number(purchase.log_likelihood),
            "customers": purchase.customers,
            "repeat_customers": purchase.repeat_customers,
        },
        "value_model": {
            "name": "Gamma-Gamma",
            "parameters": _numbers(
                {"p": value.model.p, "q": value.model.q, "v": value.model.v},
            ),
            "log_covariance": _matrix(value.covariance),
            "log_likelihood": _number(value.log_likelihood),
            "customers": value.customers,
        },
        "rival_purchase_model": {
            "name": "Pareto/NBD",
            "unit_of_time": "days",
            "parameters": _numbers(vars(model.rival.model)),
            "log_covariance": _matrix(model.rival.covariance),
            "log_likelihood": _number(model.rival.log_likelihood),
            "customers": model.rival.customers,
        },
        "seen_days": model.seen_days,
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (directory / PARAMETERS_FILE).write_text(text, encoding="utf-8")
    write_learnt(model.learnt, model.calibrations, directory)


def load(directory: Path) -> LifetimeValueModel:
    """Read a model that `save` wrote.

    Raises:
        KeyError: the file lacks an entry.
    """
    content = json.loads((directory / PARAMETERS_FILE).read_text(encoding="utf-8"))
    purchase, value, rival = (content[name] for name in ("purchase_model", "value_model", "rival_purchase_model"))
    learnt, calibrations = read_learnt(directory)
    return LifetimeValueModel(
        purchase=BgNbdFit(
            model=BgNbd(**purchase["parameters"]),
            covariance=np.array(purchase["log_covariance"]),
            log_likelihood=purchase["log_likelihood"],
            customers=purchase["customers"],
            repeat_customers=purchase["repeat_customers"],
        ),
        value=GammaGammaFit(
            model=GammaGamma(**value["parameters"]),
            covariance=np.array(value["log_covariance"]),
            log_likelihood=value["log_likelihood"],
            customers=value["customers"],
        ),
        rival=ParetoNbdFit(
            model=ParetoNbd(**rival["parameters"]),
            covariance=np.array(rival["log_covariance"]),
            log_likelihood=rival["log_likelihood"],
            customers=rival["customers"],
        ),
        seen_days=content["seen_days"],
        learnt=learnt,
        calibrations=calibrations,
    )


def _number(value: float) -> float:
    return float(f"{value:.{_STORED_DIGITS}g}")


def _numbers(values: dict[str, float]) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()}


def _matrix(values: np.ndarray) -> list[list[float]]:
    return [[_number(value) for value in row] for row in values]
