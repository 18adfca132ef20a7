"""Models of a small shop, trained once for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import build_examples
from insight_assets.features.labels import label_customers
from insight_assets.features.sequences import build_event_sequences
from insight_assets.insights.churn.models import ChurnModels, train_churn_models
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


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Iterator[Trained]:
    orders = shop.simulate_orders(400)
    days, folder = shop.customer_days_of(orders), tmp_path_factory.mktemp("churn")
    (folder / "models").mkdir()
    examples = examples_of(orders)
    models = train_churn_models(
        examples,
        directory=folder / "models",
        work_directory=folder / "work",
        horizon_days=shop.HORIZON,
        seed=SEED,
        max_epochs=4,
    )
    yield Trained(
        orders=orders,
        examples=examples,
        directory=folder / "models",
        models=models,
        features=build_customer_features(days, as_of=ORIGIN).collect(),
        sequences=build_event_sequences(shop.events_of(orders), as_of=ORIGIN).collect(),
        labels=label_customers(days, days, origin=ORIGIN, horizon_days=shop.HORIZON).collect(),
    )
