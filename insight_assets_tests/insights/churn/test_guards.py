from dataclasses import asdict
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from insight_assets.features.examples import feature_names
from insight_assets.insights.churn.guards import (
    LABEL_GUARDS,
    LABELS_OBEY,
    SOMEONE_TO_LEARN_FROM,
    judge_labels,
    judge_training,
)
from insight_assets.ml.guards import (
    BASE_RATE,
    MODEL_GUARDS,
    NO_GIVEAWAY,
    NOT_TOO_GOOD,
    SHUFFLED,
    WINDOWS_OBSERVED,
    feature_alarms,
)
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.insights.churn.conftest import ORIGIN

ALL_DAYS = {shop.FIRST_DAY + timedelta(days=ahead) for ahead in range(400)}


def failed(examples: pl.DataFrame, **options) -> list[str]:
    given = {"as_of": ORIGIN, "horizon_days": shop.HORIZON, "published": ALL_DAYS, "buyers": 5} | options
    verdicts = judge_labels(examples, **given)
    assert {verdict.guard for verdict in verdicts} == set(LABEL_GUARDS)
    return [verdict.guard for verdict in verdicts if not verdict.passed]


def in_order(examples: pl.DataFrame, name: str) -> pl.Series:
    """The feature with the label mixed into its size."""
    if examples.schema[name] == pl.String:
        return in_words(examples, name)
    value = examples[name].cast(pl.Float64).fill_null(0.0)
    size = (value - value.mean()) / max(float(value.std()), 1e-9)
    return size - 4.0 * examples["churned"].cast(pl.Float64)


def in_gaps(examples: pl.DataFrame, name: str) -> pl.Series:
    """The feature, missing for nearly all who churned."""
    value = examples[name].cast(pl.String if examples.schema[name] == pl.String else pl.Float64)
    filled = value.fill_null("none" if value.dtype == pl.String else 0.0)
    churned = examples["churned"] & (pl.Series(np.arange(examples.height) % 50) > 0)
    return examples.select(pl.when(~churned).then(filled)).to_series()


def in_words(examples: pl.DataFrame, name: str) -> pl.Series:
    """The feature with the label mixed into a code that has no order."""
    bucket = examples[name].rank("dense") % 6 if examples.schema[name] == pl.String else pl.Series(
        examples[name].cast(pl.Float64).fill_null(0.0).rank("dense").cast(pl.Int64) % 6
    )  # fmt: skip
    return bucket.fill_null(0).cast(pl.Int64) * 2 + examples["churned"].cast(pl.Int64)


@pytest.mark.parametrize("leak", [in_order, in_gaps, in_words])
def test_a_leaking_twin_of_every_feature_is_found(trained, leak):
    examples, names = trained.examples, feature_names(trained.examples)
    assert len(names) > 100
    twins = examples.with_columns(leak(examples, name).alias(f"{name}_twin") for name in names)
    found = {
        alarm["feature"]
        for alarm in feature_alarms(twins, [*names, *(f"{name}_twin" for name in names)], label="churned")
    }
    assert found == {f"{name}_twin" for name in names}


def test_honest_examples_raise_no_alarm(trained):
    assert feature_alarms(trained.examples, feature_names(trained.examples), label="churned") == []
    assert failed(trained.examples) == []


def test_a_few_rows_raise_no_alarm(trained):
    few = trained.examples.head(60).with_columns(twin=pl.col("churned").cast(pl.Int64))
    assert feature_alarms(few, ["twin"], label="churned") == []


def test_the_active_who_are_called_churned_are_found(trained):
    back = trained.examples["return_days"].is_not_null()
    one = trained.examples.with_columns(
        churned=pl.when(pl.Series(back & (back.cum_sum() == 1))).then(pl.lit(value=True)).otherwise("churned")
    )
    assert failed(one) == [LABELS_OBEY]
    late = trained.examples.with_columns(return_days=pl.col("return_days") + shop.HORIZON)
    assert failed(late) == [LABELS_OBEY]


def test_a_window_that_is_open_or_has_a_hole_is_found(trained):
    assert failed(trained.examples, as_of=ORIGIN - timedelta(days=1)) == [WINDOWS_OBSERVED]
    assert failed(trained.examples, published=ALL_DAYS - {ORIGIN}) == [WINDOWS_OBSERVED]
    assert failed(trained.examples, published=ALL_DAYS - {ORIGIN + timedelta(days=1)}) == []
    assert WINDOWS_OBSERVED in failed(trained.examples, horizon_days=shop.HORIZON - 1)


def test_labels_that_are_all_alike_are_found(trained):
    gone = trained.examples.with_columns(churned=pl.lit(value=True), return_days=pl.lit(None, pl.Int32))
    assert failed(gone) == [BASE_RATE]
    assert failed(gone.head(20)) == []


def test_no_labels_are_only_right_where_nobody_had_bought():
    assert failed(pl.DataFrame()) == [SOMEONE_TO_LEARN_FROM]
    assert failed(pl.DataFrame(), buyers=0) == []


def refused(**noted) -> list[str]:
    config = {
        "examples": [{"role": "calibrate", "rows": 600, "churned": 0.5}],
        "kept_apart": {"recency": 0.7, "forest": 0.8, "network": None},
        "shuffled_labels": {"auc": 0.51, "standard_error": 0.02},
        "feature_alarms": [],
    } | noted
    verdicts = judge_training(config)
    assert {verdict.guard for verdict in verdicts} == set(MODEL_GUARDS)
    return [asdict(verdict)["guard"] for verdict in verdicts if not verdict.passed]


def test_training_is_refused_for_what_no_honest_training_shows():
    assert refused() == []
    assert refused(feature_alarms=[{"feature": "twin", "auc": 0.99}]) == [NO_GIVEAWAY]
    assert refused(kept_apart={"recency": 0.7, "forest": 0.995}) == [NOT_TOO_GOOD]
    assert refused(kept_apart={"recency": 0.7, "forest": 0.972}) == []
    assert refused(shuffled_labels={"auc": 0.6, "standard_error": 0.02}) == [SHUFFLED]
    assert refused(shuffled_labels={"auc": None, "standard_error": None}) == []
    assert judge_training({"examples": []}) == judge_training({"examples": [], "kept_apart": {}})
