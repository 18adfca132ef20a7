"""How much of a simulated shop's truth the pipeline recovers, beside the naive rule and what could be known at most.

Everything is graded out of time: models are trained as of an origin, and the method is the one that the scorecard of
the last closed origin before it would have published, as the assets do. Oracles are those of `simulator.oracles`;
intervals are bootstraps over customers, paired where two methods are compared.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import build_examples
from insight_assets.features.labels import label_customers, label_view
from insight_assets.features.sequences import build_event_sequences
from insight_assets.insights.churn.grading import grade_churn
from insight_assets.insights.churn.models import RECENCY, ChurnModels, train_churn_models
from insight_assets.insights.lifetime_value import grading as value_grading
from insight_assets.insights.lifetime_value.customers import buyers
from insight_assets.insights.lifetime_value.forecasts import HISTORY
from insight_assets.insights.lifetime_value.grading import match_outcomes, spearman
from insight_assets.insights.lifetime_value.model import LifetimeValueModel, forecast_by_method, train
from insight_assets.insights.lifetime_value.season import horizon_of_last_year
from insight_assets.insights.segmentation import grading, lifecycle, rfm, scaling
from insight_assets.insights.segmentation.clusters import cluster_customers
from insight_assets.ml.metrics import auc
from insight_assets.purposes import as_people
from insight_assets.simulator.oracles import Foretold, Knowing, foretell
from insight_assets.simulator.truth import expected_order_net
from insight_assets_tests.simulated_histories import History

SEED = 20250101
RESAMPLES = 400
KNOWING: tuple[Knowing, ...] = ("past", "state", "end")
"""Oracles, from the one that knows least."""

MIN_HISTORY_DAYS = 14
SMALLEST_GROUP = 10
NO_VERSION = "0" * 12


@dataclass(frozen=True)
class Figure:
    """A figure with its interval of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Origin:
    """What is known of a shop at an origin, and what happened in the horizon after it."""

    history: History
    day: date
    horizon: int
    examples: pl.DataFrame
    features: pl.DataFrame
    sequences: pl.DataFrame
    labels: pl.DataFrame

    @classmethod
    def of(cls, history: History, day: date, *, horizon: int, spacing: int) -> "Origin":
        days, people = history.customer_days, history.people.as_of
        past, later = label_view(days, people, origin=day, horizon_days=horizon)
        examples = build_examples(
            days, history.events, people, as_of=day, horizon_days=horizon, spacing_days=spacing,
            min_history_days=MIN_HISTORY_DAYS,
        )  # fmt: skip
        seen = as_people(history.events.filter(pl.col("event_day") <= day), people(day))
        return cls(
            history, day, horizon, examples, build_customer_features(past, as_of=day).collect(),
            build_event_sequences(seen, as_of=day).collect(),
            label_customers(past, later, origin=day, horizon_days=horizon).collect(),
        )  # fmt: skip

    def foretold(self, keys: pl.Series, knowing: Knowing) -> tuple[Foretold, np.ndarray]:
        """What an oracle says of customers, and the net value that it expects of an order; arrays of shape (n,)."""
        history = self.history
        told = foretell(
            history.plan, history.shop.customers, day=history.day_index(self.day), horizon=self.horizon,
            knowing=knowing, visits=history.visits,
        )  # fmt: skip
        places = history.places(keys)
        assert (places >= 0).all()
        return Foretold(told.no_order[places], told.orders[places]), expected_order_net(history.shop)[places]


def churn_models(origin: Origin, *, max_epochs: int = 12) -> ChurnModels:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").mkdir()
        return train_churn_models(
            origin.examples, directory=Path(folder) / "models", work_directory=Path(folder) / "work",
            horizon_days=origin.horizon, seed=SEED, max_epochs=max_epochs,
        )  # fmt: skip


def churn_recovery(origin: Origin, *, before: Origin | None = None, max_epochs: int = 12) -> dict[str, object]:
    """AUC of the published method, the rule and the oracles, and the shares of the oracles' AUC that are reached.

    Args:
        origin: where the method is used.
        before: the last closed origin, whose scorecard says which method is published; None takes the champion of the
            origin itself.
        max_epochs: most passes of the network.
    """
    models = churn_models(origin, max_epochs=max_epochs)

    def graded(at: Origin, with_models: ChurnModels) -> tuple[str, np.ndarray, Mapping[str, np.ndarray], pl.Series]:
        done = grade_churn(
            with_models, at.features, at.sequences, at.labels, origin=at.day, seed=SEED, model_version=NO_VERSION,
            resamples=100,
        )  # fmt: skip
        keys = at.labels.join(at.features, on="customer_key", how="semi").sort("customer_key")["customer_key"]
        return done.champion or RECENCY.name, done.truth, done.predictions, keys

    champion, truth, predictions, keys = graded(origin, models)
    if before is not None:
        champion = graded(before, churn_models(before, max_epochs=max_epochs))[0]
    scores = {"champion": predictions[champion], "rule": predictions[RECENCY.name]}
    scores |= {knowing: origin.foretold(keys, knowing)[0].no_order for knowing in KNOWING}
    reached = resampled(lambda rows: {name: auc(truth[rows], of[rows]) for name, of in scores.items()}, len(truth))
    return {
        "method": champion, "customers": len(truth), "churned": float(truth.mean()),
        "methods": {name: auc(truth, of) for name, of in predictions.items()},
        **{name: figure_of(of) for name, of in reached.items()},
        **{f"share of {name}": figure_of(reached["champion"] / reached[name]) for name in KNOWING},
    }  # fmt: skip


def lifetime_value_model(origin: Origin, *, max_epochs: int = 12) -> LifetimeValueModel:
    history = origin.history
    last_year = horizon_of_last_year(
        history.customer_days, history.people.as_of, as_of=origin.day, horizon_days=origin.horizon
    )
    return train(
        buyers(origin.features.lazy()), origin.examples, horizon_days=origin.horizon, last_year=last_year, seed=SEED,
        max_epochs=max_epochs, log=lambda _line: None,
    )  # fmt: skip


def value_recovery(origin: Origin, *, before: Origin | None = None, max_epochs: int = 12) -> dict[str, object]:
    """Bias and rank correlation of the published method, the rule and the oracles; arguments as of `churn_recovery`.

    The bias holds the sum of the forecasts against the sum of what the oracle of the past expects, and against the sum
    of what came.
    """
    model, customers = lifetime_value_model(origin, max_epochs=max_epochs), buyers(origin.features.lazy())
    forecasts = forecast_by_method(model, customers, days=origin.horizon, horizon_days=origin.horizon)
    known, outcomes = match_outcomes(customers, origin.labels.lazy())
    assert known.all()
    at, with_model = origin, model
    if before is not None:
        at, with_model = before, lifetime_value_model(before, max_epochs=max_epochs)
    scorecard = value_grading.grade(
        with_model, buyers(at.features.lazy()), at.labels.lazy(), origin=at.day, horizon_days=at.horizon, seed=SEED,
        model_version=NO_VERSION, resamples=100,
    ).scorecard  # fmt: skip
    champion = value_grading.publication(scorecard, available=[each.name for each in model.methods]).method
    values = {"champion": forecasts[champion].value, "rule": forecasts[HISTORY.name].value}
    for knowing in KNOWING:
        told, net = origin.foretold(pl.Series(customers.keys), knowing)
        values[knowing] = told.orders * net
    truth = outcomes.value

    def measured(rows: np.ndarray) -> dict[str, float]:
        came, expected = truth[rows].sum(), values["past"][rows].sum()
        found = {f"rank {name}": spearman(truth[rows], of[rows]) for name, of in values.items()}
        found |= {f"bias to came, {name}": of[rows].sum() / came - 1 for name, of in values.items()}
        for name in ("champion", "rule"):
            found[f"rank with oracle, {name}"] = spearman(values["past"][rows], values[name][rows])
            found[f"bias to oracle, {name}"] = values[name][rows].sum() / expected - 1
        return found

    reached = resampled(measured, len(truth))
    return {
        "method": champion, "customers": len(truth), "methods": {
            name: (round(of.value.sum() / values["past"].sum() - 1, 4), round(spearman(truth, of.value), 4))
            for name, of in forecasts.items()
        },
        "scales": {name: of.value_scale for name, of in model.calibrations.items()},
        **{name: figure_of(of) for name, of in reached.items()},
        **{f"share of {k}": figure_of(reached["rank champion"] / reached[f"rank {k}"]) for k in KNOWING},
    }  # fmt: skip


def segment_recovery(history: History, day: date) -> dict[str, object]:
    """Adjusted Rand index of every division of the buyers with the hidden types, and of a classifier told of others."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import adjusted_rand_score
    from sklearn.model_selection import cross_val_predict

    past = as_people(history.customer_days.filter(pl.col("event_day") <= day), history.people.as_of(day))
    features = build_customer_features(past, as_of=day).collect()
    customers = scaling.buyers(features.lazy())
    truth = history.shop.customers.type[history.places(customers["customer_key"])]
    found: dict[str, object] = {"customers": customers.height}
    for method in grading.METHODS:
        division = cluster_customers(customers, method=method, smallest_group=SMALLEST_GROUP, seed=SEED)
        shape = "one cluster" if division.chosen is None else division.chosen.shape
        found[f"{method.name} ({shape})"] = _rand(truth, division.labels)
    for name, table, column in (
        ("RFM segments", rfm.score_rfm(features.lazy(), as_of=day), "segment"),
        ("lifecycle states", lifecycle.lifecycle_states(features.lazy(), as_of=day), "state"),
    ):
        named = customers.select("customer_key").join(table.collect(), on="customer_key", how="left")
        found[name] = _rand(truth, named.sort("customer_key")[column].to_numpy())
    values = customers.drop("customer_key", scaling.MONEY).cast(pl.Float64).to_numpy()
    boosting = HistGradientBoostingClassifier(max_iter=80, learning_rate=0.08, max_leaf_nodes=15, random_state=0)
    guessed = cross_val_predict(boosting, values, truth, cv=5)
    found["a classifier that is told the types of others"] = _rand(truth, guessed)
    assert adjusted_rand_score(truth, truth) == 1.0
    return found


def _rand(truth: np.ndarray, labels: np.ndarray) -> Figure:
    from sklearn.metrics import adjusted_rand_score

    drawn = resampled(lambda rows: {"ari": adjusted_rand_score(truth[rows], labels[rows])}, len(truth), resamples=100)
    return figure_of(drawn["ari"])


def resampled(
    measure: Callable[[np.ndarray], Mapping[str, float]], size: int, *, resamples: int = RESAMPLES
) -> dict[str, np.ndarray]:
    """What is measured on all customers, and then on each resample of them."""
    draw = np.random.default_rng(SEED)
    rows = [np.arange(size), *(draw.integers(0, size, size) for _ in range(resamples))]
    told = [measure(each) for each in rows]
    return {name: np.array([each[name] for each in told]) for name in told[0]}


def figure_of(values: np.ndarray) -> Figure:
    low, high = np.nanpercentile(values[1:], (2.5, 97.5))
    return Figure(float(values[0]), float(low), float(high))


def origin_before(origin: Origin, spacing: int) -> Origin:
    """The newest origin whose horizon had closed by an origin."""
    day = origin.day - timedelta(days=origin.horizon)
    return Origin.of(origin.history, day, horizon=origin.horizon, spacing=spacing)
