"""Models of a small shop, trained once for all tests of this folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

from insight_assets.features.customer_features import build_customer_features
from insight_assets.insights.propensity.examples import build_pair_examples
from insight_assets.insights.propensity.models import PropensityModels, train_propensity_models
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


def examples_of(lines: pl.DataFrame, *, as_of=ORIGIN, **options) -> Mapping[str, pl.DataFrame]:
    return build_pair_examples(
        shop.customer_days_of(lines), shop.events_of(lines), shop.products_on(as_of), shop.nobody_linked, as_of=as_of,
        horizon_days=HORIZON, spacing_days=14, min_history_days=14, **options,
    )  # fmt: skip


def known_of(lines: pl.DataFrame, *, as_of=ORIGIN) -> Known:
    days = shop.customer_days_of(lines)
    features = build_customer_features(days, as_of=as_of)
    return know(days, shop.events_of(lines), features, shop.products_on(as_of), as_of=as_of, horizon_days=HORIZON)


@pytest.fixture(scope="package", autouse=True)
def few_settings() -> Iterator[None]:
    """Let one setting a family be tried: which is chosen is tested with the families."""
    tried = {LOGISTIC: {"penalty": 0.01}, BOOSTING: {"leaves": 4, "trees": 60, "rate": 0.1, "least_leaf": 20, "columns": 1.0}}
    with pytest.MonkeyPatch.context() as patched:
        for name, settings in tried.items():
            patched.setitem(FAMILIES, name, replace(FAMILIES[name], grid=(settings,), folds=1))
        yield


@pytest.fixture(scope="package")
def trained(tmp_path_factory, few_settings) -> Trained:
    lines = shop.simulate_lines(170, days=DAYS)
    examples, folder = examples_of(lines), tmp_path_factory.mktemp("propensity")
    models = train_propensity_models(examples, directory=folder, horizon_days=HORIZON, seed=SEED)
    known = known_of(lines)
    bought = bought_within(shop.customer_days_of(lines), known.cuts, origin=ORIGIN, horizon_days=HORIZON)
    return Trained(lines, examples, folder, models, known, bought)
