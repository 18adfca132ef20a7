"""The trained lifetime value model: both fits, how they are stored and how they predict.

Ties the purchase model and the value model together. What they are belongs to `bg_nbd` and
`gamma_gamma`, which of all methods is published to `grading`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from insight_assets.insights.lifetime_value.bg_nbd import (
    BgNbd,
    BgNbdFit,
    expected_purchases,
    fit_bg_nbd,
)
from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.gamma_gamma import (
    GammaGamma,
    GammaGammaFit,
    expected_value,
    fit_gamma_gamma,
)

PARAMETERS_FILE = "parameters.json"

# Ten digits are far below the statistical error and far above what differs between machines, so
# that the same data give the same file.
_STORED_DIGITS = 10


@dataclass(frozen=True)
class LifetimeValueModel:
    """Fits of repeat purchases (time in days) and of the net value of a purchase day (money)."""

    purchase: BgNbdFit
    value: GammaGammaFit


@dataclass(frozen=True)
class Forecast:
    """Expected outcome of a window, arrays of shape (n,).

    Attributes:
        orders: expected number of purchase days.
        value: expected net value in money.
    """

    orders: np.ndarray
    value: np.ndarray


def train(customers: Buyers) -> LifetimeValueModel:
    """Fit both models; without customers they are their priors.

    The value model learns from customers with a repeat purchase, whose means tell within-customer
    from between-customer spread, and with a positive net value.

    Raises:
        FitFailedError: an optimiser found no finite mode.
    """
    repeat = customers.histories.repeats > 0
    return LifetimeValueModel(
        purchase=fit_bg_nbd(customers.histories),
        value=fit_gamma_gamma(customers.purchase_days[repeat], customers.mean_value[repeat]),
    )


def forecast(model: LifetimeValueModel, customers: Buyers, *, days: float) -> Forecast:
    """Return expected purchase days and net value in the `days` after the as-of day."""
    orders = expected_purchases(model.purchase.model, customers.histories, ahead=days)
    worth = expected_value(model.value.model, customers.purchase_days, customers.mean_value)
    return Forecast(orders=orders, value=orders * worth)


def history_forecast(customers: Buyers, *, days: float, horizon_days: int) -> Forecast:
    """Return what the history formula expects: what was bought for each day of life, times `days`.

    A life shorter than the horizon counts as one horizon. Without that floor a customer who first
    bought yesterday is expected to buy every other day, and the rule is too weak to be a rival: on
    UCI Online Retail as of 2011-06-12 the floor takes its mean absolute error from 915 to 481 and
    its normalised Gini from .749 to .816. A negative net value counts as nothing.

    Args:
        customers: customers as of the day.
        days: length of the window.
        horizon_days: label horizon H of the shop.
    """
    life = np.maximum(customers.histories.age + 1, horizon_days)
    return Forecast(
        orders=customers.purchase_days / life * days,
        value=np.maximum(customers.net_value, 0.0) / life * days,
    )


def save(model: LifetimeValueModel, directory: Path) -> None:
    """Write the model as JSON into a model directory."""
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
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (directory / PARAMETERS_FILE).write_text(text, encoding="utf-8")


def load(directory: Path) -> LifetimeValueModel:
    """Read a model that `save` wrote.

    Raises:
        KeyError: the file lacks an entry.
    """
    content = json.loads((directory / PARAMETERS_FILE).read_text(encoding="utf-8"))
    purchase, value = content["purchase_model"], content["value_model"]
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
    )


def _number(value: float) -> float:
    return float(f"{value:.{_STORED_DIGITS}g}")


def _numbers(values: dict[str, float]) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()}


def _matrix(values: np.ndarray) -> list[list[float]]:
    return [[_number(value) for value in row] for row in values]
