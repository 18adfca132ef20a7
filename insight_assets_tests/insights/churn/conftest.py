"""Models of a small shop, trained once for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import build_examples
from insight_assets.features.labels import label_customers
from insight_assets.features.sequences import build_event_sequences
from insight_assets.insights.behaviour.orders import EFFECTS, ORDER_CHANCE, with_order_chances
from insight_assets.insights.churn.models import ChurnModels, train_churn_models
from insight_assets.ml.calibration import logistic
from insight_assets_tests.insights.churn import shop

ORIGIN = date(2024, 5, 29)
SEED = 11


@dataclass(frozen=True)
class Trained:
    """Models as of an origin, and what grades them."""

    orders: pl.DataFrame
    examples: pl.DataFrame
    directory: Path
    models: ChurnModels
    features: pl.DataFrame
    sequences: pl.DataFrame
    labels: pl.DataFrame


def examples_of(orders: pl.DataFrame, *, as_of: date = ORIGIN) -> pl.DataFrame:
    built = build_examples(
        shop.customer_days_of(orders),
        shop.events_of(orders),
        shop.nobody_linked,
        as_of=as_of,
        horizon_days=shop.HORIZON,
        spacing_days=14,
        min_history_days=14,
    )
    return built if built.is_empty() else contract("churn_examples").conform(built.lazy()).collect()


def vectors_of(features: pl.DataFrame, *, horizon_days: int = shop.HORIZON) -> pl.DataFrame:
    """What a behaviour encoder might say: the more recent the last order, the likelier the next, and some of chance."""
    days = features["days_since_last_order"].cast(pl.Float64).to_numpy()
    chance = np.random.default_rng(SEED).normal(size=features.height)
    log_odds = {"effect_of_silence": (20 - days) / 15, "effect_of_carts": 0.3 * chance}
    return features.select(
        "customer_key",
        horizon_days=pl.lit(horizon_days, dtype=pl.Int32),
        **{name: pl.Series(log_odds.get(name, np.zeros(features.height))) for name in EFFECTS},
        **{ORDER_CHANCE: pl.Series(logistic(sum(log_odds.values())))},
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Iterator[Trained]:
    orders = shop.simulate_orders(400)
    days, folder = shop.customer_days_of(orders), tmp_path_factory.mktemp("churn")
    (folder / "models").mkdir()
    examples = examples_of(orders)
    newest = examples.filter(pl.col("origin") == pl.col("origin").max())
    models = train_churn_models(
        examples,
        directory=folder / "models",
        work_directory=folder / "work",
        horizon_days=shop.HORIZON,
        seed=SEED,
        max_epochs=4,
        chances=vectors_of(newest).select("customer_key", ORDER_CHANCE),
    )
    features = build_customer_features(days, as_of=ORIGIN).collect()
    yield Trained(
        orders=orders,
        examples=examples,
        directory=folder / "models",
        models=models,
        features=with_order_chances(features.lazy(), vectors_of(features).lazy(), horizon_days=shop.HORIZON),
        sequences=build_event_sequences(shop.events_of(orders), as_of=ORIGIN).collect(),
        labels=label_customers(days, days, origin=ORIGIN, horizon_days=shop.HORIZON).collect(),
    )
