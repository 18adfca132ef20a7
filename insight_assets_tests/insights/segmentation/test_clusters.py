"""Clusters: recovery, choice of k, numbering, independence of order."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from insight_assets.charts import chart_markdown
from insight_assets.insights.segmentation.clusters import (
    NO_CLUSTER,
    Trial,
    choose_trial,
    cluster_customers,
    trials_table,
)
from insight_assets.insights.segmentation.density import DENSITY
from insight_assets.insights.segmentation.grading import METHODS
from insight_assets.insights.segmentation.k_means import K_MEANS
from insight_assets.insights.segmentation.pictures import trials_chart
from insight_assets.insights.segmentation.scaling import CLUSTER_FEATURES, buyers, scale_features
from insight_assets_tests.insights.segmentation.planted_customers import MORE_CENTRES, planted_customers


@pytest.fixture(scope="module")
def planted():
    return planted_customers(600, seed=5)


@pytest.fixture(scope="module")
def clustering(planted):
    return cluster_customers(planted[0], method=K_MEANS, seed=1)


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
    again = cluster_customers(mixed, method=K_MEANS, seed=1)
    assert np.array_equal(again.keys, clustering.keys)
    assert np.array_equal(again.labels, clustering.labels)
    assert np.array_equal(again.distance, clustering.distance)
    assert again.trials == clustering.trials


def test_another_seed_finds_the_same_clusters(planted, clustering):
    again = cluster_customers(planted[0], method=K_MEANS, seed=77)
    assert adjusted_rand_score(again.labels, clustering.labels) >= 0.98


def test_distance_is_least_to_the_own_cluster(clustering):
    centres = np.array(
        [clustering.scaled[clustering.labels == c].mean(axis=0) for c in (1, 2, 3)]
    )
    to_all = np.linalg.norm(clustering.scaled[:, None] - centres, axis=2)
    assert np.array_equal(to_all.argmin(axis=1) + 1, clustering.labels)
    assert clustering.distance == pytest.approx(to_all.min(axis=1), abs=0.02)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("size", [0, 1, 5, 19])
def test_a_small_shop_is_one_cluster(size, method):
    found = cluster_customers(planted_customers(size, seed=2)[0], method=method, seed=1)
    assert found.chosen is None
    assert found.labels.tolist() == [1] * size
    assert np.isfinite(found.distance).all()


def test_equal_customers_are_one_cluster():
    frame = pl.concat([planted_customers(1, seed=2)[0]] * 50).with_columns(
        customer_key=pl.int_range(50)
    )
    found = cluster_customers(frame, method=K_MEANS, seed=1)
    assert found.features == ()
    assert set(found.labels) == {1}


def test_no_chosen_cluster_is_smaller_than_allowed(planted):
    outliers = planted[0].head(4).with_columns(
        customer_key=pl.int_range(4) + 100_000,
        days_since_last_order=pl.lit(5000, dtype=pl.Int32),
        mean_purchase_value=pl.lit(9e6),
    )
    found = cluster_customers(pl.concat([planted[0], outliers]), method=K_MEANS, seed=1, smallest_share=0.05)
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


def trial(k: int, score: float, *, eligible: bool = True) -> Trial:
    return Trial(
        shape=f"k={k}", k=k, silhouette=score, score=score, stability=None, agreements=(), smallest=50, noise=0.0,
        eligible=eligible,
    )


def chosen_k(trials: list[Trial], stabilities: list[float]) -> tuple[int | None, list[float | None]]:
    known, at = choose_trial(trials, lambda at: [stabilities[at]], least_stability=0.9)
    return None if at is None else known[at].k, [each.stability for each in known]


def test_best_score_among_the_stable_is_chosen_and_no_more_is_measured():
    trials = [trial(2, 0.3), trial(3, 0.4), trial(4, 0.6), trial(5, 0.4)]
    assert chosen_k(trials, [0.95, 0.91, 0.5, 0.99]) == (3, [None, 0.91, 0.5, None])


def test_most_stable_is_chosen_when_none_is_stable():
    trials = [trial(2, 0.3), trial(3, 0.2), trial(4, 0.9, eligible=False)]
    assert chosen_k(trials, [0.5, 0.6, 0.7]) == (3, [0.5, 0.6, None])
    assert chosen_k(trials[2:], [0.7]) == (None, [None])


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: method.name)
def test_every_method_finds_planted_clusters_in_any_order_of_rows(planted, method):
    customers, kind = planted[0].head(200), planted[1][:200]
    found = cluster_customers(customers, method=method, ks=range(2, 6), resamples=3, seed=1)
    assert adjusted_rand_score(kind, found.labels) >= 0.9
    assert found.chosen.stability >= 0.9
    mixed = customers.sample(fraction=1.0, shuffle=True, seed=3)
    again = cluster_customers(mixed, method=method, ks=range(2, 6), resamples=3, seed=1)
    assert np.array_equal(again.labels, found.labels)
    assert np.array_equal(again.distance, found.distance)
    assert again.trials == found.trials


def test_five_broad_kinds_of_customer_are_told_apart():
    customers, kind = planted_customers(500, seed=4, centres=MORE_CENTRES, spread=0.3)
    found = cluster_customers(customers, method=K_MEANS, resamples=3, seed=1)
    assert found.chosen.k == 5
    assert adjusted_rand_score(kind, found.labels) >= 0.9


def test_who_is_like_nobody_else_is_in_no_cluster_of_density(planted):
    odd = planted[0].head(3).with_columns(
        customer_key=pl.int_range(3) + 100_000,
        days_since_last_order=pl.Series([700, 900, 90], dtype=pl.Int32),
        purchase_days_lifetime=pl.Series([60, 50, 9], dtype=pl.Int32),
        lines_per_order_365d=pl.Series([1.0, 90.0, 40.0]),
        age_days=pl.Series([900, 1, 200], dtype=pl.Int32),
        refund_share_lifetime=pl.Series([0.9, 1.0, 0.5]),
    )
    customers = pl.concat([planted[0], odd])
    found = cluster_customers(customers, method=DENSITY, resamples=2, smallest_group=3, seed=1)
    assert found.labels[-3:].tolist() == [NO_CLUSTER] * 3
    assert (found.labels == NO_CLUSTER).sum() <= 6
    assert (found.distance[-3:] > found.distance[:-3].mean()).all()
    alone = found.labels != NO_CLUSTER
    hidden = cluster_customers(customers, method=DENSITY, resamples=2, smallest_group=10, seed=1)
    assert (hidden.labels != NO_CLUSTER).all(), "so few would be told of one by one"
    assert adjusted_rand_score(found.labels[alone], hidden.labels[alone]) == 1


def test_beyond_the_sample_customers_are_assigned(planted):
    few = replace(K_MEANS, sample=150)
    found = cluster_customers(planted[0], method=few, resamples=2, seed=1)
    assert found.chosen.smallest < 150
    assert adjusted_rand_score(planted[1], found.labels) >= 0.9


def test_buyers_leave_visitors_out(planted):
    frame = planted[0].with_columns(
        purchase_days_lifetime=pl.when(pl.int_range(pl.len()) < 10).then(0).otherwise(2)
    )
    assert buyers(frame.lazy()).height == 590


def test_trials_become_a_table_and_a_picture(clustering):
    table = trials_table(clustering)
    assert table.filter("chosen")["k"].to_list() == [3]
    assert chart_markdown(trials_chart(table)).startswith("![chart](data:image/png")
