"""Churn on a real shop: UCI Online Retail as of 2011-09-10 with a horizon of 90 days."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import build_examples
from insight_assets.features.labels import label_customers
from insight_assets.features.sequences import build_event_sequences
from insight_assets.insights.churn.grading import (
    grade_churn,
    labels_plausible,
    shuffled_at_half,
    too_good,
)
from insight_assets.insights.churn.models import train_churn_models
from insight_assets_tests.insights.churn import shop

ORIGIN = date(2011, 9, 10)
HORIZON = 90


def invoices(folder: Path) -> pl.DataFrame:
    """Sales with a known customer, one row an invoice."""
    return (
        pl.scan_parquet(folder / "uci_online_retail" / "online_retail.parquet")
        .filter(
            pl.col("CustomerID").is_not_null(),
            ~pl.col("InvoiceNo").str.starts_with("C"),
            pl.col("Quantity") > 0,
            pl.col("UnitPrice") > 0,
        )
        .group_by(
            pl.col("CustomerID").cast(pl.Float64).cast(pl.Int64).alias("customer_key"),
            pl.col("InvoiceNo"),
        )
        .agg(
            pl.col("InvoiceDate")
            .min()
            .str.to_datetime(time_unit="us", time_zone="UTC")
            .alias("event_time"),
            pl.col("StockCode").min().alias("product_id"),
            (pl.col("Quantity") * pl.col("UnitPrice")).sum().alias("value"),
        )
        .with_columns(event_day=pl.col("event_time").dt.date())
        .sort("InvoiceNo")
        .collect()
    )


@pytest.mark.real
@pytest.mark.slow
def test_the_champion_of_a_real_shop_is_good_and_honest(real_data, tmp_path):
    orders = invoices(real_data)
    assert orders.height == 18_532
    days, events = shop.customer_days_of(orders), shop.events_of(orders)
    (tmp_path / "models").mkdir()
    models = train_churn_models(
        build_examples(
            days,
            events,
            shop.nobody_linked,
            as_of=ORIGIN,
            horizon_days=HORIZON,
            spacing_days=28,
            min_history_days=14,
        ),
        directory=tmp_path / "models",
        work_directory=tmp_path / "work",
        horizon_days=HORIZON,
        seed=1,
        max_epochs=6,
    )
    graded = grade_churn(
        models,
        build_customer_features(days, as_of=ORIGIN).collect(),
        build_event_sequences(events, as_of=ORIGIN).collect(),
        label_customers(days, days, origin=ORIGIN, horizon_days=HORIZON).collect(),
        origin=ORIGIN,
        seed=1,
        model_version="0" * 12,
    )
    assert len(graded.truth) == 3_370
    assert graded.base_rate == pytest.approx(0.43, abs=0.005)
    assert graded.champion != "recency"
    assert graded.champion_metric("auc") >= 0.73
    assert not too_good(graded)
    assert labels_plausible(graded)
    assert shuffled_at_half(models.config["shuffled_labels"])
