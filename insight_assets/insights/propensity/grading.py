"""Grades propensity methods on an origin whose horizon has closed.

Puts predictions and purchases of the same customers before the referee, kind by kind, and keeps what pictures and
checks need. Training and publishing do not belong here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.propensity.measures import customer_aucs, customer_briers, likeliest_bought
from insight_assets.insights.propensity.models import KindModels, PropensityModels
from insight_assets.insights.propensity.pairs import Known, all_pairs, describe_pairs
from insight_assets.insights.propensity.targets import KINDS
from insight_assets.ml.metrics import expected_calibration_error
from insight_assets.ml.referee import SCORECARD_SCHEMA, grade_methods
from insight_assets.ml.splits import mixed_keys

TASKS: Mapping[str, str] = {kind: f"{kind}_propensity" for kind in KINDS}
PRIMARY = "auc"
HIGHER_IS_BETTER = {"auc": True, "brier": False, "calibration_error": False, "likeliest_bought": True}
"""`auc` is the mean over targets of the AUC within a target; `likeliest_bought` the share of the customers who bought
any target whose likeliest one was among them."""

MOST_GRADED = 20_000
"""Customers that are graded; of more, a fixed part drawn from the keys."""

GRADED_SALT = 12
PAIRS_AT_ONCE = 200_000
DIGITS = 6


@dataclass(frozen=True)
class GradedPropensity:
    """The outcome of a grading.

    Attributes:
        scorecard: Rows of the contract `propensity_scorecard`.
        truth: By kind, shape (customers, targets), whether bought.
        predictions: By kind and method, probabilities of the same shape.
    """

    scorecard: pl.DataFrame
    truth: Mapping[str, np.ndarray]
    predictions: Mapping[str, Mapping[str, np.ndarray]]

    def champion_metric(self, kind: str, metric: str) -> float | None:
        """Give a metric of a kind's champion; None when it is undefined."""
        found = self.scorecard.filter("is_champion", pl.col("task") == TASKS[kind], pl.col("metric") == metric)["value"]
        return found.item() if len(found) else None


def grade_propensity(
    models: PropensityModels,
    known: Known,
    bought: Mapping[str, pl.DataFrame],
    *,
    seed: int,
    model_version: str,
    resamples: int = 400,
) -> GradedPropensity:
    """Grade all methods of all kinds on the customers known at an origin.

    Args:
        models: Models trained as of the origin; none of their labels lies after it.
        known: What is known up to the origin.
        bought: By kind, customers and targets bought within the horizon, as `bought_within` gives them.
        seed: Seed of the bootstrap.
        model_version: Version of the models.
        resamples: Number of bootstrap resamples.

    Returns:
        The scorecard with truth and predictions. A kind of which no target has buyers enough to order customers by has
        no rows.
    """
    keys = known.customers["customer_key"]
    if len(keys) > MOST_GRADED:
        drawn = np.argsort(mixed_keys(keys.to_numpy(), salt=GRADED_SALT), kind="stable")[:MOST_GRADED]
        keys = keys.gather(np.sort(drawn))
    cards, truths, predictions = [SCORECARD_SCHEMA.to_frame()], {}, {}
    for kind in KINDS:
        targets = known.targets[kind]["target"]
        if not len(keys) or not len(targets):
            continue
        truth = _truth(keys, targets, bought[kind])
        told = _predicted(models.kinds[kind], known, kind, keys, truth.shape)
        cards.append(
            _scorecard(
                kind, models.kinds[kind], truth, told, origin=known.as_of, seed=seed, model_version=model_version,
                resamples=resamples,
            )
        )  # fmt: skip
        truths[kind], predictions[kind] = truth, told
    return GradedPropensity(pl.concat(cards), truths, predictions)


def in_slices(known: Known, kind: str, keys: pl.Series) -> Iterator[tuple[slice, pl.DataFrame]]:
    """Pair customers with all targets, some customers at a time.

    Args:
        known: What is known up to the day.
        kind: The kind; it has targets.
        keys: Customer keys, ascending.

    Yields:
        The customers' places, and their pairs as `describe_pairs` gives them.
    """
    step = max(1, PAIRS_AT_ONCE // known.targets[kind].height)
    for start in range(0, len(keys), step):
        pairs = all_pairs(known, kind, keys[start : start + step])
        yield slice(start, min(start + step, len(keys))), describe_pairs(known, kind, pairs)


def _truth(keys: pl.Series, targets: pl.Series, bought: pl.DataFrame) -> np.ndarray:
    rows = pl.DataFrame({"customer_key": keys}).with_row_index("row")
    columns = pl.DataFrame({"target": targets}).with_row_index("column")
    found = bought.join(rows, on="customer_key").join(columns, on="target")
    truth = np.zeros((len(keys), len(targets)), dtype=bool)
    truth[found["row"].to_numpy(), found["column"].to_numpy()] = True
    return truth


def _predicted(
    models: KindModels, known: Known, kind: str, keys: pl.Series, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    told = {method.name: np.empty(shape) for method in models.methods}
    for rows, pairs in in_slices(known, kind, keys):
        for name, probability in models.predict(pairs).items():
            told[name][rows] = probability.reshape(-1, shape[1])
    return told


def _scorecard(
    kind: str,
    models: KindModels,
    truth: np.ndarray,
    told: Mapping[str, np.ndarray],
    *,
    origin: date,
    seed: int,
    model_version: str,
    resamples: int,
) -> pl.DataFrame:
    by_customer = {
        "auc": {name: customer_aucs(truth, probability) for name, probability in told.items()},
        "brier": {name: customer_briers(truth, probability) for name, probability in told.items()},
        "likeliest_bought": {name: likeliest_bought(truth, probability) for name, probability in told.items()},
    }
    if not all(np.isfinite(values).all() for values in by_customer[PRIMARY].values()):
        return SCORECARD_SCHEMA.to_frame()
    cards = {
        metric: grade_methods(
            task=TASKS[kind],
            origin=origin,
            methods=models.methods,
            truth=np.ones(len(next(iter(values.values())))),
            predictions=values,
            metrics={metric: lambda _, prediction: float(prediction.mean())},
            primary=metric,
            higher_is_better=HIGHER_IS_BETTER,
            resamples=resamples,
            seed=seed,
            model_version=model_version,
        )
        for metric, values in by_customer.items()
    }
    # An error of the shop's curve, no mean over customers: a bootstrap over customers says nothing about it.
    errors = {
        name: round(expected_calibration_error(truth.ravel(), probability.ravel()), DIGITS)
        for name, probability in told.items()
    }
    nothing = [pl.lit(None, pl.Float64).alias(name) for name in ("gain", "gain_low", "gain_high")]
    of_shop = cards[PRIMARY].with_columns(
        *(pl.lit(None, pl.Float64).alias(name) for name in ("low", "high")),
        metric=pl.lit("calibration_error"),
        value=pl.col("method").replace_strict(errors, return_dtype=pl.Float64),
    )
    verdicts = cards[PRIMARY].select("method", "is_champion", "grade")
    others = (
        pl.concat([of_shop, *(card for metric, card in cards.items() if metric != PRIMARY)])
        .drop("is_champion", "grade")
        .join(verdicts, on="method")
        .with_columns(nothing)
        .select(SCORECARD_SCHEMA.names())
    )
    return pl.concat([cards[PRIMARY], others]).sort("complexity", "method", "metric")
