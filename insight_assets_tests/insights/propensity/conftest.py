"""Models of a small shop, trained once for all tests of this folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from insight_assets.features.customer_features import build_customer_features
from insight_assets.insights.behaviour.product_vectors import ProductVectors
from insight_assets.insights.propensity import stacking
from insight_assets.insights.propensity.examples import build_pair_examples
from insight_assets.insights.propensity.models import PropensityModels, train_propensity_models
from insight_assets.insights.propensity.nearness import Nearness
from insight_assets.insights.propensity.pairs import Known, know
from insight_assets.insights.propensity.targets import bought_within
from insight_assets.ml.classifiers import BOOSTING, FAMILIES, LOGISTIC
from insight_assets_tests.insights.propensity import shop

HORIZON, DAYS = 30, 150
ORIGIN = shop.day(DAYS - HORIZON - 1)
SEED = 5


@dataclass(frozen=True)
class Trained:
    """Models as of an origin, and what grades them."""

    lines: pl.DataFrame
    examples: Mapping[str, pl.DataFrame]
    directory: Path
    models: PropensityModels
    known: Known
    bought: Mapping[str, pl.DataFrame]


def products_encoded() -> ProductVectors:
    """One direction a product."""
    products = tuple(shop.products_on(ORIGIN).select(pl.col("product_id").sort()).collect().to_series())
    return ProductVectors(products, np.eye(len(products), dtype=np.float32), np.zeros(len(products), np.float32), "v1")


def vectors_of(lines: pl.DataFrame, *, as_of=ORIGIN, horizon_days: int = HORIZON) -> pl.DataFrame:
    """What an encoder might say: customers lie where the products lie that they had to do with, late ones more."""
    of, past = products_encoded(), lines.filter(pl.col("event_day") <= as_of)
    weight = (-(pl.lit(as_of) - pl.col("event_day")).dt.total_days() / 30).exp().sum()
    known = past.group_by("customer_key", "product_id").agg(weight.alias("weight"))
    wide = known.sort("product_id").pivot("product_id", index="customer_key", values="weight")
    wide = wide.with_columns(pl.exclude("customer_key").fill_null(0.0))
    wide = wide.with_columns(pl.lit(0.0).alias(name) for name in of.products if name not in wide.columns)
    return wide.select(
        "customer_key",
        horizon_days=pl.lit(horizon_days, dtype=pl.Int32),
        vector=pl.concat_list(pl.col(of.products).cast(pl.Float32)),
        order_chance=0.1 + 0.8 * (1 - (-pl.sum_horizontal(of.products)).exp()),
        model_version=pl.lit(of.version),
    )


def nearness_of(lines: pl.DataFrame, *, as_of=ORIGIN) -> Nearness:
    return Nearness.of(products_encoded(), vectors_of(lines, as_of=as_of), horizon_days=HORIZON)


def examples_of(lines: pl.DataFrame, *, as_of=ORIGIN, **options) -> Mapping[str, pl.DataFrame]:
    before = as_of - timedelta(days=HORIZON)
    return build_pair_examples(
        shop.customer_days_of(lines), shop.events_of(lines), shop.products_on(as_of), shop.nobody_linked, as_of=as_of,
        horizon_days=HORIZON, spacing_days=14, min_history_days=14,
        **{"nearness": nearness_of(lines, as_of=before)} | options,
    )  # fmt: skip


def known_of(lines: pl.DataFrame, *, as_of=ORIGIN) -> Known:
    days = shop.customer_days_of(lines)
    features = build_customer_features(days, as_of=as_of)
    return know(
        days, shop.events_of(lines), features, shop.products_on(as_of), as_of=as_of, horizon_days=HORIZON,
        nearness=nearness_of(lines, as_of=as_of),
    )  # fmt: skip


@pytest.fixture(scope="package", autouse=True)
def few_settings() -> Iterator[None]:
    """Let one setting a family be tried, which is tested with the families, and a small shop be enough for a stack."""
    tried = {LOGISTIC: {"penalty": 0.01}, BOOSTING: {"leaves": 4, "trees": 60, "rate": 0.1, "least_leaf": 20, "columns": 1.0}}
    with pytest.MonkeyPatch.context() as patched:
        for name, settings in tried.items():
            patched.setitem(FAMILIES, name, replace(FAMILIES[name], grid=(settings,), folds=1))
        patched.setattr(stacking, "MIN_OF_A_CLASS", 10)
        yield


@pytest.fixture(scope="package")
def trained(tmp_path_factory, few_settings) -> Trained:
    lines = shop.simulate_lines(170, days=DAYS)
    examples, folder = examples_of(lines), tmp_path_factory.mktemp("propensity")
    models = train_propensity_models(examples, directory=folder, horizon_days=HORIZON, seed=SEED)
    known = known_of(lines)
    bought = bought_within(shop.customer_days_of(lines), known.cuts, origin=ORIGIN, horizon_days=HORIZON)
    return Trained(lines, examples, folder, models, known, bought)
