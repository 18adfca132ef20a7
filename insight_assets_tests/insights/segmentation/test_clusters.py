"""Clusters: recovery, choice of k, numbering, independence of order."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from insight_assets.charts import chart_markdown
from insight_assets.insights.segmentation.clusters import (
    CLUSTER_FEATURES,
    KTrial,
    buyers,
    choose_k,
    cluster_customers,
    scale_features,
    trials_table,
)
from insight_assets.insights.segmentation.pictures import trials_chart
from insight_assets_tests.insights.segmentation.planted_customers import planted_customers


@pytest.fixture(scope="module")
def planted():
    return planted_customers(600, seed=5)


@pytest.fixture(scope="module")
def clustering(planted):
    return cluster_customers(planted[0], seed=1)


def test_planted_clusters_are_found(planted, clustering):
    assert clustering.chosen.k == 3
    assert adjusted_rand_score(planted[1], clustering.labels) >= 0.9
    assert clustering.chosen.stability >= 0.9
    assert clustering.chosen.silhouette > 0.4


def test_clusters_are_numbered_by_falling_money(planted, clustering):
    frame = planted[0].with_columns(pl.Series("cluster", clustering.labels))
    means = frame.group_by("cluster").agg(pl.col("net_lifetime").mean()).sort("cluster")
    assert means["cluster"].to_list() == [1, 2, 3]
    assert means["net_lifetime"].is_sorted(descending=True)


def test_order_of_rows_changes_nothing(planted, clustering):
    mixed = planted[0].sample(fraction=1.0, shuffle=True, seed=3)
    again = cluster_customers(mixed, seed=1)
    assert np.array_equal(again.keys, clustering.keys)
    assert np.array_equal(again.labels, clustering.labels)
    assert np.array_equal(again.distance, clustering.distance)
    assert again.trials == clustering.trials


def test_another_seed_finds_the_same_clusters(planted, clustering):
    again = cluster_customers(planted[0], seed=77)
    assert adjusted_rand_score(again.labels, clustering.labels) >= 0.98


def test_distance_is_least_to_the_own_cluster(clustering):
    centres = np.array(
        [clustering.scaled[clustering.labels == c].mean(axis=0) for c in (1, 2, 3)]
    )
    to_all = np.linalg.norm(clustering.scaled[:, None] - centres, axis=2)
    assert np.array_equal(to_all.argmin(axis=1) + 1, clustering.labels)
    assert clustering.distance == pytest.approx(to_all.min(axis=1), abs=0.02)


@pytest.mark.parametrize("size", [0, 1, 5, 19])
def test_a_small_shop_is_one_cluster(size):
    found = cluster_customers(planted_customers(size, seed=2)[0], seed=1)
    assert found.chosen is None
    assert found.labels.tolist() == [1] * size
    assert np.isfinite(found.distance).all()


def test_equal_customers_are_one_cluster():
    frame = pl.concat([planted_customers(1, seed=2)[0]] * 50).with_columns(
        customer_key=pl.int_range(50)
    )
    found = cluster_customers(frame, seed=1)
    assert found.features == ()
    assert set(found.labels) == {1}


def test_no_chosen_cluster_is_smaller_than_allowed(planted):
    outliers = planted[0].head(4).with_columns(
        customer_key=pl.int_range(4) + 100_000,
        days_since_last_order=pl.lit(5000, dtype=pl.Int32),
        mean_purchase_value=pl.lit(9e6),
    )
    found = cluster_customers(pl.concat([planted[0], outliers]), seed=1, smallest_share=0.05)
    assert np.bincount(found.labels)[1:].min() >= 30


def test_scaling_is_robust_and_keeps_what_varies():
    frame = pl.DataFrame(
        {
            "days_since_last_order": [*range(98), 10**6, None],
            "purchase_days_lifetime": [1] * 100,
            "discount_share_365d": [0.0] * 99 + [0.5],
        }
    )
    features = [f for f in CLUSTER_FEATURES if f.name in frame.columns]
    scaled, names = scale_features(frame, features)
    assert names == ("days_since_last_order", "discount_share_365d")
    assert np.abs(scaled).max() <= 3
    assert np.median(scaled[:, 0]) == pytest.approx(0, abs=1e-9)
    assert scaled[99, 0] == 0
    assert scaled[99, 1] == 2


def trial(k: int, silhouette: float, stability: float, *, eligible: bool = True) -> KTrial:
    return KTrial(k=k, silhouette=silhouette, stability=stability, smallest=50, eligible=eligible)


def test_best_silhouette_among_the_stable_is_chosen():
    trials = [trial(2, 0.3, 0.95), trial(3, 0.4, 0.85), trial(4, 0.6, 0.5), trial(5, 0.4, 0.99)]
    assert choose_k(trials, least_stability=0.8).k == 3


def test_most_stable_is_chosen_when_none_is_stable():
    trials = [trial(2, 0.3, 0.5), trial(3, 0.2, 0.6), trial(4, 0.9, 0.7, eligible=False)]
    assert choose_k(trials, least_stability=0.8).k == 3
    assert choose_k(trials[2:], least_stability=0.8) is None


def test_buyers_leave_visitors_out(planted):
    frame = planted[0].with_columns(
        purchase_days_lifetime=pl.when(pl.int_range(pl.len()) < 10).then(0).otherwise(2)
    )
    assert buyers(frame.lazy()).height == 590


def test_trials_become_a_table_and_a_picture(clustering):
    table = trials_table(clustering)
    assert table.filter("chosen")["k"].to_list() == [3]
    assert chart_markdown(trials_chart(table)).startswith("![chart](data:image/png")
